//! A message's body as it stands in the log: all that a delivery needs.
//!
//! ```text
//! published_at u64 | id u32 u64 | flags u8 | topic u16+bytes | sender u16+bytes
//! | headers: count u16, then name u16+bytes, value u16+bytes each | payload: the rest
//! ```

use bytes::{Buf, BufMut, Bytes};
use sluice_model::{MessageId, Timestamp};

use crate::record::{RecordError, put_str, str};

/// A message's body before it is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Content<'a> {
    /// When the broker took it.
    pub published_at: Timestamp,
    /// Its identity.
    pub id: MessageId,
    /// Where it was published to.
    pub topic: &'a str,
    /// Who published it, as the broker knows.
    pub sender: &'a str,
    /// The publisher's pairs of strings.
    pub headers: &'a [(String, String)],
    /// The publisher's bytes.
    pub payload: &'a [u8],
}

impl Content<'_> {
    /// Bytes of the whole body.
    pub fn len(&self) -> usize {
        let headers: usize =
            self.headers.iter().map(|(name, value)| 4 + name.len() + value.len()).sum();
        27 + self.topic.len() + self.sender.len() + headers + self.payload.len()
    }

    /// Never: a body has a head.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Appends everything but the payload, which follows it.
    pub fn encode_head(&self, out: &mut impl BufMut) {
        out.put_u64_le(self.published_at.as_millis());
        out.put_u32_le(self.id.start);
        out.put_u64_le(self.id.counter);
        out.put_u8(0);
        put_str(out, self.topic);
        put_str(out, self.sender);
        out.put_u16_le(u16::try_from(self.headers.len()).expect("headers are bounded"));
        for (name, value) in self.headers {
            put_str(out, name);
            put_str(out, value);
        }
    }
}

/// A message's body as it was read back; slices of one buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// When the broker took it.
    pub published_at: Timestamp,
    /// Its identity.
    pub id: MessageId,
    /// Where it was published to: UTF-8.
    pub topic: Bytes,
    /// Who published it, as the broker knows: UTF-8.
    pub sender: Bytes,
    /// The publisher's bytes.
    pub payload: Bytes,
}

impl Stored {
    /// Reads a body; the slices share its buffer.
    ///
    /// # Errors
    /// Says why the bytes are no body.
    pub fn decode(body: &Bytes) -> Result<Self, RecordError> {
        let mut from = &body[..];
        let input = &mut from;
        let published_at = Timestamp::from_millis(input.try_get_u64_le()?);
        let id = MessageId { start: input.try_get_u32_le()?, counter: input.try_get_u64_le()? };
        let _flags = input.try_get_u8()?;
        let topic = body.slice_ref(str(input)?.as_bytes());
        let sender = body.slice_ref(str(input)?.as_bytes());
        for _ in 0..input.try_get_u16_le()? {
            let _name = str(input)?;
            let _value = str(input)?;
        }
        Ok(Self { published_at, id, topic, sender, payload: body.slice_ref(input) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_comes_back_as_it_was_written() {
        let content = Content {
            published_at: Timestamp::from_millis(77),
            id: MessageId { start: 2, counter: 9 },
            topic: "orders.eu",
            sender: "anonymous",
            headers: &[("trace".into(), "1".into())],
            payload: b"hello",
        };
        let mut bytes = Vec::new();
        content.encode_head(&mut bytes);
        bytes.extend_from_slice(content.payload);
        assert_eq!(bytes.len(), content.len());
        let stored = Stored::decode(&Bytes::from(bytes.clone())).unwrap();
        assert_eq!((stored.published_at, stored.id), (content.published_at, content.id));
        assert_eq!((&stored.topic[..], &stored.payload[..]), (&b"orders.eu"[..], &b"hello"[..]));
        assert_eq!(&stored.sender[..], b"anonymous");
        for cut in 0..bytes.len() - content.payload.len() {
            assert!(Stored::decode(&Bytes::from(bytes[..cut].to_vec())).is_err(), "cut at {cut}");
        }
    }
}
