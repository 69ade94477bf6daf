//! Tags of deliveries whose leases ran out and that were forgotten to make room: who settles one later
//! is told so, once.

use std::collections::BTreeMap;

use super::window::Run;

/// Runs of tags that are kept. The oldest go first, and count as settled from then on.
const RUNS_MAX: usize = 1_024;

/// Those tags, as runs: the last of each by its first.
#[derive(Debug, Default)]
pub(super) struct Ended(BTreeMap<u64, u64>);

impl Ended {
    /// Notes a tag.
    pub(super) fn add(&mut self, tag: u64) {
        let behind = self.0.remove(&(tag + 1));
        let last = behind.unwrap_or(tag);
        match self.0.range_mut(..tag).next_back() {
            Some((_, before)) if *before + 1 == tag => *before = last,
            _ => drop(self.0.insert(tag, last)),
        }
        if self.0.len() > RUNS_MAX {
            self.0.pop_first();
        }
    }

    /// Takes those between two tags, both included.
    pub(super) fn take(&mut self, first: u64, last: u64, taken: &mut Vec<Run>) {
        let before = self.0.range_mut(..first).next_back();
        if let Some((_, end)) = before.filter(|(_, end)| **end >= first) {
            // The run goes on into what is asked for: it is parted there.
            let rest = std::mem::replace(end, first - 1);
            self.0.insert(first, rest);
        }
        while let Some((from, to)) = self.0.range(first..=last).next().map(|(f, l)| (*f, *l)) {
            self.0.remove(&from);
            if to > last {
                self.0.insert(last + 1, to);
            }
            // A frame's ranges name no more tags than this holds.
            let count = u32::try_from(to.min(last) - from + 1).unwrap_or(u32::MAX);
            taken.push(Run { first: from, count });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn taken(ended: &mut Ended, first: u64, last: u64) -> Vec<u64> {
        let mut runs = Vec::new();
        ended.take(first, last, &mut runs);
        runs.iter().flat_map(|run| run.first..run.first + u64::from(run.count)).collect()
    }

    #[test]
    fn every_tag_is_told_once_whatever_is_asked() {
        let mut random = sluice_flow::Random::new(7);
        for _ in 0..200 {
            let (mut ended, mut expected) = (Ended::default(), BTreeSet::new());
            for _ in 0..200 {
                let (first, span) = (1 + random.number() % 60, random.number() % 9);
                if random.number().is_multiple_of(2) {
                    if expected.insert(first) {
                        ended.add(first);
                    }
                    continue;
                }
                let range: Vec<_> = expected.range(first..=first + span).copied().collect();
                assert_eq!(taken(&mut ended, first, first + span), range);
                expected.retain(|tag| !range.contains(tag));
            }
        }
    }

    #[test]
    fn they_take_little_however_many_there_are() {
        let mut ended = Ended::default();
        (1..=1_000_000).for_each(|tag| ended.add(tag));
        assert_eq!(ended.0.len(), 1);
        (1..=5_000).for_each(|at| ended.add(2_000_000 + 2 * at));
        assert_eq!(ended.0.len(), RUNS_MAX);
        assert!(taken(&mut ended, 1, 10).is_empty(), "the oldest are gone");
        assert_eq!(taken(&mut ended, 2_010_000, u64::MAX - 1), [2_010_000]);
    }
}
