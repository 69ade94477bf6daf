//! A set of things that come in rows: a hundred leases that were granted together are one entry,
//! and go as one when they are settled together.
//!
//! A lone run stands in the set itself: most queues have one or none, and with a tree each grant and
//! settlement of a queue that no cache holds would take and give back 400 bytes from anywhere.

use std::collections::BTreeMap;

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
    runs: Runs<T>,
    len: usize,
}

/// The first one of each run, with its length.
#[derive(Debug)]
enum Runs<T> {
    /// None or one.
    Few(Option<(T, u32)>),
    /// It may have become fewer; it stays a tree until it is empty.
    Many(BTreeMap<T, u32>),
}

impl<T> Default for RunSet<T> {
    fn default() -> Self {
        Self { runs: Runs::Few(None), len: 0 }
    }
}

impl<T: Copy + Ord> Runs<T> {
    /// Adds a run, or makes the one that begins there as long. Gives how much was added.
    fn insert(&mut self, first: T, count: u32) -> u32 {
        let length = match self {
            Self::Few(Some((begin, length))) if *begin == first => length,
            Self::Few(none @ None) => &mut none.insert((first, 0)).1,
            Self::Few(Some(other)) => {
                *self = Self::Many([*other, (first, count)].into_iter().collect());
                return count;
            }
            Self::Many(tree) => tree.entry(first).or_default(),
        };
        let added = count.saturating_sub(*length);
        *length += added;
        added
    }

    /// Leaves so much of the run that begins here.
    fn cut(&mut self, first: T, left: u32) {
        match self {
            Self::Few(run) => *run = run.map(|(begin, _)| (begin, left)),
            Self::Many(tree) => drop(tree.insert(first, left)),
        }
    }

    /// Takes the run that begins here, and gives its length.
    fn remove(&mut self, first: T) -> Option<u32> {
        match self {
            Self::Few(one) => one.take_if(|(begin, _)| *begin == first).map(|(_, length)| length),
            Self::Many(tree) => {
                let length = tree.remove(&first);
                if tree.is_empty() {
                    *self = Self::Few(None);
                }
                length
            }
        }
    }

    /// The last run that begins at `one` or before.
    fn last_up_to(&self, one: T) -> Option<(T, u32)> {
        match self {
            Self::Few(run) => run.filter(|(first, _)| *first <= one),
            Self::Many(tree) => {
                tree.range(..=one).next_back().map(|(first, length)| (*first, *length))
            }
        }
    }

    fn first(&self) -> Option<T> {
        match self {
            Self::Few(run) => run.map(|(first, _)| first),
            Self::Many(tree) => tree.first_key_value().map(|(first, _)| *first),
        }
    }

    fn iter(&self) -> impl Iterator<Item = (T, u32)> {
        let (few, many) = match self {
            Self::Few(run) => (*run, None),
            Self::Many(tree) => (None, Some(tree)),
        };
        let many = many.into_iter().flatten().map(|(first, length)| (*first, *length));
        few.into_iter().chain(many)
    }
}

impl<T: Step> RunSet<T> {
    /// Adds so many in a row, none of which is there; or those that are, from the same one on.
    pub(crate) fn insert(&mut self, first: T, count: u32) {
        if count > 0 {
            self.len += self.runs.insert(first, count) as usize;
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
        if let Some(length) = self.runs.remove(from) {
            let taken = length.min(count);
            if taken < length {
                self.runs.insert(from.plus(taken), length - taken);
            }
            return taken;
        }
        let Some((first, whole)) = self.runs.last_up_to(from) else { return 0 };
        let Some(before) = from.distance_from(first).filter(|far| *far < u64::from(whole)) else {
            return 0;
        };
        let before = before as u32;
        self.runs.cut(first, before);
        let taken = (whole - before).min(count);
        let behind = before + taken;
        if behind < whole {
            self.runs.insert(first.plus(behind), whole - behind);
        }
        taken
    }

    pub(crate) fn contains(&self, one: T) -> bool {
        let run = self.runs.last_up_to(one);
        run.is_some_and(|(first, length)| {
            one.distance_from(first).is_some_and(|far| far < u64::from(length))
        })
    }

    pub(crate) fn first(&self) -> Option<T> {
        self.runs.first()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = T> {
        self.runs.iter().flat_map(|(first, length)| (0..length).map(move |at| first.plus(at)))
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
