//! Messages under limits and their leases, as clients know them.

use sluice_model::{Generation, MessageId, SessionId};

use super::rule::At;

/// What a message is published with.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) queue: usize,
    pub(crate) priority: u8,
    pub(crate) group: Option<&'static str>,
    pub(crate) keys: Vec<&'static str>,
    pub(crate) cost: u16,
    pub(crate) delay: At,
}

/// A message, as far as one knows.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) sent: Sent,
    pub(crate) asked: At,
    pub(crate) confirmed: Option<At>,
    pub(crate) id: Option<MessageId>,
    /// From when on its ack was on its way, if it may have been done, and how many were.
    pub(crate) acking: Option<At>,
    pub(crate) acks: u32,
    /// Its ack is confirmed.
    pub(crate) is_over: bool,
    /// By when it is ready at the latest if nobody holds it; none as long as nobody knows.
    pub(crate) ready_by: Option<At>,
    /// Failures that were surely counted, and those that may have been.
    pub(crate) failures: (u32, u32),
    pub(crate) last_lease: Option<usize>,
}

/// A lease that a client saw.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    pub(crate) message: usize,
    pub(crate) generation: Generation,
    /// The how-manieth of its message it is.
    pub(crate) attempt: u32,
    /// How often its message had failed before, as it was told.
    pub(crate) failures: u32,
    /// When it was granted: its deadline tells.
    pub(crate) from: At,
    pub(crate) length: At,
    /// The connection that it ends with, if with one.
    pub(crate) bound: Option<SessionId>,
    /// It was surely held before this moment.
    pub(crate) sure_until: At,
    /// It is surely over from this moment on.
    pub(crate) over_at: At,
    /// Its record is surely on the disk.
    pub(crate) is_durable: bool,
    /// Its connection is gone.
    pub(crate) is_lost: bool,
    /// It was acked while it was held, as the answer tells.
    pub(crate) is_acked: bool,
    /// Told to be over.
    pub(crate) is_ended: bool,
    /// The moment, in events, at which it was seen.
    pub(crate) seen: u64,
}

impl Lease {
    /// Whether it was surely held at that moment.
    pub(crate) fn is_held(&self, now: At) -> bool {
        self.from <= now && now < self.sure_until
    }

    /// Whether it may have been held at that moment.
    pub(crate) fn may_be_held(&self, now: At) -> bool {
        self.from <= now && now <= self.over_at
    }
}
