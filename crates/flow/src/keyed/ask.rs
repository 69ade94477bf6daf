//! What is asked of keys, and what they answer.

use super::limits::{Owner, Standing};
use super::waiters::{ROOM, Waiter};
use super::wheel::NONE;
use super::{Keyed, LOOKS_FOR_ROOM};
use crate::token::Bucket;

/// One of the keys of a message.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// What it is counted under.
    pub owner: Owner,
    /// Which of the owner's keys: that of the message, or the name of its queue.
    pub text: &'a str,
    /// Where the key was found last. Kept between calls it saves looking for it; it is never taken
    /// for another one.
    pub handle: Handle,
}

impl<'a> Ask<'a> {
    /// A key that was not looked for yet.
    pub fn new(owner: Owner, text: &'a str) -> Self {
        Self { owner, text, handle: Handle::default() }
    }
}

/// Where a key was found. While it is live no other key has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(pub(super) u32);

impl Default for Handle {
    fn default() -> Self {
        Self(NONE)
    }
}

/// Why a key refuses a message. Times are in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The tokens are not there yet.
    Rate {
        /// When they will be, if nobody else takes them; [`crate::NEVER`] for at no time.
        eligible_at: u64,
    },
    /// There were as many starts as may be.
    Window {
        /// When enough of them have left the window.
        eligible_at: u64,
    },
    /// As many are held as may be.
    Concurrency {
        /// How many are held.
        holders: u32,
        /// How many may be.
        max: u32,
    },
    /// The key is paused.
    Paused {
        /// Until when; [`crate::NEVER`] for until it is resumed.
        until: u64,
    },
    /// There are as many live keys as may be.
    KeyCap {
        /// How many more are needed.
        missing: u32,
    },
    /// Another lane that waited before comes first, and has been woken for it.
    Turn,
}

impl Reason {
    /// When time alone changes the answer, if it does.
    pub fn eligible_at(self) -> Option<u64> {
        match self {
            Self::Rate { eligible_at } | Self::Window { eligible_at } => Some(eligible_at),
            Self::Paused { until } => Some(until),
            Self::Concurrency { .. } | Self::KeyCap { .. } | Self::Turn => None,
        }
        .filter(|at| *at != crate::NEVER)
    }
}

/// A message can't be leased now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Which of the keys that were asked refuses; the first of those that do.
    pub at: usize,
    /// Why.
    pub reason: Reason,
}

impl Keyed {
    /// Whether all keys allow a message of `cost` to whoever has the waiter's turn; no two of them may
    /// be the same. Nothing is charged and nobody waits: [`Keyed::take`] or [`Keyed::wait`] says at once
    /// what came of it.
    ///
    /// # Errors
    /// Says which key refuses, and why.
    pub fn may(
        &mut self,
        waiter: &Waiter,
        asks: &mut [Ask<'_>],
        cost: u32,
        now: u64,
        woken: &mut Vec<u32>,
    ) -> Result<(), Refused> {
        let now = self.clock(now);
        let mut missing = 0;
        for (at, ask) in asks.iter_mut().enumerate() {
            let judged = match self.find_again(ask) {
                Some(key) if self.table.key(key).has_rare() => {
                    self.judge(key, cost, now).and_then(|()| self.judge_turn(key, waiter))
                }
                Some(key) => self.judge(key, cost, now),
                None => {
                    missing += 1;
                    self.judge_fresh(ask.owner, cost, now)
                }
            };
            judged.map_err(|reason| Refused { at, reason })?;
        }
        if missing == 0 {
            return Ok(());
        }
        if missing > self.room() {
            self.look(now, &mut { LOOKS_FOR_ROOM }, woken);
            // A key of the message itself may have gone.
            missing = asks.iter().filter(|ask| self.find(ask).is_none()).count() as u32;
        }
        let turn = self.waiters.turn(waiter);
        let is_behind = self.waiters.first(ROOM).is_some_and(|(first, _)| first < turn);
        match missing > self.room() || is_behind {
            true => Err(Refused { at: 0, reason: Reason::KeyCap { missing } }),
            false => Ok(()),
        }
    }

    /// Asks one key for one more message.
    pub(super) fn judge(&self, key: u32, cost: u32, now: u64) -> Result<(), Reason> {
        let entry = self.table.key(key);
        let limit = self.limits.get(entry.owner);
        if limit.is_removed {
            return Ok(());
        }
        if entry.is_plain() && entry.changes == limit.changes {
            let (bucket, holders) = (entry.bucket, entry.holders);
            let standing = Standing { bucket, starts: None, holders, gentle: false };
            return limit.judge(&standing, cost, now);
        }
        let rare = self.table.rare(key);
        if let Some(until) = rare.and_then(|rare| rare.paused_until(now)) {
            return Err(Reason::Paused { until });
        }
        let standing = Standing {
            bucket: self.bucket(key, now),
            starts: self.table.starts(key),
            holders: entry.holders,
            gentle: rare.is_some_and(|rare| rare.feedback.is_gentle(now)),
        };
        limit.judge(&standing, cost, now)
    }

    /// Asks a key that is not live.
    pub(super) fn judge_fresh(&self, owner: Owner, cost: u32, now: u64) -> Result<(), Reason> {
        let fresh = Standing { bucket: Bucket::default(), starts: None, holders: 0, gentle: false };
        self.limits.get(owner).judge(&fresh, cost, now)
    }

    fn judge_turn(&self, key: u32, waiter: &Waiter) -> Result<(), Reason> {
        if self.table.rare(key).is_none_or(|rare| rare.waiting == 0) {
            return Ok(());
        }
        let turn = self.waiters.turn(waiter);
        match self.waiters.first(key) {
            Some((first, _)) if first < turn => Err(Reason::Turn),
            _ => Ok(()),
        }
    }

    /// The bucket of a key as it is now.
    pub(super) fn bucket(&self, key: u32, now: u64) -> Bucket {
        let entry = self.table.key(key);
        let limit = self.limits.get(entry.owner);
        let feedback = self.table.rare(key).map(|rare| rare.feedback);
        let opened = feedback.filter(|it| it.empties && now >= it.paused_until);
        limit.carry(entry.bucket, entry.changes, opened.map(|it| it.paused_until))
    }

    /// How many more keys may be live.
    pub(super) fn room(&self) -> u32 {
        // At most 2^31 keys are there.
        self.config.live_keys_max.saturating_sub(self.table.len() as u32)
    }

    pub(super) fn find(&self, ask: &Ask<'_>) -> Option<u32> {
        match self.table.is(ask.handle.0, ask.owner, ask.text) {
            true => Some(ask.handle.0),
            false => self.table.find(ask.owner, ask.text),
        }
    }

    /// Finds a key and notes where it is.
    pub(super) fn find_again(&self, ask: &mut Ask<'_>) -> Option<u32> {
        let found = self.find(ask);
        ask.handle = Handle(found.unwrap_or(NONE));
        found
    }

    /// Finds a key, or makes it live.
    pub(super) fn obtain(&mut self, ask: &mut Ask<'_>) -> u32 {
        if self.table.is(ask.handle.0, ask.owner, ask.text) {
            return ask.handle.0;
        }
        let limit = self.limits.get_mut(ask.owner);
        let key = self.table.obtain(ask.owner, ask.text, || {
            limit.keys = limit.keys.saturating_add(1);
            limit.changes
        });
        ask.handle = Handle(key);
        key
    }
}
