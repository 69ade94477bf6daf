//! Why something is not being delivered.

use std::fmt;

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

    /// When time alone takes the reason away, if it does.
    pub fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Delayed { until } | Self::Leased { until } => Some(*until),
            Self::Rate { eligible_at, .. } | Self::Window { eligible_at, .. } => Some(*eligible_at),
            Self::Paused { pause, .. } => pause.until,
            _ => None,
        }
    }
}

impl Explanation {
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

impl fmt::Display for LimitedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "limit {} for {}", self.limit, self.key)
    }
}

impl fmt::Display for Paused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("paused")?;
        match &self.by {
            Some(by) => write!(f, " by {by}")?,
            None => f.write_str(" because a consumer was throttled")?,
        }
        match self.until {
            Some(until) => write!(f, " until {until}")?,
            None => f.write_str(" until it is resumed")?,
        }
        match &self.reason {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delayed { until } => write!(f, "delayed until {until}"),
            Self::Rate { by, eligible_at } => write!(f, "rate of {by}: eligible at {eligible_at}"),
            Self::Window { by, eligible_at } => {
                write!(f, "window of {by}: eligible at {eligible_at}")
            }
            Self::Concurrency { by, holders, max } => {
                write!(f, "concurrency of {by}: {holders} leased, {max} allowed")
            }
            Self::Paused { key: Some(key), pause } => write!(f, "key {key} is {pause}"),
            Self::Paused { key: None, pause } => write!(f, "the queue is {pause}"),
            Self::BehindHead { head } => write!(f, "behind {head}, the head of its group"),
            Self::LowerPriority { than } => write!(f, "messages of priority {than} go first"),
            Self::NoConsumer => f.write_str("no consumer is receiving"),
            Self::Leased { until } => write!(f, "leased until {until}"),
            Self::KeyCap => f.write_str("too many keys are live, its keys wait for room"),
            Self::Turn { by } => write!(f, "others that wait for {by} go first"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn reasons_read_as_sentences_and_say_when_they_end() {
        let by = || LimitedBy { limit: "stripe".into(), key: "stripe:7".into() };
        let at = Timestamp::from_millis(5_000);
        let asked = Paused { until: None, by: Some("ops".into()), reason: Some("deploy".into()) };
        let told = Paused { until: Some(at), by: None, reason: None };
        let cases = [
            (Explanation::Rate { by: by(), eligible_at: at }, Some(at), "rate of limit stripe for stripe:7: eligible at 5000ms"),
            (Explanation::Concurrency { by: by(), holders: 2, max: 2 }, None, "concurrency of limit stripe for stripe:7: 2 leased, 2 allowed"),
            (Explanation::Paused { key: None, pause: asked }, None, "the queue is paused by ops until it is resumed: deploy"),
            (Explanation::Paused { key: Some("k".into()), pause: told }, Some(at), "key k is paused because a consumer was throttled until 5000ms"),
            (Explanation::Leased { until: at }, Some(at), "leased until 5000ms"),
        ];
        for (reason, until, text) in cases {
            assert_eq!((reason.until(), reason.to_string().as_str()), (until, text));
        }
    }
}
