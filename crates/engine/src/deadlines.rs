//! What is due next: an ordered index, never a scan.

use sluice_model::{QueueNo, Seq, SessionId, Timestamp, WatchId};

use crate::effects::Ticket;
use crate::run_set::{RunSet, Step};
use crate::topic::Listener;

/// Something that happens by itself when its time comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// A lease ends.
    Lease(QueueNo, Seq),
    /// Delayed messages of a queue are ready.
    Ready(QueueNo),
    /// A message runs out of time.
    Expire(QueueNo, Seq),
    /// The oldest message of a dead set is too old.
    Dead(QueueNo),
    /// A receive has waited long enough.
    Wait(Listener, Ticket),
    /// Work in slices goes on.
    Work(QueueNo),
    /// A look for the next message of a queue goes on.
    Lanes(QueueNo),
    /// The pause of a queue is over.
    Resume(QueueNo),
    /// The oldest dedupe id of a scope is forgotten.
    Dedupe(u32),
    /// The time of a key is over, unless it has changed since the change of this number.
    Key(u64),
    /// A watch goes on to look for changes.
    Watch(WatchId),
    /// The leases of a lost connection end.
    Grace(SessionId),
    /// More of what a lost connection held goes back.
    Release(SessionId),
    /// A subscription without a consumer goes.
    Inactive(QueueNo),
}

/// Something due, and when.
type At = (Timestamp, Due);

impl Step for At {
    /// Only leases come in rows: those of messages that were handed over together.
    fn plus(self, count: u32) -> Self {
        match self.1 {
            Due::Lease(no, seq) => (self.0, Due::Lease(no, Seq(seq.0 + u64::from(count)))),
            _ => self,
        }
    }

    fn distance_from(self, first: Self) -> Option<u64> {
        match (self.1, first.1) {
            (Due::Lease(no, seq), Due::Lease(first_no, first_seq))
                if (self.0, no) == (first.0, first_no) =>
            {
                seq.0.checked_sub(first_seq.0)
            }
            _ => (self == first).then_some(0),
        }
    }
}

/// All that is due, by time.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    set: RunSet<At>,
}

impl Deadlines {
    pub(crate) fn insert(&mut self, at: Timestamp, due: Due) {
        self.set.insert((at, due), 1);
    }

    pub(crate) fn cancel(&mut self, at: Timestamp, due: Due) {
        self.set.remove((at, due), 1);
    }

    /// The leases of so many messages in a row end.
    pub(crate) fn insert_leases(&mut self, at: Timestamp, no: QueueNo, first: Seq, count: u32) {
        self.set.insert((at, Due::Lease(no, first)), count);
    }

    /// The leases of so many messages in a row don't end by themselves.
    pub(crate) fn cancel_leases(&mut self, at: Timestamp, no: QueueNo, first: Seq, count: u32) {
        self.set.remove((at, Due::Lease(no, first)), count);
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.set.first().map(|(at, _)| at)
    }

    /// Takes the first one, if it is due at `now`.
    pub(crate) fn pop(&mut self, now: Timestamp) -> Option<Due> {
        let first = self.set.first().filter(|(at, _)| *at <= now)?;
        self.set.remove(first, 1);
        Some(first.1)
    }
}
