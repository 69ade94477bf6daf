//! Subscribing, taking over, and what becomes of it all when a connection ends.

use sluice_model::{
    Answer, Code, LeaseId, Qos, QueueNo, Seq, SessionId, Subscribe, SubscriptionId, Timestamp,
};

use crate::deadlines::Due;
use crate::effects::Effects;
use crate::engine::{Engine, Turn, need_of, queue_config};
use crate::journal::{Journal, Need};
use crate::record::{Cause, Record};
use crate::topic::{Ephemeral, Listener, Owner};

const FULL: &str = "the broker has as many subscriptions as subscriptions_max allows";
const OWN_FULL: &str = "the key has as many subscriptions as subscriptions_per_principal allows";

/// Whose end of a connection went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndedBy {
    /// The client's: after a grace its oldest delivery counts as failed.
    Client,
    /// Ours: nothing is counted against any message.
    Broker,
}

impl Engine {
    pub(crate) fn subscribe(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        tag: u64,
        subscribe: &Subscribe,
    ) {
        let id = SubscriptionId(self.next.subscription + 1);
        let (listener, need) = match subscribe.qos {
            Qos::AtMostOnce => match self.room_for(session) {
                Ok(owner) => (self.ephemeral(id, session, owner, subscribe), Need::NONE),
                Err((code, text)) => {
                    return self.refuse(turn.effects, session, tag, code, text);
                }
            },
            Qos::AtLeastOnce => match self.durable(turn, session, subscribe) {
                Ok((queue, need)) => (Listener::Queue(queue), need),
                Err((code, text)) => {
                    return self.refuse(turn.effects, session, tag, code, text);
                }
            },
        };
        self.next.subscription = id.0;
        if let Listener::Queue(no) = listener {
            self.attach(no, session, id);
        }
        if let Some(state) = self.sessions.get_mut(&session) {
            state.subscriptions.insert(id, listener);
        }
        self.reply(turn.effects, session, tag, Answer::Subscribed { subscription: id }, need);
    }

    /// Who may have one more subscription, if there is room for it.
    fn room_for(&self, session: SessionId) -> Result<Owner, (Code, &'static str)> {
        let Some(owner) = self.sessions.get(&session).map(|state| state.owner.clone()) else {
            return Err((Code::NotFound, "the session has ended"));
        };
        if self.subscriptions() >= self.config.subscriptions_max {
            return Err((Code::Overloaded, FULL));
        }
        if self.holdings.of(&owner) >= self.config.subscriptions_per_principal() {
            return Err((Code::Overloaded, OWN_FULL));
        }
        Ok(owner)
    }

    fn ephemeral(
        &mut self,
        id: SubscriptionId,
        session: SessionId,
        owner: Owner,
        subscribe: &Subscribe,
    ) -> Listener {
        let listener = Listener::Ephemeral(id);
        self.holdings.add(&owner);
        self.ephemerals.insert(id, Ephemeral::new(session, owner, subscribe.pattern.clone()));
        self.topics.insert(&subscribe.pattern, listener);
        listener
    }

    /// Finds the durable subscription that is meant, or makes it. Fails if its name is taken by
    /// another pattern, or if there would be too many.
    fn durable(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        subscribe: &Subscribe,
    ) -> Result<(QueueNo, Need), (Code, &'static str)> {
        if let Some(name) = &subscribe.name {
            if let Some(no) = self.names.get(name)
                && let Some(queue) = self.queues.get(no)
            {
                let text = "a subscription of that name listens to another pattern";
                let same = queue.pattern == subscribe.pattern;
                let need = need_of(queue_config(&self.config, queue).level, queue.made_by);
                return if same { Ok((*no, need)) } else { Err((Code::Conflict, text)) };
            }
        } else if let Some(no) = self.oldest_detached(session, subscribe) {
            let need = self.take_over(turn, no);
            return Ok((no, need));
        }
        let owner = self.room_for(session)?;
        let no = QueueNo(self.next.queue + 1);
        let record = Record::Subscribed {
            queue: no,
            at: turn.now,
            name: subscribe.name.as_ref().map(|name| name.as_str().into()),
            pattern: subscribe.pattern.as_str().into(),
            owner: owner.as_str().into(),
        };
        let sequence = self.commit(turn.journal, &record).sequence;
        Ok((no, need_of(self.level_of(no), sequence)))
    }

    fn oldest_detached(&self, session: SessionId, subscribe: &Subscribe) -> Option<QueueNo> {
        let owner = self.sessions.get(&session)?.owner.clone();
        let candidates = self.unnamed.get(&(owner, subscribe.pattern.clone()))?;
        candidates
            .iter()
            .find(|no| self.queues.get(*no).is_some_and(|queue| queue.attached.is_empty()))
            .copied()
    }

    /// Ends the leases of whoever had the subscription before, in their places and uncounted.
    fn take_over(&mut self, turn: &mut Turn<'_>, no: QueueNo) -> Need {
        let Some(queue) = self.queues.get(&no) else { return Need::NONE };
        let level = queue_config(&self.config, queue).level;
        let held: Vec<_> = queue.held().map(Seq).collect();
        let mut last = queue.made_by;
        for seq in held {
            last = self.end_lease(turn, no, seq, Cause::TakenOver, None).max(last);
        }
        need_of(level, last)
    }

    fn attach(&mut self, no: QueueNo, session: SessionId, id: SubscriptionId) {
        let Some(queue) = self.queues.get_mut(&no) else { return };
        queue.attached.push((session, id));
        if let Some(at) = queue.inactive_at.take() {
            self.deadlines.cancel(at, Due::Inactive(no));
        }
    }

    /// Ends a session. `unsent` are leases whose delivery never left the broker.
    pub fn close(
        &mut self,
        now: Timestamp,
        id: SessionId,
        by: EndedBy,
        unsent: &[LeaseId],
        journal: &mut dyn Journal,
        effects: &mut Effects,
    ) {
        let turn = &mut Turn { now, journal, effects };
        for lease in unsent {
            if self.is_held(lease) {
                self.end_lease(turn, lease.queue, lease.seq, Cause::Withdrawn, None);
            }
        }
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.closed = true;
        let subscriptions = std::mem::take(&mut session.subscriptions);
        let leases: Vec<_> = session.leases.iter().copied().collect();
        for (subscription, listener) in subscriptions {
            match listener {
                Listener::Ephemeral(_) => {
                    if let Some(ephemeral) = self.ephemerals.remove(&subscription) {
                        debug_assert_eq!(ephemeral.session, id);
                        self.topics.remove(&ephemeral.pattern, listener);
                        self.holdings.remove(&ephemeral.owner);
                    }
                }
                Listener::Queue(no) => self.detach(now, no, id),
            }
        }
        if by == EndedBy::Client && !leases.is_empty() {
            self.deadlines.insert(now.after(self.config.lost_grace), Due::Grace(id));
            return;
        }
        for (_, no, seq) in leases {
            self.end_lease(turn, no, seq, Cause::Withdrawn, None);
        }
        self.sessions.remove(&id);
    }

    fn detach(&mut self, now: Timestamp, no: QueueNo, session: SessionId) {
        let Some(queue) = self.queues.get_mut(&no) else { return };
        queue.attached.retain(|(attached, _)| *attached != session);
        queue.parked.retain(|parked| parked.session != session);
        self.let_expire(now, no);
    }

    /// Starts the time that an unnamed subscription lives without a consumer.
    pub(crate) fn let_expire(&mut self, now: Timestamp, no: QueueNo) {
        let Some(queue) = self.queues.get_mut(&no) else { return };
        if queue.name.is_none() && queue.attached.is_empty() && queue.inactive_at.is_none() {
            let at = now.after(self.config.unnamed_expiry);
            queue.inactive_at = Some(at);
            self.deadlines.insert(at, Due::Inactive(no));
        }
    }

    /// A subscription that nobody came back for goes, with its messages.
    pub(crate) fn end_queue(&mut self, turn: &mut Turn<'_>, no: QueueNo) {
        if self.queues.get(&no).is_some_and(|queue| queue.attached.is_empty()) {
            self.commit(turn.journal, &Record::Unsubscribed { queue: no });
        }
    }
}
