//! Exact windows: never more than so many starts in any interval of a length.
//!
//! The starts inside the window are kept, 8 bytes each. An interval counts both its ends: after
//! `max` starts at one microsecond, the next comes `length + 1` later. Times are whole
//! microseconds that were rounded down, so two starts `length` apart may really be closer.
//!
//! A change of the limit holds at once, for the starts that are known: those that had left a
//! shorter window are not known to a longer one. Time that goes back counts as the latest start.

use std::collections::VecDeque;

use thiserror::Error;

use crate::rate::NEVER;
use crate::token::Limited;

/// One start in so many that there are has room beside them.
const SPARE: usize = 16;
/// The greatest `max`.
pub const WINDOW_STARTS_MAX: u32 = 100_000;

/// At most `max` starts in any interval of `length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowLimit {
    max: u32,
    length: u64,
}

/// Why a window makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WindowError {
    /// `max` is out of its range.
    #[error("window max is {0}, it must be 1 to {WINDOW_STARTS_MAX}")]
    Max(u32),
    /// The length is 0.
    #[error("window length_ms is 0, it must be above")]
    Length,
}

/// One key's starts inside its window, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct Starts(VecDeque<u64>);

impl WindowLimit {
    /// At most `max` starts, from 1 to [`WINDOW_STARTS_MAX`], in any `length_ms` milliseconds.
    ///
    /// # Errors
    /// Says which of them is out of its range.
    pub fn new(max: u32, length_ms: u64) -> Result<Self, WindowError> {
        if !(1..=WINDOW_STARTS_MAX).contains(&max) {
            return Err(WindowError::Max(max));
        }
        match length_ms {
            0 => Err(WindowError::Length),
            _ => Ok(Self { max, length: length_ms.saturating_mul(1_000) }),
        }
    }

    /// Whether `count` may start at `now`, in microseconds.
    ///
    /// # Errors
    /// Says from when on they may.
    pub fn check(self, starts: &Starts, count: u32, now: u64) -> Result<(), Limited> {
        let now = starts.clock(now);
        let gone = self.gone(starts, now);
        let wanted = starts.0.len() - gone + count as usize;
        let missing = wanted.saturating_sub(self.max as usize);
        if count == 0 || missing == 0 {
            return Ok(());
        }
        // Where `count` alone is above `max`, no leaving helps.
        let last_to_leave = starts.0.get(gone + missing - 1).filter(|_| count <= self.max);
        Err(Limited { eligible_at: last_to_leave.map_or(NEVER, |start| self.leaves_at(*start)) })
    }

    /// Lets `count` start at `now`, in microseconds.
    ///
    /// # Errors
    /// Says from when on they may; none of them has started.
    pub fn take(self, starts: &mut Starts, count: u32, now: u64) -> Result<(), Limited> {
        self.check(starts, count, now)?;
        self.record(starts, count, now);
        Ok(())
    }

    /// Notes `count` starts that happened at `at`, allowed or not: those that are replayed.
    pub fn record(self, starts: &mut Starts, count: u32, at: u64) {
        let at = starts.clock(at);
        self.forget(starts, at);
        starts.grow(count as usize);
        starts.0.extend((0..count).map(|_| at));
    }

    /// Forgets the starts that have left the window at `now`, and gives back their memory.
    pub fn forget(self, starts: &mut Starts, now: u64) {
        let gone = self.gone(starts, now);
        starts.0.drain(..gone);
        let len = starts.0.len();
        if starts.0.capacity() > len + len / 4 + 4 || len == 0 {
            starts.0.shrink_to(len + len / SPARE);
        }
    }

    /// Takes back the newest `count` starts: they did not happen after all.
    pub fn refund(self, starts: &mut Starts, count: u32) {
        starts.0.truncate(starts.0.len().saturating_sub(count as usize));
    }

    /// The length of the interval, in microseconds.
    pub fn length(self) -> u64 {
        self.length
    }

    /// How many starts have left the window at `now`.
    fn gone(self, starts: &Starts, now: u64) -> usize {
        starts.0.partition_point(|start| now.saturating_sub(*start) > self.length)
    }

    /// The first moment whose window doesn't hold a start at `start`.
    fn leaves_at(self, start: u64) -> u64 {
        start.saturating_add(self.length).saturating_add(1)
    }
}

impl Starts {
    /// How many starts are kept.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is kept, so that the key may be forgotten.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The last start.
    pub fn newest(&self) -> Option<u64> {
        self.0.back().copied()
    }

    /// All that are kept, the oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.0.iter().copied()
    }

    /// Bytes on the heap: 8 a start, and room for a sixteenth more; while starts leave, for a
    /// quarter more, at least four.
    pub fn heap_bytes(&self) -> usize {
        self.0.capacity() * size_of::<u64>()
    }

    fn clock(&self, now: u64) -> u64 {
        self.0.back().map_or(now, |newest| now.max(*newest))
    }

    fn grow(&mut self, count: usize) {
        let needed = self.0.len() + count;
        if needed > self.0.capacity() {
            self.0.reserve_exact(count + needed / SPARE);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every start ever made; those that a change found outside the window are not `known`.
    #[derive(Default)]
    struct Oracle {
        known: Vec<u64>,
    }

    impl Oracle {
        fn allows(&self, limit: WindowLimit, count: u32, now: u64) -> bool {
            let inside = |start: &&u64| **start >= now.saturating_sub(limit.length);
            self.known.iter().filter(inside).count() + count as usize <= limit.max as usize
        }
    }

    #[test]
    fn after_a_full_window_the_next_starts_when_the_first_has_left() {
        let (limit, mut starts) = (WindowLimit::new(2, 1).unwrap(), Starts::default());
        assert_eq!(limit.take(&mut starts, 1, 10), Ok(()));
        assert_eq!(limit.take(&mut starts, 1, 500), Ok(()));
        assert_eq!(limit.take(&mut starts, 1, 1_010), Err(Limited { eligible_at: 1_011 }));
        assert_eq!(limit.take(&mut starts, 2, 1_010), Err(Limited { eligible_at: 1_501 }));
        assert_eq!(limit.take(&mut starts, 3, 1_010), Err(Limited { eligible_at: NEVER }));
        assert_eq!(limit.take(&mut starts, 1, 1_011), Ok(()));
        limit.refund(&mut starts, 1);
        assert_eq!(limit.check(&starts, 1, 1_011), Ok(()));
        limit.forget(&mut starts, 1_501);
        assert!(starts.is_empty());
    }

    #[test]
    fn ranges_are_checked() {
        assert_eq!(WindowLimit::new(0, 1), Err(WindowError::Max(0)));
        assert_eq!(WindowLimit::new(100_001, 1), Err(WindowError::Max(100_001)));
        assert_eq!(WindowLimit::new(1, 0), Err(WindowError::Length));
    }

    #[test]
    fn a_start_takes_eight_bytes_and_idle_keys_none() {
        let (limit, mut starts) = (WindowLimit::new(100_000, 1_000).unwrap(), Starts::default());
        for at in 0..100_000 {
            limit.take(&mut starts, 1, at).unwrap();
            assert!(starts.heap_bytes() <= (8 * starts.len()) * 17 / 16, "{}", starts.len());
        }
        limit.forget(&mut starts, 1_050_001);
        assert!(starts.len() < 50_000 && starts.heap_bytes() <= 8 * starts.len() * 17 / 16);
        limit.forget(&mut starts, 9_000_000);
        assert_eq!(starts.heap_bytes(), 0);
    }

    proptest! {
        #[test]
        fn no_interval_holds_more_starts_than_the_window_allows(
            steps in prop::collection::vec((0u64..2_500, 1u32..4, 0u32..12, 1u64..4), 1..120),
            backwards in 0u64..300,
        ) {
            let mut limit = WindowLimit::new(3, 2).unwrap();
            let (mut starts, mut oracle, mut now) = (Starts::default(), Oracle::default(), 0u64);
            for (wait, count, max, length_ms) in steps {
                // Most steps ask, few change the limit; time goes back now and then.
                now = if wait % 7 == 0 { now.saturating_sub(backwards) } else { now + wait };
                let at = now.max(oracle.known.last().copied().unwrap_or(0));
                if max >= 10 {
                    limit.forget(&mut starts, at);
                    oracle.known.retain(|start| *start >= at.saturating_sub(limit.length));
                    limit = WindowLimit::new(max - 9 + count, length_ms).unwrap();
                }
                match limit.take(&mut starts, count, now) {
                    Ok(()) => {
                        prop_assert!(oracle.allows(limit, count, at));
                        oracle.known.extend((0..count).map(|_| at));
                    }
                    Err(Limited { eligible_at }) => {
                        prop_assert!(!oracle.allows(limit, count, at));
                        prop_assert!(eligible_at > at);
                        if eligible_at == NEVER {
                            prop_assert!(count > limit.max);
                        } else {
                            prop_assert!(oracle.allows(limit, count, eligible_at));
                            prop_assert!(!oracle.allows(limit, count, eligible_at - 1));
                        }
                    }
                }
            }
        }

        #[test]
        fn no_input_panics(steps in prop::collection::vec((any::<u64>(), 0u32..5, any::<u64>()), 0..50)) {
            let mut starts = Starts::default();
            for (now, count, length_ms) in steps {
                let Ok(limit) = WindowLimit::new(4, length_ms) else { continue };
                limit.take(&mut starts, count, now).ok();
                prop_assert!(limit.check(&starts, u32::MAX, now).is_err());
            }
        }
    }
}
