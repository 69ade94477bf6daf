//! One queue: who it is, what it holds, and what can be asked of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use sluice_model::{
    Generation, Level, MessageId, PRIORITY_DEFAULT, Paused, Purge, QueueLimits, QueueName, QueueNo,
    QueueSettings, SessionId, State, SubscriptionId, Timestamp, TopicPattern,
};

use crate::config::QueueConfig;
use crate::journal::{Need, Progress, Sequence};
use crate::queue::dead_set::DeadSet;
use crate::queue::lanes::Lanes;
use crate::queue::order::Order;
use crate::queue::slots::{Extra, Lease, Slot, Slots};
use crate::queue::work::Work;
use crate::queue::{Counters, Counts, Droppable, Runs, Settled, Waiting};
use crate::record::PacedRedrive;
use crate::run_set::RunSet;
use crate::session::Held;
use crate::topic::Owner;

/// Who a queue is.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) no: QueueNo,
    pub(crate) name: QueueName,
    /// What its subscription listens to, if it is one's.
    pub(crate) pattern: Option<TopicPattern>,
    /// Its subscription has no name and is found again by its owner and pattern.
    pub(crate) unnamed: bool,
    pub(crate) owner: Owner,
    pub(crate) made_at: Timestamp,
}

/// Whether what an image says of a queue's identity and settings is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defined {
    Well,
    /// Its settings were changed since.
    Before,
}

/// A queue and its messages.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) identity: Identity,
    /// What was chosen for it, and the rules that come of it.
    pub(crate) settings: QueueSettings,
    pub(crate) rules: Arc<QueueConfig>,
    /// The last record about it: what a look at it depends on.
    pub(crate) last_sequence: Sequence,
    /// The last one that somebody was or will be told of only once it is on the disk.
    pub(crate) last_synced: Sequence,
    /// Sessions that are subscribed to it now.
    pub(crate) attached: Vec<(SessionId, SubscriptionId)>,
    /// When it goes unless somebody attaches.
    pub(crate) inactive_at: Option<Timestamp>,
    pub(crate) slots: Slots,
    pub(crate) order: Order,
    /// Messages with a group or keys, and whatever else limits are asked about; none until then.
    pub(crate) lanes: Option<Box<Lanes>>,
    /// Which limits are about it, or any key in it.
    pub(crate) limits: QueueLimits,
    /// Of the hashes of its lanes.
    pub(super) seed: u64,
    /// Listed among the queues with lanes, and among those whose lines have changed.
    pub(crate) listed_laned: bool,
    pub(crate) listed_untidy: bool,
    pub(crate) dead: DeadSet,
    pub(crate) counters: Counters,
    pub(crate) counts: Counts,
    pub(crate) parked: Waiting,
    /// Work in slices, each with when it goes on; the first one that is due is next.
    pub(crate) work: VecDeque<(Timestamp, Work)>,
    /// Redrives at a pace that are in progress, by their numbers; they survive restarts.
    pub(crate) redrives: BTreeMap<u32, PacedRedrive>,
    /// What is registered with the deadlines of the broker for it.
    pub(crate) works_at: Option<Timestamp>,
    /// Messages below this were there when a run ended without saying so: who knows whether they
    /// were delivered.
    pub(crate) doubtful_below: u64,
    /// In which start of the broker its messages came.
    pub(crate) runs: Runs,
    /// A body could not be read back.
    pub(crate) degraded: bool,
    /// Somebody paused it; it may be over.
    pub(crate) pause: Option<Box<Paused>>,
    /// What is registered with the deadlines of the broker for the end of the pause.
    pub(crate) resumes_at: Option<Timestamp>,
    /// Groups that have more turns than one.
    pub(crate) weights: BTreeMap<Box<str>, u16>,
    /// Listed among the queues with messages that are not visible yet.
    pub(crate) listed_hidden: bool,
    /// Listed among the queues whose parked receives may be served.
    pub(crate) listed_stirred: bool,
    /// What is registered with the deadlines of the broker; never later than what is due first.
    pub(crate) wakes_at: Option<Timestamp>,
    pub(crate) buries_at: Option<Timestamp>,
    /// The image that is to hold its last change, as `imaging.rs` counts them.
    pub(crate) listed_for: u64,
    /// The last image that it was taken into; 0 if none since the start.
    pub(crate) imaged_by: u64,
    /// The kind of its own piece in the last image, if it is there.
    pub(crate) imaged: Option<u8>,
    /// The last image has a piece of what it is, and whether that still is so.
    pub(crate) defined: Option<Defined>,
    /// It changed since it was taken into an image.
    pub(crate) dirty: bool,
    pub(super) delayed: BTreeSet<(Timestamp, u64)>,
    /// Messages that somebody holds, in the order of their grants.
    pub(super) held: RunSet<Held>,
    pub(super) droppable: Droppable,
    /// Messages in memory only.
    pub(super) resident: u64,
    /// How many of these were ever put back from the dead set.
    pub(super) redriven_in_memory: u64,
    pub(crate) settled: Settled,
}

impl Queue {
    pub(crate) fn new(
        identity: Identity,
        settings: QueueSettings,
        rules: Arc<QueueConfig>,
        seed: u64,
    ) -> Self {
        Self {
            identity,
            settings,
            rules,
            last_sequence: 0,
            last_synced: 0,
            attached: Vec::new(),
            inactive_at: None,
            slots: Slots::default(),
            order: Order::default(),
            lanes: None,
            limits: QueueLimits::default(),
            seed,
            listed_laned: false,
            listed_untidy: false,
            dead: DeadSet::default(),
            counters: Counters::default(),
            counts: Counts::default(),
            parked: Waiting::default(),
            work: VecDeque::new(),
            redrives: BTreeMap::new(),
            works_at: None,
            doubtful_below: 0,
            runs: Runs::default(),
            degraded: false,
            pause: None,
            resumes_at: None,
            weights: BTreeMap::new(),
            listed_hidden: false,
            listed_stirred: false,
            wakes_at: None,
            buries_at: None,
            listed_for: 0,
            imaged_by: 0,
            imaged: None,
            defined: None,
            dirty: true,
            delayed: BTreeSet::new(),
            held: RunSet::default(),
            droppable: Droppable::default(),
            resident: 0,
            redriven_in_memory: 0,
            settled: Settled::default(),
        }
    }

    pub(crate) fn no(&self) -> QueueNo {
        self.identity.no
    }

    /// The broker started once more; `unclean` if the run before ended without saying so.
    pub(crate) fn begin_run(&mut self, start: u32, unclean: bool) {
        let next = self.slots.next();
        if unclean {
            self.doubtful_below = next;
        }
        self.runs.begin(&self.slots, start);
        self.dirty = true;
    }

    /// The identity of the message at `seq`.
    pub(crate) fn id_of(&self, seq: u64, slot: &Slot) -> MessageId {
        self.runs.id_of(seq, slot)
    }

    /// The seq of a message that is there.
    pub(crate) fn find(&self, id: MessageId) -> Option<u64> {
        self.runs.find(&self.slots, id)
    }

    /// Notes a record about the queue, or about a message of this level.
    pub(crate) fn touched(&mut self, level: Level, sequence: Sequence) {
        self.last_sequence = self.last_sequence.max(sequence);
        if level == Level::Sync {
            self.last_synced = self.last_synced.max(sequence);
        }
    }

    /// What an answer depends on that tells what the queue is like. The queue itself is in the
    /// log, wherever its messages are; and a level that was changed since took nothing back.
    pub(crate) fn need(&self) -> Need {
        Need { written: self.last_sequence, synced: self.last_synced }
    }

    /// Whether messages were accepted that are not visible yet, or are held back.
    pub(crate) fn has_hidden(&self) -> bool {
        let unfinished = self.lanes.as_ref().is_some_and(|lanes| lanes.is_unfinished);
        self.order.visible() < self.slots.next() || self.order.is_held_back() || unfinished
    }

    /// Makes visible what is committed.
    pub(crate) fn reveal(&mut self, progress: Progress) {
        let mut laned = Vec::new();
        self.order.reveal(&self.slots, progress, &mut laned);
        for seq in laned {
            self.enter_lane(seq, true);
        }
    }

    /// The next message in order, if one is ready and visible and none before it is on its way.
    pub(crate) fn peek(&mut self) -> Option<u64> {
        if self.order.is_held_back() { None } else { self.order.peek(&self.slots) }
    }

    /// When the next delayed message is due.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.delayed.first().map(|(at, _)| *at)
    }

    /// The next delayed message that is due.
    pub(crate) fn due(&self, now: Timestamp) -> Option<u64> {
        self.delayed.first().filter(|(at, _)| *at <= now).map(|(_, seq)| *seq)
    }

    /// The oldest message that nobody holds and that is not dead, visible or not.
    pub(crate) fn oldest_droppable(&mut self) -> Option<u64> {
        self.droppable.oldest(&self.slots)
    }

    /// Messages that somebody holds, in the order of their grants.
    pub(crate) fn held(&self) -> impl Iterator<Item = u64> {
        self.held.iter().map(|(_, _, seq)| seq.0)
    }

    /// The lease that a message is held under.
    pub(crate) fn lease_of(&self, seq: u64) -> Option<Lease> {
        self.slots.get_full(seq)?.1?.lease
    }

    /// Whether a lease is void because somebody else took the subscription over.
    pub(crate) fn is_void(&self, generation: Generation) -> bool {
        self.work.iter().any(|(_, work)| match work {
            Work::TakeOver(taking) => generation <= taking.through,
            _ => false,
        })
    }

    /// The message that is held under the oldest lease, if that was granted by `through`.
    pub(crate) fn held_through(&self, through: Generation) -> Option<u64> {
        let oldest = self.held.first().filter(|(generation, ..)| *generation <= through);
        oldest.map(|(_, _, seq)| seq.0)
    }

    /// The leases of these messages.
    pub(crate) fn held_leases(&self) -> impl Iterator<Item = (u64, Lease)> {
        self.held().filter_map(|seq| {
            let (_, extra) = self.slots.get_full(seq)?;
            Some((seq, extra?.lease?))
        })
    }

    /// A group has so many turns from now on.
    pub(crate) fn weigh(&mut self, group: &str, weight: u16) {
        match weight {
            1 => drop(self.weights.remove(group)),
            _ => drop(self.weights.insert(group.into(), weight)),
        }
    }

    /// The pause that somebody made of it, if it is not over.
    pub(crate) fn pause_at(&self, now: Timestamp) -> Option<&Paused> {
        self.pause.as_deref().filter(|pause| pause.until.is_none_or(|until| now < until))
    }

    /// Whether it gives out nothing because somebody paused it.
    pub(crate) fn is_paused(&self, now: Timestamp) -> bool {
        self.pause_at(now).is_some()
    }

    /// The highest priority of messages that are ready and visible.
    pub(crate) fn highest_ready(&self) -> Option<u8> {
        let priority = |first: u64| {
            let lane = self.slots.get_full(first)?.1.and_then(Extra::lane);
            Some(lane.map_or(PRIORITY_DEFAULT, |lane| lane.priority))
        };
        let plain = self.order.ahead(&self.slots).next().and_then(priority);
        plain.into_iter().chain(self.lanes.as_ref().and_then(|lanes| lanes.highest())).max()
    }

    /// Whether a purge of `what` deletes the message at `seq`.
    pub(crate) fn is_meant(&self, seq: u64, what: Purge) -> bool {
        self.slots.get(seq).is_some_and(|slot| match slot.state() {
            // A start can't tell one from the other: a delay ends without a record.
            State::Ready | State::Delayed => what.waiting,
            State::Leased => what.leased,
            State::Dead => what.dead,
        })
    }

    /// Whether a redrive is in progress or waits.
    pub(crate) fn is_redriving(&self) -> bool {
        self.work.iter().any(|(_, work)| matches!(work, Work::Redrive(_)))
    }

    /// Messages in memory only.
    pub(crate) fn resident(&self) -> u64 {
        self.resident
    }
}
