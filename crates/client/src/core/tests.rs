//! No bytes of a broker make the core panic, and no publish is ever left without an outcome.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use sluice_model::{
    Code, Generation, LeaseId, Level, Message, Qos, QueueNo, Refusal, Seq, Timestamp,
};
use sluice_protocol::binary::frame::decode_frame_of;
use sluice_protocol::binary::v2::{
    ClientFrame, Credit, FrameType, SettledWriter, Welcome, put_confirm, put_consuming, put_error,
};
use tokio::sync::{mpsc, oneshot};

use super::batch::Head;
use super::consumers::{Spec, Wanted};
use super::delivered::Delivered;
use super::requests::{Ask, Reply};
use super::*;

const WELCOME: Welcome<'static> = Welcome {
    frame_max: 1 << 16,
    message_max: 1 << 10,
    batch_max: 3,
    in_flight_max: 10,
    auth: false,
    broker: "test",
};

fn head() -> Arc<Head> {
    Arc::new(Head {
        qos: Qos::AtLeastOnce,
        whole: false,
        to_queue: false,
        receipt: false,
        level: None,
        destination: "a".into(),
    })
}

/// A core on a connection that is ready, and the moment.
fn ready(options: &Options) -> (Core, Instant) {
    let (mut core, now) = (Core::new(options, 1), Instant::now());
    greet(&mut core, now);
    (core, now)
}

fn greet(core: &mut Core, now: Instant) {
    core.begin().unwrap();
    let mut bytes = BytesMut::new();
    core.take_output(&mut bytes, now);
    bytes.clear();
    WELCOME.put(&mut bytes, 1).unwrap();
    core.receive(&mut bytes, now).unwrap();
    assert!(core.is_ready());
}

/// Something of every kind waits for an answer.
fn busy() -> (Core, Instant, Vec<Place>, mpsc::UnboundedReceiver<sink::Push<delivered::Delivered>>)
{
    let (mut core, now) = ready(&Options::default());
    let head = head();
    let mut places = Vec::new();
    for _ in 0..7 {
        places.push(core.publish(&head, Message::plain("x")).unwrap().unwrap());
    }
    let (to, from) = mpsc::unbounded_channel();
    let spec = Spec {
        wanted: Wanted::Queue("q".into()),
        prefetch: 4,
        lease_ms: 0,
        to: sink::Sink::Messages { to, gaps: Arc::default() },
        ready: oneshot::channel().0,
    };
    core.consume(spec).unwrap();
    let receive =
        Ask::Receive { queue: "q".into(), max: 2, wait_ms: 1, lease_ms: 0, unbound: false };
    let control = Ask::Control { verb: "queue.list".into(), json: "{}".to_owned() };
    for ask in [receive, control] {
        core.ask(ask, Reply(None));
    }
    core.fence(Reply(None));
    core.take_output(&mut BytesMut::new(), now);
    (core, now, places, from)
}

fn outcome((fate, index): &Place) -> Option<fate::Outcome> {
    match fate.poll(*index, &mut None, &Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

/// A frame of any type, for an id that may be known, with any payload.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![
        prop::sample::select(FrameType::ALL.iter().map(|one| one.as_u8()).collect::<Vec<_>>()),
        any::<u8>()
    ];
    (number, 0_u64..16, vec(prop_oneof![Just(0), 0_u8..4, any::<u8>()], 0..64)).prop_map(
        |(number, id, payload)| {
            let mut frame = BytesMut::new();
            frame.put_u32(9 + payload.len() as u32);
            frame.put_u8(number);
            frame.put_u64(id);
            frame.put_slice(&payload);
            frame.to_vec()
        },
    )
}

proptest! {
    #[test]
    fn any_frames_end_in_outcomes_or_a_closed_connection(frames in vec(frame(), 1..20)) {
        let (mut core, now, places, _from) = busy();
        for frame in frames {
            if core.receive(&mut BytesMut::from(&frame[..]), now).is_err() {
                break;
            }
            core.take_output(&mut BytesMut::new(), now + Duration::from_secs(1));
        }
        core.close(&Error::Closed);
        for place in &places {
            prop_assert!(outcome(place).is_some());
        }
        prop_assert!(core.publishes.is_empty());
    }

    #[test]
    fn any_bytes_are_no_reason_to_panic(bytes in vec(any::<u8>(), 0..256)) {
        let (mut core, now, ..) = busy();
        let _ = core.receive(&mut BytesMut::from(&bytes[..]), now);
        let mut greeting = Core::new(&Options::default(), 1);
        greeting.begin().unwrap();
        let _ = greeting.receive(&mut BytesMut::from(&bytes[..]), now);
    }
}

#[test]
fn the_window_is_free_again_when_all_is_told() {
    let options = Options { window_messages: 4, ..Options::default() };
    let (mut core, now) = ready(&options);
    let head = head();
    let push = |core: &mut Core| core.publish(&head, Message::plain("x")).unwrap().ok();
    let places: Vec<Place> = std::iter::from_fn(|| push(&mut core)).collect();
    assert_eq!(places.len(), 4);
    core.take_output(&mut BytesMut::new(), now);
    let mut bytes = BytesMut::new();
    let last = core.next_id;
    put_confirm(&mut bytes, last, Some(Level::Sync));
    core.receive(&mut bytes, now).unwrap();
    assert!(core.publishes.take_released() && core.publishes.is_empty());
    assert!(places.iter().all(|place| matches!(outcome(place), Some(Ok(_)))));
    assert!(push(&mut core).is_some());
}

fn delivered_at(epoch: u64) -> Delivered {
    Delivered {
        qos: Qos::AtLeastOnce,
        topic: "q".into(),
        sender: "".into(),
        payload: bytes::Bytes::new(),
        extras: None,
        published_at: Timestamp::EPOCH,
        lease: None,
        epoch,
        consumer: None,
    }
}

#[test]
fn what_lies_unread_from_lost_connections_counts_against_the_credit_of_the_next() {
    let (mut core, now) = ready(&Options::default());
    let (to, mut from) = mpsc::unbounded_channel();
    let (wanted, gaps, ready) = (Wanted::Queue("q".into()), Arc::default(), oneshot::channel().0);
    let to = sink::Sink::Messages { to, gaps };
    let spec = Spec { wanted, prefetch: 4, lease_ms: 0, to, ready };
    let key = core.consume(spec).unwrap();
    // The credit of a new connection, all of which comes and is not looked at.
    let round = |core: &mut Core| {
        let mut bytes = BytesMut::new();
        core.take_output(&mut bytes, now);
        let frame = decode_frame_of::<FrameType>(&mut bytes, LENGTH_MAX).unwrap().unwrap();
        let id = frame.correlation_id;
        let ClientFrame::Consume(consume) =
            ClientFrame::read(frame.msg_type, &frame.payload, LENGTH_MAX).unwrap()
        else {
            panic!("{:?}", frame.msg_type)
        };
        put_consuming(&mut bytes, id, 7);
        core.receive(&mut bytes, now).unwrap();
        let epoch = core.epoch;
        let (count, _) = (consume.credit, core.consumers.pushed(7, consume.credit).unwrap());
        let messages = (0..count).map(|_| delivered_at(epoch)).collect();
        if count > 0 {
            assert!(core.consumers.hand(key, messages).is_empty());
        }
        count
    };
    let credits: Vec<u32> = (0..5)
        .map(|_| {
            let credit = round(&mut core);
            core.disconnected(&Error::Lost);
            greet(&mut core, now);
            credit
        })
        .collect();
    assert_eq!(credits, [4, 0, 0, 0, 0]);
    assert_eq!(round(&mut core), 0);
    // Once they are looked at there is credit again, on the connection that there is.
    let batch = from.try_recv().unwrap().unwrap();
    assert!(core.looked_at(batch.epoch, key, batch.things.len() as u32));
    let mut bytes = BytesMut::new();
    core.take_output(&mut bytes, now);
    let frame = decode_frame_of::<FrameType>(&mut bytes, LENGTH_MAX).unwrap().unwrap();
    let credit = ClientFrame::read(frame.msg_type, &frame.payload, LENGTH_MAX).unwrap();
    assert_eq!(credit, ClientFrame::Credit(Credit { consumer: 7, messages: 4 }));
    assert!(from.try_recv().is_err());
}

#[test]
fn settlements_by_token_that_nobody_waits_for_are_counted_when_they_are_refused() {
    let (mut core, now) = ready(&Options::default());
    let generation = Generation { start: 1, counter: 2 };
    let token = LeaseId { queue: QueueNo(1), seq: Seq(3), generation, secret: 4 };
    let mut refused = |put: &dyn Fn(&mut BytesMut, u64)| {
        let (how, tokens) = (How::ack(), vec![token, token]);
        core.requests.add(Ask::Settle { how, tokens, again: false }, Reply(None));
        core.take_output(&mut BytesMut::new(), now);
        let mut bytes = BytesMut::new();
        put(&mut bytes, core.next_id);
        core.receive(&mut bytes, now).unwrap();
        core.requests.settlements_refused
    };
    let one = |out: &mut BytesMut, id| {
        let mut frame = SettledWriter::begin(out, id, true, Timestamp::EPOCH, LENGTH_MAX).unwrap();
        assert!(frame.push_token(&token, Code::LeaseLost));
        frame.finish(false);
    };
    assert_eq!(refused(&one), 1);
    let all = |out: &mut BytesMut, id| {
        put_error(out, id, &Refusal::new(Code::Overloaded, "not now"));
    };
    assert_eq!(refused(&all), 3);
}

#[test]
fn a_message_larger_than_the_window_goes_alone() {
    let options = Options { window_bytes: 100, ..Options::default() };
    let (mut core, _) = ready(&options);
    let head = head();
    assert!(core.publish(&head, Message::plain(vec![0; 500])).unwrap().is_ok());
    assert!(core.publish(&head, Message::plain("x")).unwrap().is_err());
}
