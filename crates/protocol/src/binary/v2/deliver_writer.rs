//! DELIVER, as a broker writes it: straight into the output, as many messages as fit.

use bytes::{BufMut, Bytes, BytesMut};
use sluice_model::{Block, Delivery, Lane, LeaseId, MessageId, Timestamp, var};

use super::deliver::{AT_MOST_ONCE, EXTRAS, MORE, PUSHED, REDELIVERED, TOKEN};
use super::extras::{self, Extra};
use super::fields::{put_frame, put_message_id, put_str8, put_token};
use super::list_frame::ListFrame;
use super::publish::{push_block, push_message, push_plain};
use super::{EncodeError, FrameType, TOKEN_BYTES};

/// What a DELIVER says of all its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliverHead<'a> {
    /// The frame's id is that of a consumer, else that of a RECEIVE.
    pub pushed: bool,
    /// The topic of all messages, or the queue: UTF-8.
    pub topic: &'a [u8],
    /// Who published them: UTF-8.
    pub sender: &'a [u8],
}

/// All of a delivery at least once but its tag and payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryHead<'a> {
    /// It may have been delivered before.
    pub redelivered: bool,
    /// The message's identity.
    pub id: MessageId,
    /// When the broker took it.
    pub published_at: Timestamp,
    /// When the lease ends by itself.
    pub deadline: Timestamp,
    /// The how-manieth lease of the message this is, from 1.
    pub attempt: u32,
    /// How often an attempt failed.
    pub failures: u32,
    /// What settles it on any connection, where the lease is bound to none.
    pub token: Option<LeaseId>,
    /// Pairs of strings: UTF-8.
    pub headers: &'a [(Bytes, Bytes)],
    /// Order and limits; none for the defaults.
    pub lane: Option<&'a Lane>,
}

impl DeliverHead<'_> {
    fn put(&self, out: &mut BytesMut, flags: u8) -> Result<(), EncodeError> {
        out.put_u8(flags | self.flags());
        put_str8(out, "topic", self.topic)?;
        put_str8(out, "sender", self.sender)
    }

    const fn flags(&self) -> u8 {
        if self.pushed { PUSHED } else { 0 }
    }

    /// Nothing follows what is pushed: it answers no request.
    const fn more(&self, more: bool) -> u8 {
        if more && !self.pushed { MORE } else { 0 }
    }
}

impl<'a> DeliveryHead<'a> {
    /// What the model has, with a token if one is asked for and there is a lease.
    pub fn of(delivery: &'a Delivery, token: bool) -> Self {
        Self {
            redelivered: delivery.redelivered,
            id: delivery.carried.id,
            published_at: delivery.carried.published_at,
            deadline: delivery.deadline,
            attempt: delivery.attempt,
            failures: delivery.failures,
            token: delivery.lease.filter(|_| token),
            headers: &delivery.carried.headers,
            lane: delivery.lane.as_deref(),
        }
    }

    fn extras(&self) -> impl Iterator<Item = Extra<'a>> + Clone {
        headers(self.headers).chain(self.lane.into_iter().flat_map(extras::lane))
    }

    fn size(&self, extras_bytes: usize, payload_bytes: usize) -> usize {
        let token = if self.token.is_some() { TOKEN_BYTES } else { 0 };
        let numbers = var::size(u64::from(self.attempt)) + var::size(u64::from(self.failures));
        let extras = match extras_bytes {
            0 => 0,
            bytes => var::size(bytes as u64) + bytes,
        };
        1 + 12 + 8 + 8 + numbers + token + extras + var::size(payload_bytes as u64)
    }

    fn put(&self, out: &mut BytesMut, extras_bytes: usize, payload_bytes: usize) {
        let bit = |set, bit| if set { bit } else { 0 };
        out.put_u8(
            bit(self.redelivered, REDELIVERED)
                | bit(extras_bytes > 0, EXTRAS)
                | bit(self.token.is_some(), TOKEN),
        );
        put_message_id(out, self.id);
        out.put_u64(self.published_at.as_millis());
        out.put_u64(self.deadline.as_millis());
        var::put(u64::from(self.attempt), out);
        var::put(u64::from(self.failures), out);
        if let Some(token) = &self.token {
            put_token(out, token);
        }
        if extras_bytes > 0 {
            extras::put(self.extras(), extras_bytes, out);
        }
        var::put(payload_bytes as u64, out);
    }
}

fn headers(headers: &[(Bytes, Bytes)]) -> impl Iterator<Item = Extra<'_>> + Clone {
    headers.iter().map(|(name, value)| Extra::Header { name, value })
}

/// Writes a DELIVER frame message by message; dropped unfinished, it leaves nothing behind.
pub struct DeliverWriter<'a> {
    frame: ListFrame<'a>,
    flags: u8,
}

impl<'a> DeliverWriter<'a> {
    /// Begins a frame of messages at most once, all published at the same time, of at most
    /// `length_max` in its length field.
    ///
    /// # Errors
    /// Topic or sender are longer than their lengths can say.
    pub fn at_most_once(
        out: &'a mut BytesMut,
        id: u64,
        head: &DeliverHead<'_>,
        published_at: Timestamp,
        length_max: usize,
    ) -> Result<Self, EncodeError> {
        Self::begin(out, id, head, AT_MOST_ONCE, published_at.as_millis(), length_max)
    }

    /// Begins a frame of deliveries under leases, the first with this tag, of at most `length_max`
    /// in its length field.
    ///
    /// # Errors
    /// Topic or sender are longer than their lengths can say.
    pub fn at_least_once(
        out: &'a mut BytesMut,
        id: u64,
        head: &DeliverHead<'_>,
        tag: u64,
        length_max: usize,
    ) -> Result<Self, EncodeError> {
        Self::begin(out, id, head, 0, tag, length_max)
    }

    fn begin(
        out: &'a mut BytesMut,
        id: u64,
        head: &DeliverHead<'_>,
        flags: u8,
        number: u64,
        length_max: usize,
    ) -> Result<Self, EncodeError> {
        let put = |out: &mut BytesMut| head.put(out, flags);
        let frame = ListFrame::begin(out, FrameType::Deliver, id, length_max, put)?;
        frame.out.put_u64(number);
        Ok(Self { frame, flags: flags | head.flags() })
    }

    /// Appends a message at most once without headers; false, and nothing appended, where it does
    /// not fit.
    #[inline]
    #[must_use]
    pub fn push(&mut self, payload: &[u8]) -> bool {
        debug_assert!(self.flags & AT_MOST_ONCE != 0);
        push_plain(&mut self.frame, payload)
    }

    /// Appends a message at most once; false, and nothing appended, where it does not fit.
    ///
    /// # Errors
    /// A header is longer than its lengths can say.
    pub fn push_with(
        &mut self,
        payload: &[u8],
        pairs: &[(Bytes, Bytes)],
    ) -> Result<bool, EncodeError> {
        debug_assert!(self.flags & AT_MOST_ONCE != 0);
        push_message(&mut self.frame, headers(pairs), payload)
    }

    /// Takes as many messages at most once off the block's front as fit.
    pub fn push_block(&mut self, block: &mut Block) {
        debug_assert!(self.flags & AT_MOST_ONCE != 0);
        push_block(&mut self.frame, block);
    }

    /// Appends a delivery at least once, whose tag is the next; false, and nothing appended, where
    /// it does not fit.
    ///
    /// # Errors
    /// A text in its extras is longer than its length can say.
    pub fn push_delivery(
        &mut self,
        head: &DeliveryHead<'_>,
        payload: &[u8],
    ) -> Result<bool, EncodeError> {
        debug_assert!(self.flags & AT_MOST_ONCE == 0);
        let extras_bytes = extras::size(head.extras())?;
        let size = head.size(extras_bytes, payload.len());
        let fits = self.frame.fits(size.saturating_add(payload.len()));
        if fits {
            head.put(self.frame.out, extras_bytes, payload.len());
            self.frame.out.put_slice(payload);
            self.frame.counted(1);
        }
        Ok(fits)
    }

    /// How many messages there are.
    pub fn count(&self) -> u16 {
        self.frame.count()
    }

    /// Ends the frame and says how many messages it has; one without any leaves nothing behind.
    /// `more`: further frames answer the same RECEIVE; means nothing where they are pushed.
    pub fn finish(self, more: bool) -> u16 {
        let more = if more && self.flags & PUSHED == 0 { MORE } else { 0 };
        if self.frame.count() == 0 { 0 } else { self.frame.finish(self.flags | more) }
    }
}

/// Appends a DELIVER frame of one delivery up to its payload, whose bytes, so many, come next.
///
/// # Errors
/// A text is longer than its length can say, or the frame than the protocol allows.
pub fn put_deliver_one_head(
    out: &mut BytesMut,
    id: u64,
    head: &DeliverHead<'_>,
    more: bool,
    tag: u64,
    delivery: &DeliveryHead<'_>,
    payload_bytes: usize,
) -> Result<(), EncodeError> {
    put_frame(out, FrameType::Deliver, id, payload_bytes, |out| {
        head.put(out, head.more(more))?;
        out.put_u16(1);
        out.put_u64(tag);
        let extras_bytes = extras::size(delivery.extras())?;
        delivery.put(out, extras_bytes, payload_bytes);
        Ok(())
    })
}

/// Appends a DELIVER frame at most once up to its messages: the caller appends the bytes of
/// `block` next, which has 1 to 65 535 messages.
///
/// # Errors
/// A text is longer than its length can say, there are too many messages, or the frame is longer
/// than the protocol allows.
pub fn put_deliver_block_head(
    out: &mut BytesMut,
    id: u64,
    head: &DeliverHead<'_>,
    more: bool,
    published_at: Timestamp,
    block: &Block,
) -> Result<(), EncodeError> {
    put_frame(out, FrameType::Deliver, id, block.bytes().len(), |out| {
        head.put(out, AT_MOST_ONCE | head.more(more))?;
        let (field, max) = ("messages", usize::from(u16::MAX));
        let length = block.count() as usize;
        let too_many = EncodeError::FieldTooLong { field, length, max };
        out.put_u16(u16::try_from(block.count()).map_err(|_| too_many)?);
        out.put_u64(published_at.as_millis());
        Ok(())
    })
}
