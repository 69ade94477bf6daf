//! The session by table: frames in, requests and frames out.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use sluice_model::{
    Answer, Carried, Code, Command, Delivery, Generation, LeaseId, MessageId, Published, Qos,
    QueueNo, Receive, Refusal, Reply, Request, Seq, Source, SubscriptionId, Timestamp,
};
use sluice_protocol::FrameType::{Ack, Auth, Hello, Nack, Ping, Poll, Pong, Publish, Subscribe};
use sluice_protocol::{
    AckPayload, AuthPayload, Frame, FrameType, HelloPayload, NackPayload, PollPayload,
    PublishPayload, SubscribePayload, encode_frame, try_decode_frame,
};

use super::session::Session;
use crate::doors::Output;
use crate::doors::binary::common::{Io, Limits, Wants};

const LIMITS: Limits = Limits {
    frame_max: 1_000_000,
    message_max: 100,
    batch_max: 100,
    in_flight_max: 100,
    out_max: 100_000,
};

/// A session with all that goes in and out.
struct Pair {
    session: Session,
    input: BytesMut,
    output: Output,
    requests: VecDeque<Request>,
}

impl Pair {
    fn new(open: bool) -> Self {
        let session = Session::new(Arc::new(LIMITS), open);
        let (input, output, requests) = Default::default();
        Self { session, input, output, requests }
    }

    /// One that is ready, without keys.
    fn ready() -> Self {
        let mut pair = Self::new(true);
        assert_eq!(pair.say(Hello, 1, hello(1)), Wants::Bytes);
        assert_eq!(pair.heard(), [(Ack, 1, "0".to_owned())]);
        pair
    }

    fn say(&mut self, msg_type: FrameType, correlation_id: u64, payload: Bytes) -> Wants {
        let frame = Frame { msg_type, correlation_id, payload };
        encode_frame(&frame, &mut self.input).unwrap();
        self.receive()
    }

    fn say_bytes(&mut self, bytes: &[u8]) -> Wants {
        self.input.extend_from_slice(bytes);
        self.receive()
    }

    fn receive(&mut self) -> Wants {
        let mut io = Io::new(&mut self.requests, &mut self.output);
        self.session.receive(&mut self.input, &mut io)
    }

    fn authenticated(&mut self, answer: Result<(), Refusal>) {
        let mut io = Io::new(&mut self.requests, &mut self.output);
        self.session.authenticated(answer, &mut io);
    }

    fn asked(&mut self) -> Vec<Request> {
        self.requests.drain(..).collect()
    }

    fn reply(&mut self, tag: u64, answer: Answer) {
        self.session.reply(Reply { tag, answer }, &mut self.output);
    }

    /// The frames that were sent: type, correlation id, and the payload in short.
    fn heard(&mut self) -> Vec<(FrameType, u64, String)> {
        let mut bytes = BytesMut::new();
        while self.output.unsent() > 0 {
            let (slices, count) = self.output.slices();
            slices[..count].iter().for_each(|slice| bytes.extend_from_slice(slice));
            self.output.advance(slices[..count].iter().map(|slice| slice.len()).sum());
        }
        let mut heard = Vec::new();
        while let Some(frame) = try_decode_frame(&mut bytes).unwrap() {
            let text = match frame.msg_type {
                Ack => AckPayload::decode(&frame.payload).unwrap().subscription_id.to_string(),
                Nack => {
                    let nack = NackPayload::decode(&frame.payload).unwrap();
                    format!("{} {}", nack.code, nack.message)
                }
                Publish => {
                    let publish = PublishPayload::decode(&frame.payload).unwrap();
                    let message = String::from_utf8_lossy(&publish.message).into_owned();
                    format!("{} {} {message}", publish.topic, publish.qos)
                }
                _ => String::new(),
            };
            heard.push((frame.msg_type, frame.correlation_id, text));
        }
        assert!(bytes.is_empty(), "half a frame was sent");
        heard
    }

    fn heard_nack(&mut self, correlation_id: u64, text: &str) {
        assert_eq!(self.heard(), [(Nack, correlation_id, text.to_owned())]);
    }
}

fn hello(protocol_version: u16) -> Bytes {
    HelloPayload { protocol_version }.encode()
}

fn auth(key: &str) -> Bytes {
    AuthPayload { api_key: key.to_owned() }.encode().unwrap()
}

fn publish(topic: &str, qos: u8, message: &'static [u8]) -> Bytes {
    let message = Bytes::from_static(message);
    PublishPayload { topic: topic.to_owned(), qos, message }.encode().unwrap()
}

fn subscribe(topic: &str, qos: u8) -> Bytes {
    SubscribePayload { topic: topic.to_owned(), qos }.encode().unwrap()
}

fn poll(subscription_id: u64) -> Bytes {
    PollPayload { subscription_id }.encode().unwrap()
}

fn ack(subscription_id: u64) -> Bytes {
    AckPayload { subscription_id }.encode().unwrap()
}

fn lease(counter: u64) -> LeaseId {
    let generation = Generation { start: 1, counter };
    LeaseId { queue: QueueNo(1), seq: Seq(counter), generation, secret: 9 }
}

fn delivery(lease: Option<LeaseId>, payload: Bytes) -> Answer {
    let (topic, sender) = (Bytes::from_static(b"demo"), Bytes::from_static(b"anonymous"));
    let carried = Carried { topic, sender, payload, ..Carried::default() };
    let first = Delivery::first(SubscriptionId(42), lease, Timestamp::EPOCH, carried);
    Answer::Delivered(Box::new(first))
}

fn refused(code: Code, text: &'static str) -> Answer {
    Answer::Refused(Refusal::new(code, text))
}

#[test]
#[rustfmt::skip]
fn a_frame_that_is_refused_at_the_door_gets_its_nack_and_the_connection_lives() {
    let short = || Bytes::from_static(b"x");
    let long = vec![b'x'; 101].leak();
    let cases = [
        (Hello,     hello(1),              "400 HELLO already performed"),
        (Auth,      short(),               "400 invalid AUTH payload"),
        (Publish,   short(),               "400 invalid PUBLISH payload"),
        (Publish,   publish("", 7, b""),   "400 empty topic"),
        (Publish,   publish("a b", 7, b""), "400 invalid QoS value"),
        (Publish,   publish("a b", 1, long), "413 message too large"),
        (Publish,   publish("a b", 1, b""), "400 invalid topic"),
        (Publish,   publish("a.*", 1, b""), "400 invalid topic"),
        (Publish,   publish("$sys", 1, b""), "400 invalid topic"),
        (Subscribe, short(),               "400 invalid SUBSCRIBE payload"),
        (Subscribe, subscribe("", 7),      "400 empty topic"),
        (Subscribe, subscribe("a b", 2),   "400 invalid QoS value"),
        (Subscribe, subscribe("a..b", 1),  "400 invalid topic"),
        (Poll,      short(),               "400 invalid POLL payload"),
        (Poll,      poll(0),               "400 subscription_id must be non-zero"),
        (Ack,       short(),               "400 invalid ACK payload"),
        (Ack,       ack(0),                "400 subscription_id must be non-zero"),
        (Ack,       ack(42),               "404 unknown subscription or delivery tag"),
        (Ping,      short(),               "400 invalid PING payload"),
        (Nack,      short(),               "400 unexpected frame from a client"),
        (Pong,      Bytes::new(),          "400 unexpected frame from a client"),
    ];
    for (msg_type, payload, expected) in cases {
        let mut pair = Pair::ready();
        assert_eq!(pair.say(msg_type, 9, payload), Wants::Bytes, "{expected}");
        pair.heard_nack(9, expected);
        assert_eq!(pair.asked(), [], "{expected}");
        pair.say(Ping, 10, Bytes::new());
        assert_eq!(pair.asked()[0].command, Command::Fence, "{expected}");
    }
}

#[test]
#[rustfmt::skip]
fn before_it_is_ready_a_connection_hears_what_is_missing() {
    let cases = [
        (Auth,      auth("key"),          "400 HELLO not performed"),
        (Hello,     hello(2),             "426 unsupported protocol version"),
        (Hello,     Bytes::new(),         "400 invalid HELLO payload"),
        (Publish,   publish("a", 1, b""), "401 unauthenticated"),
        (Subscribe, subscribe("a", 1),    "401 unauthenticated"),
        (Poll,      poll(1),              "401 unauthenticated"),
        (Ack,       ack(1),               "401 unauthenticated"),
        (Ping,      Bytes::new(),         "401 unauthenticated"),
        (Pong,      Bytes::new(),         "401 unauthenticated"),
    ];
    for open in [false, true] {
        for (msg_type, payload, expected) in cases.clone() {
            let mut pair = Pair::new(open);
            assert_eq!(pair.say(msg_type, 9, payload), Wants::Bytes, "{expected}");
            pair.heard_nack(9, expected);
        }
    }
    let mut greeted = Pair::new(false);
    greeted.say(Hello, 1, hello(1));
    greeted.heard();
    for (msg_type, payload, expected) in cases.into_iter().skip(3) {
        greeted.say(msg_type, 9, payload);
        greeted.heard_nack(9, expected);
    }
    assert_eq!(greeted.asked(), []);
}

#[test]
fn a_key_is_asked_for_and_what_follows_waits() {
    let mut pair = Pair::new(false);
    pair.say(Hello, 1, hello(1));
    assert_eq!(pair.heard(), [(Ack, 1, "0".to_owned())]);
    pair.say(Hello, 2, hello(1));
    pair.heard_nack(2, "400 HELLO already performed");
    pair.say(Auth, 3, Bytes::new());
    pair.heard_nack(3, "400 invalid AUTH payload");

    assert!(matches!(pair.say(Auth, 4, auth("wrong")), Wants::Authenticate(_)));
    pair.authenticated(Err(Refusal::new(Code::Unauthenticated, "invalid API key")));
    pair.heard_nack(4, "401 invalid API key");
    pair.say(Ping, 5, Bytes::new());
    pair.heard_nack(5, "401 unauthenticated");

    assert!(matches!(pair.say(Auth, 6, auth("right")), Wants::Authenticate(_)));
    assert!(matches!(pair.say(Ping, 7, Bytes::new()), Wants::Authenticate(_)));
    assert_eq!((pair.asked(), pair.heard()), (vec![], vec![]));
    pair.authenticated(Ok(()));
    assert_eq!(pair.heard(), [(Ack, 6, "0".to_owned())]);
    assert_eq!(pair.receive(), Wants::Bytes);
    assert_eq!(pair.asked().len(), 1);
    pair.reply(0, Answer::Fenced);
    assert_eq!(pair.heard(), [(Pong, 7, String::new())]);
    pair.say(Auth, 8, auth("right"));
    pair.heard_nack(8, "400 already authenticated");
}

#[test]
fn without_keys_any_key_will_do_once() {
    let mut pair = Pair::ready();
    pair.say(Ping, 2, Bytes::new());
    pair.say(Auth, 3, auth("anything"));
    pair.say(Auth, 4, auth("anything"));
    assert_eq!(pair.heard(), [], "the PONG comes first");
    assert_eq!(pair.asked().len(), 3);
    for tag in 0..3 {
        pair.reply(tag, Answer::Fenced);
    }
    let expected = [
        (Pong, 2, String::new()),
        (Ack, 3, "0".to_owned()),
        (Nack, 4, "400 already authenticated".to_owned()),
    ];
    assert_eq!(pair.heard(), expected);
}

#[test]
fn too_many_connections_with_a_key_end_this_one() {
    let mut pair = Pair::new(false);
    pair.say(Hello, 1, hello(1));
    pair.say(Auth, 2, auth("right"));
    pair.heard();
    pair.authenticated(Err(Refusal::new(Code::Overloaded, "too many connections")));
    pair.heard_nack(2, "503 too many connections");
    assert_eq!(pair.receive(), Wants::Nothing);
    assert!(pair.session.is_over() && pair.session.is_quiet());
}

#[test]
fn frames_become_requests_in_their_order() {
    let mut pair = Pair::ready();
    pair.say(Subscribe, 1, subscribe("demo.>", 1));
    pair.say(Publish, 1, publish("demo.a", 1, b"hi"));
    pair.say(Publish, 1, publish("demo.a", 0, b""));
    pair.say(Poll, 1, poll(42));
    let asked = pair.asked();
    assert_eq!(asked.iter().map(|request| request.tag).collect::<Vec<_>>(), [0, 1, 2, 3]);
    let Command::Subscribe(subscribe) = &asked[0].command else { panic!("{:?}", asked[0]) };
    assert_eq!((subscribe.pattern.as_str(), subscribe.qos), ("demo.>", Qos::AtLeastOnce));
    let Command::Publish(publish) = &asked[1].command else { panic!("{:?}", asked[1]) };
    assert_eq!((publish.to.as_str(), publish.qos), ("demo.a", Qos::AtLeastOnce));
    assert_eq!(publish.message.payload, &b"hi"[..]);
    let Command::Publish(publish) = &asked[2].command else { panic!("{:?}", asked[2]) };
    assert_eq!((publish.qos, publish.message.payload.len()), (Qos::AtMostOnce, 0));
    let receive = Command::Receive(Receive::one(Source::Subscription(SubscriptionId(42))));
    assert_eq!(asked[3].command, receive);
}

#[test]
#[rustfmt::skip]
fn replies_become_frames() {
    let lease_lost = "404 unknown subscription or delivery tag";
    let slow = Answer::Refused(Refusal {
        retry_after: Some(std::time::Duration::from_millis(250)),
        ..Refusal::new(Code::RateLimited, "rate limited")
    });
    let id = MessageId::default();
    let cases = [
        (Subscribe, subscribe("a", 1),   Answer::Subscribed { subscription: SubscriptionId(42) }, Some((Ack, 9, "42"))),
        (Subscribe, subscribe("a", 1),   refused(Code::Overloaded, "too many subscriptions"), Some((Nack, 9, "503 too many subscriptions"))),
        (Publish,   publish("a", 1, b""), Answer::Published(Published { id, matched: 1, ..Published::default() }), None),
        (Publish,   publish("a", 1, b""), refused(Code::NoSpace, "disk full"), Some((Nack, 9, "500 durable publish failed: disk full"))),
        (Publish,   publish("a", 1, b""), refused(Code::Indeterminate, "sync failed"), Some((Nack, 9, "500 durable publish failed: sync failed"))),
        (Publish,   publish("a", 0, b""), refused(Code::Internal, "oh"), Some((Nack, 9, "500 oh"))),
        (Publish,   publish("a", 1, b""), refused(Code::QueueFull, "queue full"), Some((Nack, 9, "429 queue full"))),
        (Publish,   publish("a", 1, b""), slow, Some((Nack, 9, "429 rate limited; retry after 250 ms"))),
        (Publish,   publish("a", 1, b""), refused(Code::ShuttingDown, "shutting down"), Some((Nack, 9, "503 shutting down"))),
        (Poll,      poll(42),            Answer::Empty { next: None }, None),
        (Poll,      poll(42),            refused(Code::NotFound, "no such"), Some((Nack, 9, "404 unknown subscription"))),
        (Poll,      poll(42),            delivery(Some(lease(7)), Bytes::from_static(b"hi")), Some((Publish, 7, "demo 1 hi"))),
        (Poll,      poll(42),            delivery(None, Bytes::from_static(b"hi")), Some((Publish, 9, "demo 0 hi"))),
        (Ping,      Bytes::new(),        Answer::Fenced, Some((Pong, 9, ""))),
        (Ping,      Bytes::new(),        refused(Code::Internal, "oh"), Some((Nack, 9, "500 oh"))),
    ];
    for (msg_type, payload, answer, expected) in cases {
        let mut pair = Pair::ready();
        pair.say(msg_type, 9, payload);
        let tag = pair.asked()[0].tag;
        pair.reply(tag, answer);
        let expected = expected.map(|(kind, id, text)| (kind, id, text.to_owned()));
        assert_eq!(pair.heard(), Vec::from_iter(expected));
        assert!(pair.session.is_quiet());
    }

    for code in [Code::LeaseLost, Code::NotFound] {
        let mut pair = Pair::ready();
        pair.say(Poll, 9, poll(42));
        pair.reply(0, delivery(Some(lease(7)), Bytes::new()));
        pair.heard();
        pair.say(Ack, 7, ack(42));
        pair.reply(1, refused(code, "whatever"));
        pair.heard_nack(7, lease_lost);
    }
}

#[test]
fn a_delivery_is_acknowledged_by_its_tag_and_a_repeated_ack_gets_nothing() {
    let mut pair = Pair::ready();
    pair.say(Poll, 9, poll(42));
    pair.reply(0, delivery(Some(lease(7)), Bytes::new()));
    pair.heard();
    pair.asked();
    pair.say(Ack, 7, ack(43));
    pair.heard_nack(7, "404 unknown subscription or delivery tag");
    pair.say(Ack, 7, ack(42));
    let asked = pair.asked();
    assert!(matches!(asked[0].command, Command::Ack { lease: l, .. } if l == lease(7)));
    pair.say(Ack, 7, ack(42));
    assert_eq!((pair.asked(), pair.heard()), (vec![], vec![]));

    // The broker could not do it: the client may say it again.
    pair.reply(asked[0].tag, refused(Code::NoSpace, "disk full"));
    pair.heard_nack(7, "500 disk full");
    pair.say(Ack, 7, ack(42));
    assert_eq!(pair.asked().len(), 1);
}

#[test]
fn a_refusal_at_the_door_does_not_overtake_what_is_due() {
    let mut pair = Pair::ready();
    pair.say(Publish, 2, publish("a", 1, b""));
    pair.say(Poll, 3, poll(0));
    pair.say(Ping, 4, Bytes::new());
    assert_eq!(pair.heard(), []);
    let asked = pair.asked();
    assert_eq!(asked.len(), 3);
    assert_eq!(asked[1].command, Command::Fence);
    pair.reply(asked[0].tag, refused(Code::QueueFull, "queue full"));
    pair.reply(asked[1].tag, Answer::Fenced);
    pair.reply(asked[2].tag, Answer::Fenced);
    let expected = [
        (Nack, 2, "429 queue full".to_owned()),
        (Nack, 3, "400 subscription_id must be non-zero".to_owned()),
        (Pong, 4, String::new()),
    ];
    assert_eq!(pair.heard(), expected);
}

#[test]
#[rustfmt::skip]
fn a_stream_that_is_not_frames_ends_after_one_nack() {
    let cases: [(&[u8], u64, &str); 6] = [
        (&[0, 0, 0, 0],                                      0, "400 invalid frame length"),
        (&[0, 0, 0, 8, 7],                                   0, "400 invalid frame length"),
        (&[0x00, 0x0f, 0x42, 0x41],                          0, "400 invalid frame length"),
        (&[0x01, 0, 0, 1],                                   0, "400 invalid frame length"),
        (&[0xff, 0xff, 0xff, 0xff],                          0, "400 invalid frame length"),
        (&[0, 0, 0, 9, 0x0a, 0, 0, 0, 0, 0, 0, 0, 5, 1, 2],  5, "400 unknown frame type"),
    ];
    for (bytes, id, expected) in cases {
        let mut pair = Pair::ready();
        assert_eq!(pair.say_bytes(bytes), Wants::Nothing);
        pair.heard_nack(id, expected);
        assert!(pair.session.is_over() && pair.session.is_quiet());
        assert_eq!(pair.session.take_tally().decode_errors, 1);
        assert_eq!(pair.say(Ping, 1, Bytes::new()), Wants::Nothing, "nothing more is read");
        assert_eq!((pair.asked(), pair.heard()), (vec![], vec![]));
    }

    let mut pair = Pair::ready();
    pair.say(Ping, 4, Bytes::new());
    pair.say_bytes(&[0, 0, 0, 0]);
    assert_eq!(pair.heard(), []);
    assert!(!pair.session.is_quiet());
    pair.reply(0, Answer::Fenced);
    pair.reply(1, Answer::Fenced);
    let nack = (Nack, 0, "400 invalid frame length".to_owned());
    assert_eq!(pair.heard(), [(Pong, 4, String::new()), nack]);
    assert!(pair.session.is_quiet());
}

#[test]
fn a_frame_too_large_for_one_that_is_not_ready_ends_it_unread() {
    let key = "k".repeat(1_024 - 9 - 2);
    let mut pair = Pair::new(false);
    pair.say(Hello, 1, hello(1));
    pair.heard();
    assert!(matches!(pair.say(Auth, 2, auth(&key)), Wants::Authenticate(_)));

    for greeted in [false, true] {
        let mut pair = Pair::new(false);
        if greeted {
            pair.say(Hello, 1, hello(1));
            pair.heard();
        }
        assert_eq!(pair.say_bytes(&[0, 0, 0x04, 0x01]), Wants::Nothing);
        pair.heard_nack(0, "413 frame too large");
        assert_eq!(pair.session.take_tally().early_frames, 1);
    }
}

#[test]
fn a_frame_that_can_not_be_valid_is_refused_by_its_header_and_never_stored() {
    let too_long = 3 + 65_535 + LIMITS.message_max + 1;
    let cases = [
        (Publish, too_long, "413 message too large"),
        (Subscribe, 65_539, "400 invalid SUBSCRIBE payload"),
        (Poll, 5_000, "400 invalid POLL payload"),
        (Pong, 5_000, "400 unexpected frame from a client"),
    ];
    for (msg_type, payload_bytes, expected) in cases {
        let mut pair = Pair::ready();
        let payload = Bytes::from(vec![0; payload_bytes]);
        let mut bytes = BytesMut::new();
        encode_frame(&Frame { msg_type, correlation_id: 5, payload }, &mut bytes).unwrap();
        for part in bytes.chunks(1_000) {
            pair.say_bytes(part);
            assert!(pair.input.len() <= 13, "{} bytes are held", pair.input.len());
        }
        pair.heard_nack(5, expected);
        pair.say(Ping, 6, Bytes::new());
        assert_eq!(pair.asked().len(), 1, "{expected}");
    }
}

#[test]
fn while_draining_only_what_is_in_flight_is_settled() {
    let mut pair = Pair::ready();
    pair.say(Poll, 9, poll(42));
    pair.reply(0, delivery(Some(lease(7)), Bytes::new()));
    pair.heard();
    pair.asked();
    pair.session.drain();
    for (msg_type, payload) in
        [(Publish, publish("a", 1, b"")), (Subscribe, subscribe("a", 1)), (Poll, poll(42))]
    {
        pair.say(msg_type, 2, payload);
        pair.heard_nack(2, "503 shutting down");
    }
    pair.say(Ack, 7, ack(42));
    pair.say(Ping, 3, Bytes::new());
    assert_eq!(pair.asked().len(), 2);
    pair.session.finish(&mut pair.requests);
    assert_eq!(pair.asked(), [], "the PING is a fence already");
    pair.reply(2, Answer::Fenced);
    assert_eq!(pair.heard(), [(Pong, 3, String::new())]);
    assert!(pair.session.is_over() && pair.session.is_quiet());
}

#[test]
fn leaving_waits_for_what_is_silent_when_it_succeeds() {
    let mut pair = Pair::ready();
    pair.say(Publish, 2, publish("a", 1, b""));
    pair.session.finish(&mut pair.requests);
    let asked = pair.asked();
    assert_eq!(asked[1].command, Command::Fence);
    assert!(!pair.session.is_quiet());
    pair.reply(asked[1].tag, Answer::Fenced);
    assert_eq!(pair.heard(), []);
    assert!(pair.session.is_quiet());
}

#[test]
fn a_publisher_that_never_asks_is_fenced_now_and_then() {
    let mut pair = Pair::ready();
    for _ in 0..1_000 {
        pair.say(Publish, 2, publish("a", 1, b""));
    }
    let asked = pair.asked();
    let fences: Vec<_> = asked.iter().filter(|request| request.command == Command::Fence).collect();
    assert_eq!(fences.len(), 3);
    pair.reply(fences[2].tag, Answer::Fenced);
    assert_eq!(pair.heard(), []);
    pair.reply(asked.last().unwrap().tag, refused(Code::QueueFull, "queue full"));
    pair.heard_nack(2, "429 queue full");
    assert!(pair.session.is_quiet());
}

#[test]
fn nothing_more_is_understood_than_the_output_has_room_for() {
    let mut pair = Pair::ready();
    let limits = Limits { out_max: 50, ..LIMITS };
    pair.session = Session::new(Arc::new(limits), true);
    let mut bytes = BytesMut::new();
    for correlation_id in 0..10 {
        let frame = Frame { msg_type: Ping, correlation_id, payload: Bytes::new() };
        encode_frame(&frame, &mut bytes).unwrap();
    }
    assert_eq!(pair.say_bytes(&bytes), Wants::Room);
    let heard = pair.heard().len();
    assert!((1..10).contains(&heard), "{heard}");
    assert_eq!(pair.receive(), Wants::Room);
}

proptest! {
    #[test]
    fn any_bytes_are_understood_the_same_however_they_arrive(
        noise in prop::collection::vec(any::<u8>(), 0..60),
        frames in prop::collection::vec((0u8..11, 0u64..4, prop::collection::vec(0u8..4, 0..20)), 0..12),
        step in 1usize..50,
    ) {
        let mut stream = vec![0, 0, 0, 11, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1];
        for (kind, id, payload) in frames {
            stream.extend_from_slice(&(9 + payload.len() as u32).to_be_bytes());
            stream.push(kind);
            stream.extend_from_slice(&id.to_be_bytes());
            stream.extend_from_slice(&payload);
        }
        stream.extend_from_slice(&noise);

        let (mut whole, mut parts) = (Pair::new(true), Pair::new(true));
        let last = whole.say_bytes(&stream);
        let mut last_of_parts = Wants::Bytes;
        for part in stream.chunks(step) {
            last_of_parts = parts.say_bytes(part);
        }
        prop_assert_eq!(last, last_of_parts);
        prop_assert_eq!(whole.asked(), parts.asked());
        prop_assert_eq!(whole.heard(), parts.heard());
    }
}
