//! SETTLE and EXTEND: leases by the hundred.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use sluice_model::{KEY_BYTES_MAX, LeaseId, Outcome, Throttled};

use super::fields::{FieldError, Fields, millis_u32, put_frame, put_str8, put_token, read};
use super::{DecodeError, EncodeError, Fault, FrameType, TAGS_MAX, TOKEN_BYTES};

/// SETTLED is wanted also when all went well.
const REPORT: u8 = 1;
/// A delay is given.
const DELAY: u8 = 2;

const RANGES: u8 = 0;
const TOKENS: u8 = 1;

/// Bytes of a range of tags.
const RANGE_BYTES: usize = 16;

/// How leases end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The message is dealt with.
    Ack,
    /// The attempt failed: tried again after the delay, else after backoff.
    Failed,
    /// Not tried: uncounted, hidden for the delay if there is one.
    Released,
    /// No attempt will ever succeed: to the dead set.
    Rejected,
    /// Not tried: the key is paused for everybody for the delay, nothing is counted.
    Throttled,
}

/// What a SETTLE says of all its leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettleHead<'a> {
    /// SETTLED is wanted also when all went well.
    pub report: bool,
    /// How they end.
    pub outcome: Settlement,
    /// For those that failed, were released or throttled.
    pub delay: Option<Duration>,
    /// For those that failed or were rejected, kept as the last error; for those that were throttled
    /// the key, else their first; may be empty.
    pub note: &'a str,
}

/// A SETTLE where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettleRef<'a> {
    /// What is said of all leases.
    pub head: SettleHead<'a>,
    /// Which.
    pub leases: Leases<'a>,
}

/// An EXTEND where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendRef<'a> {
    /// SETTLED is wanted also when all went well.
    pub report: bool,
    /// How long from now.
    pub by_ms: u32,
    /// Which.
    pub leases: Leases<'a>,
}

/// Delivery tags of a connection, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagRange {
    /// The first.
    pub first: u64,
    /// The last; not before the first.
    pub last: u64,
}

/// Leases where they lie, checked: each range the right way round, not too many tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leases<'a> {
    tokens: bool,
    bytes: &'a [u8],
}

/// Leases to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseSet<'a> {
    /// By the tags of the connection's deliveries.
    Tags(&'a [TagRange]),
    /// By their tokens.
    Tokens(&'a [LeaseId]),
}

impl TagRange {
    /// One tag.
    pub const fn one(tag: u64) -> Self {
        Self { first: tag, last: tag }
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, FieldError> {
        let range = Self { first: fields.u64("range")?, last: fields.u64("range")? };
        if range.first <= range.last { Ok(range) } else { Err(("range", Fault::Range)) }
    }
}

impl<'a> Leases<'a> {
    fn read(fields: &mut Fields<'a>) -> Result<Self, FieldError> {
        let tokens = match fields.u8("kind")? {
            RANGES => false,
            TOKENS => true,
            _ => return Err(("kind", Fault::Unknown)),
        };
        let count = usize::from(super::fields::count(fields)?);
        let size = if tokens { TOKEN_BYTES } else { RANGE_BYTES };
        let bytes = fields.bytes(if tokens { "token" } else { "range" }, count * size)?;
        if !tokens {
            check_ranges(bytes)?;
        }
        Ok(Self { tokens, bytes })
    }

    /// The tags that are named, range by range; none where tokens are.
    pub fn ranges(&self) -> impl Iterator<Item = TagRange> + use<'a> {
        let mut fields = Fields::new(if self.tokens { &[] } else { self.bytes });
        std::iter::from_fn(move || TagRange::read(&mut fields).ok())
    }

    /// The tokens; none where tags are named.
    pub fn tokens(&self) -> impl Iterator<Item = LeaseId> + use<'a> {
        let mut fields = Fields::new(if self.tokens { self.bytes } else { &[] });
        std::iter::from_fn(move || fields.token().ok())
    }

    /// Tokens are named, else tags.
    pub const fn are_tokens(&self) -> bool {
        self.tokens
    }
}

fn check_ranges(bytes: &[u8]) -> Result<(), FieldError> {
    let (mut fields, mut left) = (Fields::new(bytes), TAGS_MAX);
    while !fields.rest().is_empty() {
        let range = TagRange::read(&mut fields)?;
        // One more than the difference, which may be all there is.
        left = (range.last - range.first)
            .checked_add(1)
            .and_then(|tags| left.checked_sub(tags))
            .ok_or(("range", Fault::Range))?;
    }
    Ok(())
}

impl LeaseSet<'_> {
    fn put(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        let (kind, length) = match self {
            Self::Tags(ranges) => (RANGES, ranges.len()),
            Self::Tokens(tokens) => (TOKENS, tokens.len()),
        };
        let (field, max) = ("leases", usize::from(u16::MAX));
        let too_many = EncodeError::FieldTooLong { field, length, max };
        out.put_u8(kind);
        out.put_u16(u16::try_from(length).map_err(|_| too_many)?);
        match self {
            Self::Tags(ranges) => {
                for range in *ranges {
                    out.put_u64(range.first);
                    out.put_u64(range.last);
                }
            }
            Self::Tokens(tokens) => tokens.iter().for_each(|token| put_token(out, token)),
        }
        Ok(())
    }
}

impl Settlement {
    const fn number(self) -> u8 {
        match self {
            Self::Ack => 0,
            Self::Failed => 1,
            Self::Released => 2,
            Self::Rejected => 3,
            Self::Throttled => 4,
        }
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, FieldError> {
        match fields.u8("outcome")? {
            0 => Ok(Self::Ack),
            1 => Ok(Self::Failed),
            2 => Ok(Self::Released),
            3 => Ok(Self::Rejected),
            4 => Ok(Self::Throttled),
            _ => Err(("outcome", Fault::Unknown)),
        }
    }

    const fn takes_delay(self) -> bool {
        matches!(self, Self::Failed | Self::Released | Self::Throttled)
    }

    const fn takes_note(self) -> bool {
        matches!(self, Self::Failed | Self::Rejected | Self::Throttled)
    }
}

impl<'a> SettleHead<'a> {
    /// The leases' messages are dealt with.
    pub const ACK: Self = Self { report: false, outcome: Settlement::Ack, delay: None, note: "" };

    /// How the leases end where their messages are given back; none for an ack.
    pub fn to_model(&self) -> Option<Outcome> {
        let delay = self.delay;
        let note = (!self.note.is_empty()).then(|| self.note.into());
        match self.outcome {
            Settlement::Ack => None,
            Settlement::Failed => Some(Outcome::Failed { delay, note }),
            Settlement::Released => Some(Outcome::Released { delay }),
            Settlement::Rejected => Some(Outcome::Rejected { note }),
            Settlement::Throttled => {
                Some(Outcome::Throttled(Throttled { retry_after: delay, key: note }))
            }
        }
    }

    fn read(fields: &mut Fields<'a>) -> Result<Self, FieldError> {
        let flags = fields.flags(REPORT | DELAY)?;
        let outcome = Settlement::read(fields)?;
        let given = flags & DELAY != 0;
        if given && !outcome.takes_delay() {
            return Err(("flags", Fault::Unknown));
        }
        let delay_ms = fields.u32("delay_ms")?;
        if !given && delay_ms != 0 {
            return Err(("delay_ms", Fault::Unknown));
        }
        let note = fields.str8("note")?;
        if !note.is_empty() && !outcome.takes_note() {
            return Err(("note", Fault::Unknown));
        }
        if outcome == Settlement::Throttled && note.len() > KEY_BYTES_MAX {
            return Err(("note", Fault::Range));
        }
        let delay = given.then(|| Duration::from_millis(u64::from(delay_ms)));
        Ok(Self { report: flags & REPORT != 0, outcome, delay, note })
    }

    /// Appends a SETTLE. Delay and note are left out where the outcome takes none, and a delay is
    /// at most 2^32 - 1 milliseconds.
    ///
    /// # Errors
    /// The note is longer than its length can say, or there are more leases than can be counted.
    pub fn put(
        &self,
        out: &mut BytesMut,
        id: u64,
        leases: LeaseSet<'_>,
    ) -> Result<(), EncodeError> {
        let delay = self.delay.filter(|_| self.outcome.takes_delay());
        put_frame(out, FrameType::Settle, id, 0, |out| {
            let report = if self.report { REPORT } else { 0 };
            out.put_u8(report | if delay.is_some() { DELAY } else { 0 });
            out.put_u8(self.outcome.number());
            out.put_u32(delay.map_or(0, millis_u32));
            put_str8(out, "note", if self.outcome.takes_note() { self.note } else { "" })?;
            leases.put(out)
        })
    }
}

impl<'a> SettleRef<'a> {
    /// Reads a payload in place.
    ///
    /// # Errors
    /// It is not as the document says.
    pub fn read(payload: &'a [u8]) -> Result<Self, DecodeError> {
        read(FrameType::Settle, payload, |fields| {
            Ok(Self { head: SettleHead::read(fields)?, leases: Leases::read(fields)? })
        })
    }
}

impl<'a> ExtendRef<'a> {
    /// Reads a payload in place.
    ///
    /// # Errors
    /// It is not as the document says.
    pub fn read(payload: &'a [u8]) -> Result<Self, DecodeError> {
        read(FrameType::Extend, payload, |fields| {
            Ok(Self {
                report: fields.flags(REPORT)? != 0,
                by_ms: fields.u32("by_ms")?,
                leases: Leases::read(fields)?,
            })
        })
    }
}

/// Appends an EXTEND.
///
/// # Errors
/// There are more leases than can be counted.
pub fn put_extend(
    out: &mut BytesMut,
    id: u64,
    report: bool,
    by_ms: u32,
    leases: LeaseSet<'_>,
) -> Result<(), EncodeError> {
    put_frame(out, FrameType::Extend, id, 0, |out| {
        out.put_u8(if report { REPORT } else { 0 });
        out.put_u32(by_ms);
        leases.put(out)
    })
}
