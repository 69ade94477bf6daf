//! Reads and writes the fields that payloads are made of, and says which one is wrong.

use std::str;

use bytes::{BufMut, BytesMut};
use sluice_model::{Generation, LeaseId, Level, MessageId, QueueNo, Seq, Timestamp, var};

use super::{DecodeError, EncodeError, Fault, FrameType, TOKEN_BYTES};
use crate::binary::cursor::Cursor;
use crate::binary::frame::{HEADER_BYTES, LENGTH_BYTES, LENGTH_MAX, LENGTH_MIN, put_header};

/// What a failed field is called, and what is wrong with it.
pub(super) type FieldError = (&'static str, Fault);

/// What is left of a payload, or of an entry in one.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(Cursor<'a>);

macro_rules! fixed {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)+) => {$(
        $(#[$doc])*
        pub(super) fn $name(&mut self, field: &'static str) -> Result<$type, FieldError> {
            self.0.array().map(<$type>::from_be_bytes).ok_or((field, Fault::Short))
        }
    )+};
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(Cursor::new(bytes))
    }

    fixed! {
        u8: u8;
        u16: u16;
        u32: u32;
        u64: u64;
    }

    pub(super) fn var(&mut self, field: &'static str) -> Result<u64, FieldError> {
        let (value, rest) = var::read(self.0.rest()).map_err(|error| (field, error.into()))?;
        self.0 = Cursor::new(rest);
        Ok(value)
    }

    /// A var that fits 32 bits.
    pub(super) fn var_u32(&mut self, field: &'static str) -> Result<u32, FieldError> {
        u32::try_from(self.var(field)?).map_err(|_| (field, Fault::Range))
    }

    pub(super) fn bytes(
        &mut self,
        field: &'static str,
        bytes: usize,
    ) -> Result<&'a [u8], FieldError> {
        self.0.take(bytes).ok_or((field, Fault::Short))
    }

    /// Bytes behind a var that says how many.
    pub(super) fn var_bytes(&mut self, field: &'static str) -> Result<&'a [u8], FieldError> {
        let length = self.var(field)?;
        self.bytes(field, usize::try_from(length).unwrap_or(usize::MAX))
    }

    pub(super) fn str8(&mut self, field: &'static str) -> Result<&'a str, FieldError> {
        let length = self.u8(field)?;
        text(field, self.bytes(field, usize::from(length))?)
    }

    pub(super) fn str16(&mut self, field: &'static str) -> Result<&'a str, FieldError> {
        let length = self.u16(field)?;
        text(field, self.bytes(field, usize::from(length))?)
    }

    /// The rest, as text.
    pub(super) fn text(&mut self, field: &'static str) -> Result<&'a str, FieldError> {
        text(field, self.take_rest())
    }

    /// Flags, of which only those in `known` may be set.
    pub(super) fn flags(&mut self, known: u8) -> Result<u8, FieldError> {
        let flags = self.u8("flags")?;
        if flags & !known == 0 { Ok(flags) } else { Err(("flags", Fault::Unknown)) }
    }

    pub(super) fn level(&mut self) -> Result<Option<Level>, FieldError> {
        match self.u8("level")? {
            0 => Ok(None),
            1 => Ok(Some(Level::Memory)),
            2 => Ok(Some(Level::Os)),
            3 => Ok(Some(Level::Sync)),
            _ => Err(("level", Fault::Unknown)),
        }
    }

    pub(super) fn timestamp(&mut self, field: &'static str) -> Result<Timestamp, FieldError> {
        self.u64(field).map(Timestamp::from_millis)
    }

    pub(super) fn message_id(&mut self) -> Result<MessageId, FieldError> {
        let field = "message id";
        Ok(MessageId { start: self.u32(field)?, counter: self.u64(field)? })
    }

    pub(super) fn token(&mut self) -> Result<LeaseId, FieldError> {
        let field = "token";
        Ok(LeaseId {
            queue: QueueNo(self.u32(field)?),
            seq: Seq(self.u64(field)?),
            generation: Generation { start: self.u32(field)?, counter: self.u64(field)? },
            secret: self.u64(field)?,
        })
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.0.rest()
    }

    /// The rest, which is then behind.
    pub(super) fn take_rest(&mut self) -> &'a [u8] {
        let rest = self.0.rest();
        self.0 = Cursor::new(&[]);
        rest
    }
}

fn text<'a>(field: &'static str, bytes: &'a [u8]) -> Result<&'a str, FieldError> {
    str::from_utf8(bytes).map_err(|_| (field, Fault::Utf8))
}

/// A whole payload: `fields` must read it to its end.
pub(super) fn read<'a, T>(
    frame: FrameType,
    payload: &'a [u8],
    fields: impl FnOnce(&mut Fields<'a>) -> Result<T, FieldError>,
) -> Result<T, DecodeError> {
    let mut left = Fields::new(payload);
    let value = read_head(frame, &mut left, fields)?;
    end(frame, left.rest())?;
    Ok(value)
}

/// The fields of a payload that come before its entries.
pub(super) fn read_head<'a, T>(
    frame: FrameType,
    left: &mut Fields<'a>,
    fields: impl FnOnce(&mut Fields<'a>) -> Result<T, FieldError>,
) -> Result<T, DecodeError> {
    fields(left).map_err(|(field, fault)| DecodeError::Field { frame, field, fault })
}

/// So many entries, where they lie: each is checked by `entry`, and nothing may follow them.
pub(super) fn read_entries<'a, T>(
    frame: FrameType,
    mut left: Fields<'a>,
    count: u16,
    entry: impl Fn(&mut Fields<'a>) -> Result<T, FieldError>,
) -> Result<&'a [u8], DecodeError> {
    let entries = left.rest();
    for index in 0..u32::from(count) {
        entry(&mut left).map_err(|(field, fault)| DecodeError::Entry {
            frame,
            index,
            field,
            fault,
        })?;
    }
    end(frame, left.rest())?;
    Ok(entries)
}

/// Nothing may be left.
fn end(frame: FrameType, rest: &[u8]) -> Result<(), DecodeError> {
    match rest.len() {
        0 => Ok(()),
        bytes => Err(DecodeError::Trailing { frame, bytes }),
    }
}

/// A count that is 1 or more.
pub(super) fn count(fields: &mut Fields<'_>) -> Result<u16, FieldError> {
    match fields.u16("count")? {
        0 => Err(("count", Fault::Range)),
        count => Ok(count),
    }
}

pub(super) const fn level_number(level: Option<Level>) -> u8 {
    match level {
        None => 0,
        Some(Level::Memory) => 1,
        Some(Level::Os) => 2,
        Some(Level::Sync) => 3,
    }
}

/// Milliseconds, or as many as 32 bits hold.
pub(super) fn millis_u32(time: std::time::Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

pub(super) fn put_str8(
    out: &mut BytesMut,
    field: &'static str,
    text: impl AsRef<[u8]>,
) -> Result<(), EncodeError> {
    let text = text.as_ref();
    let error = EncodeError::FieldTooLong { field, length: text.len(), max: usize::from(u8::MAX) };
    out.put_u8(u8::try_from(text.len()).map_err(|_| error)?);
    out.put_slice(text);
    Ok(())
}

pub(super) fn put_str16(
    out: &mut BytesMut,
    field: &'static str,
    text: &[u8],
) -> Result<(), EncodeError> {
    let error = EncodeError::FieldTooLong { field, length: text.len(), max: usize::from(u16::MAX) };
    out.put_u16(u16::try_from(text.len()).map_err(|_| error)?);
    out.put_slice(text);
    Ok(())
}

/// A text of at most `max` bytes: the front of `text`, cut between two characters.
pub(super) fn front(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or_default()
}

pub(super) fn put_message_id(out: &mut BytesMut, id: MessageId) {
    out.put_u32(id.start);
    out.put_u64(id.counter);
}

pub(super) fn put_token(out: &mut BytesMut, lease: &LeaseId) {
    out.reserve(TOKEN_BYTES);
    out.put_u32(lease.queue.0);
    out.put_u64(lease.seq.0);
    out.put_u32(lease.generation.start);
    out.put_u64(lease.generation.counter);
    out.put_u64(lease.secret);
}

/// Appends a frame with the payload that `body` appends, and `follows` bytes that the caller
/// appends afterwards. Where it fails, `out` is as it was.
pub(super) fn put_frame(
    out: &mut BytesMut,
    frame: FrameType,
    id: u64,
    follows: usize,
    body: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    put_open_header(out, frame, id);
    let written = body(out).and_then(|()| patch_length(out, start, follows, LENGTH_MAX));
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// A header whose length is to be patched.
pub(super) fn put_open_header(out: &mut BytesMut, frame: FrameType, id: u64) {
    out.reserve(HEADER_BYTES);
    // An empty frame is never too long.
    put_header(out, frame, id, 0).unwrap_or_default();
}

/// Says in the header at `start` how much there is now, and how much follows.
pub(super) fn patch_length(
    out: &mut BytesMut,
    start: usize,
    follows: usize,
    max: usize,
) -> Result<(), EncodeError> {
    let length = out.len().saturating_sub(start + LENGTH_BYTES).saturating_add(follows);
    debug_assert!(length >= LENGTH_MIN);
    let field = u32::try_from(length).ok().filter(|_| length <= max);
    let Some(field) = field else { return Err(EncodeError::FrameTooLong { length, max }) };
    patch(out, start, &field.to_be_bytes());
    Ok(())
}

/// Writes over what is at `at`.
pub(super) fn patch(out: &mut BytesMut, at: usize, bytes: &[u8]) {
    if let Some(place) = out.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}
