//! One queue: which message is next, and the changes of state that a record can bring.
//!
//! ```text
//! published --committed--> ready --granted--> leased --acked--> gone
//!     |                    ^ |  ^               |
//!     '--> delayed --------' |  '---returned----+--> delayed
//!                            '---expired--> gone or dead <--- failures spent
//! ```
//!
//! Messages are visible below `visible`. Below `cursor` every message has been looked at once;
//! those that became ready again stand in `returned`. So the next message is the lower of the two
//! and nothing is ever searched for.

use std::collections::{BTreeSet, VecDeque};

use sluice_model::{
    Generation, QueueNo, SessionId, SubscriptionId, SubscriptionName, Timestamp, TopicPattern,
};

use crate::effects::Ticket;
use crate::journal::Sequence;
use crate::queue::slots::{Extra, Lease, Slot, Slots, State};
use crate::record::{Cause, DeadReason, Removal};
use crate::topic::Owner;

/// Settled leases that a queue remembers, so that a repeated ack is known as one.
const SETTLED_MAX: usize = 4_096;

/// What happened to a queue's messages since it was made; survives restarts.
///
/// `published = acked + expired + dropped + present` at all times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) published: u64,
    pub(crate) acked: u64,
    pub(crate) expired: u64,
    pub(crate) dropped: u64,
}

/// How many messages are in which state, and how large those that count against the bounds are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) ready: u64,
    pub(crate) delayed: u64,
    pub(crate) leased: u64,
    pub(crate) dead: u64,
    /// Of ready, delayed and leased ones.
    pub(crate) bytes: u64,
    /// Of leased ones.
    pub(crate) leased_bytes: u64,
}

impl Counts {
    /// Messages that count against `max_messages`.
    pub(crate) fn live(&self) -> u64 {
        self.ready + self.delayed + self.leased
    }

    fn add(&mut self, state: State, len: u64) {
        match state {
            State::Gone => return,
            State::Ready => self.ready += 1,
            State::Delayed => self.delayed += 1,
            State::Leased => {
                self.leased += 1;
                self.leased_bytes += len;
            }
            State::Dead => {
                self.dead += 1;
                return;
            }
        }
        self.bytes += len;
    }

    fn subtract(&mut self, state: State, len: u64) {
        match state {
            State::Gone => return,
            State::Ready => self.ready -= 1,
            State::Delayed => self.delayed -= 1,
            State::Leased => {
                self.leased -= 1;
                self.leased_bytes -= len;
            }
            State::Dead => {
                self.dead -= 1;
                return;
            }
        }
        self.bytes -= len;
    }
}

/// A receive that found nothing visible while messages were waiting for their commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parked {
    pub(crate) session: SessionId,
    pub(crate) tag: u64,
    pub(crate) ticket: Ticket,
    pub(crate) subscription: SubscriptionId,
    pub(crate) weight: usize,
}

/// A lease that was settled, and the record that says so.
#[derive(Clone, Copy, Debug)]
struct Settled {
    seq: u64,
    generation: Generation,
    sequence: Sequence,
}

/// A durable subscription's messages.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) no: QueueNo,
    /// None for one that is found again by its owner and pattern.
    pub(crate) name: Option<SubscriptionName>,
    pub(crate) pattern: TopicPattern,
    pub(crate) owner: Owner,
    pub(crate) made_at: Timestamp,
    /// The record that made it; 0 if that has long been safe.
    pub(crate) made_by: Sequence,
    /// Sessions that consume it now.
    pub(crate) attached: Vec<(SessionId, SubscriptionId)>,
    /// When it goes unless somebody attaches.
    pub(crate) inactive_at: Option<Timestamp>,
    pub(crate) slots: Slots,
    pub(crate) counters: Counters,
    pub(crate) counts: Counts,
    pub(crate) parked: VecDeque<Parked>,
    /// Messages below this were there when a run ended without saying so: who knows whether they
    /// were delivered.
    pub(crate) doubtful_below: u64,
    /// Where the messages of each start of the broker begin, as far as there are any left: a seq
    /// whose message was lost is given again, and no lease of the lost one counts for the new one.
    pub(crate) runs: Vec<(u64, u32)>,
    /// A body could not be read back.
    pub(crate) degraded: bool,
    /// Listed among the queues with messages that are not visible yet.
    pub(crate) listed_hidden: bool,
    /// Header fields changed since the last image.
    pub(crate) dirty: bool,
    visible: u64,
    cursor: u64,
    returned: BTreeSet<u64>,
    /// Messages that somebody holds.
    held: BTreeSet<u64>,
    /// No message below this may be dropped.
    droppable_from: u64,
    /// The highest record that brought a message.
    tail_sequence: Sequence,
    /// The largest message that is not visible yet.
    largest_hidden: u64,
    /// Messages in memory only.
    resident: u64,
    settled: VecDeque<Settled>,
}

impl Queue {
    pub(crate) fn new(
        no: QueueNo,
        name: Option<SubscriptionName>,
        pattern: TopicPattern,
        owner: Owner,
        made_at: Timestamp,
    ) -> Self {
        Self {
            no,
            name,
            pattern,
            owner,
            made_at,
            made_by: 0,
            attached: Vec::new(),
            inactive_at: None,
            slots: Slots::default(),
            counters: Counters::default(),
            counts: Counts::default(),
            parked: VecDeque::new(),
            doubtful_below: 0,
            runs: Vec::new(),
            degraded: false,
            listed_hidden: false,
            dirty: true,
            visible: 0,
            cursor: 0,
            returned: BTreeSet::new(),
            held: BTreeSet::new(),
            droppable_from: 0,
            tail_sequence: 0,
            largest_hidden: 0,
            resident: 0,
            settled: VecDeque::new(),
        }
    }

    /// The broker started once more; `unclean` if the run before ended without saying so.
    pub(crate) fn begin_run(&mut self, start: u32, unclean: bool) {
        let next = self.slots.next();
        if unclean {
            self.doubtful_below = next;
        }
        let lowest = self.slots.next_alive(self.slots.first_seq(), next).unwrap_or(next);
        let passed = self.runs.partition_point(|(first, _)| *first <= lowest).saturating_sub(1);
        self.runs.drain(..passed);
        self.runs.retain(|(first, _)| *first < next);
        self.runs.push((next, start));
        self.dirty = true;
    }

    /// The start of the broker that `seq` was given in, or an earlier one.
    pub(crate) fn run_of(&self, seq: u64) -> u32 {
        let after = self.runs.partition_point(|(first, _)| *first <= seq);
        after.checked_sub(1).and_then(|at| self.runs.get(at)).map_or(0, |(_, start)| *start)
    }

    /// Whether messages were accepted that are not visible yet.
    pub(crate) fn has_hidden(&self) -> bool {
        self.visible < self.slots.next()
    }

    /// Bytes of the largest message that is not visible yet.
    pub(crate) fn largest_hidden(&self) -> u64 {
        self.largest_hidden
    }

    /// Makes visible what was brought by records up to `committed`. Says whether anything was.
    pub(crate) fn reveal(&mut self, committed: Sequence) -> bool {
        let before = self.visible;
        let next = self.slots.next();
        if self.tail_sequence <= committed {
            self.visible = next;
        } else {
            while let Some(seq) = self.slots.next_alive(self.visible, next) {
                self.visible = seq;
                match self.slots.get(seq) {
                    Some(slot) if slot.sequence() > committed => break,
                    _ => self.visible = seq + 1,
                }
            }
        }
        if !self.has_hidden() {
            self.largest_hidden = 0;
        }
        self.visible > before
    }

    /// The next message in order, if one is ready and visible.
    pub(crate) fn peek(&mut self) -> Option<u64> {
        let fresh = loop {
            match self.slots.next_alive(self.cursor, self.visible) {
                None => {
                    self.cursor = self.visible;
                    break None;
                }
                Some(seq) => {
                    self.cursor = seq;
                    if self.slots.get(seq).is_some_and(|slot| slot.state() == State::Ready) {
                        break Some(seq);
                    }
                    self.cursor += 1;
                }
            }
        };
        match (self.returned.first().copied(), fresh) {
            (Some(returned), Some(fresh)) => Some(returned.min(fresh)),
            (returned, fresh) => returned.or(fresh),
        }
    }

    /// The oldest message that nobody holds and that is not dead, visible or not.
    pub(crate) fn oldest_droppable(&mut self) -> Option<u64> {
        let end = self.slots.next();
        while let Some(seq) = self.slots.next_alive(self.droppable_from, end) {
            self.droppable_from = seq;
            let state = self.slots.get(seq).map(Slot::state);
            if matches!(state, Some(State::Ready | State::Delayed)) {
                return Some(seq);
            }
            self.droppable_from += 1;
        }
        None
    }

    /// A message came. `extra` is what it has beside its slot, if anything.
    pub(crate) fn push(&mut self, slot: Slot, extra: Option<Extra>) -> u64 {
        let all_visible = !self.has_hidden();
        let seq = self.slots.push(slot);
        let delayed = extra.as_ref().is_some_and(|extra| extra.ready_at != Timestamp::EPOCH);
        let resident = extra.as_ref().is_some_and(|extra| extra.resident.is_some());
        if let Some(extra) = extra
            && let Some(place) = self.slots.extra_mut(seq)
        {
            *place = extra;
        }
        self.counters.published += 1;
        self.resident += u64::from(slot.sequence() == 0);
        self.counts.add(State::Ready, slot.len());
        self.tail_sequence = self.tail_sequence.max(slot.sequence());
        self.dirty = true;
        if delayed {
            self.enter(seq, State::Delayed);
        }
        if resident && all_visible {
            self.visible = seq + 1;
        } else {
            self.largest_hidden = self.largest_hidden.max(slot.len());
        }
        seq
    }

    /// Moves a message to another state and keeps the counts.
    fn enter(&mut self, seq: u64, to: State) {
        let Some(slot) = self.slots.get(seq).copied() else { return };
        let from = slot.state();
        self.counts.subtract(from, slot.len());
        self.counts.add(to, slot.len());
        if from == State::Ready && seq < self.cursor {
            self.returned.remove(&seq);
        }
        if from == State::Leased {
            self.held.remove(&seq);
        }
        if to == State::Leased {
            self.held.insert(seq);
        }
        match to {
            State::Gone => {
                self.resident -= u64::from(slot.sequence() == 0);
                self.slots.remove(seq);
            }
            _ => self.slots.set_state(seq, to),
        }
        if to == State::Ready && seq < self.cursor {
            self.returned.insert(seq);
        }
        if matches!(to, State::Ready | State::Delayed) {
            self.droppable_from = self.droppable_from.min(seq);
        }
        self.dirty = true;
    }

    /// T8: a consumer got the message.
    pub(crate) fn grant(&mut self, seq: u64, lease: Lease) {
        if let Some(extra) = self.slots.extra_mut(seq) {
            extra.lease = Some(lease);
            extra.acquires += 1;
        }
        self.enter(seq, State::Leased);
    }

    /// T9, T20: the message was dealt with. Gives back its slot.
    pub(crate) fn ack(
        &mut self,
        seq: u64,
        generation: Generation,
        sequence: Sequence,
    ) -> Option<Slot> {
        let slot = *self.slots.get(seq)?;
        self.enter(seq, State::Gone);
        self.counters.acked += 1;
        if self.settled.len() == SETTLED_MAX {
            self.settled.pop_front();
        }
        self.settled.push_back(Settled { seq, generation, sequence });
        Some(slot)
    }

    /// Messages that somebody holds, in order.
    pub(crate) fn held(&self) -> impl Iterator<Item = u64> {
        self.held.iter().copied()
    }

    /// The leases of these messages.
    pub(crate) fn held_leases(&self) -> impl Iterator<Item = (u64, Lease)> {
        self.held().filter_map(|seq| {
            let (_, extra) = self.slots.get_full(seq)?;
            Some((seq, extra?.lease?))
        })
    }

    /// The record that settled this very lease, if it is among the last few.
    pub(crate) fn settled(&self, seq: u64, generation: Generation) -> Option<Sequence> {
        self.settled
            .iter()
            .rev()
            .find(|settled| settled.seq == seq && settled.generation == generation)
            .map(|settled| settled.sequence)
    }

    /// T11, T13, T16, T17: the lease ended, in the run `start`, and the message waits again. Gives
    /// back the lease.
    pub(crate) fn give_back(
        &mut self,
        seq: u64,
        cause: Cause,
        ready_at: Timestamp,
        start: u32,
    ) -> Option<Lease> {
        let extra = self.slots.extra_mut(seq)?;
        let lease = extra.lease.take();
        extra.failures += u32::from(cause.is_failure());
        extra.releases += u32::from(cause == Cause::Released);
        extra.ready_at = ready_at;
        if let (true, Some(lease)) = (cause.voids_lease(), lease) {
            let counter = lease.generation.counter + 1;
            extra.fence = Generation { counter, ..lease.generation };
            if cause == Cause::TakenOver {
                // Leases of runs before whose grants were lost in a crash are void too.
                extra.fence = extra.fence.max(Generation { start, counter: 0 });
            }
        }
        let delayed = ready_at != Timestamp::EPOCH;
        self.enter(seq, if delayed { State::Delayed } else { State::Ready });
        lease
    }

    /// T6: a delayed message is due.
    pub(crate) fn wake(&mut self, seq: u64) {
        if let Some(extra) = self.slots.extra_mut(seq) {
            extra.ready_at = Timestamp::EPOCH;
        }
        self.enter(seq, State::Ready);
    }

    /// T12, T28: the message goes to the dead set. Gives back the lease, if there was one.
    pub(crate) fn bury(&mut self, seq: u64, reason: DeadReason, at: Timestamp) -> Option<Lease> {
        let extra = self.slots.extra_mut(seq)?;
        let lease = extra.lease.take();
        extra.dead = Some((reason, at));
        extra.failures += u32::from(reason == DeadReason::MaxFailures);
        extra.releases += u32::from(reason == DeadReason::MaxReleases);
        self.degraded |= reason == DeadReason::Corrupt;
        self.enter(seq, State::Dead);
        lease
    }

    /// T5, T18, T19: the message goes without having been dealt with. Gives back its slot.
    pub(crate) fn remove(&mut self, seq: u64, why: Removal) -> Option<Slot> {
        let slot = *self.slots.get(seq)?;
        self.enter(seq, State::Gone);
        match why {
            Removal::Expired => self.counters.expired += 1,
            Removal::Dropped => self.counters.dropped += 1,
        }
        Some(slot)
    }

    /// Counts what is there after an image was loaded, and makes all of it visible.
    pub(crate) fn recount(&mut self) {
        self.counts = Counts::default();
        for (seq, slot, _) in self.slots.iter() {
            if slot.state() == State::Leased {
                self.held.insert(seq);
            }
            self.counts.add(slot.state(), slot.len());
            self.tail_sequence = self.tail_sequence.max(slot.sequence());
        }
        self.cursor = self.slots.first_seq();
        self.droppable_from = self.cursor;
        self.visible = self.slots.next();
        self.dirty = false;
    }

    /// Messages in memory only.
    pub(crate) fn resident(&self) -> u64 {
        self.resident
    }

    /// Messages in any state.
    pub(crate) fn present(&self) -> u64 {
        self.counts.live() + self.counts.dead
    }

    /// What must hold between any two transitions; checked in tests and simulations.
    pub(crate) fn check(&self) {
        let c = self.counters;
        let gone = c.acked + c.expired + c.dropped;
        assert_eq!(c.published, gone + self.present(), "conservation in queue {:?}", self.no);
        let mut counts = Counts::default();
        let mut resident = 0;
        for (seq, slot, extra) in self.slots.iter() {
            resident += u64::from(slot.sequence() == 0);
            counts.add(slot.state(), slot.len());
            assert_eq!(self.held.contains(&seq), slot.state() == State::Leased, "held {seq}");
            let leased = extra.is_some_and(|extra| extra.lease.is_some());
            assert_eq!(leased, slot.state() == State::Leased, "lease and state of {seq}");
            let listed = self.returned.contains(&seq);
            let expected = slot.state() == State::Ready && seq < self.cursor;
            assert_eq!(listed, expected, "place of {seq} in queue {:?}", self.no);
        }
        assert_eq!(counts, self.counts, "counts of queue {:?}", self.no);
        assert_eq!(resident, self.resident, "messages in memory of queue {:?}", self.no);
        assert!(self.cursor <= self.visible.max(self.slots.first_seq()));
        assert!(self.visible <= self.slots.next().max(self.slots.first_seq()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::BodyRef;

    #[test]
    fn a_plain_message_has_nothing_beside_its_slot() {
        let pattern = TopicPattern::new("t").unwrap();
        let owner = Owner::from_record("@127.0.0.1");
        let mut queue = Queue::new(QueueNo(1), None, pattern, owner, Timestamp::EPOCH);
        let body = BodyRef { sequence: 1, segment: 1, offset: 64, len: 10 };
        let seq = queue.push(Slot::new(body, Timestamp::EPOCH, false), None);
        assert!(matches!(queue.slots.get_full(seq), Some((_, None))));
        queue.check();
    }
}
