//! The messages of a queue that stand in lanes: how they come there and leave again.

use std::sync::Arc;

use sluice_flow::Ask;
use sluice_model::{Lane, PRIORITY_DEFAULT, State, Timestamp};

use super::Queue;
use super::lanes::{Candidate, Entry, Head, Lanes, NO_LANE, Spot};
use super::slots::{Extra, Slot};
use crate::config::Order;
use crate::limits::with_asks;
use crate::queue::order::Place;
use crate::receive::is_spent;

impl Queue {
    /// The lanes, made on first use.
    pub(crate) fn lanes_mut(&mut self) -> &mut Lanes {
        let (is_fair, seed) = (self.rules.is_fair, self.seed);
        self.lanes.get_or_insert_with(|| Box::new(Lanes::new(seed, is_fair)))
    }

    /// Groups take turns from now on, or don't, as the rules say.
    pub(crate) fn regroup(&mut self) {
        let Self { lanes, rules, weights, .. } = self;
        if let Some(lanes) = lanes.as_mut().filter(|lanes| lanes.is_fair != rules.is_fair) {
            let weight = |group: &str| weights.get(group).map_or(1, |weight| u32::from(*weight));
            lanes.regroup(rules.is_fair, weight);
        }
    }

    /// Whether messages of this group follow each other.
    pub(crate) fn is_fifo(&self, lane: &Lane) -> bool {
        self.rules.order == Order::GroupFifo && lane.group.is_some()
    }

    /// How many turns the group of a lane has.
    pub(crate) fn weight_of(&self, lane: &Lane) -> u32 {
        let group = lane.group.as_deref().filter(|_| !self.weights.is_empty());
        group.and_then(|group| self.weights.get(group)).map_or(1, |weight| u32::from(*weight))
    }

    /// Has a message that comes belong to its lane, and messages of one lane share what they have in
    /// common.
    pub(super) fn join_lane(&mut self, extra: &mut Extra) {
        let Some(order) = lane_of(Some(extra)) else { return };
        let is_fifo = self.is_fifo(order);
        let lanes = self.lanes_mut();
        let number = lanes.join(order, is_fifo);
        if let Some(shared) = lanes.shared(number, order) {
            extra.lane = Some(shared);
        }
        extra.lane_no = number;
    }

    /// The same for a message that is there and belonged to none: it was dead, or an image had it.
    pub(super) fn rejoin_lane(&mut self, seq: u64) -> u32 {
        let extra = self.slots.get_full(seq).and_then(|(_, extra)| extra);
        let Some(order) = lane_of(extra).cloned() else { return NO_LANE };
        let is_fifo = self.is_fifo(&order);
        let number = self.lanes_mut().join(&order, is_fifo);
        self.slots.set_lane(seq, number);
        number
    }

    /// A message that has left its state belongs to its lane no more: it is dead, or gone.
    pub(super) fn part_lane(&mut self, lane: u32) {
        if let Some(lanes) = self.lanes.as_mut().filter(|_| lane != NO_LANE) {
            lanes.part(lane);
        }
    }

    /// Puts a message into its lane. One that may not be handed over stands there only if it holds
    /// up others: where messages follow each other, from its first turn on.
    pub(super) fn enter_lane(&mut self, seq: u64, is_ready: bool) {
        let Some((slot, Some(extra))) = self.slots.get_full(seq) else { return };
        let (lane, is_fifo) = (extra.lane_no, self.is_fifo_lane(extra.lane_no));
        let holds_up = is_fifo && extra.acquires > 0;
        let Some(order) = extra.lane().filter(|_| is_ready || holds_up) else { return };
        let spot = spot(seq, slot, Some(extra), is_fifo);
        let Lane { priority, cost, .. } = **order;
        let weight = self.weight_of(order);
        if let Some(lanes) = &mut self.lanes {
            lanes.enter(lane, spot, Entry { is_ready, priority, cost }, weight);
        }
    }

    /// Takes a message out of its lane; it may be out already.
    pub(super) fn leave_lane(&mut self, seq: u64, lane: u32) {
        let is_fifo = self.is_fifo_lane(lane);
        let Some((slot, Some(extra))) = self.slots.get_full(seq) else { return };
        let is_held = slot.state() == State::Leased;
        let weight = extra.lane().map_or(1, |order| self.weight_of(order));
        let spot = (is_fifo || !is_held).then(|| spot(seq, slot, Some(extra), is_fifo));
        let Some(lanes) = &mut self.lanes else { return };
        if is_held {
            lanes.hold(lane, false, weight);
        }
        if let Some(spot) = spot {
            lanes.remove(lane, spot, weight);
        }
    }

    /// Whether messages of a lane follow each other.
    pub(super) fn is_fifo_lane(&self, lane: u32) -> bool {
        let lane = self.lanes.as_ref().and_then(|lanes| lanes.get(lane));
        lane.is_some_and(|lane| lane.is_fifo())
    }

    /// A message of a lane is about to be held.
    pub(super) fn hold_in_lane(&mut self, lane: u32) {
        let weight = self.weight_of_lane(lane);
        if let Some(lanes) = &mut self.lanes {
            lanes.hold(lane, true, weight);
        }
    }

    /// A first delay is over, at `at` or when it was to be: from then on the message has its place
    /// among those that follow each other.
    pub(super) fn fix_place(&mut self, seq: u64, at: Option<Timestamp>) {
        let Some((_, Some(extra))) = self.slots.get_full(seq) else { return };
        let is_first = extra.acquires == 0 && extra.ready_at != Timestamp::EPOCH;
        if !is_first || !extra.lane().is_some_and(|lane| self.is_fifo(lane)) {
            return;
        }
        if let Some(extra) = self.slots.extra_mut(seq) {
            let due = extra.ready_at;
            extra.more_mut().placed_at = at.unwrap_or(due);
        }
    }

    /// The plain messages of a priority have changed.
    pub(super) fn plain_changed(&mut self, seq: u64) {
        let Some(lanes) = &mut self.lanes else { return };
        let extra = self.slots.get_full(seq).and_then(|(_, extra)| extra);
        let lane = extra.and_then(Extra::lane);
        let priority = lane.map_or(PRIORITY_DEFAULT, |lane| lane.priority);
        lanes.chores.extend(lanes.plain_line(priority));
    }

    /// Whether the time of a message is over, or its failures are spent.
    pub(crate) fn is_past(&self, seq: u64, now: Timestamp) -> bool {
        let extra = self.slots.get_full(seq).and_then(|(_, extra)| extra);
        extra.is_some_and(|extra| extra.has_expired(now) || is_spent(&self.rules, extra))
    }

    /// The next message in order, before anybody asks whether it may go.
    pub(crate) fn propose(&mut self) -> Option<Candidate> {
        if self.order.is_held_back() {
            return None;
        }
        let Self { lanes, order, slots, .. } = self;
        let lanes = lanes.as_mut()?;
        let mut left = lanes.priorities() | order.priorities();
        while left != 0 {
            // At most nine.
            let priority = left.ilog2() as u8;
            left &= !(1 << priority);
            let first = order.first_of(priority, slots).map(|(place, seq)| {
                let lane = slots.get_full(seq).and_then(|(_, extra)| extra?.lane());
                let cost = lane.map_or(1, |lane| u32::from(lane.cost));
                let spot = Spot { at: Timestamp::EPOCH, place, seq };
                Head { spot, priority, cost }
            });
            lanes.set_plain(priority, first);
            if let Some(candidate) = lanes.propose(priority) {
                return Some(candidate);
            }
        }
        None
    }

    /// Takes a candidate from where it stands, because it is handed over.
    pub(crate) fn take(&mut self, candidate: &Candidate) {
        let lane = self.lanes.as_ref().and_then(|lanes| lanes.get(candidate.lane));
        let Some(lane) = lane else { return };
        let (is_plain, weight) = (lane.is_plain, self.weight_of(&lane.order));
        if let Some(lanes) = &mut self.lanes {
            lanes.take(candidate, weight);
            lanes.pass_on(candidate);
        }
        if is_plain && let Some((slot, extra)) = self.slots.get_full(candidate.seq) {
            self.order.take(candidate.seq, slot, extra);
        }
    }

    /// The message that has been ready longest.
    pub(crate) fn oldest_ready(&mut self) -> Option<u64> {
        let plain = self.order.oldest(&self.slots);
        plain.into_iter().chain(self.lanes.as_ref().and_then(|lanes| lanes.oldest())).min()
    }

    /// How many turns the group of a lane has, by the lane's number.
    pub(crate) fn weight_of_lane(&self, lane: u32) -> u32 {
        let lane = self.lanes.as_ref().and_then(|lanes| lanes.get(lane));
        lane.map_or(1, |lane| self.weight_of(&lane.order))
    }

    /// The lane that a message belongs to.
    pub(crate) fn lane_number(&self, seq: u64) -> u32 {
        let extra = self.slots.get_full(seq).and_then(|(_, extra)| extra);
        extra.map_or(NO_LANE, |extra| extra.lane_no)
    }

    /// Does something with what the messages of a lane ask, if they ask anything.
    pub(crate) fn asks_of(&mut self, lane: u32, run: impl FnOnce(&mut [Ask<'_>])) {
        let Self { lanes, identity, .. } = self;
        let Some(lanes) = lanes else { return };
        let name = identity.name.as_str();
        if lane == NO_LANE {
            if !lanes.asked.is_empty() {
                with_asks(&mut lanes.asked, name, &[], run);
            }
        } else if let Some((asked, order, _)) = lanes.parts(lane, None)
            && !asked.is_empty()
        {
            with_asks(asked, name, &order.keys, run);
        }
    }

    /// Messages without group and keys that are held.
    pub(crate) fn plain_held(&self) -> u32 {
        let laned = self.lanes.as_ref().map_or(0, |lanes| lanes.held);
        u32::try_from(self.counts.by_state.leased.saturating_sub(laned)).unwrap_or(u32::MAX)
    }

    /// What must hold of the lanes between any two transitions.
    pub(super) fn check_lanes(&self) {
        let Some(lanes) = &self.lanes else { return };
        lanes.check();
        let (mut ready, mut held) = (0, 0);
        let mut members = std::collections::BTreeMap::<u32, u32>::new();
        for (seq, slot, extra) in self.slots.iter() {
            let is_visible = !slot.is_ranked() || seq < self.order.visible();
            let number = extra.map_or(NO_LANE, |extra| extra.lane_no);
            let belongs = lane_of(extra).is_some() && slot.state() != State::Dead;
            assert_eq!(belongs, number != NO_LANE, "the lane of {seq}");
            if belongs {
                *members.entry(number).or_default() += 1;
                ready += u64::from(slot.state() == State::Ready && is_visible);
                held += u64::from(slot.state() == State::Leased);
            }
        }
        assert_eq!((ready, held), (lanes.ready, lanes.held), "messages in lanes");
        lanes.check_members(&members);
    }
}

fn spot(seq: u64, slot: &Slot, extra: Option<&Extra>, is_fifo: bool) -> Spot {
    let place = extra.and_then(Extra::place).unwrap_or(Place { seq, ..Place::default() });
    let placed_at = extra.and_then(|extra| extra.more.as_ref()).map(|more| more.placed_at);
    let at = match placed_at {
        _ if !is_fifo => Timestamp::EPOCH,
        Some(at) if at != Timestamp::EPOCH => at,
        _ => slot.enqueued_at(),
    };
    Spot { at, place, seq }
}

/// Order and limits of a message that stands in a lane of its own, not among the plain ones.
pub(super) fn lane_of(extra: Option<&Extra>) -> Option<&Arc<Lane>> {
    extra.and_then(Extra::lane).filter(|lane| is_laned(lane))
}

pub(super) fn is_laned(lane: &Lane) -> bool {
    lane.group.is_some() || !lane.keys.is_empty()
}
