//! Numbers that name things, each a type of its own so that none is taken for another.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A queue's internal number; never given to another queue, even after deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueNo(pub u32);

/// A message's place in its queue, from 0; never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

/// What a client calls a subscription; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(pub u64);

/// One connection of a client, for as long as it lives; unique within a run of the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// The number of one lease: (start of the broker, count within it).
///
/// The start number grows at every start and is synced before the first grant, so generations
/// never repeat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation {
    /// Which start of the broker, from 1.
    pub start: u32,
    /// The how-manieth grant of that start, from 1.
    pub counter: u64,
}

/// A message's identity in the whole broker; sorts by time of publish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// Which start of the broker made it, from 1.
    pub start: u32,
    /// The how-manieth publish of that start, from 1.
    pub counter: u64,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:016x}", self.start, self.counter)
    }
}

/// A text is not a message's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("an id of a message is 8 digits from 0 to f, a hyphen, and 16 more")]
pub struct MessageIdError;

impl FromStr for MessageId {
    type Err = MessageIdError;

    /// Reads what `Display` writes, and nothing else.
    fn from_str(text: &str) -> Result<Self, MessageIdError> {
        let (start, counter) = text.split_once('-').ok_or(MessageIdError)?;
        let digits =
            |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if (start.len(), counter.len()) != (8, 16) || !digits(start) || !digits(counter) {
            return Err(MessageIdError);
        }
        let start = u32::from_str_radix(start, 16).map_err(|_| MessageIdError)?;
        let counter = u64::from_str_radix(counter, 16).map_err(|_| MessageIdError)?;
        Ok(Self { start, counter })
    }
}

/// One consumer's exclusive right to one message; nobody can guess another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId {
    /// The queue that the message is in.
    pub queue: QueueNo,
    /// The message.
    pub seq: Seq,
    /// Which lease of it.
    pub generation: Generation,
    /// 64 random bits.
    pub secret: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_as_it_is_written_and_in_no_other_way() {
        for id in [(0, 0), (1, 2), (u32::MAX, u64::MAX)] {
            let id = MessageId { start: id.0, counter: id.1 };
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        let bad = [
            "",
            "-",
            "00000001",
            "1-2",
            "00000001-000000000000000A",
            "+0000001-0000000000000001",
            "000000001-000000000000001",
            "00000001-0000000000000001-",
            "00000001 0000000000000001",
        ];
        for text in bad {
            assert_eq!(text.parse::<MessageId>(), Err(MessageIdError), "{text:?}");
        }
    }
}
