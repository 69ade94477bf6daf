//! What is due next: an ordered index, never a scan.

use std::collections::BTreeSet;

use sluice_model::{QueueNo, Seq, SessionId, Timestamp};

use crate::effects::Ticket;
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
    /// The oldest dedupe id of a scope is forgotten.
    Dedupe(u32),
    /// The leases of a lost connection end.
    Grace(SessionId),
    /// More of what a lost connection held goes back.
    Release(SessionId),
    /// A subscription without a consumer goes.
    Inactive(QueueNo),
}

/// All that is due, by time.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    set: BTreeSet<(Timestamp, Due)>,
}

impl Deadlines {
    pub(crate) fn insert(&mut self, at: Timestamp, due: Due) {
        self.set.insert((at, due));
    }

    pub(crate) fn cancel(&mut self, at: Timestamp, due: Due) {
        self.set.remove(&(at, due));
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.set.first().map(|(at, _)| *at)
    }

    /// Takes the first one, if it is due at `now`.
    pub(crate) fn pop(&mut self, now: Timestamp) -> Option<Due> {
        if self.next()? > now {
            return None;
        }
        self.set.pop_first().map(|(_, due)| due)
    }
}
