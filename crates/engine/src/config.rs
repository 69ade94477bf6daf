//! The engine's bounds and defaults.

use std::time::Duration;

use sluice_flow::{Backoff, BackoffError};
use thiserror::Error;

/// How safe a queue's messages and settlements are when they are confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Handed to the kernel: survives a crash of the process.
    Os,
    /// On the disk: survives a crash of the machine.
    Sync,
}

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
    /// What happens past these.
    pub overflow: Overflow,
    /// How safe what is confirmed must be.
    pub level: Level,
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
            overflow: Overflow::Reject,
            level: Level::Sync,
        }
    }
}

/// The engine's bounds and defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Rules of durable subscriptions with a name.
    pub queue: QueueConfig,
    /// Rules of the unnamed durable subscriptions that version 1 of the binary protocol makes.
    pub unnamed: QueueConfig,
    /// How long an unnamed subscription lives without a consumer.
    pub unnamed_expiry: Duration,
    /// Largest payload, in bytes.
    pub max_message_bytes: usize,
    /// Bytes that a subscriber at most once may have waiting before it loses the oldest.
    pub subscriber_buffer_bytes: usize,
    /// Grace between the loss of a client's connection and the end of its leases.
    pub lost_grace: Duration,
    /// After a restart, a lease that is bound to no connection lives at least so much longer.
    pub recovered_lease: Duration,
    /// Most subscriptions at a time.
    pub subscriptions_max: usize,
    /// Most of them by one key; 0 for a quarter.
    pub subscriptions_per_principal: usize,
    /// Most unsettled deliveries that a session may hold.
    pub session_leases_max: usize,
    /// Most bytes of replies on their way out of one session.
    pub session_out_max: usize,
    /// Most deadlines that fire in one turn; the rest wait for the next.
    pub deadlines_per_turn: usize,
}

impl Default for Config {
    fn default() -> Self {
        let queue = QueueConfig::default();
        Self {
            unnamed: QueueConfig { overflow: Overflow::DropOldest, ..queue.clone() },
            queue,
            unnamed_expiry: Duration::from_secs(3600),
            max_message_bytes: 1 << 20,
            subscriber_buffer_bytes: 8 << 20,
            lost_grace: Duration::from_secs(2),
            recovered_lease: Duration::from_secs(10),
            subscriptions_max: 100_000,
            subscriptions_per_principal: 0,
            session_leases_max: 65_536,
            session_out_max: 1 << 20,
            deadlines_per_turn: 1_000,
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
    /// Most subscriptions by one key.
    pub(crate) fn subscriptions_per_principal(&self) -> usize {
        match self.subscriptions_per_principal {
            0 => self.subscriptions_max.div_ceil(4),
            given => given,
        }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the first setting that is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.queue.validate()?;
        self.unnamed.validate()?;
        range("max_message_bytes", self.max_message_bytes as u128, 1, 15 << 20, "1 .. 15 MiB")?;
        range("subscriptions_max", self.subscriptions_max as u128, 1, 10_000_000, "1 .. 10000000")?;
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
        Ok(self.backoff.validate()?)
    }
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
