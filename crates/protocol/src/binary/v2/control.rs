//! CONTROL and its RESULT, ERROR, GOING.

use std::fmt;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use sluice_model::Refusal;

use super::fields::{FieldError, Fields, front, millis_u32, put_frame, put_str8, read};
use super::{DecodeError, EncodeError, FrameType};

/// CONTROL: anything that can be asked of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlRef<'a> {
    /// What is asked.
    pub verb: &'a str,
    /// The body: JSON, of which only the UTF-8 was checked.
    pub json: &'a str,
}

/// ERROR: why the broker refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorRef<'a> {
    /// The kind of reason, after HTTP's numbers.
    pub status: u16,
    /// When trying again may help.
    pub retry_after: Option<Duration>,
    /// The code's name.
    pub code: &'a str,
    /// The reason in words.
    pub text: &'a str,
}

impl<'a> ControlRef<'a> {
    /// Reads a payload in place.
    ///
    /// # Errors
    /// It is not as the document says.
    pub fn read(payload: &'a [u8]) -> Result<Self, DecodeError> {
        read(FrameType::Control, payload, |fields| {
            Ok(Self { verb: fields.str8("verb")?, json: fields.text("JSON")? })
        })
    }

    /// Appends the frame.
    ///
    /// # Errors
    /// The verb is longer than its length can say, or the frame than the protocol allows.
    pub fn put(&self, out: &mut BytesMut, id: u64) -> Result<(), EncodeError> {
        put_frame(out, FrameType::Control, id, 0, |out| {
            put_str8(out, "verb", self.verb)?;
            out.put_slice(self.json.as_bytes());
            Ok(())
        })
    }
}

impl<'a> ErrorRef<'a> {
    /// A refusal as an ERROR tells it.
    pub fn of(refusal: &'a Refusal) -> Self {
        Self {
            status: refusal.code.status(),
            retry_after: refusal.retry_after,
            code: refusal.code.name(),
            text: &refusal.message,
        }
    }

    /// Reads a payload in place.
    ///
    /// # Errors
    /// It is not as the document says.
    pub fn read(payload: &'a [u8]) -> Result<Self, DecodeError> {
        read(FrameType::Error, payload, Self::read_fields)
    }

    pub(super) fn read_fields(fields: &mut Fields<'a>) -> Result<Self, FieldError> {
        let status = fields.u16("status")?;
        let retry_after = match fields.u32("retry_after_ms")? {
            0 => None,
            millis => Some(Duration::from_millis(u64::from(millis))),
        };
        Ok(Self { status, retry_after, code: fields.str8("code")?, text: fields.str16("text")? })
    }

    /// Appends the fields; texts that are too long are cut.
    pub(super) fn put_fields(&self, out: &mut BytesMut) {
        let (code, text) = (cut_code(self.code), cut_text(self.text));
        out.put_u16(self.status);
        // 0 would say that no time is known.
        out.put_u32(self.retry_after.map_or(0, |time| millis_u32(time).max(1)));
        out.put_u8(code.len() as u8);
        out.put_slice(code.as_bytes());
        out.put_u16(text.len() as u16);
        out.put_slice(text.as_bytes());
    }

    /// Appends the frame; texts that are too long are cut.
    pub fn put(&self, out: &mut BytesMut, id: u64) {
        // With texts that were cut it is never too long.
        let written = put_frame(out, FrameType::Error, id, 0, |out| {
            self.put_fields(out);
            Ok(())
        });
        debug_assert_eq!(written, Ok(()));
    }
}

impl fmt::Display for ErrorRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, self.code, self.text)
    }
}

pub(super) fn cut_code(code: &str) -> &str {
    front(code, usize::from(u8::MAX))
}

pub(super) fn cut_text(text: &str) -> &str {
    front(text, usize::from(u16::MAX))
}

/// Appends the ERROR that tells a refusal; a text that is too long is cut.
pub fn put_error(out: &mut BytesMut, id: u64, refusal: &Refusal) {
    ErrorRef::of(refusal).put(out, id);
}

/// Appends a GOING, which answers nothing; a text that is too long is cut.
pub fn put_going(out: &mut BytesMut, text: &str) {
    let written =
        put_frame(out, FrameType::Going, 0, 0, |out| put_str8(out, "text", cut_code(text)));
    debug_assert_eq!(written, Ok(()));
}

/// Appends a RESULT.
///
/// # Errors
/// The frame would be longer than the protocol allows.
pub fn put_result(out: &mut BytesMut, id: u64, json: &[u8]) -> Result<(), EncodeError> {
    put_frame(out, FrameType::Result, id, 0, |out| {
        out.put_slice(json);
        Ok(())
    })
}
