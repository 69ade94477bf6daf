//! What a queue counts and lists of its messages: found out anew after an image, and checked.

use sluice_model::{Seq, State, Timestamp};

use super::slots::{Extra, Slot};
use super::transitions::generation_of;
use super::{Counts, Droppable, Queue, lane_of};

impl Queue {
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
