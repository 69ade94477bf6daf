//! Numbers that name things, each a type of its own so that none is taken for another.

use std::fmt;

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
