//! Receiving: the next messages of a queue or subscription, or a wait for them.

use sluice_model::{
    Answer, Code, QueueNo, Receive, Refusal, Reply, Seq, SessionId, Source, SubscriptionId,
    Timestamp,
};

use crate::config::QueueConfig;
use crate::deadlines::Due;
use crate::effects::{Effect, Place, Ticket};
use crate::engine::{Asked, Engine, Ran, Refused, Turn};
use crate::journal::Need;
use crate::queue::lanes::Candidate;
use crate::queue::slots::Extra;
use crate::queue::{Parked, Queue};
use crate::record::Target;
use crate::topic::Listener;

const TOO_MANY_LEASES: &str = "the session holds as many deliveries as session_leases_max allows";

/// How messages are to be handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) subscription: Option<SubscriptionId>,
    pub(crate) max: u32,
    pub(crate) lease: Option<std::time::Duration>,
    pub(crate) bound: bool,
    pub(crate) gaps: bool,
    /// It goes on to wait after it was answered, until it has got `max`.
    pub(crate) stays: bool,
}

/// The next message, which nothing keeps from being handed over; nothing is charged for it yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Next {
    pub(crate) seq: Seq,
    /// How the lanes found it, where they say what is next.
    pub(crate) chosen: Option<Candidate>,
}

impl Engine {
    /// T8: hands over the next messages, if there are any.
    pub(crate) fn receive(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        tag: u64,
        receive: &Receive,
    ) -> Ran {
        match self.source(session, receive) {
            Ok((from, subscription)) => {
                let until = receive.wait.filter(|wait| !wait.is_zero());
                let until = until.map(|wait| turn.now.after(wait));
                let Receive { lease, bound, gaps, .. } = *receive;
                let max = receive.max.max(1);
                let stays = receive.stays && until.is_some();
                let terms = Terms { subscription, max, lease, bound, gaps, stays };
                let to = Asked { session, tag, place: Place::Next };
                match from {
                    Listener::Ephemeral(id) => self.receive_resident(turn, to, id, terms, until),
                    Listener::Watch(id) => self.receive_changes(turn, to, id, terms, until),
                    Listener::Queue(no) => {
                        let batch_max = u32::try_from(self.config.batch_max).unwrap_or(u32::MAX);
                        let terms = Terms { max: max.min(batch_max), stays: false, ..terms };
                        self.receive_leased(turn, to, no, terms, until)
                    }
                }
            }
            Err((code, text)) => {
                self.refuse(turn.effects, session, tag, code, text);
                Ran::Done
            }
        }
    }

    /// Where messages come from, and through which subscription.
    fn source(
        &self,
        session: SessionId,
        receive: &Receive,
    ) -> Result<(Listener, Option<SubscriptionId>), Refused> {
        let not_found = |text: &'static str| Err((Code::NotFound, text.into()));
        let Some(state) = self.sessions.get(&session) else {
            return not_found("the session has ended");
        };
        let found = match &receive.from {
            Source::Subscription(id) => match state.subscriptions.get(id).copied() {
                None => return not_found("the session has no such subscription"),
                Some(listener) => (listener, Some(*id)),
            },
            Source::Queue(name) => match self.names.find(name) {
                None => return not_found("there is no such queue"),
                Some(no) => (Listener::Queue(no), None),
            },
            Source::Watch(watch) if state.watches.contains(watch) => {
                return Ok((Listener::Watch(*watch), None));
            }
            Source::Watch(_) => return not_found("the session has no such watch"),
        };
        match &found.0 {
            Listener::Ephemeral(_) | Listener::Watch(_) => return Ok(found),
            Listener::Queue(no) if self.queues.contains_key(no) => {}
            Listener::Queue(_) => return not_found("the queue of the subscription was deleted"),
        }
        if self.holds_too_much(session, receive.bound) {
            return Err((Code::RateLimited, TOO_MANY_LEASES.into()));
        }
        if receive.lease.is_some_and(|lease| lease.is_zero() || lease > self.config.lease_max) {
            return Err((Code::Invalid, "the lease is outside 1 ms .. 12 h".into()));
        }
        Ok(found)
    }

    /// Whether the session may not hold one more delivery.
    fn holds_too_much(&self, session: SessionId, bound: bool) -> bool {
        let held = self.sessions.get(&session).map_or(0, |state| state.leases.len());
        bound && held >= self.config.session_leases_max
    }

    fn receive_leased(
        &mut self,
        turn: &mut Turn<'_>,
        to: Asked,
        no: QueueNo,
        terms: Terms,
        until: Option<Timestamp>,
    ) -> Ran {
        let session = to.session;
        if let Some(next) = self.next_message(turn, no) {
            if !self.has_room(session, self.bytes_of(no, next.seq)) {
                return Ran::NoRoom;
            }
            self.grant_all(turn, to, no, terms, next);
            return Ran::Done;
        }
        let Some(queue) = self.queues.get(&no) else { return Ran::Done };
        let hidden = self.is_undecided(queue);
        if until.is_none() && !hidden {
            self.answer_empty(turn, to, Listener::Queue(no));
            return Ran::Done;
        }
        // What a receive that waits will get is not known yet; it gets one message at least.
        let largest = if hidden { queue.order.largest_hidden() as usize } else { 0 };
        if !self.has_room(session, largest) {
            return Ran::NoRoom;
        }
        let weight = Reply::delivery_weight(largest);
        self.wait(turn, to, Listener::Queue(no), terms, weight, until);
        Ran::Done
    }

    /// Lets a receive wait, with room kept for an answer of this weight.
    pub(crate) fn wait(
        &mut self,
        turn: &mut Turn<'_>,
        to: Asked,
        from: Listener,
        terms: Terms,
        weight: usize,
        until: Option<Timestamp>,
    ) {
        let ticket = self.next_ticket();
        let place = if until.is_some() { Place::Next } else { Place::Kept(ticket) };
        let Asked { session, tag, .. } = to;
        let parked = Parked { session, tag, place, terms, weight, until };
        self.park(from, ticket, parked);
        if until.is_none() {
            turn.effects.push(Effect::Park { session, ticket, weight });
        }
    }

    /// Whether a delivery of so many bytes may be made.
    pub(crate) fn has_room(&self, session: SessionId, bytes: usize) -> bool {
        let weight = Reply::delivery_weight(bytes);
        let state = self.sessions.get(&session);
        state.is_some_and(|state| state.has_room(weight, self.config.session_out_max))
    }

    pub(crate) fn bytes_of(&self, no: QueueNo, seq: Seq) -> usize {
        let slot = self.queues.get(&no).and_then(|queue| queue.slots.get(seq.0));
        slot.map_or(0, |slot| slot.len() as usize)
    }

    /// The next message that may be handed over. Those past their time, and those whose failures
    /// are spent since the settings were changed, go on the way.
    pub(crate) fn next_message(&mut self, turn: &mut Turn<'_>, no: QueueNo) -> Option<Next> {
        if self.is_laned(no) {
            let chosen = self.choose(turn, no)?;
            return Some(Next { seq: Seq(chosen.seq), chosen: Some(chosen) });
        }
        loop {
            let queue = self.queues.get_mut(&no).filter(|queue| !queue.is_paused(turn.now))?;
            let seq = Seq(queue.peek()?);
            let (slot, extra) = queue.slots.get_full(seq.0)?;
            let next = Next { seq, chosen: None };
            let Some(extra) = extra else { return Some(next) };
            let resident = slot.sequence() == 0;
            if extra.has_expired(turn.now) {
                self.run_out(turn, Target::new(no, seq), resident);
            } else if is_spent(&queue.rules, extra) {
                self.bury_spent(turn, no, seq);
            } else {
                return Some(next);
            }
        }
    }

    /// Answers the receives that wait for messages of this queue, in their order.
    pub(crate) fn serve_parked(&mut self, turn: &mut Turn<'_>, no: QueueNo) {
        let from = Listener::Queue(no);
        while let Some((ticket, parked)) = self.queues.get(&no).and_then(|q| q.parked.first()) {
            let found = if self.holds_deliveries { None } else { self.next_message(turn, no) };
            let Some(next) = found else { break };
            if self.holds_too_much(parked.session, parked.terms.bound) {
                self.unpark(from, ticket);
                self.refuse_parked(turn, &parked);
            } else if parked.until.is_some()
                && !self.has_room_for(&parked, self.bytes_of(no, next.seq))
            {
                self.starve(from, ticket, parked.session);
            } else {
                self.unpark(from, ticket);
                let Parked { session, tag, place, terms, .. } = parked;
                self.grant_all(turn, Asked { session, tag, place }, no, terms, next);
            }
        }
        while let Some(queue) = self.queues.get(&no).filter(|queue| !self.is_undecided(queue))
            && let Some(ticket) = queue.parked.first_brief()
        {
            self.end_wait(turn, from, ticket);
        }
    }

    /// Whether it is not known yet if there is a message that may be handed over: some are not
    /// committed, or not looked at since limits were changed.
    fn is_undecided(&self, queue: &Queue) -> bool {
        queue.has_hidden() || queue.lanes.is_some() && self.limits.resolving.is_some()
    }

    /// Whether a delivery of so many bytes may answer a receive that waited.
    pub(crate) fn has_room_for(&self, parked: &Parked, bytes: usize) -> bool {
        let weight = Reply::delivery_weight(bytes);
        let state = self.sessions.get(&parked.session);
        state.is_some_and(|state| state.has_room(weight, self.config.session_out_max))
    }

    /// There is no room for what a receive waited for. One that was to stay ends: what has left of that
    /// which it got may not have been told yet, and whoever asks again tells it.
    pub(crate) fn lacks_room(
        &mut self,
        turn: &mut Turn<'_>,
        from: Listener,
        ticket: Ticket,
        parked: &Parked,
    ) {
        match parked.terms.stays {
            true => self.end_wait(turn, from, ticket),
            false => self.starve(from, ticket, parked.session),
        }
    }

    /// A receive that stays has got some of what it asked for: it waits for what is `left`.
    pub(crate) fn stay(&mut self, from: Listener, ticket: Ticket, left: u32) {
        if left == 0 {
            self.unpark(from, ticket);
        } else if let Some(parked) = self.parked_mut(from).and_then(|all| all.get_mut(ticket)) {
            parked.terms.max = left;
        }
    }

    /// Lets the others pass until the session has taken more of what is on its way to it.
    fn starve(&mut self, from: Listener, ticket: Ticket, session: SessionId) {
        if let Some(parked) = self.parked_mut(from) {
            parked.step_aside(ticket);
        }
        if let Some(state) = self.sessions.get_mut(&session) {
            state.starved.push((from, ticket));
        }
    }

    fn refuse_parked(&mut self, turn: &mut Turn<'_>, parked: &Parked) {
        self.stats.refused += 1;
        let Parked { session, tag, place, .. } = *parked;
        let Some(state) = self.sessions.get_mut(&session) else { return };
        let answer = Answer::Refused(Refusal::new(Code::RateLimited, TOO_MANY_LEASES));
        state.out += answer.weight();
        turn.effects.push(Effect::Reply { session, tag, place, answer, need: Need::NONE });
    }

    /// A receive has waited long enough.
    pub(crate) fn wait_is_over(&mut self, turn: &mut Turn<'_>, from: Listener, ticket: Ticket) {
        let Listener::Queue(no) = from else { return self.end_wait(turn, from, ticket) };
        // What came in this turn was there before its time was up.
        self.serve_parked(turn, no);
        let Some(queue) = self.queues.get(&no) else { return };
        if !self.is_undecided(queue) {
            return self.end_wait(turn, from, ticket);
        }
        // Messages that were accepted are waited for, as if it had come just now.
        if let Some(parked) = self.unpark(from, ticket) {
            self.park(from, ticket, Parked { until: None, ..parked });
        }
    }

    /// Ends a wait without a message.
    pub(crate) fn end_wait(&mut self, turn: &mut Turn<'_>, from: Listener, ticket: Ticket) {
        if let Some(Parked { session, tag, place, .. }) = self.unpark(from, ticket) {
            self.answer_empty(turn, Asked { session, tag, place }, from);
        }
    }

    /// Answers a session's receives with this tag that wait as long as they like.
    pub(crate) fn withdraw(&mut self, turn: &mut Turn<'_>, session: SessionId, tag: u64) {
        let Some(state) = self.sessions.get(&session) else { return };
        let waiting: Vec<_> = state.waiting.iter().copied().collect();
        for (from, ticket) in waiting {
            let parked = self.parked_mut(from).and_then(|parked| parked.get(ticket));
            if parked.is_some_and(|parked| parked.tag == tag && parked.until.is_some()) {
                self.end_wait(turn, from, ticket);
            }
        }
    }

    /// Lets a receive wait, and keeps room for its answer.
    fn park(&mut self, from: Listener, ticket: Ticket, parked: Parked) {
        let Parked { session, weight, until, .. } = parked;
        if let Some(state) = self.sessions.get_mut(&session) {
            state.out += weight;
            state.reserved += until.map_or(0, |_| weight);
            state.waiting.insert((from, ticket));
        }
        if let Some(until) = until {
            self.deadlines.insert(until, Due::Wait(from, ticket));
        }
        if let Some(waiting) = self.parked_mut(from) {
            waiting.insert(ticket, parked);
        }
    }

    /// Takes back a receive that waits, and the room that was kept for it.
    pub(crate) fn unpark(&mut self, from: Listener, ticket: Ticket) -> Option<Parked> {
        let parked = self.parked_mut(from)?.remove(ticket)?;
        if let Some(until) = parked.until {
            self.deadlines.cancel(until, Due::Wait(from, ticket));
        }
        if let Some(state) = self.sessions.get_mut(&parked.session) {
            state.out = state.out.saturating_sub(parked.weight);
            state.reserved -= parked.until.map_or(0, |_| parked.weight);
            state.waiting.remove(&(from, ticket));
        }
        Some(parked)
    }

    pub(crate) fn answer_empty(&mut self, turn: &mut Turn<'_>, to: Asked, from: Listener) {
        let next = match from {
            Listener::Queue(no) => self.next_eligible(turn.now, no),
            Listener::Ephemeral(_) | Listener::Watch(_) => None,
        };
        let Some(state) = self.sessions.get_mut(&to.session) else { return };
        state.out += Reply::WEIGHT_MIN;
        let need = state.need;
        self.wanted.cover(need);
        turn.effects.reply(to, Answer::Empty { next }, need, self.progress);
    }
}

/// T24: whether the message's failures are spent by rules that were changed since.
pub(crate) fn is_spent(rules: &QueueConfig, extra: &Extra) -> bool {
    rules.max_failures > 0 && extra.failures >= rules.max_failures
}
