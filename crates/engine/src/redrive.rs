//! T22: putting messages of the dead set back, at once or at a pace.
//!
//! One at a pace has been answered when it begins, so it survives restarts: a record says what is
//! asked for, and another when that is done. What has been put back meanwhile is not dead any more,
//! so whoever goes on begins at the front.

use std::borrow::Cow;

use sluice_model::{Answer, Code, QueueName, QueueNo, Redrive, Seq, SessionId, Timestamp};

use crate::engine::{Engine, Refused, Turn};
use crate::journal::Need;
use crate::queue::Queue;
use crate::queue::dead_set::Cursor;
use crate::queue::work::{Asker, Pace, Redriving, Work};
use crate::record::{PacedRedrive, Record, Target};

impl Engine {
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
        let number = pace.map(|pace| self.keep_redrive(turn, no, which, pace));
        let redriving = Redriving {
            which: which.clone(),
            listed: 0,
            cursor: None,
            asked_at: turn.now,
            moved: 0,
            pace,
            asker,
            number,
        };
        self.begin_work(turn.now, no, Work::Redrive(redriving));
        let need = self.queues.get(&no).map_or(Need::NONE, Queue::need);
        Ok(pace.map(|_| (Answer::Redriven { messages: 0, goes_on: true }, need)))
    }

    /// Writes down a redrive at a pace. Gives its number.
    fn keep_redrive(
        &mut self,
        turn: &mut Turn<'_>,
        no: QueueNo,
        which: &Redrive,
        pace: Pace,
    ) -> u32 {
        let last = self.queues.get(&no).and_then(|queue| queue.redrives.last_key_value());
        let number = last.map_or(1, |(number, _)| number + 1);
        let Pace { per_second, since } = pace;
        let paced = PacedRedrive { asked_at: since, per_second, which: which.clone() };
        let record = Record::RedriveBegun { queue: no, number, paced: Cow::Owned(paced) };
        self.commit(turn.journal, &record);
        number
    }

    /// Goes on with the redrives at a pace that the run before has left.
    pub(crate) fn resume_redrives(&mut self, now: Timestamp, no: QueueNo) {
        let Some(queue) = self.queues.get(&no) else { return };
        let left: Vec<_> = queue.redrives.iter().map(|(n, paced)| (*n, paced.clone())).collect();
        for (number, PacedRedrive { asked_at, per_second, which }) in left {
            let redriving = Redriving {
                which,
                listed: 0,
                cursor: None,
                asked_at,
                // As if one had just been put back: who knows whether the run before has.
                moved: 1,
                pace: Some(Pace { per_second, since: now }),
                asker: None,
                number: Some(number),
            };
            self.begin_work(now, no, Work::Redrive(redriving));
        }
    }

    /// Writes down that a redrive at a pace is done.
    pub(crate) fn redrive_is_done(&mut self, turn: &mut Turn<'_>, no: QueueNo, work: &Work) {
        if let Work::Redrive(Redriving { number: Some(number), .. }) = work {
            self.commit(turn.journal, &Record::RedriveDone { queue: no, number: *number });
        }
    }

    /// Puts back what is due. Gives when to go on; none when it is done or the queue is full.
    pub(crate) fn redrive_slice(
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
}

/// The next message that a redrive looks at, if it is meant at all, and where to go on behind it.
/// None when all have been looked at.
fn next_dead(queue: &Queue, work: &Redriving) -> Option<(Option<u64>, Option<Cursor>)> {
    let died = |seq| queue.slots.get_full(seq)?.1?.dead();
    match &work.which {
        Redrive::Ids(ids) => {
            let seq = queue.find(*ids.get(work.listed)?);
            Some((seq.filter(|seq| died(*seq).is_some_and(|(_, at)| at <= work.asked_at)), None))
        }
        Redrive::Matching { reason, age_min } => {
            let cursor = queue.dead.next(work.cursor)?;
            let meant = cursor.at <= work.asked_at
                && age_min.is_none_or(|min| work.asked_at.since(cursor.at) >= min)
                && reason.is_none_or(|reason| died(cursor.seq).is_some_and(|(is, _)| is == reason));
            Some((meant.then_some(cursor.seq), Some(cursor)))
        }
    }
}
