//! Looking after a queue: what can be asked beside handing in and taking out.

use std::time::Duration;

use crate::{DeadReason, MessageId, QueueName, QueueSettings, State, Timestamp};

/// A request about one queue, or about all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueRequest {
    /// Make the queue, or see that it is as asked.
    Declare {
        /// Which.
        name: QueueName,
        /// What it is to be like.
        settings: QueueSettings,
        /// Change an existing one; otherwise a difference is told and nothing changed.
        update: bool,
    },
    /// End the queue and all its messages.
    Delete {
        /// Which.
        name: QueueName,
        /// Even while messages are leased or consumers are there.
        force: bool,
    },
    /// Name the queues of a kind, in the order of their names.
    List {
        /// Of which kind.
        kind: QueueKind,
        /// From the first name behind this one.
        after: Option<QueueName>,
        /// At most so many.
        limit: u16,
    },
    /// Settings, counters and gauges of a queue.
    Stats {
        /// Which.
        name: QueueName,
    },
    /// Delete messages by state.
    Purge {
        /// Of which queue.
        name: QueueName,
        /// Which of them.
        what: Purge,
    },
    /// Look at messages without touching them.
    Browse {
        /// Of which queue.
        name: QueueName,
        /// Which of them.
        filter: Filter,
        /// From the first one behind this cursor.
        after: Option<u64>,
        /// At most so many.
        limit: u16,
    },
    /// Look at one message and what it carries.
    Peek {
        /// Of which queue.
        name: QueueName,
        /// Which.
        id: MessageId,
    },
    /// Delete one message.
    Remove {
        /// Of which queue.
        name: QueueName,
        /// Which.
        id: MessageId,
        /// Even while it is leased.
        force: bool,
    },
    /// Delete one message that is delayed.
    Cancel {
        /// Of which queue.
        name: QueueName,
        /// Which.
        id: MessageId,
    },
    /// Let a delayed message come at another time.
    Reschedule {
        /// Of which queue.
        name: QueueName,
        /// Which.
        id: MessageId,
        /// When; now or in the past for at once.
        at: Timestamp,
    },
    /// Put messages of the dead set back.
    Redrive {
        /// Of which queue.
        name: QueueName,
        /// Which of them.
        which: Redrive,
        /// At most so many a second; none for as fast as it goes. With a pace the answer comes at
        /// once and the work goes on.
        per_second: Option<u32>,
    },
}

impl QueueRequest {
    /// Which queue it is about; none for all.
    pub fn queue(&self) -> Option<&QueueName> {
        match self {
            Self::Declare { name, .. }
            | Self::Delete { name, .. }
            | Self::Stats { name }
            | Self::Purge { name, .. }
            | Self::Browse { name, .. }
            | Self::Peek { name, .. }
            | Self::Remove { name, .. }
            | Self::Cancel { name, .. }
            | Self::Reschedule { name, .. }
            | Self::Redrive { name, .. } => Some(name),
            Self::List { .. } => None,
        }
    }
}

/// What a queue is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QueueKind {
    /// Messages come to it by its name.
    Plain,
    /// It is a durable subscription's: messages come to it through topics alone.
    Subscription,
}

/// Which messages a purge deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purge {
    /// Those that wait: ready and delayed ones.
    pub waiting: bool,
    /// Those that somebody holds.
    pub leased: bool,
    /// Those in the dead set.
    pub dead: bool,
}

/// Which messages are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only those in this state.
    pub state: Option<State>,
    /// Only those of this group.
    pub group: Option<String>,
    /// Only those with this key.
    pub key: Option<String>,
    /// Only those published so long ago.
    pub age_min: Option<Duration>,
    /// Only those that died so.
    pub reason: Option<DeadReason>,
}

/// Which messages of the dead set are put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redrive {
    /// These.
    Ids(Vec<MessageId>),
    /// All to which everything given here applies, oldest first.
    Matching {
        /// Only those that died so.
        reason: Option<DeadReason>,
        /// Only those that have been dead so long.
        age_min: Option<Duration>,
    },
}
