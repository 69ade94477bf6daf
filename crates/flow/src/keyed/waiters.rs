//! Lanes that wait for a key: by priority, then in turn; and the times at which keys wake one.

use std::collections::{BTreeMap, BTreeSet};

/// The list of those who wait for room for new keys.
pub(super) const ROOM: u32 = u32::MAX;
/// The highest priority.
const PRIORITY_MAX: u8 = 9;
/// Turns count up in the bits below the priority.
const TURN_BITS: u32 = 60;
/// Of those that wait for a key so many hear that they may go sooner. Those behind them hear of it
/// when these have gone or left.
const HEAR_MAX: usize = 16;

/// A lane as the limits know it; it belongs to the lane and goes with it.
///
/// Dropping it while it waits leaves its place behind: [`super::Keyed::leave`] first.
#[derive(Debug, PartialEq, Eq)]
pub struct Waiter {
    /// What the caller calls the lane.
    pub lane: u32,
    priority: u8,
    /// What is below this goes first; 0 while it has waited for nothing since it went last. It is kept
    /// on the way from one list to another: were it given anew in each, lanes that wait in a circle
    /// could be before one another for ever.
    turn: u64,
    pub(super) place: Option<Place>,
}

impl Waiter {
    /// A lane of a priority from 0 to 9, 9 first, that waits for nothing.
    pub fn new(lane: u32, priority: u8) -> Self {
        Self { lane, priority, turn: 0, place: None }
    }

    /// It goes, or waits no more.
    pub(super) fn end_turn(&mut self) -> Option<Place> {
        self.turn = 0;
        self.place.take()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) key: u32,
    pub(super) turn: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Parked {
    pub(super) lane: u32,
    /// What its first message costs; of those who wait for room, how many keys it lacks.
    pub(super) cost: u32,
    /// When it may go as it was told; [`crate::NEVER`] if time alone would not let it.
    pub(super) told: u64,
}

#[derive(Debug, Default)]
pub(super) struct Waiters {
    all: BTreeMap<(u32, u64), Parked>,
    turns: u64,
    timers: BTreeSet<(u64, u32)>,
    /// Lanes that may go sooner than they were told, and when.
    sooner: Vec<(u32, u64)>,
}

impl Waiters {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The turn of a lane: the one that it has, or behind all of its priority.
    pub(super) fn turn(&self, waiter: &Waiter) -> u64 {
        let behind = u64::from(PRIORITY_MAX - waiter.priority.min(PRIORITY_MAX));
        match waiter.turn {
            // Turns begin at 1, so that none is 0.
            0 => behind << TURN_BITS | (self.turns + 1),
            turn => turn,
        }
    }

    /// Has the lane wait in a list, in its turn. Says where it waited until now.
    pub(super) fn insert(
        &mut self,
        key: u32,
        waiter: &mut Waiter,
        (cost, told): (u32, u64),
    ) -> Option<Place> {
        let turn = self.turn(waiter);
        self.turns += u64::from(waiter.turn == 0);
        waiter.turn = turn;
        self.all.insert((key, turn), Parked { lane: waiter.lane, cost, told });
        waiter.place.replace(Place { key, turn })
    }

    pub(super) fn remove(&mut self, place: Place) {
        self.all.remove(&(place.key, place.turn));
    }

    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut Parked> {
        self.all.get_mut(&(place.key, place.turn))
    }

    /// Nobody who waits for the key has to wait longer than until `at`: those who were told a later
    /// time hear of it.
    pub(super) fn hear(&mut self, key: u32, at: u64) {
        let waiting = self.all.range_mut((key, 0)..=(key, u64::MAX)).take(HEAR_MAX);
        for (_, parked) in waiting.filter(|(_, parked)| parked.told > at) {
            parked.told = at;
            self.sooner.push((parked.lane, at));
        }
    }

    /// The latest time that one of those was told who hear of sooner ones.
    pub(super) fn last_told(&self, key: u32) -> u64 {
        let waiting = self.all.range((key, 0)..=(key, u64::MAX)).take(HEAR_MAX);
        waiting.map(|(_, parked)| parked.told).max().unwrap_or(0)
    }

    pub(super) fn pop_sooner(&mut self) -> Option<(u32, u64)> {
        self.sooner.pop()
    }

    /// The first in a list, with its turn.
    pub(super) fn first(&self, key: u32) -> Option<(u64, Parked)> {
        let first = self.all.range((key, 0)..=(key, u64::MAX)).next();
        first.map(|(&(_, turn), parked)| (turn, *parked))
    }

    /// Moves the timer of a key from one time to another, 0 being none.
    pub(super) fn set_timer(&mut self, key: u32, from: u64, to: u64) {
        if from == to {
            return;
        }
        if from != 0 {
            self.timers.remove(&(from, key));
        }
        if to != 0 {
            self.timers.insert((to, key));
        }
    }

    pub(super) fn next_timer(&self) -> Option<u64> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The key whose time has come.
    pub(super) fn due(&self, now: u64) -> Option<u32> {
        self.timers.first().filter(|(at, _)| *at <= now).map(|(_, key)| *key)
    }

    /// How many wait in a list, by counting.
    pub(super) fn count(&self, key: u32) -> usize {
        self.all.range((key, 0)..=(key, u64::MAX)).count()
    }

    pub(super) fn has_timer(&self, key: u32, at: u64) -> bool {
        self.timers.contains(&(at, key))
    }

    pub(super) fn timers(&self) -> usize {
        self.timers.len()
    }
}
