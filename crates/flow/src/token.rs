//! Token buckets: a rate and a burst, kept as the time at which a bucket is full again (GCRA).
//!
//! ```text
//! allow iff   now >= full_at + cost * T - depth * T     depth = max(burst, cost), T = 1 / rate
//! then        full_at = max(full_at, now) + cost * T
//! ```
//!
//! A bucket is one `u64`; what many of them share is the [`TokenLimit`]. What holds:
//!
//! - In any interval, the tokens taken are at most `max(burst, largest cost) + length * rate`.
//! - A bucket that is full again equals a fresh one, so it may be forgotten ([`TokenLimit::is_idle`]).
//! - A change of the limit ([`TokenLimit::change`]) hands out nothing: a bucket keeps the tokens
//!   it has, less what no longer fits. Fresh buckets fare as forgotten ones would have.
//! - Time that goes back counts as the latest time seen. No input panics; what would be full only
//!   after the end of the clock (2116) is refused for good.
//!
//! The arithmetic is that of the Generic Cell Rate Algorithm, ITU-T I.371.

mod change;
#[cfg(test)]
mod tests;

use thiserror::Error;

pub use self::change::Change;
use crate::rate::{NEVER, Rate, RateError};

/// Refused for now; nothing was charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("limited until {eligible_at} us")]
pub struct Limited {
    /// When the same would be allowed if nothing else comes first, in microseconds;
    /// [`NEVER`] if it never will.
    pub eligible_at: u64,
}

/// What buckets of one limit share: `rate`, `burst`, and how full a fresh bucket is.
#[derive(Clone, Debug)]
pub struct TokenLimit {
    rate: Rate,
    burst: u32,
    /// In ticks: no bucket is full before, also none that was never seen.
    fresh: u64,
    /// In microseconds.
    latest: u64,
    /// Counts changes: what was charged before one can't be refunded after it.
    generation: u32,
}

/// One key's tokens, as the tick at which all of them are back. The default is a fresh one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bucket(u64);

/// What was charged, for [`TokenLimit::refund`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    at: u128,
    ticks: u64,
    generation: u32,
}

/// What taking tokens would do, in ticks.
pub(crate) struct Demand {
    /// The time from which on it is allowed.
    pub(crate) eligible: u128,
    after: u64,
    charge: Charge,
}

impl TokenLimit {
    /// A limit of `rate`, of which `burst` tokens may be taken at once; 1 spreads them evenly.
    ///
    /// # Errors
    /// The burst is 0, or would take more than 366 days to come back.
    pub fn new(rate: Rate, burst: u32) -> Result<Self, RateError> {
        rate.check_burst(burst)?;
        Ok(Self { rate, burst, fresh: 0, latest: 0, generation: 0 })
    }

    /// Empties the buckets that were not seen yet, as after a restart that forgot them.
    pub fn start_empty(&mut self, now: u64) {
        let now = self.clock(now);
        let full_at = self.rate.ceil(now) + self.rate.ticks_for(self.burst);
        self.fresh = self.fresh.max(u64::try_from(full_at).unwrap_or(u64::MAX));
    }

    /// Whether `cost` tokens may be taken at `now`, in microseconds.
    ///
    /// # Errors
    /// Says from when on they may.
    pub fn check(&self, bucket: Bucket, cost: u32, now: u64) -> Result<(), Limited> {
        self.admit(bucket, cost, now.max(self.latest)).map(|_| ())
    }

    /// Takes `cost` tokens at `now`, in microseconds.
    ///
    /// A cost above the burst is taken from a full bucket, which then owes the rest. No cost is
    /// always allowed.
    ///
    /// # Errors
    /// Says from when on they may be taken.
    pub fn take(&mut self, bucket: &mut Bucket, cost: u32, now: u64) -> Result<Charge, Limited> {
        let now = self.clock(now);
        let demand = self.admit(*bucket, cost, now)?;
        Ok(self.charge(bucket, demand))
    }

    /// Takes tokens that [`TokenLimit::check`] has just found to be there.
    pub(crate) fn take_checked(&mut self, bucket: &mut Bucket, cost: u32, now: u64) {
        let now = self.clock(now);
        if let Ok(demand) = self.demand(*bucket, cost, now) {
            self.charge(bucket, demand);
        }
    }

    /// Gives back what was charged and not used.
    ///
    /// At once, that is all of it. Later, the time since the charge is taken off, because the
    /// bucket may have been full meanwhile and more would be a burst too many. After a change of
    /// the limit it is nothing.
    pub fn refund(&mut self, bucket: &mut Bucket, charge: Charge, now: u64) {
        let now = self.clock(now);
        if charge.generation == self.generation {
            let since = self.rate.ceil(now).saturating_sub(charge.at);
            let since = u64::try_from(since).unwrap_or(u64::MAX);
            bucket.0 = bucket.0.saturating_sub(charge.ticks.saturating_sub(since));
        }
    }

    /// Whether the bucket equals a fresh one, so that it may be forgotten.
    pub fn is_idle(&self, bucket: Bucket, now: u64) -> bool {
        let now = self.rate.floor(now.max(self.latest));
        u128::from(bucket.0) <= now.max(u128::from(self.fresh))
    }

    /// The first microsecond at which [`TokenLimit::is_idle`] holds, however long ago.
    pub fn idle_at(&self, bucket: Bucket) -> u64 {
        if bucket.0 <= self.fresh { 0 } else { self.rate.micros(u128::from(bucket.0)) }
    }

    /// Leaves the bucket no token at `at`, in microseconds; from then on they come in as ever.
    pub fn drain(&self, bucket: &mut Bucket, at: u64) {
        let empty = self.rate.ceil(at) + self.rate.ticks_for(self.burst);
        bucket.0 = bucket.0.max(u64::try_from(empty).unwrap_or(u64::MAX));
    }

    /// Whole tokens that may be taken at `now`.
    pub fn available(&self, bucket: Bucket, now: u64) -> u32 {
        let now = self.rate.floor(now.max(self.latest));
        let missing = u128::from(self.full_at(bucket)).saturating_sub(now);
        let left = self.rate.ticks_for(self.burst).saturating_sub(missing);
        // At most the burst.
        u32::try_from(left / u128::from(self.rate.interval())).unwrap_or(self.burst)
    }

    /// The rate of this limit.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// How many tokens may be taken at once.
    pub fn burst(&self) -> u32 {
        self.burst
    }

    /// The time to reckon with, in microseconds: it never goes back.
    pub(crate) fn clock(&mut self, now: u64) -> u64 {
        self.latest = self.latest.max(now);
        self.latest
    }

    pub(crate) fn demand(&self, bucket: Bucket, cost: u32, now: u64) -> Result<Demand, Limited> {
        let full_at = u128::from(self.full_at(bucket));
        let needed = self.rate.ticks_for(cost);
        let depth = self.rate.ticks_for(self.burst.max(cost));
        let at = self.rate.ceil(now);
        let after = u64::try_from(full_at.max(at) + needed);
        let (Ok(after), Ok(ticks)) = (after, u64::try_from(needed)) else {
            return Err(Limited { eligible_at: NEVER });
        };
        let charge = Charge { at, ticks, generation: self.generation };
        Ok(Demand { eligible: (full_at + needed).saturating_sub(depth), after, charge })
    }

    pub(crate) fn charge(&self, bucket: &mut Bucket, demand: Demand) -> Charge {
        if demand.charge.ticks > 0 {
            bucket.0 = demand.after;
        }
        demand.charge
    }

    fn admit(&self, bucket: Bucket, cost: u32, now: u64) -> Result<Demand, Limited> {
        let demand = self.demand(bucket, cost, now)?;
        match cost == 0 || self.rate.floor(now) >= demand.eligible {
            true => Ok(demand),
            false => Err(Limited { eligible_at: self.rate.micros(demand.eligible) }),
        }
    }

    fn full_at(&self, bucket: Bucket) -> u64 {
        bucket.0.max(self.fresh)
    }
}
