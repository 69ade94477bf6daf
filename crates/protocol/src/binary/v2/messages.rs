//! A run of messages as it stands in PUBLISH, and in DELIVER at most once.
//!
//! The walk that checks it sees every message of the broker, so what most messages are, without
//! extras and not too long, has a branch of its own.

use bytes::{BufMut, Bytes, BytesMut};
use sluice_model::{Block, var};

use super::extras::{self, Allowed, Extra, ExtrasRef};
use super::fields::Fields;
use super::{DecodeError, EncodeError, Fault, FrameType};

/// Heads with this bit have extras.
const EXTRAS: u64 = 1;

/// Messages where they lie, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Messages<'a> {
    bytes: &'a [u8],
    count: u32,
    plain: bool,
    payload_bytes: usize,
}

/// A message where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageRef<'a> {
    /// What only some messages have.
    pub extras: Option<ExtrasRef<'a>>,
    /// Its bytes.
    pub payload: &'a [u8],
    /// Where in [`Messages::bytes`] the payload begins.
    pub at: usize,
}

impl<'a> Messages<'a> {
    /// Walks `bytes` once: they must be `count` messages with payloads of at most `message_max`
    /// bytes, and nothing else.
    ///
    /// # Errors
    /// Which message is malformed or too large; errors name `frame`.
    pub fn check(
        frame: FrameType,
        bytes: &'a [u8],
        count: u32,
        message_max: usize,
    ) -> Result<Self, DecodeError> {
        Self::check_allowed(frame, bytes, count, message_max, extras::PUBLISHED)
    }

    pub(super) fn check_allowed(
        frame: FrameType,
        bytes: &'a [u8],
        count: u32,
        message_max: usize,
        allowed: Allowed,
    ) -> Result<Self, DecodeError> {
        let (mut rest, mut plain, mut payload_bytes) = (bytes, true, 0);
        for index in 0..count {
            if let Some((payload, after)) = plain_one(rest, message_max) {
                rest = after;
                payload_bytes += payload.len();
                continue;
            }
            let (message, after) =
                check_one(rest, message_max, allowed).map_err(|fault| fault.of(frame, index))?;
            rest = after;
            plain &= message.extras.is_none();
            payload_bytes += message.payload.len();
        }
        match rest.len() {
            0 => Ok(Self { bytes, count, plain, payload_bytes }),
            bytes => Err(DecodeError::Trailing { frame, bytes }),
        }
    }

    /// How many there are.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// None has extras.
    pub const fn is_plain(&self) -> bool {
        self.plain
    }

    /// Bytes of all payloads together.
    pub const fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// The messages as they lie, heads included.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The messages in order.
    pub fn iter(&self) -> impl Iterator<Item = MessageRef<'a>> + use<'a> {
        let (length, mut rest) = (self.bytes.len(), self.bytes);
        std::iter::from_fn(move || {
            let (message, after) = next(length, rest)?;
            rest = after;
            Some(message)
        })
    }

    /// A copy of the messages as a block, if none has extras.
    pub fn copied(&self) -> Option<Block> {
        self.block(Bytes::copy_from_slice(self.bytes))
    }

    /// The messages as a block that shares `buffer`, which they were read from, if none has extras.
    ///
    /// # Panics
    /// The messages were read from somewhere else.
    pub fn shared(&self, buffer: &Bytes) -> Option<Block> {
        self.block(buffer.slice_ref(self.bytes))
    }

    fn block(&self, bytes: Bytes) -> Option<Block> {
        self.plain.then(|| Block::checked(bytes, self.count, self.payload_bytes))
    }
}

/// The payload of the message that `bytes` begin with, if it is whole, without extras, and not too
/// long; else [`check_one`] says what it is.
#[inline]
fn plain_one(bytes: &[u8], message_max: usize) -> Option<(&[u8], &[u8])> {
    let (head, after) = var::read(bytes).ok()?;
    let payload_bytes = usize::try_from(head >> 1).ok()?;
    if head & EXTRAS != 0 || payload_bytes > message_max {
        return None;
    }
    after.split_at_checked(payload_bytes)
}

/// The message that `rest`, the end of `length` bytes, begins with; they were checked.
#[inline]
fn next(length: usize, rest: &[u8]) -> Option<(MessageRef<'_>, &[u8])> {
    let (head, mut after) = var::read(rest).ok()?;
    let mut extras = None;
    if head & EXTRAS != 0 {
        let mut fields = Fields::new(after);
        extras = Some(ExtrasRef::checked(fields.var_bytes("extras").ok()?));
        after = fields.rest();
    }
    let at = length - after.len();
    let (payload, after) = after.split_at_checked(usize::try_from(head >> 1).ok()?)?;
    Some((MessageRef { extras, payload, at }, after))
}

/// What is wrong with one message.
enum MessageFault {
    Field(&'static str, Fault),
    TooLarge { bytes: u64, max: usize },
}

impl MessageFault {
    fn of(self, frame: FrameType, index: u32) -> DecodeError {
        match self {
            Self::Field(field, fault) => DecodeError::Entry { frame, index, field, fault },
            Self::TooLarge { bytes, max } => DecodeError::MessageTooLarge { index, bytes, max },
        }
    }
}

impl From<(&'static str, Fault)> for MessageFault {
    fn from((field, fault): (&'static str, Fault)) -> Self {
        Self::Field(field, fault)
    }
}

fn check_one(
    bytes: &[u8],
    message_max: usize,
    allowed: Allowed,
) -> Result<(MessageRef<'_>, &[u8]), MessageFault> {
    let mut fields = Fields::new(bytes);
    let head = fields.var("head")?;
    let payload_bytes = usize::try_from(head >> 1).unwrap_or(usize::MAX);
    if payload_bytes > message_max {
        return Err(MessageFault::TooLarge { bytes: head >> 1, max: message_max });
    }
    let mut extras = None;
    if head & EXTRAS != 0 {
        let bytes = fields.var_bytes("extras")?;
        extras::check(bytes, allowed)?;
        extras = Some(ExtrasRef::checked(bytes));
    }
    let at = bytes.len() - fields.rest().len();
    let payload = fields.bytes("payload", payload_bytes)?;
    Ok((MessageRef { extras, payload, at }, fields.rest()))
}

/// What a message takes on the wire before its payload.
pub(super) struct MessageHead {
    head: u64,
    extras_bytes: usize,
}

impl MessageHead {
    pub(super) fn of<'a>(
        extras: impl Iterator<Item = Extra<'a>>,
        payload_bytes: usize,
    ) -> Result<Self, EncodeError> {
        let extras_bytes = extras::size(extras)?;
        let head = (payload_bytes as u64) << 1 | u64::from(extras_bytes > 0);
        Ok(Self { head, extras_bytes })
    }

    /// Bytes of the head, extras included.
    pub(super) fn size(&self) -> usize {
        let extras = match self.extras_bytes {
            0 => 0,
            bytes => var::size(bytes as u64) + bytes,
        };
        var::size(self.head) + extras
    }

    pub(super) fn put<'a>(&self, extras: impl Iterator<Item = Extra<'a>>, out: &mut BytesMut) {
        var::put(self.head, out);
        if self.extras_bytes > 0 {
            extras::put(extras, self.extras_bytes, out);
        }
    }
}

/// Appends a message without extras.
#[inline]
pub(super) fn put_plain(payload: &[u8], out: &mut BytesMut) {
    var::put((payload.len() as u64) << 1, out);
    out.put_slice(payload);
}

/// What [`put_plain`] appends.
#[inline]
pub(super) const fn plain_size(payload: &[u8]) -> usize {
    var::size((payload.len() as u64) << 1) + payload.len()
}
