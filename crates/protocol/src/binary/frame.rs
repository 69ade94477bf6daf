//! Frames: what every version of the binary protocol is cut into. Integers are big-endian.
//!
//! ```text
//! +------------+-----------+---------------------+-----------------+
//! | length u32 | type u8   | correlation id u64  | payload         |
//! +------------+-----------+---------------------+-----------------+
//! ```
//!
//! `length` counts what follows it. It is checked as soon as its four bytes are there, so a frame
//! that is too long costs nothing; the type is checked as soon as the header is complete.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;

use super::cursor::Cursor;

/// Bytes of the length field, which doesn't count itself.
pub const LENGTH_BYTES: usize = 4;
/// Bytes before the payload: length, type, correlation id.
pub const HEADER_BYTES: usize = 13;
/// The smallest valid length: type and correlation id without a payload.
pub const LENGTH_MIN: usize = 9;
/// The greatest valid length, 16 MiB.
pub const LENGTH_MAX: usize = 16 * 1024 * 1024;

/// The types of frames that a version of the protocol knows.
pub trait FrameTable: Copy {
    /// The type that `number` stands for on the wire, if it stands for one.
    fn from_number(number: u8) -> Option<Self>;

    /// The number that stands for it on the wire.
    fn number(self) -> u8;
}

macro_rules! frame_types {
    ($($(#[$doc:meta])+ $variant:ident = $value:literal, $name:literal;)+) => {
        /// What a frame is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum FrameType { $($(#[$doc])+ $variant = $value,)+ }

        impl FrameType {
            /// Every type, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The type that `number` stands for on the wire, if it stands for one.
            pub const fn from_u8(number: u8) -> Option<Self> {
                match number { $($value => Some(Self::$variant),)+ _ => None }
            }

            /// The number that stands for it on the wire.
            pub const fn as_u8(self) -> u8 {
                self as u8
            }

            /// Its name as documents and error texts write it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }

        impl $crate::binary::frame::FrameTable for FrameType {
            fn from_number(number: u8) -> Option<Self> {
                Self::from_u8(number)
            }

            fn number(self) -> u8 {
                self.as_u8()
            }
        }

        impl std::fmt::Display for FrameType {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
pub(crate) use frame_types;

frame_types! {
    /// Client to server: which version the client speaks.
    Hello = 0x01, "HELLO";
    /// Client to server: who the client is.
    Auth = 0x02, "AUTH";
    /// Both ways: a message.
    Publish = 0x03, "PUBLISH";
    /// Client to server: send me what is published to a topic.
    Subscribe = 0x04, "SUBSCRIBE";
    /// Client to server: a delivery is dealt with. Server to client: done.
    Ack = 0x05, "ACK";
    /// Server to client: refused.
    Nack = 0x06, "NACK";
    /// Client to server: answer when everything before this is done.
    Ping = 0x07, "PING";
    /// Server to client: the answer to a PING.
    Pong = 0x08, "PONG";
    /// Client to server: give me the next message of a subscription.
    Poll = 0x09, "POLL";
}

/// A whole frame with a payload of its own, of version 1 unless `T` says otherwise.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame<T = FrameType> {
    /// What it is, and so how its payload reads.
    pub msg_type: T,
    /// Chosen by the sender; an answer repeats it. On a delivery at least once, the delivery tag.
    pub correlation_id: u64,
    /// The rest.
    pub payload: Bytes,
}

impl<T: fmt::Debug> fmt::Debug for Frame<T> {
    /// Shows the payload's length only: it may be a key or somebody's message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("msg_type", &self.msg_type)
            .field("correlation_id", &self.correlation_id)
            .field("payload_bytes", &self.payload.len())
            .finish()
    }
}

/// A frame where it lies in a buffer; nothing is copied.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FrameRef<'a, T = FrameType> {
    /// What it is, and so how its payload reads.
    pub msg_type: T,
    /// Chosen by the sender.
    pub correlation_id: u64,
    /// The rest.
    pub payload: &'a [u8],
}

impl<T> FrameRef<'_, T> {
    /// Bytes of the whole frame, length field included.
    pub const fn wire_bytes(&self) -> usize {
        HEADER_BYTES + self.payload.len()
    }
}

/// The fixed part of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<T = FrameType> {
    /// What it is.
    pub msg_type: T,
    /// Chosen by the sender.
    pub correlation_id: u64,
    /// Bytes that follow the header.
    pub payload_bytes: usize,
}

/// Why a frame could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameEncodeError {
    /// The frame would be longer than [`LENGTH_MAX`].
    #[error("a frame of {length} bytes is longer than the {LENGTH_MAX} that are allowed")]
    FrameTooLong {
        /// What would stand in its length field.
        length: usize,
    },
    /// A topic, key or message text is longer than its length field can say.
    #[error("the {field} has {bytes} bytes, at most 65535 are allowed")]
    FieldTooLong {
        /// Which field.
        field: &'static str,
        /// Its length.
        bytes: usize,
    },
}

/// Why bytes are not a frame, or a frame's payload not what its type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameDecodeError {
    /// The length field leaves no room for type and correlation id.
    #[error("a frame's length is {length}, below the {LENGTH_MIN} of an empty one")]
    TooShort {
        /// The length field.
        length: usize,
    },
    /// The length field is above what is allowed here.
    #[error("a frame's length is {length}, above the {max} that are allowed")]
    TooLong {
        /// The length field.
        length: usize,
        /// What is allowed.
        max: usize,
    },
    /// No frame has this type.
    #[error("there is no frame type {number:#04x}")]
    UnknownType {
        /// The type field.
        number: u8,
        /// The frame's correlation id.
        correlation_id: u64,
    },
    /// The payload ends early, goes on too long, or has a text that is not UTF-8.
    #[error("invalid {0} payload")]
    Payload(FrameType),
}

/// Reads the header of the frame that `buffer` begins with; `None` until it is complete.
///
/// # Errors
/// The length is below [`LENGTH_MIN`] or above `length_max` (seen from the fourth byte on), or the
/// type is unknown.
pub fn peek_header(buffer: &[u8], length_max: usize) -> Result<Option<Header>, FrameDecodeError> {
    peek_header_of(buffer, length_max)
}

/// [`peek_header`] by the table of another version.
///
/// # Errors
/// As there.
pub fn peek_header_of<T: FrameTable>(
    buffer: &[u8],
    length_max: usize,
) -> Result<Option<Header<T>>, FrameDecodeError> {
    let mut cursor = Cursor::new(buffer);
    let Some(length) = cursor.u32() else { return Ok(None) };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length < LENGTH_MIN {
        return Err(FrameDecodeError::TooShort { length });
    }
    if length > length_max {
        return Err(FrameDecodeError::TooLong { length, max: length_max });
    }
    let (Some(number), Some(correlation_id)) = (cursor.u8(), cursor.u64()) else {
        return Ok(None);
    };
    let Some(msg_type) = T::from_number(number) else {
        return Err(FrameDecodeError::UnknownType { number, correlation_id });
    };
    Ok(Some(Header { msg_type, correlation_id, payload_bytes: length - LENGTH_MIN }))
}

/// Reads the frame that `buffer` begins with, in place; `None` until it is complete.
///
/// # Errors
/// As [`peek_header`].
pub fn peek_frame(
    buffer: &[u8],
    length_max: usize,
) -> Result<Option<FrameRef<'_>>, FrameDecodeError> {
    peek_frame_of(buffer, length_max)
}

/// [`peek_frame`] by the table of another version.
///
/// # Errors
/// As [`peek_header`].
pub fn peek_frame_of<T: FrameTable>(
    buffer: &[u8],
    length_max: usize,
) -> Result<Option<FrameRef<'_, T>>, FrameDecodeError> {
    let Some(header) = peek_header_of(buffer, length_max)? else { return Ok(None) };
    let Some((_, rest)) = buffer.split_at_checked(HEADER_BYTES) else { return Ok(None) };
    let Some((payload, _)) = rest.split_at_checked(header.payload_bytes) else { return Ok(None) };
    let Header { msg_type, correlation_id, .. } = header;
    Ok(Some(FrameRef { msg_type, correlation_id, payload }))
}

/// Takes the frame that `buffer` begins with, without copying its payload; `None`, and `buffer`
/// as it was, until it is complete. Reserves nothing.
///
/// # Errors
/// As [`peek_header`]; the buffer is left as it was, and the stream can't be read on.
pub fn decode_frame(
    buffer: &mut BytesMut,
    length_max: usize,
) -> Result<Option<Frame>, FrameDecodeError> {
    decode_frame_of(buffer, length_max)
}

/// [`decode_frame`] by the table of another version.
///
/// # Errors
/// As [`decode_frame`].
pub fn decode_frame_of<T: FrameTable>(
    buffer: &mut BytesMut,
    length_max: usize,
) -> Result<Option<Frame<T>>, FrameDecodeError> {
    let Some(frame) = peek_frame_of(buffer, length_max)? else { return Ok(None) };
    let FrameRef { msg_type, correlation_id, .. } = frame;
    let mut payload = buffer.split_to(frame.wire_bytes());
    payload.advance(HEADER_BYTES);
    Ok(Some(Frame { msg_type, correlation_id, payload: payload.freeze() }))
}

/// [`decode_frame`] with the protocol's own maximum, [`LENGTH_MAX`].
///
/// # Errors
/// As [`decode_frame`].
pub fn try_decode_frame(buffer: &mut BytesMut) -> Result<Option<Frame>, FrameDecodeError> {
    decode_frame(buffer, LENGTH_MAX)
}

/// Appends a frame to `out`.
///
/// # Errors
/// The frame would be longer than [`LENGTH_MAX`]; nothing is appended then.
pub fn encode_frame(frame: &Frame, out: &mut BytesMut) -> Result<(), FrameEncodeError> {
    out.reserve(HEADER_BYTES + frame.payload.len().min(LENGTH_MAX));
    put_header(out, frame.msg_type, frame.correlation_id, frame.payload.len())?;
    out.put_slice(&frame.payload);
    Ok(())
}

/// Appends the header of a frame whose payload, of so many bytes, the caller appends next.
///
/// # Errors
/// The frame would be longer than [`LENGTH_MAX`]; nothing is appended then.
pub fn put_header<T: FrameTable>(
    out: &mut BytesMut,
    msg_type: T,
    correlation_id: u64,
    payload_bytes: usize,
) -> Result<(), FrameEncodeError> {
    let length = payload_bytes.saturating_add(LENGTH_MIN);
    let field = u32::try_from(length).ok().filter(|_| length <= LENGTH_MAX);
    let Some(field) = field else { return Err(FrameEncodeError::FrameTooLong { length }) };
    out.put_u32(field);
    out.put_u8(msg_type.number());
    out.put_u64(correlation_id);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_numbers_go_both_ways() {
        for number in 0..=u8::MAX {
            let known = FrameType::from_u8(number);
            assert_eq!(known.is_some(), (0x01..=0x09).contains(&number), "{number}");
            assert_eq!(known.map_or(number, FrameType::as_u8), number);
        }
        assert_eq!(FrameType::ALL.len(), 9);
    }

    #[test]
    #[rustfmt::skip]
    fn lengths_are_judged_from_the_fourth_byte_on() {
        type Seen = Result<Option<Header>, FrameDecodeError>;
        let cases: [(&[u8], Seen); 8] = [
            (&[],                        Ok(None)),
            (&[0xff, 0xff, 0xff],        Ok(None)),
            (&[0, 0, 0, 0],              Err(FrameDecodeError::TooShort { length: 0 })),
            (&[0, 0, 0, 8],              Err(FrameDecodeError::TooShort { length: 8 })),
            (&[0, 0, 0, 9],              Ok(None)),
            (&[0x01, 0, 0, 0],           Ok(None)),
            (&[0x01, 0, 0, 1],           Err(FrameDecodeError::TooLong { length: LENGTH_MAX + 1, max: LENGTH_MAX })),
            (&[0xff, 0xff, 0xff, 0xff],  Err(FrameDecodeError::TooLong { length: 0xffff_ffff, max: LENGTH_MAX })),
        ];
        for (bytes, expected) in cases {
            assert_eq!(peek_header(bytes, LENGTH_MAX), expected, "{bytes:?}");
        }
    }

    #[test]
    fn an_unknown_type_is_told_with_its_correlation_id() {
        let frame = [0, 0, 0, 9, 0x2a, 0, 0, 0, 0, 0, 0, 0, 7];
        let expected = FrameDecodeError::UnknownType { number: 0x2a, correlation_id: 7 };
        assert_eq!(peek_header(&frame, LENGTH_MAX), Err(expected));
        assert_eq!(peek_header(&frame[..12], LENGTH_MAX), Ok(None));
    }

    #[test]
    fn an_announced_length_reserves_nothing() {
        let mut buffer = BytesMut::from(&[0x01, 0, 0, 0, 0x03][..]);
        let before = buffer.capacity();
        assert_eq!(try_decode_frame(&mut buffer), Ok(None));
        assert_eq!((buffer.len(), buffer.capacity()), (5, before));
    }

    #[test]
    fn a_frame_may_be_as_long_as_the_maximum_and_no_longer() {
        let mut frame = Frame {
            msg_type: FrameType::Publish,
            correlation_id: 1,
            payload: vec![0; LENGTH_MAX - LENGTH_MIN].into(),
        };
        let mut out = BytesMut::new();
        encode_frame(&frame, &mut out).unwrap();
        assert_eq!(try_decode_frame(&mut out).unwrap().as_ref(), Some(&frame));
        assert!(out.is_empty());

        frame.payload = vec![0; LENGTH_MAX - LENGTH_MIN + 1].into();
        let expected = FrameEncodeError::FrameTooLong { length: LENGTH_MAX + 1 };
        assert_eq!(encode_frame(&frame, &mut out), Err(expected));
        assert!(out.is_empty());
    }

    #[test]
    fn debug_shows_no_payload() {
        let payload = Bytes::from_static(b"secret");
        let frame = Frame { msg_type: FrameType::Auth, correlation_id: 2, payload };
        assert!(!format!("{frame:?}").contains("secret"));
    }
}
