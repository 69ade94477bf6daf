//! What a look at a queue shows.

use std::sync::Arc;
use std::time::Duration;

use crate::{
    DeadReason, KEY_BYTES_MAX, KEYS_MAX, Lane, MessageId, NOTE_BYTES_MAX, QueueName, QueueSettings,
    Seq, State, Timestamp, Transition,
};

/// A queue in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSummary {
    /// Its name.
    pub name: QueueName,
    /// What its subscription listens to, if it is one's.
    pub pattern: Option<String>,
    /// Messages by state.
    pub counts: StateCounts,
}

impl QueueSummary {
    /// At least the bytes that any door makes of it: what it says, escaped, and its figures.
    pub(crate) fn weight(&self) -> usize {
        let texts = self.name.as_str().len() + self.pattern.as_ref().map_or(0, String::len);
        256 + 3 * texts
    }
}

/// How many messages are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateCounts {
    /// May be leased, or wait for a limit.
    pub ready: u64,
    /// Hidden until their time.
    pub delayed: u64,
    /// Held by consumers.
    pub leased: u64,
    /// In the dead set.
    pub dead: u64,
}

/// Settings, counters and gauges of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueStats {
    /// Its name.
    pub name: QueueName,
    /// What its subscription listens to, if it is one's.
    pub pattern: Option<String>,
    /// When it was made.
    pub made_at: Timestamp,
    /// Every setting as it counts.
    pub settings: QueueSettings,
    /// Messages by state.
    pub counts: StateCounts,
    /// Bytes of messages that are ready, delayed or leased.
    pub bytes: u64,
    /// Bytes of messages in the dead set.
    pub dead_bytes: u64,
    /// Messages since it was made: `published = acked + expired + deleted + dropped + present`.
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
    pub oldest_ready: Option<Duration>,
    /// How long the longest lease has run.
    pub oldest_leased: Option<Duration>,
    /// When the next delayed message is due.
    pub next_due: Option<Timestamp>,
    /// Sessions that are subscribed to it.
    pub consumers: u64,
    /// Receives that wait for a message.
    pub waiting: u64,
    /// Messages of the dead set that a redrive in progress has yet to look at.
    pub redriving: bool,
    /// A body could not be read back.
    pub degraded: bool,
}

/// One message's full state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageInfo {
    /// Its identity.
    pub id: MessageId,
    /// Its place in the queue.
    pub seq: Seq,
    /// Where it is in its life.
    pub state: State,
    /// When it was published.
    pub enqueued_at: Timestamp,
    /// Hidden until then, while it is delayed.
    pub ready_at: Option<Timestamp>,
    /// Gone from then on.
    pub expires_at: Option<Timestamp>,
    /// When its lease ends, while it is leased.
    pub deadline: Option<Timestamp>,
    /// Order and limits; none for the defaults.
    pub lane: Option<Arc<Lane>>,
    /// Its bytes in the log, all included.
    pub bytes: u64,
    /// How often it was leased.
    pub acquires: u32,
    /// How often an attempt failed.
    pub failures: u32,
    /// How often it was given back untried.
    pub releases: u32,
    /// How often it was put back from the dead set.
    pub redriven: u32,
    /// What its last consumer said about a failure.
    pub last_error: Option<Box<str>>,
    /// Why and since when it is dead.
    pub dead: Option<(DeadReason, Timestamp)>,
    /// What happened to it last, and when.
    pub last_change: (Transition, Timestamp),
}

impl MessageInfo {
    /// At least the bytes that any door makes of it: its texts, of which JSON makes up to six
    /// bytes of one, and its figures.
    pub(crate) fn weight(&self) -> usize {
        let lane = self.lane.as_deref();
        let group = lane.and_then(|lane| lane.group.as_ref()).map_or(0, |group| group.len());
        let keys: usize = lane.map_or(0, |lane| lane.keys.iter().map(|key| key.len()).sum());
        let last_error = self.last_error.as_ref().map_or(0, |text| text.len());
        Self::FIGURES + 6 * (group + keys + last_error)
    }

    /// Bytes of everything that has no text of a client's in it.
    const FIGURES: usize = 768;
    /// The most that [`MessageInfo::weight`] can be.
    pub(crate) const WEIGHT_MAX: usize =
        Self::FIGURES + 6 * ((1 + KEYS_MAX) * KEY_BYTES_MAX + NOTE_BYTES_MAX);
}
