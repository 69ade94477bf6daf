//! Limits and pauses: what can be asked about them, and what comes back.

use std::time::Duration;

use crate::{Limit, LimitMatch, QueueName, Timestamp};

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
    /// Limits in order; there are more if as many as asked for came.
    List(Vec<Limit>),
    /// So many were taken away.
    Deleted(u32),
    /// It is paused.
    Paused(Paused),
    /// It goes on; whether it was paused.
    Resumed(bool),
    /// Keys in order.
    TopKeys(Vec<KeyFigures>),
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

/// A consumer was told to slow down: the key is paused, the message goes back, nothing is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Throttled {
    /// How long; none if it was not told, which makes it longer each time.
    pub retry_after: Option<Duration>,
    /// Which key; none for the message's first.
    pub key: Option<Box<str>>,
}
