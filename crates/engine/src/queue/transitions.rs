//! The changes of state that a record can bring to the messages of a queue.
//!
//! ```text
//! published --committed--> ready --granted--> leased --acked--> gone
//!     |                    ^ |  ^               |
//!     '--> delayed --------' |  '---returned----+--> delayed
//!                            '---expired--> gone or dead <--- failures spent
//! ```

use sluice_model::{
    DeadReason, Generation, Lane, PRIORITY_DEFAULT, Seq, State, Timestamp, Transition,
};

use super::lanes::NO_LANE;
use super::order::Place;
use super::slots::{Extra, Lease, Slot};
use super::{Queue, is_laned, is_waiting};
use crate::journal::Sequence;
use crate::record::{Cause, Removal, Run};
use crate::run_set::Step as _;
use crate::session::Held;

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

impl Queue {
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

    /// T9, T20: the message was dealt with; its lease, if it has one, is not listed any more. So many
    /// are remembered. Gives back its slot.
    pub(crate) fn ack(
        &mut self,
        seq: u64,
        generation: Generation,
        sequence: Sequence,
        remembered: usize,
    ) -> Option<Slot> {
        let slot = self.forget(seq)?;
        self.counters.acked += 1;
        self.settled.push(seq, generation, sequence, remembered);
        Some(slot)
    }

    fn forget(&mut self, seq: u64) -> Option<Slot> {
        let lane = self.leave(seq);
        self.part_lane(lane);
        let slot = self.slots.remove(seq)?;
        self.resident -= u64::from(slot.sequence() == 0);
        Some(slot)
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
}

/// The lease that a message is held under; only of one that is leased.
pub(super) fn generation_of(extra: Option<&Extra>) -> Generation {
    extra.and_then(|extra| extra.lease).map(|lease| lease.generation).unwrap_or_default()
}
