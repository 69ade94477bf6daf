//! What a turn of the engine wants done. Plain data; the driver carries it out.

use std::sync::Arc;

use bytes::Bytes;
use sluice_model::{
    Answer, Carried, Lane, LeaseId, MessageInfo, SessionId, SubscriptionId, Timestamp,
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
    /// Answer a receive with messages once `need` is met.
    Deliver {
        /// Whose request.
        session: SessionId,
        /// Its tag.
        tag: u64,
        /// Where in the order.
        place: Place,
        /// What to hand over; at least one.
        handovers: Vec<Handover>,
        /// What must be safe before.
        need: Need,
    },
    /// Answer a look at a message once `need` is met.
    Peek {
        /// Whose request.
        session: SessionId,
        /// Its tag.
        tag: u64,
        /// The message's state.
        info: Box<MessageInfo>,
        /// What it carries or where that is.
        body: Body,
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
    /// Through which subscription; none from a queue by name.
    pub subscription: Option<SubscriptionId>,
    /// What settles it; none for a delivery at most once.
    pub lease: Option<LeaseId>,
    /// When the lease ends by itself; the epoch without one.
    pub deadline: Timestamp,
    /// It may have been delivered before.
    pub redelivered: bool,
    /// The how-manieth lease of the message this is, from 1.
    pub attempt: u32,
    /// How often an attempt failed.
    pub failures: u32,
    /// Order and limits; none for the defaults.
    pub lane: Option<Arc<Lane>>,
    /// What it carries or where that is.
    pub body: Body,
    /// Further deliveries for the same request follow.
    pub more: bool,
}

impl Handover {
    /// Bytes of what it carries; of a stored body a little more.
    pub fn bytes(&self) -> usize {
        self.body.bytes()
    }
}

/// What a message carries or where that is.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// In the log, as [`crate::Content`] writes it.
    Stored {
        /// Where.
        at: BodyRef,
        /// Its bytes, once somebody has them at hand.
        bytes: Option<Bytes>,
    },
    /// In memory only.
    Resident(Arc<Carried>),
}

impl Body {
    /// A body in the log, to be read.
    pub const fn stored(at: BodyRef) -> Self {
        Self::Stored { at, bytes: None }
    }

    /// Bytes of what the message carries; of a stored body a little more.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Stored { at, .. } => at.len as usize,
            Self::Resident(message) => message.bytes(),
        }
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
