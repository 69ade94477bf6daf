//! RECEIPT: what became of each message of a PUBLISH.

use bytes::{BufMut, BytesMut};
use sluice_model::{Published, Refusal};

use super::control::{ErrorRef, cut_text};
use super::fields::{
    FieldError, Fields, count, level_number, put_message_id, read_entries, read_head,
};
use super::list_frame::ListFrame;
use super::{DecodeError, EncodeError, Fault, FrameType};

/// Of the frame: further ones answer the same PUBLISH.
const MORE: u8 = 1;
/// Of an entry.
const DUPLICATE: u8 = 1;
const REFUSED: u8 = 2;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt<'a> {
    /// It is at its level in every queue that took it.
    Published(Published),
    /// It had no effect.
    Refused(ErrorRef<'a>),
}

/// A RECEIPT where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptRef<'a> {
    /// Further frames answer the same PUBLISH, for its next messages.
    pub more: bool,
    count: u16,
    entries: &'a [u8],
}

impl<'a> Receipt<'a> {
    fn read(fields: &mut Fields<'a>) -> Result<Self, FieldError> {
        match fields.flags(DUPLICATE | REFUSED)? {
            REFUSED => ErrorRef::read_fields(fields).map(Self::Refused),
            flags if flags & REFUSED != 0 => Err(("flags", Fault::Unknown)),
            flags => Ok(Self::Published(Published {
                duplicate: flags & DUPLICATE != 0,
                id: fields.message_id()?,
                level: fields.level()?,
                matched: fields.u32("matched")?,
            })),
        }
    }
}

impl<'a> ReceiptRef<'a> {
    /// Reads a payload in place.
    ///
    /// # Errors
    /// It is not as the document says.
    pub fn read(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let frame = FrameType::Receipt;
        let mut fields = Fields::new(payload);
        let (more, count) =
            read_head(frame, &mut fields, |fields| Ok((fields.flags(MORE)? != 0, count(fields)?)))?;
        let entries = read_entries(frame, fields, count, Receipt::read)?;
        Ok(Self { more, count, entries })
    }

    /// How many messages it is about; one or more.
    pub const fn count(&self) -> u16 {
        self.count
    }

    /// What became of each, in the order in which they were published.
    pub fn iter(&self) -> impl Iterator<Item = Receipt<'a>> + use<'a> {
        let mut fields = Fields::new(self.entries);
        std::iter::from_fn(move || Receipt::read(&mut fields).ok())
    }
}

/// Writes a RECEIPT message by message; dropped unfinished, it leaves nothing behind.
pub struct ReceiptWriter<'a>(ListFrame<'a>);

/// Bytes of an entry of a message that was taken.
const PUBLISHED_BYTES: usize = 1 + 12 + 1 + 4;

impl<'a> ReceiptWriter<'a> {
    /// Begins the answer to PUBLISH `id`, of at most `length_max` in its length field.
    ///
    /// # Errors
    /// `length_max` is below what an empty one takes.
    pub fn begin(out: &'a mut BytesMut, id: u64, length_max: usize) -> Result<Self, EncodeError> {
        ListFrame::begin(out, FrameType::Receipt, id, length_max, |out| {
            out.put_u8(0);
            Ok(())
        })
        .map(Self)
    }

    /// Appends what became of a message that was taken; false where it does not fit.
    #[must_use]
    pub fn push(&mut self, published: &Published) -> bool {
        let fits = self.0.fits(PUBLISHED_BYTES);
        if fits {
            let out = &mut *self.0.out;
            out.put_u8(if published.duplicate { DUPLICATE } else { 0 });
            put_message_id(out, published.id);
            out.put_u8(level_number(published.level));
            out.put_u32(published.matched);
            self.0.counted(1);
        }
        fits
    }

    /// Appends why a message was refused; false where it does not fit.
    #[must_use]
    pub fn push_refused(&mut self, refusal: &Refusal) -> bool {
        let error = ErrorRef::of(refusal);
        let bytes = 1 + 2 + 4 + 1 + error.code.len() + 2 + cut_text(error.text).len();
        let fits = self.0.fits(bytes);
        if fits {
            self.0.out.put_u8(REFUSED);
            error.put_fields(self.0.out);
            self.0.counted(1);
        }
        fits
    }

    /// How many messages it is about by now.
    pub fn count(&self) -> u16 {
        self.0.count()
    }

    /// Ends the frame and says how many messages it is about; one without any leaves nothing
    /// behind.
    pub fn finish(self, more: bool) -> u16 {
        if self.0.count() == 0 { 0 } else { self.0.finish(if more { MORE } else { 0 }) }
    }
}
