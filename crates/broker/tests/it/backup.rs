//! Backups of a driver that goes on, and what a start on a restored log shows: the same messages,
//! in the same states, with the same counts.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use sluice_broker::BackupState;
use sluice_broker::local::{
    Access, Driver, Entropy, Housekeeper, Input, LocalConfig, ParcelContent, Restorable, Restored,
    start,
};
use sluice_engine::Body;
use sluice_model::{
    Answer, Client, Code, Command, Condition, Confirm, Destination, Extras, Filter, Key, Keys,
    KvAnswer, KvRequest, LeaseId, Message, MessageId, MessageInfo, Outcome, Principal, Publish,
    Purge, Qos, QueueName, QueueRequest, QueueSettings, Receive, Request, Revision, SessionId,
    Source, Timestamp, Value, ValueKind,
};
use sluice_wal::{BodyRef, Sequence, Shelf, SimulatedDisk};

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
        Self::start_by(&config(), disk, now)
    }

    fn start_by(config: &LocalConfig, disk: &SimulatedDisk, now: Timestamp) -> Self {
        let started = start(disk.clone(), config, now, Entropy { log_id: 1, seed: 1 }).unwrap();
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
        let stats = Command::Queue(Box::new(QueueRequest::Stats { name: work() }));
        let mut seen = vec![format!("{:?}", self.answer(stats))];
        for info in self.browse() {
            seen.push(self.look_at(&info));
        }
        seen
    }

    fn browse(&mut self) -> Vec<MessageInfo> {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let (filter, limit) = (Filter::default(), 50);
            let browse = QueueRequest::Browse { name: work(), filter, after, limit };
            let browse = Command::Queue(Box::new(browse));
            let Answer::Browsed { messages, next } = self.answer(browse) else {
                panic!("no messages")
            };
            seen.extend(messages);
            after = next;
            if after.is_none() {
                return seen;
            }
        }
    }

    fn look_at(&mut self, info: &MessageInfo) -> String {
        let at = self.place_of(info.id);
        let place = BodyRef { segment: at.segment, offset: at.offset, len: at.len };
        let reader = self.driver.reader();
        let body = reader.read(place, Sequence(at.sequence)).unwrap();
        format!("{info:?} {body:?}")
    }

    /// Where the bodies of all messages lie.
    fn places(&mut self) -> BTreeMap<MessageId, (u32, u32)> {
        let mut places = BTreeMap::new();
        for info in self.browse() {
            let at = self.place_of(info.id);
            places.insert(info.id, (at.segment, at.offset));
        }
        places
    }

    fn place_of(&mut self, id: MessageId) -> sluice_engine::BodyRef {
        let name = work();
        let peek = Command::Queue(Box::new(QueueRequest::Peek { name, id }));
        self.tag += 1;
        let mut requests = VecDeque::from([Request { tag: self.tag, command: peek }]);
        let session = self.session;
        let input = Input::Requests { session, written: 0, requests: &mut requests };
        self.driver.turn(self.now, input).unwrap();
        let parcels: Vec<_> = self.driver.take_released().map(|(_, parcel)| parcel).collect();
        let written = parcels.iter().map(|parcel| parcel.weight).sum();
        let input = Input::Requests { session, written, requests: &mut requests };
        self.driver.turn(self.now, input).unwrap();
        let ParcelContent::Peek(_, Body::Stored { at, .. }) = parcels[0].content else { panic!() };
        at
    }

    /// Two checkpoints that hold all there is.
    fn checkpoints(&mut self) {
        for _ in 0..2 {
            self.commit();
            self.housekeeper.checkpoint(&mut Direct(&mut self.driver, self.now)).unwrap();
        }
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
    let BackupState::Failed { reason, .. } = desk.status().state else {
        panic!("it can't be made")
    };
    assert!(reason.contains(".partial"), "{reason}");
    shelf.fail_operations(u64::MAX - 1, 0);
    assert_eq!(desk.ask().unwrap().number, 2);
    let name = finish(&mut world);
    assert_eq!(Shelf::new(shelf.clone()).names().unwrap(), [name]);
    assert!(!shelf.paths().iter().any(|path| path.contains(".partial")));
}

/// A broker whose checkpoints cover a segment with a body that nobody needs any more, and one in
/// the same segment that somebody does: where they lie.
fn with_both(disk: &SimulatedDisk) -> (World, (u32, u32), (u32, u32)) {
    let mut world = busy(disk);
    let before = world.places();
    for _ in 0..10 {
        world.go_on();
    }
    world.checkpoints();
    let after = world.places();
    let gone = before.iter().filter(|(id, _)| !after.contains_key(id)).map(|(_, place)| *place);
    let mut both = gone.filter_map(|dead| {
        let live = after.values().find(|live| live.0 == dead.0)?;
        let is_there = disk.paths().contains(&format!("{:08}.seg", dead.0));
        is_there.then_some((dead, *live))
    });
    let (dead, live) = both.next_back().unwrap();
    (world, dead, live)
}

fn damage(disk: &SimulatedDisk, (segment, offset): (u32, u32)) {
    // Behind the checksum, in the body.
    disk.flip_bit(&format!("{segment:08}.seg"), (u64::from(offset) + 9) * 8);
}

/// Asks for a backup and waits until it is done or has failed.
fn ask(world: &mut World, shelf: &SimulatedDisk) -> BackupState {
    let desk = world.housekeeper.backup_desk();
    desk.open(shelf.clone(), 0);
    desk.ask().unwrap();
    while matches!(desk.status().state, BackupState::Running { .. }) {
        world.keep_house();
    }
    desk.status().state
}

#[test]
fn damage_that_no_message_needs_is_left_out_and_named() {
    let (disk, shelf) = (SimulatedDisk::with_faults(1), SimulatedDisk::with_faults(2));
    let (mut world, dead, _) = with_both(&disk);
    damage(&disk, dead);
    let BackupState::Done(done) = ask(&mut world, &shelf) else { panic!("no backup") };
    let [skipped] = &done.skipped[..] else { panic!("{:?}", done.skipped) };
    assert!(skipped.starts_with(&format!("{:08}.seg, bytes ", dead.0)), "{skipped}");
    let found = Restorable::read(shelf.folder(&done.name), |_, _| ()).unwrap();
    let [gap] = &found.manifest().skipped[..] else { panic!("{:?}", found.manifest()) };
    assert!(gap.segment == dead.0 && (gap.offset..gap.end).contains(&dead.1), "{gap}");
    let later = world.now;
    let (data, _) = restore(&shelf, &done.name, later);
    // The new log has no damage: lost records stand in its place.
    let inspection = sluice_wal::inspect(data.clone()).unwrap();
    assert!(inspection.problem.is_none(), "{:?}", inspection.problem);
    let lost: u64 = inspection.segments.iter().map(|segment| segment.lost).sum();
    assert_eq!(lost, gap.records());
    drop(world);
    disk.crash_process();
    assert_eq!(World::start(&data, later).look(), World::start(&disk, later).look());
}

#[test]
fn damage_that_a_message_needs_makes_a_backup_fail_until_it_is_drained() {
    let (disk, shelf) = (SimulatedDisk::with_faults(1), SimulatedDisk::with_faults(2));
    let (mut world, dead, live) = with_both(&disk);
    damage(&disk, dead);
    damage(&disk, live);
    let BackupState::Failed { code, reason } = ask(&mut world, &shelf) else { panic!("a backup") };
    assert_eq!(code, Code::Internal);
    for part in [&*format!("{:08}.seg, bytes ", live.0), "queue `work`: 1", "drain", "purge"] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    let what = Purge { waiting: true, leased: true, dead: true };
    let purge = QueueRequest::Purge { name: work(), what };
    world.answer(Command::Queue(Box::new(purge)));
    world.checkpoints();
    let BackupState::Done(done) = ask(&mut world, &shelf) else { panic!("no backup") };
    // What is damaged is skipped, or gone with its segment.
    Restorable::read(shelf.folder(&done.name), |_, _| ()).unwrap();
}

#[test]
fn damage_that_no_checkpoint_covers_makes_a_backup_fail_until_one_does() {
    let (disk, shelf) = (SimulatedDisk::with_faults(1), SimulatedDisk::with_faults(2));
    let (mut world, ..) = with_both(&disk);
    assert!(matches!(world.publish(9_999), Answer::Published(_)));
    let newest = world.places().pop_last().unwrap();
    damage(&disk, newest.1);
    let BackupState::Failed { reason, .. } = ask(&mut world, &shelf) else { panic!("a backup") };
    assert!(reason.contains("no checkpoint stands behind that yet"), "{reason}");
    let (name, id) = (work(), newest.0);
    let remove = QueueRequest::Remove { name, id, force: true };
    assert!(matches!(
        world.answer(Command::Queue(Box::new(remove))),
        Answer::Removed { messages: 1 }
    ));
    world.checkpoints();
    assert!(matches!(ask(&mut world, &shelf), BackupState::Done(_)));
}

#[test]
fn a_backup_that_would_leave_less_than_disk_low_is_refused_with_no_space() {
    const MIB: u64 = 1 << 20;
    let (disk, shelf) = (SimulatedDisk::with_faults(1), SimulatedDisk::with_faults(2));
    drop(busy(&disk));
    disk.crash_process();
    // The setting, and an eighth of the disk where that is less.
    for (disk_low, capacity, kept) in [(6 * MIB, 64 * MIB, 6 * MIB), (1 << 30, 64 * MIB, 8 * MIB)] {
        let config = LocalConfig { disk_low, ..config() };
        let mut world = World::start_by(&config, &disk, noon());
        shelf.set_capacity(None);
        let BackupState::Done(done) = ask(&mut world, &shelf) else { panic!("no backup") };
        shelf.set_capacity(Some(capacity));
        shelf.fill(kept + done.bytes / 2);
        let state = ask(&mut world, &shelf);
        let BackupState::Failed { code: Code::NoSpace, reason } = state else {
            panic!("{state:?}")
        };
        assert!(reason.contains(&format!("{kept} have to stay free")), "{reason}");
        shelf.free();
        shelf.fill(kept + 2 * done.bytes);
        let state = ask(&mut world, &shelf);
        assert!(matches!(state, BackupState::Done(_)), "{state:?}");
        shelf.free();
        drop(world);
        disk.crash_process();
    }
}

#[test]
fn keys_and_their_history_come_back_with_a_backup() {
    let (disk, shelf) = (SimulatedDisk::with_faults(1), SimulatedDisk::with_faults(2));
    let mut world = busy(&disk);
    let kv = Command::Kv;
    let key = |name: &str| Key::new(name).unwrap();
    let set = |name: &str, text: &str| {
        let value = Value { kind: ValueKind::Text, bytes: Bytes::copy_from_slice(text.as_bytes()) };
        let condition = Condition::Always;
        kv(KvRequest::Set { key: key(name), value, ttl: None, condition, dedupe_id: None })
    };
    for n in 0..300 {
        world.answer(set(&format!("k^{}", n % 40), &format!("{n}")));
    }
    // A part is in the image, the rest in the log.
    world.checkpoints();
    for n in 0..20 {
        world.answer(set(&format!("k^{n}"), "new"));
    }
    let delete = KvRequest::Delete { key: key("k^3"), condition: Condition::Always };
    world.answer(kv(delete));
    let BackupState::Done(done) = ask(&mut world, &shelf) else { panic!("no backup") };
    let later = world.now;
    let (data, _) = restore(&shelf, &done.name, later);
    let mut restored = World::start(&data, later);
    let seen = |world: &mut World| {
        let keys = Keys::below("k^").unwrap();
        let scan = KvRequest::Scan { keys: keys.clone(), after: None, limit: 100, values: true };
        let Answer::Kv(scanned) = world.answer(kv(scan)) else { panic!("no page") };
        let watch = KvRequest::Watch { keys, from: Some(Revision(1)) };
        let Answer::Kv(watching) = world.answer(kv(watch)) else { panic!("no watch") };
        let KvAnswer::Watching { watch, .. } = watching else { panic!("{watching:?}") };
        let receive = Receive { max: 1_000, ..Receive::one(Source::Watch(watch)) };
        let Answer::Changes { events, .. } = world.answer(Command::Receive(receive)) else {
            panic!("no changes")
        };
        (scanned, events)
    };
    let (old, new) = (seen(&mut world), seen(&mut restored));
    assert_eq!(old, new);
    let KvAnswer::Scanned { entries, .. } = &new.0 else { panic!("{:?}", new.0) };
    assert_eq!((entries.len(), new.1.len()), (39, 321));
}
