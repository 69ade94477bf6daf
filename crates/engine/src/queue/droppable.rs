//! The messages of a queue that may make room for newer ones, oldest first.

use std::collections::BTreeSet;

use sluice_model::State;

use crate::queue::is_waiting;
use crate::queue::slots::Slots;

/// Which messages may be dropped: those that nobody holds and that are not dead, visible or not.
#[derive(Debug, Default)]
pub(crate) struct Droppable {
    /// Below this every message has been looked at once by whoever makes room; those that may be
    /// dropped after all stand in `back`, so that nothing is ever searched for.
    from: u64,
    back: BTreeSet<u64>,
}

impl Droppable {
    /// Looks at the messages from `seq` on.
    pub(crate) fn from(seq: u64) -> Self {
        Self { from: seq, back: BTreeSet::new() }
    }

    /// The oldest one.
    pub(crate) fn oldest(&mut self, slots: &Slots) -> Option<u64> {
        if let Some(seq) = self.back.first() {
            return Some(*seq);
        }
        while let Some(seq) = slots.next_alive(self.from, slots.next()) {
            self.from = seq;
            if slots.get(seq).is_some_and(|slot| is_waiting(slot.state())) {
                return Some(seq);
            }
            self.from += 1;
        }
        None
    }

    /// A message waits.
    pub(crate) fn enter(&mut self, seq: u64) {
        if seq < self.from {
            self.back.insert(seq);
        }
    }

    /// A message does not wait any more.
    pub(crate) fn leave(&mut self, seq: u64) {
        if seq < self.from {
            self.back.remove(&seq);
        }
    }

    /// What must hold of a message in this state between any two transitions.
    pub(crate) fn check(&self, seq: u64, state: State) {
        let expected = is_waiting(state) && seq < self.from;
        assert_eq!(self.back.contains(&seq), expected, "droppable {seq}");
    }
}
