//! The messages of a lane, in their order.
//!
//! Nearly all come and go in the order of their seqs: those stand in a row, where the first one is
//! taken and the next one added without a search. The others, which were given back, redriven or
//! have their places by time, are ranked beside it.
//!
//! ```text
//! fresh    4  7  -  9 --->     first: the lower of both
//! placed   2' 5'
//! ```

use std::collections::{BTreeMap, VecDeque};

use super::lane::{Entry, Spot};

/// Free places that an empty row keeps.
const SPARE: usize = 16;

/// Messages in the order of their spots.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// Ready ones whose seqs are their places, with what they cost: 0 for one that is gone. Neither
    /// the first nor the last of them is.
    fresh: VecDeque<(u64, u16)>,
    /// How many are gone in between.
    gone: usize,
    placed: BTreeMap<Spot, Entry>,
}

impl Messages {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.fresh.len() - self.gone + self.placed.len()
    }

    /// Adds a message, or changes one. Says whether it was ready before. Of a lane where messages
    /// follow each other all are ranked.
    pub(super) fn insert(&mut self, spot: Spot, entry: Entry, is_fifo: bool) -> bool {
        let is_last = self.fresh.back().is_none_or(|(last, _)| *last < spot.seq);
        if !is_fifo && entry.is_ready && is_last && spot.is_fresh() {
            self.fresh.push_back((spot.seq, entry.cost));
            return false;
        }
        self.placed.insert(spot, entry).is_some_and(|before| before.is_ready)
    }

    /// Takes a message out, and says whether it was ready; none if it was not there.
    pub(super) fn remove(&mut self, spot: &Spot) -> Option<bool> {
        if self.remove_fresh(spot) {
            return Some(true);
        }
        match self.placed.is_empty() {
            true => None,
            false => self.placed.remove(spot).map(|entry| entry.is_ready),
        }
    }

    fn remove_fresh(&mut self, spot: &Spot) -> bool {
        let Some((first, _)) = self.fresh.front() else { return false };
        if spot.seq < *first || !spot.is_fresh() {
            return false;
        }
        if spot.seq == *first {
            self.fresh.pop_front();
        } else {
            let at = self.fresh.binary_search_by_key(&spot.seq, |(seq, _)| *seq);
            let Some((_, cost @ 1..)) = at.ok().and_then(|at| self.fresh.get_mut(at)) else {
                return false;
            };
            *cost = 0;
            self.gone += 1;
        }
        if self.gone > 0 {
            self.tidy();
        }
        if self.fresh.capacity() > SPARE.max(4 * self.fresh.len()) {
            self.fresh.shrink_to(2 * self.fresh.len());
        }
        true
    }

    /// Lets go of places at both ends, and of all that are gone once they are most of them.
    fn tidy(&mut self) {
        while self.fresh.front().is_some_and(|(_, cost)| *cost == 0) {
            self.fresh.pop_front();
            self.gone -= 1;
        }
        while self.fresh.back().is_some_and(|(_, cost)| *cost == 0) {
            self.fresh.pop_back();
            self.gone -= 1;
        }
        if self.gone > self.fresh.len() / 2 {
            self.fresh.retain(|(_, cost)| *cost > 0);
            self.gone = 0;
        }
    }

    /// The first message, of a lane of that priority.
    pub(super) fn first(&self, priority: u8) -> Option<(Spot, Entry)> {
        let fresh = self.fresh.front().map(|(seq, cost)| {
            (Spot::fresh(*seq), Entry { is_ready: true, priority, cost: *cost })
        });
        let placed = self.placed.first_key_value().map(|(spot, entry)| (*spot, *entry));
        match (fresh, placed) {
            (Some(fresh), Some(placed)) if placed.0 < fresh.0 => Some(placed),
            (None, placed) => placed,
            (fresh, _) => fresh,
        }
    }

    /// The first that is ready.
    pub(super) fn first_ready(&self, priority: u8) -> Option<Spot> {
        let first = self.first(priority).filter(|(_, entry)| entry.is_ready).map(|(spot, _)| spot);
        // Of those that follow each other, the second one at the latest.
        first
            .or_else(|| self.placed.iter().find(|(_, entry)| entry.is_ready).map(|(spot, _)| *spot))
    }

    /// The first of those that are ranked, to be changed where it stands.
    pub(super) fn placed_mut(&mut self, spot: &Spot) -> Option<&mut Entry> {
        self.placed.get_mut(spot)
    }

    /// How many are ready, by counting.
    pub(super) fn count_ready(&self) -> usize {
        let placed = self.placed.values().filter(|entry| entry.is_ready).count();
        self.fresh.iter().filter(|(_, cost)| *cost > 0).count() + placed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sluice_model::Timestamp;

    use super::*;
    use crate::queue::order::Place;

    proptest! {
        #[test]
        fn they_are_in_order_wherever_they_come_and_go(
            steps in prop::collection::vec((0_u8..6, 0_u64..40), 0..200),
        ) {
            let (mut messages, mut model) = (Messages::default(), BTreeMap::new());
            let mut next = 100;
            for (step, number) in steps {
                let spot = match step {
                    0..3 => {
                        next += 1 + number % 2;
                        Spot::fresh(next)
                    }
                    // One that comes back, or that another place was given.
                    3 => Spot::fresh(100 + number),
                    4 => {
                        let place = Place { seq: 100 + number, behind: 1 + number, nth: 0 };
                        Spot { at: Timestamp::EPOCH, place, seq: number }
                    }
                    _ => {
                        let taken = model.keys().nth(number as usize % model.len().max(1)).copied();
                        let Some(spot) = taken else { continue };
                        prop_assert_eq!(messages.remove(&spot), Some(true));
                        model.remove(&spot);
                        prop_assert_eq!(messages.remove(&spot), None);
                        continue;
                    }
                };
                if model.contains_key(&spot) {
                    continue;
                }
                let entry = Entry { is_ready: true, priority: 5, cost: 1 + number as u16 };
                prop_assert!(!messages.insert(spot, entry, false));
                model.insert(spot, entry);
                let first = model.first_key_value().map(|(spot, entry)| (*spot, *entry));
                prop_assert_eq!(messages.first(5), first);
                prop_assert_eq!(messages.first_ready(5), first.map(|(spot, _)| spot));
                prop_assert_eq!((messages.len(), messages.count_ready()), (model.len(), model.len()));
            }
            while let Some((spot, _)) = messages.first(5) {
                prop_assert_eq!(model.pop_first().map(|(spot, _)| spot), Some(spot));
                messages.remove(&spot);
            }
            prop_assert!(model.is_empty() && messages.fresh.capacity() <= SPARE);
        }
    }
}
