//! Limits: what is set, which of it a message asks, and what is known of its keys.
//!
//! Which limits apply says [`LimitSet`], what they allow now says [`Keyed`]; `decisions/0002` tells
//! how the two and the queues go together. Limits of requests are kept here and asked at the doors.

mod apply;
mod choose;
mod explain;
mod lines;
mod request;
mod requests;
mod resolve;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use slab::Slab;
use sluice_flow::{
    Ask, Handle, Keyed, KeyedConfig, LimitNo, Owner, Pause, Rate, Terms, WindowLimit,
};
use sluice_model::{
    Limit, LimitMatch, LimitSet, LimitTerms, LimitedBy, Paused, QueueLimits, QueueNo, Timestamp,
};

pub(crate) use self::request::check_text;
use crate::config::Config;
use crate::journal::Sequence;
use crate::random::Random;

/// All limits, and what is known of their keys.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) keyed: Keyed,
    /// Beside each its number, if it is one of deliveries.
    pub(crate) set: LimitSet<Option<LimitNo>>,
    /// Which limit a number stands for.
    titles: BTreeMap<u32, (Box<str>, LimitMatch)>,
    /// Counts what was set and taken away.
    pub(crate) version: u64,
    /// Lines by the numbers that they wait under: which of which queue.
    pub(crate) lines: Slab<(QueueNo, u32)>,
    /// Lines that were woken and have not been looked at.
    pub(crate) woken: Vec<u32>,
    /// Lines that were woken in this turn and may not have tried.
    pub(crate) awakened: Vec<(QueueNo, u32)>,
    /// Queues of which lines have changed.
    pub(crate) untidy: Vec<QueueNo>,
    /// Queues with lanes.
    pub(crate) laned: BTreeSet<QueueNo>,
    /// The next queue and lane that is to be looked at since limits came or went.
    pub(crate) resolving: Option<(QueueNo, u32)>,
    /// In microseconds, as of the last call or record.
    pub(crate) now: u64,
    /// The last record about limits and pauses.
    pub(crate) last_sequence: Sequence,
    /// They changed since the last image.
    pub(crate) dirty: bool,
    /// Pieces of keys in the last image.
    pub(crate) imaged: u64,
}

/// One key that messages ask, without its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asking {
    pub(crate) owner: Owner,
    /// Which of the keys of the message; none for its queue.
    pub(crate) key: Option<u8>,
    pub(crate) handle: Handle,
}

impl Limits {
    pub(crate) fn new(config: &Config, random: &mut Random) -> Self {
        let keyed = KeyedConfig {
            live_keys_max: config.live_keys_max,
            pause_max: micros_of(config.pause_max),
            seed: (random.next(), random.next()),
        };
        Self {
            keyed: Keyed::new(keyed),
            set: LimitSet::default(),
            titles: BTreeMap::new(),
            version: 0,
            lines: Slab::new(),
            woken: Vec::new(),
            awakened: Vec::new(),
            untidy: Vec::new(),
            laned: BTreeSet::new(),
            resolving: None,
            now: 0,
            last_sequence: 0,
            dirty: false,
            imaged: 0,
        }
    }

    /// What must hold between any two calls.
    pub(crate) fn check(&self) {
        self.keyed.check();
        let has_woken = !self.woken.is_empty() || !self.awakened.is_empty();
        assert!(has_woken || self.keyed.is_quiet(), "whoever was woken has tried or left");
    }

    /// What messages with these keys ask in a queue: its limits, those of each key, and for a key
    /// without one the key itself, so that somebody may pause it.
    pub(crate) fn asked(&self, of: &QueueLimits, no: QueueNo, keys: &[Box<str>]) -> Vec<Asking> {
        let mut asked = Vec::with_capacity(keys.len());
        if !of.is_empty() {
            self.set.of_message(of, keys, |applied| {
                let owner = applied.with.map(Owner::limit);
                // A message has four keys at most.
                let key = applied.key.map(|at| at as u8);
                asked.extend(owner.map(|owner| Asking::new(owner, key)));
            });
        }
        for (at, key) in keys.iter().enumerate() {
            let has_limit = asked.iter().any(|ask| ask.key == Some(at as u8));
            if !has_limit && !keys[..at].contains(key) {
                asked.push(Asking::new(Owner::queue(no.0), Some(at as u8)));
            }
        }
        asked
    }

    /// The limits under which a key is counted as a queue sees it, or the queue itself.
    pub(crate) fn owners_of(&self, of: &QueueLimits, no: QueueNo, key: &str) -> Vec<Owner> {
        let mut owners = Vec::new();
        self.set.of_message(of, &[key], |applied| {
            let owner = applied.with.filter(|_| applied.key.is_some());
            owners.extend(owner.map(Owner::limit));
        });
        if owners.is_empty() {
            owners.push(Owner::queue(no.0));
        }
        owners
    }

    /// What the number of a limit stands for.
    pub(crate) fn titled(&self, owner: Owner) -> Option<&(Box<str>, LimitMatch)> {
        self.titles.get(&owner.as_limit()?.0)
    }

    fn limited_by(&self, owner: Owner, key: &str) -> LimitedBy {
        let limit = self.titled(owner).map_or("", |(name, _)| name);
        LimitedBy { limit: limit.into(), key: key.into() }
    }

    /// Notes which limit a number stands for.
    pub(crate) fn title(&mut self, LimitNo(no): LimitNo, limit: &Limit) {
        self.titles.insert(no, (limit.name().into(), limit.matches().clone()));
    }
}

impl Asking {
    fn new(owner: Owner, key: Option<u8>) -> Self {
        Self { owner, key, handle: Handle::default() }
    }

    /// With its text: that of the key, or the name of the queue.
    pub(crate) fn ask<'a>(&self, queue: &'a str, keys: &'a [Box<str>]) -> Ask<'a> {
        let key = self.key.and_then(|at| keys.get(usize::from(at)));
        Ask { owner: self.owner, text: key.map_or(queue, |key| key), handle: self.handle }
    }
}

/// Does something with what is asked, with its texts, and notes where the keys were found.
pub(crate) fn with_asks<R>(
    asked: &mut [Asking],
    queue: &str,
    keys: &[Box<str>],
    run: impl FnOnce(&mut [Ask<'_>]) -> R,
) -> R {
    /// What most messages ask at most.
    const FEW: usize = 4;
    if let [asking] = asked {
        let mut asks = [asking.ask(queue, keys)];
        let outcome = run(&mut asks);
        asking.handle = asks[0].handle;
        return outcome;
    }
    if asked.len() <= FEW {
        let ask = |at: usize| match asked.get(at) {
            Some(asking) => asking.ask(queue, keys),
            None => Ask::new(Owner::queue(0), ""),
        };
        let mut asks: [Ask<'_>; FEW] = std::array::from_fn(ask);
        let outcome = run(&mut asks[..asked.len()]);
        note(asked, &asks);
        return outcome;
    }
    let mut asks: Vec<_> = asked.iter().map(|asking| asking.ask(queue, keys)).collect();
    let outcome = run(&mut asks);
    note(asked, &asks);
    outcome
}

fn note(asked: &mut [Asking], asks: &[Ask<'_>]) {
    for (asking, ask) in asked.iter_mut().zip(asks) {
        asking.handle = ask.handle;
    }
}

/// What a limit of deliveries allows, as it is counted; none if it can't be counted so.
pub(crate) fn terms_of(terms: &LimitTerms) -> Option<Terms> {
    let rate = match terms.rate {
        Some(rate) => {
            let exact = Rate::fraction(rate.thousandths(), 1_000, rate.per_ms()).ok()?;
            Some((exact, terms.burst()))
        }
        None => None,
    };
    let window = match terms.window {
        Some(window) => Some(WindowLimit::new(window.max(), window.length_ms()).ok()?),
        None => None,
    };
    Some(Terms { rate, window, concurrency: terms.concurrency })
}

/// A moment as limits count it.
pub(crate) fn micros(at: Timestamp) -> u64 {
    at.as_millis().saturating_mul(1_000)
}

/// The first moment of ours that is not before this one.
pub(crate) fn moment(micros: u64) -> Timestamp {
    Timestamp::from_millis(micros.div_ceil(1_000))
}

pub(crate) fn micros_of(period: Duration) -> u64 {
    u64::try_from(period.as_micros()).unwrap_or(u64::MAX)
}

/// A pause by hand, as keys keep it.
pub(crate) fn kept(paused: &Paused) -> Pause {
    Pause {
        until: paused.until.map_or(sluice_flow::NEVER, micros),
        by: paused.by.clone().unwrap_or_default(),
        reason: paused.reason.clone().unwrap_or_default(),
    }
}

/// What a key keeps of its pauses, for people: the later one, and who made it if that was by hand.
pub(crate) fn told(until: u64, pause: Option<&Pause>) -> Paused {
    let by_hand = pause.filter(|pause| pause.until >= until);
    let text = |text: &str| (!text.is_empty()).then(|| text.into());
    Paused {
        until: (until != sluice_flow::NEVER).then(|| moment(until)),
        by: by_hand.and_then(|pause| text(&pause.by)),
        reason: by_hand.and_then(|pause| text(&pause.reason)),
    }
}
