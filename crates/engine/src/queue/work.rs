//! Work that touches many messages: done in bounded slices, one turn after another.

use std::time::Duration;

use sluice_model::{Generation, Purge, Redrive, SessionId, SubscriptionId, Timestamp};

use crate::effects::Ticket;
use crate::queue::dead_set::Cursor;

/// Who wants to know when the work is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asker {
    pub(crate) session: SessionId,
    pub(crate) tag: u64,
}

/// Work in progress.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Work {
    /// T21: deletes messages by state, from `next` to before `end`.
    Purge { what: Purge, next: u64, end: u64, removed: u64, asker: Asker },
    /// T22: puts dead messages back.
    Redrive(Redriving),
    /// T24: parks waiting messages whose failures are spent since the settings were changed.
    Recheck { next: u64, end: u64 },
    /// Gives back what the connection before held.
    TakeOver(TakingOver),
}

/// A subscription on its way from one connection to another.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TakingOver {
    /// The last lease that is void.
    pub(crate) through: Generation,
    /// The queue waits for the rest of them.
    pub(crate) holds_back: bool,
    /// Who took it over, and the place of the answer.
    pub(crate) asker: Asker,
    pub(crate) subscription: SubscriptionId,
    pub(crate) ticket: Ticket,
}

/// A redrive in progress.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Redriving {
    pub(crate) which: Redrive,
    /// Of a list of ids: how many have been looked at.
    pub(crate) listed: usize,
    pub(crate) cursor: Option<Cursor>,
    /// Messages that died later are not meant.
    pub(crate) asked_at: Timestamp,
    pub(crate) moved: u64,
    pub(crate) pace: Option<Pace>,
    /// None once it has been answered.
    pub(crate) asker: Option<Asker>,
    /// Of one at a pace: its number among those that survive a restart.
    pub(crate) number: Option<u32>,
}

/// At most so many a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pace {
    pub(crate) per_second: u32,
    pub(crate) since: Timestamp,
}

impl Pace {
    /// How many may have been done by `now`.
    pub(crate) fn allowed(&self, now: Timestamp) -> u64 {
        let millis = u64::try_from(now.since(self.since).as_millis()).unwrap_or(u64::MAX);
        1 + millis.saturating_mul(u64::from(self.per_second)) / 1_000
    }

    /// When the next one may be done after so many.
    pub(crate) fn next(&self, done: u64) -> Timestamp {
        let millis = (done * 1_000).div_ceil(u64::from(self.per_second.max(1)));
        self.since.after(Duration::from_millis(millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_allows_one_at_once_and_never_more_than_its_rate() {
        let since = Timestamp::from_millis(1_000);
        for per_second in [1, 3, 100, 5_000] {
            let pace = Pace { per_second, since };
            assert_eq!(pace.allowed(since), 1);
            for done in 1..50 {
                let next = pace.next(done);
                assert!(pace.allowed(next) > done, "{per_second} a second, {done} done");
                let just_before = Timestamp::from_millis(next.as_millis() - 1);
                if just_before >= since && per_second <= 1_000 {
                    assert!(pace.allowed(just_before) <= done, "{per_second}, {done}");
                }
            }
        }
    }
}
