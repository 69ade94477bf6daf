//! No bytes of a broker make the core panic, and no publish is ever left without an outcome.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use sluice_model::{Level, Message, Qos};
use sluice_protocol::binary::v2::{FrameType, Welcome, put_confirm};
use tokio::sync::{mpsc, oneshot};

use super::batch::Head;
use super::consumers::{Spec, Wanted};
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
fn busy() -> (Core, Instant, Vec<Place>, mpsc::UnboundedReceiver<consumers::Push>) {
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
        to,
        gaps: Arc::default(),
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

#[test]
fn a_message_larger_than_the_window_goes_alone() {
    let options = Options { window_bytes: 100, ..Options::default() };
    let (mut core, _) = ready(&options);
    let head = head();
    assert!(core.publish(&head, Message::plain(vec![0; 500])).unwrap().is_ok());
    assert!(core.publish(&head, Message::plain("x")).unwrap().is_err());
}
