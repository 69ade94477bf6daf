//! Work that touches many messages of a queue, a bounded slice of it in a turn.

use sluice_model::{Answer, Code, Purge, QueueName, QueueNo, Seq, SessionId, Timestamp};

use crate::deadlines::Due;
use crate::engine::{Engine, Refused, Turn};
use crate::journal::Need;
use crate::queue::Queue;
use crate::queue::work::{Asker, Redriving, Work};
use crate::receive::is_spent;
use crate::record::Record;
use crate::topic::Listener;

/// Most pieces of work that wait for each other in one queue.
const WORK_MAX: usize = 64;
/// Seqs that one record of a purge covers.
const PURGE_SLICE: u64 = 256;

impl Engine {
    /// Adds work to a queue's.
    pub(crate) fn begin_work(&mut self, now: Timestamp, no: QueueNo, work: Work) {
        let Some(queue) = self.queues.get_mut(&no) else { return };
        queue.work.push_back((now, work));
        self.arm_work(no);
    }

    /// Sees to it that a queue's work goes on when the first of it is due.
    pub(crate) fn arm_work(&mut self, no: QueueNo) {
        let Some(queue) = self.queues.get_mut(&no) else { return };
        let due = queue.work.iter().map(|(at, _)| *at).min();
        let before = std::mem::replace(&mut queue.works_at, due);
        if before == due {
            return;
        }
        if let Some(before) = before {
            self.deadlines.cancel(before, Due::Work(no));
        }
        if let Some(due) = due {
            self.deadlines.insert(due, Due::Work(no));
        }
    }

    pub(crate) fn check_work(&self, no: QueueNo) -> Result<(), Refused> {
        let busy = self.queues.get(&no).is_some_and(|queue| queue.work.len() >= WORK_MAX);
        if busy {
            return Err((Code::Overloaded, "the queue is busy with work like this".into()));
        }
        Ok(())
    }

    /// T21: deletes messages by state; answers when it is done.
    pub(crate) fn begin_purge(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        tag: u64,
        name: &QueueName,
        what: Purge,
    ) -> Result<Option<(Answer, Need)>, Refused> {
        let no = self.named(name)?;
        self.check_work(no)?;
        let end = self.queues.get(&no).map_or(0, |queue| queue.slots.next());
        let asker = Asker { session, tag };
        self.begin_work(turn.now, no, Work::Purge { what, next: 0, end, removed: 0, asker });
        Ok(None)
    }

    /// Goes on with a queue's first piece of work that is due, as far as `budget` allows. What
    /// keeps a pace holds up nothing behind it.
    pub(crate) fn work_on(&mut self, turn: &mut Turn<'_>, no: QueueNo, budget: &mut usize) {
        let Some(queue) = self.queues.get_mut(&no) else { return };
        queue.works_at = None;
        let due = queue.work.iter().position(|(at, _)| *at <= turn.now);
        let Some((at, (_, mut work))) = due.and_then(|at| Some((at, queue.work.remove(at)?)))
        else {
            return self.arm_work(no);
        };
        let again = match &mut work {
            Work::Purge { what, next, end, removed, .. } => {
                self.purge_slices(turn, no, *what, (next, *end), removed, budget)
            }
            Work::Redrive(redriving) => self.redrive_slice(turn, no, redriving, budget),
            Work::Recheck { next, end } => self.recheck_slice(turn, no, (next, *end), budget),
            Work::TakeOver(taking) => self.take_over_slice(turn, no, taking, budget),
        };
        match again {
            None => {
                self.redrive_is_done(turn, no, &work);
                self.work_is_done(turn, no, &work);
            }
            Some(again) => {
                if let Some(queue) = self.queues.get_mut(&no) {
                    queue.work.insert(at, (again, work));
                }
            }
        }
        self.arm_work(no);
        self.stir(Listener::Queue(no));
    }

    /// Answers who waits for the end of some work.
    pub(crate) fn work_is_done(&mut self, turn: &mut Turn<'_>, no: QueueNo, work: &Work) {
        let (asker, answer) = match work {
            Work::Purge { removed, asker, .. } => {
                (Some(*asker), Answer::Removed { messages: *removed })
            }
            Work::Redrive(Redriving { moved, asker, .. }) => {
                (*asker, Answer::Redriven { messages: *moved, goes_on: false })
            }
            Work::TakeOver(taking) => return self.taken_over(turn, no, taking),
            Work::Recheck { .. } => return,
        };
        let need = self.queues.get(&no).map_or(Need::NONE, Queue::need);
        let Some(Asker { session, tag }) = asker else { return };
        if self.sessions.get(&session).is_some_and(|session| !session.closed) {
            self.reply(turn.effects, session, tag, answer, need);
        }
    }

    /// Deletes slice by slice. Gives when to go on; none when it is done.
    fn purge_slices(
        &mut self,
        turn: &mut Turn<'_>,
        no: QueueNo,
        what: Purge,
        (next, end): (&mut u64, u64),
        removed: &mut u64,
        budget: &mut usize,
    ) -> Option<Timestamp> {
        loop {
            let queue = self.queues.get(&no)?;
            *next = queue.slots.next_alive(*next, end)?;
            if *budget == 0 {
                return Some(turn.now);
            }
            let to = (*next + PURGE_SLICE).min(end);
            *budget = budget.saturating_sub(PURGE_SLICE as usize);
            let before = queue.counters.deleted;
            let record = Record::Purged { queue: no, from: Seq(*next), to: Seq(to), what };
            self.commit(turn.journal, &record);
            let after = self.queues.get(&no)?.counters.deleted;
            *removed += after - before;
            *next = to;
        }
    }

    /// T24: parks waiting messages whose failures are spent. Gives when to go on.
    fn recheck_slice(
        &mut self,
        turn: &mut Turn<'_>,
        no: QueueNo,
        (next, end): (&mut u64, u64),
        budget: &mut usize,
    ) -> Option<Timestamp> {
        loop {
            let queue = self.queues.get(&no)?;
            *next = queue.slots.next_alive(*next, end)?;
            if *budget == 0 {
                return Some(turn.now);
            }
            *budget -= 1;
            let seq = *next;
            *next += 1;
            if let Some((slot, Some(extra))) = queue.slots.get_full(seq)
                && crate::queue::is_waiting(slot.state())
                && is_spent(&queue.rules, extra)
            {
                self.bury_spent(turn, no, Seq(seq));
            }
        }
    }
}
