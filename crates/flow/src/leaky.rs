//! Leaky buckets: what comes too fast is told when to go on, and refused once too much waits.
//!
//! The bucket is that of a token bucket ([`TokenLimit`]), charged at once, and the answer is the
//! time from which on the token is there. So nobody is kept in a list, those who come later go
//! later, and a caller that gives up costs nothing but the time that it was promised.
//!
//! With `queue_max` 0 or `wait_max` 0 nobody waits, and it is a token bucket.

use crate::rate::{Rate, RateError};
use crate::token::{Bucket, Change, Charge, Limited, TokenLimit};

/// How much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Most tokens that are waited for at once: with cost 1, the most who wait.
    pub queue_max: u32,
    /// The longest that anyone waits, in microseconds.
    pub wait_max: u64,
}

impl Waiting {
    /// Nobody waits.
    pub const NONE: Self = Self { queue_max: 0, wait_max: 0 };
}

/// What leaky buckets of one limit share.
#[derive(Clone, Debug)]
pub struct LeakyLimit {
    limit: TokenLimit,
    waiting: Waiting,
}

/// When a request may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    /// In microseconds: the time of asking, or the later exact time rounded up.
    pub at: u64,
    /// What was charged, to be refunded by one that gives up.
    pub charge: Charge,
}

impl LeakyLimit {
    /// Lets what `limit` allows go at once, and as much as `waiting` says go later.
    pub fn new(limit: TokenLimit, waiting: Waiting) -> Self {
        Self { limit, waiting }
    }

    /// Charges `cost` tokens and says when, from `now` on, the one who asks may go.
    ///
    /// In any interval those who go have at most `max(burst, largest cost)` tokens and what comes
    /// in a microsecond more than its length.
    ///
    /// # Errors
    /// Too much waits already; says from when on the wait would be short enough. Nothing is
    /// charged.
    pub fn depart(
        &mut self,
        bucket: &mut Bucket,
        cost: u32,
        now: u64,
    ) -> Result<Departure, Limited> {
        let asked = now;
        let now = self.limit.clock(now);
        let demand = self.limit.demand(*bucket, cost, now)?;
        let rate = self.limit.rate();
        let patience =
            rate.floor(self.waiting.wait_max).min(rate.ticks_for(self.waiting.queue_max));
        if cost > 0 && demand.eligible > rate.floor(now) + patience {
            return Err(Limited { eligible_at: rate.micros(demand.eligible - patience) });
        }
        let waits = cost > 0 && demand.eligible > rate.floor(now);
        let at = if waits { rate.micros(demand.eligible) } else { asked };
        Ok(Departure { at, charge: self.limit.charge(bucket, demand) })
    }

    /// Changes the limit at `now`; those who were told when to go keep their time, and the new
    /// limit begins behind them. Each bucket that is kept must be carried over with
    /// [`Change::carry_behind_waiting`].
    ///
    /// # Errors
    /// The burst is 0, or would take more than 366 days to come back. Nothing has changed then.
    pub fn change(
        &mut self,
        rate: Rate,
        burst: u32,
        waiting: Waiting,
        now: u64,
    ) -> Result<Change, RateError> {
        let change = self.limit.change(rate, burst, now)?;
        self.waiting = waiting;
        Ok(change)
    }

    /// Gives back what was charged; see [`TokenLimit::refund`].
    pub fn refund(&mut self, bucket: &mut Bucket, charge: Charge, now: u64) {
        self.limit.refund(bucket, charge, now);
    }

    /// Whether another allows anything else.
    pub(crate) fn differs(&self, other: &Self) -> bool {
        let allows = |limit: &Self| (limit.limit.rate(), limit.limit.burst(), limit.waiting);
        allows(self) != allows(other)
    }

    /// The limit behind the wait.
    pub fn limit(&self) -> &TokenLimit {
        &self.limit
    }

    /// How much may wait.
    pub fn waiting(&self) -> Waiting {
        self.waiting
    }
}
