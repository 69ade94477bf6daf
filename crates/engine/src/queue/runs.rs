//! In which start of the broker each message of a queue came.
//!
//! A seq whose message was lost in a crash is given again, and no lease of the lost one counts for
//! the new one. With its start a message's number is its identity.

use std::cmp::Ordering;

use sluice_model::MessageId;

use crate::queue::slots::{Slot, Slots};

/// Where the messages of each start begin, as far as there are any left: first seq and start, in the
/// order of both. Most queues have one, which stands in the queue itself.
#[derive(Debug)]
pub(crate) enum Runs {
    Few(Option<(u64, u32)>),
    Many(Vec<(u64, u32)>),
}

impl Default for Runs {
    fn default() -> Self {
        Self::Few(None)
    }
}

impl Runs {
    /// The broker started once more.
    pub(crate) fn begin(&mut self, slots: &Slots, start: u32) {
        let next = slots.next();
        let lowest = slots.next_alive(slots.first_seq(), next).unwrap_or(next);
        let all = self.all();
        let passed = all.partition_point(|(first, _)| *first <= lowest).saturating_sub(1);
        let left = all.iter().skip(passed).filter(|(first, _)| *first < next).copied();
        let left: Vec<_> = left.collect();
        *self = Self::default();
        for (first, start) in left {
            self.push(first, start);
        }
        self.push(next, start);
    }

    /// Adds a start whose messages begin at `first`.
    pub(crate) fn push(&mut self, first: u64, start: u32) {
        match self {
            Self::Few(none @ None) => *none = Some((first, start)),
            Self::Few(Some(one)) => *self = Self::Many(vec![*one, (first, start)]),
            Self::Many(all) => all.push((first, start)),
        }
    }

    /// Each start with its first seq, in order.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, (u64, u32)> {
        self.all().iter()
    }

    fn all(&self) -> &[(u64, u32)] {
        match self {
            Self::Few(one) => one.as_slice(),
            Self::Many(all) => all,
        }
    }

    /// The start of the broker that `seq` was given in.
    pub(crate) fn of(&self, seq: u64) -> u32 {
        let all = self.all();
        let after = all.partition_point(|(first, _)| *first <= seq);
        after.checked_sub(1).and_then(|at| all.get(at)).map_or(0, |(_, start)| *start)
    }

    /// The identity of the message at `seq`.
    pub(crate) fn id_of(&self, seq: u64, slot: &Slot) -> MessageId {
        MessageId { start: self.of(seq), counter: slot.counter() }
    }

    /// The seq of a message that is there. Ids grow with seqs, so it is found by halving.
    pub(crate) fn find(&self, slots: &Slots, id: MessageId) -> Option<u64> {
        let (mut low, mut high) = (slots.first_seq(), slots.next());
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(seq) = slots.next_alive(middle, high) else {
                high = middle;
                continue;
            };
            match self.id_of(seq, slots.get(seq)?).cmp(&id) {
                Ordering::Equal => return Some(seq),
                Ordering::Less => low = seq + 1,
                Ordering::Greater => high = middle,
            }
        }
        None
    }
}
