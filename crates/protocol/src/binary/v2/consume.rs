//! SUBSCRIBE, CONSUME, CANCEL, CREDIT, RECEIVE: how messages are asked for.

use bytes::{BufMut, BytesMut};
use sluice_model::Qos;

use super::fields::{Fields, put_frame, put_str8, read};
use super::{DecodeError, EncodeError, Fault, FrameType};

const AT_LEAST_ONCE: u8 = 1;
const PUSH: u8 = 2;

const BY_CONSUMER: u8 = 1;
const UNBOUND: u8 = 2;

/// SUBSCRIBE: a consumer of what is published to a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeRef<'a> {
    /// At most once from memory, or at least once from a durable subscription.
    pub qos: Qos,
    /// Messages are pushed, else fetched by RECEIVE.
    pub push: bool,
    /// The durable subscription; empty at most once.
    pub name: &'a str,
    /// Which topics.
    pub pattern: &'a str,
    /// So many messages may be pushed at first.
    pub credit: u32,
    /// Time to settle each that is pushed; 0 for the queue's.
    pub lease_ms: u32,
    /// What its queue is to be like.
    pub settings: Settings<'a>,
}

/// CONSUME: a consumer of a queue by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumeRef<'a> {
    /// Which queue.
    pub queue: &'a str,
    /// So many messages may be pushed at first.
    pub credit: u32,
    /// Time to settle each; 0 for the queue's.
    pub lease_ms: u32,
}

/// CANCEL: push no more to a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancel {
    /// Which one.
    pub consumer: u64,
}

/// CREDIT: push so many more to a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    /// Which one.
    pub consumer: u64,
    /// How many more.
    pub messages: u32,
}

/// RECEIVE: messages, now or within a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveRef<'a> {
    /// At most so many; 1 or more.
    pub max: u16,
    /// How long to wait for the first one; 0 for not at all.
    pub wait_ms: u32,
    /// Time to settle each; 0 for the queue's.
    pub lease_ms: u32,
    /// The leases are bound to no connection, and each message comes with a token.
    pub unbound: bool,
    /// Where from.
    pub from: Source<'a>,
}

/// Where RECEIVE takes messages from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// The queue of that name.
    Queue(&'a str),
    /// A consumer that is not pushed to.
    Consumer(u64),
}

/// Names and values of settings where they lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings<'a> {
    count: u8,
    bytes: &'a [u8],
}

impl<'a> Settings<'a> {
    fn read(fields: &mut Fields<'a>) -> Result<Self, (&'static str, Fault)> {
        let (count, begin) = (fields.u8("settings")?, fields.rest());
        for _ in 0..count {
            fields.str8("settings")?;
            fields.str8("settings")?;
        }
        let bytes = begin.get(..begin.len() - fields.rest().len()).unwrap_or_default();
        Ok(Self { count, bytes })
    }

    /// How many there are.
    pub const fn count(&self) -> u8 {
        self.count
    }

    /// Names and values in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let mut fields = Fields::new(self.bytes);
        std::iter::from_fn(move || {
            let name = fields.str8("settings").ok()?;
            Some((name, fields.str8("settings").ok()?))
        })
    }
}

impl<'a> SubscribeRef<'a> {
    /// Reads a payload in place.
    ///
    /// # Errors
    /// It is not as the document says.
    pub fn read(payload: &'a [u8]) -> Result<Self, DecodeError> {
        read(FrameType::Subscribe, payload, |fields| {
            let flags = fields.flags(AT_LEAST_ONCE | PUSH)?;
            let durable = flags & AT_LEAST_ONCE != 0;
            let name = fields.str8("name")?;
            if durable == name.is_empty() {
                return Err(("name", Fault::Unknown));
            }
            Ok(Self {
                qos: if durable { Qos::AtLeastOnce } else { Qos::AtMostOnce },
                push: flags & PUSH != 0,
                name,
                pattern: fields.str8("pattern")?,
                credit: fields.u32("credit")?,
                lease_ms: fields.u32("lease_ms")?,
                settings: Settings::read(fields)?,
            })
        })
    }

    /// Appends the frame, with these settings instead of its own.
    ///
    /// # Errors
    /// A text is longer than its length can say, or there are more than 255 settings.
    pub fn put(
        &self,
        out: &mut BytesMut,
        id: u64,
        settings: &[(&str, &str)],
    ) -> Result<(), EncodeError> {
        put_frame(out, FrameType::Subscribe, id, 0, |out| {
            out.put_u8(self.qos.as_u8() | if self.push { PUSH } else { 0 });
            put_str8(out, "name", self.name)?;
            put_str8(out, "pattern", self.pattern)?;
            out.put_u32(self.credit);
            out.put_u32(self.lease_ms);
            let (field, length, max) = ("settings", settings.len(), usize::from(u8::MAX));
            let too_many = EncodeError::FieldTooLong { field, length, max };
            out.put_u8(u8::try_from(length).map_err(|_| too_many)?);
            for (name, value) in settings {
                put_str8(out, field, name)?;
                put_str8(out, field, value)?;
            }
            Ok(())
        })
    }
}

impl<'a> ConsumeRef<'a> {
    /// Reads a payload in place.
    ///
    /// # Errors
    /// It is not as the document says.
    pub fn read(payload: &'a [u8]) -> Result<Self, DecodeError> {
        read(FrameType::Consume, payload, |fields| {
            Ok(Self {
                queue: fields.str8("queue")?,
                credit: fields.u32("credit")?,
                lease_ms: fields.u32("lease_ms")?,
            })
        })
    }

    /// Appends the frame.
    ///
    /// # Errors
    /// The queue's name is longer than its length can say.
    pub fn put(&self, out: &mut BytesMut, id: u64) -> Result<(), EncodeError> {
        put_frame(out, FrameType::Consume, id, 0, |out| {
            put_str8(out, "queue", self.queue)?;
            out.put_u32(self.credit);
            out.put_u32(self.lease_ms);
            Ok(())
        })
    }
}

impl Cancel {
    /// Reads a payload.
    ///
    /// # Errors
    /// It is not as the document says.
    pub fn read(payload: &[u8]) -> Result<Self, DecodeError> {
        read(FrameType::Cancel, payload, |fields| Ok(Self { consumer: fields.u64("consumer")? }))
    }

    /// Appends the frame.
    pub fn put(&self, out: &mut BytesMut, id: u64) {
        super::frames::put_fixed(out, FrameType::Cancel, id, |out| out.put_u64(self.consumer));
    }
}

impl Credit {
    /// Reads a payload.
    ///
    /// # Errors
    /// It is not as the document says.
    pub fn read(payload: &[u8]) -> Result<Self, DecodeError> {
        read(FrameType::Credit, payload, |fields| {
            Ok(Self { consumer: fields.u64("consumer")?, messages: fields.u32("messages")? })
        })
    }

    /// Appends the frame.
    pub fn put(&self, out: &mut BytesMut, id: u64) {
        super::frames::put_fixed(out, FrameType::Credit, id, |out| {
            out.put_u64(self.consumer);
            out.put_u32(self.messages);
        });
    }
}

impl<'a> ReceiveRef<'a> {
    /// Reads a payload in place.
    ///
    /// # Errors
    /// It is not as the document says.
    pub fn read(payload: &'a [u8]) -> Result<Self, DecodeError> {
        read(FrameType::Receive, payload, |fields| {
            let flags = fields.flags(BY_CONSUMER | UNBOUND)?;
            let max = fields.u16("max")?;
            if max == 0 {
                return Err(("max", Fault::Range));
            }
            Ok(Self {
                max,
                wait_ms: fields.u32("wait_ms")?,
                lease_ms: fields.u32("lease_ms")?,
                unbound: flags & UNBOUND != 0,
                from: if flags & BY_CONSUMER == 0 {
                    Source::Queue(fields.str8("queue")?)
                } else {
                    Source::Consumer(fields.u64("consumer")?)
                },
            })
        })
    }

    /// Appends the frame.
    ///
    /// # Errors
    /// The queue's name is longer than its length can say.
    pub fn put(&self, out: &mut BytesMut, id: u64) -> Result<(), EncodeError> {
        put_frame(out, FrameType::Receive, id, 0, |out| {
            let by_consumer = matches!(self.from, Source::Consumer(_));
            let unbound = if self.unbound { UNBOUND } else { 0 };
            out.put_u8(unbound | u8::from(by_consumer));
            out.put_u16(self.max);
            out.put_u32(self.wait_ms);
            out.put_u32(self.lease_ms);
            match self.from {
                Source::Queue(queue) => put_str8(out, "queue", queue)?,
                Source::Consumer(consumer) => out.put_u64(consumer),
            }
            Ok(())
        })
    }
}
