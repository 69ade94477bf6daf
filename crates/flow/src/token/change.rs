//! What a change of a limit does to its buckets.

use super::{Bucket, TokenLimit};
use crate::rate::{Rate, RateError};

/// A change of a [`TokenLimit`], to be carried to each of its buckets.
///
/// The order of buckets by fullness stays as it was.
#[derive(Clone, Debug)]
#[must_use = "buckets of the old limit mean nothing to the new one"]
pub struct Change {
    from: TokenLimit,
    to: TokenLimit,
    now: u64,
}

impl TokenLimit {
    /// Changes the limit at `now`. Each bucket that is kept must be carried over; nothing else may
    /// be done to it before.
    ///
    /// # Errors
    /// The burst is 0, or would take more than 366 days to come back. Nothing has changed then.
    pub fn change(&mut self, rate: Rate, burst: u32, now: u64) -> Result<Change, RateError> {
        rate.check_burst(burst)?;
        let now = self.clock(now);
        let generation = self.generation.wrapping_add(1);
        let to = Self { rate, burst, fresh: 0, latest: now, generation };
        let mut change = Change { from: self.clone(), to, now };
        let mut fresh = Bucket::default();
        change.carry(&mut fresh);
        change.to.fresh = fresh.0;
        *self = change.to.clone();
        Ok(change)
    }
}

impl Change {
    /// Gives a bucket the tokens that it had, or owes what it owed.
    pub fn carry(&self, bucket: &mut Bucket) {
        let now = self.from.rate.floor(self.now);
        let missing = u128::from(self.from.full_at(*bucket)).saturating_sub(now);
        self.refill(bucket, missing, self.now);
    }

    /// Leaves a bucket no token at `at`, at the rate of then, if that was not after the change. Says
    /// whether it was not.
    pub(crate) fn drain_before(&self, bucket: &mut Bucket, at: u64) -> bool {
        let is_before = at <= self.now;
        if is_before {
            self.from.drain(bucket, at);
        }
        is_before
    }

    /// Lets those who were told when they may go keep their time: the new limit begins behind the
    /// last of them, with an empty bucket. A bucket that nobody waits for is carried as ever.
    pub fn carry_behind_waiting(&self, bucket: &mut Bucket) {
        let (full_at, depth) =
            (u128::from(self.from.full_at(*bucket)), self.from.rate.ticks_for(self.from.burst));
        let last = self.from.rate.micros(full_at.saturating_sub(depth));
        match last > self.now {
            true => self.refill(bucket, depth, last),
            false => self.carry(bucket),
        }
    }

    /// Makes of a bucket that missed `missing` ticks of the old rate at `at` one of the new limit.
    fn refill(&self, bucket: &mut Bucket, missing: u128, at: u64) {
        let Self { from, to, .. } = self;
        let depth = to.rate.ticks_for(to.burst);
        let (old, new) = (u128::from(from.rate.interval()), u128::from(to.rate.interval()));
        // Both products stay below 2^122: no interval is above 2^57, no depth and no tick above 2^64.
        let missing = match from.rate.ticks_for(from.burst).checked_sub(missing) {
            Some(left) => depth.saturating_sub(left * new / old),
            None => depth + ((missing - from.rate.ticks_for(from.burst)) * new).div_ceil(old),
        };
        let full_at = to.rate.ceil(at).saturating_add(missing);
        bucket.0 = u64::try_from(full_at).unwrap_or(u64::MAX);
    }
}
