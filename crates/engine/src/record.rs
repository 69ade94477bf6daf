//! What must survive a crash, and its bytes.
//!
//! A record has a head, which replay reads, and maybe a body, which only a delivery reads. All
//! integers are little-endian. The first byte of a head is the kind of the record; numbers of
//! kinds are never reused. Heads are opaque to the log, so this format changes without it.

use std::borrow::Cow;

use bytes::{Buf, BufMut};
use sluice_model::{Extras, Generation, MessageId, QueueNo, Seq, Timestamp};
use thiserror::Error;

use crate::content::Content;

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
    /// A durable subscription was made.
    Subscribed {
        /// The number of its queue.
        queue: QueueNo,
        /// When.
        at: Timestamp,
        /// Its name; none for one that is found again by its owner.
        name: Option<Cow<'a, str>>,
        /// What it listens to.
        pattern: Cow<'a, str>,
        /// Who made it, as [`crate::topic::Owner`] writes it.
        owner: Cow<'a, str>,
    },
    /// A durable subscription and its queue are gone.
    Unsubscribed {
        /// The number of its queue.
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
        /// What lanes are made of; none for a plain message.
        extras: Option<Cow<'a, Extras>>,
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
        /// When it ends by itself.
        deadline: Timestamp,
        /// It ends with its connection.
        bound: bool,
    },
    /// A message was dealt with.
    Acked {
        /// Which message.
        target: Target,
        /// The lease that it was done under.
        generation: Generation,
    },
    /// A lease ended without an ack and the message waits again.
    Returned {
        /// Which message.
        target: Target,
        /// Why.
        cause: Cause,
        /// Hidden until then; the epoch for not hidden.
        ready_at: Timestamp,
    },
    /// A message was parked in its queue's dead set.
    Buried {
        /// Which message.
        target: Target,
        /// Why.
        reason: DeadReason,
        /// When.
        at: Timestamp,
    },
    /// A message is gone without having been dealt with.
    Removed {
        /// Which message.
        target: Target,
        /// Why.
        why: Removal,
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
    }
}

bytes_enum! {
    /// Why a message is in the dead set.
    DeadReason {
        /// It failed as often as the queue allows.
        MaxFailures = 1,
        /// It was released more often than the queue allows.
        MaxReleases = 2,
        /// It ran out of time.
        Expired = 3,
        /// Its body can't be read back.
        Corrupt = 4,
    }
}

bytes_enum! {
    /// Why a message is gone without having been dealt with.
    Removal {
        /// It ran out of time.
        Expired = 1,
        /// It made room for newer ones.
        Dropped = 2,
    }
}

impl Cause {
    /// Whether it counts as a failure of the message.
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::Expired | Self::Lost)
    }

    /// Whether leases granted so far may no longer ack the message.
    pub(crate) const fn voids_lease(self) -> bool {
        matches!(self, Self::Failed | Self::Released | Self::TakenOver)
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
}

impl From<bytes::TryGetError> for RecordError {
    fn from(_: bytes::TryGetError) -> Self {
        Self::Short
    }
}

const FOUNDED: u8 = 1;
const STARTED: u8 = 2;
const SUBSCRIBED: u8 = 3;
const UNSUBSCRIBED: u8 = 4;
const PUBLISHED: u8 = 5;
const MOVED: u8 = 6;
const GRANTED: u8 = 7;
const ACKED: u8 = 8;
const RETURNED: u8 = 9;
const BURIED: u8 = 10;
const REMOVED: u8 = 11;

/// A bit of the flags of [`PUBLISHED`]: targets carry their times.
const TIMED: u8 = 1;
/// A bit of the flags of [`PUBLISHED`]: extras follow the targets.
const EXTRAS: u8 = 2;

impl Record<'_> {
    /// Appends the head's bytes to `out`.
    pub fn encode(&self, out: &mut impl BufMut) {
        match self {
            Self::Founded { lease_key } => {
                out.put_u8(FOUNDED);
                out.put_slice(lease_key);
            }
            Self::Started { start, at, unclean } => {
                out.put_u8(STARTED);
                out.put_u32_le(*start);
                put_time(out, *at);
                out.put_u8(u8::from(*unclean));
            }
            Self::Subscribed { queue, at, name, pattern, owner } => {
                out.put_u8(SUBSCRIBED);
                out.put_u32_le(queue.0);
                put_time(out, *at);
                put_str(out, name.as_deref().unwrap_or_default());
                put_str(out, pattern);
                put_str(out, owner);
            }
            Self::Unsubscribed { queue } => {
                out.put_u8(UNSUBSCRIBED);
                out.put_u32_le(queue.0);
            }
            Self::Published { at, id, targets, extras, content: _ } => {
                out.put_u8(PUBLISHED);
                put_time(out, *at);
                out.put_u32_le(id.start);
                out.put_u64_le(id.counter);
                put_targets(out, targets, extras.is_some());
                if let Some(extras) = extras {
                    put_extras(out, extras);
                }
            }
            Self::Moved { targets, body: _ } => {
                out.put_u8(MOVED);
                put_targets(out, targets, false);
            }
            Self::Granted { target, generation, deadline, bound } => {
                out.put_u8(GRANTED);
                put_target(out, target);
                put_generation(out, *generation);
                put_time(out, *deadline);
                out.put_u8(u8::from(*bound));
            }
            Self::Acked { target, generation } => {
                out.put_u8(ACKED);
                put_target(out, target);
                put_generation(out, *generation);
            }
            Self::Returned { target, cause, ready_at } => {
                out.put_u8(RETURNED);
                put_target(out, target);
                out.put_u8(cause.as_u8());
                put_time(out, *ready_at);
            }
            Self::Buried { target, reason, at } => {
                out.put_u8(BURIED);
                put_target(out, target);
                out.put_u8(reason.as_u8());
                put_time(out, *at);
            }
            Self::Removed { target, why } => {
                out.put_u8(REMOVED);
                put_target(out, target);
                out.put_u8(why.as_u8());
            }
        }
    }
}

impl<'a> Record<'a> {
    /// Reads a head back; bodies stay in the log.
    ///
    /// # Errors
    /// Says why the bytes are no head of a record.
    pub fn decode(mut from: &'a [u8]) -> Result<Self, RecordError> {
        let input = &mut from;
        let record = match input.try_get_u8()? {
            FOUNDED => Self::Founded { lease_key: input.try_get_u128_le()?.to_le_bytes() },
            STARTED => Self::Started {
                start: input.try_get_u32_le()?,
                at: time(input)?,
                unclean: input.try_get_u8()? != 0,
            },
            SUBSCRIBED => Self::Subscribed {
                queue: QueueNo(input.try_get_u32_le()?),
                at: time(input)?,
                name: Some(str(input)?).filter(|name| !name.is_empty()).map(Cow::Borrowed),
                pattern: Cow::Borrowed(str(input)?),
                owner: Cow::Borrowed(str(input)?),
            },
            UNSUBSCRIBED => Self::Unsubscribed { queue: QueueNo(input.try_get_u32_le()?) },
            PUBLISHED => {
                let at = time(input)?;
                let id =
                    MessageId { start: input.try_get_u32_le()?, counter: input.try_get_u64_le()? };
                let (targets, has_extras) = targets(input)?;
                let extras = if has_extras { Some(Cow::Owned(extras(input)?)) } else { None };
                Self::Published { at, id, targets, extras, content: None }
            }
            MOVED => Self::Moved { targets: targets(input)?.0, body: None },
            GRANTED => Self::Granted {
                target: target(input)?,
                generation: generation(input)?,
                deadline: time(input)?,
                bound: input.try_get_u8()? != 0,
            },
            ACKED => Self::Acked { target: target(input)?, generation: generation(input)? },
            RETURNED => Self::Returned {
                target: target(input)?,
                cause: Cause::from_u8(input.try_get_u8()?)?,
                ready_at: time(input)?,
            },
            BURIED => Self::Buried {
                target: target(input)?,
                reason: DeadReason::from_u8(input.try_get_u8()?)?,
                at: time(input)?,
            },
            REMOVED => Self::Removed {
                target: target(input)?,
                why: Removal::from_u8(input.try_get_u8()?)?,
            },
            byte => return Err(RecordError::Unknown { what: "record", byte }),
        };
        if input.is_empty() { Ok(record) } else { Err(RecordError::Long(input.len())) }
    }
}

fn put_time(out: &mut impl BufMut, time: Timestamp) {
    out.put_u64_le(time.as_millis());
}

fn put_generation(out: &mut impl BufMut, generation: Generation) {
    out.put_u32_le(generation.start);
    out.put_u64_le(generation.counter);
}

fn put_target(out: &mut impl BufMut, target: &Target) {
    out.put_u32_le(target.queue.0);
    out.put_u64_le(target.seq.0);
}

/// Strings are names of bounded length; what is past 65 535 bytes never gets here.
pub(crate) fn put_str(out: &mut impl BufMut, text: &str) {
    let len = u16::try_from(text.len()).expect("names are checked when they are made");
    out.put_u16_le(len);
    out.put_slice(text.as_bytes());
}

fn put_targets(out: &mut impl BufMut, targets: &[Target], has_extras: bool) {
    let timed = targets.iter().any(Target::is_timed);
    out.put_u8(if timed { TIMED } else { 0 } | if has_extras { EXTRAS } else { 0 });
    out.put_u32_le(u32::try_from(targets.len()).expect("subscriptions_max bounds the targets"));
    for target in targets {
        put_target(out, target);
        if timed {
            put_time(out, target.ready_at);
            put_time(out, target.expires_at);
        }
    }
}

fn put_extras(out: &mut impl BufMut, extras: &Extras) {
    out.put_u8(extras.priority);
    out.put_u16_le(extras.cost);
    put_str(out, extras.group.as_deref().unwrap_or_default());
    put_str(out, extras.dedupe_id.as_deref().unwrap_or_default());
    out.put_u8(u8::try_from(extras.keys.len()).expect("a message has at most 4 keys"));
    for key in &extras.keys {
        put_str(out, key);
    }
}

fn time(input: &mut &[u8]) -> Result<Timestamp, RecordError> {
    Ok(Timestamp::from_millis(input.try_get_u64_le()?))
}

fn generation(input: &mut &[u8]) -> Result<Generation, RecordError> {
    Ok(Generation { start: input.try_get_u32_le()?, counter: input.try_get_u64_le()? })
}

fn target(input: &mut &[u8]) -> Result<Target, RecordError> {
    Ok(Target::new(QueueNo(input.try_get_u32_le()?), Seq(input.try_get_u64_le()?)))
}

/// Reads a string that [`put_str`] wrote.
pub(crate) fn str<'a>(input: &mut &'a [u8]) -> Result<&'a str, RecordError> {
    let len = usize::from(input.try_get_u16_le()?);
    let (text, rest) = input.split_at_checked(len).ok_or(RecordError::Short)?;
    *input = rest;
    std::str::from_utf8(text).map_err(|_| RecordError::Utf8)
}

fn targets<'a>(input: &mut &[u8]) -> Result<(Cow<'a, [Target]>, bool), RecordError> {
    let flags = input.try_get_u8()?;
    let count = input.try_get_u32_le()?;
    let mut targets = Vec::new();
    for _ in 0..count {
        let mut target = target(input)?;
        if flags & TIMED != 0 {
            target.ready_at = time(input)?;
            target.expires_at = time(input)?;
        }
        targets.push(target);
    }
    Ok((Cow::Owned(targets), flags & EXTRAS != 0))
}

fn extras(input: &mut &[u8]) -> Result<Extras, RecordError> {
    let owned = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let priority = input.try_get_u8()?;
    let cost = input.try_get_u16_le()?;
    let group = owned(str(input)?);
    let dedupe_id = owned(str(input)?);
    let mut keys = Vec::new();
    for _ in 0..input.try_get_u8()? {
        keys.push(str(input)?.to_owned());
    }
    Ok(Extras { priority, cost, group, dedupe_id, keys, ..Extras::default() })
}

#[cfg(test)]
mod tests;
