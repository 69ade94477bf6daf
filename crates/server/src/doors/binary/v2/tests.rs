//! The session by table: frames in, requests and frames out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sluice_model::{
    Answer, BlockBuilder, BlockDelivery, Carried, Code, Command, Confirm, Delivery, Destination,
    Extras, Generation, KvAnswer, KvRequest, LeaseId, Level, MessageId, Published, PublishedBlock,
    Qos, QueueNo, Receive, Refusal, Reply, Request, Revision, Seq, Source, SubscriptionId,
    Timestamp, WatchId,
};
use sluice_protocol::binary::frame::{LENGTH_MAX, decode_frame_of};
use sluice_protocol::binary::v2;
use sluice_protocol::binary::v2::{
    Cancel, ConsumeRef, ControlRef, Credit, Deliver, FrameType, Hello, LeaseSet, PublishHead,
    PublishWriter, ReceiveRef, ServerFrame, SettleHead, SubscribeRef, TagRange, put_ping,
};

use super::Session;
use super::pending::{PUSH_TAGS, WAIT_TAGS};
use crate::doors::Output;
use crate::doors::binary::common::{Io, Limits, Tally, Wants};

const LIMITS: Limits = Limits {
    frame_max: 1_000_000,
    message_max: 10_000,
    batch_max: 100,
    in_flight_max: 10,
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
    /// One that is ready, without keys.
    fn ready() -> Self {
        Self::with_frames_of(0)
    }

    /// One whose client takes frames up to that length.
    fn with_frames_of(frame_max: u32) -> Self {
        let session = Session::new(Arc::new(LIMITS), true, Tally::default());
        let (input, output, requests) = Default::default();
        let mut pair = Self { session, input, output, requests };
        pair.says(|out| Hello { frame_max, name: "" }.put(out, 1).unwrap());
        assert_eq!(pair.heard().len(), 1);
        pair
    }

    fn says(&mut self, put: impl FnOnce(&mut BytesMut)) -> Wants {
        put(&mut self.input);
        let mut io = Io::new(&mut self.requests, &mut self.output);
        self.session.receive(&mut self.input, &mut io)
    }

    fn publishes(&mut self, id: u64, head: &PublishHead<'_>, all: &[(&[u8], Option<&Extras>)]) {
        self.says(|out| {
            let mut frame = PublishWriter::begin(out, id, head, LENGTH_MAX).unwrap();
            all.iter().for_each(|(payload, extras)| {
                assert!(frame.push_with(payload, *extras).unwrap());
            });
            frame.finish();
        });
    }

    fn asked(&mut self) -> Vec<Request> {
        self.requests.drain(..).collect()
    }

    /// The only request.
    fn asked_one(&mut self) -> Request {
        let mut asked = self.asked();
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked.remove(0)
    }

    fn reply(&mut self, replies: impl IntoIterator<Item = (u64, Answer)>) {
        let replies = replies.into_iter().map(|(tag, answer)| Reply { tag, answer });
        let mut io = Io::new(&mut self.requests, &mut self.output);
        self.session.reply(&mut replies.collect(), &mut io);
    }

    /// The frames that were sent, in short.
    fn heard(&mut self) -> Vec<(u64, String)> {
        let mut bytes = BytesMut::new();
        while self.output.unsent() > 0 {
            let (slices, count) = self.output.slices();
            slices[..count].iter().for_each(|slice| bytes.extend_from_slice(slice));
            self.output.advance(slices[..count].iter().map(|slice| slice.len()).sum());
        }
        let mut heard = Vec::new();
        while let Some(frame) = decode_frame_of::<FrameType>(&mut bytes, LENGTH_MAX).unwrap() {
            let text = match ServerFrame::read(frame.msg_type, &frame.payload).unwrap() {
                ServerFrame::Error(error) => format!("ERROR {} {}", error.status, error.text),
                ServerFrame::Confirm(level) => format!("CONFIRM {level:?}"),
                ServerFrame::Receipt(receipt) => format!("RECEIPT {}", receipt.count()),
                ServerFrame::Settled(settled) => format!("SETTLED {}", settled.count()),
                ServerFrame::Empty(next_ms) => format!("EMPTY {next_ms}"),
                ServerFrame::Gap(messages) => format!("GAP {messages}"),
                ServerFrame::Consuming(number) => format!("CONSUMING {number}"),
                ServerFrame::Deliver(deliver) => {
                    let first = match deliver.messages {
                        Deliver::AtMostOnce { .. } => 0,
                        Deliver::AtLeastOnce(deliveries) => deliveries.tag(),
                    };
                    let more = if deliver.more { " more" } else { "" };
                    format!("DELIVER {first}+{}{more}", deliver.count())
                }
                _ => frame.msg_type.name().to_owned(),
            };
            heard.push((frame.correlation_id, text));
        }
        assert!(bytes.is_empty(), "half a frame was sent");
        heard
    }

    #[track_caller]
    fn hears(&mut self, expected: &[(u64, &str)]) {
        let heard = self.heard();
        let heard: Vec<_> = heard.iter().map(|(id, text)| (*id, text.as_str())).collect();
        assert_eq!(heard, expected);
    }

    /// Makes a consumer of the queue `jobs` with this credit.
    fn consumes(&mut self, credit: u32) -> u64 {
        self.says(|out| ConsumeRef { queue: "jobs", credit, lease_ms: 0 }.put(out, 2).unwrap());
        let Request { tag, command: Command::Receive(receive) } = self.asked_one() else {
            panic!()
        };
        assert_eq!((receive.wait, receive.max), (None, credit.min(10)));
        self.reply([(tag, Answer::Empty { next: None })]);
        self.hears(&[(2, "CONSUMING 1")]);
        1
    }

    /// The receive that feeds a consumer.
    fn fed(&mut self) -> (u64, u32) {
        let Request { tag, command: Command::Receive(receive) } = self.asked_one() else {
            panic!()
        };
        assert!(receive.bound && receive.wait.is_some_and(|wait| wait > Duration::from_secs(60)));
        (tag, receive.max)
    }
}

fn published(level: Option<Level>) -> Answer {
    Answer::PublishedBlock(PublishedBlock { level, ..PublishedBlock::default() })
}

fn refused(code: Code, text: &'static str) -> Answer {
    Answer::Refused(Refusal::new(code, text))
}

fn lease(counter: u64) -> LeaseId {
    let generation = Generation { start: 1, counter };
    LeaseId { queue: QueueNo(1), seq: Seq(counter), generation, secret: 9 }
}

fn delivery(topic: &'static str, counter: Option<u64>, more: bool) -> Answer {
    let carried = Carried { topic: topic.into(), payload: "x".into(), ..Carried::default() };
    let lease = counter.map(lease);
    let first = Delivery::first(SubscriptionId(42), lease, Timestamp::EPOCH, carried);
    Answer::Delivered(Box::new(Delivery { more, ..first }))
}

fn block(bytes: usize, count: u32, more: bool) -> Answer {
    let mut messages = BlockBuilder::default();
    (0..count).for_each(|_| messages.push(&vec![7; bytes]));
    Answer::DeliveredBlock(Box::new(BlockDelivery {
        subscription: SubscriptionId(42),
        published_at: Timestamp::EPOCH,
        topic: "demo".into(),
        sender: Bytes::new(),
        messages: messages.finish(),
        more,
    }))
}

const JOBS: PublishHead<'_> = PublishHead { to_queue: true, ..PublishHead::at_least_once("jobs") };

#[test]
fn plain_messages_are_one_block_that_shares_what_was_read() {
    let mut pair = Pair::ready();
    for (head, confirm) in [
        (PublishHead::at_most_once("demo"), Confirm::Refusal),
        (PublishHead::at_least_once("demo"), Confirm::Always),
    ] {
        pair.publishes(7, &head, &[(b"one", None), (b"two", None)]);
        let Command::PublishBlock(block) = pair.asked_one().command else { panic!() };
        assert_eq!((block.messages.count(), block.confirm, block.whole), (2, confirm, false));
        assert!(matches!(&block.to, Destination::Topic(topic) if topic.as_str() == "demo"));
    }
}

#[test]
fn confirms_fold_and_pass_over_nothing() {
    let mut pair = Pair::ready();
    for id in 1..=6 {
        pair.publishes(id, &JOBS, &[(b"x", None)]);
    }
    pair.says(|out| put_ping(out, 7));
    let tags: Vec<u64> = pair.asked().iter().map(|request| request.tag).collect();
    pair.reply([
        (tags[0], published(Some(Level::Sync))),
        (tags[1], published(Some(Level::Os))),
        (tags[2], published(None)),
        (tags[3], refused(Code::QueueFull, "full")),
        (tags[4], published(None)),
    ]);
    pair.hears(&[(3, "CONFIRM Some(Os)"), (4, "ERROR 429 full"), (5, "CONFIRM None")]);
    pair.reply([(tags[5], published(Some(Level::Memory))), (tags[6], Answer::Fenced)]);
    pair.hears(&[(6, "CONFIRM Some(Memory)"), (7, "PONG")]);
    assert!(pair.session.is_quiet());
}

#[test]
#[rustfmt::skip]
fn the_messages_of_a_frame_with_extras_are_answered_together() {
    let good = || Answer::Published(Published { id: MessageId::default(), ..Published::default() });
    let bad = |text| refused(Code::Invalid, text);
    let cases: [([Answer; 3], bool, &str); 6] = [
        ([good(), good(), good()],       false, "CONFIRM None"),
        ([good(), good(), good()],       true,  "RECEIPT 3"),
        ([good(), bad("a"), good()],     false, "RECEIPT 3"),
        ([bad("a"), bad("b"), bad("a")], false, "RECEIPT 3"),
        ([bad("a"), bad("a"), bad("a")], false, "ERROR 422 a"),
        ([bad("a"), bad("a"), bad("a")], true,  "ERROR 422 a"),
    ];
    let extras = Extras { dedupe_id: Some("id".to_owned()), ..Extras::default() };
    for (answers, receipt, expected) in cases {
        let mut pair = Pair::ready();
        let head = PublishHead { receipt, ..JOBS };
        pair.publishes(7, &head, &[(b"a", Some(&extras)), (b"b", None), (b"c", None)]);
        let asked = pair.asked();
        assert_eq!(asked.len(), 3);
        for (request, answer) in asked.iter().zip(answers) {
            assert!(pair.heard().is_empty());
            pair.reply([(request.tag, answer)]);
        }
        pair.hears(&[(7, expected)]);
    }
}

#[test]
fn of_a_frame_at_most_once_one_refusal_is_told() {
    let mut pair = Pair::ready();
    let extras = Extras { dedupe_id: Some("id".to_owned()), ..Extras::default() };
    let all = [(&b"x"[..], Some(&extras)); 3];
    pair.publishes(7, &PublishHead::at_most_once("demo"), &all);
    pair.publishes(8, &PublishHead::at_most_once("demo"), &all);
    let tags: Vec<u64> = pair.asked().iter().map(|request| request.tag).collect();
    pair.reply([1, 2, 5].map(|at: usize| (tags[at], refused(Code::Invalid, "no"))));
    pair.hears(&[(7, "ERROR 422 no"), (8, "ERROR 422 no")]);
}

#[test]
fn a_consumer_is_asked_for_as_often_as_it_has_credit() {
    let mut pair = Pair::ready();
    let consumer = pair.consumes(3);
    assert_eq!(pair.fed(), (PUSH_TAGS + 1, 3));
    pair.says(|out| Credit { consumer, messages: 1 }.put(out, 0));
    assert_eq!(pair.asked(), [], "one receive waits at a time");
    let two = [delivery("jobs", Some(1), true), delivery("jobs", Some(2), false)];
    pair.reply(two.map(|answer| (PUSH_TAGS + 1, answer)));
    pair.hears(&[(1, "DELIVER 1+2")]);
    assert_eq!(pair.fed(), (PUSH_TAGS + 1, 2));
    let two = [delivery("jobs", Some(3), true), delivery("other", Some(4), false)];
    pair.reply(two.map(|answer| (PUSH_TAGS + 1, answer)));
    pair.hears(&[(1, "DELIVER 3+1"), (1, "DELIVER 4+1")]);
    assert_eq!(pair.asked(), [], "it has no credit left");
    assert_eq!(pair.session.receiving.window.held(), 4);
}

#[test]
fn one_who_holds_all_it_may_is_asked_for_when_it_settles() {
    let mut pair = Pair::ready();
    pair.consumes(100);
    assert_eq!(pair.fed().1, 10);
    let all = (1..=10).map(|at| (PUSH_TAGS + 1, delivery("jobs", Some(at), at < 10)));
    pair.session.set_now(Timestamp::EPOCH);
    pair.reply(all);
    pair.hears(&[(1, "DELIVER 1+10")]);
    assert_eq!(pair.asked(), []);
    let ranges = [TagRange { first: 2, last: 4 }];
    pair.says(|out| SettleHead::ACK.put(out, 3, LeaseSet::Tags(&ranges)).unwrap());
    let asked = pair.asked();
    let Command::SettleMany(many) = &asked[0].command else { panic!() };
    assert_eq!((&many.leases[..], many.confirm), (&[2, 3, 4].map(lease)[..], Confirm::Refusal));
    let Command::Receive(Receive { max: 3, .. }) = &asked[1].command else { panic!("{asked:?}") };
}

#[test]
fn a_tag_that_could_not_be_settled_for_now_may_be_settled_again() {
    let mut pair = Pair::ready();
    pair.consumes(3);
    let (tag, _) = pair.fed();
    let three = (1..=3).map(|at| (tag, delivery("jobs", Some(at), at < 3)));
    pair.reply(three);
    pair.heard();
    let settle = |pair: &mut Pair, id| {
        let ranges = [TagRange { first: 1, last: 3 }];
        pair.says(|out| SettleHead::ACK.put(out, id, LeaseSet::Tags(&ranges)).unwrap());
        pair.asked()
    };
    let asked = settle(&mut pair, 3);
    let refusal = |code| Refusal::new(code, "no");
    let refused = vec![(0, refusal(Code::LeaseLost)), (2, refusal(Code::Indeterminate))];
    pair.reply([(asked[0].tag, Answer::SettledMany { refused, deadline: None })]);
    pair.hears(&[(3, "SETTLED 2")]);
    let asked = settle(&mut pair, 4);
    let Command::SettleMany(many) = &asked[0].command else { panic!() };
    assert_eq!(many.leases, [lease(3)]);
    pair.reply([(asked[0].tag, Answer::Refused(refusal(Code::Indeterminate)))]);
    pair.hears(&[(4, "ERROR 500 no")]);
    assert!(pair.session.holds());
}

#[test]
fn blocks_share_a_frame_while_they_are_short_and_go_alone_when_they_are_long() {
    let mut pair = Pair::ready();
    let frame = SubscribeRef {
        qos: Qos::AtMostOnce,
        push: true,
        name: "",
        pattern: "demo",
        credit: 1_000,
        lease_ms: 0,
        settings: Default::default(),
    };
    pair.says(|out| frame.put(out, 2, &[]).unwrap());
    let tag = pair.asked_one().tag;
    pair.reply([(tag, Answer::Subscribed { subscription: SubscriptionId(42) })]);
    pair.hears(&[(2, "CONSUMING 1")]);
    let (tag, max) = pair.fed();
    assert_eq!(max, 1_000);
    let answers = [
        Answer::Lost { messages: 5 },
        block(10, 3, true),
        delivery("demo", None, true),
        block(10, 2, true),
        block(5_000, 2, true),
        block(10, 1, false),
    ];
    pair.reply(answers.map(|answer| (tag, answer)));
    pair.hears(&[(1, "GAP 5"), (1, "DELIVER 0+6"), (1, "DELIVER 0+2"), (1, "DELIVER 0+1")]);
    assert_eq!(pair.fed().1, 1_000 - 9);
}

#[test]
fn receives_that_wait_do_not_hold_back_what_is_asked_after_them() {
    let mut pair = Pair::ready();
    let receive = |wait_ms| {
        let from = v2::Source::Queue("jobs");
        ReceiveRef { max: 2, wait_ms, lease_ms: 0, unbound: false, from }
    };
    pair.says(|out| receive(1_000).put(out, 2).unwrap());
    assert_eq!(pair.asked_one().tag, WAIT_TAGS + 1);
    pair.says(|out| put_ping(out, 3));
    let tag = pair.asked_one().tag;
    pair.reply([(tag, Answer::Fenced)]);
    pair.hears(&[(3, "PONG")]);
    assert!(!pair.session.is_quiet());
    let answers = [delivery("jobs", Some(1), true), Answer::Unreadable { more: false }];
    pair.reply(answers.map(|answer| (WAIT_TAGS + 1, answer)));
    pair.hears(&[(2, "DELIVER 1+1 more"), (2, "EMPTY 0")]);
    assert!(pair.session.is_quiet());

    pair.says(|out| receive(0).put(out, 4).unwrap());
    let tag = pair.asked_one().tag;
    pair.session.set_now(Timestamp::from_millis(1_000));
    pair.reply([(tag, Answer::Empty { next: Some(Timestamp::from_millis(1_250)) })]);
    pair.hears(&[(4, "EMPTY 250")]);
}

/// One that no frame of 64 KiB holds, for its headers.
fn too_long(topic: &'static str, counter: Option<u64>) -> Answer {
    let header = |name: &'static str| (Bytes::from(name), Bytes::from(vec![b'h'; 40_000]));
    let headers = vec![header("one"), header("two")];
    let carried = Carried { topic: topic.into(), headers, ..Carried::default() };
    let lease = counter.map(lease);
    let first = Delivery::first(SubscriptionId(42), lease, Timestamp::EPOCH, carried);
    Answer::Delivered(Box::new(first))
}

fn uneven_block() -> Answer {
    let mut messages = BlockBuilder::default();
    [10, 70_000].iter().for_each(|bytes| messages.push(&vec![7; *bytes]));
    let Answer::DeliveredBlock(block) = block(1, 1, false) else { panic!() };
    Answer::DeliveredBlock(Box::new(BlockDelivery { messages: messages.finish(), ..*block }))
}

#[test]
fn the_answer_to_a_receive_ends_also_where_its_last_message_is_too_long() {
    let mut pair = Pair::with_frames_of(64 << 10);
    let frame = SubscribeRef {
        qos: Qos::AtMostOnce,
        push: false,
        name: "",
        pattern: "demo",
        credit: 0,
        lease_ms: 0,
        settings: Default::default(),
    };
    pair.says(|out| frame.put(out, 2, &[]).unwrap());
    let tag = pair.asked_one().tag;
    pair.reply([(tag, Answer::Subscribed { subscription: SubscriptionId(42) })]);
    pair.hears(&[(2, "CONSUMING 1")]);
    let (queue, consumer) = (v2::Source::Queue("jobs"), v2::Source::Consumer(1));
    let gap = ["DELIVER 0+1 more", "GAP 1", "EMPTY 0"];
    let cases = [
        (queue, vec![delivery("jobs", Some(1), true), too_long("jobs", Some(2))], {
            &["DELIVER 1+1 more", "EMPTY 0"][..]
        }),
        (consumer, vec![delivery("demo", None, true), too_long("demo", None)], &gap),
        (consumer, vec![uneven_block()], &gap),
    ];
    for (id, (from, answers, expected)) in (10..).zip(cases) {
        let receive = ReceiveRef { max: 2, wait_ms: 0, lease_ms: 0, unbound: false, from };
        pair.says(|out| receive.put(out, id).unwrap());
        let tag = pair.asked_one().tag;
        pair.reply(answers.into_iter().map(|answer| (tag, answer)));
        let heard: Vec<String> = pair.heard().into_iter().map(|(_, text)| text).collect();
        assert_eq!(heard, expected);
        pair.asked();
    }
}

#[test]
fn a_cancelled_consumer_gets_what_was_on_its_way() {
    let mut pair = Pair::ready();
    let consumer = pair.consumes(3);
    let (tag, _) = pair.fed();
    pair.says(|out| Cancel { consumer }.put(out, 3));
    let asked = pair.asked();
    assert_eq!(asked[0].command, Command::Withdraw { receive: tag });
    assert_eq!(asked[1].command, Command::Fence);
    pair.reply([(tag, delivery("jobs", Some(1), false)), (asked[1].tag, Answer::Fenced)]);
    pair.hears(&[(1, "DELIVER 1+1"), (3, "OK")]);
    assert_eq!(pair.asked(), []);
    pair.says(|out| Credit { consumer, messages: 1 }.put(out, 4));
    pair.hears(&[(4, "ERROR 404 there is no such consumer")]);
}

#[test]
fn nothing_is_asked_for_while_much_is_unsent_and_decoding_stops_when_it_is_too_much() {
    let mut pair = Pair::ready();
    pair.consumes(1_000);
    let (tag, _) = pair.fed();
    let long =
        Carried { topic: "jobs".into(), payload: vec![0; 60_000].into(), ..Carried::default() };
    let first = Delivery::first(SubscriptionId(1), Some(lease(1)), Timestamp::EPOCH, long);
    let second = Delivery { lease: Some(lease(2)), ..first.clone() };
    pair.reply([(tag, Answer::Delivered(Box::new(first)))]);
    assert_eq!(pair.asked(), []);
    pair.reply([(tag, Answer::Delivered(Box::new(second)))]);
    assert_eq!(pair.says(|out| put_ping(out, 3)), Wants::Room);
    assert_eq!(pair.heard().len(), 2);
    assert_eq!(pair.says(|_| ()), Wants::Bytes);
    let asked = pair.asked();
    assert_eq!(asked[0].command, Command::Fence);
    let Command::Receive(Receive { from: Source::Queue(_), max: 8, .. }) = &asked[1].command else {
        panic!("{asked:?}")
    };
}

#[test]
fn a_consumer_that_was_paused_goes_on_when_its_time_has_come() {
    let mut pair = Pair::ready();
    pair.session.set_now(Timestamp::from_millis(1_000));
    pair.consumes(20);
    let (tag, max) = pair.fed();
    assert_eq!(max, 10);
    // The connection holds as many as it may, until the first lease is over.
    let at = Timestamp::from_millis;
    let held = |n: u64| {
        let carried = Carried { topic: "jobs".into(), ..Carried::default() };
        let first = Delivery::first(SubscriptionId(1), Some(lease(n)), at(5_000 + n), carried);
        Answer::Delivered(Box::new(Delivery { more: n < 10, ..first }))
    };
    pair.reply((1..=10).map(|n| (tag, held(n))));
    assert_eq!((pair.asked(), pair.session.resume_at()), (Vec::new(), Some(at(5_002))));
    let resumed = |pair: &mut Pair, now| {
        pair.session.set_now(at(now));
        let mut io = Io::new(&mut pair.requests, &mut pair.output);
        pair.session.resume(&mut io);
    };
    resumed(&mut pair, 5_001);
    assert_eq!(pair.asked(), []);
    resumed(&mut pair, 5_002);
    assert_eq!((pair.fed(), pair.session.resume_at()), ((tag, 1), None));
    // The broker says when.
    let retry_after = Some(Duration::from_millis(300));
    let refusal = Refusal { retry_after, ..Refusal::new(Code::RateLimited, "too much") };
    pair.reply([(tag, Answer::Refused(refusal))]);
    assert_eq!((pair.asked(), pair.session.resume_at()), (Vec::new(), Some(at(5_302))));
    resumed(&mut pair, 5_302);
    assert_eq!(pair.fed().0, tag);
}

#[test]
fn a_drain_ends_what_waits_and_asks_for_nothing_more() {
    let mut pair = Pair::ready();
    pair.consumes(3);
    let (tag, _) = pair.fed();
    let mut io = Io::new(&mut pair.requests, &mut pair.output);
    pair.session.drain(&mut io);
    assert_eq!(pair.asked_one().command, Command::Withdraw { receive: tag });
    pair.reply([(tag, delivery("jobs", Some(1), false))]);
    pair.hears(&[(0, "GOING"), (1, "DELIVER 1+1")]);
    assert_eq!(pair.asked(), []);
    assert!(pair.session.holds());
    pair.publishes(3, &JOBS, &[(b"x", None)]);
    let tag = pair.asked_one().tag;
    pair.reply([(tag, Answer::Fenced)]);
    pair.hears(&[(3, "ERROR 503 shutting down")]);
}

#[test]
fn a_request_for_changes_of_keys_waits_and_its_watch_ends_with_it() {
    for drains in [false, true] {
        let mut pair = Pair::ready();
        let control =
            ControlRef { verb: "kv.changes", json: r#"{"key": "a", "from": 3, "wait_ms": 1000}"# };
        pair.says(|out| control.put(out, 2).unwrap());
        let Request { tag, command: Command::Kv(request) } = pair.asked_one() else { panic!() };
        assert!(matches!(request, KvRequest::Watch { from: Some(Revision(3)), .. }));
        let (watch, revision) = (WatchId(9), Revision(5));
        let watching = KvAnswer::Watching { watch, revision };
        pair.reply([(tag, Answer::Kv(watching))]);
        let Request { tag, command } = pair.asked_one();
        let wait = Some(Duration::from_secs(1));
        let from = Source::Watch(watch);
        assert_eq!(command, Command::Receive(Receive { max: 100, wait, ..Receive::one(from) }));
        assert!(pair.session.awaits() && !pair.session.is_quiet());
        if drains {
            let mut io = Io::new(&mut pair.requests, &mut pair.output);
            pair.session.drain(&mut io);
            assert_eq!(pair.asked_one().command, Command::Withdraw { receive: tag });
            pair.hears(&[(0, "GOING")]);
        }
        pair.reply([(tag, Answer::Empty { next: None })]);
        pair.hears(&[(2, "RESULT")]);
        let unwatch = Command::Kv(KvRequest::Unwatch { watch });
        let Request { tag, command } = pair.asked_one();
        assert_eq!(command, unwatch);
        pair.reply([(tag, Answer::Kv(KvAnswer::Unwatched))]);
        assert!(pair.session.is_quiet() && pair.heard().is_empty());
    }
}
