//! One queue: the changes of state that a record can bring.
//!
//! ```text
//! published --committed--> ready --granted--> leased --acked--> gone
//!     |                    ^ |  ^               |
//!     '--> delayed --------' |  '---returned----+--> delayed
//!                            '---expired--> gone or dead <--- failures spent
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use sluice_model::{
    DeadReason, Generation, Lane, Level, MessageId, PRIORITY_DEFAULT, Paused, Purge, QueueLimits,
    QueueName, QueueNo, QueueSettings, Seq, SessionId, State, SubscriptionId, Timestamp,
    TopicPattern, Transition,
};

use crate::config::QueueConfig;
use crate::journal::{Need, Progress, Sequence};
use crate::queue::dead_set::DeadSet;
use crate::queue::lanes::{Lanes, NO_LANE};
use crate::queue::order::{Order, Place};
use crate::queue::slots::{Extra, Lease, Slot, Slots};
use crate::queue::work::Work;
use crate::queue::{Counters, Counts, Droppable, Runs, Settled, Waiting, is_waiting};
use crate::record::{Cause, PacedRedrive, Removal, Run};
use crate::run_set::{RunSet, Step as _};
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

/// A lease that ended without an ack, as its record tells it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Returned<'a> {
    pub(crate) cause: Cause,
    pub(crate) at: Timestamp,
    pub(crate) ready_at: Timestamp,
    pub(crate) note: Option<&'a str>,
    /// The run of the broker that it happened in.
    pub(crate) start: u32,
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
    delayed: BTreeSet<(Timestamp, u64)>,
    /// Messages that somebody holds, in the order of their grants.
    held: RunSet<Held>,
    droppable: Droppable,
    /// Messages in memory only.
    resident: u64,
    /// How many of these were ever put back from the dead set.
    redriven_in_memory: u64,
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

    /// A message came. `extra` is what it has beside its slot, if anything.
    pub(crate) fn push(&mut self, slot: Slot, extra: Option<Extra>) -> u64 {
        let seq = self.slots.push(slot);
        let delayed = extra.as_ref().is_some_and(|extra| extra.ready_at != Timestamp::EPOCH);
        let lane = extra.as_ref().and_then(Extra::lane);
        let plain = |lane: &Lane| lane.priority == PRIORITY_DEFAULT && !is_laned(lane);
        let ranked = lane.is_some_and(|lane| !plain(lane));
        let extra = extra.map(|mut extra| {
            self.join_lane(&mut extra);
            extra
        });
        if let Some(extra) = extra
            && let Some(place) = self.slots.extra_mut(seq)
        {
            *place = extra;
        }
        if ranked {
            self.slots.set_ranked(seq);
        }
        self.counters.published += 1;
        self.resident += u64::from(slot.sequence() == 0);
        let level = slot.level();
        self.touched(level, slot.sequence());
        self.order.pushed(seq, &slot);
        self.arrive(seq, if delayed { State::Delayed } else { State::Ready });
        seq
    }

    /// Puts a message that has left its state into another one.
    fn arrive(&mut self, seq: u64, to: State) {
        self.slots.set_state(seq, to);
        let Some((slot, extra)) = self.slots.get_full(seq) else { return };
        let is_laned = extra.is_some_and(|extra| extra.lane_no != NO_LANE);
        self.counts.add(to, slot.len());
        match to {
            State::Ready if self.order.hides(seq, slot) => self.order.hide(seq),
            State::Ready if is_laned => self.enter_lane(seq, true),
            State::Ready => {
                self.order.enter(seq, slot, extra);
                self.plain_changed(seq);
            }
            State::Delayed => {
                self.delayed.insert((extra.map_or(Timestamp::EPOCH, |extra| extra.ready_at), seq));
                if is_laned {
                    self.enter_lane(seq, false);
                }
            }
            // Whoever leases messages lists them.
            State::Leased => {}
            State::Dead => {
                if let Some((reason, at)) = extra.and_then(Extra::dead) {
                    self.dead.insert(reason, at, seq, slot.len());
                }
            }
        }
        if is_waiting(to) {
            self.droppable.enter(seq);
        }
        self.dirty = true;
    }

    /// Takes a message out of the counts and indexes of its state, and gives the lane that it belongs
    /// to. What indexes go by may be changed then, and [`Queue::arrive`] follows, or the end of the
    /// message.
    fn leave(&mut self, seq: u64) -> u32 {
        let Some((slot, extra)) = self.slots.get_full(seq) else { return NO_LANE };
        let lane = extra.map_or(NO_LANE, |extra| extra.lane_no);
        self.counts.subtract(slot.state(), slot.len());
        match slot.state() {
            State::Ready if self.order.unhide(seq, slot) => {}
            State::Ready if lane != NO_LANE => self.leave_lane(seq, lane),
            State::Ready => {
                self.order.leave(seq, slot, extra);
                self.plain_changed(seq);
            }
            State::Delayed => {
                self.delayed.remove(&(extra.map_or(Timestamp::EPOCH, |extra| extra.ready_at), seq));
                if lane != NO_LANE {
                    self.leave_lane(seq, lane);
                }
            }
            State::Leased => {
                let held = (generation_of(extra), self.identity.no, Seq(seq));
                self.held.remove(held, 1);
                if lane != NO_LANE {
                    self.leave_lane(seq, lane);
                }
            }
            State::Dead => {
                if let Some((reason, at)) = extra.and_then(Extra::dead) {
                    self.dead.remove(reason, at, seq, slot.len());
                }
            }
        }
        self.droppable.leave(seq);
        self.dirty = true;
        lane
    }

    /// T8: a consumer got these messages. `lease` is that of the first one; the others' generations
    /// follow.
    pub(crate) fn grant(&mut self, run: Run, lease: Lease) {
        let first = (lease.generation, self.identity.no, run.first);
        // Those in a row that are there and not listed yet.
        let (mut from, mut present) = (0, 0);
        for at in 0..run.count {
            let (generation, _, Seq(seq)) = first.plus(at);
            // Before its `ready_at` goes, by which it is found among the delayed ones.
            let lane = self.leave(seq);
            let is_fifo = self.is_fifo_lane(lane);
            if is_fifo {
                self.fix_place(seq, None);
            }
            if let Some(len) = self.slots.lease(seq, Lease { generation, ..lease }) {
                self.hold_in_lane(lane);
                if is_fifo {
                    self.enter_lane(seq, false);
                }
                self.counts.add(State::Leased, len);
                present += 1;
            } else {
                self.held.insert(first.plus(from), present);
                (from, present) = (at + 1, 0);
            }
        }
        self.held.insert(first.plus(from), present);
        self.dirty = true;
    }

    /// T10: its consumer has more time. Gives back the deadline before.
    pub(crate) fn extend(
        &mut self,
        seq: u64,
        at: Timestamp,
        deadline: Timestamp,
    ) -> Option<Timestamp> {
        let extra = self.slots.extra_mut(seq)?;
        extra.last = Some((Transition::Extended, at));
        let lease = extra.lease.as_mut()?;
        self.dirty = true;
        Some(std::mem::replace(&mut lease.deadline, deadline))
    }

    /// So many leases in a row are over.
    pub(crate) fn unlist(&mut self, first: Held, count: u32) {
        self.held.remove(first, count);
    }

    /// T9, T20: the message was dealt with; its lease, if it has one, is not listed any more. Gives
    /// back its slot.
    pub(crate) fn ack(
        &mut self,
        seq: u64,
        generation: Generation,
        sequence: Sequence,
    ) -> Option<Slot> {
        let slot = self.forget(seq)?;
        self.counters.acked += 1;
        self.settled.push(seq, generation, sequence);
        Some(slot)
    }

    fn forget(&mut self, seq: u64) -> Option<Slot> {
        let lane = self.leave(seq);
        self.part_lane(lane);
        let slot = self.slots.remove(seq)?;
        self.resident -= u64::from(slot.sequence() == 0);
        Some(slot)
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

    /// T11, T13, T16, T17: the lease ended, and the message waits again. Gives back the lease.
    pub(crate) fn give_back(&mut self, seq: u64, how: Returned<'_>) -> Option<Lease> {
        self.leave(seq);
        let extra = self.slots.extra_mut(seq)?;
        let lease = extra.lease.take();
        extra.failures += u32::from(how.cause.is_failure());
        extra.releases += u32::from(how.cause == Cause::Released);
        extra.last = Some((how.cause.transition(), how.at));
        if let Some(note) = how.note {
            extra.more_mut().note = Some(note.into());
        }
        if let (true, Some(lease)) = (how.cause.voids_lease(), lease) {
            let counter = lease.generation.counter + 1;
            extra.fence = Generation { counter, ..lease.generation };
            if how.cause == Cause::TakenOver {
                // Leases of runs before whose grants were lost in a crash are void too.
                extra.fence = extra.fence.max(Generation { start: how.start, counter: 0 });
            }
        }
        extra.ready_at = how.ready_at;
        let delayed = how.ready_at != Timestamp::EPOCH;
        self.arrive(seq, if delayed { State::Delayed } else { State::Ready });
        lease
    }

    /// T6: a delayed message is due.
    pub(crate) fn wake(&mut self, seq: u64) {
        self.leave(seq);
        self.fix_place(seq, None);
        if let Some(extra) = self.slots.extra_mut(seq) {
            extra.ready_at = Timestamp::EPOCH;
        }
        self.arrive(seq, State::Ready);
    }

    /// T7: a delayed message is due at another time.
    pub(crate) fn reschedule(&mut self, seq: u64, at: Timestamp, ready_at: Timestamp) {
        if !self.slots.get(seq).is_some_and(|slot| is_waiting(slot.state())) {
            return;
        }
        self.leave(seq);
        if ready_at == Timestamp::EPOCH {
            self.fix_place(seq, Some(at));
        }
        if let Some(extra) = self.slots.extra_mut(seq) {
            extra.ready_at = ready_at;
            extra.last = Some((Transition::Rescheduled, at));
        }
        let delayed = ready_at != Timestamp::EPOCH;
        self.arrive(seq, if delayed { State::Delayed } else { State::Ready });
    }

    /// T12, T15, T24, T25, T28: the message goes to the dead set. Gives back the lease, if there
    /// was one.
    pub(crate) fn bury(
        &mut self,
        seq: u64,
        reason: DeadReason,
        at: Timestamp,
        note: Option<&str>,
    ) -> Option<Lease> {
        let lane = self.leave(seq);
        self.part_lane(lane);
        let extra = self.slots.extra_mut(seq)?;
        extra.lane_no = NO_LANE;
        let lease = extra.lease.take();
        if lease.is_some() {
            extra.failures += u32::from(reason == DeadReason::MaxFailures);
            extra.releases += u32::from(reason == DeadReason::MaxReleases);
        }
        extra.ready_at = Timestamp::EPOCH;
        extra.last = Some((Transition::Died, at));
        let more = extra.more_mut();
        more.dead = Some((reason, at));
        if let Some(note) = note {
            more.note = Some(note.into());
        }
        self.degraded |= reason == DeadReason::Corrupt;
        self.arrive(seq, State::Dead);
        lease
    }

    /// T22: a message of the dead set waits again, behind all that are there.
    pub(crate) fn redrive(&mut self, seq: u64, at: Timestamp, fence: Generation) {
        if self.slots.get(seq).map(Slot::state) != Some(State::Dead) {
            return;
        }
        self.leave(seq);
        // One in memory only has no record that would tell its place from the next one's.
        let resident = self.slots.get(seq).is_some_and(|slot| slot.sequence() == 0);
        self.redriven_in_memory += u64::from(resident);
        let nth = if resident { self.redriven_in_memory } else { 0 };
        let place = Place { seq: self.slots.next() - 1, behind: self.last_sequence.max(1), nth };
        if let Some(extra) = self.slots.extra_mut(seq) {
            extra.fence = extra.fence.max(fence);
            extra.failures = 0;
            extra.releases = 0;
            extra.expires_at = Timestamp::EPOCH;
            extra.last = Some((Transition::Redriven, at));
            let more = extra.more_mut();
            more.dead = None;
            more.redriven += 1;
            more.place = Some(place);
            more.placed_at = at;
        }
        self.slots.set_ranked(seq);
        self.rejoin_lane(seq);
        self.arrive(seq, State::Ready);
    }

    /// T5, T18, T19, T21, T23: the message goes without having been dealt with. Gives back its
    /// slot.
    pub(crate) fn remove(&mut self, seq: u64, why: Removal) -> Option<Slot> {
        let slot = self.forget(seq)?;
        match why {
            Removal::Expired => self.counters.expired += 1,
            Removal::Dropped => self.counters.dropped += 1,
            Removal::Deleted => self.counters.deleted += 1,
        }
        Some(slot)
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

    /// Counts what is there after an image was loaded, and makes all of it visible.
    pub(crate) fn recount(&mut self) {
        self.counts = Counts::default();
        let mut laned = Vec::new();
        for (seq, slot, extra) in self.slots.iter() {
            self.counts.add(slot.state(), slot.len());
            self.last_sequence = self.last_sequence.max(slot.sequence());
            if slot.state() != State::Dead {
                laned.extend(lane_of(extra).map(|_| seq));
            }
            match slot.state() {
                State::Ready => {}
                State::Delayed => {
                    let at = extra.map_or(Timestamp::EPOCH, |extra| extra.ready_at);
                    self.delayed.insert((at, seq));
                }
                State::Leased => {
                    self.held.insert((generation_of(extra), self.identity.no, Seq(seq)), 1);
                }
                State::Dead => {
                    if let Some((reason, at)) = extra.and_then(Extra::dead) {
                        self.dead.insert(reason, at, seq, slot.len());
                    }
                }
            }
        }
        self.order.restart(&self.slots);
        for seq in laned {
            let state = self.slots.get(seq).map(Slot::state);
            let lane = self.rejoin_lane(seq);
            if state == Some(State::Leased) {
                self.hold_in_lane(lane);
            }
            self.enter_lane(seq, state == Some(State::Ready));
        }
        self.droppable = Droppable::from(self.slots.first_seq());
        self.dirty = false;
    }

    /// Messages in memory only.
    pub(crate) fn resident(&self) -> u64 {
        self.resident
    }

    /// What must hold between any two transitions; checked in tests and simulations.
    pub(crate) fn check(&self) {
        let c = self.counters;
        let gone = c.acked + c.expired + c.deleted + c.dropped;
        let no = self.no();
        assert_eq!(c.published, gone + self.counts.present(), "conservation in queue {no:?}");
        let mut counts = Counts::default();
        let mut resident = 0;
        for (seq, slot, extra) in self.slots.iter() {
            resident += u64::from(slot.sequence() == 0);
            let state = slot.state();
            counts.add(state, slot.len());
            let held = self.held.contains((generation_of(extra), no, Seq(seq)));
            assert_eq!(held, state == State::Leased, "held {seq}");
            self.droppable.check(seq, state);
            let leased = extra.is_some_and(|extra| extra.lease.is_some());
            assert_eq!(leased, state == State::Leased, "lease and state of {seq}");
            let due = extra.map_or(Timestamp::EPOCH, |extra| extra.ready_at);
            assert_eq!(self.delayed.contains(&(due, seq)), state == State::Delayed, "{seq}");
            assert_eq!(self.find(self.id_of(seq, slot)), Some(seq), "the id of {seq}");
        }
        assert_eq!(counts, self.counts, "counts of queue {no:?}");
        assert_eq!(resident, self.resident, "messages in memory of queue {no:?}");
        assert_eq!(self.held.len() as u64, counts.by_state.leased, "queue {no:?}");
        assert_eq!(self.delayed.len() as u64, counts.by_state.delayed, "queue {no:?}");
        assert_eq!(self.dead.len() as u64, counts.by_state.dead, "queue {no:?}");
        self.order.check(&self.slots);
        self.check_lanes();
        self.parked.check();
    }
}

/// Order and limits of a message that stands in a lane of its own, not among the plain ones.
pub(super) fn lane_of(extra: Option<&Extra>) -> Option<&Arc<Lane>> {
    extra.and_then(Extra::lane).filter(|lane| is_laned(lane))
}

pub(super) fn is_laned(lane: &Lane) -> bool {
    lane.group.is_some() || !lane.keys.is_empty()
}

/// The lease that a message is held under; only of one that is leased.
fn generation_of(extra: Option<&Extra>) -> Generation {
    extra.and_then(|extra| extra.lease).map(|lease| lease.generation).unwrap_or_default()
}
