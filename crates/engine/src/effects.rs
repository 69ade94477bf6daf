//! What a turn of the engine wants done. Plain data; the driver carries it out.

use std::sync::Arc;

use bytes::Bytes;
use sluice_model::{
    Answer, Carried, Lane, LeaseId, MessageInfo, Reply, SessionId, SubscriptionId, Timestamp,
};

use crate::engine::Asked;
use crate::journal::{BodyRef, Need, Progress};

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

impl Effect {
    /// Whose it is.
    const fn session(&self) -> SessionId {
        match self {
            Self::Reply { session, .. }
            | Self::Deliver { session, .. }
            | Self::Peek { session, .. }
            | Self::Park { session, .. } => *session,
        }
    }
}

/// What a turn wants done, in order.
///
/// Answers that may leave at once, as those of most reads, don't go through the list if their session
/// waits for nothing: they are ready as they are made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    list: Vec<Effect>,
    /// Whose answers may be ready: nothing of it is in the list, or waits for the log.
    ahead: Option<SessionId>,
    /// Its answers that may leave, all before what the list has for it.
    ready: Vec<Reply>,
}

impl Effects {
    /// From now on answers of this session that may leave are ready at once; nothing of it may wait.
    /// With none, they all go into the list.
    pub fn run_ahead(&mut self, session: Option<SessionId>) {
        self.ahead = session;
    }

    /// The answers that are ready, in order, to be taken.
    pub fn ready(&mut self) -> &mut Vec<Reply> {
        &mut self.ready
    }

    /// Adds one.
    pub(crate) fn push(&mut self, effect: Effect) {
        if self.ahead == Some(effect.session()) {
            self.ahead = None;
        }
        self.list.push(effect);
    }

    /// Adds an answer.
    pub(crate) fn reply(&mut self, to: Asked, answer: Answer, need: Need, progress: Progress) {
        let Asked { session, tag, place } = to;
        if self.ahead == Some(session) && place == Place::Next && need.is_met(progress) {
            return self.ready.push(Reply { tag, answer });
        }
        self.push(Effect::Reply { session, tag, place, answer, need });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_ready_until_one_of_their_session_waits() {
        let mut effects = Effects::default();
        let progress = Progress { written: 5, synced: 5 };
        let say = |effects: &mut Effects, session, tag, written| {
            let to = Asked { session: SessionId(session), tag, place: Place::Next };
            effects.reply(to, Answer::Fenced, Need { written, synced: 0 }, progress);
        };
        say(&mut effects, 1, 1, 5);
        effects.run_ahead(Some(SessionId(1)));
        for (session, tag, written) in [(1, 2, 5), (2, 3, 0), (1, 4, 0), (1, 5, 6), (1, 6, 0)] {
            say(&mut effects, session, tag, written);
        }
        let ready: Vec<u64> = effects.ready().drain(..).map(|reply| reply.tag).collect();
        assert_eq!(ready, [2, 4]);
        let tag = |effect| match effect {
            Effect::Reply { tag, .. } => tag,
            other => panic!("{other:?}"),
        };
        assert_eq!(effects.drain().map(tag).collect::<Vec<_>>(), [1, 3, 5, 6]);
    }
}
