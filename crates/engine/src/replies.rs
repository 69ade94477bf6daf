//! What the engine answers: replies, refusals, deliveries, and places that are kept for later ones.

use std::borrow::Cow;

use sluice_model::{Answer, Code, Refusal, SessionId};

use crate::effects::{Effect, Effects, Handover, Place, Ticket};
use crate::engine::{Asked, Engine, Refused};
use crate::journal::Need;

impl Engine {
    pub(crate) fn reply(
        &mut self,
        effects: &mut Effects,
        session: SessionId,
        tag: u64,
        answer: Answer,
        need: Need,
    ) {
        self.reply_to(effects, Asked { session, tag, place: Place::Next }, answer, need);
    }

    pub(crate) fn reply_to(
        &mut self,
        effects: &mut Effects,
        to: Asked,
        answer: Answer,
        need: Need,
    ) {
        if let Some(state) = self.sessions.get_mut(&to.session) {
            state.out += answer.weight();
        }
        self.wanted.cover(need);
        effects.reply(to, answer, need, self.progress);
    }

    pub(crate) fn refuse(
        &mut self,
        effects: &mut Effects,
        session: SessionId,
        tag: u64,
        code: Code,
        message: impl Into<Cow<'static, str>>,
    ) {
        self.refuse_after(effects, session, tag, (code, message.into()), Need::NONE);
    }

    /// Refuses because of something that others may not know yet: a crash could take it back, and
    /// the reason with it.
    pub(crate) fn refuse_after(
        &mut self,
        effects: &mut Effects,
        session: SessionId,
        tag: u64,
        (code, message): Refused,
        need: Need,
    ) {
        self.stats.refused += 1;
        let answer = Answer::Refused(Refusal::new(code, message));
        self.reply(effects, session, tag, answer, need);
    }

    /// The ticket of a place that is kept for a later answer.
    pub(crate) fn next_ticket(&mut self) -> Ticket {
        self.next.ticket += 1;
        Ticket(self.next.ticket)
    }

    /// Answers a receive with messages whose weight is counted already.
    pub(crate) fn deliver(
        &mut self,
        effects: &mut Effects,
        to: Asked,
        handovers: Vec<Handover>,
        mut need: Need,
    ) {
        let Asked { session, tag, place } = to;
        let Some(state) = self.sessions.get(&session).filter(|_| !handovers.is_empty()) else {
            return;
        };
        need.cover(state.need);
        self.wanted.cover(need);
        self.stats.delivered += handovers.len() as u64;
        effects.push(Effect::Deliver { session, tag, place, handovers, need });
    }
}
