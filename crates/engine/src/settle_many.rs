//! Settling many deliveries with one request, each by itself.

use std::borrow::Cow;

use sluice_model::{
    Answer, Confirm, LeaseId, Level, QueueNo, Refusal, Seq, SessionId, SettleMany, Settlement,
};

use crate::engine::{Engine, Refused, Turn, need_of};
use crate::journal::Need;
use crate::record::{AckedRun, MANY_MAX, Record, Run, Target};
use crate::settle::{How, Standing, not_held};

/// The place of a lease in its request, and why it could not be settled.
type RefusedAt = (u32, Refusal);

impl Engine {
    /// Settles deliveries, or takes more time for them, as far as their leases hold.
    pub(crate) fn settle_many(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        tag: u64,
        many: &SettleMany,
    ) {
        let (mut refused, mut deadline) = (Vec::new(), None);
        let need = match &many.how {
            Settlement::Ack => self.ack_each(turn, &many.leases, &mut refused),
            Settlement::Nack(outcome) => {
                let how = How::Nack(outcome);
                self.settle_each(turn, &many.leases, how, &mut refused, &mut deadline)
            }
            Settlement::Extend(by) => {
                let how = How::Extend(*by);
                self.settle_each(turn, &many.leases, how, &mut refused, &mut deadline)
            }
        };
        self.stats.refused += refused.len() as u64;
        if let Some(state) = self.sessions.get_mut(&session) {
            state.need.cover(need);
        }
        if many.confirm == Confirm::Always || !refused.is_empty() {
            let answer = Answer::SettledMany { refused, deadline };
            self.reply(turn.effects, session, tag, answer, need);
        }
    }

    fn settle_each(
        &mut self,
        turn: &mut Turn<'_>,
        leases: &[LeaseId],
        how: How<'_>,
        refused: &mut Vec<RefusedAt>,
        deadline: &mut Option<sluice_model::Timestamp>,
    ) -> Need {
        let mut need = Need::NONE;
        for (at, lease) in (0..).zip(leases) {
            match self.settle_one(turn, lease, how) {
                Ok((answer, its_need)) => {
                    need.cover(its_need);
                    if let Answer::Extended { deadline: its_deadline } = answer {
                        let sooner = deadline.is_none_or(|deadline| its_deadline < deadline);
                        *deadline = if sooner { Some(its_deadline) } else { *deadline };
                    }
                }
                Err((code, text)) => refused.push((at, Refusal::new(code, text))),
            }
        }
        need
    }

    /// T9, T20 for many deliveries: those of a queue share a record.
    fn ack_each(
        &mut self,
        turn: &mut Turn<'_>,
        leases: &[LeaseId],
        refused: &mut Vec<RefusedAt>,
    ) -> Need {
        let place = |lease: &LeaseId| (lease.queue, lease.seq);
        let mut acks = Acks::default();
        if leases.is_sorted_by_key(place) {
            for (at, lease) in (0..).zip(leases) {
                self.ack_next(turn, &mut acks, lease, at, refused);
            }
        } else {
            // Which of them comes first is the same to all but two acks of one message.
            let mut sorted: Vec<_> = (0..).zip(leases).collect();
            sorted.sort_by_key(|(_, lease)| place(lease));
            for (at, lease) in sorted {
                self.ack_next(turn, &mut acks, lease, at, refused);
            }
            refused.sort_by_key(|(at, _)| *at);
        }
        self.ack_all(turn, &mut acks);
        acks.need
    }

    /// Adds a lease to those that are acked together.
    fn ack_next(
        &mut self,
        turn: &mut Turn<'_>,
        acks: &mut Acks,
        lease: &LeaseId,
        at: u32,
        refused: &mut Vec<RefusedAt>,
    ) {
        if !acks.may_hold(lease) {
            self.ack_all(turn, acks);
        }
        match self.standing(lease) {
            standing @ (Standing::Held { level } | Standing::Late { level }) => {
                let resident = level == Level::Memory;
                if acks.resident != resident {
                    self.ack_all(turn, acks);
                }
                let late = matches!(standing, Standing::Late { .. });
                self.stats.late_acks += u64::from(late);
                acks.add(lease, level);
            }
            Standing::Settled { sequence } => {
                let level = self.level_of(lease.queue);
                acks.need.cover(need_of(level, sequence));
            }
            standing => {
                let (code, text): Refused = not_held(&standing);
                refused.push((at, Refusal::new(code, text)));
            }
        }
    }

    /// Acks what was put together, with one record.
    fn ack_all(&mut self, turn: &mut Turn<'_>, acks: &mut Acks) {
        let (Some(queue), count @ 1..) = (acks.queue, acks.count) else { return };
        let record = match acks.runs[..] {
            [AckedRun { run: Run { first, count: 1 }, generation }] => {
                Record::Acked { target: Target::new(queue, first), generation }
            }
            _ => Record::AckedMany { queue, runs: Cow::Borrowed(&acks.runs) },
        };
        let sequence = self.change(turn, &record, acks.resident);
        acks.need.cover(need_of(acks.level, sequence));
        self.stats.acked += u64::from(count);
        acks.runs.clear();
        (acks.count, acks.level) = (0, Level::Memory);
    }
}

/// Acks that share a record: of messages of one queue in the order of their places, none twice, all
/// in memory only or none.
struct Acks {
    queue: Option<QueueNo>,
    runs: Vec<AckedRun>,
    count: u32,
    /// The last place.
    last: Seq,
    resident: bool,
    /// The highest level of a message among them.
    level: Level,
    /// What the answer to all waits for.
    need: Need,
}

impl Default for Acks {
    fn default() -> Self {
        Self {
            queue: None,
            runs: Vec::new(),
            count: 0,
            last: Seq(0),
            resident: false,
            level: Level::Memory,
            need: Need::NONE,
        }
    }
}

impl Acks {
    /// Whether this may share the record of those that are here.
    fn may_hold(&self, lease: &LeaseId) -> bool {
        let follows = self.queue == Some(lease.queue) && self.last < lease.seq;
        self.count == 0 || follows && self.count < MANY_MAX
    }

    fn add(&mut self, lease: &LeaseId, level: Level) {
        self.queue = Some(lease.queue);
        self.resident = level == Level::Memory;
        self.level = self.level.max(level);
        AckedRun::add(&mut self.runs, lease.seq, lease.generation);
        self.count += 1;
        self.last = lease.seq;
    }
}
