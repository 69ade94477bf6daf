//! What a publisher hands in: bytes, and what it wants done with them.

use std::time::Duration;

use bytes::Bytes;

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

/// What only some messages have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extras {
    /// Pairs of strings, in the order given.
    pub headers: Vec<(String, String)>,
    /// How long it may wait, from its publish; it can only shorten its queue's.
    pub ttl: Option<Duration>,
    /// How long it stays hidden at first.
    pub delay: Option<Duration>,
    /// 0 to 9, 9 first.
    pub priority: u8,
    /// What order and fairness refer to.
    pub group: Option<String>,
    /// What limits refer to; up to 4.
    pub keys: Vec<String>,
    /// What it counts for in limits and fairness, 1 to 1000.
    pub cost: u16,
    /// Makes a second publish with the same id inside the window a duplicate.
    pub dedupe_id: Option<String>,
}

impl Default for Extras {
    fn default() -> Self {
        Self {
            headers: Vec::new(),
            ttl: None,
            delay: None,
            priority: 5,
            group: None,
            keys: Vec::new(),
            cost: 1,
            dedupe_id: None,
        }
    }
}
