//! What the engine counts.

/// Counters since the start of the process; they never go down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Messages accepted.
    pub published: u64,
    /// Messages handed over, redeliveries included.
    pub delivered: u64,
    /// Deliveries settled by an ack.
    pub acked: u64,
    /// Of these, acks that came after the lease had ended.
    pub late_acks: u64,
    /// Leases that ended in a failure.
    pub failed: u64,
    /// Publishes at least once that matched no subscription.
    pub unroutable: u64,
    /// Messages dropped by queues to make room.
    pub dropped: u64,
    /// Messages that subscribers at most once lost because they were too slow.
    pub gaps: u64,
    /// Messages that ran out of time.
    pub expired: u64,
    /// Messages parked in a dead set.
    pub dead: u64,
    /// Requests refused.
    pub refused: u64,
    /// Of these, publishes whose dedupe id found no room.
    pub refused_dedupe: u64,
}
