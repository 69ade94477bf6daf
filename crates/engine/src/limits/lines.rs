//! Lines that are woken, and what becomes of them when nobody receives.

use std::time::Duration;

use sluice_model::{QueueNo, Timestamp};

use super::{Limits, micros, moment};
use crate::engine::{Engine, Turn};
use crate::queue::Queue;
use crate::topic::Listener;

/// Lines of which an empty receive finds out anew when they may go, at most.
const OVERDUE_MAX: usize = 16;

impl Engine {
    /// Has the lines that were woken stand among those that may have something, and those who wait
    /// for a message of their queues looked after.
    pub(crate) fn wake_lines(&mut self) {
        while let Some(number) = self.limits.woken.pop() {
            let Some((no, line)) = self.limits.lines.get(number as usize).copied() else {
                continue;
            };
            self.wake_line(no, line);
        }
    }

    /// The same for one line.
    pub(crate) fn wake_line(&mut self, no: QueueNo, line: u32) {
        if let Some(lanes) = self.queues.get_mut(&no).and_then(|queue| queue.lanes.as_mut()) {
            lanes.wake_line(line);
            self.limits.awakened.push((no, line));
            self.stir(Listener::Queue(no));
        }
    }

    /// Lets time pass for limits: wakes whose time has come, and goes on with what changes of limits
    /// bring.
    pub(crate) fn advance_limits(&mut self, budget: &mut usize) {
        let now = self.limits.now;
        let Limits { keyed, woken, .. } = &mut self.limits;
        if keyed.next_at().is_some_and(|at| at <= now) {
            keyed.advance(now, *budget, woken);
        }
        self.resolve_slice(budget);
    }

    /// Lists a queue of which lines have changed.
    pub(crate) fn list_untidy(&mut self, no: QueueNo) {
        if let Some(queue) = self.queues.get_mut(&no) {
            self.limits.list_untidy(queue);
        }
    }

    /// Lists a queue that has lanes.
    pub(crate) fn list_laned(&mut self, no: QueueNo) {
        if let Some(queue) = self.queues.get_mut(&no)
            && queue.lanes.is_some()
            && !std::mem::replace(&mut queue.listed_laned, true)
        {
            self.limits.laned.insert(no);
        }
    }

    /// Ends a turn: whoever was woken has tried or leaves, which may wake others.
    pub(crate) fn settle_lines(&mut self, turn: &mut Turn<'_>) {
        loop {
            self.bring_forward();
            self.wake_lines();
            self.serve_stirred(turn);
            self.tidy_lines(turn.now);
            if !self.limits.woken.is_empty() || !self.stirred.is_empty() {
                continue;
            }
            let Some((no, line)) = self.limits.awakened.pop() else { return };
            self.leave_untried(turn.now, no, line);
        }
    }

    /// Closes lines of which nothing is left, and has those looked at whose first message is another
    /// one than before.
    fn tidy_lines(&mut self, now: Timestamp) {
        while let Some(no) = self.limits.untidy.pop() {
            let Some(queue) = self.queues.get_mut(&no) else { continue };
            queue.listed_untidy = false;
            let Some(lanes) = &mut queue.lanes else { continue };
            for line in std::mem::take(&mut lanes.chores) {
                let Some(lanes) = self.queues.get_mut(&no).and_then(|queue| queue.lanes.as_mut())
                else {
                    break;
                };
                if lanes.is_over(line) {
                    self.close_line(now, no, line);
                } else if lanes.is_stale(line) {
                    self.wake_line(no, line);
                }
            }
        }
    }

    /// Closes a line.
    fn close_line(&mut self, now: Timestamp, no: QueueNo, line: u32) {
        let lanes = self.queues.get_mut(&no).and_then(|queue| queue.lanes.as_mut());
        if let Some(mut waiter) = lanes.and_then(|lanes| lanes.close_line(line)) {
            let (keyed, woken) = (&mut self.limits.keyed, &mut self.limits.woken);
            keyed.leave(&mut waiter, micros(now), woken);
            self.limits.lines.try_remove(waiter.lane as usize);
        }
    }

    /// A line was woken and nobody tried it: it waits no more, and the next one is woken. It is tried
    /// when somebody receives.
    fn leave_untried(&mut self, now: Timestamp, no: QueueNo, number: u32) {
        let Some(queue) = self.queues.get_mut(&no) else { return };
        let weights = &queue.weights;
        let Some(lanes) = &mut queue.lanes else { return };
        let Some(line) = lanes.line_mut(number).filter(|line| line.is_awake) else { return };
        let (keyed, woken) = (&mut self.limits.keyed, &mut self.limits.woken);
        keyed.leave(&mut line.waiter, micros(now), woken);
        if lanes.is_short(number) {
            let weight = |group: &str| weights.get(group).map_or(1, |weight| u32::from(*weight));
            lanes.dissolve(number, weight);
        }
        self.list_untidy(no);
    }

    /// When a message of the queue may be handed over that can't be now, if only time is in the way.
    /// It may be too early, and never is too late.
    pub(crate) fn next_eligible(&mut self, now: Timestamp, no: QueueNo) -> Option<Timestamp> {
        if let Some(pause) = self.queues.get(&no).and_then(|queue| queue.pause_at(now)) {
            return pause.until;
        }
        self.bring_forward();
        let queue = self.queues.get_mut(&no)?;
        let of_lines = queue.lanes.as_mut().and_then(|lanes| {
            for _ in 0..OVERDUE_MAX {
                let Some(line) = lanes.overdue(micros(now)) else { break };
                let waiter = lanes.line(line).map(|line| &line.waiter);
                let eligible = waiter.and_then(|it| self.limits.keyed.tell_anew(it, micros(now)));
                lanes.set_eligible(line, eligible);
            }
            // Until keys have followed a change of their limit, what was noted may be too late.
            let is_behind = self.limits.keyed.next_at() == Some(0) && lanes.has_lines();
            if is_behind { Some(0) } else { lanes.eligible() }
        });
        // Who may go already is one that is not looked at yet.
        let soon = now.after(Duration::from_millis(1));
        let of_lines = of_lines.map(|at| moment(at).max(soon));
        queue.next_due().into_iter().chain(of_lines).min()
    }

    /// Notes of lines that they may go sooner than it was said when they were refused.
    fn bring_forward(&mut self) {
        while let Some((number, at)) = self.limits.keyed.pop_sooner() {
            if let Some((no, line)) = self.limits.lines.get(number as usize).copied()
                && let Some(queue) = self.queues.get_mut(&no)
                && let Some(lanes) = &mut queue.lanes
            {
                lanes.bring_forward(line, at);
            }
        }
    }

    /// What must hold of lines between any two calls: each has its number, and no number is left over.
    pub(crate) fn check_lines(&self) {
        let mut numbers = 0;
        for (no, queue) in &self.queues {
            let Some(lanes) = &queue.lanes else { continue };
            for line in lanes.line_numbers() {
                let number = lanes.line(line).map(|line| line.waiter.lane as usize);
                let place = number.and_then(|number| self.limits.lines.get(number));
                assert_eq!(place, Some(&(*no, line)), "the number of a line");
                numbers += 1;
            }
        }
        assert_eq!(numbers, self.limits.lines.len(), "numbers of lines");
    }

    /// Takes everything of a queue that ends from the limits.
    pub(crate) fn forget_lanes(&mut self, no: QueueNo) {
        let now = self.limits.now;
        let Some(queue) = self.queues.get_mut(&no) else { return };
        let lines = queue.lanes.as_ref().map(|lanes| lanes.line_numbers()).unwrap_or_default();
        for line in lines {
            self.close_line(Timestamp::from_millis(now / 1_000), no, line);
        }
        let Some(queue) = self.queues.get_mut(&no) else { return };
        self.limits.release_all(queue);
        queue.lanes = None;
        self.limits.laned.remove(&no);
    }
}

impl Limits {
    /// Lists a queue if lines of it have changed.
    pub(super) fn list_untidy(&mut self, queue: &mut Queue) {
        if queue.lanes.as_ref().is_some_and(|lanes| !lanes.chores.is_empty())
            && !std::mem::replace(&mut queue.listed_untidy, true)
        {
            self.untidy.push(queue.no());
        }
    }
}
