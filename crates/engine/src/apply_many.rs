//! Grants and acks, of one message or of many in rows.

use sluice_flow::Ended;
use sluice_model::{Generation, Level, QueueNo, Seq, SessionId, Timestamp};

use crate::deadlines::{Deadlines, Due};
use crate::engine::Engine;
use crate::journal::Sequence;
use crate::limits::{Limits, micros};
use crate::queue::Queue;
use crate::queue::lanes::NO_LANE;
use crate::queue::slots::Lease;
use crate::random::SeededMap;
use crate::record::{AckedRun, Record, Run};
use crate::run_set::Step as _;
use crate::session::{Held, Session};
use crate::topic::Listener;

impl Engine {
    /// Applies a record about messages that were handed over or dealt with together.
    pub(crate) fn apply_to_many(&mut self, record: &Record<'_>, sequence: Sequence) {
        match record {
            Record::Granted { target, generation, at, deadline, bound } => {
                let lease = granted(*generation, *at, *deadline, *bound);
                let run = Run { first: target.seq, count: 1 };
                self.replay_grant(target.queue, &[run], lease, sequence);
            }
            Record::GrantedMany { queue, runs, generation, at, deadline, bound } => {
                let lease = granted(*generation, *at, *deadline, *bound);
                self.replay_grant(*queue, runs, lease, sequence);
            }
            Record::Acked { target, generation } => {
                let run = Run { first: target.seq, count: 1 };
                let acked = AckedRun { run, generation: *generation };
                self.ack_messages(target.queue, &[acked], sequence);
            }
            Record::AckedMany { queue, runs } => self.ack_messages(*queue, runs, sequence),
            _ => {}
        }
    }

    /// The same for grants that were decided before: limits are told of them here.
    fn replay_grant(&mut self, no: QueueNo, runs: &[Run], first: Lease, sequence: Sequence) {
        self.limits.now = self.limits.now.max(micros(first.granted_at));
        self.resolve_for(no, runs);
        self.grant_messages(no, runs, first, sequence);
        self.replay_starts(no, runs, first.granted_at);
    }

    /// T8: consumers got messages. `first` is the lease of the first one; the others' generations
    /// follow.
    pub(crate) fn grant_messages(
        &mut self,
        no: QueueNo,
        runs: &[Run],
        first: Lease,
        sequence: Sequence,
    ) {
        let Some(queue) = self.queues.get_mut(&no) else { return };
        self.changes.note(queue);
        queue.touched(Level::Os, sequence);
        let mut lease = first;
        for run in runs {
            // In replay the clock does not say that a delay has passed; the grant does.
            queue.grant(*run, lease);
            self.deadlines.insert_leases(lease.deadline, no, run.first, run.count);
            lease.generation.counter += u64::from(run.count);
        }
        if first.generation.start == self.start {
            self.next.generation = self.next.generation.max(lease.generation.counter - 1);
        }
    }

    /// T9, T20: messages were dealt with.
    pub(crate) fn ack_messages(&mut self, no: QueueNo, runs: &[AckedRun], sequence: Sequence) {
        let remembered = self.config.settled_of_queue(self.queues.len());
        let Some(queue) = self.queues.get_mut(&no) else { return };
        self.changes.note(queue);
        let has_lanes = queue.lanes.is_some();
        let ends = &mut Ends {
            deadlines: &mut self.deadlines,
            sessions: &mut self.sessions,
            limits: &mut self.limits,
        };
        for run in runs {
            end_leases(queue, ends, *run, sequence);
            for (seq, generation) in run.each() {
                if let Some(slot) = queue.ack(seq.0, generation, sequence, remembered) {
                    self.present -= 1;
                    self.usage.release(&slot);
                }
            }
        }
        if has_lanes {
            // A group may be free.
            self.stir(Listener::Queue(no));
            self.list_untidy(no);
        }
    }
}

/// The lease that a record tells of, held by no session yet.
fn granted(generation: Generation, at: Timestamp, deadline: Timestamp, bound: bool) -> Lease {
    Lease { generation, granted_at: at, deadline, bound, session: None }
}

/// Where leases are listed beside their queue.
struct Ends<'a> {
    deadlines: &'a mut Deadlines,
    sessions: &'a mut SeededMap<SessionId, Session>,
    limits: &'a mut Limits,
}

/// Leases in a row that nothing tells apart.
struct Row {
    first: Held,
    count: u32,
    deadline: Timestamp,
    session: Option<SessionId>,
}

/// Takes the leases of messages, and whatever else is due of them, off every list.
fn end_leases(queue: &mut Queue, ends: &mut Ends<'_>, acked: AckedRun, sequence: Sequence) {
    let no = queue.no();
    let mut row: Option<Row> = None;
    for seq in acked.run.seqs() {
        let Some((slot, extra)) = queue.slots.get_full(seq.0) else { continue };
        let (level, lease) = (slot.level(), extra.and_then(|extra| extra.lease));
        let lane = extra.map_or(NO_LANE, |extra| extra.lane_no);
        let expires_at = extra.map_or(Timestamp::EPOCH, |extra| extra.expires_at);
        queue.touched(level, sequence);
        if expires_at != Timestamp::EPOCH {
            ends.deadlines.cancel(expires_at, Due::Expire(no, seq));
        }
        let Some(lease) = lease else { continue };
        ends.limits.release(queue, lane, Ended::Acked);
        let Lease { generation, deadline, session, .. } = lease;
        let held = (generation, no, seq);
        match &mut row {
            Some(row) if row.goes_on_with(held, deadline, session) => row.count += 1,
            _ => {
                let next = Row { first: held, count: 1, deadline, session };
                row.replace(next).into_iter().for_each(|row| row.end(queue, ends));
            }
        }
    }
    row.into_iter().for_each(|row| row.end(queue, ends));
}

impl Row {
    fn goes_on_with(&self, held: Held, deadline: Timestamp, session: Option<SessionId>) -> bool {
        held == self.first.plus(self.count) && (deadline, session) == (self.deadline, self.session)
    }

    fn end(self, queue: &mut Queue, ends: &mut Ends<'_>) {
        let Self { first, count, deadline, session } = self;
        let (_, no, seq): (_, _, Seq) = first;
        queue.unlist(first, count);
        ends.deadlines.cancel_leases(deadline, no, seq, count);
        if let Some(session) = session.and_then(|id| ends.sessions.get_mut(&id)) {
            session.forget(first, count);
        }
    }
}
