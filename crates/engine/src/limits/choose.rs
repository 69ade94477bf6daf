//! Choosing the next message of a queue with lanes: it is asked whether it may go, and who is
//! refused waits in a line.
//!
//! What a look for the next message costs is bounded: each lane that is refused is moved to a line
//! once, and lines are skipped as a whole. After so many refusals the look goes on in the next
//! turn.

use sluice_flow::{Handle, Reason, Refused, Waiter};
use sluice_model::{QueueNo, Seq, Timestamp};

use super::{Limits, micros, with_asks};
use crate::deadlines::Due;
use crate::engine::{Engine, Turn};
use crate::queue::Queue;
use crate::queue::lanes::Candidate;
use crate::record::Target;

impl Engine {
    /// Whether a queue's next message depends on lanes, not on the order of the queue alone.
    pub(crate) fn is_laned(&mut self, no: QueueNo) -> bool {
        let Some(queue) = self.queues.get(&no) else { return false };
        if self.limits.set.is_stale(&queue.limits) {
            self.refresh_queue(no);
        }
        let lanes = self.queues.get(&no).and_then(|queue| queue.lanes.as_ref());
        lanes.is_some_and(|lanes| !lanes.is_bypassed())
    }

    /// The next message of a queue with lanes that may be handed over now. Nothing is charged yet:
    /// [`Engine::take_chosen`] does that.
    pub(crate) fn choose(&mut self, turn: &mut Turn<'_>, no: QueueNo) -> Option<Candidate> {
        self.wake_lines();
        let queue = self.queues.get(&no)?;
        let is_unfinished = queue.lanes.as_ref().is_some_and(|lanes| lanes.is_unfinished);
        if is_unfinished || self.limits.resolving.is_some() || queue.is_paused(turn.now) {
            return None;
        }
        for _ in 0..self.config.deadlines_per_turn {
            let queue = self.queues.get_mut(&no)?;
            let candidate = queue.propose()?;
            if queue.is_past(candidate.seq, turn.now) {
                self.end_past(turn, no, candidate.seq);
                continue;
            }
            if !self.limits.has_resolved(queue, &candidate) {
                self.resolve_lane(no, candidate.lane, candidate.seq);
            }
            let queue = self.queues.get_mut(&no)?;
            match self.limits.may_go(turn.now, queue, &candidate) {
                Ok(()) => return Some(candidate),
                Err(refused) => self.set_aside(turn.now, no, &candidate, refused),
            }
            self.wake_lines();
        }
        // Others have their turn before it goes on.
        if let Some(lanes) = self.queues.get_mut(&no).and_then(|queue| queue.lanes.as_mut())
            && !std::mem::replace(&mut lanes.is_unfinished, true)
        {
            self.deadlines.insert(turn.now, Due::Lanes(no));
        }
        None
    }

    /// A look for the next message goes on.
    pub(crate) fn look_on(&mut self, turn: &mut Turn<'_>, no: QueueNo, budget: &mut usize) {
        if let Some(lanes) = self.queues.get_mut(&no).and_then(|queue| queue.lanes.as_mut()) {
            lanes.is_unfinished = false;
            *budget = 0;
            self.serve_parked(turn, no);
        }
    }

    /// The message's time is over, or its failures are spent: it is gone now.
    fn end_past(&mut self, turn: &mut Turn<'_>, no: QueueNo, seq: u64) {
        let Some(queue) = self.queues.get(&no) else { return };
        let Some((slot, Some(extra))) = queue.slots.get_full(seq) else { return };
        let (expired, resident) = (extra.has_expired(turn.now), slot.sequence() == 0);
        match expired {
            true => drop(self.run_out(turn, Target::new(no, Seq(seq)), resident)),
            false => self.bury_spent(turn, no, Seq(seq)),
        }
    }

    /// Has the lane of a message that was refused wait for what refused it.
    fn set_aside(&mut self, now: Timestamp, no: QueueNo, candidate: &Candidate, refused: Refused) {
        let Some(queue) = self.queues.get_mut(&no) else { return };
        let weight = queue.weight_of_lane(candidate.lane);
        let Queue { lanes: Some(lanes), identity, .. } = queue else { return };
        let own = candidate.line.filter(|line| {
            let key = lanes.key_at(candidate.lane, refused, identity.name.as_str());
            lanes.line(*line).is_some_and(|line| line.is_for(key))
        });
        let handle = match refused.reason {
            Reason::KeyCap { .. } => Some(Handle::default()),
            // One that is not live is nobody's yet.
            _ => lanes
                .asked_at(candidate.lane, refused.at)
                .map(|asking| asking.handle)
                .filter(|handle| *handle != Handle::default()),
        };
        let line = match own {
            // The line as a whole waits on.
            Some(line) => line,
            None => {
                let found = handle.and_then(|handle| lanes.line_at(candidate.priority, handle));
                let is_there = found.is_some();
                let line = found.unwrap_or_else(|| {
                    let number = self.limits.lines.insert((no, 0));
                    // As many as there are lanes, of which there are not so many.
                    let waiter = Waiter::new(number as u32, candidate.priority);
                    let line = lanes.open_line(waiter, candidate.priority);
                    self.limits.lines[number] = (no, line);
                    line
                });
                lanes.line_up(candidate.lane, line, weight);
                if is_there {
                    return self.list_untidy(no);
                }
                line
            }
        };
        self.park_line(now, no, candidate, line, refused);
        self.list_untidy(no);
    }

    /// Has a line wait for what refused the first of its lanes.
    fn park_line(
        &mut self,
        now: Timestamp,
        no: QueueNo,
        candidate: &Candidate,
        number: u32,
        refused: Refused,
    ) {
        let Some(Queue { lanes: Some(lanes), identity, .. }) = self.queues.get_mut(&no) else {
            return;
        };
        let Some((asked, order, Some(line))) = lanes.parts(candidate.lane, Some(number)) else {
            return;
        };
        let (keyed, woken) = (&mut self.limits.keyed, &mut self.limits.woken);
        let refused = with_asks(asked, identity.name.as_str(), &order.keys, |asks| {
            keyed.wait(&mut line.waiter, asks, refused, candidate.cost, micros(now), woken)
        });
        let handle = match refused.reason {
            Reason::KeyCap { .. } => Handle::default(),
            _ => asked.get(refused.at).map_or_else(Handle::default, |asking| asking.handle),
        };
        let key = lanes.key_at(candidate.lane, refused, identity.name.as_str());
        let key = key.map(|(owner, text)| (owner, Box::<str>::from(text)));
        let key = key.as_ref().map(|(owner, text)| (*owner, &**text));
        lanes.park_line(number, key, handle, (candidate.cost, refused.reason.eligible_at()));
    }

    /// Charges a message that was chosen, and takes it from where it stands. Says whether its start
    /// is counted in a window, so that nobody may have it before the disk knows.
    pub(crate) fn take_chosen(&mut self, now: Timestamp, no: QueueNo, chosen: &Candidate) -> bool {
        let Some(queue) = self.queues.get_mut(&no) else { return false };
        let Queue { lanes: Some(lanes), identity, .. } = &mut *queue else { return false };
        let Some((asked, order, line)) = lanes.parts(chosen.lane, chosen.line) else {
            return false;
        };
        let (keyed, woken) = (&mut self.limits.keyed, &mut self.limits.woken);
        let windowed = with_asks(asked, identity.name.as_str(), &order.keys, |asks| {
            keyed.take(asks, chosen.cost, micros(now), woken);
            keyed.is_windowed(asks)
        });
        if let Some(line) = line {
            keyed.leave(&mut line.waiter, micros(now), woken);
        }
        queue.take(chosen);
        self.limits.list_untidy(queue);
        windowed
    }
}

impl Limits {
    /// Asks all keys of a message, in the turn of its line if it stands in one.
    fn may_go(
        &mut self,
        now: Timestamp,
        queue: &mut Queue,
        candidate: &Candidate,
    ) -> Result<(), Refused> {
        let Queue { lanes: Some(lanes), identity, .. } = queue else { return Ok(()) };
        let Some((asked, order, line)) = lanes.parts(candidate.lane, candidate.line) else {
            return Ok(());
        };
        let mut fresh = Waiter::new(0, candidate.priority);
        let waiter = line.map_or(&mut fresh, |line| &mut line.waiter);
        with_asks(asked, identity.name.as_str(), &order.keys, |asks| {
            self.keyed.may(waiter, asks, candidate.cost, micros(now), &mut self.woken)
        })
    }
}
