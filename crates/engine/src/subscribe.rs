//! Subscribing: what a session listens to from now on, and what it ends to listen to.

use std::borrow::Cow;

use sluice_model::{
    Answer, Code, Qos, QueueName, QueueNo, SessionId, Subscribe, SubscriptionId, Timestamp,
};

use crate::deadlines::Due;
use crate::engine::{Engine, Refused, Turn};
use crate::journal::Need;
use crate::queue::Queue;
use crate::record::Record;
use crate::topic::{Ephemeral, Listener, Owner};

const FULL: &str = "the broker has as many subscriptions as subscriptions_max allows";
const OWN_FULL: &str = "the key has as many subscriptions as subscriptions_per_principal allows";

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
                Ok(owner) => (self.ephemeral(id, session, owner, subscribe), Some(Need::NONE)),
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
        match (need, listener) {
            (None, Listener::Queue(no)) => self.begin_take_over(turn, no, session, tag, id),
            (need, _) => {
                let answer = Answer::Subscribed { subscription: id };
                self.reply(turn.effects, session, tag, answer, need.unwrap_or(Need::NONE));
            }
        }
    }

    /// Who may have one more subscription, if there is room for it.
    fn room_for(&self, session: SessionId) -> Result<Owner, Refused> {
        let Some(owner) = self.sessions.get(&session).map(|state| state.owner.clone()) else {
            return Err((Code::NotFound, "the session has ended".into()));
        };
        if self.subscriptions() >= self.config.subscriptions_max {
            return Err((Code::Overloaded, FULL.into()));
        }
        if self.holdings.of(&owner) >= self.config.subscriptions_per_principal() {
            return Err((Code::Overloaded, OWN_FULL.into()));
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

    /// Finds the durable subscription that is meant, or makes it; and what the answer depends on,
    /// none if it has to wait until the connection before holds nothing. Fails if its name is
    /// taken by another pattern, or if there would be too many.
    fn durable(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        subscribe: &Subscribe,
    ) -> Result<(QueueNo, Option<Need>), Refused> {
        let name = subscribe.name.as_ref().map(QueueName::of_subscription);
        if let Some(name) = &name {
            if let Some(no) = self.names.find(name)
                && let Some(queue) = self.queues.get(&no)
            {
                if queue.identity.pattern.as_ref() != Some(&subscribe.pattern) {
                    let text = "a subscription of that name listens to another pattern";
                    return Err((Code::Conflict, text.into()));
                }
                if let Some(difference) = queue.rules.differences(&subscribe.settings).first() {
                    let text = format!("the subscription is there, and {difference}");
                    return Err((Code::Conflict, text.into()));
                }
                return Ok((no, Some(queue.need())));
            }
        } else if let Some(no) = self.oldest_detached(session, subscribe) {
            let free = self.queues.get(&no).filter(|queue| queue.held().next().is_none());
            return Ok((no, free.map(Queue::need)));
        }
        let owner = self.room_for(session)?;
        let base = if name.is_some() { &self.defaults.queue } else { &self.defaults.unnamed };
        let checked = base.with(&subscribe.settings);
        checked.map_err(|error| (Code::Invalid, error.to_string().into()))?;
        let no = QueueNo(self.next.queue + 1);
        let record = Record::Declared {
            queue: no,
            at: turn.now,
            name: name.as_ref().map(|name| name.as_str().into()),
            pattern: Some(subscribe.pattern.as_str().into()),
            owner: owner.as_str().into(),
            settings: Cow::Borrowed(&subscribe.settings),
        };
        self.commit(turn.journal, &record);
        Ok((no, self.queues.get(&no).map(Queue::need)))
    }

    pub(crate) fn oldest_detached(
        &self,
        session: SessionId,
        subscribe: &Subscribe,
    ) -> Option<QueueNo> {
        let owner = self.sessions.get(&session)?.owner.clone();
        let candidates = self.unnamed.get(&(owner, subscribe.pattern.clone()))?;
        candidates
            .iter()
            .find(|no| self.queues.get(*no).is_some_and(|queue| queue.attached.is_empty()))
            .copied()
    }

    fn attach(&mut self, no: QueueNo, session: SessionId, id: SubscriptionId) {
        let Some(queue) = self.queues.get_mut(&no) else { return };
        queue.attached.push((session, id));
        if let Some(at) = queue.inactive_at.take() {
            self.deadlines.cancel(at, Due::Inactive(no));
        }
    }

    /// Ends one of a session's subscriptions. A durable one stays without it.
    pub(crate) fn unsubscribe(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        tag: u64,
        subscription: SubscriptionId,
    ) {
        let Some(state) = self.sessions.get_mut(&session) else { return };
        let need = state.need;
        let Some(listener) = state.subscriptions.remove(&subscription) else {
            let text = "the session has no such subscription";
            return self.refuse(turn.effects, session, tag, Code::NotFound, text);
        };
        let waiting: Vec<_> = state.waiting.iter().copied().collect();
        for (from, ticket) in waiting {
            let parked = self.parked_mut(from).and_then(|parked| parked.get(ticket));
            if parked.is_some_and(|parked| parked.terms.subscription == Some(subscription)) {
                self.end_wait(turn, from, ticket);
            }
        }
        self.stop_listening(turn.now, session, subscription, listener);
        self.reply(turn.effects, session, tag, Answer::Unsubscribed, need);
    }

    pub(crate) fn stop_listening(
        &mut self,
        now: Timestamp,
        session: SessionId,
        subscription: SubscriptionId,
        listener: Listener,
    ) {
        match listener {
            Listener::Ephemeral(_) => {
                if let Some(ephemeral) = self.ephemerals.remove(&subscription) {
                    debug_assert_eq!(ephemeral.session, session);
                    self.topics.remove(&ephemeral.pattern, listener);
                    self.holdings.remove(&ephemeral.owner);
                }
            }
            Listener::Queue(no) => {
                if let Some(queue) = self.queues.get_mut(&no) {
                    queue.attached.retain(|(_, attached)| *attached != subscription);
                }
                self.let_expire(now, no);
            }
            // Watches are none of a session's subscriptions.
            Listener::Watch(_) => {}
        }
    }

    /// Starts the time that a subscription lives without a consumer.
    pub(crate) fn let_expire(&mut self, now: Timestamp, no: QueueNo) {
        let Some(queue) = self.queues.get_mut(&no) else { return };
        let alone = queue.identity.pattern.is_some() && queue.attached.is_empty();
        if let Some(expiry) = queue.rules.inactive_expiry
            && alone
            && queue.inactive_at.is_none()
        {
            let at = now.after(expiry);
            queue.inactive_at = Some(at);
            self.deadlines.insert(at, Due::Inactive(no));
        }
    }

    /// A subscription that nobody came back for goes, with its messages.
    pub(crate) fn end_inactive(&mut self, turn: &mut Turn<'_>, no: QueueNo) {
        if self.queues.get(&no).is_some_and(|queue| queue.attached.is_empty()) {
            self.end_waits(turn, no);
            self.commit(turn.journal, &Record::Ended { queue: no });
        }
    }
}
