//! Leases: the time a consumer has to settle a delivery.
//!
//! A lease ends exactly once, by ack, nack, deadline, or the end of its connection.
//!
//! ```text
//! ready --receive--> leased --ack--> gone
//!   ^                  |
//!   '--nack, timeout---'--failures spent--> dead set
//! ```

use std::time::Duration;

use sluice_model::{
    Answer, Code, Confirm, DeadReason, LeaseId, Level, NOTE_BYTES_MAX, Outcome, QueueNo, Seq,
    SessionId, State, Throttled, Timestamp,
};

use crate::config::QueueConfig;
use crate::engine::{Engine, Refused, Turn, need_of};
use crate::journal::{Need, Sequence};
use crate::limits::check_text;
use crate::queue::slots::Extra;
use crate::record::{Cause, Record, Target};

/// A throttled message without a key of its own comes again after this time at the earliest.
const THROTTLED_MIN: Duration = Duration::from_secs(1);
/// Bytes of the two records of a throttled delivery, at most.
const THROTTLE_BYTES: usize = 1_024;

impl Engine {
    /// Settles one delivery, or takes more time for it, and answers.
    pub(crate) fn settle(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        tag: u64,
        lease: &LeaseId,
        how: How<'_>,
        confirm: Confirm,
    ) {
        match self.settle_one(turn, lease, how) {
            Ok((answer, need)) => {
                if let Some(state) = self.sessions.get_mut(&session) {
                    state.need.cover(need);
                }
                if confirm == Confirm::Always {
                    self.reply(turn.effects, session, tag, answer, need);
                }
            }
            Err((code, text)) => self.refuse(turn.effects, session, tag, code, text),
        }
    }

    /// Settles one delivery, or takes more time for it. Gives the answer and what it waits for.
    pub(crate) fn settle_one(
        &mut self,
        turn: &mut Turn<'_>,
        lease: &LeaseId,
        how: How<'_>,
    ) -> Result<(Answer, Need), Refused> {
        match how {
            How::Ack => self.ack(turn, lease),
            How::Nack(outcome) => self.nack(turn, lease, outcome),
            How::Extend(by) => self.extend(turn, lease, by),
        }
    }

    /// T9, T20: a delivery has been dealt with.
    fn ack(&mut self, turn: &mut Turn<'_>, lease: &LeaseId) -> Result<(Answer, Need), Refused> {
        let target = Target::new(lease.queue, lease.seq);
        let standing = self.standing(lease);
        let late = matches!(standing, Standing::Late { .. });
        match standing {
            Standing::Held { level } | Standing::Late { level } => {
                let record = Record::Acked { target, generation: lease.generation };
                let sequence = self.change(turn, &record, level == Level::Memory);
                self.stats.acked += 1;
                self.stats.late_acks += u64::from(late);
                Ok((Answer::Settled { already: false }, need_of(level, sequence)))
            }
            Standing::Settled { sequence } => {
                let level = self.queues.get(&lease.queue).map_or(Level::Sync, |q| q.rules.level);
                Ok((Answer::Settled { already: true }, need_of(level, sequence)))
            }
            standing => Err(not_held(&standing)),
        }
    }

    /// T11 to T13, T15: a delivery is given back.
    fn nack(
        &mut self,
        turn: &mut Turn<'_>,
        lease: &LeaseId,
        outcome: &Outcome,
    ) -> Result<(Answer, Need), Refused> {
        let level = self.held_at(lease)?;
        let (no, seq) = (lease.queue, lease.seq);
        let sequence = match outcome {
            Outcome::Failed { delay, note } => {
                let end = End { delay: *delay, note: note.as_deref().map(shorten) };
                self.end_lease(turn, no, seq, Cause::Failed, end)
            }
            Outcome::Released { delay } => {
                let end = End { delay: *delay, note: None };
                self.end_lease(turn, no, seq, Cause::Released, end)
            }
            Outcome::Withdrawn => self.end_lease(turn, no, seq, Cause::Withdrawn, End::default()),
            Outcome::Throttled(throttled) => self.throttled(turn, no, seq, throttled)?,
            Outcome::Rejected { note } => {
                let (target, note) = (Target::new(no, seq), note.as_deref().map(shorten));
                let resident = level == Level::Memory;
                self.stats.nacked_rejected += 1;
                self.bury(turn, target, DeadReason::Rejected, note, resident)
            }
        };
        Ok((Answer::Settled { already: false }, need_of(level, sequence)))
    }

    /// T14: a consumer was told to slow down. Without a key of its own that is paused, the message
    /// is delayed instead.
    fn throttled(
        &mut self,
        turn: &mut Turn<'_>,
        no: QueueNo,
        seq: Seq,
        Throttled { retry_after, key }: &Throttled,
    ) -> Result<Sequence, Refused> {
        let extra = self.queues.get(&no).and_then(|queue| queue.slots.get_full(seq.0)?.1);
        let keys = extra.and_then(Extra::lane).map_or(&[][..], |lane| &lane.keys);
        let paused = key.as_ref().or(keys.first()).cloned();
        let is_its_own = paused.as_ref().is_some_and(|paused| keys.contains(paused));
        if let Some(key) = &paused {
            check_text("the key", key)?;
            turn.journal.begin_batch(THROTTLE_BYTES);
            self.throttle(turn, no, key, *retry_after);
        }
        let delay = retry_after.unwrap_or_default().max(THROTTLED_MIN).min(self.config.pause_max);
        let end = End { delay: (!is_its_own).then_some(delay), note: None };
        let sequence = self.end_lease(turn, no, seq, Cause::Throttled, end);
        if paused.is_some() {
            turn.journal.end_batch();
        }
        Ok(sequence)
    }

    /// T10: a consumer takes more time.
    fn extend(
        &mut self,
        turn: &mut Turn<'_>,
        lease: &LeaseId,
        by: Duration,
    ) -> Result<(Answer, Need), Refused> {
        let level = self.held_at(lease)?;
        let held = self.queues.get(&lease.queue).and_then(|queue| {
            let (_, extra) = queue.slots.get_full(lease.seq.0)?;
            extra?.lease
        });
        let last = held.map(|held| held.granted_at.after(self.config.lease_max));
        if by.is_zero() || last.is_none_or(|last| turn.now.after(by) > last) {
            return Err((Code::Invalid, "a lease lives 12 h at most, extensions included".into()));
        }
        let (target, deadline) = (Target::new(lease.queue, lease.seq), turn.now.after(by));
        let record = Record::Extended { target, at: turn.now, deadline };
        let sequence = self.change(turn, &record, level == Level::Memory);
        // Like a grant it is handed to the kernel, and synced a little later.
        Ok((Answer::Extended { deadline }, Need { written: sequence, synced: 0 }))
    }

    /// The level of the message that this lease holds. To whoever wants to go on with it, one
    /// that was settled is as good as unknown.
    fn held_at(&self, lease: &LeaseId) -> Result<Level, Refused> {
        match self.standing(lease) {
            Standing::Held { level } => Ok(level),
            Standing::Settled { .. } => Err(not_held(&Standing::Unknown)),
            standing => Err(not_held(&standing)),
        }
    }

    /// A lease's deadline has passed.
    pub(crate) fn lease_is_due(&mut self, turn: &mut Turn<'_>, no: QueueNo, seq: Seq) {
        let Some(queue) = self.queues.get(&no) else { return };
        let Some((_, Some(extra))) = queue.slots.get_full(seq.0) else { return };
        let Some(lease) = extra.lease.filter(|lease| lease.deadline <= turn.now) else { return };
        // After a restart a lease that was bound to a connection ends uncounted: the connection
        // went away with the broker. So does one that only waits for its turn to go back.
        let orphan = lease.bound && lease.session.is_none();
        let over = orphan || self.is_over(no, seq, &lease);
        let cause = if over { Cause::Withdrawn } else { Cause::Expired };
        self.end_lease(turn, no, seq, cause, End::default());
    }

    /// How a lease id stands to its message.
    pub(crate) fn standing(&self, lease: &LeaseId) -> Standing {
        let id = self.lease_id(lease.queue, lease.seq, lease.generation);
        let Some(queue) = self.queues.get(&lease.queue).filter(|_| id == *lease) else {
            return Standing::Unknown;
        };
        let Some((slot, extra)) = queue.slots.get_full(lease.seq.0) else {
            return match queue.settled.find(lease.seq.0, lease.generation) {
                Some(sequence) => Standing::Settled { sequence },
                None => Standing::Unknown,
            };
        };
        if lease.generation.start < queue.runs.of(lease.seq.0) {
            return Standing::Unknown;
        }
        let level = slot.level();
        let current = extra.and_then(|extra| extra.lease);
        let held = current.map(|lease| lease.generation);
        let fence = extra.map(|extra| extra.fence).unwrap_or_default();
        match slot.state() {
            State::Leased if held == Some(lease.generation) => {
                if queue.is_void(lease.generation) {
                    return Standing::Lost { state: State::Ready.name() };
                }
                match current.is_some_and(|held| self.is_over(lease.queue, lease.seq, &held)) {
                    true => Standing::Late { level },
                    false => Standing::Held { level },
                }
            }
            State::Leased => Standing::Lost { state: "leased to another consumer" },
            State::Ready | State::Delayed if lease.generation >= fence => Standing::Late { level },
            state => Standing::Lost { state: state.name() },
        }
    }

    /// Whether this very lease is the valid one of its message.
    pub(crate) fn is_held(&self, lease: &LeaseId) -> bool {
        matches!(self.standing(lease), Standing::Held { .. })
    }

    /// Ends a lease without an ack: the one place that decides between another attempt, the dead
    /// set and the end of a message's time. Gives the number of the record.
    pub(crate) fn end_lease(
        &mut self,
        turn: &mut Turn<'_>,
        no: QueueNo,
        seq: Seq,
        cause: Cause,
        end: End<'_>,
    ) -> Sequence {
        let draw = self.random.next();
        let Some(queue) = self.queues.get(&no) else { return 0 };
        let Some((slot, Some(extra))) = queue.slots.get_full(seq.0) else { return 0 };
        let resident = slot.sequence() == 0;
        let target = Target::new(no, seq);
        // Whoever took the subscription over was told so already.
        let void = extra.lease.is_some_and(|lease| queue.is_void(lease.generation));
        let (cause, end) = if void { (Cause::TakenOver, End::default()) } else { (cause, end) };
        let spent = spent(&queue.rules, extra, cause);
        let expired = extra.has_expired(turn.now);
        let ready_at = next_attempt(&queue.rules, extra, cause, end.delay, turn.now, draw);
        self.stats.lease_ended(cause);
        if let Some(reason) = spent {
            return self.bury(turn, target, reason, end.note, resident);
        }
        if expired {
            return self.run_out(turn, target, resident);
        }
        let note = end.note.map(std::borrow::Cow::Borrowed);
        let record = Record::Returned { target, cause, at: turn.now, ready_at, note };
        self.change(turn, &record, resident)
    }

    /// T24: a message goes to the dead set because rules that were changed say so.
    pub(crate) fn bury_spent(&mut self, turn: &mut Turn<'_>, no: QueueNo, seq: Seq) {
        let slot = self.queues.get(&no).and_then(|queue| queue.slots.get(seq.0));
        let resident = slot.is_some_and(|slot| slot.sequence() == 0);
        self.bury(turn, Target::new(no, seq), DeadReason::MaxFailures, None, resident);
    }

    /// T28: a message whose body can't be read back goes to the dead set.
    pub(crate) fn bury_corrupt(&mut self, turn: &mut Turn<'_>, lease: &LeaseId) {
        if self.is_held(lease) {
            let target = Target::new(lease.queue, lease.seq);
            self.bury(turn, target, DeadReason::Corrupt, None, false);
        }
    }
}

/// What is to become of a lease.
#[derive(Clone, Copy, Debug)]
pub(crate) enum How<'a> {
    Ack,
    Nack(&'a Outcome),
    Extend(Duration),
}

/// Why a lease can't be settled as asked.
pub(crate) fn not_held(standing: &Standing) -> Refused {
    match standing {
        Standing::Lost { state } => {
            (Code::LeaseLost, format!("the lease is lost, the message is {state}").into())
        }
        Standing::Late { .. } => (Code::LeaseLost, "the lease has ended".into()),
        _ => (Code::NotFound, "there is no such lease".into()),
    }
}

/// What a consumer said when it gave a message back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct End<'a> {
    /// Replaces the backoff.
    pub(crate) delay: Option<Duration>,
    /// Kept as the message's last error.
    pub(crate) note: Option<&'a str>,
}

/// How a lease id stands to its message.
pub(crate) enum Standing {
    /// It is the valid lease.
    Held { level: Level },
    /// It has ended, nobody holds another, and nothing has voided it: an ack is welcome.
    Late { level: Level },
    /// It has ended for good.
    Lost { state: &'static str },
    /// It has been acked.
    Settled { sequence: Sequence },
    /// No such lease is known, or no longer.
    Unknown,
}

/// The part of a note that is kept.
fn shorten(note: &str) -> &str {
    let mut end = note.len().min(NOTE_BYTES_MAX);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    &note[..end]
}

/// T12, T25: why the message gets no further attempt, if its failures or releases are spent.
fn spent(rules: &QueueConfig, extra: &Extra, cause: Cause) -> Option<DeadReason> {
    let failures_spent = rules.max_failures > 0 && extra.failures + 1 >= rules.max_failures;
    if cause.is_failure() && failures_spent {
        return Some(DeadReason::MaxFailures);
    }
    let released = cause == Cause::Released && extra.releases + 1 > rules.max_releases;
    released.then_some(DeadReason::MaxReleases)
}

/// When a message may be tried again; the epoch for at once.
fn next_attempt(
    rules: &QueueConfig,
    extra: &Extra,
    cause: Cause,
    delay: Option<Duration>,
    now: Timestamp,
    draw: u64,
) -> Timestamp {
    let delay = match cause {
        _ if delay.is_some() => delay,
        _ if cause.is_failure() => Some(rules.backoff.delay(extra.failures + 1, draw)),
        _ => None,
    };
    delay.filter(|delay| !delay.is_zero()).map_or(Timestamp::EPOCH, |delay| now.after(delay))
}
