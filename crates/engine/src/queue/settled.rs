//! The last settled leases of a queue, so that a repeated ack is known as one.

use std::collections::VecDeque;

use sluice_model::Generation;

use crate::journal::Sequence;

/// Settled leases that a queue remembers.
const SETTLED_MAX: usize = 4_096;

/// The last settled leases, each with the record that says so.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    last: VecDeque<(u64, Generation, Sequence)>,
}

impl Settled {
    /// The message at `seq` was settled under a lease.
    pub(crate) fn push(&mut self, seq: u64, generation: Generation, sequence: Sequence) {
        if self.last.len() == SETTLED_MAX {
            self.last.pop_front();
        }
        self.last.push_back((seq, generation, sequence));
    }

    /// The record that settled this very lease, if it is among the last few.
    pub(crate) fn find(&self, seq: u64, generation: Generation) -> Option<Sequence> {
        let mut latest = self.last.iter().rev();
        let found = latest.find(|(of, under, _)| (*of, *under) == (seq, generation));
        found.map(|(_, _, sequence)| *sequence)
    }
}
