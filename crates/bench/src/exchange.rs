//! One request and its answer, as bytes, so that the same loop can drive different servers.

use std::io;

use bytes::{Bytes, BytesMut};
use sluice_protocol::binary::frame::{HEADER_BYTES, peek_frame};
use sluice_protocol::{
    Frame, FrameEncodeError, FrameType, NackPayload, PublishPayload, encode_frame,
};

use crate::v1::ClientError;

/// A request that is sent again and again, and the answer that confirms it.
#[derive(Clone, Debug)]
pub struct Exchange {
    request: Vec<u8>,
    /// Where in the request its number goes, big-endian.
    numbers: Vec<usize>,
    answer: Answer,
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    /// A null server's: any byte.
    Byte,
    /// A PONG with the request's number.
    Pong,
}

impl Exchange {
    /// A publish at QoS 1 with a PING behind it, whose PONG confirms it: version 1 has no
    /// confirms of its own.
    ///
    /// # Errors
    /// The message does not fit a frame.
    pub fn publish(topic: &str, message: &[u8]) -> Result<Self, FrameEncodeError> {
        let message = Bytes::copy_from_slice(message);
        let payload = PublishPayload { topic: topic.to_owned(), qos: 1, message }.encode()?;
        let mut frames = BytesMut::new();
        let mut put = |msg_type, payload| {
            encode_frame(&Frame { msg_type, correlation_id: 0, payload }, &mut frames)?;
            Ok::<_, FrameEncodeError>(frames.len())
        };
        let ping = put(FrameType::Publish, payload)?;
        put(FrameType::Ping, Bytes::new())?;
        let request = frames.to_vec();
        // Length and type go before the number.
        let numbers = vec![HEADER_BYTES - 8, ping + HEADER_BYTES - 8];
        Ok(Self { request, numbers, answer: Answer::Pong })
    }

    /// The same request to a server that answers one byte.
    #[must_use]
    pub fn answered_by_a_byte(&self) -> Self {
        Self { answer: Answer::Byte, ..self.clone() }
    }

    /// Bytes of a request.
    pub fn request_bytes(&self) -> usize {
        self.request.len()
    }

    /// Appends request `number`.
    pub(crate) fn put(&self, number: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.request);
        for at in &self.numbers {
            let at = start + at;
            out[at..at + 8].copy_from_slice(&number.to_be_bytes());
        }
    }

    /// Reads the answer to request `number` from the front of `input`: its bytes, none if it is
    /// not all there.
    pub(crate) fn answer(&self, number: u64, input: &[u8]) -> io::Result<Option<usize>> {
        match self.answer {
            Answer::Byte => Ok((!input.is_empty()).then_some(1)),
            Answer::Pong => pong(number, input),
        }
    }
}

fn pong(number: u64, input: &[u8]) -> io::Result<Option<usize>> {
    let frame = peek_frame(input, 1 << 20).map_err(io::Error::other)?;
    let Some(frame) = frame else { return Ok(None) };
    match frame.msg_type {
        FrameType::Pong if frame.correlation_id == number => Ok(Some(frame.wire_bytes())),
        FrameType::Nack => {
            let payload = Bytes::copy_from_slice(frame.payload);
            let nack = NackPayload::decode(&payload).map_err(io::Error::other)?;
            Err(io::Error::other(ClientError::Refused(nack)))
        }
        other => Err(io::Error::other(format!(
            "{other} {} where PONG {number} was due",
            frame.correlation_id
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_publish_and_a_ping_with_its_number() {
        let exchange = Exchange::publish("bench", &[7; 100]).unwrap();
        let mut out = Vec::new();
        exchange.put(0x0102_0304, &mut out);
        let publish = peek_frame(&out, 1 << 20).unwrap().unwrap();
        assert_eq!((publish.msg_type, publish.correlation_id), (FrameType::Publish, 0x0102_0304));
        let rest = &out[publish.wire_bytes()..];
        let ping = peek_frame(rest, 1 << 20).unwrap().unwrap();
        assert_eq!((ping.msg_type, ping.correlation_id), (FrameType::Ping, 0x0102_0304));
        assert_eq!(publish.wire_bytes() + ping.wire_bytes(), exchange.request_bytes());
    }

    #[test]
    fn only_the_pong_that_is_due_confirms() {
        let exchange = Exchange::publish("bench", b"x").unwrap();
        let pong = [0, 0, 0, 9, FrameType::Pong.as_u8(), 0, 0, 0, 0, 0, 0, 0, 7];
        assert_eq!(exchange.answer(7, &pong).unwrap(), Some(13));
        assert_eq!(exchange.answer(7, &pong[..12]).unwrap(), None);
        assert!(exchange.answer(8, &pong).is_err());
        assert_eq!(exchange.answered_by_a_byte().answer(8, &pong).unwrap(), Some(1));
    }
}
