//! Work that touches many messages of a queue, a bounded slice of it in a turn.

use sluice_model::{Answer, Code, Purge, QueueName, QueueNo, Redrive, Seq, SessionId, Timestamp};

use crate::deadlines::Due;
use crate::engine::{Engine, Refused, Turn};
use crate::journal::Need;
use crate::queue::Queue;
use crate::queue::dead_set::Cursor;
use crate::queue::slots::Extra;
use crate::queue::work::{Asker, Pace, Redriving, Work};
use crate::receive::is_spent;
use crate::record::{Record, Target};
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
    fn arm_work(&mut self, no: QueueNo) {
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

    fn check_work(&self, no: QueueNo) -> Result<(), Refused> {
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

    /// T22: puts messages of the dead set back; answers when it is done, or with a pace at once.
    pub(crate) fn begin_redrive(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        tag: u64,
        name: &QueueName,
        which: &Redrive,
        per_second: Option<u32>,
    ) -> Result<Option<(Answer, Need)>, Refused> {
        let no = self.named(name)?;
        self.check_work(no)?;
        if per_second == Some(0) {
            return Err((Code::Invalid, "a redrive puts back 1 a second or more".into()));
        }
        if let Redrive::Ids(ids) = which
            && ids.len() > self.config.batch_max
        {
            let text = format!("a redrive names at most {} messages", self.config.batch_max);
            return Err((Code::Invalid, text.into()));
        }
        let pace = per_second.map(|per_second| Pace { per_second, since: turn.now });
        let asker = pace.is_none().then_some(Asker { session, tag });
        let redriving = Redriving {
            which: which.clone(),
            listed: 0,
            cursor: None,
            asked_at: turn.now,
            moved: 0,
            pace,
            asker,
        };
        self.begin_work(turn.now, no, Work::Redrive(redriving));
        let need = self.queues.get(&no).map_or(Need::NONE, Queue::need);
        Ok(pace.map(|_| (Answer::Redriven { messages: 0, goes_on: true }, need)))
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
        };
        match again {
            None => self.work_is_done(turn, no, &work),
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

    /// Puts back what is due. Gives when to go on; none when it is done or the queue is full.
    fn redrive_slice(
        &mut self,
        turn: &mut Turn<'_>,
        no: QueueNo,
        work: &mut Redriving,
        budget: &mut usize,
    ) -> Option<Timestamp> {
        loop {
            let queue = self.queues.get(&no)?;
            if queue.counts.live() >= queue.rules.max_messages {
                return None;
            }
            let (seq, cursor) = next_dead(queue, work)?;
            if let Some(pace) = work.pace
                && work.moved >= pace.allowed(turn.now)
            {
                return Some(pace.next(work.moved));
            }
            if *budget == 0 {
                return Some(turn.now);
            }
            *budget -= 1;
            work.listed += 1;
            work.cursor = cursor;
            if let Some(seq) = seq
                && self.redrive_one(turn, no, seq)
            {
                work.moved += 1;
            }
        }
    }

    /// T22: puts one message back, if it is dead and fits.
    fn redrive_one(&mut self, turn: &mut Turn<'_>, no: QueueNo, seq: u64) -> bool {
        let Some(queue) = self.queues.get(&no) else { return false };
        let Some((slot, Some(extra))) = queue.slots.get_full(seq) else { return false };
        let fits = queue.counts.bytes + slot.len() <= queue.rules.max_bytes;
        if extra.dead().is_none() || !fits {
            return false;
        }
        let resident = slot.sequence() == 0;
        let fence =
            sluice_model::Generation { start: self.start, counter: self.next.generation + 1 };
        let target = Target::new(no, Seq(seq));
        self.change(turn, &Record::Redriven { target, at: turn.now, fence }, resident);
        true
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

/// The next message that a redrive looks at, if it is meant at all, and where to go on behind it.
/// None when all have been looked at.
fn next_dead(queue: &Queue, work: &Redriving) -> Option<(Option<u64>, Option<Cursor>)> {
    match &work.which {
        Redrive::Ids(ids) => Some((queue.find(*ids.get(work.listed)?), None)),
        Redrive::Matching { reason, age_min } => {
            let cursor = queue.dead.next(work.cursor)?;
            let (_, extra) = queue.slots.get_full(cursor.seq)?;
            let died = extra.and_then(Extra::dead).map(|(reason, _)| reason);
            let meant = cursor.at <= work.asked_at
                && age_min.is_none_or(|min| work.asked_at.since(cursor.at) >= min)
                && reason.is_none_or(|reason| died == Some(reason));
            Some((meant.then_some(cursor.seq), Some(cursor)))
        }
    }
}
