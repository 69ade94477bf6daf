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

/// The receives that wait for messages of one queue. Mostly it is one at most, which lies alone.
#[derive(Debug, Default)]
pub(crate) enum Waiting {
    #[default]
    Nobody,
    One(Box<Lone>),
    Many(Box<Line>),
}

/// One that waits alone.
#[derive(Debug)]
pub(crate) struct Lone {
    ticket: Ticket,
    parked: Parked,
    in_line: bool,
}

/// Any number of them.
#[derive(Debug, Default)]
pub(crate) struct Line {
    all: BTreeMap<Ticket, Parked>,
    /// Those that may be served, in turn; the others wait for their session to take what it has.
    in_line: BTreeSet<Ticket>,
    /// Those that wait only until the messages that are there are committed.
    brief: BTreeSet<Ticket>,
}

impl Line {
    fn insert(&mut self, ticket: Ticket, parked: Parked, in_line: bool) {
        if parked.until.is_none() {
            self.brief.insert(ticket);
        }
        if in_line {
            self.in_line.insert(ticket);
        }
        self.all.insert(ticket, parked);
    }
}

impl Waiting {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Nobody => 0,
            Self::One(_) => 1,
            Self::Many(line) => line.all.len(),
        }
    }

    fn lone(&self, ticket: Ticket) -> Option<&Lone> {
        match self {
            Self::One(lone) if lone.ticket == ticket => Some(lone),
            _ => None,
        }
    }

    pub(crate) fn get(&self, ticket: Ticket) -> Option<&Parked> {
        match self {
            Self::Many(line) => line.all.get(&ticket),
            _ => self.lone(ticket).map(|lone| &lone.parked),
        }
    }

    pub(crate) fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Parked> {
        match self {
            Self::Many(line) => line.all.get_mut(&ticket),
            Self::One(lone) if lone.ticket == ticket => Some(&mut lone.parked),
            _ => None,
        }
    }

    /// Every one, in turn.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = Ticket> {
        let (lone, line) = match self {
            Self::Nobody => (None, None),
            Self::One(lone) => (Some(lone.ticket), None),
            Self::Many(line) => (None, Some(line.all.keys().copied())),
        };
        lone.into_iter().chain(line.into_iter().flatten())
    }

    pub(crate) fn insert(&mut self, ticket: Ticket, parked: Parked) {
        match self {
            Self::Nobody => *self = Self::One(Box::new(Lone { ticket, parked, in_line: true })),
            Self::One(lone) => {
                let mut line = Line::default();
                line.insert(lone.ticket, lone.parked, lone.in_line);
                line.insert(ticket, parked, true);
                *self = Self::Many(Box::new(line));
            }
            Self::Many(line) => line.insert(ticket, parked, true),
        }
    }

    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<Parked> {
        let gone = match self {
            Self::Many(line) => {
                line.in_line.remove(&ticket);
                line.brief.remove(&ticket);
                line.all.remove(&ticket)
            }
            _ => self.lone(ticket).map(|lone| lone.parked),
        };
        let is_last = match self {
            Self::Many(line) => line.all.is_empty(),
            _ => gone.is_some(),
        };
        if is_last {
            *self = Self::Nobody;
        }
        gone
    }

    /// The one whose turn it is.
    pub(crate) fn first(&self) -> Option<(Ticket, Parked)> {
        match self {
            Self::Many(line) => {
                let ticket = line.in_line.first()?;
                Some((*ticket, *line.all.get(ticket)?))
            }
            Self::One(lone) if lone.in_line => Some((lone.ticket, lone.parked)),
            _ => None,
        }
    }

    /// Whose one is that waits alone.
    pub(crate) fn lone_session(&self) -> Option<SessionId> {
        match self {
            Self::One(lone) => Some(lone.parked.session),
            Self::Nobody | Self::Many(_) => None,
        }
    }

    /// The first that waits only for a commit.
    pub(crate) fn first_brief(&self) -> Option<Ticket> {
        match self {
            Self::Many(line) => line.brief.first().copied(),
            Self::One(lone) if lone.parked.until.is_none() => Some(lone.ticket),
            _ => None,
        }
    }

    /// Lets the others pass until [`Waiting::line_up`].
    pub(crate) fn step_aside(&mut self, ticket: Ticket) {
        self.stand(ticket, false);
    }

    /// Stands in its old place again.
    pub(crate) fn line_up(&mut self, ticket: Ticket) {
        self.stand(ticket, true);
    }

    fn stand(&mut self, ticket: Ticket, in_line: bool) {
        match self {
            Self::One(lone) if lone.ticket == ticket => lone.in_line = in_line,
            Self::Many(line) if in_line && line.all.contains_key(&ticket) => {
                line.in_line.insert(ticket);
            }
            Self::Many(line) if !in_line => {
                line.in_line.remove(&ticket);
            }
            _ => {}
        }
    }

    /// Whether nobody waits who could be served.
    pub(crate) fn nobody_in_line(&self) -> bool {
        match self {
            Self::Nobody => true,
            Self::One(lone) => !lone.in_line,
            Self::Many(line) => line.in_line.is_empty(),
        }
    }

    /// What must hold between any two calls.
    pub(crate) fn check(&self) {
        let Self::Many(line) = self else { return };
        assert!(!line.all.is_empty());
        assert!(line.in_line.iter().all(|ticket| line.all.contains_key(ticket)));
        for (ticket, parked) in &line.all {
            assert_eq!(line.brief.contains(ticket), parked.until.is_none(), "{ticket:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parked(tag: u64, brief: bool) -> Parked {
        let terms = Terms {
            subscription: None,
            max: 1,
            lease: None,
            bound: true,
            gaps: false,
            stays: false,
        };
        let until = (!brief).then(|| Timestamp::from_millis(9));
        Parked { session: SessionId(1), tag, place: Place::Next, terms, weight: 0, until }
    }

    #[test]
    fn one_that_waits_alone_is_as_one_of_many() {
        for brief in [false, true] {
            let mut alone = Waiting::default();
            alone.insert(Ticket(5), parked(5, brief));
            let mut of_many = Waiting::default();
            of_many.insert(Ticket(4), parked(4, true));
            of_many.insert(Ticket(5), parked(5, brief));
            assert_eq!(of_many.remove(Ticket(4)), Some(parked(4, true)));
            for mut waiting in [alone, of_many] {
                assert_eq!((waiting.len(), waiting.remove(Ticket(4))), (1, None));
                assert!(waiting.get(Ticket(5)).is_some() && waiting.get(Ticket(4)).is_none());
                assert_eq!(waiting.first_brief(), brief.then_some(Ticket(5)));
                waiting.step_aside(Ticket(4));
                assert_eq!(waiting.first(), Some((Ticket(5), parked(5, brief))));
                waiting.step_aside(Ticket(5));
                waiting.line_up(Ticket(4));
                assert!(waiting.first().is_none() && waiting.nobody_in_line());
                waiting.insert(Ticket(6), parked(6, false));
                assert_eq!(waiting.first().map(|(ticket, _)| ticket), Some(Ticket(6)));
                waiting.line_up(Ticket(5));
                assert_eq!(waiting.first().map(|(ticket, _)| ticket), Some(Ticket(5)));
                assert!(waiting.tickets().eq([Ticket(5), Ticket(6)]));
                waiting.check();
                assert_eq!(waiting.remove(Ticket(5)), Some(parked(5, brief)));
                assert_eq!(waiting.remove(Ticket(6)), Some(parked(6, false)));
                assert!(waiting.len() == 0 && waiting.nobody_in_line());
            }
        }
    }
}
