//! Random commands, crashes and images against a model that says for each what must come of it:
//! every reply, every delivery, every record, and the full state of every message afterwards.
//!
//! The model decides first what a step changes, as events; then the records that the engine wrote
//! are matched with them one to one. A crash keeps some of the records, and the events of just
//! these, applied to nothing, are what the engine must be like after its start.

mod commands;
mod look;
mod publishing;
mod receiving;
mod settling;
mod state;
mod time;

use std::collections::BTreeMap;

use sluice_engine::{QueueConfig, Record};
use sluice_flow::Backoff;
use sluice_model::{DeadReason, LeaseId, Level, MessageId, Purge, QueueNo, SessionId, Timestamp};

use crate::dice::Dice;
use crate::rig::{Rig, config, ms, one_by_one, peer};
use state::{Counted, Event, Queue, State0, What};

/// Transitions of the table that these commands can bring.
const TRANSITIONS: usize = 28;

/// A delivery that some client once had.
#[derive(Clone, Debug)]
struct Given {
    queue: QueueNo,
    id: MessageId,
    seq: u64,
    lease: LeaseId,
    session: SessionId,
    resident: bool,
}

/// A receive that waits, in the order in which they came.
#[derive(Clone, Debug)]
struct Parked {
    queue: QueueNo,
    session: SessionId,
    tag: u64,
    max: u32,
    bound: bool,
    lease: Option<u64>,
    /// None for one that waits only for a commit.
    until: Option<Timestamp>,
    /// It keeps its place, and so is answered by one message.
    kept: bool,
}

/// What the next turn does in the background.
#[derive(Clone, Debug)]
enum Job {
    Purge(QueueNo, Purge, SessionId),
    Redrive(QueueNo, Vec<MessageId>, Option<DeadReason>, SessionId),
    Recheck(QueueNo),
}

struct World {
    rig: Rig,
    dice: Dice,
    live: State0,
    /// Everything that happened and has a record, by its number.
    log: Vec<(u64, Event)>,
    /// What the model says that the call in progress changes, not matched with records yet.
    events: Vec<Event>,
    sessions: Vec<SessionId>,
    /// Who looks and does nothing else.
    looker: Option<SessionId>,
    /// Connections that are lost, and when their leases end.
    graces: BTreeMap<SessionId, Timestamp>,
    /// Connections that are gone, and which of their leases go back: those that were never sent,
    /// or all of them.
    over: BTreeMap<SessionId, time::Over>,
    /// Few things happen in a turn. Nobody waits then: who is served between two turns depends on
    /// what has happened by then.
    slices: bool,
    parked: Vec<Parked>,
    given: Vec<Given>,
    /// In which run, and by which record.
    acked: BTreeMap<LeaseId, (u32, u64)>,
    jobs: Vec<Job>,
    /// Deliveries that are yet to be looked at.
    others: Vec<receiving::Told>,
    /// What messages in memory only had come to when the image was taken.
    imaged: BTreeMap<QueueNo, Counted>,
    names: u64,
    hits: [u64; TRANSITIONS + 1],
}

impl World {
    fn new(seed: u64) -> Self {
        let mut config = config();
        for queue in [&mut config.queue, &mut config.unnamed] {
            queue.backoff = Backoff { min: ms(100), max: ms(1_000), factor: 2.0, jitter: 0.0 };
        }
        let mut dice = Dice(seed);
        let slices = dice.one_in(2);
        if slices {
            config.deadlines_per_turn = dice.between(1, 5) as usize;
        }
        let rig = Rig::new(config);
        let mut world = Self {
            rig,
            dice,
            live: State0 { start: 1, ..State0::default() },
            log: Vec::new(),
            events: Vec::new(),
            sessions: Vec::new(),
            looker: None,
            graces: BTreeMap::new(),
            over: BTreeMap::new(),
            slices,
            parked: Vec::new(),
            given: Vec::new(),
            acked: BTreeMap::new(),
            jobs: Vec::new(),
            others: Vec::new(),
            imaged: BTreeMap::new(),
            names: 0,
            hits: [0; TRANSITIONS + 1],
        };
        world.rig.commits = false;
        world.open();
        world
    }

    fn open(&mut self) {
        if self.sessions.len() < 4 {
            let session = self.rig.open(peer(1));
            self.sessions.push(session);
        }
    }

    fn session(&mut self) -> SessionId {
        if self.sessions.is_empty() {
            self.open();
        }
        self.dice.pick(&self.sessions).unwrap()
    }

    fn step(&mut self) {
        if self.dice.one_in(4) {
            // A command may come before the deadlines that have passed by then.
            self.rig.now = self.rig.now.after(ms(self.dice.below(800)));
        }
        match self.dice.below(100) {
            0..2 => self.open(),
            2..4 => self.close(),
            4..9 => self.declare(),
            9..25 => self.publish(),
            25..30 => self.publish_batch(),
            30..48 => self.receive(),
            48..54 => self.ack(),
            54..58 => self.ack_many(),
            58..69 => self.nack(),
            69..72 => self.extend(),
            72..76 => self.one_message(),
            76..78 => self.purge(),
            78..81 => self.redrive(),
            81 => self.delete(),
            82..90 => self.commit(),
            90..94 => self.rig.now = self.rig.now.after(ms(self.dice.below(3_000))),
            94 => self.corrupt(),
            95..97 => self.take_image(),
            97 => self.relocate(),
            _ => self.restart(),
        }
        self.fire();
        self.look();
    }

    fn queues(&self) -> Vec<QueueNo> {
        self.live.queues.keys().copied().collect()
    }

    fn a_queue(&mut self) -> Option<QueueNo> {
        let queues = self.queues();
        self.dice.pick(&queues)
    }

    fn queue(&self, no: QueueNo) -> &Queue {
        &self.live.queues[&no]
    }

    fn hit(&mut self, transition: usize) {
        self.hits[transition] += 1;
    }

    /// The model says that this happens now.
    fn emit(&mut self, queue: QueueNo, seq: u64, what: What) {
        let event = Event { queue, seq, what };
        let resident = match &event.what {
            What::Published(message, _) => message.level == Level::Memory,
            What::Woke => true,
            What::Declared(..) | What::Configured(..) | What::Ended => false,
            What::Remembered(..) | What::Purged(..) => false,
            _ => self
                .live
                .queues
                .get(&queue)
                .and_then(|queue| queue.messages.get(&seq))
                .is_some_and(|message| message.level == Level::Memory),
        };
        self.live.apply(&event);
        if !resident {
            self.events.push(event);
        }
    }

    /// Matches what the engine wrote since `before` with what the model said: one to one, and
    /// what happened to one message in that order.
    fn settle(&mut self, before: u64) {
        for number in before + 1..=self.rig.tape.last() {
            for record in one_by_one(self.rig.tape.record(number)) {
                let Some(key) = key_of(&record) else { continue };
                let at = self.events.iter().position(|event| key_of_event(event) == key);
                let at = at.unwrap_or_else(|| panic!("{record:?} among {:?}", self.events));
                let event = self.events.remove(at);
                self.log.push((number, event));
            }
        }
        let written = || (before + 1..=self.rig.tape.last()).map(|n| self.rig.tape.record(n));
        let written = || written().collect::<Vec<_>>();
        assert!(self.events.is_empty(), "{:?} are not in {:?}", self.events, written());
    }
}

fn key_of(record: &Record<'_>) -> Option<(u8, QueueNo, u64)> {
    let one = |kind: u8, target: &sluice_engine::Target| (kind, target.queue, target.seq.0);
    Some(match record {
        Record::Founded { .. } | Record::Started { .. } | Record::Moved { .. } => return None,
        Record::RedriveBegun { .. } | Record::RedriveDone { .. } => return None,
        Record::KeySet { .. } | Record::KeyGone { .. } => return None,
        Record::LimitPut { .. } | Record::LimitDeleted { .. } | Record::Paused { .. } => {
            return None;
        }
        Record::Throttled { .. } | Record::Weighed { .. } | Record::Counted { .. } => return None,
        Record::GrantedMany { .. } | Record::AckedMany { .. } => panic!("looked at one by one"),
        Record::Declared { queue, .. } => (1, *queue, 0),
        Record::Configured { queue, .. } => (2, *queue, 0),
        Record::Ended { queue } => (3, *queue, 0),
        Record::Published { targets, dedupe, .. } => match (targets.first(), dedupe) {
            (Some(target), _) => one(4, target),
            (None, Some(mark)) => match mark.scope {
                sluice_engine::DedupeScope::Queue(no) => (5, no, 0),
                _ => panic!("a topic's id"),
            },
            (None, None) => panic!("a record without a purpose"),
        },
        Record::Granted { target, .. } => one(6, target),
        Record::Extended { target, .. } => one(7, target),
        Record::Acked { target, .. } => one(8, target),
        Record::Returned { target, .. } => one(9, target),
        Record::Buried { target, .. } => one(10, target),
        Record::Removed { target, .. } => one(11, target),
        Record::Rescheduled { target, .. } => one(12, target),
        Record::Redriven { target, .. } => one(13, target),
        Record::Purged { queue, from, .. } => (14, *queue, from.0),
    })
}

fn key_of_event(event: &Event) -> (u8, QueueNo, u64) {
    let kind = match &event.what {
        What::Declared(..) => 1,
        What::Configured(..) => 2,
        What::Ended => 3,
        What::Published(..) => 4,
        What::Remembered(..) => 5,
        What::Granted(_) => 6,
        What::Extended(..) => 7,
        What::Acked => 8,
        What::Returned(..) => 9,
        What::Buried(..) => 10,
        What::Removed(_) => 11,
        What::Rescheduled(..) => 12,
        What::Redriven(..) => 13,
        What::Purged(..) => 14,
        What::Woke => 0,
    };
    (kind, event.queue, event.seq)
}

fn rules(of: &QueueConfig, chosen: &sluice_model::QueueSettings) -> QueueConfig {
    of.with(chosen).unwrap()
}

/// How many schedules are played; `SLUICE_MODEL_SEEDS` asks for more than fit a test run.
#[expect(clippy::disallowed_methods, reason = "the engine is pure, who tests it may choose")]
fn seeds_asked_for() -> Option<u64> {
    std::env::var("SLUICE_MODEL_SEEDS").ok()?.parse().ok()
}

#[test]
fn every_transition_is_as_the_simplest_right_model_says() {
    let asked = seeds_asked_for();
    let seeds = asked.unwrap_or(80);
    let mut hits = [0; TRANSITIONS + 1];
    for seed in 1..=seeds {
        let mut world = World::new(seed);
        for step in 0..300 {
            let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.step()));
            assert!(played.is_ok(), "seed {seed}, step {step}");
        }
        for (all, more) in hits.iter_mut().zip(world.hits) {
            *all += more;
        }
    }
    let missed: Vec<_> = (1..=TRANSITIONS).filter(|t| hits[*t] == 0).collect();
    assert!(missed.is_empty(), "no step ever brought T{missed:?}: {hits:?}");
    if asked.is_some() {
        println!("{hits:?}");
    }
}
