//! The dead set: messages that are not tried again, oldest first.

use std::collections::BTreeSet;

use sluice_model::{DeadReason, Timestamp};

use crate::config::QueueConfig;

/// One half of a dead set.
#[derive(Debug, Default)]
pub(crate) struct Share {
    by_age: BTreeSet<(Timestamp, u64)>,
    bytes: u64,
}

/// The messages of a queue that are not tried again. Those that made room for newer ones have a
/// share of their own, so that they push out no real failure.
#[derive(Debug, Default)]
pub(crate) struct DeadSet {
    failed: Share,
    overflowed: Share,
}

impl Share {
    fn is_over(&self, rules: &QueueConfig) -> bool {
        self.by_age.len() as u64 > rules.dead_max || self.bytes > rules.dead_max_bytes
    }
}

impl DeadSet {
    fn share(&mut self, reason: DeadReason) -> &mut Share {
        match reason {
            DeadReason::Overflow => &mut self.overflowed,
            _ => &mut self.failed,
        }
    }

    pub(crate) fn insert(&mut self, reason: DeadReason, at: Timestamp, seq: u64, len: u64) {
        let share = self.share(reason);
        if share.by_age.insert((at, seq)) {
            share.bytes += len;
        }
    }

    pub(crate) fn remove(&mut self, reason: DeadReason, at: Timestamp, seq: u64, len: u64) {
        let share = self.share(reason);
        if share.by_age.remove(&(at, seq)) {
            share.bytes -= len;
        }
    }

    /// T23: the message that has to go, because there are too many or it is too old.
    pub(crate) fn surplus(&self, rules: &QueueConfig, now: Timestamp) -> Option<u64> {
        [&self.failed, &self.overflowed].into_iter().find_map(|share| {
            let (at, seq) = share.by_age.first()?;
            let old = rules.dead_ttl.is_some_and(|ttl| at.after(ttl) <= now);
            (old || share.is_over(rules)).then_some(*seq)
        })
    }

    /// When the oldest one is too old.
    pub(crate) fn due(&self, rules: &QueueConfig) -> Option<Timestamp> {
        let ttl = rules.dead_ttl?;
        let firsts = [&self.failed, &self.overflowed].into_iter();
        firsts.filter_map(|share| share.by_age.first()).map(|(at, _)| at.after(ttl)).min()
    }

    /// The first message behind `after` in the order of age, failures before overflows.
    pub(crate) fn next(&self, after: Option<Cursor>) -> Option<Cursor> {
        use std::ops::Bound::{Excluded, Unbounded};
        let (overflow, from) = match after {
            None => (false, Unbounded),
            Some(cursor) => (cursor.overflow, Excluded((cursor.at, cursor.seq))),
        };
        let of = |share: &Share, from, overflow| {
            let (at, seq) = *share.by_age.range((from, Unbounded)).next()?;
            Some(Cursor { overflow, at, seq })
        };
        if overflow {
            return of(&self.overflowed, from, true);
        }
        of(&self.failed, from, false).or_else(|| of(&self.overflowed, Unbounded, true))
    }

    pub(crate) fn len(&self) -> usize {
        self.failed.by_age.len() + self.overflowed.by_age.len()
    }
}

/// A place in a dead set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    overflow: bool,
    pub(crate) at: Timestamp,
    pub(crate) seq: u64,
}
