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
    Answer, Code, Confirm, LeaseId, Outcome, QueueNo, Reply, Seq, SessionId, SubscriptionId,
    Timestamp,
};

use crate::config::QueueConfig;
use crate::effects::{Body, Effect, Handover, Place};
use crate::engine::{Engine, Ran, Turn, need_of, queue_config};
use crate::journal::{Need, Sequence};
use crate::queue::Parked;
use crate::queue::slots::{Extra, State};
use crate::record::{Cause, DeadReason, Record, Target};
use crate::topic::Listener;

impl Engine {
    /// T8: hands over the next message of a subscription, if there is one.
    pub(crate) fn receive(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        tag: u64,
        subscription: SubscriptionId,
    ) -> Ran {
        let Some(state) = self.sessions.get(&session) else { return Ran::Done };
        match state.subscriptions.get(&subscription).copied() {
            None => {
                let text = "the session has no such subscription";
                self.refuse(turn.effects, session, tag, Code::NotFound, text);
                Ran::Done
            }
            Some(Listener::Ephemeral(_)) => self.receive_resident(turn, session, tag, subscription),
            Some(Listener::Queue(no)) => {
                if state.leases.len() >= self.config.session_leases_max {
                    let text = "the session holds as many deliveries as session_leases_max allows";
                    self.refuse(turn.effects, session, tag, Code::RateLimited, text);
                    return Ran::Done;
                }
                self.receive_leased(turn, session, tag, subscription, no)
            }
        }
    }

    fn receive_resident(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        tag: u64,
        subscription: SubscriptionId,
    ) -> Ran {
        let Some(ephemeral) = self.ephemerals.get_mut(&subscription) else { return Ran::Done };
        let Some(bytes) = ephemeral.next_bytes() else {
            self.answer_empty(turn.effects, session, tag, Place::Next);
            return Ran::Done;
        };
        if !has_room(self, session, bytes) {
            return Ran::NoRoom;
        }
        let message = self.ephemerals.get_mut(&subscription).and_then(|from| from.pop());
        if let Some(message) = message {
            let handover = Handover {
                subscription,
                lease: None,
                redelivered: false,
                body: Body::Resident(message),
            };
            self.deliver(turn.effects, session, tag, Place::Next, handover, Need::NONE);
        }
        Ran::Done
    }

    fn receive_leased(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        tag: u64,
        subscription: SubscriptionId,
        no: QueueNo,
    ) -> Ran {
        if let Some(seq) = self.next_message(turn, no) {
            let len = self.queues.get(&no).and_then(|queue| queue.slots.get(seq.0));
            if !has_room(self, session, len.map_or(0, |slot| slot.len() as usize)) {
                return Ran::NoRoom;
            }
            self.grant(turn, session, tag, Place::Next, subscription, no, seq);
            return Ran::Done;
        }
        let hidden = self.queues.get(&no).filter(|queue| queue.has_hidden());
        let Some(largest) = hidden.map(|queue| queue.largest_hidden() as usize) else {
            self.answer_empty(turn.effects, session, tag, Place::Next);
            return Ran::Done;
        };
        if !has_room(self, session, largest) {
            return Ran::NoRoom;
        }
        let ticket = self.next_ticket();
        let weight = Reply::delivery_weight(largest);
        if let Some(state) = self.sessions.get_mut(&session) {
            state.out += weight;
        }
        if let Some(queue) = self.queues.get_mut(&no) {
            queue.parked.push_back(Parked { session, tag, ticket, subscription, weight });
        }
        turn.effects.push(Effect::Park { session, ticket, weight });
        Ran::Done
    }

    /// The next message that may be handed over. Those past their time go on the way.
    pub(crate) fn next_message(&mut self, turn: &mut Turn<'_>, no: QueueNo) -> Option<Seq> {
        loop {
            let queue = self.queues.get_mut(&no)?;
            let seq = Seq(queue.peek()?);
            let (slot, extra) = queue.slots.get_full(seq.0)?;
            if !extra.is_some_and(|extra| extra.has_expired(turn.now)) {
                return Some(seq);
            }
            let resident = slot.sequence() == 0;
            self.run_out(turn, Target::new(no, seq), resident);
        }
    }

    /// Gives a consumer a lease of a message that is ready.
    #[expect(clippy::too_many_arguments, reason = "each names another side of one delivery")]
    pub(crate) fn grant(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        tag: u64,
        place: Place,
        subscription: SubscriptionId,
        no: QueueNo,
        seq: Seq,
    ) {
        let generation = self.next_generation();
        let Some(queue) = self.queues.get_mut(&no) else { return };
        let rules = queue_config(&self.config, queue);
        let Some((slot, extra)) = queue.slots.get_full(seq.0) else { return };
        let redelivered =
            seq.0 < queue.doubtful_below || extra.is_some_and(|extra| extra.acquires > 0);
        let resident = extra.and_then(|extra| extra.resident.clone());
        let body = match &resident {
            Some(message) => Body::Resident(message.clone()),
            None => Body::Stored(slot.body()),
        };
        let record = Record::Granted {
            target: Target::new(no, seq),
            generation,
            deadline: turn.now.after(rules.lease),
            bound: true,
        };
        let sequence = self.change(turn, &record, resident.is_some());
        if let Some(state) = self.sessions.get_mut(&session) {
            state.leases.insert((generation, no, seq));
        }
        let queue = self.queues.get_mut(&no);
        if let Some(extra) = queue.and_then(|queue| queue.slots.extra_mut(seq.0))
            && let Some(lease) = &mut extra.lease
        {
            lease.session = Some(session);
        }
        let lease = Some(self.lease_id(no, seq, generation));
        let handover = Handover { subscription, lease, redelivered, body };
        let need = Need { written: sequence, synced: 0 };
        self.deliver(turn.effects, session, tag, place, handover, need);
    }

    /// T9, T20: a delivery has been dealt with.
    pub(crate) fn ack(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        tag: u64,
        lease: LeaseId,
        confirm: Confirm,
    ) {
        let target = Target::new(lease.queue, lease.seq);
        let standing = self.standing(&lease);
        let late = matches!(standing, Standing::Late { .. });
        match standing {
            Standing::Held { resident } | Standing::Late { resident } => {
                let record = Record::Acked { target, generation: lease.generation };
                let sequence = self.change(turn, &record, resident);
                self.stats.acked += 1;
                self.stats.late_acks += u64::from(late);
                self.settled(turn, session, tag, lease.queue, sequence, confirm, false);
            }
            Standing::Settled { sequence } => {
                self.settled(turn, session, tag, lease.queue, sequence, confirm, true);
            }
            Standing::Lost { state } => {
                let text = format!("the lease is lost, the message is {state}");
                self.refuse(turn.effects, session, tag, Code::LeaseLost, text);
            }
            Standing::Unknown => {
                let text = "there is no such lease";
                self.refuse(turn.effects, session, tag, Code::NotFound, text);
            }
        }
    }

    /// T11 to T13: a delivery is given back.
    pub(crate) fn nack(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        tag: u64,
        lease: LeaseId,
        outcome: Outcome,
        confirm: Confirm,
    ) {
        let (cause, delay) = match outcome {
            Outcome::Failed { delay } => (Cause::Failed, delay),
            Outcome::Released { delay } => (Cause::Released, delay),
        };
        match self.standing(&lease) {
            Standing::Held { .. } => {
                let sequence = self.end_lease(turn, lease.queue, lease.seq, cause, delay);
                self.settled(turn, session, tag, lease.queue, sequence, confirm, false);
            }
            Standing::Late { .. } => {
                let text = "the lease has ended";
                self.refuse(turn.effects, session, tag, Code::LeaseLost, text);
            }
            Standing::Lost { state } => {
                let text = format!("the lease is lost, the message is {state}");
                self.refuse(turn.effects, session, tag, Code::LeaseLost, text);
            }
            Standing::Settled { .. } | Standing::Unknown => {
                let text = "there is no such lease";
                self.refuse(turn.effects, session, tag, Code::NotFound, text);
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "each names another side of one settlement")]
    fn settled(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        tag: u64,
        no: QueueNo,
        sequence: Sequence,
        confirm: Confirm,
        already: bool,
    ) {
        let Some(queue) = self.queues.get(&no) else { return };
        let need = need_of(queue_config(&self.config, queue).level, sequence);
        if let Some(state) = self.sessions.get_mut(&session) {
            state.need.cover(need);
        }
        if confirm == Confirm::Always {
            self.reply(turn.effects, session, tag, Answer::Settled { already }, need);
        }
    }

    /// How a lease id stands to its message.
    fn standing(&self, lease: &LeaseId) -> Standing {
        let id = self.lease_id(lease.queue, lease.seq, lease.generation);
        let Some(queue) = self.queues.get(&lease.queue).filter(|_| id == *lease) else {
            return Standing::Unknown;
        };
        let Some((slot, extra)) = queue.slots.get_full(lease.seq.0) else {
            return match queue.settled(lease.seq.0, lease.generation) {
                Some(sequence) => Standing::Settled { sequence },
                None => Standing::Unknown,
            };
        };
        if lease.generation.start < queue.run_of(lease.seq.0) {
            return Standing::Unknown;
        }
        let resident = slot.sequence() == 0;
        let held = extra.and_then(|extra| extra.lease).map(|lease| lease.generation);
        let fence = extra.map(|extra| extra.fence).unwrap_or_default();
        match slot.state() {
            State::Leased if held == Some(lease.generation) => Standing::Held { resident },
            State::Leased => Standing::Lost { state: "leased to another consumer" },
            State::Ready | State::Delayed if lease.generation >= fence => {
                Standing::Late { resident }
            }
            State::Ready => Standing::Lost { state: "ready" },
            State::Delayed => Standing::Lost { state: "delayed" },
            State::Dead => Standing::Lost { state: "dead" },
            State::Gone => Standing::Unknown,
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
        delay: Option<Duration>,
    ) -> Sequence {
        let draw = self.random.next();
        let Some(queue) = self.queues.get(&no) else { return 0 };
        let Some((slot, Some(extra))) = queue.slots.get_full(seq.0) else { return 0 };
        let resident = slot.sequence() == 0;
        let rules = queue_config(&self.config, queue);
        let target = Target::new(no, seq);
        self.stats.failed += u64::from(cause.is_failure());
        let record = if let Some(reason) = spent(rules, extra, cause) {
            self.stats.dead += 1;
            Record::Buried { target, reason, at: turn.now }
        } else if extra.has_expired(turn.now) {
            return self.run_out(turn, target, resident);
        } else {
            let ready_at = next_attempt(rules, extra, cause, delay, turn.now, draw);
            Record::Returned { target, cause, ready_at }
        };
        self.change(turn, &record, resident)
    }

    /// T28: a message whose body can't be read back goes to the dead set.
    pub(crate) fn bury_corrupt(&mut self, turn: &mut Turn<'_>, lease: &LeaseId) {
        if self.is_held(lease) {
            self.stats.dead += 1;
            let target = Target::new(lease.queue, lease.seq);
            let record = Record::Buried { target, reason: DeadReason::Corrupt, at: turn.now };
            self.change(turn, &record, false);
        }
    }
}

/// How a lease id stands to its message.
enum Standing {
    /// It is the valid lease.
    Held { resident: bool },
    /// It has ended, nobody holds another, and nothing has voided it: an ack is welcome.
    Late { resident: bool },
    /// It has ended for good.
    Lost { state: &'static str },
    /// It has been acked.
    Settled { sequence: Sequence },
    /// No such lease is known, or no longer.
    Unknown,
}

fn has_room(engine: &Engine, session: SessionId, bytes: usize) -> bool {
    let weight = Reply::delivery_weight(bytes);
    engine
        .sessions
        .get(&session)
        .is_some_and(|state| state.has_room(weight, engine.config.session_out_max))
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
