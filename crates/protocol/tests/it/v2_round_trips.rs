//! Whatever can be written in version 2 is read as it was meant.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use sluice_model::{
    BlockBuilder, Code, Entry, Extras, Generation, Key, Lane, LeaseId, Level, MessageId, Published,
    Qos, QueueNo, Refusal, Revision, Seq, Timestamp, Value, ValueKind, WatchEvent,
};
use sluice_protocol::binary::frame::LENGTH_MAX;
use sluice_protocol::binary::v2::{
    Cancel, ChangesWriter, ClientFrame, ConsumeRef, ControlRef, Credit, Deliver, DeliverHead,
    DeliverWriter, DeliveryHead, ErrorRef, FrameType, Hello, LeaseSet, PublishHead, PublishWriter,
    Receipt, ReceiptWriter, ReceiveRef, RefusedLease, ServerFrame, SettleHead, SettledWriter,
    Settlement, Source, SubscribeRef, TagRange, WatchRef, Watching, Welcome, put_auth, put_confirm,
    put_consuming, put_empty, put_error, put_extend, put_gap, put_going, put_result,
};

use super::v2_vectors::frame;

fn text() -> impl Strategy<Value = String> {
    ".{0,30}"
}

fn level() -> impl Strategy<Value = Option<Level>> {
    prop::sample::select(vec![None, Some(Level::Memory), Some(Level::Os), Some(Level::Sync)])
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let some = prop::collection::vec(any::<u8>(), 0..70);
    prop_oneof![6 => some, 1 => (0usize..40_000).prop_map(|bytes| vec![9; bytes])]
}

prop_compose! {
    fn lane()(
        priority in 0u8..10,
        group in prop::option::of(text()),
        keys in prop::collection::vec(text(), 0..4),
        cost: u16,
    ) -> Lane {
        let keys = keys.into_iter().map(Into::into).collect();
        Lane { priority, group: group.map(Into::into), keys, cost }
    }
}

prop_compose! {
    fn extras()(
        headers in prop::collection::vec((text(), text()), 0..4),
        ttl in prop::option::of(any::<u64>().prop_map(Duration::from_millis)),
        delay in prop::option::of(any::<u64>().prop_map(Duration::from_millis)),
        deliver_at in prop::option::of(any::<u64>().prop_map(Timestamp::from_millis)),
        lane in lane(),
        dedupe_id in prop::option::of(text()),
    ) -> Extras {
        Extras { headers, ttl, delay, deliver_at, lane, dedupe_id }
    }
}

fn lease() -> impl Strategy<Value = LeaseId> {
    any::<(u32, u64, u32, u64, u64)>().prop_map(|(queue, seq, start, counter, secret)| LeaseId {
        queue: QueueNo(queue),
        seq: Seq(seq),
        generation: Generation { start, counter },
        secret,
    })
}

fn id() -> impl Strategy<Value = MessageId> {
    any::<(u32, u64)>().prop_map(|(start, counter)| MessageId { start, counter })
}

fn code() -> impl Strategy<Value = Code> {
    prop::sample::select(Code::ALL)
}

fn millis() -> impl Strategy<Value = Option<Duration>> {
    prop::option::of((1u32..).prop_map(|millis| Duration::from_millis(u64::from(millis))))
}

fn change() -> impl Strategy<Value = WatchEvent> {
    let kind = prop::sample::select(vec![ValueKind::Json, ValueKind::Text, ValueKind::Bytes]);
    let expires_at = prop::option::of((1u64..).prop_map(Timestamp::from_millis));
    ("[a-z]{1,9}(\\^[a-z]{1,9}){0,3}", any::<u64>(), kind, payload(), expires_at, 0u8..4).prop_map(
        |(key, revision, kind, bytes, expires_at, what)| {
            let (key, revision) = (Key::new(&key).unwrap(), Revision(revision));
            let value = Value { kind, bytes: bytes.into() };
            match what {
                0 => WatchEvent::Put(Entry { key, value, revision, expires_at }),
                1 => WatchEvent::Deleted { key, revision },
                2 => WatchEvent::Expired { key, revision },
                _ => WatchEvent::Gap { resumed_at: revision },
            }
        },
    )
}

/// Reads what a client wrote, and checks its id.
fn request(out: &BytesMut, id: u64) -> ClientFrame<'_> {
    let frame = frame(out);
    assert_eq!((frame.correlation_id, frame.wire_bytes()), (id, out.len()));
    ClientFrame::read(frame.msg_type, frame.payload, LENGTH_MAX).unwrap()
}

/// Reads what a broker wrote, and checks its id.
fn answer(out: &BytesMut, id: u64) -> ServerFrame<'_> {
    let frame = frame(out);
    assert_eq!((frame.correlation_id, frame.wire_bytes()), (id, out.len()));
    ServerFrame::read(frame.msg_type, frame.payload).unwrap()
}

proptest! {
    #[test]
    fn publishes(
        id: u64, whole: bool, to_queue: bool, receipt: bool, level in level(),
        destination in text(),
        messages in prop::collection::vec((prop::option::of(extras()), payload()), 1..8),
    ) {
        let qos = Qos::AtLeastOnce;
        let destination = &*destination;
        let head = PublishHead { qos, whole, to_queue, receipt, level, destination };
        let mut out = BytesMut::new();
        let mut writer = PublishWriter::begin(&mut out, id, &head, LENGTH_MAX).unwrap();
        for (extras, payload) in &messages {
            prop_assert!(writer.push_with(payload, extras.as_ref()).unwrap());
        }
        prop_assert_eq!(usize::from(writer.finish()), messages.len());
        let ClientFrame::Publish(read) = request(&out, id) else { panic!("no PUBLISH") };
        prop_assert_eq!(read.head, head);
        prop_assert_eq!(read.messages.count() as usize, messages.len());
        for (seen, (extras, payload)) in read.messages.iter().zip(&messages) {
            prop_assert_eq!(seen.payload, &payload[..]);
            let seen = seen.extras.map(|extras| extras.to_model()).unwrap_or_default();
            prop_assert_eq!(seen, extras.clone().unwrap_or_default());
        }
    }

    #[test]
    fn blocks_go_through_publish_and_deliver_in_frames_of_any_length(
        payloads in prop::collection::vec(payload(), 1..40),
        length_max in 41_000usize..90_000,
        pushed: bool, more: bool, at: u64,
    ) {
        let mut builder = BlockBuilder::default();
        payloads.iter().for_each(|payload| builder.push(payload));
        let (mut block, mut seen) = (builder.finish(), Vec::new());
        while !block.is_empty() {
            let mut out = BytesMut::new();
            let head = PublishHead::at_most_once("a");
            let mut writer = PublishWriter::begin(&mut out, 1, &head, length_max).unwrap();
            writer.push_block(&mut block);
            prop_assert!(writer.finish() > 0);
            prop_assert!(out.len() <= length_max + 4);
            let ClientFrame::Publish(read) = request(&out, 1) else { panic!("no PUBLISH") };
            let mut part = read.messages.copied().unwrap();

            let mut out = BytesMut::new();
            let head = DeliverHead { pushed, topic: b"a", sender: b"" };
            let published_at = Timestamp::from_millis(at);
            let writer = DeliverWriter::at_most_once(&mut out, 2, &head, published_at, LENGTH_MAX);
            let mut writer = writer.unwrap();
            writer.push_block(&mut part);
            prop_assert!(part.is_empty());
            writer.finish(more);
            let ServerFrame::Deliver(read) = answer(&out, 2) else { panic!("no DELIVER") };
            prop_assert_eq!((read.pushed, read.more, read.topic), (pushed, more && !pushed, "a"));
            let Deliver::AtMostOnce { published_at: seen_at, messages } = read.messages else {
                panic!("at least once")
            };
            prop_assert_eq!(seen_at, published_at);
            seen.extend(messages.iter().map(|message| message.payload.to_vec()));
        }
        prop_assert_eq!(seen, payloads);
    }

    #[test]
    fn deliveries(
        (pushed, more, topic, sender) in (any::<bool>(), any::<bool>(), text(), text()),
        tag in 0..u64::MAX - 10, redelivered: bool,
        id in id(), published_at: u64, deadline: u64, attempt: u32, failures: u32,
        token in prop::option::of(lease()),
        headers in prop::collection::vec((text(), text()), 0..3),
        lane in prop::option::of(lane()),
        payloads in prop::collection::vec(payload(), 1..5),
    ) {
        let pairs: Vec<(Bytes, Bytes)> =
            headers.iter().map(|(name, value)| (name.clone().into(), value.clone().into())).collect();
        let delivery = DeliveryHead {
            redelivered, id, attempt, failures, token,
            published_at: Timestamp::from_millis(published_at),
            deadline: Timestamp::from_millis(deadline),
            headers: &pairs,
            lane: lane.as_ref(),
        };
        let mut out = BytesMut::new();
        let head = DeliverHead { pushed, topic: topic.as_bytes(), sender: sender.as_bytes() };
        let writer = DeliverWriter::at_least_once(&mut out, 7, &head, tag, LENGTH_MAX);
        let mut writer = writer.unwrap();
        for payload in &payloads {
            prop_assert!(writer.push_delivery(&delivery, payload).unwrap());
        }
        prop_assert_eq!(usize::from(writer.finish(more)), payloads.len());
        let ServerFrame::Deliver(read) = answer(&out, 7) else { panic!("no DELIVER") };
        prop_assert_eq!((read.pushed, read.more), (pushed, more && !pushed));
        prop_assert_eq!((read.topic, read.sender), (&*topic, &*sender));
        prop_assert_eq!(read.count() as usize, payloads.len());
        let Deliver::AtLeastOnce(deliveries) = read.messages else { panic!("at most once") };
        for ((seen, payload), tag) in deliveries.iter().zip(&payloads).zip(tag..) {
            prop_assert_eq!((seen.tag, seen.payload), (tag, &payload[..]));
            prop_assert_eq!((seen.redelivered, seen.id, seen.token), (redelivered, id, token));
            prop_assert_eq!((seen.published_at, seen.deadline), (delivery.published_at, delivery.deadline));
            prop_assert_eq!((seen.attempt, seen.failures), (attempt, failures));
            let extras = seen.extras.map(|extras| extras.to_model()).unwrap_or_default();
            prop_assert_eq!(&extras.headers, &headers);
            prop_assert_eq!(extras.lane, lane.clone().unwrap_or_default());
        }
    }

    #[test]
    fn headers_at_most_once(
        messages in prop::collection::vec((prop::collection::vec((text(), text()), 0..3), payload()), 1..5),
    ) {
        let mut out = BytesMut::new();
        let head = DeliverHead { pushed: true, topic: b"a", sender: b"b" };
        let writer = DeliverWriter::at_most_once(&mut out, 7, &head, Timestamp::EPOCH, LENGTH_MAX);
        let mut writer = writer.unwrap();
        for (headers, payload) in &messages {
            let pairs: Vec<(Bytes, Bytes)> =
                headers.iter().map(|(name, value)| (name.clone().into(), value.clone().into())).collect();
            prop_assert!(writer.push_with(payload, &pairs).unwrap());
        }
        writer.finish(false);
        let ServerFrame::Deliver(read) = answer(&out, 7) else { panic!("no DELIVER") };
        let Deliver::AtMostOnce { messages: seen, .. } = read.messages else { panic!("no") };
        prop_assert_eq!(seen.count() as usize, messages.len());
        for (seen, (headers, payload)) in seen.iter().zip(&messages) {
            prop_assert_eq!(seen.payload, &payload[..]);
            let extras = seen.extras.map(|extras| extras.to_model()).unwrap_or_default();
            prop_assert_eq!(&extras.headers, headers);
        }
    }

    #[test]
    fn settlements(
        id: u64, report: bool, delay in millis(), note in text(), by_ms: u32,
        outcome in prop::sample::select(vec![
            Settlement::Ack, Settlement::Failed, Settlement::Released, Settlement::Rejected,
            Settlement::Throttled,
        ]),
        ranges in prop::collection::vec((0u64..1 << 40, 0u64..1_000), 1..40),
        tokens in prop::collection::vec(lease(), 1..20),
    ) {
        let delay = delay.filter(|_| !matches!(outcome, Settlement::Ack | Settlement::Rejected));
        let noted = !matches!(outcome, Settlement::Ack | Settlement::Released);
        // Then it is a key.
        let noted = noted && (outcome != Settlement::Throttled || note.len() <= 128);
        let head = SettleHead { report, outcome, delay, note: if noted { &note } else { "" } };
        let ranges: Vec<TagRange> =
            ranges.into_iter().map(|(first, more)| TagRange { first, last: first + more }).collect();
        for leases in [LeaseSet::Tags(&ranges), LeaseSet::Tokens(&tokens)] {
            let mut out = BytesMut::new();
            head.put(&mut out, id, leases).unwrap();
            let ClientFrame::Settle(read) = request(&out, id) else { panic!("no SETTLE") };
            prop_assert_eq!(read.head, head);
            let settled = read.leases;
            let mut out = BytesMut::new();
            put_extend(&mut out, id, report, by_ms, leases).unwrap();
            let ClientFrame::Extend(read) = request(&out, id) else { panic!("no EXTEND") };
            prop_assert_eq!((read.report, read.by_ms, read.leases), (report, by_ms, settled));
            match leases {
                LeaseSet::Tags(ranges) => prop_assert_eq!(settled.ranges().collect::<Vec<_>>(), ranges),
                LeaseSet::Tokens(all) => prop_assert_eq!(settled.tokens().collect::<Vec<_>>(), all),
            }
        }
    }

    #[test]
    fn refused_leases(
        id: u64, deadline: u64, more: bool,
        tags in prop::collection::vec((any::<u64>(), code()), 0..20),
        tokens in prop::collection::vec((lease(), code()), 0..20),
    ) {
        let deadline = Timestamp::from_millis(deadline);
        let mut out = BytesMut::new();
        let mut writer = SettledWriter::begin(&mut out, id, false, deadline, LENGTH_MAX).unwrap();
        prop_assert!(tags.iter().all(|(tag, code)| writer.push_tag(*tag, *code)));
        writer.finish(more);
        let ServerFrame::Settled(read) = answer(&out, id) else { panic!("no SETTLED") };
        prop_assert_eq!((read.more, read.deadline), (more, deadline));
        let expected = tags.iter().map(|(tag, code)| {
            RefusedLease::Tag { tag: *tag, status: code.status(), code: code.name() }
        });
        prop_assert!(read.refused().eq(expected));

        let mut out = BytesMut::new();
        let mut writer = SettledWriter::begin(&mut out, id, true, deadline, LENGTH_MAX).unwrap();
        prop_assert!(tokens.iter().all(|(lease, code)| writer.push_token(lease, *code)));
        writer.finish(more);
        let ServerFrame::Settled(read) = answer(&out, id) else { panic!("no SETTLED") };
        let expected = tokens.iter().map(|(lease, code)| {
            RefusedLease::Token { lease: *lease, status: code.status(), code: code.name() }
        });
        prop_assert!(read.refused().eq(expected));
    }

    #[test]
    fn receipts(
        id: u64, more: bool,
        entries in prop::collection::vec(
            ((id(), any::<u32>(), level(), any::<bool>()), prop::option::of((code(), text(), millis()))),
            1..20,
        ),
    ) {
        let mut out = BytesMut::new();
        let mut writer = ReceiptWriter::begin(&mut out, id, LENGTH_MAX).unwrap();
        let refusals: Vec<Option<Refusal>> = entries.iter().map(|(_, refused)| {
            refused.clone().map(|(code, message, retry_after)| Refusal { code, message: message.into(), retry_after })
        }).collect();
        let mut expected = Vec::new();
        for (((id, matched, level, duplicate), _), refusal) in entries.iter().zip(&refusals) {
            if let Some(refusal) = refusal {
                prop_assert!(writer.push_refused(refusal));
                expected.push(Receipt::Refused(ErrorRef::of(refusal)));
            } else {
                let published = Published { id: *id, matched: *matched, level: *level, duplicate: *duplicate };
                prop_assert!(writer.push(&published));
                expected.push(Receipt::Published(published));
            }
        }
        writer.finish(more);
        let ServerFrame::Receipt(read) = answer(&out, id) else { panic!("no RECEIPT") };
        prop_assert_eq!(read.more, more);
        prop_assert_eq!(read.iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn changes(
        id: u64, events in prop::collection::vec(change(), 1..20), length_max in 20usize..50_000,
    ) {
        let mut out = BytesMut::from(&b"before"[..]);
        let mut writer = ChangesWriter::begin(&mut out, id, length_max).unwrap();
        let count = events.iter().take_while(|event| writer.push(event)).count();
        prop_assert_eq!(usize::from(writer.finish()), count);
        let out = out.split_off(6);
        if count == 0 {
            prop_assert!(out.is_empty());
            return Ok(());
        }
        prop_assert!(out.len() <= length_max + 4);
        let ServerFrame::Changes(read) = answer(&out, id) else { panic!("no CHANGES") };
        let read: Vec<_> = read.iter().map(|change| change.to_model().unwrap()).collect();
        prop_assert_eq!(&read[..], &events[..count]);
    }

    #[test]
    fn other_requests(
        id: u64, a in text(), b in text(), number: u64, messages: u32, max in 1u16.., flag: bool,
        frame_max in 65_536u32..,
        settings in prop::collection::vec((text(), text()), 0..5),
    ) {
        let mut out = BytesMut::new();
        let hello = Hello { frame_max, name: &a };
        hello.put(&mut out, id).unwrap();
        prop_assert!(request(&out.split(), id) == ClientFrame::Hello(hello));
        put_auth(&mut out, id, &a).unwrap();
        prop_assert!(request(&out.split(), id) == ClientFrame::Auth(&a));
        let consume = ConsumeRef { queue: &a, credit: messages, lease_ms: number as u32 };
        consume.put(&mut out, id).unwrap();
        prop_assert!(request(&out.split(), id) == ClientFrame::Consume(consume));
        let cancel = Cancel { consumer: number };
        cancel.put(&mut out, id);
        prop_assert!(request(&out.split(), id) == ClientFrame::Cancel(cancel));
        let credit = Credit { consumer: number, messages };
        credit.put(&mut out, id);
        prop_assert!(request(&out.split(), id) == ClientFrame::Credit(credit));
        for from in [None, Some(Revision(number))] {
            let watch = WatchRef { keys: &a, below: flag, from, credit: messages };
            watch.put(&mut out, id).unwrap();
            prop_assert!(request(&out.split(), id) == ClientFrame::Watch(watch));
        }
        let control = ControlRef { verb: &a, json: &b };
        control.put(&mut out, id).unwrap();
        prop_assert!(request(&out.split(), id) == ClientFrame::Control(control));
        for from in [Source::Queue(&a), Source::Consumer(number)] {
            let (wait_ms, lease_ms) = (messages, number as u32);
            let receive = ReceiveRef { max, wait_ms, lease_ms, unbound: flag, from };
            receive.put(&mut out, id).unwrap();
            prop_assert!(request(&out.split(), id) == ClientFrame::Receive(receive));
        }
        let pairs: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (&**name, &**value)).collect();
        let qos = if a.is_empty() { Qos::AtMostOnce } else { Qos::AtLeastOnce };
        let (lease_ms, settings) = (number as u32, Default::default());
        let subscribe =
            SubscribeRef { qos, push: flag, name: &a, pattern: &b, credit: messages, lease_ms, settings };
        subscribe.put(&mut out, id, &pairs).unwrap();
        let ClientFrame::Subscribe(read) = request(&out, id) else { panic!("no SUBSCRIBE") };
        prop_assert_eq!(read.settings.iter().collect::<Vec<_>>(), pairs);
        prop_assert_eq!(SubscribeRef { settings, ..read }, subscribe);
    }

    #[test]
    fn other_answers(
        id: u64, text in text(), number: u64, small: u32, max: u16, flag: bool,
        level in level(), code in code(), retry_after in millis(),
    ) {
        let mut out = BytesMut::new();
        let welcome = Welcome {
            frame_max: small, message_max: small, batch_max: max, in_flight_max: small, auth: flag, broker: &text,
        };
        welcome.put(&mut out, id).unwrap();
        prop_assert!(answer(&out.split(), id) == ServerFrame::Welcome(welcome));
        let refusal = Refusal { code, message: text.clone().into(), retry_after };
        put_error(&mut out, id, &refusal);
        prop_assert!(answer(&out.split(), id) == ServerFrame::Error(ErrorRef::of(&refusal)));
        put_confirm(&mut out, id, level);
        prop_assert!(answer(&out.split(), id) == ServerFrame::Confirm(level));
        put_consuming(&mut out, id, number);
        prop_assert!(answer(&out.split(), id) == ServerFrame::Consuming(number));
        let watching = Watching { consumer: number, revision: Revision(u64::from(small)) };
        watching.put(&mut out, id);
        prop_assert!(answer(&out.split(), id) == ServerFrame::Watching(watching));
        put_empty(&mut out, id, small);
        prop_assert!(answer(&out.split(), id) == ServerFrame::Empty(small));
        put_gap(&mut out, id, number);
        prop_assert!(answer(&out.split(), id) == ServerFrame::Gap(number));
        put_going(&mut out, &text);
        prop_assert!(answer(&out.split(), 0) == ServerFrame::Going(&text));
        put_result(&mut out, id, text.as_bytes()).unwrap();
        prop_assert!(answer(&out.split(), id) == ServerFrame::Result(&text));
    }
}

#[test]
fn writers_stop_where_the_next_would_not_fit() {
    let head = PublishHead::at_most_once("a");
    for length_max in 15..80 {
        let mut out = BytesMut::new();
        let mut writer = PublishWriter::begin(&mut out, 1, &head, length_max).unwrap();
        while writer.push(b"four") {}
        let count = writer.finish();
        // Type, id, flags, level, destination and count are 15; each message is 5.
        assert_eq!(usize::from(count), (length_max - 15) / 5);
        assert_eq!(out.is_empty(), count == 0);
        assert!(out.len() <= length_max + 4);
    }
    let mut out = BytesMut::new();
    assert!(PublishWriter::begin(&mut out, 1, &head, 14).is_err());
    assert!(out.is_empty());
    let mut writer = PublishWriter::begin(&mut out, 1, &head, LENGTH_MAX).unwrap();
    while writer.push(b"") {}
    assert_eq!(writer.finish(), u16::MAX);
    assert_eq!(frame(&out).msg_type, FrameType::Publish);
}
