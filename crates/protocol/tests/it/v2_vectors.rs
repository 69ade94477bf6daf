//! Version 2's documented frames, byte for byte, both ways.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sluice_model::{
    Block, BlockBuilder, Code, Entry, Extras, Generation, Key, Lane, LeaseId, Level, MessageId,
    Published, Qos, QueueNo, Refusal, Revision, Seq, Timestamp, Value, ValueKind, WatchEvent,
};
use sluice_protocol::binary::frame::{FrameRef, LENGTH_MAX, peek_frame_of};
use sluice_protocol::binary::v2::{
    Cancel, ChangesWriter, ClientFrame, ConsumeRef, ControlRef, Credit, DecodeError, Deliver,
    DeliverHead, DeliverWriter, DeliveryHead, Fault, FrameType, Hello, LeaseSet, NEXT_UNKNOWN,
    PublishHead, PublishRef, PublishWriter, Receipt, ReceiptWriter, ReceiveRef, ServerFrame,
    SettleHead, SettledWriter, Settlement, Source, SubscribeRef, TagRange, WatchRef, Watching,
    Welcome, put_auth, put_confirm, put_consuming, put_deliver_block_head, put_deliver_one_head,
    put_empty, put_error, put_extend, put_gap, put_going, put_ok, put_ping, put_pong,
    put_publish_one_head, put_result,
};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// The name and the bytes of each frame.
pub(crate) fn vectors() -> Vec<(&'static str, Vec<u8>)> {
    let mut all: Vec<(&str, Vec<u32>)> = Vec::new();
    for line in include_str!("../../testdata/v2.txt").lines().filter(|line| !line.starts_with('#'))
    {
        let (name, hex) = line.split_once("  ").expect("two blanks before the bytes");
        if !name.is_empty() {
            all.push((name, Vec::new()));
        }
        let digits = hex.chars().filter_map(|digit| digit.to_digit(16));
        all.last_mut().expect("the first line has a name").1.extend(digits);
    }
    let bytes = |digits: Vec<u32>| {
        digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect::<Vec<_>>()
    };
    all.into_iter().map(|(name, digits)| (name, bytes(digits))).collect()
}

pub(crate) fn frame(bytes: &[u8]) -> FrameRef<'_, FrameType> {
    peek_frame_of(bytes, LENGTH_MAX).expect("a frame").expect("a whole frame")
}

fn lease() -> LeaseId {
    LeaseId {
        queue: QueueNo(3),
        seq: Seq(9),
        generation: Generation { start: 1, counter: 5 },
        secret: 0x0123_4567_89ab_cdef,
    }
}

fn extras() -> Extras {
    Extras {
        headers: vec![("k".to_owned(), "v".to_owned())],
        ttl: Some(Duration::from_millis(300)),
        lane: Lane { priority: 9, ..Lane::default() },
        ..Extras::default()
    }
}

fn delivery<'a>() -> DeliveryHead<'a> {
    DeliveryHead {
        redelivered: false,
        id: MessageId { start: 1, counter: 7 },
        published_at: NOW,
        deadline: NOW.after(Duration::from_secs(30)),
        attempt: 1,
        failures: 0,
        token: None,
        headers: &[],
        lane: None,
    }
}

/// One of each kind.
fn changes() -> [WatchEvent; 4] {
    let key = |name| Key::new(name).unwrap();
    let value = Value { kind: ValueKind::Text, bytes: "hi".into() };
    let (revision, expires_at) = (Revision(7), Some(NOW));
    [
        WatchEvent::Put(Entry { key: key("a"), value, revision, expires_at }),
        WatchEvent::Deleted { key: key("a"), revision: Revision(8) },
        WatchEvent::Expired { key: key("b"), revision: Revision(9) },
        WatchEvent::Gap { resumed_at: Revision(12) },
    ]
}

fn published() -> Published {
    let id = MessageId { start: 1, counter: 7 };
    Published { id, matched: 2, level: Some(Level::Sync), duplicate: false }
}

fn whole_to_queue() -> PublishHead<'static> {
    PublishHead {
        whole: true,
        to_queue: true,
        level: Some(Level::Sync),
        ..PublishHead::at_least_once("q")
    }
}

fn block() -> Block {
    let mut builder = BlockBuilder::default();
    builder.push(b"hi");
    builder.finish()
}

/// The frames of a client in the order of the vectors.
fn put_client(out: &mut BytesMut) {
    Hello { frame_max: 65_536, name: "c" }.put(out, 1).unwrap();
    put_auth(out, 2, "dev-key").unwrap();
    put_ping(out, 3);
    let head = PublishHead::at_most_once("a");
    let mut writer = PublishWriter::begin(out, 4, &head, LENGTH_MAX).unwrap();
    assert!(writer.push(b"hi") && writer.push_with(b"", None).unwrap());
    assert_eq!(writer.finish(), 2);
    let mut writer = PublishWriter::begin(out, 5, &whole_to_queue(), LENGTH_MAX).unwrap();
    assert!(writer.push_with(b"hi", Some(&extras())).unwrap());
    assert_eq!(writer.finish(), 1);
    let subscribe = SubscribeRef {
        qos: Qos::AtLeastOnce,
        push: true,
        name: "s",
        pattern: "a.*",
        credit: 100,
        lease_ms: 30_000,
        settings: Default::default(),
    };
    subscribe.put(out, 8, &[("max_len", "9")]).unwrap();
    ConsumeRef { queue: "q", credit: 100, lease_ms: 0 }.put(out, 9).unwrap();
    Credit { consumer: 42, messages: 64 }.put(out, 10);
    Cancel { consumer: 42 }.put(out, 11);
    let from = Source::Queue("q");
    let receive = ReceiveRef { max: 10, wait_ms: 1_000, lease_ms: 0, unbound: true, from };
    receive.put(out, 12).unwrap();
    let from = Source::Consumer(42);
    let receive = ReceiveRef { max: 1, wait_ms: 0, lease_ms: 5_000, unbound: false, from };
    receive.put(out, 13).unwrap();
    let ranges = [TagRange { first: 1, last: 9 }, TagRange::one(12)];
    SettleHead::ACK.put(out, 14, LeaseSet::Tags(&ranges)).unwrap();
    let (outcome, delay) = (Settlement::Failed, Some(Duration::from_secs(1)));
    let failed = SettleHead { report: true, outcome, delay, note: "e" };
    failed.put(out, 15, LeaseSet::Tokens(&[lease()])).unwrap();
    let (outcome, delay) = (Settlement::Throttled, Some(Duration::from_secs(30)));
    let throttled = SettleHead { report: false, outcome, delay, note: "k" };
    throttled.put(out, 15, LeaseSet::Tags(&[TagRange::one(3)])).unwrap();
    put_extend(out, 16, false, 30_000, LeaseSet::Tags(&[TagRange::one(10)])).unwrap();
    ControlRef { verb: "queue.stats", json: r#"{"queue":"q"}"# }.put(out, 17).unwrap();
    WatchRef { keys: "users^", below: true, from: None, credit: 100 }.put(out, 18).unwrap();
    let from = Some(Revision(7));
    WatchRef { keys: "motd", below: false, from, credit: 1 }.put(out, 19).unwrap();
}

fn put_welcome_to_error(out: &mut BytesMut) {
    let welcome = Welcome {
        frame_max: 16 << 20,
        message_max: 1 << 20,
        batch_max: 1_000,
        in_flight_max: 65_536,
        auth: true,
        broker: "sluice",
    };
    welcome.put(out, 1).unwrap();
    put_ok(out, 2);
    put_pong(out, 3);
    put_confirm(out, 5, Some(Level::Sync));
    let mut writer = ReceiptWriter::begin(out, 6, LENGTH_MAX).unwrap();
    let duplicate = Published { matched: 0, level: None, duplicate: true, ..published() };
    assert!(writer.push(&published()) && writer.push(&duplicate));
    let retry_after = Some(Duration::from_millis(50));
    assert!(writer.push_refused(&Refusal { retry_after, ..Refusal::new(Code::QueueFull, "full") }));
    assert_eq!(writer.finish(false), 3);
    put_error(out, 7, &Refusal::new(Code::NotFound, "no"));
    put_consuming(out, 9, 42);
    put_empty(out, 13, NEXT_UNKNOWN);
}

/// The frames of a broker in the order of the vectors.
fn put_server(out: &mut BytesMut) {
    put_welcome_to_error(out);
    let head = DeliverHead { pushed: true, topic: b"a", sender: b"me" };
    let mut writer = DeliverWriter::at_most_once(out, 42, &head, NOW, LENGTH_MAX).unwrap();
    assert!(writer.push_with(b"hi", &[]).unwrap());
    assert_eq!(writer.finish(true), 1, "nothing follows what is pushed");
    let head = DeliverHead { pushed: false, topic: b"a", sender: b"" };
    let mut writer = DeliverWriter::at_least_once(out, 13, &head, 300, LENGTH_MAX).unwrap();
    let again = DeliveryHead { redelivered: true, attempt: 2, failures: 1, ..delivery() };
    assert!(writer.push_delivery(&again, b"hi").unwrap());
    assert_eq!(writer.finish(true), 1);
    let head = DeliverHead { pushed: false, topic: b"q", sender: b"me" };
    let mut writer = DeliverWriter::at_least_once(out, 12, &head, 0, LENGTH_MAX).unwrap();
    let lane = Lane { group: Some("g".into()), cost: 200, ..Lane::default() };
    let unbound = DeliveryHead { token: Some(lease()), lane: Some(&lane), ..delivery() };
    assert!(writer.push_delivery(&unbound, b"hi").unwrap());
    assert_eq!(writer.finish(false), 1);
    put_gap(out, 42, 5);
    let none = Timestamp::EPOCH;
    let mut writer = SettledWriter::begin(out, 16, false, none, LENGTH_MAX).unwrap();
    assert!(writer.push_tag(10, Code::LeaseLost));
    assert_eq!(writer.finish(false), 1);
    let mut writer = SettledWriter::begin(out, 15, true, none, LENGTH_MAX).unwrap();
    assert!(writer.push_token(&lease(), Code::LeaseLost));
    assert_eq!(writer.finish(true), 1);
    put_result(out, 17, b"{}").unwrap();
    Watching { consumer: 43, revision: Revision(6) }.put(out, 18);
    let mut writer = ChangesWriter::begin(out, 43, LENGTH_MAX).unwrap();
    assert!(changes().iter().all(|event| writer.push(event)));
    assert_eq!(writer.finish(), 4);
    put_going(out, "drain");
}

fn is_clients(bytes: &[u8]) -> bool {
    let FrameRef { msg_type, payload, .. } = frame(bytes);
    ClientFrame::read(msg_type, payload, LENGTH_MAX).is_ok()
}

#[test]
fn frames_are_written_byte_for_byte() {
    for (clients, put) in [(true, put_client as fn(&mut BytesMut)), (false, put_server)] {
        let mut out = BytesMut::new();
        put(&mut out);
        for (name, bytes) in vectors() {
            if is_clients(&bytes) == clients {
                let length = out.len().min(bytes.len());
                assert_eq!(out.split_to(length), bytes, "{name}");
            }
        }
        assert!(out.is_empty());
    }
}

#[test]
fn every_type_has_a_vector_and_each_is_one_sides_to_send() {
    let vectors = vectors();
    for (name, bytes) in &vectors {
        let FrameRef { msg_type, payload, .. } = frame(bytes);
        assert!(name.starts_with(msg_type.name()), "{name}");
        let answer = ServerFrame::read(msg_type, payload);
        let direction = DecodeError::Direction { frame: msg_type };
        if is_clients(bytes) {
            assert_eq!(answer, Err(direction), "{name}");
        } else {
            answer.expect(name);
            let request = ClientFrame::read(msg_type, payload, LENGTH_MAX);
            assert_eq!(request, Err(direction), "{name}");
        }
    }
    // NACK is version 1's.
    for known in FrameType::ALL.iter().filter(|known| **known != FrameType::Nack) {
        assert!(vectors.iter().any(|(_, bytes)| bytes[4] == known.as_u8()), "{known}");
    }
}

#[test]
fn a_frame_cut_at_any_byte_is_incomplete_and_a_payload_invalid() {
    for (name, bytes) in vectors() {
        for cut in 0..bytes.len() {
            assert!(peek_frame_of::<FrameType>(&bytes[..cut], LENGTH_MAX) == Ok(None), "{name}");
        }
        let FrameRef { msg_type, payload, .. } = frame(&bytes);
        let longer = [payload, b"x"].concat();
        for cut in (0..payload.len()).map(|end| &payload[..end]).chain([&longer[..]]) {
            // JSON is not looked at, so these are whole once their verb is.
            let is_json = match msg_type {
                FrameType::Control => cut.len() >= 12,
                FrameType::Result => true,
                _ => false,
            };
            let refused = ClientFrame::read(msg_type, cut, LENGTH_MAX).is_err()
                && ServerFrame::read(msg_type, cut).is_err();
            assert_eq!(refused, !is_json, "{name} with {} payload bytes", cut.len());
        }
    }
}

#[test]
fn payloads_are_read_as_they_were_meant() {
    let vectors = vectors();
    let at = |name: &str| {
        let (_, bytes) = vectors.iter().find(|(seen, _)| seen.starts_with(name)).expect(name);
        frame(bytes).payload
    };
    let publish = PublishRef::read(at("PUBLISH QoS 1"), 2).unwrap();
    assert_eq!(publish.head, whole_to_queue());
    let message = publish.messages.iter().next().unwrap();
    assert_eq!((message.payload, message.at), (&b"hi"[..], 13));
    assert_eq!(message.extras.unwrap().to_model(), extras());
    assert!(!publish.messages.is_plain());
    let too_large = DecodeError::MessageTooLarge { index: 0, bytes: 2, max: 1 };
    assert_eq!(PublishRef::read(at("PUBLISH QoS 1"), 1), Err(too_large));
    assert_eq!(too_large.to_string(), "message 0 has 2 bytes, at most 1 are allowed");
    assert_eq!(too_large.code(), Code::TooLarge);

    let receipt = ServerFrame::read(FrameType::Receipt, at("RECEIPT"));
    let Ok(ServerFrame::Receipt(receipt)) = receipt else { panic!("{receipt:?}") };
    assert_eq!(receipt.iter().next(), Some(Receipt::Published(published())));

    let delivered = ServerFrame::read(FrameType::Deliver, at("DELIVER QoS 1, token"));
    let Ok(ServerFrame::Deliver(delivered)) = delivered else { panic!("{delivered:?}") };
    let Deliver::AtLeastOnce(deliveries) = delivered.messages else { panic!("{delivered:?}") };
    let first = deliveries.iter().next().unwrap();
    assert_eq!((first.token, first.payload), (Some(lease()), &b"hi"[..]));
    assert_eq!(first.extras.unwrap().to_model().lane.cost, 200);

    let told = ServerFrame::read(FrameType::Changes, at("CHANGES"));
    let Ok(ServerFrame::Changes(told)) = told else { panic!("{told:?}") };
    assert!(told.iter().map(|change| change.to_model().unwrap()).eq(changes()));
}

#[test]
fn what_comes_before_a_payload_can_be_written_alone() {
    let vectors = vectors();
    let at = |name: &str| {
        let (_, bytes) = vectors.iter().find(|(seen, _)| seen.starts_with(name)).expect(name);
        bytes.strip_suffix(b"hi").expect(name)
    };
    let mut out = BytesMut::new();
    put_publish_one_head(&mut out, 5, &whole_to_queue(), Some(&extras()), 2).unwrap();
    assert_eq!(out.split(), at("PUBLISH QoS 1"));
    let head = DeliverHead { pushed: false, topic: b"a", sender: b"" };
    let again = DeliveryHead { redelivered: true, attempt: 2, failures: 1, ..delivery() };
    put_deliver_one_head(&mut out, 13, &head, true, 300, &again, 2).unwrap();
    assert_eq!(out.split(), at("DELIVER QoS 1, tag"));
    let head = DeliverHead { pushed: true, topic: b"a", sender: b"me" };
    put_deliver_block_head(&mut out, 42, &head, false, NOW, &block()).unwrap();
    out.extend_from_slice(block().bytes());
    assert_eq!(out.split().strip_suffix(b"hi"), Some(at("DELIVER pushed")));
}

#[test]
#[rustfmt::skip]
fn what_means_nothing_is_refused_with_its_field() {
    let cases: [(FrameType, &[u8], &str); 24] = [
        (FrameType::Hello,     &[0, 1, 0, 0, 0, 0, 0],                "version has no meaning here"),
        (FrameType::Hello,     &[0, 2, 0, 0, 255, 255, 0],            "frame_max is out of range"),
        (FrameType::Publish,   &[16, 0, 0, 0, 1, 0],                  "flags has no meaning here"),
        (FrameType::Publish,   &[2, 0, 0, 0, 1, 0],                   "flags has no meaning here"),
        (FrameType::Publish,   &[1, 4, 0, 0, 1, 0],                   "level has no meaning here"),
        (FrameType::Publish,   &[0, 1, 0, 0, 1, 0],                   "level has no meaning here"),
        (FrameType::Publish,   &[1, 0, 1, 255, 0, 1, 0],              "destination is not UTF-8"),
        (FrameType::Publish,   &[1, 0, 0, 0, 0],                      "count is out of range"),
        (FrameType::Publish,   &[1, 0, 0, 0, 2, 0, 6, 1],             "payload of entry 1 ends early"),
        (FrameType::Publish,   &[1, 0, 0, 0, 1, 128, 0],              "head of entry 0 is not a number in its shortest form"),
        (FrameType::Publish,   &[1, 0, 0, 0, 1, 1, 1, 99],            "extras of entry 0 has no meaning here"),
        (FrameType::Publish,   &[1, 0, 0, 0, 1, 1, 4, 5, 1, 5, 1],    "extras of entry 0 is there twice"),
        (FrameType::Publish,   &[1, 0, 0, 0, 1, 1, 3, 9, 1, 255],     "dedupe id of entry 0 is not UTF-8"),
        (FrameType::Publish,   &[1, 0, 0, 0, 1, 0, 0],                "1 bytes follow its last field"),
        (FrameType::Subscribe, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "name has no meaning here"),
        (FrameType::Receive,   &[0, 0, 0],                            "max is out of range"),
        (FrameType::Settle,    &[0, 5],                               "outcome has no meaning here"),
        (FrameType::Settle,    &[2, 0],                               "flags has no meaning here"),
        (FrameType::Settle,    &[0, 0, 0, 0, 0, 1],                   "delay_ms has no meaning here"),
        (FrameType::Settle,    &[0, 0, 0, 0, 0, 0, 1, 65],            "note has no meaning here"),
        (FrameType::Settle,    &[0, 0, 0, 0, 0, 0, 0, 2],             "kind has no meaning here"),
        (FrameType::Control,   &[0, 255],                             "JSON is not UTF-8"),
        (FrameType::Watch,     &[4],                                  "flags has no meaning here"),
        (FrameType::Watch,     &[0, 0, 0, 0, 0, 0, 0, 0, 1],          "from has no meaning here"),
    ];
    for (frame, payload, expected) in cases {
        let error = ClientFrame::read(frame, payload, 64).unwrap_err();
        assert_eq!(error.to_string(), format!("invalid {frame}: {expected}"), "{payload:?}");
        assert_eq!(error.code(), Code::BadRequest);
    }
}

#[test]
fn ranges_go_forward_and_name_no_more_tags_than_a_frame_may() {
    let fault = |ranges: &[TagRange]| {
        let mut out = BytesMut::new();
        SettleHead::ACK.put(&mut out, 1, LeaseSet::Tags(ranges)).unwrap();
        match ClientFrame::read(FrameType::Settle, frame(&out).payload, 0) {
            Ok(_) => None,
            Err(DecodeError::Field { field, fault, .. }) => Some((field, fault)),
            Err(other) => panic!("{other}"),
        }
    };
    let range = |first, last| TagRange { first, last };
    assert_eq!(fault(&[range(1, 65_535)]), None);
    assert_eq!(fault(&[range(7, 7), range(u64::MAX - 65_533, u64::MAX)]), None);
    let wrong = Some(("range", Fault::Range));
    assert_eq!(fault(&[range(1, 65_536)]), wrong);
    assert_eq!(fault(&[range(7, 7), range(1, 65_535)]), wrong);
    assert_eq!(fault(&[range(0, u64::MAX)]), wrong);
    assert_eq!(fault(&[range(2, 1)]), wrong);
    assert_eq!(fault(&[]), Some(("count", Fault::Range)));
}

#[test]
fn texts_that_are_too_long_are_refused_or_cut_and_nothing_is_left_behind() {
    let (long, longer) = ("ä".repeat(200), "ä".repeat(40_000));
    let mut out = BytesMut::from(&b"before"[..]);
    assert!(Hello { frame_max: 0, name: &long }.put(&mut out, 1).is_err());
    assert!(put_auth(&mut out, 1, &longer).is_err());
    let head = PublishHead::at_most_once(&long);
    assert!(PublishWriter::begin(&mut out, 1, &head, LENGTH_MAX).is_err());
    assert!(put_publish_one_head(&mut out, 1, &head, None, 1).is_err());
    let head = PublishHead::at_most_once("a");
    assert!(put_publish_one_head(&mut out, 1, &head, None, LENGTH_MAX).is_err());
    let dedupe_id = Some(long.clone());
    let extras = Extras { dedupe_id, ..Extras::default() };
    let mut writer = PublishWriter::begin(&mut out, 1, &head, LENGTH_MAX).unwrap();
    assert!(writer.push(b"hi"));
    assert!(writer.push_with(b"", Some(&extras)).is_err());
    drop(writer);
    assert_eq!(&out[..], b"before");

    out.clear();
    put_error(&mut out, 1, &Refusal::new(Code::Internal, longer));
    let error = ServerFrame::read(FrameType::Error, frame(&out).payload);
    let Ok(ServerFrame::Error(error)) = error else { panic!("{error:?}") };
    assert_eq!(error.text.len(), 65_534);
    out.clear();
    put_going(&mut out, &long);
    let going = ServerFrame::read(FrameType::Going, frame(&out).payload).unwrap();
    assert_eq!(going, ServerFrame::Going(&long[..254]));
}

#[test]
fn the_key_is_not_shown() {
    let mut out = BytesMut::new();
    put_auth(&mut out, 1, "secret").unwrap();
    let auth = ClientFrame::read(FrameType::Auth, frame(&out).payload, 0).unwrap();
    assert_eq!(format!("{auth:?}"), "AUTH");
}

#[test]
fn a_plain_frame_gives_a_block_and_another_none() {
    let payload = Bytes::from(frame(&vectors()[6].1).payload.to_vec());
    let messages = PublishRef::read(&payload, 64).unwrap().messages;
    let block = messages.copied().unwrap();
    assert_eq!(block.payloads().collect::<Vec<_>>(), [&b"hi"[..], b""]);
    assert_eq!(messages.shared(&payload), Some(block));
    let payload = Bytes::from(frame(&vectors()[7].1).payload.to_vec());
    assert_eq!(PublishRef::read(&payload, 64).unwrap().messages.copied(), None);
}

#[test]
fn the_document_shows_the_same_vectors() {
    let document = include_str!("../../../../docs/protocol/binary.md");
    let lines = include_str!("../../testdata/v2.txt").lines();
    for line in lines.filter(|line| !line.starts_with('#')) {
        assert!(document.contains(&format!("\n    {line}\n")), "{line}");
    }
}
