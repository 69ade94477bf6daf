//! Leases that end together: those of a connection that is gone, and those of whoever had a
//! subscription before. There may be many, so they go back a bounded slice in a turn.
//!
//! ```text
//!  close: the broker's end -----------------------------.
//!  close: deliveries that were never sent --------------+--> release_slice --> their places
//!  close: the client's end --grace--> the oldest failed-'         ^  |
//!                                                                 '--' more of them
//! ```
//!
//! What is over is over at once: until its turn comes, such a lease can be acked late and nothing
//! else, and one that was taken over not even that. While only a part of what goes back to a queue
//! is there, the queue gives out nothing, so that no newer message overtakes an older one.

use std::collections::BTreeSet;

use sluice_model::{
    Answer, Generation, LeaseId, QueueNo, Reply, Seq, SessionId, SubscriptionId, Timestamp,
};

use crate::deadlines::Due;
use crate::effects::{Effect, Place};
use crate::engine::{Asked, Engine, Turn};
use crate::journal::Need;
use crate::queue::Queue;
use crate::queue::slots::Lease;
use crate::queue::work::{Asker, TakingOver, Work};
use crate::record::Cause;
use crate::run_set::RunSet;
use crate::settle::End;
use crate::topic::Listener;

/// Whose end of a connection went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndedBy {
    /// The client's: after a grace its oldest delivery counts as failed.
    Client,
    /// Ours: nothing is counted against any message.
    Broker,
}

impl Engine {
    /// Ends a session. `unsent` are leases whose delivery never left the broker. What it held goes
    /// back when [`Engine::fire`] comes to it.
    pub fn close(&mut self, now: Timestamp, id: SessionId, by: EndedBy, unsent: &[LeaseId]) {
        let unsent = unsent.iter().filter(|lease| self.is_held(lease));
        let unsent: RunSet<_> = unsent.map(|id| (id.generation, id.queue, id.seq)).collect();
        let Some(session) = self.sessions.get_mut(&id).filter(|session| !session.closed) else {
            return;
        };
        session.closed = true;
        self.sessions_open -= 1;
        for held in unsent.iter() {
            session.leases.remove(held, 1);
        }
        session.unsent = unsent;
        session.ends_by = (by == EndedBy::Broker).then_some(Cause::Withdrawn);
        let is_over = session.next_over().is_some();
        let has_grace = by == EndedBy::Client && !session.leases.is_empty();
        let subscriptions = std::mem::take(&mut session.subscriptions);
        let watches = std::mem::take(&mut session.watches);
        let waiting = std::mem::take(&mut session.waiting);
        for (no, ticket) in waiting {
            self.unpark(no, ticket);
        }
        for (subscription, listener) in subscriptions {
            self.stop_listening(now, id, subscription, listener);
        }
        for watch in watches {
            self.kv.watches.remove(watch);
        }
        if is_over {
            self.release_later(now, id);
        }
        if has_grace {
            self.deadlines.insert(now.after(self.config.lost_grace), Due::Grace(id));
        } else if !is_over {
            self.sessions.remove(&id);
        }
    }

    /// T17: the oldest delivery of a lost connection failed, the others go back untouched.
    pub(crate) fn grace_is_over(&mut self, turn: &mut Turn<'_>, id: SessionId, budget: &mut usize) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.ends_by = Some(Cause::Lost);
            self.release_slice(turn, id, budget);
        }
    }

    fn release_later(&mut self, now: Timestamp, id: SessionId) {
        self.releasing.insert(id);
        self.deadlines.insert(now, Due::Release(id));
    }

    /// Ends leases of a connection that is gone, as far as `budget` allows.
    pub(crate) fn release_slice(&mut self, turn: &mut Turn<'_>, id: SessionId, budget: &mut usize) {
        let mut touched = BTreeSet::new();
        let mut more = true;
        while more && *budget > 0 {
            match self.sessions.get(&id).and_then(|session| session.next_over()) {
                Some((held, cause)) => {
                    *budget -= 1;
                    touched.insert(held.1);
                    self.release(turn, id, held, cause);
                }
                None => more = false,
            }
        }
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.next_over().is_some() {
            touched.retain(|no| session.holds_back.insert(*no));
            for no in touched {
                self.hold_back(no);
            }
            return self.release_later(turn.now, id);
        }
        self.let_go_all(turn.now, id, budget);
    }

    /// Lets the queues go on that waited for what a connection held, once all of it is there.
    fn let_go_all(&mut self, now: Timestamp, id: SessionId, budget: &mut usize) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let mut waited = Vec::new();
        while *budget > 0
            && let Some(no) = session.holds_back.pop_first()
        {
            *budget -= 1;
            waited.push(no);
        }
        let (left, leases) = (session.holds_back.len(), session.leases.len());
        for no in waited {
            self.let_go(no);
        }
        if left > 0 {
            return self.release_later(now, id);
        }
        self.releasing.remove(&id);
        if leases == 0 {
            self.sessions.remove(&id);
        }
    }

    /// Ends one lease of a connection that is gone, unless it has ended otherwise.
    fn release(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        held: (Generation, QueueNo, Seq),
        cause: Cause,
    ) {
        let (generation, no, seq) = held;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.forget(held, 1);
        let Some(queue) = self.queues.get(&no) else { return };
        if queue.lease_of(seq.0).map(|lease| lease.generation) != Some(generation) {
            return;
        }
        if cause == Cause::Lost && !queue.is_void(generation) {
            session.ends_by = Some(Cause::Withdrawn);
        }
        self.end_lease(turn, no, seq, cause, End::default());
    }

    /// Whether a lease is over because its connection is, and only waits for its turn.
    pub(crate) fn is_over(&self, no: QueueNo, seq: Seq, lease: &Lease) -> bool {
        let id = lease.session.filter(|id| self.releasing.contains(id));
        id.and_then(|id| self.sessions.get(&id)).is_some_and(|session| {
            session.ends_by == Some(Cause::Withdrawn)
                || session.unsent.contains((lease.generation, no, seq))
        })
    }

    /// Ends the leases of whoever had the subscription before, in their places and uncounted. The
    /// answer waits until that is done.
    pub(crate) fn begin_take_over(
        &mut self,
        turn: &mut Turn<'_>,
        no: QueueNo,
        session: SessionId,
        tag: u64,
        subscription: SubscriptionId,
    ) {
        let ticket = self.next_ticket();
        let through = Generation { start: self.start, counter: self.next.generation };
        let asker = Asker { session, tag };
        let taking = TakingOver { through, holds_back: false, asker, subscription, ticket };
        let weight = Reply::WEIGHT_MIN;
        if let Some(state) = self.sessions.get_mut(&session) {
            state.out += weight;
        }
        turn.effects.push(Effect::Park { session, ticket, weight });
        // Ahead of other work: somebody waits to go on where the connection before stopped.
        if let Some(queue) = self.queues.get_mut(&no) {
            queue.work.push_front((turn.now, Work::TakeOver(taking)));
        }
        self.arm_work(no);
    }

    /// Gives back what was held before. Gives when to go on; none when it is done.
    pub(crate) fn take_over_slice(
        &mut self,
        turn: &mut Turn<'_>,
        no: QueueNo,
        taking: &mut TakingOver,
        budget: &mut usize,
    ) -> Option<Timestamp> {
        while let Some(seq) = self.queues.get(&no)?.held_through(taking.through) {
            if *budget == 0 {
                if !std::mem::replace(&mut taking.holds_back, true) {
                    self.hold_back(no);
                }
                return Some(turn.now);
            }
            *budget -= 1;
            self.end_lease(turn, no, Seq(seq), Cause::TakenOver, End::default());
        }
        if taking.holds_back {
            self.let_go(no);
        }
        None
    }

    /// Answers who took a subscription over.
    pub(crate) fn taken_over(&mut self, turn: &mut Turn<'_>, no: QueueNo, taking: &TakingOver) {
        let need = self.queues.get(&no).map_or(Need::NONE, Queue::need);
        let Asker { session, tag } = taking.asker;
        let Some(state) = self.sessions.get_mut(&session).filter(|state| !state.closed) else {
            return;
        };
        state.out = state.out.saturating_sub(Reply::WEIGHT_MIN);
        let to = Asked { session, tag, place: Place::Kept(taking.ticket) };
        let answer = Answer::Subscribed { subscription: taking.subscription };
        self.reply_to(turn.effects, to, answer, need);
    }

    fn hold_back(&mut self, no: QueueNo) {
        let stored_max = self.config.stored_max as u64;
        if let Some(queue) = self.queues.get_mut(&no) {
            queue.order.hold_back(queue.counts.bytes.min(stored_max));
        }
    }

    fn let_go(&mut self, no: QueueNo) {
        if let Some(queue) = self.queues.get_mut(&no) {
            queue.order.let_go();
        }
        self.stir(Listener::Queue(no));
    }
}
