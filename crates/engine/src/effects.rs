//! What a turn of the engine wants done. Plain data; the driver carries it out.

use std::sync::Arc;

use bytes::Bytes;
use sluice_model::{
    Answer, LeaseId, MessageId, Principal, SessionId, SubscriptionId, Timestamp, Topic,
};

use crate::journal::{BodyRef, Need};

/// Where an answer stands in its session's order of replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Behind everything so far.
    Next,
    /// In the place kept by the [`Effect::Park`] with this ticket.
    Kept(Ticket),
}

/// Names a place that was kept for a later answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Answer a request once `need` is met.
    Reply {
        /// Whose request.
        session: SessionId,
        /// Its tag.
        tag: u64,
        /// Where in the order.
        place: Place,
        /// What to say.
        answer: Answer,
        /// What must be safe before.
        need: Need,
    },
    /// Answer a receive with a message once `need` is met.
    Deliver {
        /// Whose request.
        session: SessionId,
        /// Its tag.
        tag: u64,
        /// Where in the order.
        place: Place,
        /// What to hand over.
        handover: Handover,
        /// What must be safe before.
        need: Need,
    },
    /// Keep a place in the session's order for an answer that comes later.
    Park {
        /// Whose request.
        session: SessionId,
        /// Names the place.
        ticket: Ticket,
        /// What the answer may weigh at most, against the session's bound on outgoing bytes.
        weight: usize,
    },
}

/// A message on its way to a consumer.
#[derive(Clone, Debug, PartialEq)]
pub struct Handover {
    /// Through which subscription.
    pub subscription: SubscriptionId,
    /// What settles it; none for a delivery at most once.
    pub lease: Option<LeaseId>,
    /// It may have been delivered before.
    pub redelivered: bool,
    /// Its content or where that is.
    pub body: Body,
}

impl Handover {
    /// Bytes of topic, sender and payload; of a stored body a little more.
    pub fn bytes(&self) -> usize {
        match &self.body {
            Body::Stored(at) => at.len as usize,
            Body::Resident(message) => message.bytes(),
        }
    }
}

/// A message's content or where it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// In the log, as [`crate::Stored`] bytes.
    Stored(BodyRef),
    /// In memory only.
    Resident(Arc<Resident>),
}

/// A message that is kept in memory only.
#[derive(Clone, Debug, PartialEq)]
pub struct Resident {
    /// Its identity.
    pub id: MessageId,
    /// When the broker took it.
    pub published_at: Timestamp,
    /// Where it was published to.
    pub topic: Topic,
    /// Who published it.
    pub sender: Principal,
    /// Its bytes, in an allocation of their own.
    pub payload: Bytes,
}

impl Resident {
    /// Bytes of topic, sender and payload.
    pub fn bytes(&self) -> usize {
        self.topic.as_str().len() + self.sender.as_str().len() + self.payload.len()
    }
}

/// What a turn wants done, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    list: Vec<Effect>,
}

impl Effects {
    /// Adds one.
    pub(crate) fn push(&mut self, effect: Effect) {
        self.list.push(effect);
    }

    /// Takes them all, in order, and keeps the allocation.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Effect> {
        self.list.drain(..)
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}
