//! Limits and pauses: what can be asked about them, and what comes back.

use std::time::Duration;

use crate::{Explained, Explanation, Limit, LimitMatch, QueueName, Timestamp};

/// The largest weight of a group.
pub const WEIGHT_MAX: u16 = 1_000;

/// A request about limits, or about pauses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitRequest {
    /// Set a limit, in place of the one of that name and match.
    Put(Box<Limit>),
    /// List limits, in the order of their names.
    List {
        /// Only those of this name.
        name: Option<Box<str>>,
        /// From the first one behind this name and match.
        after: Option<(Box<str>, LimitMatch)>,
        /// At most so many.
        limit: u16,
    },
    /// Take a limit away.
    Delete {
        /// Its name.
        name: Box<str>,
        /// Which of them; none for all of that name.
        matches: Option<LimitMatch>,
    },
    /// Hand out nothing of a queue or a key for a time.
    Pause {
        /// Of what.
        what: Pausable,
        /// How long; none for until it is resumed.
        period: Option<Duration>,
        /// Why; at most [`crate::NOTE_BYTES_MAX`] bytes.
        reason: Option<Box<str>>,
    },
    /// End a pause at once, whoever made it.
    Resume {
        /// Of what.
        what: Pausable,
    },
    /// The keys of a limit that have most lanes waiting, then most leases.
    TopKeys {
        /// Of which limits; all of that name.
        name: Box<str>,
        /// At most so many.
        limit: u16,
    },
    /// Give a group more turns than others of its queue have.
    Weigh {
        /// Of which queue.
        queue: QueueName,
        /// Which group.
        group: Box<str>,
        /// How many turns, 1 to [`WEIGHT_MAX`]; 1 is what every group has.
        weight: u16,
    },
    /// Say why something is not delivered.
    Explain {
        /// In which queue.
        queue: QueueName,
        /// What is asked about.
        what: Explained,
    },
}

impl LimitRequest {
    /// Which queue it is about; none for the broker as a whole.
    pub fn queue(&self) -> Option<&QueueName> {
        match self {
            Self::Pause { what, .. } | Self::Resume { what } => Some(what.queue()),
            Self::Weigh { queue, .. } | Self::Explain { queue, .. } => Some(queue),
            Self::Put(_) | Self::List { .. } | Self::Delete { .. } | Self::TopKeys { .. } => None,
        }
    }
}

/// What can be paused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pausable {
    /// All of a queue.
    Queue(QueueName),
    /// A key, in every queue that a limit of keys which matches it in this queue covers; without such
    /// a limit, in this queue.
    Key {
        /// Seen from which queue.
        queue: QueueName,
        /// Which key.
        key: Box<str>,
    },
}

impl Pausable {
    /// The queue, or the one from which a key is seen.
    pub fn queue(&self) -> &QueueName {
        match self {
            Self::Queue(queue) | Self::Key { queue, .. } => queue,
        }
    }
}

/// A pause that somebody made, or that a consumer asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paused {
    /// When it ends; none when it is resumed.
    pub until: Option<Timestamp>,
    /// Who made it; none if it followed from a consumer's nack.
    pub by: Option<Box<str>>,
    /// Why.
    pub reason: Option<Box<str>>,
}

/// What came of a request about limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitAnswer {
    /// It is set.
    Put {
        /// The one that it took the place of.
        replaced: Option<Box<Limit>>,
    },
    /// A page of limits.
    List {
        /// In order.
        limits: Vec<Limit>,
        /// There are more behind the last one.
        more: bool,
    },
    /// So many were taken away.
    Deleted(u32),
    /// It is paused.
    Paused(Paused),
    /// It goes on; whether it was paused.
    Resumed(bool),
    /// Keys in order.
    TopKeys(Vec<KeyFigures>),
    /// The group has that weight.
    Weighed,
    /// Every reason why it is not delivered now; without any it would be.
    Explained {
        /// They.
        reasons: Vec<Explanation>,
        /// When that was so.
        at: Timestamp,
    },
}

impl LimitAnswer {
    /// At least the bytes that any door makes of it, of texts six times as many.
    pub(crate) fn weight(&self) -> usize {
        let limit = |limit: &Limit| {
            let LimitMatch { queue, key } = limit.matches();
            let key = key.as_ref().map_or(0, |key| key.as_str().len());
            512 + 6 * (limit.name().len() + queue.as_str().len() + key)
        };
        match self {
            Self::Put { replaced } => replaced.as_deref().map_or(0, limit),
            Self::List { limits, .. } => limits.iter().map(limit).sum(),
            Self::Paused(paused) => paused.weight(),
            Self::TopKeys(keys) => {
                let paused = |key: &KeyFigures| key.paused.as_ref().map_or(0, Paused::weight);
                keys.iter().map(|key| 2_048 + 6 * key.key.len() + paused(key)).sum()
            }
            Self::Explained { reasons, .. } => reasons.iter().map(Explanation::weight).sum(),
            Self::Deleted(_) | Self::Resumed(_) | Self::Weighed => 0,
        }
    }
}

impl Paused {
    /// At least the bytes that any door makes of it.
    pub(crate) fn weight(&self) -> usize {
        let len = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        128 + 6 * (len(&self.by) + len(&self.reason))
    }
}

/// How it stands with one key of a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFigures {
    /// The match that counts for it.
    pub matches: LimitMatch,
    /// Which key; with scope queue, which queue.
    pub key: Box<str>,
    /// Messages that are leased.
    pub holders: u32,
    /// Lanes that wait for it.
    pub lanes: u32,
    /// Whole tokens that may be taken; none without a rate.
    pub tokens: Option<u32>,
    /// Its pause.
    pub paused: Option<Paused>,
}

/// What waits for the limits of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitWaits {
    /// The name.
    pub name: Box<str>,
    /// Lanes that wait now.
    pub lanes: u64,
    /// How long lanes have waited, all together.
    pub waited: Duration,
}

/// A consumer was told to slow down: the key is paused, the message goes back, nothing is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Throttled {
    /// How long; none if it was not told, which makes it longer each time.
    pub retry_after: Option<Duration>,
    /// Which key; none for the message's first.
    pub key: Option<Box<str>>,
}
