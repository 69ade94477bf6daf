//! The log's bounds under steady traffic: a driver on a simulated disk, with a clock by script.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use sluice_broker::Stats;
use sluice_broker::local::{
    Access, Driver, Entropy, Housekeeper, Input, LocalConfig, NextStep, Parcel, ParcelContent,
    start,
};
use sluice_engine::EndedBy;
use sluice_model::{
    Answer, Client, Code, Command, Confirm, Destination, LeaseId, Message, Principal, Publish, Qos,
    Receive, Request, SessionId, Source, Subscribe, SubscriptionId, Timestamp, Topic, TopicPattern,
};
use sluice_wal::{Faults, Log, SimulatedDisk};

/// Small, and to each other as they are by default.
const SEGMENT: u64 = 512 << 10;
const REPLAY_MAX: u64 = 256 << 10;
const PER_ROUND: usize = 8;

fn config() -> LocalConfig {
    let mut config = LocalConfig { replay_max: REPLAY_MAX, ..LocalConfig::default() };
    config.wal.segment_bytes = SEGMENT;
    config.wal.record_max = 32 << 10;
    config.wal.frame_bytes = 16 << 10;
    config.engine.queue.max_message_bytes = 16 << 10;
    config.engine.unnamed.max_message_bytes = 16 << 10;
    config
}

struct Direct<'a>(&'a mut Driver<SimulatedDisk>, Timestamp);

impl Access<SimulatedDisk> for Direct<'_> {
    fn with<R>(&mut self, work: impl FnOnce(&mut Driver<SimulatedDisk>, Timestamp) -> R) -> R {
        work(self.0, self.1)
    }
}

struct Consumer {
    session: SessionId,
    subscription: SubscriptionId,
    held: Vec<LeaseId>,
}

/// A broker with one publisher and one consumer that keeps up.
struct Steady {
    disk: SimulatedDisk,
    driver: Driver<SimulatedDisk>,
    housekeeper: Housekeeper<SimulatedDisk>,
    now: Timestamp,
    publisher: SessionId,
    requests: VecDeque<Request>,
    consumer: Option<Consumer>,
    published: u64,
    refused: Vec<Code>,
    tag: u64,
    largest_image: u64,
}

impl Steady {
    fn new(disk: SimulatedDisk) -> Self {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let started = start(disk.clone(), &config(), now, Entropy { log_id: 1, seed: 1 }).unwrap();
        let mut driver = started.driver;
        let publisher = driver.open(client(1));
        let mut steady = Self {
            disk,
            driver,
            housekeeper: started.housekeeper,
            now,
            publisher,
            requests: VecDeque::new(),
            consumer: None,
            published: 0,
            refused: Vec::new(),
            tag: 0,
            largest_image: 0,
        };
        steady.consumer = Some(steady.subscribe(2, "t"));
        steady
    }

    fn subscribe(&mut self, peer: u8, pattern: &str) -> Consumer {
        let session = self.driver.open(client(peer));
        let pattern = TopicPattern::new(pattern).unwrap();
        let subscribe = Subscribe::unnamed(pattern, Qos::AtLeastOnce);
        let request = Request { tag: 0, command: Command::Subscribe(subscribe) };
        let parcels = self.submit(session, &mut VecDeque::from([request]));
        match &parcels[..] {
            [
                Parcel {
                    content: ParcelContent::Answer(Answer::Subscribed { subscription }), ..
                },
            ] => Consumer { session, subscription: *subscription, held: Vec::new() },
            other => panic!("{other:?}"),
        }
    }

    /// Runs requests and commits until nothing waits, and takes the session's replies.
    fn submit(&mut self, session: SessionId, requests: &mut VecDeque<Request>) -> Vec<Parcel> {
        let input = Input::Requests { session, written: 0, requests };
        self.driver.turn(self.now, input).unwrap();
        while let Some(commit) = self.driver.take_commit(self.now) {
            self.driver.turn(self.now, Input::Committed(commit.run())).unwrap();
        }
        let parcels: Vec<_> = self.driver.take_released().collect();
        assert!(parcels.iter().all(|(to, _)| *to == session));
        let weight = parcels.iter().map(|(_, parcel)| parcel.weight).sum();
        let written = Input::Requests { session, written: weight, requests: &mut VecDeque::new() };
        self.driver.turn(self.now, written).unwrap();
        parcels.into_iter().map(|(_, parcel)| parcel).collect()
    }

    fn request(&mut self, command: Command) -> Request {
        self.tag += 1;
        Request { tag: self.tag, command }
    }

    /// Publishes to `topic` unless earlier publishes still wait; says whether it did.
    fn publish(&mut self, topic: &str, bytes: usize) -> bool {
        let offered = self.requests.is_empty();
        if offered {
            let publish = Publish {
                to: Destination::Topic(Topic::new(topic).unwrap()),
                level: None,
                qos: Qos::AtLeastOnce,
                message: Message::plain(Bytes::from(vec![b'.'; bytes])),
                confirm: Confirm::Always,
            };
            let request = self.request(Command::Publish(publish));
            self.requests.push_back(request);
        }
        let mut requests = std::mem::take(&mut self.requests);
        for parcel in self.submit(self.publisher, &mut requests) {
            match parcel.content {
                ParcelContent::Answer(Answer::Published { .. }) => self.published += 1,
                ParcelContent::Answer(Answer::Refused(refusal)) => self.refused.push(refusal.code),
                other => panic!("{other:?}"),
            }
        }
        self.requests = requests;
        offered
    }

    /// The consumer acks what it holds and takes what there is.
    fn consume(&mut self) {
        let Some(mut consumer) = self.consumer.take() else { return };
        let mut requests = VecDeque::new();
        for lease in std::mem::take(&mut consumer.held) {
            requests.push_back(self.request(Command::Ack { lease, confirm: Confirm::Always }));
        }
        for _ in 0..2 * PER_ROUND {
            let subscription = consumer.subscription;
            requests.push_back(
                self.request(Command::Receive(Receive::one(Source::Subscription(subscription)))),
            );
        }
        for parcel in self.submit(consumer.session, &mut requests) {
            consumer.held.extend(parcel.leases());
        }
        self.consumer = Some(consumer);
    }

    /// One step of the housekeeper, and what must hold after it.
    fn keep_house(&mut self) -> NextStep {
        let images = self.driver.stats().image_bytes;
        let mut access = Direct(&mut self.driver, self.now);
        let next = self.housekeeper.step(&mut access).unwrap();
        let Stats { image_bytes, log_bytes, replay_bytes, .. } = self.driver.stats();
        self.largest_image = self.largest_image.max(image_bytes - images);
        assert!(replay_bytes <= REPLAY_MAX, "a start would replay {replay_bytes} bytes");
        let allowed = log_bytes / 3 + self.largest_image;
        assert!(image_bytes <= allowed, "images took {image_bytes} bytes of {log_bytes}");
        next
    }

    fn round(&mut self, topics: &[(&str, usize)]) {
        self.now = self.now.after(Duration::from_millis(1));
        for (topic, bytes) in topics {
            self.publish(topic, *bytes);
        }
        self.consume();
        for _ in 0..2 {
            self.keep_house();
        }
        self.check_files();
    }

    /// The log stays below twice the live bytes and four segments.
    fn check_files(&self) {
        let Stats { file_bytes, live_bytes, .. } = self.driver.stats();
        let bound = 2 * live_bytes + 4 * SEGMENT;
        assert!(file_bytes <= bound, "{file_bytes} bytes of files for {live_bytes} live ones");
    }

    /// What is really on the disk agrees with what is counted.
    fn check_disk(&self) {
        let segments = self.disk.paths().into_iter().filter(|path| path.ends_with(".seg"));
        let bytes: usize = segments.map(|path| self.disk.bytes(&path).len()).sum();
        assert_eq!(bytes as u64, self.driver.stats().file_bytes);
    }

    /// What a start would really replay stays bounded.
    fn check_replay(&self) {
        let bytes = replayed_by_a_start(&self.disk);
        assert!(bytes <= REPLAY_MAX, "a start replays {bytes} bytes");
    }
}

/// Bytes of records that a start on a copy of the disk replays.
fn replayed_by_a_start(disk: &SimulatedDisk) -> u64 {
    let copy = SimulatedDisk::from_snapshot(&disk.snapshot());
    copy.crash_process();
    let opened = Log::scan(copy, config().wal, 2).unwrap().open(0).unwrap();
    let mut bytes = 0;
    let sum = opened.replay(|record| {
        bytes += record.head.len() as u64 + u64::from(record.body.len);
        Ok(())
    });
    sum.unwrap();
    bytes
}

fn client(peer: u8) -> Client {
    Client { principal: Principal::Anonymous, peer: [127, 0, 0, peer].into() }
}

fn topics(round: usize) -> Vec<(&'static str, usize)> {
    (0..PER_ROUND).map(|n| ("t", 100 + (round * 37 + n * 101) % 1500)).collect()
}

#[test]
fn under_steady_traffic_files_replay_and_images_stay_bounded() {
    let mut steady = Steady::new(SimulatedDisk::new());
    for round in 0..4000 {
        steady.round(&topics(round));
        if round % 100 == 0 {
            steady.check_disk();
            steady.check_replay();
        }
    }
    let stats = steady.driver.stats();
    assert!(stats.log_bytes > 80 * REPLAY_MAX, "too little traffic: {stats:?}");
    assert_eq!((steady.published, stats.replay_waits), (4000 * PER_ROUND as u64, 0));
    assert!(stats.queued <= 2 * PER_ROUND as u64);
}

#[test]
fn an_abandoned_subscription_is_moved_out_of_the_way() {
    let mut steady = Steady::new(SimulatedDisk::new());
    let Consumer { session, .. } = steady.subscribe(3, "rare");
    let unsent = Vec::new();
    steady.driver.turn(steady.now, Input::Close { session, by: EndedBy::Client, unsent }).unwrap();
    for round in 0..4000 {
        let mut topics = topics(round);
        if round % 10 == 0 {
            topics.push(("rare", 700));
        }
        steady.round(&topics);
        if round % 100 == 0 {
            steady.check_disk();
            steady.check_replay();
        }
    }
    let stats = steady.driver.stats();
    assert!(stats.moved_bytes > 0 && stats.queued >= 400, "{stats:?}");
    assert!(stats.moved_bytes < stats.log_bytes / 2, "{stats:?}");
}

#[test]
fn publishes_wait_for_a_housekeeper_that_has_no_time_to_clear_segments() {
    let mut steady = Steady::new(SimulatedDisk::new());
    let Consumer { session, .. } = steady.subscribe(3, "rare");
    let unsent = Vec::new();
    steady.driver.turn(steady.now, Input::Close { session, by: EndedBy::Client, unsent }).unwrap();
    for round in 0..12_000 {
        steady.now = steady.now.after(Duration::from_millis(1));
        steady.publish(if round % 10 == 0 { "rare" } else { "t" }, 4_000);
        steady.consume();
        if round % 4 == 0 {
            steady.keep_house();
        }
        steady.check_files();
    }
    let stats = steady.driver.stats();
    assert!(stats.moved_bytes > 0 && stats.queued >= 400, "{stats:?}");
    assert!(stats.clearing_waits > 0 && steady.published > 4_000, "{stats:?}");
    assert_eq!(steady.refused, []);
}

#[test]
fn images_of_many_queues_stay_below_a_third_of_the_log() {
    // As many for this replay_max as some hundreds for the default one.
    const TOPICS: [&str; 4] = ["a", "b", "c", "d"];
    let mut steady = Steady::new(SimulatedDisk::new());
    for (peer, topic) in (3..).zip(TOPICS) {
        steady.subscribe(peer, topic);
    }
    for round in 0..3000 {
        let mut topics = topics(round);
        topics.push((TOPICS[round % 4], 200));
        steady.round(&topics);
    }
    let Stats { image_bytes, log_bytes, .. } = steady.driver.stats();
    assert!(image_bytes > log_bytes / 20, "images of {image_bytes} bytes prove nothing");
}

#[test]
fn a_backlog_of_tiny_messages_is_not_copied_again_and_again() {
    let mut steady = Steady::new(SimulatedDisk::new());
    let Consumer { .. } = steady.subscribe(3, "rare");
    for _ in 0..5000 {
        steady.round(&[("rare", 1), ("rare", 2), ("rare", 3)]);
    }
    let copied = steady.driver.stats().moved_bytes;
    for _ in 0..200 {
        steady.keep_house();
    }
    let stats = steady.driver.stats();
    assert!(copied <= stats.log_bytes / 2, "{stats:?}");
    assert_eq!(stats.moved_bytes, copied, "it ends when there is nothing to gain");
}

#[test]
fn publishes_wait_for_a_checkpoint_and_acks_do_not() {
    let mut steady = Steady::new(SimulatedDisk::new());
    for round in 0..3000 {
        steady.now = steady.now.after(Duration::from_millis(1));
        steady.publish("t", 4000);
        steady.consume();
        // Far too little time for the housekeeper.
        if round % 60 == 0 {
            steady.keep_house();
        }
        let waits = !steady.requests.is_empty();
        let held = steady.consumer.as_ref().map_or(0, |consumer| consumer.held.len());
        assert!(!waits || held <= 1, "the consumer went on while the publisher waited");
        assert!(steady.driver.stats().replay_bytes <= REPLAY_MAX);
    }
    let stats = steady.driver.stats();
    assert!(stats.replay_waits > 10 && steady.published > 500, "{stats:?}");
    assert_eq!(steady.refused, []);
    while !steady.requests.is_empty() {
        steady.keep_house();
        for session in steady.driver.take_woken() {
            assert_eq!(session, steady.publisher);
            steady.publish("t", 1);
        }
    }
}

#[test]
fn publishes_are_refused_while_no_checkpoint_can_be_written() {
    let disk = SimulatedDisk::with_faults(3);
    let mut steady = Steady::new(disk.clone());
    let broken = Faults { write: 10_000, ..Faults::default() };
    let mut failures = 0;
    while steady.refused.is_empty() {
        steady.publish("t", 4000);
        steady.consume();
        disk.set_faults(broken);
        let mut access = Direct(&mut steady.driver, steady.now);
        failures += u32::from(steady.housekeeper.step(&mut access).is_err());
        disk.set_faults(Faults::default());
        assert!(failures < 1000, "nothing was refused");
    }
    assert_eq!(steady.refused, [Code::Overloaded]);
    for _ in 0..20 {
        steady.keep_house();
    }
    let before = steady.published;
    steady.publish("t", 4000);
    assert_eq!(steady.published, before + 1, "the disk is well again");
}

#[test]
fn broken_starts_do_not_add_up_to_a_longer_replay() {
    let disk = SimulatedDisk::new();
    for _ in 0..40 {
        let mut steady = Steady::new(disk.clone());
        // It dies before its housekeeper has done anything.
        for _ in 0..20 {
            steady.publish("t", 4000);
            steady.consume();
        }
        steady.check_replay();
        disk.crash_process();
    }
}
