//! Limits by key: who may be handed out now, and who is told when that changes.
//!
//! ```text
//! lane --may--> all its keys allow it --take--> charged, held --release--> slots are free
//!   ^   '-----> one refuses --wait--> parked there                         |
//!   '--- woken: time came, slot or room is free, limit was changed <-------'
//! ```
//!
//! A key is an [`Owner`], a limit or a queue, and a text. It is live while something is known of it:
//! tokens that are missing, starts inside a window, leases, lanes that wait, a pause, feedback. What
//! holds:
//!
//! - All keys of a message are asked first and charged then; a refusal charges nothing.
//! - A key that has lanes waiting either refuses the first of them, and has a timer if time alone
//!   will change that, or has woken it. One lane at a time is woken; what it does next, [`Keyed::wait`]
//!   or [`Keyed::leave`], wakes the next one if there is more to have. So a woken lane must do either.
//! - Lanes go by priority, then in turn: nobody takes what a lane waits for that comes before it.
//! - What a limit allows is counted for its keys, whatever queue their messages are in.
//! - Concurrency is the number of messages that are held now, no table of slots: whatever ends a lease
//!   says so.
//!
//! Nothing is polled or scanned: a lane is parked and woken in `O(log lanes)`, a timer costs
//! `O(log timers)`, and what concerns many keys goes on in slices of [`Keyed::advance`].

mod ask;
mod feedback;
mod heads;
mod limits;
mod park;
mod slab;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod text;
mod waiters;
mod wheel;

pub use self::ask::{Ask, Handle, Reason, Refused};
pub use self::feedback::Feedback;
use self::limits::Limits;
pub use self::limits::{LimitFigures, LimitNo, Owner, Terms};
pub use self::state::{KeyState, KeyView};
pub use self::table::Pause;
use self::table::Table;
pub use self::waiters::Waiter;
use self::waiters::Waiters;
use crate::rate::RateError;

/// Keys that a call looks at beside its own when there is no room for one more.
const LOOKS_FOR_ROOM: usize = 16;

/// What bounds the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyedConfig {
    /// Most live keys, up to 2^30; settings call it `live_keys_max`. Only leases and lanes that wait
    /// are refused for it: what is held, replayed, throttled or paused is known in any case.
    pub live_keys_max: u32,
    /// The longest pause that a consumer can ask for, in microseconds; settings say `pause_max_ms`.
    pub pause_max: u64,
    /// Of the hash of keys, so that nobody can choose keys that collide.
    pub seed: (u64, u64),
}

impl Default for KeyedConfig {
    fn default() -> Self {
        Self { live_keys_max: 1_000_000, pause_max: 3_600_000_000, seed: (0, 0) }
    }
}

/// How a lease ended, as far as limits care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By an ack: whoever is behind the key is well.
    Acked,
    /// By anything else.
    Otherwise,
}

/// All limits with their keys, and the lanes that wait for them.
#[derive(Debug)]
pub struct Keyed {
    config: KeyedConfig,
    limits: Limits,
    table: Table,
    waiters: Waiters,
    /// In microseconds; time never goes back.
    latest: u64,
    /// The next key that is to follow changes of limits, while some have to.
    sweep: Option<u32>,
    /// The turn of the lane that was woken for room; 0 for none.
    room_woken: u64,
}

impl Keyed {
    /// No limits and no keys.
    pub fn new(config: KeyedConfig) -> Self {
        Self {
            table: Table::new(config.seed),
            config,
            limits: Limits::default(),
            waiters: Waiters::default(),
            latest: 0,
            sweep: None,
            room_woken: 0,
        }
    }

    /// Adds a limit whose keys are fresh: each has its burst.
    ///
    /// # Errors
    /// The burst is 0, or would take more than 366 days to come back.
    pub fn add(&mut self, terms: &Terms) -> Result<LimitNo, RateError> {
        self.limits.add(terms)
    }

    /// Changes a limit. Its keys keep their starts, their leases, and the tokens that still fit;
    /// nothing is refilled. Those who wait for it are looked at again by [`Keyed::advance`].
    ///
    /// # Errors
    /// The burst is 0, or would take more than 366 days to come back. Nothing has changed then.
    pub fn change(
        &mut self,
        no: LimitNo,
        terms: &Terms,
        now: u64,
        woken: &mut Vec<u32>,
    ) -> Result<(), RateError> {
        let now = self.clock(now);
        if self.limits.is_behind(no) {
            let mut all = usize::MAX;
            self.sweep(now, &mut all, woken);
        }
        if self.limits.change(no, terms, now)? {
            self.sweep = Some(0);
        }
        Ok(())
    }

    /// Removes a limit. Nothing refers to it any more; who waits for it is woken by
    /// [`Keyed::advance`], lane after lane, and its number is given to another one only then.
    pub fn remove(&mut self, no: LimitNo) {
        if self.limits.remove(no) {
            self.sweep = Some(0);
        }
    }

    /// Leases a message that [`Keyed::may`] has just allowed. Whoever waited for it leaves next.
    pub fn take(&mut self, asks: &mut [Ask<'_>], cost: u32, now: u64, woken: &mut Vec<u32>) {
        let now = self.clock(now);
        if self.charge_all(asks, cost, now) {
            self.rouse_all(asks, now, woken);
        }
    }

    /// Whether starts of any of these keys are counted in a window.
    pub fn is_windowed(&self, asks: &[Ask<'_>]) -> bool {
        asks.iter().any(|ask| self.limits.get(ask.owner).window.is_some())
    }

    /// Says whether lanes wait for any of the keys, or have a timer.
    fn charge_all(&mut self, asks: &mut [Ask<'_>], cost: u32, now: u64) -> bool {
        let mut has_rare = false;
        for ask in asks {
            let key = self.obtain(ask);
            let (entry, limit) = (self.table.key_mut(key), self.limits.get_mut(ask.owner));
            if entry.is_plain() && entry.changes == limit.changes && limit.window.is_none() {
                // Nearly always that is all.
                limit.charge(&mut entry.bucket, cost, now);
                entry.holders = entry.holders.saturating_add(1);
                continue;
            }
            self.follow(key, now);
            let entry = self.table.key_mut(key);
            has_rare |= entry.has_rare();
            self.limits.get_mut(ask.owner).charge(&mut entry.bucket, cost, now);
            self.start(key, now);
        }
        has_rare
    }

    fn rouse_all(&mut self, asks: &mut [Ask<'_>], now: u64, woken: &mut Vec<u32>) {
        for ask in asks {
            // One of a limit that was removed may have gone with its last lane.
            if let Some(key) = self.find_again(ask) {
                self.rouse(key, now, woken);
            }
        }
    }

    /// Whether the message could be leased now, without doing it, for a lane that nobody is before:
    /// every key that refuses it, by its place in `asks`. Empty if none does.
    pub fn why(&self, asks: &[Ask<'_>], cost: u32, now: u64) -> Vec<Refused> {
        let now = now.max(self.latest);
        let mut refused = Vec::new();
        let mut missing = 0;
        for (at, ask) in asks.iter().enumerate() {
            let judged = match self.find(ask) {
                Some(key) => self.judge(key, cost, now),
                None => {
                    missing += 1;
                    self.judge_fresh(ask.owner, cost, now)
                }
            };
            refused.extend(judged.err().map(|reason| Refused { at, reason }));
        }
        if missing > self.room() {
            refused.push(Refused { at: 0, reason: Reason::KeyCap { missing } });
        }
        refused
    }

    /// A message was leased at `at`, as a record says: it is held, and a start of its windows.
    pub fn replay(&mut self, asks: &mut [Ask<'_>], at: u64) {
        let at = self.clock(at);
        for ask in asks {
            let key = self.obtain(ask);
            self.start(key, at);
        }
    }

    /// `count` messages are held that were not counted here: those of an image, or those that a
    /// limit covers since it was set.
    pub fn hold(&mut self, asks: &mut [Ask<'_>], count: u32) {
        for ask in asks {
            let key = self.obtain(ask);
            let key = self.table.key_mut(key);
            key.holders = key.holders.saturating_add(count);
        }
    }

    /// `count` messages are held no more, or no longer counted here.
    pub fn release(
        &mut self,
        asks: &mut [Ask<'_>],
        count: u32,
        ended: Ended,
        now: u64,
        woken: &mut Vec<u32>,
    ) {
        let now = self.clock(now);
        for ask in asks {
            let Some(key) = self.find_again(ask) else { continue };
            let entry = self.table.key_mut(key);
            debug_assert!(entry.holders >= count, "released without having been leased");
            entry.holders = entry.holders.saturating_sub(count);
            if entry.is_plain() && (entry.holders > 0 || entry.is_listed()) {
                // Nobody waits for it, and it is looked at when it may be forgotten.
                continue;
            }
            if ended == Ended::Acked && self.table.rare(key).is_some() {
                self.follow(key, now);
                if let Some(rare) = self.table.rare_mut(key) {
                    rare.feedback.ack(now);
                }
            }
            self.rouse(key, now, woken);
            self.settle(key, now, woken);
        }
    }

    /// A consumer says that the keys want a pause: `retry_after` long, in microseconds, if it was
    /// told a time. Afterwards they open with an empty bucket, and with one lease at a time until
    /// one is acked.
    pub fn throttle(
        &mut self,
        asks: &mut [Ask<'_>],
        retry_after: Option<u64>,
        now: u64,
        woken: &mut Vec<u32>,
    ) {
        let now = self.clock(now);
        for ask in asks {
            let key = self.obtain(ask);
            self.follow(key, now);
            let pause_max = self.config.pause_max;
            self.table.rare_or_new(key).feedback.throttle(retry_after, pause_max, now);
            self.rouse(key, now, woken);
            self.settle(key, now, woken);
        }
    }

    /// Pauses a key by hand, in place of an earlier pause by hand.
    pub fn pause(&mut self, ask: &mut Ask<'_>, pause: Pause, now: u64, woken: &mut Vec<u32>) {
        let now = self.clock(now);
        let key = self.obtain(ask);
        self.table.rare_or_new(key).pause = Some(Box::new(pause));
        self.table.look_anew(key);
        self.rouse(key, now, woken);
        self.settle(key, now, woken);
    }

    /// Ends every pause of a key at once. Says whether there was one.
    pub fn resume(&mut self, ask: &mut Ask<'_>, now: u64, woken: &mut Vec<u32>) -> bool {
        let now = self.clock(now);
        let Some(key) = self.find_again(ask) else { return false };
        let Some(rare) = self.table.rare_mut(key) else { return false };
        let was_paused = rare.paused_until(now).is_some();
        rare.pause = None;
        rare.feedback.resume(now);
        self.table.look_anew(key);
        self.rouse(key, now, woken);
        self.settle(key, now, woken);
        was_paused
    }

    /// Lets time pass: wakes the lanes whose time has come, forgets keys of which nothing is known
    /// any more, and has keys follow changes of their limits. Looks at `budget` keys at most; the
    /// rest is left for the next call, which [`Keyed::next_at`] asks for at once.
    pub fn advance(&mut self, now: u64, budget: usize, woken: &mut Vec<u32>) {
        let now = self.clock(now);
        let mut budget = budget;
        while budget > 0
            && let Some(key) = self.waiters.due(now)
        {
            budget -= 1;
            self.follow(key, now);
            self.rouse(key, now, woken);
        }
        self.look(now, &mut budget, woken);
        self.sweep(now, &mut budget, woken);
    }

    /// When [`Keyed::advance`] has something to do next, in microseconds; 0 for at once.
    pub fn next_at(&self) -> Option<u64> {
        match self.sweep {
            Some(_) => Some(0),
            None => self.waiters.next_timer().into_iter().chain(self.table.next_look()).min(),
        }
    }

    /// Begins anew at `now` after a restart: every bucket is empty, whatever it had.
    pub fn restart(&mut self, now: u64) {
        let now = self.clock(now);
        self.limits.start_empty(now);
    }

    /// The time to reckon with.
    fn clock(&mut self, now: u64) -> u64 {
        self.latest = self.latest.max(now);
        self.latest
    }

    /// A message of the key starts.
    fn start(&mut self, key: u32, at: u64) {
        let entry = self.table.key_mut(key);
        entry.holders = entry.holders.saturating_add(1);
        if let Some(window) = self.limits.get(entry.owner).window {
            window.record(self.table.starts_or_new(key), 1, at);
        }
    }

    /// Has a key follow the changes of its limit, and opens it if its pause is over.
    fn follow(&mut self, key: u32, now: u64) {
        let entry = self.table.key(key);
        if entry.is_plain() && entry.changes == self.limits.get(entry.owner).changes {
            return;
        }
        let bucket = self.bucket(key, now);
        let entry = self.table.key_mut(key);
        entry.bucket = bucket;
        let limit = self.limits.get(entry.owner);
        entry.changes = limit.changes;
        if limit.window.is_none()
            && let Some(starts) = self.table.starts_mut(key)
        {
            *starts = crate::Starts::default();
        }
        if let Some(rare) = self.table.rare_mut(key)
            && now >= rare.feedback.paused_until
        {
            rare.feedback.empties = false;
        }
    }

    /// Forgets a key of which nothing is known any more, or sees to it that it is looked at again.
    fn settle(&mut self, key: u32, now: u64, woken: &mut Vec<u32>) {
        self.follow(key, now);
        let entry = self.table.key(key);
        let limit = self.limits.get(entry.owner);
        let (full_at, window) = (limit.full_at(entry.bucket), limit.window);
        let (owner, is_removed) = (entry.owner, limit.is_removed);
        if let Some(window) = window
            && let Some(starts) = self.table.starts_mut(key)
        {
            window.forget(starts, now);
        }
        self.table.tidy(key, now);
        let length = window.map_or(0, crate::WindowLimit::length);
        let idle_at = self.table.idle_at(key, full_at, length);
        let idle_at = match is_removed {
            // What its keys knew is of no use to anyone. Lanes that wait for them go first.
            true if self.table.rare(key).is_none_or(|rare| rare.waiting == 0) => Some(0),
            _ => idle_at,
        };
        match idle_at {
            Some(at) if at <= now => {
                self.table.remove(key);
                self.limits.lose_key(owner);
                self.rouse_room(woken);
            }
            Some(at) => self.table.look_at(key, at),
            None => {}
        }
    }

    /// Looks at keys that may be forgotten.
    fn look(&mut self, now: u64, budget: &mut usize, woken: &mut Vec<u32>) {
        while *budget > 0
            && let Some(key) = self.table.pop_due(now)
        {
            *budget -= 1;
            self.settle(key, now, woken);
        }
    }

    /// Has keys follow changes of their limits, and looks at those who wait for them.
    fn sweep(&mut self, now: u64, budget: &mut usize, woken: &mut Vec<u32>) {
        let Some(mut from) = self.sweep else { return };
        while let Some(key) = self.table.next(from) {
            if *budget == 0 {
                self.sweep = Some(key);
                return;
            }
            *budget -= 1;
            from = key + 1;
            self.follow(key, now);
            self.rouse(key, now, woken);
            self.settle(key, now, woken);
        }
        self.sweep = None;
        self.limits.settled();
    }
}
