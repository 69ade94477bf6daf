//! Backups of a driver that goes on, and what a start on a restored log shows: the same messages,
//! in the same states, with the same counts.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use sluice_broker::BackupState;
use sluice_broker::local::{
    Access, Driver, Entropy, Housekeeper, Input, LocalConfig, ParcelContent, Restorable, Restored,
    start,
};
use sluice_engine::Body;
use sluice_model::{
    Answer, Client, Code, Command, Confirm, Destination, Extras, Filter, LeaseId, Message,
    MessageInfo, Outcome, Principal, Publish, Qos, QueueName, QueueRequest, QueueSettings, Receive,
    Request, SessionId, Source, Timestamp,
};
use sluice_wal::{Shelf, SimulatedDisk};

const HOUR: Duration = Duration::from_secs(3600);

fn config() -> LocalConfig {
    let mut config = LocalConfig { replay_max: 128 << 10, ..LocalConfig::default() };
    config.wal.segment_bytes = 256 << 10;
    config.wal.record_max = 64 << 10;
    config.wal.frame_bytes = 16 << 10;
    config.engine.queue.max_message_bytes = 32 << 10;
    config.engine.unnamed.max_message_bytes = 32 << 10;
    // Bodies are read back from the disk.
    config.wal.resident_bytes = 0;
    config
}

struct Direct<'a>(&'a mut Driver<SimulatedDisk>, Timestamp);

impl Access<SimulatedDisk> for Direct<'_> {
    fn with<R>(&mut self, work: impl FnOnce(&mut Driver<SimulatedDisk>, Timestamp) -> R) -> R {
        work(self.0, self.1)
    }
}

/// A broker with one client and one queue.
struct World {
    driver: Driver<SimulatedDisk>,
    housekeeper: Housekeeper<SimulatedDisk>,
    session: SessionId,
    now: Timestamp,
    tag: u64,
    round: u64,
    held: VecDeque<LeaseId>,
}

impl World {
    /// Starts on what the disk holds.
    fn start(disk: &SimulatedDisk, now: Timestamp) -> Self {
        let started = start(disk.clone(), &config(), now, Entropy { log_id: 1, seed: 1 }).unwrap();
        let mut driver = started.driver;
        let peer = [127, 0, 0, 1].into();
        let session = driver.open(Client { principal: Principal::Anonymous, peer });
        let (housekeeper, held) = (started.housekeeper, VecDeque::new());
        Self { driver, housekeeper, session, now, tag: 0, round: 0, held }
    }

    /// Runs a command and commits until nothing waits; gives the answer, and the lease of a
    /// delivery.
    fn ask(&mut self, command: Command) -> (Option<Answer>, Option<LeaseId>) {
        self.tag += 1;
        let mut requests = VecDeque::from([Request { tag: self.tag, command }]);
        let session = self.session;
        while !requests.is_empty() {
            let input = Input::Requests { session, written: 0, requests: &mut requests };
            self.driver.turn(self.now, input).unwrap();
            self.commit();
            if !requests.is_empty() {
                // It waits for a checkpoint.
                self.keep_house();
            }
        }
        let parcels: Vec<_> = self.driver.take_released().map(|(_, parcel)| parcel).collect();
        let weight = parcels.iter().map(|parcel| parcel.weight).sum();
        let written = Input::Requests { session, written: weight, requests: &mut requests };
        self.driver.turn(self.now, written).unwrap();
        let [parcel] = &parcels[..] else { panic!("{parcels:?}") };
        let lease = parcel.leases().next();
        match parcel.content.clone() {
            ParcelContent::Answer(answer) => (Some(answer), lease),
            _ => (None, lease),
        }
    }

    fn answer(&mut self, command: Command) -> Answer {
        self.ask(command).0.unwrap()
    }

    fn commit(&mut self) {
        while let Some(commit) = self.driver.take_commit(self.now) {
            self.driver.turn(self.now, Input::Committed(commit.run())).unwrap();
        }
    }

    fn keep_house(&mut self) {
        self.housekeeper.step(&mut Direct(&mut self.driver, self.now)).unwrap();
        self.commit();
    }

    fn publish(&mut self, number: u64) -> Answer {
        let extras = Extras {
            delay: number.is_multiple_of(7).then_some(HOUR),
            dedupe_id: number.is_multiple_of(3).then(|| number.to_string()),
            ..Extras::default()
        };
        let payload = Bytes::from(format!("{number:->5000}"));
        self.answer(Command::Publish(Publish {
            to: Destination::Queue(work()),
            qos: Qos::AtLeastOnce,
            level: None,
            message: Message { payload, extras: Some(Box::new(extras)) },
            confirm: Confirm::Always,
        }))
    }

    fn receive(&mut self) -> Option<LeaseId> {
        let lease = Some(HOUR);
        let from = Source::Queue(work());
        self.ask(Command::Receive(Receive { lease, bound: false, ..Receive::one(from) })).1
    }

    fn ack(&mut self, lease: LeaseId) -> Answer {
        self.answer(Command::Ack { lease, confirm: Confirm::Always })
    }

    /// A bit of everything.
    fn go_on(&mut self) {
        self.round += 1;
        self.now = self.now.after(Duration::from_millis(10));
        let round = self.round;
        for number in round * 4..round * 4 + 4 {
            assert!(matches!(self.publish(number), Answer::Published(_)));
        }
        for _ in 0..3 {
            let lease = self.receive();
            self.held.extend(lease);
        }
        let note = Some("it failed".into());
        let outcomes = [
            Outcome::Failed { delay: None, note: note.clone() },
            Outcome::Released { delay: None },
            Outcome::Rejected { note },
        ];
        if self.held.len() > 5 {
            let lease = self.held.pop_front().unwrap();
            assert!(matches!(self.ack(lease), Answer::Settled { .. }));
            let lease = self.held.pop_front().unwrap();
            let outcome = outcomes[(round % 3) as usize].clone();
            self.ask(Command::Nack { lease, outcome, confirm: Confirm::Always });
        }
    }

    /// All that can be seen of the queue, bodies included.
    fn look(&mut self) -> Vec<String> {
        let ask = |request| Command::Queue(Box::new(request));
        let mut seen =
            vec![format!("{:?}", self.answer(ask(QueueRequest::Stats { name: work() })))];
        let mut after = None;
        loop {
            let (filter, limit) = (Filter::default(), 50);
            let browse = QueueRequest::Browse { name: work(), filter, after, limit };
            let Answer::Browsed { messages, next } = self.answer(ask(browse)) else {
                panic!("no messages")
            };
            seen.extend(messages.into_iter().map(|info| self.look_at(&info)));
            after = next;
            if after.is_none() {
                return seen;
            }
        }
    }

    fn look_at(&mut self, info: &MessageInfo) -> String {
        let (name, id) = (work(), info.id);
        let peek = Command::Queue(Box::new(QueueRequest::Peek { name, id }));
        self.tag += 1;
        let mut requests = VecDeque::from([Request { tag: self.tag, command: peek }]);
        let (session, reader) = (self.session, self.driver.reader());
        let input = Input::Requests { session, written: 0, requests: &mut requests };
        self.driver.turn(self.now, input).unwrap();
        let parcels: Vec<_> = self.driver.take_released().map(|(_, parcel)| parcel).collect();
        let written = parcels.iter().map(|parcel| parcel.weight).sum();
        let input = Input::Requests { session, written, requests: &mut requests };
        self.driver.turn(self.now, input).unwrap();
        let ParcelContent::Peek(_, Body::Stored { at, .. }) = parcels[0].content else { panic!() };
        let place = sluice_wal::BodyRef { segment: at.segment, offset: at.offset, len: at.len };
        let body = reader.read(place, sluice_wal::Sequence(at.sequence)).unwrap();
        format!("{info:?} {body:?}")
    }
}

fn work() -> QueueName {
    QueueName::new("work").unwrap()
}

fn noon() -> Timestamp {
    Timestamp::from_millis(1_795_256_100_000)
}

/// A broker that has done a bit of everything, over several segments.
fn busy(disk: &SimulatedDisk) -> World {
    let mut world = World::start(disk, noon());
    let declare =
        QueueRequest::Declare { name: work(), settings: QueueSettings::default(), update: false };
    world.answer(Command::Queue(Box::new(declare)));
    for _ in 0..60 {
        world.go_on();
        world.keep_house();
    }
    world
}

/// Asks for a backup and works on it until it copies; the log has what is going to be in it then.
fn begin(world: &mut World, shelf: &SimulatedDisk) {
    let desk = world.housekeeper.backup_desk();
    desk.open(shelf.clone(), 0);
    assert_eq!(desk.ask().unwrap().number, 1);
    assert_eq!(desk.ask().unwrap_err().code, Code::Conflict);
    while !shelf.paths().iter().any(|path| path.contains(".partial/")) {
        world.keep_house();
    }
}

/// Goes on beside the backup until it is done.
fn finish(world: &mut World) -> String {
    let desk = world.housekeeper.backup_desk();
    loop {
        world.keep_house();
        world.go_on();
        match desk.status().state {
            BackupState::Running { .. } => {}
            BackupState::Done(done) => return done.name,
            other => panic!("{other:?}"),
        }
    }
}

fn restore(shelf: &SimulatedDisk, name: &str, now: Timestamp) -> (SimulatedDisk, Restored) {
    let found = Restorable::read(shelf.folder(name), |_, _| ()).unwrap();
    let parent = SimulatedDisk::with_faults(3);
    let restored = found.restore(&parent, "data", 77, now, |_| ()).unwrap();
    parent.crash_power();
    (parent.folder("data"), restored)
}

#[test]
fn a_restored_log_shows_what_the_old_one_did_at_that_moment() {
    let (disk, shelf) = (SimulatedDisk::with_faults(1), SimulatedDisk::with_faults(2));
    let mut world = busy(&disk);
    begin(&mut world, &shelf);
    let control = SimulatedDisk::from_snapshot(&disk.snapshot());
    control.crash_process();
    let held = world.held.clone();
    let published = world.round * 4 - 1;
    let name = finish(&mut world);
    let later = world.now;
    let mut control = World::start(&control, later);
    let (data, restored) = restore(&shelf, &name, later);
    assert_eq!(u64::from(restored.start), later.as_millis() / 1000);
    let mut anew = World::start(&data, later);
    let seen = anew.look();
    assert!(seen.len() > 150, "{}", seen.len());
    assert_eq!(seen, control.look());

    // Leases of messages that are in the backup are leases of the same messages.
    for lease in held {
        assert!(matches!(anew.ack(lease), Answer::Settled { already: false }));
    }
    // What the old life gave out later is void, though its places belong to other messages now.
    let later = world.held.iter().filter(|lease| lease.seq.0 > published).copied();
    let foreign: Vec<LeaseId> = later.collect();
    let taken = foreign.iter().map(|lease| lease.seq.0).max().unwrap();
    for number in published + 1..=taken {
        let Answer::Published(new) = anew.publish(number * 1000 + 1) else { panic!("refused") };
        assert!(new.id.start > restored.start);
    }
    for lease in foreign {
        let refused = anew.ack(lease);
        assert!(matches!(refused, Answer::Refused(_)), "{lease:?}: {refused:?}");
    }
    // Ids that make duplicates are known as before.
    let before = anew.look().len();
    assert!(matches!(anew.publish(3 * 60), Answer::Published(_)));
    assert_eq!(anew.look().len(), before, "a duplicate");
}

#[test]
fn a_restored_log_can_be_backed_up_and_restored_and_starts_count_on() {
    let (disk, shelf) = (SimulatedDisk::with_faults(1), SimulatedDisk::with_faults(2));
    let mut world = busy(&disk);
    begin(&mut world, &shelf);
    let name = finish(&mut world);
    let (data, first) = restore(&shelf, &name, world.now);
    let mut world = World::start(&data, world.now);
    let shelf = SimulatedDisk::with_faults(4);
    begin(&mut world, &shelf);
    let control = SimulatedDisk::from_snapshot(&data.snapshot());
    control.crash_process();
    let name = finish(&mut world);
    // The clock has gone back since.
    let (data, second) = restore(&shelf, &name, noon());
    assert!(second.start > first.start + 1);
    let later = world.now;
    assert_eq!(World::start(&data, later).look(), World::start(&control, later).look());
}

#[test]
fn a_backup_that_fails_is_told_and_the_broker_goes_on() {
    let (disk, shelf) = (SimulatedDisk::with_faults(1), SimulatedDisk::with_faults(2));
    let mut world = busy(&disk);
    begin(&mut world, &shelf);
    shelf.fail_operations(shelf.operations() + 1, 1000);
    let desk = world.housekeeper.backup_desk();
    while matches!(desk.status().state, BackupState::Running { .. }) {
        world.keep_house();
        world.go_on();
    }
    let BackupState::Failed { reason } = desk.status().state else { panic!("it can't be made") };
    assert!(reason.contains(".partial"), "{reason}");
    shelf.fail_operations(u64::MAX - 1, 0);
    assert_eq!(desk.ask().unwrap().number, 2);
    let name = finish(&mut world);
    assert_eq!(Shelf::new(shelf.clone()).names().unwrap(), [name]);
    assert!(!shelf.paths().iter().any(|path| path.contains(".partial")));
}
