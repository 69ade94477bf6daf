//! Why something is not being delivered.

use crate::{MessageId, Paused, Timestamp};

/// What is asked about, in a queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Explained {
    /// One message.
    Message(MessageId),
    /// The next message of a group.
    Group(Box<str>),
    /// The next message with a key.
    Key(Box<str>),
    /// The next message of all.
    Queue,
}

/// A limit and which of its keys: the key of a message, or its queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitedBy {
    /// The name of the limit.
    pub limit: Box<str>,
    /// The key; the queue's name for a limit of queues.
    pub key: Box<str>,
}

/// One reason why a message is not delivered. Without any it would be, now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Explanation {
    /// It is hidden until its time.
    Delayed {
        /// Until when.
        until: Timestamp,
    },
    /// The tokens are not there yet.
    Rate {
        /// By which limit.
        by: LimitedBy,
        /// When they will be if nobody else takes them.
        eligible_at: Timestamp,
    },
    /// There were as many deliveries in the last while as may be.
    Window {
        /// By which limit.
        by: LimitedBy,
        /// When enough of them are long enough ago.
        eligible_at: Timestamp,
    },
    /// As many are leased as may be.
    Concurrency {
        /// By which limit; by none while a key that was paused is tried with one at a time.
        by: LimitedBy,
        /// How many are leased.
        holders: u32,
        /// How many may be.
        max: u32,
    },
    /// A key or the queue is paused.
    Paused {
        /// Which key; none for the queue.
        key: Option<Box<str>>,
        /// By whom, until when and why.
        pause: Paused,
    },
    /// Its group is delivered one after another, and this one is before it.
    BehindHead {
        /// The head of the group.
        head: MessageId,
    },
    /// Messages of a higher priority go first.
    LowerPriority {
        /// The priority of those.
        than: u8,
    },
    /// Nobody is there who receives.
    NoConsumer,
    /// Somebody holds it.
    Leased {
        /// Until when.
        until: Timestamp,
    },
    /// Its keys are new, and there are as many as may be.
    KeyCap,
    /// Others wait for the same limit and come first.
    Turn {
        /// For which.
        by: LimitedBy,
    },
}

impl Explanation {
    /// Its name on the wire.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Delayed { .. } => "delayed",
            Self::Rate { .. } => "rate",
            Self::Window { .. } => "window",
            Self::Concurrency { .. } => "concurrency",
            Self::Paused { .. } => "paused",
            Self::BehindHead { .. } => "behind_head",
            Self::LowerPriority { .. } => "lower_priority",
            Self::NoConsumer => "no_consumer",
            Self::Leased { .. } => "leased",
            Self::KeyCap => "key_cap",
            Self::Turn { .. } => "turn",
        }
    }

    /// At least the bytes that any door makes of it, with a sentence that says the same.
    pub(crate) fn weight(&self) -> usize {
        let texts = match self {
            Self::Rate { by, .. }
            | Self::Window { by, .. }
            | Self::Concurrency { by, .. }
            | Self::Turn { by } => by.limit.len() + by.key.len(),
            Self::Paused { key, pause } => {
                key.as_ref().map_or(0, |key| key.len()) + pause.weight() / 6
            }
            _ => 0,
        };
        512 + 12 * texts
    }
}
