//! How long syncs of commits took.

use std::time::Duration;

/// Counts of durations by the least bound that they don't exceed, and their sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncTimes {
    counts: [u64; Self::BOUNDS.len() + 1],
    sum: Duration,
}

impl SyncTimes {
    /// The bounds. The last count is of what took longer than all of them.
    pub const BOUNDS: [Duration; 15] = {
        let us = Duration::from_micros;
        [
            us(50),
            us(100),
            us(250),
            us(500),
            us(1_000),
            us(2_500),
            us(5_000),
            us(10_000),
            us(25_000),
            us(50_000),
            us(100_000),
            us(250_000),
            us(500_000),
            us(1_000_000),
            us(5_000_000),
        ]
    };

    /// Notes that one took so long.
    pub fn note(&mut self, took: Duration) {
        let at = Self::BOUNDS.partition_point(|bound| *bound < took);
        if let Some(count) = self.counts.get_mut(at) {
            *count += 1;
        }
        self.sum += took;
    }

    /// How many took at most each bound and more than the one before; the last of these has none.
    pub fn counts(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let bounds = Self::BOUNDS.iter().copied().map(Some).chain([None]);
        bounds.zip(self.counts.iter().copied())
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long all of them took together.
    pub fn sum(&self) -> Duration {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_at_the_least_bound_that_it_does_not_exceed() {
        let mut times = SyncTimes::default();
        for micros in [1, 50, 51, 5_000_000, 5_000_001] {
            times.note(Duration::from_micros(micros));
        }
        let counted: Vec<_> = times.counts().filter(|(_, count)| *count > 0).collect();
        let bound = |micros| Some(Duration::from_micros(micros));
        assert_eq!(counted, [(bound(50), 2), (bound(100), 1), (bound(5_000_000), 1), (None, 1)]);
        assert_eq!((times.count(), times.sum()), (5, Duration::from_micros(10_000_103)));
    }
}
