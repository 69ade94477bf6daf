//! Bytes that nobody meant: decoders answer, they never panic, and they read what was written.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use sluice_protocol::binary::frame::{decode_frame, peek_frame};
use sluice_protocol::line::{self, looks_like_http};
use sluice_protocol::line::{Line, LineDecoder};
use sluice_protocol::{
    AckPayload, AuthPayload, Frame, FrameType, HelloPayload, NackPayload, PollPayload,
    PublishPayload, SubscribePayload, encode_frame, try_decode_frame,
};

fn any_frame() -> impl Strategy<Value = Frame> {
    let payload = prop::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
    (prop::sample::select(FrameType::ALL), any::<u64>(), payload)
        .prop_map(|(msg_type, correlation_id, payload)| Frame { msg_type, correlation_id, payload })
}

/// Bytes that often begin like a frame.
fn any_stream() -> impl Strategy<Value = Vec<u8>> {
    let noise = prop::collection::vec(any::<u8>(), 0..200);
    let near_frame = (0u32..64, 0u8..12, prop::collection::vec(any::<u8>(), 0..100)).prop_map(
        |(length, number, rest)| [&length.to_be_bytes()[..], &[number], &rest[..]].concat(),
    );
    prop_oneof![noise, near_frame]
}

proptest! {
    #[test]
    fn any_stream_is_read_or_refused(stream in any_stream(), length_max in 0usize..100) {
        let mut buffer = BytesMut::from(&stream[..]);
        while let Ok(Some(frame)) = decode_frame(&mut buffer, length_max) {
            prop_assert!(frame.payload.len() + 9 <= length_max);
        }
    }

    #[test]
    fn any_payload_is_read_or_refused(payload in prop::collection::vec(any::<u8>(), 0..80)) {
        let payload = Bytes::from(payload);
        let _ = HelloPayload::decode(&payload);
        let _ = AuthPayload::decode(&payload);
        let _ = PublishPayload::decode(&payload);
        let _ = SubscribePayload::decode(&payload);
        let _ = PollPayload::decode(&payload);
        let _ = AckPayload::decode(&payload);
        let _ = NackPayload::decode(&payload);
    }

    #[test]
    fn frames_come_back_as_they_were_written(
        frames in prop::collection::vec(any_frame(), 0..8),
        step in 1usize..64,
    ) {
        let mut stream = BytesMut::new();
        for frame in &frames {
            encode_frame(frame, &mut stream).unwrap();
        }
        let (mut buffer, mut read) = (BytesMut::new(), Vec::new());
        for part in stream.chunks(step) {
            buffer.extend_from_slice(part);
            while let Some(frame) = try_decode_frame(&mut buffer).unwrap() {
                read.push(frame);
            }
        }
        prop_assert_eq!(read, frames);
        prop_assert!(buffer.is_empty());
    }

    #[test]
    fn a_frame_in_place_is_the_frame_that_is_taken(stream in any_stream()) {
        let seen = peek_frame(&stream, 1_000)
            .map(|frame| frame.map(|frame| (frame.correlation_id, frame.payload.to_vec())));
        let taken = decode_frame(&mut BytesMut::from(&stream[..]), 1_000)
            .map(|frame| frame.map(|frame| (frame.correlation_id, frame.payload.to_vec())));
        prop_assert_eq!(seen, taken);
    }

    #[test]
    fn publishes_come_back_as_they_were_written(
        topic in ".{0,40}",
        qos: u8,
        message in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let publish = PublishPayload { topic, qos, message: message.into() };
        prop_assert_eq!(PublishPayload::decode(&publish.encode().unwrap()).unwrap(), publish);
    }

    #[test]
    fn other_payloads_come_back_as_they_were_written(text in ".{0,40}", id: u64, number: u16) {
        let auth = AuthPayload { api_key: text.clone() };
        prop_assert_eq!(AuthPayload::decode(&auth.encode().unwrap()).unwrap(), auth);
        let subscribe = SubscribePayload { topic: text.clone(), qos: number as u8 };
        let encoded = subscribe.encode().unwrap();
        prop_assert_eq!(SubscribePayload::decode(&encoded).unwrap(), subscribe);
        let nack = NackPayload { code: number, message: text };
        prop_assert_eq!(NackPayload::decode(&nack.encode().unwrap()).unwrap(), nack);
        let hello = HelloPayload { protocol_version: number };
        prop_assert_eq!(HelloPayload::decode(&hello.encode()).unwrap(), hello);
        let (poll, ack) = (PollPayload { subscription_id: id }, AckPayload { subscription_id: id });
        prop_assert_eq!(PollPayload::decode(&poll.encode().unwrap()).unwrap(), poll);
        prop_assert_eq!(AckPayload::decode(&ack.encode().unwrap()).unwrap(), ack);
    }

    #[test]
    fn lines_are_cut_as_a_simple_reader_would(
        stream in prop::collection::vec(prop::sample::select(&b"ab \r\n\n"[..]), 0..80),
        step in 1usize..20,
        bytes_max in 0usize..10,
    ) {
        let mut expected: Vec<_> = stream.split(|&byte| byte == b'\n').map(|line| {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.len() <= bytes_max {
                Line::Whole(Bytes::copy_from_slice(line))
            } else {
                Line::TooLong
            }
        }).collect();
        let unfinished = stream.rsplit(|&byte| byte == b'\n').next().unwrap_or_default();
        if unfinished.len() <= bytes_max + 1 {
            expected.pop();
        }

        let mut decoder = LineDecoder::new(bytes_max);
        let (mut buffer, mut lines) = (BytesMut::new(), Vec::new());
        for part in stream.chunks(step) {
            buffer.extend_from_slice(part);
            while let Some(line) = decoder.decode(&mut buffer) {
                lines.push(line);
            }
        }
        prop_assert_eq!(lines, expected);
    }

    #[test]
    fn any_line_is_a_request_or_not(line in prop::collection::vec(any::<u8>(), 0..40)) {
        let asked = line::read(&line);
        if let Err(refusal) = asked.ask {
            prop_assert!(!asked.form.refused(&refusal).contains(char::is_control));
        }
        let _ = looks_like_http(&line, line.len() % 2 == 0);
    }
}
