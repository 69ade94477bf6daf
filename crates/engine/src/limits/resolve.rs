//! Which limits messages ask: found out once for a lane, and anew when limits come and go.
//!
//! What is held is counted under what was asked when it was handed over. When that changes, what is
//! held moves along, so a limit that is new knows at once of every lease that it covers. While
//! lanes with leases are still to be moved, queues with lanes give out nothing.

use sluice_flow::Ended;
use sluice_model::{Lane, QueueNo, Timestamp};

use super::{Asking, Limits, micros, with_asks};
use crate::engine::Engine;
use crate::queue::Queue;
use crate::queue::lanes::{Candidate, NO_LANE};
use crate::record::Run;
use crate::topic::Listener;

impl Engine {
    /// Finds out which limits are about a queue, and what its messages without keys ask.
    pub(crate) fn refresh_queue(&mut self, no: QueueNo) {
        let Some(queue) = self.queues.get_mut(&no) else { return };
        queue.limits = self.limits.set.of_queue(queue.identity.name.as_str());
        let asked = self.limits.asked(&queue.limits, no, &[]);
        if asked.is_empty() && queue.lanes.is_none() {
            return;
        }
        let held = queue.plain_held();
        queue.lanes_mut();
        let Queue { lanes: Some(lanes), identity, .. } = queue else { return };
        self.limits.move_held(&mut lanes.asked, asked, identity.name.as_str(), &[], held);
        self.list_laned(no);
    }

    /// Finds out what a lane asks; `seq` is its head, which stands for it where messages follow
    /// each other.
    pub(crate) fn resolve_lane(&mut self, no: QueueNo, number: u32, seq: u64) {
        let Some(queue) = self.queues.get(&no) else { return };
        if self.limits.set.is_stale(&queue.limits) {
            self.refresh_queue(no);
        }
        let Some(queue) = self.queues.get_mut(&no) else { return };
        let Queue { lanes: Some(lanes), identity, limits, slots, .. } = queue else { return };
        let Some(lane) = lanes.get_mut(number).filter(|lane| !lane.is_plain) else { return };
        let known = (self.limits.set.version(), if lane.is_fifo() { seq } else { 0 });
        if lane.asked_for == Some(known) {
            return;
        }
        if lane.is_fifo()
            && lane.asked_for.is_none_or(|(_, its)| its != seq)
            && let Some(order) = slots.get_full(seq).and_then(|(_, extra)| extra?.lane())
        {
            lane.order = std::sync::Arc::clone(order);
        }
        lane.asked_for = Some(known);
        let (keys, held) = (&lane.order.keys, lane.held);
        let asked = self.limits.asked(limits, no, keys);
        self.limits.move_held(&mut lane.asked, asked, identity.name.as_str(), keys, held);
    }

    /// Limits came or went: lanes with leases are to be looked at before anything is handed over.
    pub(crate) fn resolve_all(&mut self) {
        self.limits.resolving = Some((QueueNo(0), 0));
    }

    /// Looks at lanes until `budget` is spent.
    pub(crate) fn resolve_slice(&mut self, budget: &mut usize) {
        while let Some((from, at)) = self.limits.resolving {
            let Some(no) = self.limits.laned.range(from..).next().copied() else {
                self.limits.resolving = None;
                let laned: Vec<QueueNo> = self.limits.laned.iter().copied().collect();
                laned.into_iter().for_each(|no| self.stir(Listener::Queue(no)));
                return;
            };
            if *budget == 0 {
                return;
            }
            // Lanes count from 1 here; before them comes the queue itself. Going on with a queue costs
            // nothing by itself, or a budget of 1 would never come to its lanes.
            let at = if no == from { at } else { 0 };
            if at == 0 {
                *budget -= 1;
                self.refresh_queue(no);
                self.wake_all_lines(no);
            }
            self.limits.resolving = match self.resolve_some(no, at.saturating_sub(1), budget) {
                Some(at) => Some((no, at + 1)),
                None => Some((QueueNo(no.0 + 1), 0)),
            };
        }
    }

    fn resolve_some(&mut self, no: QueueNo, mut at: u32, budget: &mut usize) -> Option<u32> {
        loop {
            let lanes = self.queues.get(&no).and_then(|queue| queue.lanes.as_ref())?;
            let number = lanes.next_from(at)?;
            if *budget == 0 {
                return Some(number);
            }
            *budget -= 1;
            at = number + 1;
            let lane = lanes.get(number).filter(|lane| lane.held > 0);
            if let Some(seq) = lane.map(|lane| lane.asked_for.map_or(0, |(_, seq)| seq)) {
                self.resolve_lane(no, number, seq);
            }
        }
    }

    /// Whatever its lines wait for may be there no more.
    fn wake_all_lines(&mut self, no: QueueNo) {
        let lanes = self.queues.get(&no).and_then(|queue| queue.lanes.as_ref());
        for line in lanes.map(|lanes| lanes.line_numbers()).unwrap_or_default() {
            self.wake_line(no, line);
        }
    }

    /// Before grants of a record are counted again in replay: what is held up to now moves to what
    /// its lanes ask at this place of the log.
    pub(crate) fn resolve_for(&mut self, no: QueueNo, runs: &[Run]) {
        let Some(queue) = self.queues.get(&no) else { return };
        if self.limits.set.is_stale(&queue.limits) {
            self.refresh_queue(no);
        }
        for seq in runs.iter().flat_map(|run| run.seqs()) {
            let Some(queue) = self.queues.get(&no) else { return };
            self.resolve_lane(no, queue.lane_number(seq.0), seq.0);
        }
    }

    /// Counts grants of a record again: what they hold, and their starts.
    pub(crate) fn replay_starts(&mut self, no: QueueNo, runs: &[Run], at: Timestamp) {
        for seq in runs.iter().flat_map(|run| run.seqs()) {
            let Some(queue) = self.queues.get_mut(&no) else { return };
            if queue.lease_of(seq.0).is_none() {
                continue;
            }
            let (keyed, lane) = (&mut self.limits.keyed, queue.lane_number(seq.0));
            queue.asks_of(lane, |asks| keyed.replay(asks, micros(at)));
        }
    }

    /// Starts of messages in memory only, which are gone by now.
    pub(crate) fn replay_counted(&mut self, no: QueueNo, lane: &Lane, count: u32, at: Timestamp) {
        let Some(queue) = self.queues.get(&no) else { return };
        let of = self.limits.set.of_queue(queue.identity.name.as_str());
        let mut asked = self.limits.asked(&of, no, &lane.keys);
        let Limits { keyed, woken, .. } = &mut self.limits;
        with_asks(&mut asked, queue.identity.name.as_str(), &lane.keys, |asks| {
            (0..count).for_each(|_| keyed.replay(asks, micros(at)));
            keyed.release(asks, count, Ended::Otherwise, micros(at), woken);
        });
    }

    /// Holds what an image says is held.
    pub(crate) fn hold_restored(&mut self, no: QueueNo) {
        self.refresh_queue(no);
        self.list_laned(no);
        let Some(queue) = self.queues.get(&no) else { return };
        let held: Vec<_> = queue.held().map(|seq| (seq, queue.lane_number(seq))).collect();
        for (seq, lane) in held {
            self.resolve_lane(no, lane, seq);
        }
    }
}

impl Limits {
    /// Whether what a message asks is known, which nearly always it is.
    pub(super) fn has_resolved(&self, queue: &Queue, candidate: &Candidate) -> bool {
        let lane = queue.lanes.as_ref().and_then(|lanes| lanes.get(candidate.lane));
        !self.set.is_stale(&queue.limits)
            && lane.is_some_and(|lane| {
                let known = (self.set.version(), if lane.is_fifo() { candidate.seq } else { 0 });
                lane.is_plain || lane.asked_for == Some(known)
            })
    }

    /// Messages that are held are counted under what they ask now.
    fn move_held(
        &mut self,
        before: &mut Vec<Asking>,
        now: Vec<Asking>,
        queue: &str,
        keys: &[Box<str>],
        held: u32,
    ) {
        let alike = |asking: &Asking| (asking.owner, asking.key);
        if before.iter().map(alike).eq(now.iter().map(alike)) {
            return;
        }
        let Self { keyed, woken, now: at, .. } = self;
        if held == 0 {
            *before = now;
            return;
        }
        let mut before = std::mem::replace(before, now.clone());
        // Held under the new ones first, so that no key is forgotten in between.
        let mut now = now;
        with_asks(&mut now, queue, keys, |asks| keyed.hold(asks, held));
        with_asks(&mut before, queue, keys, |asks| {
            keyed.release(asks, held, Ended::Otherwise, *at, woken);
        });
    }

    /// A lease of a message of this lane has ended.
    pub(crate) fn release(&mut self, queue: &mut Queue, lane: u32, ended: Ended) {
        if queue.lanes.is_none() {
            return;
        }
        let Self { keyed, woken, now, .. } = self;
        queue.asks_of(lane, |asks| keyed.release(asks, 1, ended, *now, woken));
    }

    /// Every lease of a queue has ended.
    pub(crate) fn release_all(&mut self, queue: &mut Queue) {
        let Self { keyed, woken, now, .. } = self;
        let plain = queue.plain_held();
        queue.asks_of(NO_LANE, |asks| keyed.release(asks, plain, Ended::Otherwise, *now, woken));
        let mut at = 0;
        while let Some(number) = queue.lanes.as_ref().and_then(|lanes| lanes.next_from(at)) {
            at = number + 1;
            let lane = queue.lanes.as_ref().and_then(|lanes| lanes.get(number));
            let held = lane.map_or(0, |lane| lane.held);
            if held > 0 {
                queue.asks_of(number, |asks| {
                    keyed.release(asks, held, Ended::Otherwise, *now, woken);
                });
            }
        }
    }
}
