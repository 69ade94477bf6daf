//! A message's body as it stands in the log: all that a delivery needs.
//!
//! ```text
//! published_at u64 | id u32 u64 | flags u8 | topic u16+bytes | sender u16+bytes
//! | headers: count u16, then name u16+bytes, value u16+bytes each | payload: the rest
//! ```

use bytes::{Buf, BufMut, Bytes};
use sluice_model::{Carried, MessageId, Timestamp};

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

/// Reads a body; what it gives shares the body's buffer.
///
/// # Errors
/// Says why the bytes are no body.
pub fn read_content(body: &Bytes) -> Result<Carried, RecordError> {
    let mut from = &body[..];
    let input = &mut from;
    let published_at = Timestamp::from_millis(input.try_get_u64_le()?);
    let id = MessageId { start: input.try_get_u32_le()?, counter: input.try_get_u64_le()? };
    let _flags = input.try_get_u8()?;
    let topic = body.slice_ref(str(input)?.as_bytes());
    let sender = body.slice_ref(str(input)?.as_bytes());
    let mut headers = Vec::new();
    for _ in 0..input.try_get_u16_le()? {
        let name = body.slice_ref(str(input)?.as_bytes());
        headers.push((name, body.slice_ref(str(input)?.as_bytes())));
    }
    let payload = body.slice_ref(input);
    Ok(Carried { id, published_at, topic, sender, headers, payload })
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
        let read = read_content(&Bytes::from(bytes.clone())).unwrap();
        assert_eq!((read.published_at, read.id), (content.published_at, content.id));
        assert_eq!((&read.topic[..], &read.payload[..]), (&b"orders.eu"[..], &b"hello"[..]));
        assert_eq!((&read.sender[..], read.headers.len()), (&b"anonymous"[..], 1));
        assert_eq!((&read.headers[0].0[..], &read.headers[0].1[..]), (&b"trace"[..], &b"1"[..]));
        for cut in 0..bytes.len() - content.payload.len() {
            assert!(read_content(&Bytes::from(bytes[..cut].to_vec())).is_err(), "cut at {cut}");
        }
    }
}
