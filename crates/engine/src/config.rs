//! The engine's bounds and defaults.

use std::time::Duration;

use sluice_flow::{Backoff, BackoffError};
use sluice_model::{Difference, KEYS_MAX, Level, MATCHES_MAX, QueueSettings, Setting};
use thiserror::Error;

/// So many keys that limits count may one message ask: those of its own and its queue, each under as
/// many limits as have one match.
const LIVE_KEYS_MIN: u128 = ((KEYS_MAX + 1) * MATCHES_MAX) as u128;

/// Settled leases that a queue remembers, at least and at most.
const SETTLED_MIN: usize = 16;
const SETTLED_MAX: usize = 4_096;

/// What happens to a message that ran out of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnExpire {
    /// Only a counter remains.
    Drop,
    /// It is parked in the dead set.
    Dead,
}

/// What a full queue does with the next message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Overflow {
    /// Refuses it.
    Reject,
    /// Drops the oldest message that nobody holds.
    DropOldest,
    /// Parks the oldest message that nobody holds in the dead set.
    Dead,
}

/// Whether messages of a group follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// They don't.
    None,
    /// One of a group is handed over when the one before it is settled.
    GroupFifo,
}

/// Rules of one queue. They bind at each message's next transition.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueConfig {
    /// How long a consumer has to settle a delivery; 1 ms to 12 h.
    pub lease: Duration,
    /// Failures that park a message in the dead set; 0 for no limit, at most 10 000.
    pub max_failures: u32,
    /// Releases that park a message in the dead set: a safety net against endless release.
    pub max_releases: u32,
    /// Delay before the next attempt.
    pub backoff: Backoff,
    /// How long a message may wait from its publish; none for ever.
    pub ttl: Option<Duration>,
    /// What happens after `ttl`.
    pub on_expire: OnExpire,
    /// Most messages that are ready, delayed or leased.
    pub max_messages: u64,
    /// Most bytes of such messages.
    pub max_bytes: u64,
    /// Largest payload, in bytes.
    pub max_message_bytes: u64,
    /// What happens past these.
    pub overflow: Overflow,
    /// Whether messages of a group follow each other.
    pub order: Order,
    /// Groups take turns; otherwise the oldest message goes first, whatever its group.
    pub is_fair: bool,
    /// How safe what is confirmed must be.
    pub level: Level,
    /// How long a dedupe id is remembered.
    pub dedupe_window: Duration,
    /// Most dedupe ids remembered at a time; past it publishes that carry one are refused.
    pub dedupe_max: u64,
    /// How long the dead set keeps a message; none for ever.
    pub dead_ttl: Option<Duration>,
    /// Most messages in the dead set. Those that overflowed into it have the same bound apart.
    pub dead_max: u64,
    /// Most bytes of messages in the dead set, likewise.
    pub dead_max_bytes: u64,
    /// How long a subscription without a consumer lives; none for ever.
    pub inactive_expiry: Option<Duration>,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            max_failures: 20,
            max_releases: 1_000,
            backoff: Backoff::default(),
            ttl: None,
            on_expire: OnExpire::Drop,
            max_messages: 1_000_000,
            max_bytes: 1 << 30,
            max_message_bytes: 1 << 20,
            overflow: Overflow::Reject,
            order: Order::None,
            is_fair: true,
            level: Level::Sync,
            dedupe_window: Duration::from_secs(300),
            dedupe_max: 1_000_000,
            dead_ttl: Some(Duration::from_secs(14 * 86_400)),
            dead_max: 100_000,
            dead_max_bytes: 1 << 30,
            inactive_expiry: None,
        }
    }
}

/// The engine's bounds and defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Rules of queues and of durable subscriptions with a name, as far as they say nothing else.
    pub queue: QueueConfig,
    /// Rules of the unnamed durable subscriptions that version 1 of the binary protocol makes.
    pub unnamed: QueueConfig,
    /// Bytes that a subscriber at most once may have waiting before it loses the oldest.
    pub subscriber_buffer_bytes: usize,
    /// Grace between the loss of a client's connection and the end of its leases.
    pub lost_grace: Duration,
    /// After a restart, a lease that is bound to no connection lives at least so much longer.
    pub recovered_lease: Duration,
    /// Most queues that are no subscription's.
    pub queues_max: usize,
    /// Most subscriptions at a time.
    pub subscriptions_max: usize,
    /// Most queues by one key; 0 for a quarter.
    pub queues_per_principal: usize,
    /// Most subscriptions by one key; 0 for a quarter.
    pub subscriptions_per_principal: usize,
    /// Most topics whose dedupe ids are remembered at a time; past it publishes that carry an id
    /// to another one are refused.
    pub dedupe_topics_max: usize,
    /// Most of them by one key; 0 for a quarter.
    pub dedupe_topics_per_principal: usize,
    /// Most bytes of keys with their values; past it writes that add to them are refused.
    pub kv_bytes_max: u64,
    /// So many changes of keys are remembered for watches.
    pub watch_history: u64,
    /// They are so many bytes at most, but for what a turn adds.
    pub watch_history_bytes: u64,
    /// Most watches at a time.
    pub watches_max: usize,
    /// Most watches by one key; 0 for a quarter.
    pub watches_per_principal: usize,
    /// Longest life of a lease, extensions included.
    pub lease_max: Duration,
    /// Largest message with all that it carries and its head, in bytes.
    pub stored_max: usize,
    /// Most messages of a batch, and most that one receive takes.
    pub batch_max: usize,
    /// Most bytes of a batch.
    pub batch_bytes_max: usize,
    /// Most unsettled deliveries that a session may hold.
    pub session_leases_max: usize,
    /// So many settled leases are remembered over all queues, so that a repeated ack is known as one:
    /// each queue has an equal share, from 16 to 4 096, which is looked at when it settles one.
    pub settled_max: usize,
    /// Most bytes of replies on their way out of one session.
    pub session_out_max: usize,
    /// Most deadlines that fire in one turn, and most messages that work in the background
    /// touches in it; the rest wait for the next.
    pub deadlines_per_turn: usize,
    /// Most limits; all of them are gone through when one is listed.
    pub limits_max: usize,
    /// Most keys of messages of which something is known; messages with further ones wait. One
    /// message may ask 40 of them, with four keys and its queue under eight limits each, which is the
    /// least that may be set: one that asks more than there may be never goes.
    pub live_keys_max: u32,
    /// The longest pause of a key that a consumer can ask for.
    pub pause_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let queue = QueueConfig::default();
        Self {
            unnamed: QueueConfig {
                overflow: Overflow::DropOldest,
                // Its publishers were told that their messages are safe: `max_bytes` is the bound
                // that is meant to be met.
                max_messages: 10_000_000,
                inactive_expiry: Some(Duration::from_secs(3600)),
                ..queue.clone()
            },
            queue,
            subscriber_buffer_bytes: 8 << 20,
            lost_grace: Duration::from_secs(2),
            recovered_lease: Duration::from_secs(10),
            queues_max: 100_000,
            subscriptions_max: 100_000,
            queues_per_principal: 0,
            subscriptions_per_principal: 0,
            dedupe_topics_max: 100_000,
            dedupe_topics_per_principal: 0,
            kv_bytes_max: 1 << 30,
            watch_history: 100_000,
            watch_history_bytes: 64 << 20,
            watches_max: 100_000,
            watches_per_principal: 0,
            lease_max: Duration::from_secs(12 * 3600),
            stored_max: 16 << 20,
            batch_max: 1_000,
            batch_bytes_max: 16 << 20,
            session_leases_max: 65_536,
            settled_max: 1_000_000,
            session_out_max: 1 << 20,
            deadlines_per_turn: 1_000,
            limits_max: 10_000,
            live_keys_max: 1_000_000,
            pause_max: Duration::from_secs(3600),
        }
    }
}

/// A setting that is out of its range.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ConfigError {
    /// A number is outside its bounds.
    #[error("{name} = {value} is outside {range}")]
    Range {
        /// The setting.
        name: &'static str,
        /// What it was set to.
        value: u128,
        /// What is allowed.
        range: &'static str,
    },
    /// The backoff makes no sense.
    #[error(transparent)]
    Backoff(#[from] BackoffError),
}

impl Config {
    /// Most queues by one key.
    pub(crate) fn queues_per_principal(&self) -> usize {
        or_quarter(self.queues_per_principal, self.queues_max)
    }

    /// Most subscriptions by one key.
    pub(crate) fn subscriptions_per_principal(&self) -> usize {
        or_quarter(self.subscriptions_per_principal, self.subscriptions_max)
    }

    /// Most topics with dedupe ids by one key.
    pub(crate) fn dedupe_topics_per_principal(&self) -> usize {
        or_quarter(self.dedupe_topics_per_principal, self.dedupe_topics_max)
    }

    /// Most watches by one key.
    pub(crate) fn watches_per_principal(&self) -> usize {
        or_quarter(self.watches_per_principal, self.watches_max)
    }

    /// Settled leases that each of so many queues remembers.
    pub(crate) fn settled_of_queue(&self, queues: usize) -> usize {
        (self.settled_max / queues.max(1)).clamp(SETTLED_MIN, SETTLED_MAX)
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the first setting that is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.queue.validate()?;
        self.unnamed.validate()?;
        range("queues_max", self.queues_max as u128, 1, 10_000_000, "1 .. 10000000")?;
        range("batch_max", self.batch_max as u128, 1, 10_000, "1 .. 10000")?;
        range("limits_max", self.limits_max as u128, 0, 100_000, "0 .. 100000")?;
        let live_keys = "40 .. 1073741824; one message may ask 40 of them";
        range("live_keys_max", self.live_keys_max.into(), LIVE_KEYS_MIN, 1 << 30, live_keys)?;
        let pause_max = self.pause_max.as_millis();
        range("pause_max_ms", pause_max, 1, 366 * 86_400_000, "1 ms .. 366 days")?;
        range("subscriptions_max", self.subscriptions_max as u128, 1, 10_000_000, "1 .. 10000000")?;
        range("dedupe_topics_max", self.dedupe_topics_max as u128, 1, 10_000_000, "1 .. 10000000")?;
        range("watches_max", self.watches_max as u128, 1, 10_000_000, "1 .. 10000000")?;
        range("watch_history", self.watch_history.into(), 0, 100_000_000, "0 .. 100000000")?;
        range("deadlines_per_turn", self.deadlines_per_turn as u128, 1, 1 << 20, "1 .. 1048576")
    }
}

impl QueueConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the first setting that is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        range("lease_ms", self.lease.as_millis(), 1, 12 * 3_600_000, "1 ms .. 12 h")?;
        range("max_failures", self.max_failures.into(), 0, 10_000, "0 .. 10000")?;
        range("max_messages", self.max_messages.into(), 1, u32::MAX.into(), "1 .. 4294967295")?;
        range("max_bytes", self.max_bytes.into(), 1, u64::MAX.into(), "1 or more")?;
        range("max_message_bytes", self.max_message_bytes.into(), 1, 15 << 20, "1 .. 15 MiB")?;
        Ok(self.backoff.validate()?)
    }

    /// These rules, with what `chosen` says instead.
    ///
    /// # Errors
    /// Two settings contradict each other, or one of them can't be had yet.
    pub fn with(&self, chosen: &QueueSettings) -> Result<Self, ConfigError> {
        let mut rules = self.clone();
        for (setting, value) in chosen.iter() {
            rules.apply(setting, value)?;
        }
        rules.backoff.validate()?;
        Ok(rules)
    }

    fn apply(&mut self, setting: Setting, value: u64) -> Result<(), ConfigError> {
        let time = || Some(Duration::from_millis(value)).filter(|time| !time.is_zero());
        let count = u32::try_from(value).unwrap_or(u32::MAX);
        match setting {
            Setting::LeaseMs => self.lease = Duration::from_millis(value),
            Setting::MaxFailures => self.max_failures = count,
            Setting::MaxReleases => self.max_releases = count,
            Setting::BackoffMinMs => self.backoff.min = Duration::from_millis(value),
            Setting::BackoffMaxMs => self.backoff.max = Duration::from_millis(value),
            Setting::BackoffFactor => self.backoff.factor = value as f64 / 1_000.0,
            Setting::Jitter => self.backoff.jitter = value as f64 / 1_000.0,
            Setting::TtlMs => self.ttl = time(),
            Setting::OnExpire => self.on_expire = pick(value, ON_EXPIRE),
            Setting::DedupeWindowMs => self.dedupe_window = Duration::from_millis(value),
            Setting::DedupeMax => self.dedupe_max = value,
            Setting::Order => self.order = pick(value, ORDER),
            Setting::Fairness => self.is_fair = value == 0,
            Setting::MaxMessages => self.max_messages = value,
            Setting::MaxBytes => self.max_bytes = value,
            Setting::MaxMessageBytes => self.max_message_bytes = value,
            Setting::Overflow => self.overflow = pick(value, OVERFLOW),
            Setting::Durability => self.level = pick(value, LEVEL),
            Setting::DeadTtlMs => self.dead_ttl = time(),
            Setting::DeadMax => self.dead_max = value,
            Setting::DeadMaxBytes => self.dead_max_bytes = value,
            Setting::InactiveExpiryMs => self.inactive_expiry = time(),
        }
        Ok(())
    }

    /// The value of a setting under these rules.
    pub fn value(&self, setting: Setting) -> u64 {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let maybe = |time: Option<Duration>| time.map_or(0, millis);
        match setting {
            Setting::LeaseMs => millis(self.lease),
            Setting::MaxFailures => self.max_failures.into(),
            Setting::MaxReleases => self.max_releases.into(),
            Setting::BackoffMinMs => millis(self.backoff.min),
            Setting::BackoffMaxMs => millis(self.backoff.max),
            Setting::BackoffFactor => (self.backoff.factor * 1_000.0).round() as u64,
            Setting::Jitter => (self.backoff.jitter * 1_000.0).round() as u64,
            Setting::TtlMs => maybe(self.ttl),
            Setting::OnExpire => place(self.on_expire, ON_EXPIRE),
            Setting::DedupeWindowMs => millis(self.dedupe_window),
            Setting::DedupeMax => self.dedupe_max,
            Setting::Order => place(self.order, ORDER),
            Setting::Fairness => u64::from(!self.is_fair),
            Setting::MaxMessages => self.max_messages,
            Setting::MaxBytes => self.max_bytes,
            Setting::MaxMessageBytes => self.max_message_bytes,
            Setting::Overflow => place(self.overflow, OVERFLOW),
            Setting::Durability => place(self.level, LEVEL),
            Setting::DeadTtlMs => maybe(self.dead_ttl),
            Setting::DeadMax => self.dead_max,
            Setting::DeadMaxBytes => self.dead_max_bytes,
            Setting::InactiveExpiryMs => maybe(self.inactive_expiry),
        }
    }

    /// Where these rules are not what `asked` wants.
    pub(crate) fn differences(&self, asked: &QueueSettings) -> Vec<Difference> {
        asked
            .iter()
            .map(|(setting, asked)| Difference { setting, is: self.value(setting), asked })
            .filter(|difference| difference.is != difference.asked)
            .collect()
    }
}

/// The values of settings that are words, in the order of the words.
const ON_EXPIRE: &[OnExpire] = &[OnExpire::Drop, OnExpire::Dead];
const OVERFLOW: &[Overflow] = &[Overflow::Reject, Overflow::DropOldest, Overflow::Dead];
const ORDER: &[Order] = &[Order::None, Order::GroupFifo];
const LEVEL: &[Level] = &[Level::Sync, Level::Os, Level::Memory];

fn pick<T: Copy>(at: u64, words: &[T]) -> T {
    words[usize::try_from(at).map_or(0, |at| at.min(words.len() - 1))]
}

fn place<T: PartialEq>(value: T, words: &[T]) -> u64 {
    words.iter().position(|word| *word == value).unwrap_or_default() as u64
}

fn or_quarter(given: usize, of: usize) -> usize {
    if given == 0 { of.div_ceil(4) } else { given }
}

fn range(
    name: &'static str,
    value: u128,
    min: u128,
    max: u128,
    range: &'static str,
) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(ConfigError::Range { name, value, range })
    }
}
