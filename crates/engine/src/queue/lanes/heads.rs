//! Lanes by the seqs of their heads: the lowest is next.
//!
//! A heap, because nearly always the first lane is the one that goes on to its next message, or
//! leaves. One that leaves from elsewhere stays until it comes to the front, and is known to be gone.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BTreeSet, BinaryHeap};

/// A lane, and what its head costs.
pub(super) type Lane = (u32, u32);

/// Lanes whose heads' seqs are their places. No message is the head of two.
#[derive(Debug, Default)]
pub(super) struct Heads {
    all: BinaryHeap<Reverse<(u64, Lane)>>,
    /// Those that are not there any more; never the first.
    gone: BTreeSet<u64>,
}

impl Heads {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The first, with the seq of its head.
    pub(super) fn first(&self) -> Option<(u64, Lane)> {
        self.all.peek().map(|Reverse(first)| *first)
    }

    /// Adds a lane, whose head is none of those that are there.
    pub(super) fn insert(&mut self, seq: u64, lane: Lane) {
        // One that comes back with the same head has not left yet.
        if self.gone.is_empty() || !self.gone.remove(&seq) {
            self.all.push(Reverse((seq, lane)));
        }
    }

    /// Takes out a lane that is there.
    pub(super) fn remove(&mut self, seq: u64) {
        match self.all.peek_mut() {
            Some(first) if first.0.0 == seq => drop(PeekMut::pop(first)),
            _ => drop(self.gone.insert(seq)),
        }
        self.tidy();
    }

    /// A lane that is there has another head.
    pub(super) fn shift(&mut self, from: u64, to: u64, lane: Lane) {
        if self.gone.is_empty()
            && let Some(mut first) = self.all.peek_mut()
            && first.0.0 == from
        {
            *first = Reverse((to, lane));
            return;
        }
        self.remove(from);
        self.insert(to, lane);
    }

    /// Lets go of those that are gone and first, and of all that are gone once they are most.
    fn tidy(&mut self) {
        if self.gone.is_empty() {
            return;
        }
        while let Some(Reverse((seq, _))) = self.all.peek()
            && self.gone.remove(seq)
        {
            self.all.pop();
        }
        if self.gone.len() > self.all.len() / 2 {
            let gone = std::mem::take(&mut self.gone);
            self.all.retain(|Reverse((seq, _))| !gone.contains(seq));
        }
    }

    /// Whether a lane is there with that head.
    pub(super) fn holds(&self, seq: u64, lane: Lane) -> bool {
        !self.gone.contains(&seq) && self.all.iter().any(|it| it.0 == (seq, lane))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_lowest_is_first_whoever_leaves(
            steps in prop::collection::vec((0_u8..4, 0_u64..60, 0_u64..60), 0..300),
        ) {
            let (mut heads, mut model) = (Heads::default(), BTreeMap::new());
            for (step, seq, to) in steps {
                // A head is always that of the same lane.
                let lane = |seq: u64| (seq as u32 % 7, 1);
                let there = model.contains_key(&seq);
                match step {
                    0..2 if !there => {
                        heads.insert(seq, lane(seq));
                        model.insert(seq, lane(seq));
                    }
                    2 if there => {
                        heads.remove(seq);
                        model.remove(&seq);
                    }
                    3 if there && !model.contains_key(&to) => {
                        heads.shift(seq, to, lane(to));
                        model.remove(&seq);
                        model.insert(to, lane(to));
                    }
                    _ => {}
                }
                prop_assert_eq!(heads.first(), model.first_key_value().map(|(seq, it)| (*seq, *it)));
                prop_assert_eq!(heads.is_empty(), model.is_empty());
                prop_assert!((0..60).all(|seq| heads.holds(seq, lane(seq)) == model.contains_key(&seq)));
            }
        }
    }
}
