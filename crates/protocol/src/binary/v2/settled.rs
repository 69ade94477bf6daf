//! SETTLED: which leases were refused.

use bytes::{BufMut, BytesMut};
use sluice_model::{Code, LeaseId, Timestamp};

use super::fields::{FieldError, Fields, put_token, read_entries, read_head};
use super::list_frame::ListFrame;
use super::{DecodeError, EncodeError, FrameType, TOKEN_BYTES};

const TOKENS: u8 = 1;
const MORE: u8 = 2;

/// A SETTLED where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettledRef<'a> {
    /// Further frames answer the same request.
    pub more: bool,
    /// The earliest of the new deadlines of an EXTEND; else, and without any, the epoch.
    pub deadline: Timestamp,
    tokens: bool,
    count: u16,
    entries: &'a [u8],
}

/// A lease that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedLease<'a> {
    /// By its delivery's tag.
    Tag {
        /// The tag.
        tag: u64,
        /// The kind of reason, after HTTP's numbers.
        status: u16,
        /// The code's name.
        code: &'a str,
    },
    /// By its token.
    Token {
        /// The token.
        lease: LeaseId,
        /// The kind of reason, after HTTP's numbers.
        status: u16,
        /// The code's name.
        code: &'a str,
    },
}

impl<'a> RefusedLease<'a> {
    fn read(tokens: bool, fields: &mut Fields<'a>) -> Result<Self, FieldError> {
        if tokens {
            let lease = fields.token()?;
            Ok(Self::Token { lease, status: fields.u16("status")?, code: fields.str8("code")? })
        } else {
            let tag = fields.u64("tag")?;
            Ok(Self::Tag { tag, status: fields.u16("status")?, code: fields.str8("code")? })
        }
    }
}

impl<'a> SettledRef<'a> {
    /// Reads a payload in place.
    ///
    /// # Errors
    /// It is not as the document says.
    pub fn read(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let frame = FrameType::Settled;
        let mut fields = Fields::new(payload);
        let (flags, deadline, count) = read_head(frame, &mut fields, |fields| {
            Ok((fields.flags(TOKENS | MORE)?, fields.timestamp("deadline")?, fields.u16("count")?))
        })?;
        let tokens = flags & TOKENS != 0;
        let entry = |fields: &mut Fields<'a>| RefusedLease::read(tokens, fields);
        let entries = read_entries(frame, fields, count, entry)?;
        Ok(Self { more: flags & MORE != 0, deadline, tokens, count, entries })
    }

    /// How many leases were refused.
    pub const fn count(&self) -> u16 {
        self.count
    }

    /// The leases that were refused.
    pub fn refused(&self) -> impl Iterator<Item = RefusedLease<'a>> + use<'a> {
        let (tokens, mut fields) = (self.tokens, Fields::new(self.entries));
        std::iter::from_fn(move || RefusedLease::read(tokens, &mut fields).ok())
    }
}

/// Writes a SETTLED refused lease by refused lease; dropped unfinished, it leaves nothing behind.
pub struct SettledWriter<'a> {
    frame: ListFrame<'a>,
    tokens: bool,
}

impl<'a> SettledWriter<'a> {
    /// Begins the answer to the SETTLE or EXTEND `id`, which named tokens or else tags, of at most
    /// `length_max` in its length field.
    ///
    /// # Errors
    /// `length_max` is below what an empty one takes.
    pub fn begin(
        out: &'a mut BytesMut,
        id: u64,
        tokens: bool,
        deadline: Timestamp,
        length_max: usize,
    ) -> Result<Self, EncodeError> {
        let frame = ListFrame::begin(out, FrameType::Settled, id, length_max, |out| {
            out.put_u8(0);
            out.put_u64(deadline.as_millis());
            Ok(())
        })?;
        Ok(Self { frame, tokens })
    }

    /// Appends a lease that was refused: by its tag, in an answer to tags. False, and nothing
    /// appended, where it does not fit.
    #[must_use]
    pub fn push_tag(&mut self, tag: u64, code: Code) -> bool {
        debug_assert!(!self.tokens);
        self.push(8, code, |out| out.put_u64(tag))
    }

    /// Appends a lease that was refused: by its token, in an answer to tokens. False, and nothing
    /// appended, where it does not fit.
    #[must_use]
    pub fn push_token(&mut self, lease: &LeaseId, code: Code) -> bool {
        debug_assert!(self.tokens);
        self.push(TOKEN_BYTES, code, |out| put_token(out, lease))
    }

    fn push(&mut self, bytes: usize, code: Code, name: impl FnOnce(&mut BytesMut)) -> bool {
        let text = code.name();
        let fits = self.frame.fits(bytes + 2 + 1 + text.len());
        if fits {
            let out = &mut *self.frame.out;
            name(out);
            out.put_u16(code.status());
            // Codes are short words.
            out.put_u8(text.len() as u8);
            out.put_slice(text.as_bytes());
            self.frame.counted(1);
        }
        fits
    }

    /// Ends the frame and says how many refused leases it names, which may be none.
    pub fn finish(self, more: bool) -> u16 {
        let more = if more { MORE } else { 0 };
        self.frame.finish(more | u8::from(self.tokens))
    }
}
