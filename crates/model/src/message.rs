//! What a publisher hands in: bytes, and what it wants done with them.

use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

use crate::Timestamp;

/// How sure a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Qos {
    /// At most once, from memory.
    AtMostOnce,
    /// At least once, from the log.
    AtLeastOnce,
}

impl Qos {
    /// The number that stands for it on the wire.
    pub const fn as_u8(self) -> u8 {
        match self {
            Self::AtMostOnce => 0,
            Self::AtLeastOnce => 1,
        }
    }

    /// The level that `number` stands for on the wire, if it stands for one.
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            _ => None,
        }
    }
}

/// How safe a queue's messages and settlements are when they are confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// In memory: gone with the process.
    Memory,
    /// Handed to the kernel: survives a crash of the process.
    Os,
    /// On the disk: survives a crash of the machine.
    Sync,
}

impl Level {
    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Os => "os",
            Self::Sync => "sync",
        }
    }
}

/// A message as it is handed in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Its bytes, which nobody but publisher and consumer reads.
    pub payload: Bytes,
    /// What only some messages have; absent for a plain one, which then costs nothing.
    pub extras: Option<Box<Extras>>,
}

impl Message {
    /// A plain message: all defaults.
    pub fn plain(payload: impl Into<Bytes>) -> Self {
        Self { payload: payload.into(), extras: None }
    }
}

/// What decides in which order and under which limits a message is delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// 0 to 9, 9 first.
    pub priority: u8,
    /// What order and fairness refer to.
    pub group: Option<Box<str>>,
    /// What limits refer to; up to [`KEYS_MAX`].
    pub keys: Vec<Box<str>>,
    /// What it counts for in limits and fairness, 1 to [`COST_MAX`].
    pub cost: u16,
}

impl Default for Lane {
    fn default() -> Self {
        Self { priority: PRIORITY_DEFAULT, group: None, keys: Vec::new(), cost: 1 }
    }
}

/// The priority of a message that names none.
pub const PRIORITY_DEFAULT: u8 = 5;
/// The highest priority.
pub const PRIORITY_MAX: u8 = 9;
/// Most keys of a message.
pub const KEYS_MAX: usize = 4;
/// Longest key, group or dedupe id, in bytes.
pub const KEY_BYTES_MAX: usize = 128;
/// Highest cost of a message.
pub const COST_MAX: u16 = 1_000;
/// Most headers of a message.
pub const HEADERS_MAX: usize = 64;
/// Most bytes of a message's headers, names and values together.
pub const HEADER_BYTES_MAX: usize = 16 << 10;
/// Longest first delay.
pub const DELAY_MAX: Duration = Duration::from_secs(366 * 86_400);

/// What is wrong with what a message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MessageError {
    /// The priority is above [`PRIORITY_MAX`].
    #[error("priority {0} is outside 0 .. 9")]
    Priority(u8),
    /// The cost is 0 or above [`COST_MAX`].
    #[error("cost {0} is outside 1 .. 1000")]
    Cost(u16),
    /// There are more keys than [`KEYS_MAX`].
    #[error("the message has {0} keys, at most 4 are allowed")]
    Keys(usize),
    /// A key, the group or the dedupe id is empty or longer than [`KEY_BYTES_MAX`].
    #[error("{what} has {bytes} bytes, it must have 1 to 128")]
    Length {
        /// Which of them.
        what: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// There are more headers than [`HEADERS_MAX`].
    #[error("the message has {0} headers, at most 64 are allowed")]
    Headers(usize),
    /// The headers have more bytes than [`HEADER_BYTES_MAX`].
    #[error("the headers have {0} bytes, at most 16384 are allowed")]
    HeaderBytes(usize),
    /// The delay is longer than [`DELAY_MAX`].
    #[error("the delay is longer than 366 days")]
    Delay,
    /// It would run out of time before it is due.
    #[error("the delay is not shorter than the time to live")]
    DelayPastTtl,
}

/// What only some messages have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// Pairs of strings, in the order given.
    pub headers: Vec<(String, String)>,
    /// How long it may wait, from its publish; it can only shorten its queue's.
    pub ttl: Option<Duration>,
    /// How long it stays hidden at first.
    pub delay: Option<Duration>,
    /// Until when it stays hidden at first; wins over `delay`.
    pub deliver_at: Option<Timestamp>,
    /// Order and limits.
    pub lane: Lane,
    /// Makes a second publish with the same id inside the window a duplicate.
    pub dedupe_id: Option<String>,
}

impl Extras {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the first value that is out of range.
    pub fn validate(&self) -> Result<(), MessageError> {
        let Lane { priority, group, keys, cost } = &self.lane;
        if *priority > PRIORITY_MAX {
            return Err(MessageError::Priority(*priority));
        }
        if *cost == 0 || *cost > COST_MAX {
            return Err(MessageError::Cost(*cost));
        }
        if keys.len() > KEYS_MAX {
            return Err(MessageError::Keys(keys.len()));
        }
        for key in keys {
            length("a key", key)?;
        }
        if let Some(group) = group {
            length("the group", group)?;
        }
        if let Some(dedupe_id) = &self.dedupe_id {
            length("the dedupe id", dedupe_id)?;
        }
        if self.headers.len() > HEADERS_MAX {
            return Err(MessageError::Headers(self.headers.len()));
        }
        let bytes = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > HEADER_BYTES_MAX {
            return Err(MessageError::HeaderBytes(bytes));
        }
        if self.delay.is_some_and(|delay| delay > DELAY_MAX) {
            return Err(MessageError::Delay);
        }
        Ok(())
    }
}

fn length(what: &'static str, text: &str) -> Result<(), MessageError> {
    if (1..=KEY_BYTES_MAX).contains(&text.len()) {
        Ok(())
    } else {
        Err(MessageError::Length { what, bytes: text.len() })
    }
}
