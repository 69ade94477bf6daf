//! Queues as they are listed and counted.

use serde::{Deserialize, Serialize};
use sluice_model::{QueueName, QueueStats, QueueSummary, StateCounts, Timestamp};

use super::setting::{self, Settings};
use super::written::millis;

/// The answer to `queue.list` and `subscription.list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Queues {
    /// In the order of their names.
    pub queues: Vec<Queue>,
    /// Names the last one if there are more: the `after` of the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A queue in a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// The subscription that it belongs to, by its name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<String>,
    /// What its subscription listens to, if it is one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Messages by state.
    pub counts: Counts,
}

/// How many messages are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Counts {
    /// May be leased, or wait for a limit.
    pub ready: u64,
    /// Hidden until their time.
    pub delayed: u64,
    /// Held by consumers.
    pub leased: u64,
    /// In the dead set.
    pub dead: u64,
}

/// The answer to `queue.stats`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Stats {
    /// The queue's name.
    pub name: String,
    /// The subscription that it belongs to, by its name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<String>,
    /// What its subscription listens to, if it is one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// When it was made.
    pub made_at: u64,
    /// Every setting as it counts.
    #[cfg_attr(
        feature = "schema",
        schema(value_type = std::collections::BTreeMap<String, super::Value>)
    )]
    pub settings: Settings,
    /// Messages by state.
    pub counts: Counts,
    /// Bytes of messages that are ready, delayed or leased.
    pub bytes: u64,
    /// Bytes of messages in the dead set.
    pub dead_bytes: u64,
    /// Messages since it was made: acked, expired, deleted, dropped, and those that are there.
    pub published: u64,
    /// Settled by an ack.
    pub acked: u64,
    /// Ran out of time.
    pub expired: u64,
    /// Deleted or purged.
    pub deleted: u64,
    /// Made room for newer ones, or left the dead set by its bounds.
    pub dropped: u64,
    /// How long the oldest ready message has been there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_ready_ms: Option<u64>,
    /// How long the longest lease has run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_leased_ms: Option<u64>,
    /// When the next delayed message is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_due_at: Option<u64>,
    /// Sessions that are subscribed to it.
    pub consumers: u64,
    /// Receives that wait for a message.
    pub waiting: u64,
    /// A redrive goes on.
    pub redriving: bool,
    /// What a message carries could not be read back.
    pub degraded: bool,
}

impl From<StateCounts> for Counts {
    fn from(counts: StateCounts) -> Self {
        let StateCounts { ready, delayed, leased, dead } = counts;
        Self { ready, delayed, leased, dead }
    }
}

impl From<&QueueSummary> for Queue {
    fn from(queue: &QueueSummary) -> Self {
        let QueueSummary { name, pattern, counts } = queue;
        Self {
            name: name.to_string(),
            subscription: name.subscription().map(ToOwned::to_owned),
            pattern: pattern.clone(),
            counts: (*counts).into(),
        }
    }
}

impl Queues {
    /// A page of queues, and the last one's name if there are more.
    pub(super) fn new(queues: &[QueueSummary], next: Option<&QueueName>) -> Self {
        let queues = queues.iter().map(Queue::from).collect();
        Self { queues, next: next.map(QueueName::to_string) }
    }
}

impl From<&QueueStats> for Stats {
    fn from(stats: &QueueStats) -> Self {
        let QueueStats { name, pattern, made_at, settings, counts, bytes, dead_bytes, .. } = stats;
        let QueueStats { published, acked, expired, deleted, dropped, .. } = *stats;
        let QueueStats { oldest_ready, oldest_leased, next_due, .. } = *stats;
        let QueueStats { consumers, waiting, redriving, degraded, .. } = *stats;
        Self {
            name: name.to_string(),
            subscription: name.subscription().map(ToOwned::to_owned),
            pattern: pattern.clone(),
            made_at: made_at.as_millis(),
            settings: setting::told(settings),
            counts: (*counts).into(),
            bytes: *bytes,
            dead_bytes: *dead_bytes,
            published,
            acked,
            expired,
            deleted,
            dropped,
            oldest_ready_ms: oldest_ready.map(millis),
            oldest_leased_ms: oldest_leased.map(millis),
            next_due_at: next_due.map(Timestamp::as_millis),
            consumers,
            waiting,
            redriving,
            degraded,
        }
    }
}
