//! Payloads of the binary protocol's version 1.
//!
//! Each has an owned form for clients. What a server reads or writes often has a borrowed form
//! ([`PublishRef`], [`SubscribeRef`]) or a writer straight into the output ([`put_publish_head`],
//! [`put_ack`], [`put_nack`], [`put_pong`]), so that nothing is copied or allocated on the way.
//!
//! A payload must end where its last field ends; texts must be UTF-8. Whether a value makes sense
//! (a QoS of 7, an empty topic) is for the reader of the payload to say.

use std::fmt;
use std::str;

use bytes::{BufMut, Bytes, BytesMut};

use super::cursor::Cursor;
use super::frame::{FrameDecodeError, FrameEncodeError, FrameType, put_header};

/// The version that these payloads belong to.
pub const PROTOCOL_VERSION: u16 = 1;

/// HELLO: which version the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelloPayload {
    /// The version; [`PROTOCOL_VERSION`] here.
    pub protocol_version: u16,
}

/// AUTH: who the client is.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthPayload {
    /// The secret that shows it.
    pub api_key: String,
}

impl fmt::Debug for AuthPayload {
    /// Never shows the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthPayload").finish_non_exhaustive()
    }
}

/// PUBLISH: a message, from its publisher or to its consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishPayload {
    /// Where to.
    pub topic: String,
    /// 0 at most once, 1 at least once.
    pub qos: u8,
    /// The message's bytes.
    pub message: Bytes,
}

/// SUBSCRIBE: a topic or pattern to receive from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribePayload {
    /// Which topics.
    pub topic: String,
    /// 0 at most once, 1 at least once.
    pub qos: u8,
}

/// POLL: asks for the next message of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollPayload {
    /// The number that the SUBSCRIBE's ACK gave.
    pub subscription_id: u64,
}

/// ACK: a delivery is dealt with; from the server, a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckPayload {
    /// The subscription, or 0 where the answer is about none.
    pub subscription_id: u64,
}

/// NACK: why the server refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NackPayload {
    /// The kind of reason, after HTTP's numbers.
    pub code: u16,
    /// The reason in words.
    pub message: String,
}

/// A [`PublishPayload`] where it lies in a buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublishRef<'a> {
    /// Where to.
    pub topic: &'a str,
    /// 0 at most once, 1 at least once; anything else as it came.
    pub qos: u8,
    /// The message's bytes.
    pub message: &'a [u8],
}

/// A [`SubscribePayload`] where it lies in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeRef<'a> {
    /// Which topics.
    pub topic: &'a str,
    /// 0 at most once, 1 at least once; anything else as it came.
    pub qos: u8,
}

fn read<'a, T>(
    frame: FrameType,
    payload: &'a [u8],
    fields: impl FnOnce(&mut Cursor<'a>) -> Option<T>,
) -> Result<T, FrameDecodeError> {
    let mut cursor = Cursor::new(payload);
    let value = fields(&mut cursor);
    value.filter(|_| cursor.is_empty()).ok_or(FrameDecodeError::Payload(frame))
}

fn text<'a>(cursor: &mut Cursor<'a>) -> Option<&'a str> {
    str::from_utf8(cursor.short()?).ok()
}

fn short_bytes(field: &'static str, bytes: usize) -> Result<u16, FrameEncodeError> {
    u16::try_from(bytes).map_err(|_| FrameEncodeError::FieldTooLong { field, bytes })
}

fn put_text(out: &mut BytesMut, field: &'static str, text: &str) -> Result<(), FrameEncodeError> {
    out.put_u16(short_bytes(field, text.len())?);
    out.put_slice(text.as_bytes());
    Ok(())
}

impl HelloPayload {
    /// The payload's bytes.
    pub fn encode(&self) -> Bytes {
        Bytes::copy_from_slice(&self.protocol_version.to_be_bytes())
    }

    /// Reads a payload. What follows the version of a later protocol is that version's own and is
    /// not looked at.
    ///
    /// # Errors
    /// It is not as described at the top of this module.
    pub fn decode(payload: &Bytes) -> Result<Self, FrameDecodeError> {
        Self::read(payload)
    }

    /// [`HelloPayload::decode`] from bytes in place.
    ///
    /// # Errors
    /// As there.
    pub fn read(payload: &[u8]) -> Result<Self, FrameDecodeError> {
        read(FrameType::Hello, payload, |cursor| {
            let protocol_version = cursor.u16()?;
            if protocol_version != PROTOCOL_VERSION {
                *cursor = Cursor::new(&[]);
            }
            Some(Self { protocol_version })
        })
    }
}

impl AuthPayload {
    /// The payload's bytes.
    ///
    /// # Errors
    /// The key is longer than its length field can say.
    pub fn encode(&self) -> Result<Bytes, FrameEncodeError> {
        let mut out = BytesMut::with_capacity(2 + self.api_key.len());
        put_text(&mut out, "API key", &self.api_key)?;
        Ok(out.freeze())
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// It is not as described at the top of this module.
    pub fn decode(payload: &Bytes) -> Result<Self, FrameDecodeError> {
        Self::read_key(payload).map(|key| Self { api_key: key.to_owned() })
    }

    /// The key of a payload, in place.
    ///
    /// # Errors
    /// As [`AuthPayload::decode`].
    pub fn read_key(payload: &[u8]) -> Result<&str, FrameDecodeError> {
        read(FrameType::Auth, payload, text)
    }
}

impl PublishPayload {
    /// The payload's bytes.
    ///
    /// # Errors
    /// The topic is longer than its length field can say.
    pub fn encode(&self) -> Result<Bytes, FrameEncodeError> {
        let mut out = BytesMut::with_capacity(3 + self.topic.len() + self.message.len());
        out.put_u8(self.qos);
        put_text(&mut out, "topic", &self.topic)?;
        out.put_slice(&self.message);
        Ok(out.freeze())
    }

    /// Reads a payload; the message shares its bytes.
    ///
    /// # Errors
    /// It is not as described at the top of this module.
    pub fn decode(payload: &Bytes) -> Result<Self, FrameDecodeError> {
        let PublishRef { topic, qos, message } = PublishRef::read(payload)?;
        Ok(Self { topic: topic.to_owned(), qos, message: payload.slice_ref(message) })
    }
}

impl<'a> PublishRef<'a> {
    /// Reads a payload in place.
    ///
    /// # Errors
    /// It is not as described at the top of this module.
    pub fn read(payload: &'a [u8]) -> Result<Self, FrameDecodeError> {
        read(FrameType::Publish, payload, |cursor| {
            let (qos, topic) = (cursor.u8()?, text(cursor)?);
            let message = cursor.rest();
            *cursor = Cursor::new(&[]);
            Some(Self { topic, qos, message })
        })
    }
}

impl SubscribePayload {
    /// The payload's bytes.
    ///
    /// # Errors
    /// The topic is longer than its length field can say.
    pub fn encode(&self) -> Result<Bytes, FrameEncodeError> {
        let mut out = BytesMut::with_capacity(3 + self.topic.len());
        put_text(&mut out, "topic", &self.topic)?;
        out.put_u8(self.qos);
        Ok(out.freeze())
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// It is not as described at the top of this module.
    pub fn decode(payload: &Bytes) -> Result<Self, FrameDecodeError> {
        let SubscribeRef { topic, qos } = SubscribeRef::read(payload)?;
        Ok(Self { topic: topic.to_owned(), qos })
    }
}

impl<'a> SubscribeRef<'a> {
    /// Reads a payload in place.
    ///
    /// # Errors
    /// It is not as described at the top of this module.
    pub fn read(payload: &'a [u8]) -> Result<Self, FrameDecodeError> {
        read(FrameType::Subscribe, payload, |cursor| {
            Some(Self { topic: text(cursor)?, qos: cursor.u8()? })
        })
    }
}

macro_rules! subscription_id_payload {
    ($name:ident, $frame:ident) => {
        impl $name {
            /// The payload's bytes.
            ///
            /// # Errors
            /// None today; the other payloads' encoders have some.
            pub fn encode(&self) -> Result<Bytes, FrameEncodeError> {
                Ok(Bytes::copy_from_slice(&self.subscription_id.to_be_bytes()))
            }

            /// Reads a payload.
            ///
            /// # Errors
            /// It is not as described at the top of this module.
            pub fn decode(payload: &Bytes) -> Result<Self, FrameDecodeError> {
                Self::read(payload)
            }

            /// Reads a payload in place.
            ///
            /// # Errors
            /// It is not as described at the top of this module.
            pub fn read(payload: &[u8]) -> Result<Self, FrameDecodeError> {
                read(FrameType::$frame, payload, Cursor::u64)
                    .map(|subscription_id| Self { subscription_id })
            }
        }
    };
}
subscription_id_payload!(PollPayload, Poll);
subscription_id_payload!(AckPayload, Ack);

impl NackPayload {
    /// The payload's bytes.
    ///
    /// # Errors
    /// The message is longer than its length field can say.
    pub fn encode(&self) -> Result<Bytes, FrameEncodeError> {
        let mut out = BytesMut::with_capacity(4 + self.message.len());
        out.put_u16(self.code);
        put_text(&mut out, "message", &self.message)?;
        Ok(out.freeze())
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// It is not as described at the top of this module.
    pub fn decode(payload: &Bytes) -> Result<Self, FrameDecodeError> {
        read(FrameType::Nack, payload, |cursor| {
            Some(Self { code: cursor.u16()?, message: text(cursor)?.to_owned() })
        })
    }
}

/// Appends a PUBLISH frame up to its message, whose bytes, so many, the caller writes next.
///
/// # Errors
/// Topic or frame would be too long; nothing is appended then.
pub fn put_publish_head(
    out: &mut BytesMut,
    correlation_id: u64,
    qos: u8,
    topic: &[u8],
    message_bytes: usize,
) -> Result<(), FrameEncodeError> {
    let topic_bytes = short_bytes("topic", topic.len())?;
    let payload_bytes = message_bytes.saturating_add(3 + topic.len());
    put_header(out, FrameType::Publish, correlation_id, payload_bytes)?;
    out.put_u8(qos);
    out.put_u16(topic_bytes);
    out.put_slice(topic);
    Ok(())
}

/// Appends an ACK frame.
pub fn put_ack(out: &mut BytesMut, correlation_id: u64, subscription_id: u64) {
    if put_header(out, FrameType::Ack, correlation_id, 8).is_ok() {
        out.put_u64(subscription_id);
    }
}

/// Appends a PONG frame.
pub fn put_pong(out: &mut BytesMut, correlation_id: u64) {
    put_header(out, FrameType::Pong, correlation_id, 0).unwrap_or_default();
}

/// Appends a NACK frame; a text longer than its field can say is cut.
pub fn put_nack(out: &mut BytesMut, correlation_id: u64, code: u16, text: &str) {
    let text = &text.get(..text.floor_char_boundary(usize::from(u16::MAX))).unwrap_or_default();
    let text_bytes = u16::try_from(text.len()).unwrap_or(0);
    if put_header(out, FrameType::Nack, correlation_id, 4 + text.len()).is_ok() {
        out.put_u16(code);
        out.put_u16(text_bytes);
        out.put_slice(text.as_bytes());
    }
}
