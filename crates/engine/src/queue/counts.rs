//! How many messages of a queue are where, and what became of the others.

use sluice_model::{State, StateCounts};

/// What happened to a queue's messages since it was made; survives restarts.
///
/// `published = acked + expired + deleted + dropped + present` at all times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) published: u64,
    pub(crate) acked: u64,
    pub(crate) expired: u64,
    pub(crate) deleted: u64,
    pub(crate) dropped: u64,
}

/// How many messages are in which state, and how large those that count against the bounds are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) by_state: StateCounts,
    /// Of ready, delayed and leased ones.
    pub(crate) bytes: u64,
    /// Of leased ones.
    pub(crate) leased_bytes: u64,
    /// Of delayed ones.
    pub(crate) delayed_bytes: u64,
    /// Of dead ones.
    pub(crate) dead_bytes: u64,
}

impl Counts {
    /// Messages that count against `max_messages`.
    pub(crate) fn live(&self) -> u64 {
        self.by_state.ready + self.by_state.delayed + self.by_state.leased
    }

    /// Bytes by state.
    pub(crate) fn bytes_by_state(&self) -> StateCounts {
        StateCounts {
            ready: self.bytes - self.leased_bytes - self.delayed_bytes,
            delayed: self.delayed_bytes,
            leased: self.leased_bytes,
            dead: self.dead_bytes,
        }
    }

    /// Messages in any state.
    pub(crate) fn present(&self) -> u64 {
        self.live() + self.by_state.dead
    }

    pub(crate) fn add(&mut self, state: State, len: u64) {
        match state {
            State::Ready => self.by_state.ready += 1,
            State::Delayed => {
                self.by_state.delayed += 1;
                self.delayed_bytes += len;
            }
            State::Leased => {
                self.by_state.leased += 1;
                self.leased_bytes += len;
            }
            State::Dead => {
                self.by_state.dead += 1;
                self.dead_bytes += len;
                return;
            }
        }
        self.bytes += len;
    }

    pub(crate) fn subtract(&mut self, state: State, len: u64) {
        match state {
            State::Ready => self.by_state.ready -= 1,
            State::Delayed => {
                self.by_state.delayed -= 1;
                self.delayed_bytes -= len;
            }
            State::Leased => {
                self.by_state.leased -= 1;
                self.leased_bytes -= len;
            }
            State::Dead => {
                self.by_state.dead -= 1;
                self.dead_bytes -= len;
                return;
            }
        }
        self.bytes -= len;
    }
}
