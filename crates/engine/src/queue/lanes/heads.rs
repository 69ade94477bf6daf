//! Lanes by the seqs of their heads: the lowest is next.
//!
//! Nearly always the first lane goes on to its next message, or leaves, and a head that is new comes
//! behind all others: those stand in a row. One that comes before some of them stands in a heap beside
//! it. One that leaves from elsewhere than the front stays until it comes there, and is known to be gone.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};

/// A lane, and what its head costs.
pub(super) type Lane = (u32, u32);

/// Free places that an empty row keeps.
const SPARE: usize = 64;

/// Lanes whose heads' seqs are their places. No message is the head of two.
#[derive(Debug, Default)]
pub(super) struct Heads {
    /// Those that came behind all others of the row, by seq.
    row: VecDeque<(u64, Lane)>,
    heap: BinaryHeap<Reverse<(u64, Lane)>>,
    /// Those that are not there any more; never the first.
    gone: BTreeSet<u64>,
}

impl Heads {
    pub(super) fn is_empty(&self) -> bool {
        self.row.is_empty() && self.heap.is_empty()
    }

    /// The first, with the seq of its head.
    pub(super) fn first(&self) -> Option<(u64, Lane)> {
        let heap = self.heap.peek().map(|Reverse(first)| *first);
        match (self.row.front(), heap) {
            (Some(row), Some(heap)) => Some(heap.min(*row)),
            (row, heap) => row.copied().or(heap),
        }
    }

    /// Adds a lane, whose head is none of those that are there.
    pub(super) fn insert(&mut self, seq: u64, lane: Lane) {
        // One that comes back with the same head has not left yet.
        if !self.gone.is_empty() && self.gone.remove(&seq) {
            return;
        }
        match self.row.back() {
            Some((last, _)) if *last > seq => self.heap.push(Reverse((seq, lane))),
            _ => self.row.push_back((seq, lane)),
        }
    }

    /// Takes out a lane that is there.
    pub(super) fn remove(&mut self, seq: u64) {
        if !self.pop(seq) {
            self.gone.insert(seq);
        }
        self.tidy();
    }

    /// A lane that is there has another head.
    pub(super) fn shift(&mut self, from: u64, to: u64, lane: Lane) {
        let is_behind = self.row.back().is_none_or(|(last, _)| *last < to);
        if !is_behind
            && self.gone.is_empty()
            && let Some(mut first) = self.heap.peek_mut()
            && first.0.0 == from
        {
            *first = Reverse((to, lane));
            return;
        }
        self.remove(from);
        self.insert(to, lane);
    }

    /// Takes out the lane with that head if it is the first of the row, or of the heap.
    fn pop(&mut self, seq: u64) -> bool {
        if self.row.front().is_some_and(|(first, _)| *first == seq) {
            self.row.pop_front();
            if self.row.capacity() > SPARE.max(4 * self.row.len()) {
                self.row.shrink_to(2 * self.row.len());
            }
            return true;
        }
        match self.heap.peek_mut() {
            Some(first) if first.0.0 == seq => {
                PeekMut::pop(first);
                true
            }
            _ => false,
        }
    }

    /// Lets go of those that are gone and first, and of all that are gone once they are most.
    fn tidy(&mut self) {
        if self.gone.is_empty() {
            return;
        }
        while let Some((seq, _)) = self.first()
            && self.gone.remove(&seq)
        {
            self.pop(seq);
        }
        if self.gone.len() > (self.row.len() + self.heap.len()) / 2 {
            let gone = std::mem::take(&mut self.gone);
            self.row.retain(|(seq, _)| !gone.contains(seq));
            self.heap.retain(|it| !gone.contains(&it.0.0));
        }
    }

    /// Whether a lane is there with that head.
    pub(super) fn holds(&self, seq: u64, lane: Lane) -> bool {
        let heap = self.heap.iter().map(|it| &it.0);
        !self.gone.contains(&seq) && self.row.iter().chain(heap).any(|it| *it == (seq, lane))
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
