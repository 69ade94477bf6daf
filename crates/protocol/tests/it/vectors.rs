//! The documented frames, byte for byte, both ways.

use bytes::{Bytes, BytesMut};
use sluice_protocol::binary::v1::{put_ack, put_nack, put_pong, put_publish_head};
use sluice_protocol::{
    AckPayload, AuthPayload, Frame, FrameType, HelloPayload, NackPayload, PollPayload,
    PublishPayload, SubscribePayload, encode_frame, try_decode_frame,
};

/// The name and the bytes of each line.
fn vectors() -> Vec<(&'static str, Vec<u8>)> {
    let lines = include_str!("../../testdata/v1.txt").lines();
    lines
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (name, hex) = line.split_once("  ").expect("two blanks before the bytes");
            let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
            let bytes = digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8);
            (name, bytes.collect())
        })
        .collect()
}

fn frame(msg_type: FrameType, correlation_id: u64, payload: Bytes) -> Frame {
    Frame { msg_type, correlation_id, payload }
}

/// What the lines stand for, in their order.
fn frames() -> Vec<Frame> {
    let topic = || "demo".to_owned();
    let publish = PublishPayload { topic: topic(), qos: 1, message: Bytes::from_static(b"hi") };
    let nack = NackPayload { code: 404, message: "no".to_owned() };
    let auth = AuthPayload { api_key: "dev-key".to_owned() };
    let subscribe = SubscribePayload { topic: topic(), qos: 1 };
    vec![
        frame(FrameType::Hello, 1, HelloPayload { protocol_version: 1 }.encode()),
        frame(FrameType::Auth, 2, auth.encode().unwrap()),
        frame(FrameType::Subscribe, 3, subscribe.encode().unwrap()),
        frame(FrameType::Publish, 4, publish.encode().unwrap()),
        frame(FrameType::Ack, 3, AckPayload { subscription_id: 42 }.encode().unwrap()),
        frame(FrameType::Poll, 5, PollPayload { subscription_id: 42 }.encode().unwrap()),
        frame(FrameType::Ping, 6, Bytes::new()),
        frame(FrameType::Pong, 6, Bytes::new()),
        frame(FrameType::Nack, 7, nack.encode().unwrap()),
    ]
}

#[test]
fn frames_are_encoded_and_decoded_byte_for_byte() {
    let (vectors, frames) = (vectors(), frames());
    assert_eq!(vectors.len(), frames.len());
    for ((name, bytes), frame) in vectors.into_iter().zip(frames) {
        let mut out = BytesMut::new();
        encode_frame(&frame, &mut out).unwrap();
        assert_eq!(out, bytes, "{name}");
        assert_eq!(try_decode_frame(&mut out).unwrap(), Some(frame), "{name}");
        assert!(out.is_empty(), "{name}");
    }
}

#[test]
fn payloads_are_read_as_they_were_meant() {
    let payloads: Vec<Bytes> = frames().into_iter().map(|frame| frame.payload).collect();
    assert_eq!(HelloPayload::decode(&payloads[0]).unwrap().protocol_version, 1);
    assert_eq!(AuthPayload::decode(&payloads[1]).unwrap().api_key, "dev-key");
    let subscribe = SubscribePayload { topic: "demo".to_owned(), qos: 1 };
    assert_eq!(SubscribePayload::decode(&payloads[2]).unwrap(), subscribe);
    let message = Bytes::from_static(b"hi");
    let publish = PublishPayload { topic: "demo".to_owned(), qos: 1, message };
    assert_eq!(PublishPayload::decode(&payloads[3]).unwrap(), publish);
    assert_eq!(AckPayload::decode(&payloads[4]).unwrap().subscription_id, 42);
    assert_eq!(PollPayload::decode(&payloads[5]).unwrap().subscription_id, 42);
    let nack = NackPayload { code: 404, message: "no".to_owned() };
    assert_eq!(NackPayload::decode(&payloads[8]).unwrap(), nack);
}

#[test]
fn the_writers_of_the_server_make_the_same_bytes() {
    let mut out = BytesMut::new();
    put_publish_head(&mut out, 4, 1, b"demo", 2).unwrap();
    out.extend_from_slice(b"hi");
    put_ack(&mut out, 3, 42);
    put_pong(&mut out, 6);
    put_nack(&mut out, 7, 404, "no");
    let vectors = vectors();
    let expected = [3, 4, 7, 8].map(|at: usize| vectors[at].1.clone()).concat();
    assert_eq!(out, expected);
}

#[test]
fn a_stream_split_at_any_byte_reads_the_same() {
    let stream: Vec<u8> = vectors().into_iter().flat_map(|(_, bytes)| bytes).collect();
    for at in 0..=stream.len() {
        let (mut buffer, mut read) = (BytesMut::new(), Vec::new());
        for part in [&stream[..at], &stream[at..]] {
            buffer.extend_from_slice(part);
            while let Some(frame) = try_decode_frame(&mut buffer).unwrap() {
                read.push(frame);
            }
        }
        assert_eq!(read, frames(), "split at {at}");
        assert!(buffer.is_empty());
    }
}

#[test]
fn a_payload_cut_short_or_gone_on_is_invalid() {
    for (frame, (name, _)) in frames().into_iter().zip(vectors()) {
        let payload = frame.payload;
        let longer = Bytes::from([&payload[..], b"x"].concat());
        for cut in (0..payload.len()).map(|end| payload.slice(..end)).chain([longer.clone()]) {
            let refused = match frame.msg_type {
                FrameType::Hello => HelloPayload::decode(&cut).is_err(),
                FrameType::Auth => AuthPayload::decode(&cut).is_err(),
                FrameType::Subscribe => SubscribePayload::decode(&cut).is_err(),
                // A message may have any length, so a PUBLISH is whole once its topic is.
                FrameType::Publish => PublishPayload::decode(&cut).is_err() || cut.len() >= 7,
                FrameType::Ack => AckPayload::decode(&cut).is_err(),
                FrameType::Poll => PollPayload::decode(&cut).is_err(),
                FrameType::Nack => NackPayload::decode(&cut).is_err(),
                FrameType::Ping | FrameType::Pong => true,
            };
            assert!(refused, "{name} with {} payload bytes", cut.len());
        }
    }
}

#[test]
fn texts_must_be_utf8_and_fit_their_length_field() {
    assert!(AuthPayload::decode(&Bytes::from_static(&[0, 1, 0xff])).is_err());
    assert!(PublishPayload::decode(&Bytes::from_static(&[0, 0, 1, 0xff])).is_err());
    assert!(SubscribePayload::decode(&Bytes::from_static(&[0, 1, 0xff, 0])).is_err());
    let long = "x".repeat(65_536);
    assert!(AuthPayload { api_key: long.clone() }.encode().is_err());
    assert!(SubscribePayload { topic: long.clone(), qos: 0 }.encode().is_err());
    let publish = PublishPayload { topic: long.clone(), qos: 0, message: Bytes::new() };
    assert!(publish.encode().is_err());
    assert!(NackPayload { code: 400, message: long.clone() }.encode().is_err());

    let mut out = BytesMut::new();
    put_nack(&mut out, 1, 400, &long);
    let cut = try_decode_frame(&mut out).unwrap().unwrap();
    assert_eq!(NackPayload::decode(&cut.payload).unwrap().message.len(), 65_535);
}

#[test]
fn a_later_version_may_say_more_in_its_hello() {
    let hello = HelloPayload::decode(&Bytes::from_static(&[0, 2, 9, 9, 9])).unwrap();
    assert_eq!(hello.protocol_version, 2);
}

#[test]
fn the_document_shows_the_same_vectors() {
    let document = include_str!("../../../../docs/protocol/binary.md");
    let lines = include_str!("../../testdata/v1.txt").lines();
    for line in lines.filter(|line| !line.starts_with('#')) {
        assert!(document.contains(line), "{line}");
    }
}
