//! What a proxy has done.

use std::ops::AddAssign;

/// What a proxy has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Connections that were taken.
    pub connections: u64,
    /// Those for which the broker could not be reached.
    pub unreachable: u64,
    /// Bytes passed on to the broker.
    pub to_broker: u64,
    /// Bytes passed on to clients.
    pub to_clients: u64,
    /// Pieces that were held back for a time.
    pub delayed: u64,
    /// Pieces that waited because of the rate.
    pub throttled: u64,
    /// Connections that were cut, those whose answers were dropped included.
    pub cut: u64,
    /// Connections of which one direction was ended.
    pub half_closed: u64,
    /// Connections whose answers were dropped.
    pub answers_dropped: u64,
    /// Bytes that were thrown away.
    pub bytes_dropped: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.connections += other.connections;
        self.unreachable += other.unreachable;
        self.to_broker += other.to_broker;
        self.to_clients += other.to_clients;
        self.delayed += other.delayed;
        self.throttled += other.throttled;
        self.cut += other.cut;
        self.half_closed += other.half_closed;
        self.answers_dropped += other.answers_dropped;
        self.bytes_dropped += other.bytes_dropped;
    }
}
