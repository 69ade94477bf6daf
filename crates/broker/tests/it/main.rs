//! The local broker on a simulated disk, through the handle that doors hold.
#![expect(clippy::unwrap_used, reason = "a test that can't set itself up has failed")]

mod access;
mod backup;
mod delayed;
mod full;
mod keys;
mod limits;
mod linear;
mod ready;
mod steady;
mod torn_block;
mod unled;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use sluice_broker::local::{Entropy, LocalBackend, LocalConfig, StartError, start};
use sluice_broker::{Backend as _, Broker, Session};
use sluice_model::{
    Answer, Client, Code, Command, Confirm, Destination, Message, Principal, Publish, Qos, Receive,
    Reply, Request, Source, Subscribe, SubscriptionId, Timestamp, Topic, TopicPattern,
};
use sluice_wal::{Faults, SimulatedDisk};

const ENTROPY: Entropy = Entropy { log_id: 1, seed: 1 };
const HOUR: u64 = 3_600_000;

fn noon() -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000)
}

fn config() -> LocalConfig {
    let mut config = LocalConfig::default();
    config.wal.segment_bytes = 256 << 10;
    config.wal.record_max = 64 << 10;
    config.engine.queue.max_message_bytes = 32 << 10;
    config.engine.unnamed.max_message_bytes = 32 << 10;
    // Bodies are read back from the disk.
    config.wal.resident_bytes = 0;
    config
}

fn backend(disk: &SimulatedDisk) -> LocalBackend<SimulatedDisk> {
    LocalBackend::open(disk.clone(), &config(), noon(), ENTROPY, true).unwrap().0
}

fn open(broker: &Broker) -> Session {
    broker.open(Client { principal: Principal::Anonymous, peer: [127, 0, 0, 1].into() })
}

/// Waits for the replies to these commands.
fn ask(session: &mut Session, commands: Vec<Command>) -> Vec<Answer> {
    let count = commands.len();
    let mut requests: VecDeque<_> =
        (1..).zip(commands).map(|(tag, command)| Request { tag, command }).collect();
    session.submit(&mut requests);
    assert!(requests.is_empty());
    let mut replies = Vec::new();
    while replies.len() < count {
        block_on(session.replies());
        session.take_replies(&mut replies);
    }
    session.written(replies.iter().map(Reply::weight).sum());
    replies.into_iter().map(|reply| reply.answer).collect()
}

/// Runs a future on this thread; it is woken by the broker's threads.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(std::sync::Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

fn subscribe(session: &mut Session) -> SubscriptionId {
    let pattern = TopicPattern::new("t").unwrap();
    let subscribe = Subscribe::unnamed(pattern, Qos::AtLeastOnce);
    match ask(session, vec![Command::Subscribe(subscribe)]).remove(0) {
        Answer::Subscribed { subscription } => subscription,
        other => panic!("{other:?}"),
    }
}

fn publish(payload: &'static [u8]) -> Command {
    Command::Publish(Publish {
        to: Destination::Topic(Topic::new("t").unwrap()),
        level: None,
        qos: Qos::AtLeastOnce,
        message: Message::plain(Bytes::from_static(payload)),
        confirm: Confirm::Always,
    })
}

#[test]
fn every_message_carries_who_published_it() {
    let keyed =
        |id: &str| Client { principal: Principal::Key(id.into()), peer: [127, 0, 0, 1].into() };
    let broker = Broker::new(backend(&SimulatedDisk::with_faults(1)));
    let mut consumer = broker.open(keyed("consumer"));
    let stored = subscribe(&mut consumer);
    let pattern = TopicPattern::new("t").unwrap();
    let once = Subscribe::unnamed(pattern, Qos::AtMostOnce);
    let Answer::Subscribed { subscription: once } =
        ask(&mut consumer, vec![Command::Subscribe(once)]).remove(0)
    else {
        panic!("no subscription");
    };
    for qos in [Qos::AtLeastOnce, Qos::AtMostOnce] {
        for id in ["shop", "mill"] {
            let Command::Publish(publish) = publish(b"x") else { panic!("no publish") };
            let publish = Command::Publish(Publish { qos, ..publish });
            ask(&mut broker.open(keyed(id)), vec![publish]);
            for subscription in [stored, once] {
                let received = ask(
                    &mut consumer,
                    vec![Command::Receive(Receive::one(Source::Subscription(subscription)))],
                );
                let Answer::Delivered(delivery) = &received[0] else { panic!("{received:?}") };
                assert_eq!(delivery.carried.sender, id.as_bytes(), "{qos:?} {subscription:?}");
            }
        }
    }
    broker.stop().unwrap();
}

#[test]
fn a_clock_far_ahead_of_the_log_is_refused_unless_it_is_accepted() {
    let disk = SimulatedDisk::with_faults(1);
    drop(start(disk.clone(), &config(), noon(), ENTROPY).unwrap());
    disk.crash_process();
    let before = disk.paths();
    let tomorrow = Timestamp::from_millis(noon().as_millis() + 25 * HOUR);
    let refused = start(disk.clone(), &config(), tomorrow, ENTROPY).err().unwrap();
    assert!(matches!(refused, StartError::Clock { ahead } if ahead.as_secs() == 25 * 3600));
    assert_eq!(disk.paths(), before);
    disk.crash_process();
    let accepting = LocalConfig { accept_clock: true, ..config() };
    assert_eq!(start(disk.clone(), &accepting, tomorrow, ENTROPY).unwrap().now, tomorrow);
}

#[test]
fn time_does_not_go_back_with_the_clock() {
    let disk = SimulatedDisk::with_faults(1);
    drop(start(disk.clone(), &config(), noon(), ENTROPY).unwrap());
    disk.crash_process();
    let yesterday = Timestamp::from_millis(noon().as_millis() - 24 * HOUR);
    assert_eq!(start(disk.clone(), &config(), yesterday, ENTROPY).unwrap().now, noon());
}

#[test]
fn a_message_that_can_t_be_read_back_goes_to_the_dead_set_and_the_next_one_comes() {
    let disk = SimulatedDisk::with_faults(1);
    let broker = Broker::new(backend(&disk));
    let mut session = open(&broker);
    let subscription = subscribe(&mut session);
    ask(&mut session, vec![publish(b"damaged on disk"), publish(b"sound")]);
    let bytes = disk.bytes("00000001.seg");
    let at = bytes.windows(7).position(|window| window == b"damaged").unwrap();
    disk.flip_bit("00000001.seg", at as u64 * 8);
    let receive = || vec![Command::Receive(Receive::one(Source::Subscription(subscription)))];
    assert_eq!(ask(&mut session, receive()), [Answer::Unreadable { more: false }]);
    let [Answer::Delivered(delivery)] = &ask(&mut session, receive())[..] else {
        panic!("the sound message did not come");
    };
    assert_eq!(&delivery.carried.payload[..], b"sound");
    assert_eq!((broker.stats().dead, broker.stats().queued), (1, 2));
    session.close(sluice_broker::ClosedBy::Broker);
    broker.stop().unwrap();
}

#[test]
fn a_failed_sync_leaves_the_publish_in_doubt_and_ends_the_broker() {
    let disk = SimulatedDisk::with_faults(1);
    let backend = backend(&disk);
    let mut failure = pin!(poll_fn(|context| backend.poll_failure(context)));
    let mut context = Context::from_waker(Waker::noop());
    assert!(failure.as_mut().poll(&mut context).is_pending());
    let mut link =
        backend.open(Client { principal: Principal::Anonymous, peer: [127, 0, 0, 1].into() });
    let pattern = TopicPattern::new("t").unwrap();
    let subscribe = Subscribe::unnamed(pattern, Qos::AtLeastOnce);
    disk.set_faults(Faults { sync: 10_000, ..Faults::default() });
    let request = |tag, command| Request { tag, command };
    let mut requests =
        VecDeque::from([request(1, Command::Subscribe(subscribe)), request(2, publish(b"x"))]);
    link.submit(&mut requests);
    let mut replies = Vec::new();
    while replies.len() < 2 {
        block_on(poll_fn(|context| link.poll_replies(context)));
        link.take_replies(&mut replies);
    }
    for reply in replies {
        let Answer::Refused(refusal) = reply.answer else { panic!("{reply:?}") };
        assert_eq!(refusal.code, Code::Indeterminate);
    }
    assert!(block_on(failure).to_string().contains("sync"));
    link.close(sluice_broker::ClosedBy::Broker);
    assert!(backend.stop().is_err());
}

#[test]
fn what_was_confirmed_is_there_after_a_crash_of_the_machine_and_what_was_acked_is_not() {
    let disk = SimulatedDisk::with_faults(5);
    let broker = Broker::new(backend(&disk));
    let mut session = open(&broker);
    let subscription = subscribe(&mut session);
    ask(&mut session, vec![publish(b"first"), publish(b"second")]);
    let [Answer::Delivered(first)] = &ask(
        &mut session,
        vec![Command::Receive(Receive::one(Source::Subscription(subscription)))],
    )[..] else {
        panic!("the first message did not come");
    };
    let lease = first.lease.unwrap();
    ask(&mut session, vec![Command::Ack { lease, confirm: Confirm::Always }]);
    disk.crash_power();
    drop(session);
    // The old broker only finds out that its disk is gone.
    let _ = broker.stop();

    let broker = Broker::new(backend(&disk));
    let mut session = open(&broker);
    let subscription = subscribe(&mut session);
    let receive = vec![
        Command::Receive(Receive::one(Source::Subscription(subscription))),
        Command::Receive(Receive::one(Source::Subscription(subscription))),
    ];
    let [Answer::Delivered(second), Answer::Empty { .. }] = &ask(&mut session, receive)[..] else {
        panic!("exactly the second message was due");
    };
    assert_eq!((&second.carried.payload[..], second.redelivered), (&b"second"[..], true));
    session.close(sluice_broker::ClosedBy::Client);
    broker.stop().unwrap();
}

#[test]
fn publishes_that_wait_for_a_checkpoint_are_woken_by_it() {
    let disk = SimulatedDisk::new();
    let config = LocalConfig { replay_max: 64 << 10, ..config() };
    let backend = LocalBackend::open(disk, &config, noon(), ENTROPY, true).unwrap().0;
    let broker = Broker::new(backend);
    let mut session = open(&broker);
    subscribe(&mut session);
    let body = [b'.'; 4000];
    let publish = || {
        let Command::Publish(publish) = publish(b"") else { unreachable!() };
        let message = Message::plain(Bytes::copy_from_slice(&body));
        Command::Publish(Publish { message, ..publish })
    };
    let mut requests: VecDeque<_> =
        (1..=1000).map(|tag| Request { tag, command: publish() }).collect();
    let mut replies = Vec::new();
    while replies.len() < 1000 {
        session.submit(&mut requests);
        block_on(session.replies());
        let before = replies.len();
        session.take_replies(&mut replies);
        session.written(replies[before..].iter().map(Reply::weight).sum());
    }
    let stats = broker.stats();
    assert!(stats.replay_waits > 0 && stats.replay_bytes_max <= 64 << 10, "{stats:?}");
    session.close(sluice_broker::ClosedBy::Client);
    broker.stop().unwrap();
}
