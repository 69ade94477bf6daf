//! One schedule: a broker, a disk, clients, and what befalls them.

mod backups;
mod blocks;
mod broker;
mod ending;
mod keys;
mod limits;
mod listen;
mod replies;
mod traffic;
mod trouble;
mod work;

use std::time::Duration;

use sluice_broker::local::{Input, LocalConfig};
use sluice_model::Timestamp;
use sluice_wal::{FaultCounters, Faults, SimulatedDisk};

use crate::client::Client;
use crate::counters::{Counters, Outcome, Violation};
use crate::history::History;
use crate::oracle::Oracle;
use crate::random::Random;
use crate::roles::{PUBLISHERS, ROLES, SUBSCRIPTIONS};
use crate::worker::Worker;
use backups::Backups;
use broker::Broker;
use keys::KeyWorld;
use limits::LimitWorld;

/// Client operations of a schedule before it is brought to its end.
const OPERATIONS_MIN: u64 = 240;
const CRASHES_MIN: u64 = 2;
/// Tells a schedule's second chance from its first.
const ASIDE: u64 = 0xa51d_e000;
/// Steps of a phase without trouble.
const CALM_STEPS: u64 = 120;

/// Runs one schedule: first with topics, then, each on another disk, with a queue, with blocks and
/// pushed delivery on both, with keys, and with queues under limits.
///
/// # Errors
/// A promise was broken.
pub fn run(seed: u64) -> Result<Outcome, Violation> {
    let mut outcome = play(seed, Workload::Topics)?;
    for workload in &Workload::ALL[1..] {
        let other = play(seed, *workload)?;
        outcome.counters.add(&other.counters);
        outcome.trace = outcome.trace.rotate_left(1) ^ other.trace;
    }
    Ok(outcome)
}

/// Runs one workload of a schedule by itself: what befalls it is the same.
///
/// # Errors
/// A promise was broken.
pub fn run_only(seed: u64, workload: Workload) -> Result<Outcome, Violation> {
    play(seed, workload)
}

fn play(seed: u64, workload: Workload) -> Result<Outcome, Violation> {
    let mut world = World::new(seed, workload);
    let outcome = world.play();
    outcome.map_err(|what| Violation { seed, step: world.step, what })
}

/// What the clients of a schedule do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// They publish to topics and consume subscriptions.
    Topics,
    /// They work on one queue.
    Queue,
    /// They do both with many messages at once, some of them slowly.
    Blocks,
    /// They read, write and watch keys.
    Keys,
    /// They work on queues under limits, which one of them sets, changes and takes away.
    Limits,
}

impl Workload {
    /// All of them, in the order in which a schedule runs them.
    pub const ALL: [Self; 5] = [Self::Topics, Self::Queue, Self::Blocks, Self::Keys, Self::Limits];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Topics => "topics",
            Self::Queue => "queue",
            Self::Blocks => "blocks",
            Self::Keys => "keys",
            Self::Limits => "limits",
        }
    }
}

struct World {
    random: Random,
    /// Decides what schedules got later, so that the rest of each stays as it was.
    aside: Random,
    /// Decides when something else fills the disk; none in a schedule whose disk has no bound.
    hog: Option<Random>,
    config: LocalConfig,
    disk: SimulatedDisk,
    /// What the disk does wrong now.
    faults: Faults,
    now: Timestamp,
    broker: Option<Broker>,
    publishers: Vec<Client>,
    consumers: Vec<Client>,
    workload: Workload,
    workers: Vec<Worker>,
    keys: KeyWorld,
    limits: LimitWorld,
    history: History,
    /// Durable subscriptions that were confirmed at least once: they get what is published.
    subscribed: Vec<bool>,
    last_names: [u64; PUBLISHERS],
    oracle: Oracle,
    counters: Counters,
    backups: Backups,
    crashes: u64,
    step: u64,
    /// Nothing goes wrong before this step, and consumers ack all they get in its order.
    calm_until: u64,
    trace: u64,
    /// It is being brought to its end.
    ends: bool,
}

impl World {
    fn new(seed: u64, workload: Workload) -> Self {
        let mut random = Random::new(seed);
        Self {
            disk: SimulatedDisk::with_faults(random.next()),
            config: config(&mut random),
            faults: Faults::default(),
            now: Timestamp::from_millis(1_700_000_000_000),
            broker: None,
            publishers: (0..PUBLISHERS).map(|_| Client::new()).collect(),
            consumers: ROLES.iter().map(|_| Client::new()).collect(),
            workload,
            workers: (0..work::WORKERS).map(|_| Worker::default()).collect(),
            keys: KeyWorld::default(),
            limits: LimitWorld::default(),
            history: History::default(),
            subscribed: vec![false; SUBSCRIPTIONS],
            last_names: [0; PUBLISHERS],
            oracle: Oracle::new(SUBSCRIPTIONS),
            counters: Counters::default(),
            backups: Backups::new(seed),
            crashes: 0,
            step: 0,
            calm_until: 0,
            trace: 0xcbf2_9ce4_8422_2325,
            ends: false,
            hog: None,
            aside: Random::new(seed ^ ASIDE),
            random,
        }
        .with_hog(seed)
        .with_slices()
        .with_little_room()
        .with_short_history()
        .with_limits()
    }

    /// Lets little happen in a turn in some schedules, so that what touches many messages goes on
    /// while others do something else.
    fn with_slices(mut self) -> Self {
        if self.aside.percent(40) {
            self.config.engine.deadlines_per_turn = 1 + self.aside.below(4) as usize;
        }
        self
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
        let crashes_min = if self.limits.is_steady { 0 } else { CRASHES_MIN };
        while self.counters.operations < OPERATIONS_MIN || self.crashes < crashes_min {
            self.step += 1;
            self.now = self.now.after(Duration::from_millis(self.random.below(8)));
            if !matches!(self.workload, Workload::Blocks | Workload::Limits) {
                self.back_up()?;
            }
            if self.is_calm() {
                self.calm_step()?
            } else {
                self.step_once()?
            }
            if self.disk.is_dead() || self.broker.is_none() {
                self.crash()?;
            }
        }
        self.counters.crashed = u64::from(self.crashes > 0);
        self.flip_a_bit()?;
        self.bring_to_an_end()?;
        let bit_flips = self.counters.disk.bit_flips;
        self.counters.disk = FaultCounters { bit_flips, ..self.disk.counters() };
        let compared = self.history.compared;
        self.counters.queue_exclusive = compared.exclusive;
        self.counters.queue_ranked = compared.ranked;
        self.counters.queue_ordered = compared.ordered;
        self.counters.queue_empties = compared.empties;
        self.counters.queue_left = compared.purges;
        self.counters.queue_resumed = compared.resumed;
        self.counters.block_ordered = compared.in_block;
        Ok(Outcome { counters: self.counters, trace: self.trace })
    }

    fn is_calm(&self) -> bool {
        self.step < self.calm_until
    }

    fn step_once(&mut self) -> Result<(), String> {
        self.fill_or_free_the_disk();
        match self.random.below(1000) {
            0..=549 if self.workload == Workload::Queue => self.work(),
            0..=549 if self.workload == Workload::Keys => self.work_keys(),
            0..=549 if self.workload == Workload::Limits => self.call()?,
            0..=274 if self.workload == Workload::Blocks => self.work_in_blocks()?,
            275..=549 if self.workload == Workload::Blocks => self.listen()?,
            0..=249 => self.publish(),
            250..=549 => self.consume(),
            550..=799 => self.commit(),
            800..=869 => self.keep_house_a_bit(),
            870..=919 => self.turn(Input::Tick),
            920..=949 if self.workload == Workload::Queue => self.lose_a_worker(),
            920..=949 if self.workload == Workload::Keys => self.lose_a_keeper(),
            920..=949 if self.workload == Workload::Limits => self.lose_a_caller(),
            920..=932 if self.workload == Workload::Blocks => self.lose_a_worker(),
            920..=949 => self.lose_a_connection(),
            950..=959 => self.now = self.now.after(Duration::from_millis(self.random.below(700))),
            960..=985 if self.limits.is_steady => {}
            960..=969 => self.disk_trouble(),
            970..=979 => self.schedule_a_crash(30),
            980..=985 => return self.crash(),
            986..=989 => self.begin_calm(),
            _ => {}
        }
        self.collect()
    }

    /// A step in which nothing goes wrong, so that what comes is new and has its place in order.
    fn calm_step(&mut self) -> Result<(), String> {
        match self.random.below(100) {
            0..=54 if self.workload == Workload::Queue => self.work(),
            0..=54 if self.workload == Workload::Keys => self.work_keys(),
            0..=54 if self.workload == Workload::Limits => self.call()?,
            0..=26 if self.workload == Workload::Blocks => self.work_in_blocks()?,
            27..=54 if self.workload == Workload::Blocks => self.listen()?,
            0..=14 => self.publish(),
            15..=54 => self.consume(),
            55..=94 => self.commit(),
            95..=97 => self.keep_house_a_bit(),
            _ => self.turn(Input::Tick),
        }
        self.collect()
    }
}

/// Bounds so small that a short schedule meets them all.
fn config(random: &mut Random) -> LocalConfig {
    let mut config = LocalConfig {
        replay_max: 16 << 10,
        checkpoint_interval: Duration::from_secs(5),
        ..LocalConfig::default()
    };
    config.wal.segment_bytes = 64 << 10;
    config.wal.record_max = 16 << 10;
    config.wal.frame_bytes = 4 << 10;
    config.wal.resident_bytes = 8 << 10;
    config.engine.queue.max_message_bytes = 8 << 10;
    config.engine.unnamed.max_message_bytes = 8 << 10;
    config.engine.session_out_max = 16 << 10;
    config.engine.lost_grace = Duration::from_millis(50);
    let max_failures = if random.percent(30) { 3 } else { 0 };
    for rules in [&mut config.engine.unnamed, &mut config.engine.queue] {
        rules.lease = Duration::from_millis(400);
        rules.backoff.min = Duration::from_millis(20);
        rules.backoff.max = Duration::from_millis(200);
        rules.max_failures = max_failures;
    }
    config
}
