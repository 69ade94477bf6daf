//! What must survive a crash, and its bytes.
//!
//! A record has a head, which replay reads, and maybe a body, which only a delivery reads. All
//! integers are little-endian. The first byte of a head is the kind of the record; numbers of
//! kinds are never reused. Heads are opaque to the log, so this format changes without it.

use std::borrow::Cow;
use std::time::Duration;

use sluice_model::{
    DeadReason, Generation, Lane, Limit, LimitMatch, MessageId, Paused, Purge, QueueNo,
    QueueSettings, Redrive, Seq, Timestamp, Topic, Transition, ValueKind, var::VarError,
};
use thiserror::Error;

use crate::content::Content;

mod codec;
mod keys;
mod limits;
mod many;
#[cfg(test)]
mod tests;

pub(crate) use keys::{bytes, put_bytes};
pub(crate) use limits::{limit, paused, put_limit, put_paused};
pub(crate) use many::MANY_MAX;
pub use many::{AckedRun, Run};

pub(crate) use codec::{
    byte, generation, lane, optional_str, paced, put_generation, put_lane, put_paced, put_scope,
    put_settings, put_str, put_time, scope, settings, str, time,
};

/// One change of state.
#[derive(Clone, Debug, PartialEq)]
pub enum Record<'a> {
    /// The broker's first start: the key that makes lease ids unguessable.
    Founded {
        /// 128 random bits.
        lease_key: [u8; 16],
    },
    /// The broker started once more.
    Started {
        /// Which start, from 1.
        start: u32,
        /// When.
        at: Timestamp,
        /// The run before it ended without saying so.
        unclean: bool,
    },
    /// A queue was made.
    Declared {
        /// Its number.
        queue: QueueNo,
        /// When.
        at: Timestamp,
        /// Its name; none for the queue of a subscription that is found again by its owner.
        name: Option<Cow<'a, str>>,
        /// What its subscription listens to, if it is one's.
        pattern: Option<Cow<'a, str>>,
        /// Who made it, as [`crate::topic::Owner`] writes it.
        owner: Cow<'a, str>,
        /// What was chosen for it.
        settings: Cow<'a, QueueSettings>,
    },
    /// A queue's settings were changed.
    Configured {
        /// Its number.
        queue: QueueNo,
        /// All that is chosen for it from now on.
        settings: Cow<'a, QueueSettings>,
    },
    /// A queue and all its messages are gone.
    Ended {
        /// Its number.
        queue: QueueNo,
    },
    /// A message was taken, for all of the targets at once.
    Published {
        /// When.
        at: Timestamp,
        /// Its identity.
        id: MessageId,
        /// Where it stands in each queue.
        targets: Cow<'a, [Target]>,
        /// Order and limits; none for the defaults.
        lane: Option<Cow<'a, Lane>>,
        /// What makes a second publish a duplicate.
        dedupe: Option<Cow<'a, DedupeMark>>,
        /// Its bytes; none when read back for replay.
        content: Option<Content<'a>>,
    },
    /// A message's body was copied to this record so that its old place can go.
    Moved {
        /// Where it stands in each queue that still holds it.
        targets: Cow<'a, [Target]>,
        /// The body as it stood; none when read back for replay.
        body: Option<&'a [u8]>,
    },
    /// A consumer was given a lease.
    Granted {
        /// Which message.
        target: Target,
        /// Which lease of it.
        generation: Generation,
        /// When.
        at: Timestamp,
        /// When it ends by itself.
        deadline: Timestamp,
        /// It ends with its connection.
        bound: bool,
    },
    /// A consumer was given leases of several messages at once.
    GrantedMany {
        /// Of which queue.
        queue: QueueNo,
        /// Which, in the order of their leases.
        runs: Cow<'a, [Run]>,
        /// The lease of the first one; each further one's counter is one higher.
        generation: Generation,
        /// When.
        at: Timestamp,
        /// When they end by themselves.
        deadline: Timestamp,
        /// They end with their connection.
        bound: bool,
    },
    /// A consumer took more time.
    Extended {
        /// Which message.
        target: Target,
        /// When.
        at: Timestamp,
        /// When its lease ends by itself.
        deadline: Timestamp,
    },
    /// A message was dealt with.
    Acked {
        /// Which message.
        target: Target,
        /// The lease that it was done under.
        generation: Generation,
    },
    /// Several messages were dealt with at once.
    AckedMany {
        /// Of which queue.
        queue: QueueNo,
        /// Which, and under which leases; none twice.
        runs: Cow<'a, [AckedRun]>,
    },
    /// A lease ended without an ack and the message waits again.
    Returned {
        /// Which message.
        target: Target,
        /// Why.
        cause: Cause,
        /// When.
        at: Timestamp,
        /// Hidden until then; the epoch for not hidden.
        ready_at: Timestamp,
        /// What the consumer said about it.
        note: Option<Cow<'a, str>>,
    },
    /// A message was parked in its queue's dead set.
    Buried {
        /// Which message.
        target: Target,
        /// Why.
        reason: DeadReason,
        /// When.
        at: Timestamp,
        /// What the consumer said about it.
        note: Option<Cow<'a, str>>,
    },
    /// A delayed message was given another time.
    Rescheduled {
        /// Which message.
        target: Target,
        /// When.
        at: Timestamp,
        /// Hidden until then; the epoch for not hidden.
        ready_at: Timestamp,
    },
    /// A message of the dead set waits again, behind all others.
    Redriven {
        /// Which message.
        target: Target,
        /// When.
        at: Timestamp,
        /// A late ack under an older generation is refused.
        fence: Generation,
    },
    /// Messages of the dead set are put back at a pace from now on.
    RedriveBegun {
        /// Of which queue.
        queue: QueueNo,
        /// Tells it from others of the queue that are in progress.
        number: u32,
        /// What is asked for.
        paced: Cow<'a, PacedRedrive>,
    },
    /// That is done, or found no more room.
    RedriveDone {
        /// Of which queue.
        queue: QueueNo,
        /// Which one.
        number: u32,
    },
    /// Messages were deleted by state.
    Purged {
        /// Of which queue.
        queue: QueueNo,
        /// From this place.
        from: Seq,
        /// To before this one.
        to: Seq,
        /// Which of them.
        what: Purge,
    },
    /// A message is gone without having been dealt with.
    Removed {
        /// Which message.
        target: Target,
        /// Why.
        why: Removal,
    },
    /// A limit was set, in place of the one of that name and match.
    LimitPut {
        /// When.
        at: Timestamp,
        /// What it is from now on.
        limit: Cow<'a, Limit>,
    },
    /// Limits are gone.
    LimitDeleted {
        /// When.
        at: Timestamp,
        /// Their name.
        name: Cow<'a, str>,
        /// Which of them; none for all of that name.
        matches: Option<Cow<'a, LimitMatch>>,
    },
    /// Somebody paused a queue, or a key as it is seen from there, or ended its pauses.
    Paused {
        /// Which queue.
        queue: QueueNo,
        /// Which key; none for the queue itself.
        key: Option<Cow<'a, str>>,
        /// When.
        at: Timestamp,
        /// The pause; none for the end of every pause.
        pause: Option<Cow<'a, Paused>>,
    },
    /// A consumer said that a key wants a pause.
    Throttled {
        /// From which queue the key is seen.
        queue: QueueNo,
        /// Which key.
        key: Cow<'a, str>,
        /// When.
        at: Timestamp,
        /// How long, if the consumer was told.
        retry_after: Option<Duration>,
    },
    /// A group was given another number of turns.
    Weighed {
        /// Of which queue.
        queue: QueueNo,
        /// Which group.
        group: Cow<'a, str>,
        /// How many; 1 is what every group has.
        weight: u16,
    },
    /// Messages in memory only were handed out under a window, which has to know of them after a
    /// crash.
    Counted {
        /// Of which queue.
        queue: QueueNo,
        /// When.
        at: Timestamp,
        /// Their keys.
        lane: Cow<'a, Lane>,
        /// How many.
        count: u32,
    },
    /// A key was given a value.
    KeySet {
        /// The change's number.
        revision: u64,
        /// Which.
        key: Cow<'a, str>,
        /// What the value is.
        kind: ValueKind,
        /// The value.
        value: Cow<'a, [u8]>,
        /// Gone from then on; the epoch for never.
        expires_at: Timestamp,
        /// What makes a second write a duplicate.
        dedupe: Option<Cow<'a, KeyMark>>,
    },
    /// A key is gone.
    KeyGone {
        /// The change's number.
        revision: u64,
        /// Which.
        key: Cow<'a, str>,
        /// Its time was over; otherwise somebody removed it.
        expired: bool,
    },
}

/// A message's place in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The queue.
    pub queue: QueueNo,
    /// The place.
    pub seq: Seq,
    /// Hidden until then; the epoch for not hidden. Only in [`Record::Published`].
    pub ready_at: Timestamp,
    /// Gone from then on; the epoch for never. Only in [`Record::Published`].
    pub expires_at: Timestamp,
}

impl Target {
    /// The place `seq` of `queue`, without times.
    pub const fn new(queue: QueueNo, seq: Seq) -> Self {
        Self { queue, seq, ready_at: Timestamp::EPOCH, expires_at: Timestamp::EPOCH }
    }

    fn is_timed(&self) -> bool {
        self.ready_at != Timestamp::EPOCH || self.expires_at != Timestamp::EPOCH
    }
}

/// A redrive of at most so many messages a second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacedRedrive {
    /// Messages that died later are not meant.
    pub asked_at: Timestamp,
    /// So many a second, 1 or more.
    pub per_second: u32,
    /// Which messages.
    pub which: Redrive,
}

/// What makes a second publish a duplicate of the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DedupeMark {
    /// Where ids are compared.
    pub scope: DedupeScope,
    /// A keyed hash of the id.
    pub id: u128,
    /// A keyed hash of what was published, so that the same id with another body is found out.
    pub body: u64,
    /// When it is forgotten.
    pub until: Timestamp,
}

/// What makes a second write to a key a duplicate of the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMark {
    /// Of key and id, and of what was written.
    pub mark: DedupeMark,
    /// What an addition came to; 0 for anything else.
    pub sum: i64,
}

/// Where dedupe ids are compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DedupeScope {
    /// Among the publishes to one topic.
    Topic(Topic),
    /// Among the messages put into one queue.
    Queue(QueueNo),
    /// Among the writes to keys.
    Keys,
}

/// Declares an enum of causes with the byte that stands for each on disk.
macro_rules! bytes_enum {
    ($(#[$doc:meta])+ $name:ident { $($(#[$vdoc:meta])+ $variant:ident = $byte:literal,)+ }) => {
        $(#[$doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])+ $variant,)+ }

        impl $name {
            /// The byte that stands for it on disk.
            pub(crate) const fn as_u8(self) -> u8 {
                match self { $(Self::$variant => $byte,)+ }
            }

            /// What `byte` stands for on disk.
            pub(crate) const fn from_u8(byte: u8) -> Result<Self, RecordError> {
                match byte {
                    $($byte => Ok(Self::$variant),)+
                    _ => Err(RecordError::Unknown { what: stringify!($name), byte }),
                }
            }
        }
    };
}

bytes_enum! {
    /// Why a lease ended without an ack and without an end of the message.
    Cause {
        /// The consumer says the attempt failed: a failure.
        Failed = 1,
        /// The deadline passed: a failure.
        Expired = 2,
        /// The connection of the consumer went away: a failure.
        Lost = 3,
        /// The consumer gave it back untried: a release.
        Released = 4,
        /// The broker took it back, uncounted; a late ack is still welcome.
        Withdrawn = 5,
        /// A new connection took the subscription over, uncounted; the old lease is void.
        TakenOver = 6,
        /// Its key wants a pause, the consumer says: uncounted.
        Throttled = 7,
    }
}

bytes_enum! {
    /// Why a message is gone without having been dealt with.
    Removal {
        /// It ran out of time.
        Expired = 1,
        /// It made room for newer ones, or left the dead set by its bounds.
        Dropped = 2,
        /// Somebody deleted it.
        Deleted = 3,
    }
}

impl Cause {
    /// Whether it counts as a failure of the message.
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::Expired | Self::Lost)
    }

    /// How a message's last change is told.
    pub(crate) const fn transition(self) -> Transition {
        match self {
            Self::Failed => Transition::Failed,
            Self::Expired => Transition::Expired,
            Self::Lost => Transition::Lost,
            Self::Released => Transition::Released,
            Self::Withdrawn | Self::TakenOver => Transition::Withdrawn,
            Self::Throttled => Transition::Throttled,
        }
    }

    /// Whether leases granted so far may no longer ack the message.
    pub(crate) const fn voids_lease(self) -> bool {
        matches!(self, Self::Failed | Self::Released | Self::TakenOver | Self::Throttled)
    }
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// They end too early.
    #[error("the record ends too early")]
    Short,
    /// They go on after the record's end.
    #[error("{0} bytes follow the record's end")]
    Long(usize),
    /// A byte stands for nothing known.
    #[error("byte {byte} stands for no {what}")]
    Unknown {
        /// What it should have stood for.
        what: &'static str,
        /// The byte.
        byte: u8,
    },
    /// A string is not UTF-8.
    #[error("a string is not UTF-8")]
    Utf8,
    /// A number is not in its shortest form.
    #[error("a number is not in its shortest form")]
    Number,
    /// A limit that can't be.
    #[error("a limit has values that none can have")]
    Limit,
    /// A run of messages is empty, or goes past what there can be.
    #[error("a run of messages is empty or too long")]
    Run,
}

impl From<VarError> for RecordError {
    fn from(error: VarError) -> Self {
        match error {
            VarError::Short => Self::Short,
            VarError::Invalid => Self::Number,
        }
    }
}

impl From<bytes::TryGetError> for RecordError {
    fn from(_: bytes::TryGetError) -> Self {
        Self::Short
    }
}
