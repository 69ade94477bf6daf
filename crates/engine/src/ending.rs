//! Messages whose time has come: delayed ones that are due, those that ran out of time, those that a
//! dead set lets go, and what queues leave that are gone.

use std::borrow::Cow;

use sluice_model::{DeadReason, QueueNo, Seq, Timestamp};

use crate::config::OnExpire;
use crate::deadlines::{Deadlines, Due};
use crate::engine::{Engine, Turn};
use crate::image;
use crate::journal::Sequence;
use crate::queue::is_waiting;
use crate::queue::slots::Extra;
use crate::record::{Record, Removal, Target};
use crate::topic::Listener;

impl Engine {
    /// T6: delayed messages of a queue are due.
    pub(crate) fn wake_due(&mut self, now: Timestamp, no: QueueNo, budget: &mut usize) {
        let Some(queue) = self.queues.get_mut(&no) else { return };
        self.changes.note(queue);
        queue.wakes_at = None;
        while *budget > 0
            && let Some(seq) = queue.due(now)
        {
            *budget -= 1;
            queue.wake(seq);
        }
        self.stir(Listener::Queue(no));
        self.arm(no);
    }

    /// Sees to it that a queue's next delayed message and its oldest dead one are looked at when
    /// they are due.
    pub(crate) fn arm(&mut self, no: QueueNo) {
        let Some(queue) = self.queues.get_mut(&no) else { return };
        let sooner = |due: Option<Timestamp>, set: Option<Timestamp>| {
            due.filter(|due| set.is_none_or(|set| *due < set))
        };
        if let Some(due) = sooner(queue.next_due(), queue.wakes_at) {
            if let Some(before) = queue.wakes_at.replace(due) {
                self.deadlines.cancel(before, Due::Ready(no));
            }
            self.deadlines.insert(due, Due::Ready(no));
        }
        if let Some(due) = sooner(queue.dead.due(&queue.rules), queue.buries_at) {
            if let Some(before) = queue.buries_at.replace(due) {
                self.deadlines.cancel(before, Due::Dead(no));
            }
            self.deadlines.insert(due, Due::Dead(no));
        }
        self.list_untidy(no);
    }

    /// T18: a message ran out of time while nobody held it.
    pub(crate) fn expire(&mut self, turn: &mut Turn<'_>, no: QueueNo, seq: Seq) {
        let Some(queue) = self.queues.get(&no) else { return };
        let Some(slot) = queue.slots.get(seq.0) else { return };
        // A held message may still be acked; its time is looked at again when the lease ends.
        if is_waiting(slot.state()) {
            let resident = slot.sequence() == 0;
            self.run_out(turn, Target::new(no, seq), resident);
        }
    }

    /// T18, T19: ends a message that is past its time.
    pub(crate) fn run_out(
        &mut self,
        turn: &mut Turn<'_>,
        target: Target,
        resident: bool,
    ) -> Sequence {
        let Some(queue) = self.queues.get(&target.queue) else { return 0 };
        self.stats.expired += 1;
        match queue.rules.on_expire {
            OnExpire::Drop => {
                self.change(turn, &Record::Removed { target, why: Removal::Expired }, resident)
            }
            OnExpire::Dead => self.bury(turn, target, DeadReason::Expired, None, resident),
        }
    }

    /// Parks a message in the dead set, which may push out an older one.
    pub(crate) fn bury(
        &mut self,
        turn: &mut Turn<'_>,
        target: Target,
        reason: DeadReason,
        note: Option<&str>,
        resident: bool,
    ) -> Sequence {
        self.stats.died(reason);
        let note = note.map(Cow::Borrowed);
        let record = Record::Buried { target, reason, at: turn.now, note };
        let sequence = self.change(turn, &record, resident);
        self.trim_dead(turn, target.queue, &mut 2);
        sequence
    }

    /// T23: the dead set lets go what is too old or too much.
    pub(crate) fn trim_dead(&mut self, turn: &mut Turn<'_>, no: QueueNo, budget: &mut usize) {
        while *budget > 0 {
            let Some(queue) = self.queues.get(&no) else { return };
            let Some(seq) = queue.dead.surplus(&queue.rules, turn.now) else { break };
            *budget -= 1;
            let resident = queue.slots.get(seq).is_some_and(|slot| slot.sequence() == 0);
            let target = Target::new(no, Seq(seq));
            self.change(turn, &Record::Removed { target, why: Removal::Dropped }, resident);
        }
        self.arm_dead(turn.now, no);
    }

    /// Sees to it that what a dead set has too much of goes in the next turn.
    pub(crate) fn arm_dead(&mut self, now: Timestamp, no: QueueNo) {
        if let Some(queue) = self.queues.get_mut(&no) {
            if let Some(before) = queue.buries_at.take() {
                self.deadlines.cancel(before, Due::Dead(no));
            }
            if queue.dead.surplus(&queue.rules, now).is_some() {
                queue.buries_at = Some(now);
                self.deadlines.insert(now, Due::Dead(no));
            }
        }
        self.arm(no);
    }

    /// Forgets a bounded part of the messages of queues that are gone.
    pub(crate) fn forget_ended(&mut self, mut left: usize) {
        while let Some(queue) = self.ended.front_mut() {
            let first = queue.slots.first_seq();
            let Some(seq) = queue.slots.next_alive(first, queue.slots.next()) else {
                let queue = self.ended.pop_front().expect("it is at the front");
                image::removed_keys(queue, &mut self.removed_pieces);
                continue;
            };
            if left == 0 {
                break;
            }
            left -= 1;
            if let Some((slot, extra)) = queue.slots.get_full(seq) {
                cancel_deadlines(&mut self.deadlines, queue.no(), seq, extra);
                self.usage.release(slot);
            }
            queue.slots.remove(seq);
        }
    }
}

/// Takes back every deadline of a message.
pub(crate) fn cancel_deadlines(
    deadlines: &mut Deadlines,
    no: QueueNo,
    seq: u64,
    extra: Option<&Extra>,
) {
    let Some(extra) = extra else { return };
    let seq = Seq(seq);
    if let Some(lease) = extra.lease {
        deadlines.cancel(lease.deadline, Due::Lease(no, seq));
    }
    deadlines.cancel(extra.expires_at, Due::Expire(no, seq));
}
