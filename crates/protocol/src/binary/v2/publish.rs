//! PUBLISH: messages for one destination.

use bytes::{BufMut, BytesMut};
use sluice_model::{Block, Extras, Level, Qos};

use super::extras::{Extra, published};
use super::fields::{Fields, count, level_number, put_frame, put_str8, read_head};
use super::list_frame::ListFrame;
use super::messages::{MessageHead, Messages, plain_size, put_plain};
use super::{DecodeError, EncodeError, Fault, FrameType};

const AT_LEAST_ONCE: u8 = 1;
const WHOLE: u8 = 2;
const TO_QUEUE: u8 = 4;
const RECEIPT: u8 = 8;

/// What a PUBLISH frame says of all its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishHead<'a> {
    /// The highest guarantee that the publisher asks for. All that follows but the destination is
    /// for messages at least once.
    pub qos: Qos,
    /// They are stored whole or not at all.
    pub whole: bool,
    /// The destination is a queue, else a topic.
    pub to_queue: bool,
    /// A RECEIPT is wanted instead of a CONFIRM.
    pub receipt: bool,
    /// The least level that the publisher accepts; none for whatever the queues have.
    pub level: Option<Level>,
    /// The topic or the queue.
    pub destination: &'a str,
}

/// A PUBLISH where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishRef<'a> {
    /// What is said of all messages.
    pub head: PublishHead<'a>,
    /// The messages, one or more.
    pub messages: Messages<'a>,
}

impl<'a> PublishHead<'a> {
    /// At most once, to a topic.
    pub const fn at_most_once(topic: &'a str) -> Self {
        let (qos, level) = (Qos::AtMostOnce, None);
        Self { qos, whole: false, to_queue: false, receipt: false, level, destination: topic }
    }

    /// At least once, to a topic, to be confirmed.
    pub const fn at_least_once(topic: &'a str) -> Self {
        Self { qos: Qos::AtLeastOnce, ..Self::at_most_once(topic) }
    }

    fn read(fields: &mut Fields<'a>) -> Result<Self, (&'static str, Fault)> {
        let flags = fields.flags(AT_LEAST_ONCE | WHOLE | TO_QUEUE | RECEIPT)?;
        let at_least_once = flags & AT_LEAST_ONCE != 0;
        if !at_least_once && flags != 0 {
            return Err(("flags", Fault::Unknown));
        }
        let level = fields.level()?;
        if !at_least_once && level.is_some() {
            return Err(("level", Fault::Unknown));
        }
        Ok(Self {
            qos: if at_least_once { Qos::AtLeastOnce } else { Qos::AtMostOnce },
            whole: flags & WHOLE != 0,
            to_queue: flags & TO_QUEUE != 0,
            receipt: flags & RECEIPT != 0,
            level,
            destination: fields.str8("destination")?,
        })
    }

    fn flags(&self) -> u8 {
        let bit = |set, bit| if set { bit } else { 0 };
        self.qos.as_u8()
            | bit(self.whole, WHOLE)
            | bit(self.to_queue, TO_QUEUE)
            | bit(self.receipt, RECEIPT)
    }

    fn put(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        out.put_u8(self.flags());
        out.put_u8(level_number(self.level));
        put_str8(out, "destination", self.destination)
    }
}

impl<'a> PublishRef<'a> {
    /// Reads a payload in place, and walks its messages once. Nothing is allocated.
    ///
    /// # Errors
    /// It is not as the document says, or a message has more than `message_max` bytes.
    pub fn read(payload: &'a [u8], message_max: usize) -> Result<Self, DecodeError> {
        let frame = FrameType::Publish;
        let mut fields = Fields::new(payload);
        let (head, count) = read_head(frame, &mut fields, |fields| {
            Ok((PublishHead::read(fields)?, count(fields)?))
        })?;
        let messages = Messages::check(frame, fields.rest(), u32::from(count), message_max)?;
        Ok(Self { head, messages })
    }
}

/// Writes a PUBLISH frame message by message; dropped unfinished, it leaves nothing behind.
///
/// ```
/// use bytes::BytesMut;
/// use sluice_protocol::binary::v2::{PublishHead, PublishWriter};
///
/// let mut out = BytesMut::new();
/// let mut frame = PublishWriter::begin(&mut out, 1, &PublishHead::at_most_once("a"), 1 << 20)?;
/// assert!(frame.push(b"one") && frame.push(b"two"));
/// assert_eq!(frame.finish(), 2);
/// # Ok::<(), sluice_protocol::binary::v2::EncodeError>(())
/// ```
pub struct PublishWriter<'a> {
    frame: ListFrame<'a>,
    flags: u8,
}

impl<'a> PublishWriter<'a> {
    /// Begins a frame of at most `length_max` in its length field.
    ///
    /// # Errors
    /// The destination is longer than its length can say.
    pub fn begin(
        out: &'a mut BytesMut,
        id: u64,
        head: &PublishHead<'_>,
        length_max: usize,
    ) -> Result<Self, EncodeError> {
        let put = |out: &mut BytesMut| head.put(out);
        let frame = ListFrame::begin(out, FrameType::Publish, id, length_max, put)?;
        Ok(Self { frame, flags: head.flags() })
    }

    /// Appends a message without extras; false, and nothing appended, where it does not fit.
    #[inline]
    #[must_use]
    pub fn push(&mut self, payload: &[u8]) -> bool {
        push_plain(&mut self.frame, payload)
    }

    /// Appends a message; false, and nothing appended, where it does not fit.
    ///
    /// # Errors
    /// A text in its extras is longer than its length can say.
    pub fn push_with(
        &mut self,
        payload: &[u8],
        extras: Option<&Extras>,
    ) -> Result<bool, EncodeError> {
        push_message(&mut self.frame, published(extras), payload)
    }

    /// Takes as many messages off the block's front as fit.
    pub fn push_block(&mut self, block: &mut Block) {
        push_block(&mut self.frame, block);
    }

    /// How many messages there are.
    pub fn count(&self) -> u16 {
        self.frame.count()
    }

    /// Ends the frame and says how many messages it has; one without any leaves nothing behind.
    pub fn finish(self) -> u16 {
        if self.frame.count() == 0 { 0 } else { self.frame.finish(self.flags) }
    }
}

/// Appends a message without extras, if it fits.
#[inline]
pub(super) fn push_plain(frame: &mut ListFrame<'_>, payload: &[u8]) -> bool {
    let fits = frame.fits(plain_size(payload));
    if fits {
        put_plain(payload, frame.out);
        frame.counted(1);
    }
    fits
}

/// Appends a message with these extras, if it fits.
pub(super) fn push_message<'e>(
    frame: &mut ListFrame<'_>,
    extras: impl Iterator<Item = Extra<'e>> + Clone,
    payload: &[u8],
) -> Result<bool, EncodeError> {
    let head = MessageHead::of(extras.clone(), payload.len())?;
    let fits = frame.fits(head.size().saturating_add(payload.len()));
    if fits {
        head.put(extras, frame.out);
        frame.out.put_slice(payload);
        frame.counted(1);
    }
    Ok(fits)
}

/// Takes as many messages off the block's front as fit the frame.
pub(super) fn push_block(frame: &mut ListFrame<'_>, block: &mut Block) {
    let part = block.split_to(u32::from(frame.countable()), frame.room());
    frame.out.put_slice(part.bytes());
    // It has at most as many as can be counted.
    frame.counted(part.count() as u16);
}

/// Appends a PUBLISH frame of one message up to its payload, whose bytes, so many, come next.
///
/// # Errors
/// A text is longer than its length can say, or the frame than the protocol allows.
pub fn put_publish_one_head(
    out: &mut BytesMut,
    id: u64,
    head: &PublishHead<'_>,
    extras: Option<&Extras>,
    payload_bytes: usize,
) -> Result<(), EncodeError> {
    put_frame(out, FrameType::Publish, id, payload_bytes, |out| {
        head.put(out)?;
        out.put_u16(1);
        MessageHead::of(published(extras), payload_bytes)?.put(published(extras), out);
        Ok(())
    })
}
