//! The waiting room in front of the handlers: so many requests at work, so many waiting in turn,
//! and the next one refused at once.
//!
//! ```text
//! enter --a place is free--> at work --leave--> gone
//!   |                        ^   |  ^
//!   '--all taken--> waiting -'   |  '- returning <-- resume --.
//!   '--too many wait--> refused  '--park------------------> parked --depart--> gone
//! ```
//!
//! What holds: `working <= workers`, `waiting <= queue_size`, parked and returning together
//! `<= parked_max` (fewer once a limit was lowered, as those inside go); nobody waits while a place
//! is free; a freed place goes to whoever returns first, else to whoever came first. A [`Place`] is
//! a request at work, can't be copied, and is used up by leaving, so no count goes below zero.

use std::collections::BTreeMap;

use thiserror::Error;

/// How many may be where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomLimits {
    /// Requests at work at once, at least 1.
    pub workers: usize,
    /// Requests that wait for one of these to end; 0 refuses what can't begin at once.
    pub queue_size: usize,
    /// Requests that gave their place back because they wait for something else.
    pub parked_max: usize,
}

impl Default for RoomLimits {
    fn default() -> Self {
        Self { workers: 256, queue_size: 1_024, parked_max: 16_000 }
    }
}

impl RoomLimits {
    /// Checks the ranges.
    ///
    /// # Errors
    /// No request could ever be at work.
    pub fn validate(&self) -> Result<(), NoWorkers> {
        if self.workers == 0 { Err(NoWorkers) } else { Ok(()) }
    }
}

/// The room would serve nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("workers is 0, it must be at least 1")]
pub struct NoWorkers;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RoomFull {
    /// All are at work, and as many wait as may.
    #[error("all workers are busy and the queue in front of them is full")]
    Queue,
    /// As many are parked as may.
    #[error("too many requests wait for something to happen")]
    Parked,
}

/// A request at work.
#[derive(Debug)]
#[must_use = "a place that doesn't leave is taken for ever"]
pub struct Place(());

/// A request that gave its place back and may come again.
#[derive(Debug)]
#[must_use = "what doesn't depart is parked for ever"]
pub struct Parked(());

/// A request that waits for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// What becomes of a request that is not refused.
#[derive(Debug)]
pub enum Entry {
    /// It has a place.
    Working(Place),
    /// It is called when it has one.
    Waiting(Ticket),
}

/// A place for one that waited.
#[derive(Debug)]
#[must_use = "a place that doesn't leave is taken for ever"]
pub struct Handed<W> {
    /// How to call it.
    pub waiter: W,
    /// Its place.
    pub place: Place,
}

/// How many are where, and how many ever were; the latter never go down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomFigures {
    /// At work now.
    pub working: usize,
    /// Waiting now.
    pub waiting: usize,
    /// Parked now, those who wait to come back included.
    pub parked: usize,
    /// Let in, at once or to wait.
    pub entered: u64,
    /// Of these, those who gave up while they waited.
    pub cancelled: u64,
    /// Refused because the queue was full.
    pub refused_queue: u64,
    /// Refused because too many were parked.
    pub refused_parked: u64,
}

/// The room; `W` is how one that waits is called.
#[derive(Debug)]
pub struct Room<W> {
    limits: RoomLimits,
    figures: RoomFigures,
    waiting: BTreeMap<Ticket, W>,
    returning: BTreeMap<Ticket, W>,
    next_ticket: u64,
}

impl<W> Room<W> {
    /// An empty room.
    pub fn new(limits: RoomLimits) -> Self {
        let (waiting, returning) = (BTreeMap::new(), BTreeMap::new());
        Self { limits, figures: RoomFigures::default(), waiting, returning, next_ticket: 0 }
    }

    /// Lets a request in; `waiter` makes what it is called by, if it has to wait.
    ///
    /// # Errors
    /// All are at work, and as many wait as may.
    pub fn enter(&mut self, waiter: impl FnOnce() -> W) -> Result<Entry, RoomFull> {
        if let Some(place) = self.take() {
            self.figures.entered += 1;
            return Ok(Entry::Working(place));
        }
        if self.waiting.len() >= self.limits.queue_size {
            self.figures.refused_queue += 1;
            return Err(RoomFull::Queue);
        }
        self.figures.entered += 1;
        let ticket = self.ticket();
        self.waiting.insert(ticket, waiter());
        Ok(Entry::Waiting(ticket))
    }

    /// A request is done. Its place may go on to one that waited.
    pub fn leave(&mut self, place: Place) -> Option<Handed<W>> {
        let Place(()) = place;
        self.figures.working = self.figures.working.saturating_sub(1);
        self.hand()
    }

    /// One that waits has gone away; how it would have been called comes back. None if it has been
    /// handed a place, which must leave.
    pub fn cancel(&mut self, ticket: Ticket) -> Option<W> {
        let waiter = match self.waiting.remove(&ticket) {
            Some(waiter) => waiter,
            None => {
                let waiter = self.returning.remove(&ticket)?;
                self.figures.parked = self.figures.parked.saturating_sub(1);
                waiter
            }
        };
        self.figures.cancelled += 1;
        Some(waiter)
    }

    /// A request gives its place back while it waits for something else.
    ///
    /// # Errors
    /// As many are parked as may; it keeps its place, to be refused.
    pub fn park(&mut self, place: Place) -> Result<(Parked, Option<Handed<W>>), Place> {
        if self.figures.parked >= self.limits.parked_max {
            self.figures.refused_parked += 1;
            return Err(place);
        }
        self.figures.parked += 1;
        Ok((Parked(()), self.leave(place)))
    }

    /// A parked request wants to be at work again. It is never refused, and goes before those who
    /// are not in yet.
    pub fn resume(&mut self, parked: Parked, waiter: impl FnOnce() -> W) -> Entry {
        if let Some(place) = self.take() {
            self.depart(parked);
            return Entry::Working(place);
        }
        let Parked(()) = parked;
        let ticket = self.ticket();
        self.returning.insert(ticket, waiter());
        Entry::Waiting(ticket)
    }

    /// A parked request is done.
    pub fn depart(&mut self, parked: Parked) {
        let Parked(()) = parked;
        self.figures.parked = self.figures.parked.saturating_sub(1);
    }

    /// Changes the limits and hands out the places that this adds.
    pub fn change(&mut self, limits: RoomLimits) -> Vec<Handed<W>> {
        self.limits = limits;
        std::iter::from_fn(|| self.hand()).collect()
    }

    /// Whether the next one would be refused.
    pub fn is_full(&self) -> bool {
        let all_work = self.figures.working >= self.limits.workers;
        all_work && self.waiting.len() >= self.limits.queue_size
    }

    /// Whether at least half of those wait that may.
    pub fn is_crowded(&self) -> bool {
        let all_work = self.figures.working >= self.limits.workers;
        all_work && self.waiting.len() >= self.limits.queue_size / 2
    }

    /// How many are where, and how many ever were.
    pub fn figures(&self) -> RoomFigures {
        RoomFigures { waiting: self.waiting.len(), ..self.figures }
    }

    /// Takes a place for one that is not waiting. While a place is free, nobody is.
    fn take(&mut self) -> Option<Place> {
        if self.figures.working >= self.limits.workers {
            return None;
        }
        self.figures.working += 1;
        Some(Place(()))
    }

    fn hand(&mut self) -> Option<Handed<W>> {
        if self.waiting.is_empty() && self.returning.is_empty() {
            return None;
        }
        let place = self.take()?;
        let waiter = match self.returning.pop_first() {
            Some((_, waiter)) => {
                self.figures.parked = self.figures.parked.saturating_sub(1);
                waiter
            }
            None => self.waiting.pop_first()?.1,
        };
        Some(Handed { waiter, place })
    }

    fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }
}

#[cfg(test)]
mod tests;
