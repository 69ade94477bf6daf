//! A set of things that come in rows: a hundred leases that were granted together are one entry,
//! and go as one when they are settled together.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Something of which there is a next one.
pub(crate) trait Step: Copy + Ord {
    /// The one that is `count` behind this one.
    fn plus(self, count: u32) -> Self;

    /// How far this one is behind `first`, if it can be reached from there.
    fn distance_from(self, first: Self) -> Option<u64>;
}

/// A set, in order. No run of it overlaps another.
#[derive(Debug)]
pub(crate) struct RunSet<T> {
    /// The first one of each run, with its length.
    runs: BTreeMap<T, u32>,
    len: usize,
}

impl<T> Default for RunSet<T> {
    fn default() -> Self {
        Self { runs: BTreeMap::new(), len: 0 }
    }
}

impl<T: Step> RunSet<T> {
    /// Adds so many in a row, none of which is there; or those that are, from the same one on.
    pub(crate) fn insert(&mut self, first: T, count: u32) {
        if count > 0 {
            let length = self.runs.entry(first).or_default();
            self.len += count.saturating_sub(*length) as usize;
            *length = count.max(*length);
        }
    }

    /// Removes those that are there of so many in a row, and says how many were.
    pub(crate) fn remove(&mut self, first: T, count: u32) -> u32 {
        let mut removed = 0;
        let mut at = 0;
        while at < count {
            let taken = self.remove_front(first.plus(at), count - at);
            removed += taken;
            at += taken.max(1);
        }
        self.len -= removed as usize;
        removed
    }

    /// Removes `from` and those that follow it in its run, up to `count`.
    fn remove_front(&mut self, from: T, count: u32) -> u32 {
        // Nearly always a run ends as a whole, or from its front.
        if let Entry::Occupied(entry) = self.runs.entry(from) {
            let length = entry.remove();
            let taken = length.min(count);
            if taken < length {
                self.runs.insert(from.plus(taken), length - taken);
            }
            return taken;
        }
        let Some((first, length)) = self.runs.range_mut(..from).next_back() else { return 0 };
        let Some(before) = from.distance_from(*first).filter(|far| *far < u64::from(*length))
        else {
            return 0;
        };
        let (first, before, whole) = (*first, before as u32, *length);
        *length = before;
        let taken = (whole - before).min(count);
        let behind = before + taken;
        if behind < whole {
            self.runs.insert(first.plus(behind), whole - behind);
        }
        taken
    }

    pub(crate) fn contains(&self, one: T) -> bool {
        let run = self.runs.range(..=one).next_back();
        run.is_some_and(|(first, length)| {
            one.distance_from(*first).is_some_and(|far| far < u64::from(*length))
        })
    }

    pub(crate) fn first(&self) -> Option<T> {
        self.runs.first_key_value().map(|(first, _)| *first)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = T> {
        self.runs.iter().flat_map(|(first, length)| (0..*length).map(|at| first.plus(at)))
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<T: Step> FromIterator<T> for RunSet<T> {
    fn from_iter<I: IntoIterator<Item = T>>(all: I) -> Self {
        let mut set = Self::default();
        all.into_iter().for_each(|one| set.insert(one, 1));
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// A lane, and a place in it.
    type Spot = (u8, u32);

    impl Step for Spot {
        fn plus(self, count: u32) -> Self {
            (self.0, self.1 + count)
        }

        fn distance_from(self, first: Self) -> Option<u64> {
            (self.0 == first.0).then(|| self.1.checked_sub(first.1).map(u64::from)).flatten()
        }
    }

    fn row() -> impl Strategy<Value = (Spot, u32)> {
        ((0..3_u8, 0..30_u32), 0..8_u32)
    }

    proptest! {
        #[test]
        fn a_set_of_runs_is_a_set(steps in proptest::collection::vec((any::<bool>(), row()), 0..80)) {
            let (mut runs, mut plain) = (RunSet::default(), BTreeSet::new());
            for (adds, (first, count)) in steps {
                let row = || (0..count).map(|at| first.plus(at));
                if adds && row().all(|one| !plain.contains(&one)) {
                    plain.extend(row());
                    runs.insert(first, count);
                } else if !adds {
                    let gone = row().filter(|one| plain.remove(one)).count();
                    prop_assert_eq!(runs.remove(first, count) as usize, gone);
                }
                prop_assert_eq!(runs.first(), plain.first().copied());
                prop_assert_eq!((runs.len(), runs.is_empty()), (plain.len(), plain.is_empty()));
                prop_assert!(runs.iter().eq(plain.iter().copied()));
                let everything = (0..3).flat_map(|lane| (0..40).map(move |at| (lane, at)));
                for one in everything {
                    prop_assert_eq!(runs.contains(one), plain.contains(&one));
                }
            }
        }
    }
}
