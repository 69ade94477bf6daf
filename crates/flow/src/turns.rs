//! Whose turn it is among connections that all have something to ask, where serving them all at once
//! would make each request dearer: a processor's cache holds what some of them need, not what thousands do.
//!
//! ```text
//! ask --few have a turn--> turn: asks as often as it likes --its time is over, nothing to ask--> ask again
//!   '--waits in the line of its client ------^
//! ```
//!
//! What holds: nobody waits while fewer than `at_once` have a turn; clients that wait are called one after
//! the other, however many connections each has; of a client's own, those who come new and those whose
//! turn was just over alternate, so who asks now and then does not wait for all who ask without end. A
//! [`Turn`] ends by itself, so nothing is lost with one that is forgotten.

use std::collections::{BTreeMap, VecDeque};

/// Who may ask at once, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnLimits {
    /// Turns at once before others wait.
    pub at_once: usize,
    /// How long a turn lasts for each one that waits: the more there are, the longer it is until a
    /// connection's turn comes again, and the dearer is the first thing that it asks then.
    pub slice_each: u64,
    /// How long it lasts at least.
    pub slice_min: u64,
    /// In this time all who wait are to have had a turn, as far as `slice_min` allows.
    pub lap_max: u64,
}

impl TurnLimits {
    /// How long a turn lasts that is given while so many wait.
    fn slice(&self, waiting: usize) -> u64 {
        let (waiting, at_once) = (waiting as u64, self.at_once as u64);
        let longest = self.lap_max.saturating_mul(at_once) / waiting.max(1);
        waiting.saturating_mul(self.slice_each).min(longest).max(self.slice_min)
    }
}

/// A time in which a connection may ask.
#[derive(Debug, PartialEq, Eq)]
pub struct Turn {
    number: u64,
    ends: u64,
}

impl Turn {
    /// Whether it lasts at `now`.
    pub fn lasts(&self, now: u64) -> bool {
        now < self.ends
    }
}

/// One that waits for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InLine(u64);

/// What becomes of one that asks.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// Its turn is now.
    Turn(Turn),
    /// It is called when its turn comes.
    Waits(InLine),
}

/// Why one asks for a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comes {
    /// It has something to ask now, and had not before.
    New,
    /// Its last turn is over just now.
    Again,
}

/// Turns of connections; `C` tells clients apart, `W` is how one that waits is called.
#[derive(Debug)]
pub struct Turns<C, W> {
    limits: TurnLimits,
    /// Turns in the order in which they end, and which of them are over before.
    given: VecDeque<Given>,
    /// The number of the first of these.
    first: u64,
    /// Of these, those that last.
    lasting: usize,
    waiting: BTreeMap<InLine, W>,
    /// The lines of clients that wait, and whose is next. They may name some that have gone.
    lines: BTreeMap<C, Line>,
    ring: VecDeque<C>,
    last: u64,
}

#[derive(Debug)]
struct Given {
    ends: u64,
    lasts: bool,
}

/// Those of one client that wait.
#[derive(Debug, Default)]
struct Line {
    new: VecDeque<InLine>,
    again: VecDeque<InLine>,
    /// The last that was called had come again.
    new_is_next: bool,
}

impl Line {
    fn pop(&mut self) -> Option<InLine> {
        let new_first = self.new_is_next || self.again.is_empty();
        let popped = match new_first {
            true => self.new.pop_front().or_else(|| self.again.pop_front()),
            false => self.again.pop_front(),
        };
        self.new_is_next = !new_first;
        popped
    }

    fn is_empty(&self) -> bool {
        self.new.is_empty() && self.again.is_empty()
    }
}

impl<C: Ord + Clone, W> Turns<C, W> {
    /// No turns.
    pub fn new(limits: TurnLimits) -> Self {
        Self {
            limits,
            given: VecDeque::new(),
            first: 0,
            lasting: 0,
            waiting: BTreeMap::new(),
            lines: BTreeMap::new(),
            ring: VecDeque::new(),
            last: 0,
        }
    }

    /// Asks for a turn of a client at `now`; `waiter` makes what it is called by, if it has to wait.
    pub fn ask(
        &mut self,
        comes: Comes,
        now: u64,
        client: impl FnOnce() -> C,
        waiter: impl FnOnce() -> W,
    ) -> Asked {
        self.expire(now);
        if self.waiting.is_empty() && self.lasting < self.limits.at_once {
            return Asked::Turn(self.give(now));
        }
        self.last += 1;
        let place = InLine(self.last);
        self.waiting.insert(place, waiter());
        let client = client();
        let line = match self.lines.get_mut(&client) {
            Some(line) => line,
            None => {
                self.ring.push_back(client.clone());
                self.lines.entry(client).or_default()
            }
        };
        match comes {
            Comes::New => line.new.push_back(place),
            Comes::Again => line.again.push_back(place),
        }
        Asked::Waits(place)
    }

    /// A turn is over before its time: there was nothing to ask.
    pub fn end(&mut self, turn: &Turn) {
        let at = turn.number.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        if let Some(given) = at.and_then(|at| self.given.get_mut(at))
            && std::mem::take(&mut given.lasts)
        {
            self.lasting -= 1;
        }
        self.forget();
    }

    /// One that waits has gone; how it would have been called comes back. None if its turn has come.
    pub fn cancel(&mut self, place: InLine) -> Option<W> {
        self.waiting.remove(&place)
    }

    /// Calls the next that waits, if fewer than may have a turn; `beyond` that, for one more.
    pub fn call(&mut self, now: u64, beyond: bool) -> Option<(W, Turn)> {
        self.expire(now);
        if self.waiting.is_empty() {
            self.lines.clear();
            self.ring.clear();
            return None;
        }
        if self.lasting >= self.limits.at_once && !beyond {
            return None;
        }
        while let Some(client) = self.ring.pop_front() {
            let Some(line) = self.lines.get_mut(&client) else { continue };
            let place = line.pop();
            match line.is_empty() {
                true => drop(self.lines.remove(&client)),
                false => self.ring.push_back(client),
            }
            if let Some(waiter) = place.and_then(|place| self.waiting.remove(&place)) {
                return Some((waiter, self.give(now)));
            }
        }
        None
    }

    /// Changes the limits; turns that last do so until their time.
    pub fn change(&mut self, limits: TurnLimits) {
        self.limits = limits;
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn give(&mut self, now: u64) -> Turn {
        let ends = now.saturating_add(self.limits.slice(self.waiting.len()));
        // None ends before one that was given before it.
        let ends = self.given.back().map_or(ends, |last| last.ends.max(ends));
        let number = self.first + self.given.len() as u64;
        self.given.push_back(Given { ends, lasts: true });
        self.lasting += 1;
        Turn { number, ends }
    }

    fn expire(&mut self, now: u64) {
        while let Some(given) = self.given.front().filter(|given| given.ends <= now) {
            self.lasting -= usize::from(given.lasts);
            self.given.pop_front();
            self.first += 1;
        }
    }

    /// Those that were over before their time.
    fn forget(&mut self) {
        while self.given.front().is_some_and(|given| !given.lasts) {
            self.given.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: TurnLimits =
        TurnLimits { at_once: 2, slice_each: 1, slice_min: 10, lap_max: 100 };

    fn turn(asked: Asked) -> Turn {
        match asked {
            Asked::Turn(turn) => turn,
            Asked::Waits(_) => panic!("a turn is free"),
        }
    }

    fn waits(asked: Asked) -> InLine {
        match asked {
            Asked::Waits(place) => place,
            Asked::Turn(_) => panic!("no turn is free"),
        }
    }

    #[test]
    fn a_turn_is_free_when_one_is_over_or_ends_early() {
        let mut turns = Turns::new(LIMITS);
        let first = turn(turns.ask(Comes::New, 0, || 'a', || 1));
        let second = turn(turns.ask(Comes::New, 4, || 'a', || 2));
        waits(turns.ask(Comes::New, 5, || 'a', || 3));
        let fourth = waits(turns.ask(Comes::New, 5, || 'a', || 4));
        waits(turns.ask(Comes::New, 5, || 'a', || 5));
        assert!(first.lasts(9) && !first.lasts(10));
        assert_eq!(turns.call(9, false), None);
        assert_eq!(turns.call(10, false).map(|(who, _)| who), Some(3));
        assert_eq!(turns.call(10, false), None);
        turns.end(&second);
        // Again, and one that is over already: nothing ends twice.
        turns.end(&second);
        turns.end(&first);
        assert_eq!(turns.cancel(fourth), Some(4));
        assert_eq!(turns.call(10, false).map(|(who, _)| who), Some(5));
        assert_eq!(turns.call(10, true), None);
    }

    #[test]
    fn clients_alternate_and_so_do_the_new_and_those_who_come_again() {
        let mut turns = Turns::new(TurnLimits { at_once: 0, ..LIMITS });
        for who in [1, 2, 3] {
            waits(turns.ask(Comes::Again, 0, || 'a', || who));
        }
        waits(turns.ask(Comes::New, 0, || 'a', || 4));
        waits(turns.ask(Comes::New, 0, || 'a', || 5));
        waits(turns.ask(Comes::New, 0, || 'b', || 6));
        let called: Vec<_> =
            std::iter::from_fn(|| turns.call(0, true)).map(|(who, _)| who).collect();
        assert_eq!(called, [1, 6, 4, 2, 5, 3]);
    }

    #[test]
    fn a_turn_is_longer_the_more_wait_as_far_as_all_have_theirs_in_time() {
        let cases = [(0, 10), (10, 10), (11, 11), (14, 14), (20, 10), (1_000, 10)];
        for (waiting, expected) in cases {
            assert_eq!(LIMITS.slice(waiting), expected, "{waiting}");
        }
        let mut turns = Turns::new(TurnLimits { slice_min: 0, ..LIMITS });
        let _ = turns.ask(Comes::New, 0, || 'a', || 0);
        turns.change(TurnLimits { slice_each: 0, ..LIMITS });
        assert!(turn(turns.ask(Comes::New, 5, || 'a', || 0)).lasts(14));
    }

    proptest! {
        #[test]
        fn nobody_waits_beside_a_free_turn_and_everybody_is_called(
            steps in prop::collection::vec((0u8..6, any::<usize>(), 0u64..8), 1..300),
        ) {
            let mut turns = Turns::new(LIMITS);
            let (mut now, mut on, mut line) = (0, Vec::<Turn>::new(), Vec::<(InLine, u64)>::new());
            for (number, (step, which, later)) in (0u64..).zip(steps) {
                now += later;
                on.retain(|turn| turn.lasts(now));
                match step {
                    0..=2 => {
                        let comes = if which % 2 == 0 { Comes::New } else { Comes::Again };
                        match turns.ask(comes, now, || which % 3, || number) {
                            Asked::Turn(turn) => {
                                prop_assert!(on.len() < LIMITS.at_once && line.is_empty());
                                on.push(turn);
                            }
                            Asked::Waits(place) => line.push((place, number)),
                        }
                    }
                    3 if !on.is_empty() => {
                        let turn = on.swap_remove(which % on.len());
                        turns.end(&turn);
                    }
                    4 if !line.is_empty() => {
                        let (place, number) = line.swap_remove(which % line.len());
                        prop_assert_eq!(turns.cancel(place), Some(number));
                        prop_assert_eq!(turns.cancel(place), None);
                    }
                    _ => {}
                }
                while let Some((who, turn)) = turns.call(now, false) {
                    prop_assert!(on.len() < LIMITS.at_once);
                    let before = line.len();
                    line.retain(|(_, number)| *number != who);
                    prop_assert_eq!(line.len() + 1, before);
                    on.push(turn);
                }
                prop_assert_eq!(turns.waiting(), line.len());
                prop_assert!(line.is_empty() || on.len() >= LIMITS.at_once);
            }
            while turns.call(now, true).is_some() {}
            prop_assert_eq!(turns.waiting(), 0);
            prop_assert!(turns.lines.is_empty() && turns.ring.is_empty());
        }
    }
}
