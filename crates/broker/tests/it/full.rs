//! A driver on a disk that something else fills and frees, with a clock by script.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use sluice_broker::Stats;
use sluice_broker::local::{
    Access, Driver, Entropy, Housekeeper, Input, LocalConfig, Look, Parcel, ParcelContent, start,
};
use sluice_model::{
    Answer, Client, Code, Command, Confirm, Destination, LeaseId, Message, Outcome, Principal,
    Publish, Purge, Qos, QueueName, QueueRequest, QueueSettings, Receive, Request, SessionId,
    Source, Timestamp,
};
use sluice_wal::SimulatedDisk;

const CAPACITY: u64 = 8 << 20;
const PAYLOAD: usize = 2_000;

fn config() -> LocalConfig {
    let mut config = LocalConfig { replay_max: 64 << 10, ..LocalConfig::default() };
    config.wal.segment_bytes = 64 << 10;
    config.wal.record_max = 16 << 10;
    config.wal.frame_bytes = 8 << 10;
    config.wal.settlements_reserve = 128 << 10;
    config.engine.queue.max_message_bytes = 8 << 10;
    config.engine.unnamed.max_message_bytes = 8 << 10;
    config
}

fn queue() -> QueueName {
    QueueName::new("q").unwrap()
}

struct Direct<'a>(&'a mut Driver<SimulatedDisk>, Timestamp);

impl Access<SimulatedDisk> for Direct<'_> {
    fn with<R>(&mut self, work: impl FnOnce(&mut Driver<SimulatedDisk>, Timestamp) -> R) -> R {
        work(self.0, self.1)
    }
}

/// A broker, and a client that does everything.
struct Rig {
    disk: SimulatedDisk,
    driver: Driver<SimulatedDisk>,
    housekeeper: Housekeeper<SimulatedDisk>,
    now: Timestamp,
    session: SessionId,
}

impl Rig {
    fn new() -> Self {
        let disk = SimulatedDisk::with_faults(1);
        disk.set_capacity(Some(CAPACITY));
        let mut rig = Self::start(disk, Timestamp::from_millis(1_700_000_000_000));
        let answer = rig.one(declare("q"));
        assert!(matches!(answer, Answer::Declared { .. }), "{answer:?}");
        rig
    }

    fn start(disk: SimulatedDisk, now: Timestamp) -> Self {
        let started = start(disk.clone(), &config(), now, Entropy { log_id: 1, seed: 1 }).unwrap();
        let (mut driver, housekeeper) = (started.driver, started.housekeeper);
        let principal = Principal::Anonymous;
        let session = driver.open(Client { principal, peer: [127, 0, 0, 1].into() });
        Self { disk, driver, housekeeper, now: started.now, session }
    }

    /// Dies, and starts again a moment later.
    fn restart(self, power: bool) -> Self {
        let Self { disk, driver, housekeeper, now, .. } = self;
        drop((driver, housekeeper));
        if power {
            disk.crash_power()
        } else {
            disk.crash_process()
        }
        Self::start(disk, now.after(Duration::from_secs(60)))
    }

    fn ask(&mut self, commands: Vec<Command>) -> Vec<Parcel> {
        let session = self.session;
        let requests = (1..).zip(commands).map(|(tag, command)| Request { tag, command });
        let mut requests: VecDeque<_> = requests.collect();
        let mut parcels = Vec::new();
        let mut written = 0;
        while !requests.is_empty() {
            let input = Input::Requests { session, written, requests: &mut requests };
            self.driver.turn(self.now, input).unwrap();
            self.commit();
            let released: Vec<_> = self.driver.take_released().map(|(_, parcel)| parcel).collect();
            written = released.iter().map(|parcel| parcel.weight).sum();
            parcels.extend(released);
            if !requests.is_empty() && self.driver.take_woken().is_empty() {
                // It waits for a checkpoint.
                self.keep_house(1);
            }
        }
        let input = Input::Requests { session, written, requests: &mut requests };
        self.driver.turn(self.now, input).unwrap();
        parcels
    }

    fn commit(&mut self) {
        if let Some(looked) = self.driver.take_look().and_then(Look::run) {
            self.driver.turn(self.now, Input::Looked(looked)).unwrap();
        }
        while let Some(commit) = self.driver.take_commit(self.now) {
            self.driver.turn(self.now, Input::Committed(commit.run())).unwrap();
        }
    }

    fn one(&mut self, command: Command) -> Answer {
        let mut parcels = self.ask(vec![command]);
        assert_eq!(parcels.len(), 1, "{parcels:?}");
        match parcels.remove(0).content {
            ParcelContent::Answer(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn refused(&mut self, command: Command) -> Option<Code> {
        match self.one(command) {
            Answer::Refused(refusal) => {
                assert!(refusal.code != Code::NoSpace || refusal.retry_after.is_some());
                Some(refusal.code)
            }
            _ => None,
        }
    }

    fn publish(&mut self) -> Option<Code> {
        self.refused(publish())
    }

    /// Takes up to so many messages; none where that is refused.
    fn receive(&mut self, max: u32) -> Option<Vec<LeaseId>> {
        let receive = Receive { max, ..Receive::one(Source::Queue(queue())) };
        let parcels = self.ask(vec![Command::Receive(receive)]);
        if let [Parcel { content: ParcelContent::Answer(Answer::Refused(refusal)), .. }] =
            &parcels[..]
        {
            assert_eq!(refusal.code, Code::NoSpace);
            return None;
        }
        Some(parcels.iter().flat_map(Parcel::leases).collect())
    }

    fn ack(&mut self, lease: LeaseId) -> Option<Code> {
        self.refused(Command::Ack { lease, confirm: Confirm::Always })
    }

    /// Takes and acks until nothing is left, and gives the numbers of the messages.
    fn drain(&mut self) -> Vec<u64> {
        let mut drained = Vec::new();
        loop {
            let leases = self.receive(5).expect("deliveries go on");
            if leases.is_empty() {
                return drained;
            }
            for lease in leases {
                assert_eq!(self.ack(lease), None);
                drained.push(lease.seq.0);
            }
            self.keep_house(3);
        }
    }

    /// So many steps of background work, 10 ms apart.
    fn keep_house(&mut self, steps: u32) {
        for _ in 0..steps {
            self.now = self.now.after(Duration::from_millis(10));
            let mut access = Direct(&mut self.driver, self.now);
            self.housekeeper.step(&mut access).unwrap();
            self.driver.turn(self.now, Input::Tick).unwrap();
            self.commit();
        }
    }

    fn stats(&self) -> Stats {
        self.driver.stats()
    }
}

fn declare(name: &str) -> Command {
    let (name, settings) = (QueueName::new(name).unwrap(), QueueSettings::default());
    Command::Queue(Box::new(QueueRequest::Declare { name, settings, update: false }))
}

fn publish() -> Command {
    Command::Publish(Publish {
        to: Destination::Queue(queue()),
        level: None,
        qos: Qos::AtLeastOnce,
        message: Message::plain(Bytes::from(vec![b'.'; PAYLOAD])),
        confirm: Confirm::Always,
    })
}

fn loaded(messages: usize) -> Rig {
    let mut rig = Rig::new();
    for _ in 0..messages {
        assert_eq!(rig.publish(), None);
        rig.keep_house(1);
    }
    rig
}

#[test]
fn publishes_are_refused_consumers_drain_to_empty_and_the_mode_ends_with_space() {
    let mut rig = loaded(300);
    assert!(!rig.stats().disk_is_low);
    rig.disk.fill(0);
    rig.keep_house(21);
    let Stats { disk_is_low, reserve_bytes, settlements_left, .. } = rig.stats();
    assert!(disk_is_low && reserve_bytes > 0);
    assert_eq!(settlements_left, 128 << 10);
    assert_eq!(rig.publish(), Some(Code::NoSpace));
    assert_eq!(rig.refused(declare("other")), Some(Code::NoSpace));
    assert_eq!(rig.refused(declare("q")), None, "a queue that is there");
    let mut drained: BTreeSet<u64> = rig.drain().into_iter().collect();
    assert_eq!(drained.len(), 300, "nothing is lost and nothing comes twice");
    let purge = Purge { waiting: true, leased: true, dead: true };
    let purge = QueueRequest::Purge { name: queue(), what: purge };
    assert_eq!(rig.refused(Command::Queue(Box::new(purge))), None);
    rig.disk.free();
    rig.keep_house(100);
    assert!(!rig.stats().disk_is_low, "one second after space returned");
    assert_eq!(rig.publish(), None);
    drained.extend(rig.drain());
    assert_eq!(drained.len(), 301);
    let Stats { disk_low_times, refused_space, queued, .. } = rig.stats();
    assert_eq!((disk_low_times, refused_space, queued), (1, 2, 0));
}

#[test]
fn segments_that_consumers_emptied_give_their_space_back_on_a_disk_that_stays_full() {
    let mut rig = loaded(300);
    rig.disk.fill(0);
    rig.keep_house(21);
    let before = rig.stats().file_bytes;
    assert_eq!(rig.drain().len(), 300);
    rig.keep_house(400);
    let Stats { file_bytes, disk_free, .. } = rig.stats();
    assert!(file_bytes <= 4 * (64 << 10), "{file_bytes} of {before} bytes are left");
    assert!(disk_free > before / 2, "{disk_free}");
}

#[test]
fn a_disk_that_fills_in_a_moment_fails_nothing_that_was_taken() {
    for ahead in 0..40 {
        let mut rig = loaded(ahead);
        rig.disk.fill(0);
        let mut taken = ahead;
        let refused = loop {
            match rig.publish() {
                None => taken += 1,
                Some(code) => break code,
            }
        };
        assert_eq!(refused, Code::NoSpace);
        assert!(taken < ahead + 200, "{taken} were taken on a full disk");
        let left = rig.stats().settlements_left;
        assert_eq!(left, 128 << 10, "publishes leave the settlements' part alone");
        assert_eq!(rig.drain().len(), taken);
    }
}

/// How many messages are taken after the last checkpoint before one has to wait.
fn taken_before_one_waits() -> u32 {
    let mut rig = Rig::new();
    let before = rig.now;
    (0..).find(|_| rig.publish().is_some() || rig.now > before).unwrap()
}

#[test]
fn a_publish_that_has_to_wait_is_refused_at_once_if_the_disk_is_full() {
    let mut rig = Rig::new();
    for _ in 0..taken_before_one_waits() {
        assert_eq!(rig.publish(), None);
    }
    rig.disk.fill(0);
    let before = rig.now;
    assert_eq!(rig.publish(), Some(Code::NoSpace));
    assert_eq!(rig.now, before, "without any background work");
    assert!(rig.stats().disk_is_low);
}

#[test]
fn a_publish_that_waits_is_refused_once_a_checkpoint_needs_the_reserve() {
    let mut rig = Rig::new();
    for _ in 0..taken_before_one_waits() {
        assert_eq!(rig.publish(), None);
    }
    let session = rig.session;
    let mut requests = VecDeque::from([Request { tag: 1, command: publish() }]);
    let input = Input::Requests { session, written: 0, requests: &mut requests };
    rig.driver.turn(rig.now, input).unwrap();
    rig.commit();
    assert_eq!((requests.len(), rig.stats().disk_is_low), (1, false));
    rig.disk.fill(0);
    rig.keep_house(1);
    assert_eq!(rig.driver.take_woken(), [session], "before the checkpoint is there");
    assert_eq!(rig.stats().image_bytes, 0);
    let input = Input::Requests { session, written: 0, requests: &mut requests };
    rig.driver.turn(rig.now, input).unwrap();
    let [(_, parcel)] = &rig.driver.take_released().collect::<Vec<_>>()[..] else { panic!() };
    let ParcelContent::Answer(Answer::Refused(refusal)) = &parcel.content else { panic!() };
    assert_eq!(refusal.code, Code::NoSpace);
}

#[test]
fn publishes_are_taken_the_moment_the_mode_ends_though_checkpoints_had_failed() {
    // Space returns at one moment or another after a checkpoint has failed.
    for later in [0, 20, 40, 60, 80] {
        let mut rig = loaded(40);
        rig.disk.fill(0);
        rig.keep_house(21);
        // More checkpoints than the reserve has space for, and more to replay than publishes may
        // add.
        while rig.stats().replay_bytes <= 48 << 10 {
            let lease = rig.receive(1).unwrap()[0];
            let nack = Outcome::Released { delay: None };
            let nack = Command::Nack { lease, outcome: nack, confirm: Confirm::Always };
            assert_eq!(rig.refused(nack), None);
            rig.keep_house(1);
            rig.disk.fill(0);
        }
        rig.keep_house(later);
        rig.disk.free();
        while rig.stats().disk_is_low {
            rig.keep_house(1);
        }
        let ended = rig.now;
        assert_eq!(rig.publish(), None);
        let waited = rig.now.since(ended);
        assert!(waited < Duration::from_millis(100), "{waited:?}");
    }
}

#[test]
fn crashes_and_starts_while_the_disk_is_full_lose_nothing() {
    for power in [false, true] {
        let mut rig = loaded(100);
        rig.disk.fill(0);
        rig.keep_house(21);
        for _ in 0..5 {
            rig = rig.restart(power);
            assert!(rig.stats().disk_is_low, "from the start on");
            assert_eq!(rig.publish(), Some(Code::NoSpace));
            let lease = rig.receive(1).unwrap()[0];
            assert_eq!(rig.ack(lease), None);
        }
        for _ in 0..30 {
            rig = rig.restart(power);
        }
        assert_eq!(rig.drain().len(), 95);
        rig.disk.free();
        rig.keep_house(100);
        assert_eq!(rig.publish(), None);
    }
}

#[test]
fn a_broker_that_ends_after_each_checkpoint_starts_on_a_full_disk_again_and_again() {
    let mut rig = loaded(100);
    rig.disk.fill(0);
    rig.keep_house(21);
    rig.disk.free();
    // Not enough for a segment, and what is left over when others are removed.
    rig.disk.fill(60 << 10);
    for left in (61..101).rev() {
        rig = rig.restart(false);
        assert!(rig.stats().disk_is_low);
        assert_eq!(rig.stats().queued, left);
        let lease = rig.receive(1).unwrap()[0];
        assert_eq!(rig.ack(lease), None);
        let made = (0..20).find(|_| {
            rig.keep_house(1);
            rig.stats().image_bytes > 0
        });
        assert!(made.is_some());
        rig.keep_house(10);
    }
    assert_eq!(rig.drain().len(), 60);
}

#[test]
fn settlements_that_use_up_their_part_are_refused_and_the_log_goes_on_with_space() {
    let mut rig = loaded(20);
    rig.disk.fill(0);
    rig.keep_house(21);
    // Without background work nothing makes room.
    let held = rig.receive(2).unwrap();
    let mut deliveries = 0;
    while let Some(leases) = rig.receive(1) {
        let nack = Outcome::Released { delay: None };
        let nack = Command::Nack { lease: leases[0], outcome: nack, confirm: Confirm::Always };
        assert_eq!(rig.refused(nack), None);
        deliveries += 1;
        if deliveries % 900 == 0 {
            // Spent releases would send it to the dead set.
            let lease = rig.receive(1).unwrap()[0];
            assert_eq!(rig.ack(lease), None);
        }
    }
    let half = rig.stats().settlements_left;
    assert!(((60 << 10)..(64 << 10)).contains(&half), "{half} bytes left");
    let extend =
        Command::Extend { lease: held[0], by: Duration::from_secs(30), confirm: Confirm::Always };
    while rig.refused(extend.clone()).is_none() {}
    assert_eq!(rig.refused(extend.clone()), Some(Code::NoSpace));
    assert_eq!(rig.ack(held[0]), Some(Code::NoSpace));
    // Leases end, and what comes of it finds room or waits.
    for _ in 0..50 {
        rig.now = rig.now.after(Duration::from_secs(1));
        rig.driver.turn(rig.now, Input::Tick).unwrap();
        rig.commit();
    }
    rig.disk.free();
    rig.keep_house(100);
    assert!(!rig.stats().disk_is_low);
    assert_eq!(rig.publish(), None);
    let queued = rig.stats().queued;
    assert_eq!(rig.drain().len() as u64, queued);
}
