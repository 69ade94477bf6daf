//! Lanes that wait, and their waking.

use super::Keyed;
use super::ask::{Ask, Reason, Refused};
use super::limits::{LimitFigures, LimitNo, Owner};
use super::waiters::{Place, ROOM, Waiter};

impl Keyed {
    /// How it stands with a limit at `now`.
    pub fn figures(&self, no: LimitNo, now: u64) -> LimitFigures {
        self.limits.get(Owner::limit(no)).figures(now.max(self.latest))
    }

    /// How it stands with all of them, and with keys that are under none.
    pub fn all_figures(&self, now: u64) -> LimitFigures {
        self.limits.figures(now.max(self.latest))
    }

    /// The lane waits no more: its queue is paused or has no consumer, or it is empty. What it was
    /// woken for goes to the next one.
    pub fn leave(&mut self, waiter: &mut Waiter, now: u64, woken: &mut Vec<u32>) {
        if let Some(place) = waiter.end_turn() {
            let now = self.clock(now);
            self.give_up(place, now, woken);
        }
    }

    /// Has the lane wait where [`Keyed::may`] has just refused it; it keeps its turn. Says what it waits
    /// for: room, where there is none for the key that refused it.
    pub fn wait(
        &mut self,
        waiter: &mut Waiter,
        asks: &mut [Ask<'_>],
        refused: Refused,
        cost: u32,
        now: u64,
        woken: &mut Vec<u32>,
    ) -> Refused {
        let now = self.clock(now);
        let Refused { at, mut reason } = refused;
        let found = asks.get_mut(at).and_then(|ask| self.find_again(ask));
        let key = match (reason, found) {
            (Reason::KeyCap { .. }, _) => ROOM,
            (_, Some(key)) => key,
            (_, None) if self.room() == 0 => {
                reason = Reason::KeyCap { missing: 1 };
                ROOM
            }
            (_, None) => self.obtain(&mut asks[at]),
        };
        let cost = match reason {
            Reason::KeyCap { missing } => missing,
            _ => cost,
        };
        let told = reason.eligible_at().unwrap_or(crate::NEVER);
        match waiter.place {
            Some(place) if place.key == key => {
                if let Some(parked) = self.waiters.get_mut(place) {
                    (parked.cost, parked.told) = (cost, told);
                }
                self.forget_woken(place);
            }
            _ => {
                let old = self.waiters.insert(key, waiter, (cost, told));
                if key != ROOM {
                    self.table.rare_or_new(key).waiting += 1;
                    self.limits.get_mut(self.table.key(key).owner).parked.one_more(now);
                }
                if let Some(old) = old {
                    self.give_up(old, now, woken);
                }
            }
        }
        match key {
            ROOM => self.rouse_room(woken),
            key => self.rouse(key, now, woken),
        }
        Refused { at, reason }
    }

    /// Wakes the first lane that waits for the key, if the key allows it; else sets the timer.
    pub(super) fn rouse(&mut self, key: u32, now: u64, woken: &mut Vec<u32>) {
        let Some(rare) = self.table.rare(key) else { return };
        if rare.woken != 0 || rare.waiting == 0 && rare.timer == 0 {
            return;
        }
        let mut timer = 0;
        let mut turn = 0;
        let mut hears = false;
        if let Some((first, parked)) = self.waiters.first(key) {
            match self.judge(key, parked.cost, now) {
                Ok(()) => {
                    turn = first;
                    woken.push(parked.lane);
                }
                Err(Reason::Concurrency { .. }) if rare.feedback.is_gentle(now) => {
                    timer = rare.feedback.kept_until;
                }
                Err(reason) => {
                    timer = reason.eligible_at().unwrap_or(0);
                    // Nearly always only one waits, and was told that time.
                    hears = timer != 0 && (rare.waiting > 1 || parked.told > timer);
                }
            }
        }
        if hears {
            self.waiters.hear(key, timer);
        }
        if let Some(rare) = self.table.rare_mut(key) {
            self.waiters.set_timer(key, rare.timer, timer);
            (rare.timer, rare.woken) = (timer, turn);
        }
    }

    /// A lane that may go sooner than it was told when it was refused, because its key was resumed or
    /// let go, or its limit was changed; and when. Taken one after another until there is none.
    pub fn pop_sooner(&mut self) -> Option<(u32, u64)> {
        self.waiters.pop_sooner()
    }

    /// When those may go who wait where this one does, though the time that it was told is over:
    /// others were before it. None if time alone does not say.
    pub fn tell_anew(&mut self, waiter: &Waiter, now: u64) -> Option<u64> {
        let place = waiter.place.filter(|place| place.key != ROOM)?;
        let now = self.clock(now);
        let (_, first) = self.waiters.first(place.key)?;
        let eligible = match self.judge(place.key, first.cost, now) {
            // Whoever is first was woken and has not tried yet.
            Ok(()) => Some(now),
            Err(reason) => reason.eligible_at(),
        };
        if let Some(parked) = self.waiters.get_mut(place) {
            parked.told = eligible.unwrap_or(crate::NEVER);
        }
        eligible
    }

    /// Wakes the first lane that waits for room, if there is enough for it.
    pub(super) fn rouse_room(&mut self, woken: &mut Vec<u32>) {
        if self.room_woken == 0
            && let Some((turn, parked)) = self.waiters.first(ROOM)
            && parked.cost <= self.room()
        {
            self.room_woken = turn;
            woken.push(parked.lane);
        }
    }

    fn forget_woken(&mut self, place: Place) {
        let noted = match place.key {
            ROOM => Some(&mut self.room_woken),
            key => self.table.rare_mut(key).map(|rare| &mut rare.woken),
        };
        if let Some(noted) = noted.filter(|noted| **noted == place.turn) {
            *noted = 0;
        }
    }

    fn give_up(&mut self, place: Place, now: u64, woken: &mut Vec<u32>) {
        self.waiters.remove(place);
        self.forget_woken(place);
        if place.key == ROOM {
            self.rouse_room(woken);
            return;
        }
        if let Some(rare) = self.table.rare_mut(place.key) {
            rare.waiting -= 1;
        }
        self.limits.get_mut(self.table.key(place.key).owner).parked.one_less(now);
        self.rouse(place.key, now, woken);
        self.settle(place.key, now, woken);
    }
}
