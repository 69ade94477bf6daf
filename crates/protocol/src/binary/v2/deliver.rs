//! DELIVER, as a client reads it.

use sluice_model::{LeaseId, MessageId, Timestamp};

use super::extras::{self, ExtrasRef};
use super::fields::{FieldError, Fields, count, read_entries, read_head};
use super::messages::Messages;
use super::{DecodeError, Fault, FrameType};

pub(super) const PUSHED: u8 = 1;
pub(super) const AT_MOST_ONCE: u8 = 2;
pub(super) const MORE: u8 = 4;

pub(super) const REDELIVERED: u8 = 1;
pub(super) const EXTRAS: u8 = 2;
pub(super) const TOKEN: u8 = 4;

/// A DELIVER where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliverRef<'a> {
    /// The frame's id is that of a consumer, else that of a RECEIVE.
    pub pushed: bool,
    /// Further frames answer the same RECEIVE.
    pub more: bool,
    /// The topic of all messages, or the queue.
    pub topic: &'a str,
    /// Who published them.
    pub sender: &'a str,
    /// The messages, one or more.
    pub messages: Deliver<'a>,
}

/// What a DELIVER holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deliver<'a> {
    /// Messages that need no settlement.
    AtMostOnce {
        /// When the broker took them.
        published_at: Timestamp,
        /// The messages; of extras they have only headers.
        messages: Messages<'a>,
    },
    /// Messages under leases.
    AtLeastOnce(Deliveries<'a>),
}

/// Deliveries at least once where they lie, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deliveries<'a> {
    tag: u64,
    count: u16,
    bytes: &'a [u8],
}

/// A delivery at least once where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryRef<'a> {
    /// What settles it on this connection; means nothing where there is a token.
    pub tag: u64,
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
    /// Headers, priority, group, keys and cost, where they are no defaults.
    pub extras: Option<ExtrasRef<'a>>,
    /// The message's bytes.
    pub payload: &'a [u8],
}

impl<'a> DeliverRef<'a> {
    /// Reads a payload in place, and walks its messages once. Nothing is allocated.
    ///
    /// # Errors
    /// It is not as the document says.
    pub fn read(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let frame = FrameType::Deliver;
        let mut fields = Fields::new(payload);
        let (flags, topic, sender, count, number) = read_head(frame, &mut fields, head)?;
        let bytes = fields.rest();
        let messages = if flags & AT_MOST_ONCE != 0 {
            let published_at = Timestamp::from_millis(number);
            let count = u32::from(count);
            let allowed = extras::HEADERS;
            let messages = Messages::check_allowed(frame, bytes, count, usize::MAX, allowed)?;
            Deliver::AtMostOnce { published_at, messages }
        } else {
            Deliver::AtLeastOnce(Deliveries::check(number, count, bytes)?)
        };
        let (pushed, more) = (flags & PUSHED != 0, flags & MORE != 0);
        Ok(Self { pushed, more, topic, sender, messages })
    }

    /// How many messages there are.
    pub const fn count(&self) -> u32 {
        match &self.messages {
            Deliver::AtMostOnce { messages, .. } => messages.count(),
            Deliver::AtLeastOnce(deliveries) => deliveries.count as u32,
        }
    }
}

type Head<'a> = (u8, &'a str, &'a str, u16, u64);

/// All before the messages; the number is when they were published, or the first one's tag.
fn head<'a>(fields: &mut Fields<'a>) -> Result<Head<'a>, FieldError> {
    let flags = fields.flags(PUSHED | AT_MOST_ONCE | MORE)?;
    if flags & PUSHED != 0 && flags & MORE != 0 {
        return Err(("flags", Fault::Unknown));
    }
    let (topic, sender) = (fields.str8("topic")?, fields.str8("sender")?);
    let count = count(fields)?;
    let number = fields.u64(if flags & AT_MOST_ONCE != 0 { "published_at" } else { "tag" })?;
    if flags & AT_MOST_ONCE == 0 && number.checked_add(u64::from(count) - 1).is_none() {
        return Err(("tag", Fault::Range));
    }
    Ok((flags, topic, sender, count, number))
}

impl<'a> Deliveries<'a> {
    fn check(tag: u64, count: u16, bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let entry = |fields: &mut Fields<'a>| match DeliveryRef::read(tag, fields)?.extras {
            Some(extras) => extras::check(extras.bytes(), extras::DELIVERED),
            None => Ok(()),
        };
        let bytes = read_entries(FrameType::Deliver, Fields::new(bytes), count, entry)?;
        Ok(Self { tag, count, bytes })
    }

    /// How many there are; one or more.
    pub const fn count(&self) -> u16 {
        self.count
    }

    /// The tag of the first one; each further one is one higher.
    pub const fn tag(&self) -> u64 {
        self.tag
    }

    /// The deliveries in order.
    pub fn iter(&self) -> impl Iterator<Item = DeliveryRef<'a>> + use<'a> {
        let (mut tag, mut fields) = (self.tag, Fields::new(self.bytes));
        std::iter::from_fn(move || {
            let delivery = DeliveryRef::read(tag, &mut fields).ok()?;
            tag = tag.wrapping_add(1);
            Some(delivery)
        })
    }
}

impl<'a> DeliveryRef<'a> {
    /// Reads all fields; what is in the extras is not looked at.
    fn read(tag: u64, fields: &mut Fields<'a>) -> Result<Self, FieldError> {
        let flags = fields.flags(REDELIVERED | EXTRAS | TOKEN)?;
        Ok(Self {
            tag,
            redelivered: flags & REDELIVERED != 0,
            id: fields.message_id()?,
            published_at: fields.timestamp("published_at")?,
            deadline: fields.timestamp("deadline")?,
            attempt: fields.var_u32("attempt")?,
            failures: fields.var_u32("failures")?,
            token: if flags & TOKEN != 0 { Some(fields.token()?) } else { None },
            extras: if flags & EXTRAS != 0 {
                Some(ExtrasRef::checked(fields.var_bytes("extras")?))
            } else {
                None
            },
            payload: fields.var_bytes("payload")?,
        })
    }
}
