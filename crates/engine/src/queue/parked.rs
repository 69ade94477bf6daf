//! Receives that wait for a message.

use std::collections::{BTreeMap, BTreeSet};

use sluice_model::{SessionId, Timestamp};

use crate::effects::{Place, Ticket};
use crate::receive::Terms;

/// A receive that found nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parked {
    pub(crate) session: SessionId,
    pub(crate) tag: u64,
    /// Where its answer goes.
    pub(crate) place: Place,
    pub(crate) terms: Terms,
    /// What is kept for its answer of the session's bound on outgoing bytes.
    pub(crate) weight: usize,
    /// How long it waits; none if only until the messages that are there are committed.
    pub(crate) until: Option<Timestamp>,
}

/// The receives that wait for messages of one queue.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    all: BTreeMap<Ticket, Parked>,
    /// Those that may be served, in turn; the others wait for their session to take what it has.
    in_line: BTreeSet<Ticket>,
    /// Those that wait only until the messages that are there are committed.
    brief: BTreeSet<Ticket>,
}

impl Waiting {
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn get(&self, ticket: Ticket) -> Option<&Parked> {
        self.all.get(&ticket)
    }

    /// Every one, in turn.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = Ticket> {
        self.all.keys().copied()
    }

    pub(crate) fn insert(&mut self, ticket: Ticket, parked: Parked) {
        if parked.until.is_none() {
            self.brief.insert(ticket);
        }
        self.in_line.insert(ticket);
        self.all.insert(ticket, parked);
    }

    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<Parked> {
        self.in_line.remove(&ticket);
        self.brief.remove(&ticket);
        self.all.remove(&ticket)
    }

    /// The one whose turn it is.
    pub(crate) fn first(&self) -> Option<(Ticket, Parked)> {
        let ticket = self.in_line.first()?;
        Some((*ticket, *self.all.get(ticket)?))
    }

    /// The first that waits only for a commit.
    pub(crate) fn first_brief(&self) -> Option<Ticket> {
        self.brief.first().copied()
    }

    /// Lets the others pass until [`Waiting::line_up`].
    pub(crate) fn step_aside(&mut self, ticket: Ticket) {
        self.in_line.remove(&ticket);
    }

    /// Stands in its old place again.
    pub(crate) fn line_up(&mut self, ticket: Ticket) {
        if self.all.contains_key(&ticket) {
            self.in_line.insert(ticket);
        }
    }

    /// Whether nobody waits who could be served.
    pub(crate) fn nobody_in_line(&self) -> bool {
        self.in_line.is_empty()
    }

    /// What must hold between any two calls.
    pub(crate) fn check(&self) {
        assert!(self.in_line.iter().all(|ticket| self.all.contains_key(ticket)));
        for (ticket, parked) in &self.all {
            assert_eq!(self.brief.contains(ticket), parked.until.is_none(), "{ticket:?}");
        }
    }
}
