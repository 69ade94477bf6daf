//! One schedule: a broker, a disk, clients, and what befalls them.

use std::fmt;
use std::time::Duration;

use sluice_broker::local::{
    Access, Driver, Entropy, Housekeeper, Input, LocalConfig, Parcel, ParcelContent, StartError,
    start,
};
use sluice_engine::{Body, EndedBy, Stored};
use sluice_model::{
    Answer, Client as Who, Code, Confirm, LeaseId, Outcome as Ended, Principal, SessionId,
    Timestamp,
};
use sluice_wal::{
    BodyRef, Commit, FaultCounters, Faults, Sequence, SimulatedDisk, SyncPolicy, WalError,
};

use crate::client::{Asked, Client, name_of};
use crate::oracle::Oracle;
use crate::random::Random;

const PUBLISHERS: usize = 3;
/// The topic of each consumer; what is published to `a.x` reaches three of them.
const TOPICS: [&str; 4] = ["a.x", "a.y", "a.*", "a.>"];
/// Client operations of a schedule before it is brought to its end.
const OPERATIONS_MIN: u64 = 240;
const CRASHES_MIN: u64 = 2;

/// What happened in one schedule or many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests of clients.
    pub operations: u64,
    /// Messages that were confirmed.
    pub confirmed: u64,
    /// Deliveries.
    pub delivered: u64,
    /// Of these, marked as redelivered.
    pub redelivered: u64,
    /// Acks that were confirmed.
    pub acked: u64,
    /// Starts of the broker.
    pub starts: u64,
    /// Starts after a torn tail.
    pub torn_tails: u64,
    /// Records that were written anew by a start.
    pub rewritten: u64,
    /// Starts during which the process died.
    pub died_starting: u64,
    /// Logs that failed while serving.
    pub poisoned: u64,
    /// Checkpoints' bytes.
    pub checkpoint_bytes: u64,
    /// Logs with a flipped bit that a start refused.
    pub flips_refused: u64,
    /// Logs with a flipped bit that a start counted, or that lost nothing.
    pub flips_survived: u64,
    /// What the disk did wrong.
    pub disk: FaultCounters,
}

/// What a schedule came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What happened.
    pub counters: Counters,
    /// A hash over everything that happened, in order.
    pub trace: u64,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The schedule; run it again with `cargo xtask sim --seed N`.
    pub seed: u64,
    /// After so many steps.
    pub step: u64,
    /// Which promise.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {} step {}: {}", self.seed, self.step, self.what)
    }
}

impl std::error::Error for Violation {}

/// Runs one schedule.
///
/// # Errors
/// A promise was broken.
pub fn run(seed: u64) -> Result<Outcome, Violation> {
    let mut world = World::new(seed);
    let outcome = world.play();
    outcome.map_err(|what| Violation { seed, step: world.step, what })
}

struct Broker {
    driver: Driver<SimulatedDisk>,
    housekeeper: Housekeeper<SimulatedDisk>,
    commit: Option<Commit<SimulatedDisk>>,
}

struct Direct<'a> {
    driver: &'a mut Driver<SimulatedDisk>,
    now: Timestamp,
}

impl Access<SimulatedDisk> for Direct<'_> {
    fn with<R>(&mut self, work: impl FnOnce(&mut Driver<SimulatedDisk>, Timestamp) -> R) -> R {
        work(self.driver, self.now)
    }
}

struct World {
    random: Random,
    config: LocalConfig,
    disk: SimulatedDisk,
    now: Timestamp,
    broker: Option<Broker>,
    publishers: Vec<Client>,
    consumers: Vec<Client>,
    /// Consumers whose subscription was confirmed at least once: they get what is published.
    subscribed: Vec<bool>,
    last_names: [u64; PUBLISHERS],
    oracle: Oracle,
    counters: Counters,
    crashes: u64,
    step: u64,
    trace: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut config = LocalConfig {
            replay_max: 16 << 10,
            checkpoint_interval: Duration::from_secs(5),
            ..LocalConfig::default()
        };
        config.wal.segment_bytes = 64 << 10;
        config.wal.record_max = 16 << 10;
        config.wal.frame_bytes = 4 << 10;
        config.wal.resident_bytes = 8 << 10;
        config.engine.max_message_bytes = 8 << 10;
        config.engine.session_out_max = 16 << 10;
        config.engine.lost_grace = Duration::from_millis(50);
        let rules = &mut config.engine.unnamed;
        rules.lease = Duration::from_millis(400);
        rules.backoff.min = Duration::from_millis(20);
        rules.backoff.max = Duration::from_millis(200);
        rules.max_failures = if random.percent(30) { 3 } else { 0 };
        Self {
            disk: SimulatedDisk::with_faults(random.next()),
            config,
            now: Timestamp::from_millis(1_700_000_000_000),
            broker: None,
            publishers: (0..PUBLISHERS).map(|_| Client::new()).collect(),
            consumers: TOPICS.iter().map(|_| Client::new()).collect(),
            subscribed: vec![false; TOPICS.len()],
            last_names: [0; PUBLISHERS],
            oracle: Oracle::new(TOPICS.len()),
            counters: Counters::default(),
            crashes: 0,
            step: 0,
            trace: 0xcbf2_9ce4_8422_2325,
            random,
        }
    }

    /// FNV-1a over everything that is observed.
    fn note(&mut self, what: &str, numbers: &[u64]) {
        let bytes = what.bytes().chain(numbers.iter().flat_map(|number| number.to_le_bytes()));
        for byte in bytes {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn play(&mut self) -> Result<Outcome, String> {
        self.start(false)?;
        while self.counters.operations < OPERATIONS_MIN || self.crashes < CRASHES_MIN {
            self.step += 1;
            self.now = self.now.after(Duration::from_millis(self.random.below(8)));
            self.step_once()?;
            if self.disk.is_dead() || self.broker.is_none() {
                self.crash()?;
            }
        }
        self.flip_a_bit()?;
        self.bring_to_an_end()?;
        let bit_flips = self.counters.disk.bit_flips;
        self.counters.disk = FaultCounters { bit_flips, ..self.disk.counters() };
        Ok(Outcome { counters: self.counters, trace: self.trace })
    }

    fn step_once(&mut self) -> Result<(), String> {
        match self.random.below(100) {
            0..=24 => self.publish(),
            25..=54 => self.consume(),
            55..=79 => self.commit(),
            80..=86 => self.keep_house(),
            87..=91 => self.turn(Input::Tick),
            92..=94 => self.lose_a_connection(),
            95 => self.now = self.now.after(Duration::from_millis(self.random.below(700))),
            96 => self.disk_trouble(),
            97 => {
                let ahead = self.random.below(30);
                self.disk.crash_at_operation(self.disk.operations() + ahead);
            }
            98 if self.random.percent(60) => return self.crash(),
            _ => {}
        }
        self.collect()
    }

    fn disk_trouble(&mut self) {
        let rate = |random: &mut Random| if random.percent(25) { 600 } else { 0 };
        let faults = Faults {
            sync: rate(&mut self.random),
            write: rate(&mut self.random),
            read: 0,
            allocate: rate(&mut self.random),
        };
        self.disk.set_faults(faults);
    }

    fn turn(&mut self, input: Input<'_, SimulatedDisk>) {
        let Some(broker) = &mut self.broker else { return };
        if broker.driver.turn(self.now, input).is_err() {
            // Exit code 4: the process is gone, what it wrote is there.
            self.counters.poisoned += 1;
            self.broker = None;
        }
    }

    fn session(&mut self, consumer: bool, at: usize) -> Option<SessionId> {
        let broker = self.broker.as_mut()?;
        let client = if consumer { &mut self.consumers[at] } else { &mut self.publishers[at] };
        if client.session.is_none() {
            let number = if consumer { at as u8 } else { 100 + at as u8 };
            let peer = [127, 0, 0, number].into();
            client.session =
                Some(broker.driver.open(Who { principal: Principal::Anonymous, peer }));
            if consumer {
                client.subscribe(TOPICS[at]);
            }
        }
        client.session
    }

    fn publish(&mut self) {
        let at = self.random.below(PUBLISHERS as u64) as usize;
        if self.session(false, at).is_none() {
            return;
        }
        for _ in 0..1 + self.random.below(6) {
            let topic = if self.random.percent(50) { "a.x" } else { "a.y" };
            self.last_names[at] += 1;
            let name = (at as u32, self.last_names[at]);
            let matches = |(consumer, pattern): (usize, &&str)| {
                let matched = **pattern == *topic || pattern.ends_with(['*', '>']);
                (matched && self.subscribed[consumer]).then_some(consumer)
            };
            let to: Vec<usize> = TOPICS.iter().enumerate().filter_map(matches).collect();
            let padding = match self.random.below(20) {
                0 => 3000,
                1..=3 => 600,
                _ => self.random.below(80),
            };
            let confirm = if self.random.percent(30) { Confirm::Always } else { Confirm::Refusal };
            self.oracle.published(name);
            self.publishers[at].publish(topic, name, padding as usize, confirm, to);
        }
        if self.random.percent(60) {
            self.publishers[at].fence();
        }
        self.submit(false, at);
    }

    fn consume(&mut self) {
        let at = self.random.below(TOPICS.len() as u64) as usize;
        if self.session(true, at).is_none() {
            return;
        }
        let client = &mut self.consumers[at];
        if let Some(subscription) = client.subscription {
            for _ in 0..self.random.below(5) {
                client.receive(subscription);
            }
            for (name, lease) in std::mem::take(&mut client.held) {
                match self.random.below(100) {
                    0..=64 => {
                        let always = self.random.percent(30);
                        let confirm = if always { Confirm::Always } else { Confirm::Refusal };
                        self.oracle.acking(at, name);
                        client.ack(name, lease, confirm);
                    }
                    65..=72 => client.nack(lease, Ended::Failed { delay: None }),
                    73..=80 => client.nack(lease, Ended::Released { delay: None }),
                    81..=85 => {
                        let delay = Some(Duration::from_millis(self.random.below(100)));
                        client.nack(lease, Ended::Released { delay });
                    }
                    // Forgotten: its deadline ends it, or a late ack.
                    86..=90 => {}
                    _ => client.held.push((name, lease)),
                }
            }
            if self.random.percent(40) {
                client.fence();
            }
        }
        self.submit(true, at);
    }

    fn submit(&mut self, consumer: bool, at: usize) {
        let client = if consumer { &mut self.consumers[at] } else { &mut self.publishers[at] };
        let Some(session) = client.session else { return };
        let written = std::mem::take(&mut client.written);
        let mut requests = std::mem::take(&mut client.requests);
        let before = requests.len();
        self.turn(Input::Requests { session, written, requests: &mut requests });
        self.counters.operations += (before - requests.len()) as u64;
        let client = if consumer { &mut self.consumers[at] } else { &mut self.publishers[at] };
        client.requests = requests;
    }

    /// Takes a commit, or ends the one that runs: others may come in between.
    fn commit(&mut self) {
        let now = self.now;
        let Some(broker) = &mut self.broker else { return };
        match broker.commit.take() {
            Some(commit) => {
                let done = commit.run();
                self.turn(Input::Committed(done));
            }
            None => broker.commit = broker.driver.take_commit(now),
        }
    }

    fn keep_house(&mut self) {
        let Some(broker) = &mut self.broker else { return };
        let mut access = Direct { driver: &mut broker.driver, now: self.now };
        for _ in 0..1 + self.random.below(4) {
            // What could not be done is tried again another time.
            let _ = broker.housekeeper.step(&mut access);
        }
    }

    fn lose_a_connection(&mut self) {
        let consumer = self.random.percent(60);
        let clients = if consumer { &mut self.consumers } else { &mut self.publishers };
        let at = self.random.below(clients.len() as u64) as usize;
        let Some(session) = clients[at].session else { return };
        clients[at].forget();
        let by = if self.random.percent(60) { EndedBy::Client } else { EndedBy::Broker };
        self.turn(Input::Close { session, by, unsent: Vec::new() });
    }

    /// Takes what the broker has released, and holds it against what was promised.
    fn collect(&mut self) -> Result<(), String> {
        let Some(broker) = &mut self.broker else { return Ok(()) };
        if self.disk.is_dead() {
            return Ok(());
        }
        let released: Vec<_> = broker.driver.take_released().collect();
        for (session, parcel) in released {
            let consumer = self.consumers.iter().position(|client| client.session == Some(session));
            let publisher =
                self.publishers.iter().position(|client| client.session == Some(session));
            match (consumer, publisher) {
                (Some(at), _) => self.told_consumer(at, parcel)?,
                (_, Some(at)) => self.told_publisher(at, parcel)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn told_publisher(&mut self, at: usize, parcel: Parcel) -> Result<(), String> {
        let client = &mut self.publishers[at];
        client.written += parcel.weight;
        let asked = client.asked.remove(&parcel.tag).ok_or("an answer that nobody asked for")?;
        let ParcelContent::Answer(answer) = parcel.content else {
            return Err("a publisher got a message".into());
        };
        match (asked, answer) {
            (Asked::Publish(name, to), Answer::Published { .. }) => {
                self.counters.confirmed += 1;
                self.oracle.confirmed(name, &to);
                self.note("confirmed", &[name.0.into(), name.1]);
            }
            (Asked::Publish(name, _), Answer::Refused(_)) => client.refused(name),
            (Asked::Fence(published, _), Answer::Fenced) => {
                self.counters.confirmed += published.len() as u64;
                for (name, to) in published {
                    self.oracle.confirmed(name, &to);
                    self.note("confirmed", &[name.0.into(), name.1]);
                }
            }
            (_, Answer::Refused(_)) => {}
            (asked, answer) => return Err(format!("{asked:?} was answered by {answer:?}")),
        }
        Ok(())
    }

    fn told_consumer(&mut self, at: usize, parcel: Parcel) -> Result<(), String> {
        let client = &mut self.consumers[at];
        client.written += parcel.weight;
        let asked = client.asked.remove(&parcel.tag).ok_or("an answer that nobody asked for")?;
        let answer = match parcel.content {
            ParcelContent::Answer(answer) => answer,
            ParcelContent::Handover(handover) => {
                let lease = handover.lease.ok_or("a durable delivery without a lease")?;
                let Some(stored) = self.read(&handover.body, parcel.resident, &lease)? else {
                    return Ok(());
                };
                let name = name_of(&stored.payload).ok_or("a payload was changed")?;
                self.counters.delivered += 1;
                self.counters.redelivered += u64::from(handover.redelivered);
                self.note("delivered", &[at as u64, name.0.into(), name.1]);
                self.oracle.delivered(at, name, lease.generation, handover.redelivered)?;
                self.consumers[at].held.push((name, lease));
                return Ok(());
            }
        };
        match (asked, answer) {
            (Asked::Subscribe, Answer::Subscribed { subscription }) => {
                client.subscription = Some(subscription);
                self.subscribed[at] = true;
            }
            (Asked::Ack(name), Answer::Settled { .. }) => {
                self.counters.acked += 1;
                self.oracle.acked(at, name);
            }
            (Asked::Ack(name), Answer::Refused(refusal)) => {
                client.refused(name);
                // Any other refusal leaves open whether the ack, or one before, took effect.
                if refusal.code == Code::LeaseLost {
                    self.oracle.ack_refused(at, name);
                }
            }
            (Asked::Fence(_, acked), Answer::Fenced) => {
                self.counters.acked += acked.len() as u64;
                for name in acked {
                    self.oracle.acked(at, name);
                    self.note("acked", &[at as u64, name.0.into(), name.1]);
                }
            }
            (Asked::Receive, Answer::Empty)
            | (Asked::Nack, Answer::Settled { .. })
            | (_, Answer::Refused(_)) => {}
            (asked, answer) => return Err(format!("{asked:?} was answered by {answer:?}")),
        }
        Ok(())
    }

    /// A message's bytes. None if the process died while they were read.
    fn read(
        &self,
        body: &Body,
        resident: Option<bytes::Bytes>,
        lease: &LeaseId,
    ) -> Result<Option<Stored>, String> {
        let Body::Stored(at) = body else { return Err("a durable message in memory only".into()) };
        let bytes = match (resident, &self.broker) {
            (Some(bytes), _) => bytes,
            (None, Some(broker)) => {
                let place = BodyRef { segment: at.segment, offset: at.offset, len: at.len };
                let reader = broker.driver.reader();
                // It may have moved since; a lease that has ended needs no body any more.
                let again = |_| match broker.driver.place_of(lease) {
                    Some((sequence, place)) => reader.read(place, sequence).map(Some),
                    None => Ok(None),
                };
                let first = reader.read(place, Sequence(at.sequence)).map(Some);
                match first.or_else(again) {
                    Ok(Some(bytes)) => bytes,
                    Ok(None) => return Ok(None),
                    Err(_) if self.disk.is_dead() => return Ok(None),
                    Err(error) => return Err(format!("a message can't be read back: {error}")),
                }
            }
            (None, None) => return Ok(None),
        };
        Stored::decode(&bytes).map(Some).map_err(|error| error.to_string())
    }

    /// The process or the machine dies, and the broker starts again.
    fn crash(&mut self) -> Result<(), String> {
        self.crashes += 1;
        self.broker = None;
        self.disk.set_faults(Faults::default());
        for client in self.publishers.iter_mut().chain(&mut self.consumers) {
            client.forget();
        }
        let power = self.random.percent(60);
        // Without a sync before the answer, only the process may die.
        if power && self.config.pace.policy == SyncPolicy::Always {
            self.disk.crash_power();
        } else {
            self.disk.crash_process();
        }
        self.note("crash", &[u64::from(power)]);
        self.now = self.now.after(Duration::from_millis(self.random.below(2_000)));
        self.start(true)
    }

    fn start(&mut self, may_die: bool) -> Result<(), String> {
        if may_die && self.random.percent(20) {
            let ahead = 1 + self.random.below(60);
            self.disk.crash_at_operation(self.disk.operations() + ahead);
        }
        let entropy = Entropy { log_id: self.random.next(), seed: self.random.next() };
        match start(self.disk.clone(), &self.config, self.now, entropy) {
            Ok(started) => {
                self.counters.starts += 1;
                self.counters.torn_tails += u64::from(started.report.torn_bytes > 0);
                self.counters.rewritten += started.report.rewritten;
                self.now = self.now.max(started.now);
                let (driver, housekeeper) = (started.driver, started.housekeeper);
                driver.check();
                self.broker = Some(Broker { driver, housekeeper, commit: None });
                Ok(())
            }
            Err(_) if self.disk.is_dead() => {
                self.counters.died_starting += 1;
                self.crash()
            }
            Err(error) => Err(format!("a start was refused: {error}")),
        }
    }

    /// Flips a bit in a copy of the disk and starts on it: it is refused, or counted, or nothing
    /// is missing.
    fn flip_a_bit(&mut self) -> Result<(), String> {
        if !self.random.percent(25) {
            return Ok(());
        }
        let copy = SimulatedDisk::from_snapshot(&self.disk.snapshot());
        copy.set_faults(Faults::default());
        copy.crash_process();
        let paths = copy.paths();
        let path = &paths[self.random.below(paths.len() as u64) as usize];
        let used = copy.bytes(path).iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        if used == 0 {
            return Ok(());
        }
        copy.flip_bit(path, self.random.below(used as u64 * 8));
        let entropy = Entropy { log_id: 1, seed: 1 };
        match start(copy, &self.config, self.now, entropy) {
            Ok(started) => {
                started.driver.check();
                self.counters.flips_survived += 1;
            }
            Err(StartError::Log(WalError::Corrupt(_))) => self.counters.flips_refused += 1,
            Err(StartError::Log(WalError::Version { .. })) => self.counters.flips_refused += 1,
            Err(error) => return Err(format!("a flipped bit ended in {error}")),
        }
        self.counters.disk.bit_flips += 1;
        Ok(())
    }

    /// Without further trouble: every consumer takes and acks what there is, and nothing that was
    /// promised is missing.
    fn bring_to_an_end(&mut self) -> Result<(), String> {
        self.crash()?;
        while self.disk.is_dead() {
            self.crash()?;
        }
        self.disk.crash_at_operation(u64::MAX);
        let mut idle = 0;
        while idle < 12 {
            self.step += 1;
            self.now = self.now.after(Duration::from_millis(100));
            let before = self.counters.delivered;
            for at in 0..TOPICS.len() {
                if self.session(true, at).is_none() {
                    return Err("the broker is gone without a crash".into());
                }
                let client = &mut self.consumers[at];
                for (name, lease) in std::mem::take(&mut client.held) {
                    self.oracle.acking(at, name);
                    client.ack(name, lease, Confirm::Always);
                }
                if let Some(subscription) = client.subscription {
                    for _ in 0..20 {
                        client.receive(subscription);
                    }
                }
                self.submit(true, at);
            }
            self.turn(Input::Tick);
            self.keep_house();
            for _ in 0..6 {
                self.commit();
                self.collect()?;
            }
            idle = if self.counters.delivered == before { idle + 1 } else { 0 };
            if self.step > 1_000_000 {
                return Err("the end does not come".into());
            }
        }
        self.check_the_end()
    }

    fn check_the_end(&mut self) -> Result<(), String> {
        for client in &self.consumers {
            if !client.asked.is_empty() {
                return Err(format!("requests were never answered: {:?}", client.asked));
            }
        }
        let Some(broker) = &self.broker else { return Err("the broker is gone".into()) };
        broker.driver.check();
        self.counters.checkpoint_bytes += broker.housekeeper.checkpoint_bytes();
        self.oracle.missing(broker.driver.stats().queued)
    }
}

impl Counters {
    /// Adds what happened in another schedule.
    pub fn add(&mut self, other: &Self) {
        for (mine, (_, theirs)) in self.fields_mut().into_iter().zip(other.fields()) {
            *mine += theirs;
        }
    }

    /// A kind of trouble that never came up, if there is one: a run that never met it proves
    /// nothing about it.
    pub fn never_hit(&self) -> Option<&'static str> {
        self.fields().into_iter().find(|(_, count)| *count == 0).map(|(name, _)| name)
    }
}

/// Lists the counters once, for adding and for finding those that were never hit.
macro_rules! fields {
    ($($($field:ident).+,)+) => {
        impl Counters {
            fn fields(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($($field).+), self.$($field).+),)+]
            }

            fn fields_mut(&mut self) -> Vec<&mut u64> {
                vec![$(&mut self.$($field).+,)+]
            }
        }
    };
}

fields! {
    operations,
    confirmed,
    delivered,
    redelivered,
    acked,
    starts,
    torn_tails,
    rewritten,
    died_starting,
    poisoned,
    checkpoint_bytes,
    flips_refused,
    flips_survived,
    disk.power_crashes,
    disk.process_crashes,
    disk.sectors_lost,
    disk.sectors_kept,
    disk.names_lost,
    disk.failed_syncs,
    disk.failed_writes,
    disk.no_space,
    disk.bit_flips,
    disk.cut_operations,
}
