//! Receiving at most once: from a subscription's buffer in memory.

use std::sync::Arc;

use sluice_model::{Answer, BlockDelivery, Carried, Reply, SessionId, SubscriptionId, Timestamp};

use crate::effects::{Body, Handover};
use crate::engine::{Asked, Engine, Ran, Turn};
use crate::journal::Need;
use crate::queue::Parked;
use crate::receive::Terms;
use crate::topic::{Copy, Listener};

impl Engine {
    /// Hands over what waits in a buffer, or waits for it.
    pub(crate) fn receive_resident(
        &mut self,
        turn: &mut Turn<'_>,
        to: Asked,
        id: SubscriptionId,
        terms: Terms,
        until: Option<Timestamp>,
    ) -> Ran {
        let Some(ephemeral) = self.ephemerals.get(&id) else { return Ran::Done };
        let left = match ephemeral.next_bytes() {
            Some(bytes) if !self.has_room(to.session, bytes) => return Ran::NoRoom,
            Some(_) => self.hand_out(turn, to, id, terms),
            None => terms.max,
        };
        let from = Listener::Ephemeral(id);
        if until.is_some() && left > 0 {
            let terms = Terms { max: left, ..terms };
            self.wait(turn, to, from, terms, Reply::WEIGHT_MIN, until);
            self.serve_resident(turn, id);
        } else if left > 0 {
            self.answer_empty(turn, to, from);
        }
        Ran::Done
    }

    /// Answers the receives that wait for messages of this subscription.
    pub(crate) fn serve_resident(&mut self, turn: &mut Turn<'_>, id: SubscriptionId) {
        let from = Listener::Ephemeral(id);
        while let Some(ephemeral) = self.ephemerals.get(&id)
            && let Some((ticket, parked)) = ephemeral.parked.first()
            && let Some(bytes) = ephemeral.next_bytes()
        {
            if !self.has_room_for(&parked, bytes) {
                self.lacks_room(turn, from, ticket, &parked);
                continue;
            }
            let Parked { session, tag, place, terms, .. } = parked;
            let left = self.hand_out(turn, Asked { session, tag, place }, id, terms);
            self.stay(from, ticket, left);
        }
    }

    /// Answers a receive with what waits, of which there is room for one message at least. Says how
    /// many it waits for still.
    fn hand_out(
        &mut self,
        turn: &mut Turn<'_>,
        to: Asked,
        id: SubscriptionId,
        terms: Terms,
    ) -> u32 {
        let Some(ephemeral) = self.ephemerals.get_mut(&id) else { return 0 };
        let lost = if terms.gaps { ephemeral.take_lost() } else { 0 };
        // One who takes single messages gets no block.
        let single = if terms.max == 1 { ephemeral.take_one() } else { None };
        if lost > 0 {
            self.answer_resident(turn, to, Answer::Lost { messages: lost });
        }
        if let Some(message) = single {
            self.deliver_resident(turn, to, id, message, false);
            return 0;
        }
        let mut left = terms.max;
        loop {
            let bytes_max = self.room_of(to.session);
            let Some(ephemeral) = self.ephemerals.get_mut(&id) else { return 0 };
            let Some(copy) = ephemeral.take(left, bytes_max) else { return 0 };
            left = left.saturating_sub(u32::try_from(copy.count()).unwrap_or(u32::MAX));
            let next = ephemeral.next_bytes().filter(|_| left > 0);
            let fits = next.is_some_and(|next| {
                self.has_room(to.session, copy.bytes() + next + 2 * Reply::WEIGHT_MIN)
            });
            let waits = if terms.stays { left } else { 0 };
            let more = fits || waits > 0;
            match copy {
                Copy::One(message) => self.deliver_resident(turn, to, id, message, more),
                Copy::Many { head, messages, .. } => {
                    self.stats.delivered += u64::from(messages.count());
                    let block = BlockDelivery {
                        subscription: id,
                        published_at: head.published_at,
                        topic: head.topic.clone(),
                        sender: head.sender.clone(),
                        messages,
                        more,
                    };
                    self.answer_resident(turn, to, Answer::DeliveredBlock(Box::new(block)));
                }
            }
            if !fits {
                return waits;
            }
        }
    }

    fn deliver_resident(
        &mut self,
        turn: &mut Turn<'_>,
        to: Asked,
        subscription: SubscriptionId,
        message: Arc<Carried>,
        more: bool,
    ) {
        let handover = Handover {
            subscription: Some(subscription),
            lease: None,
            deadline: Timestamp::EPOCH,
            redelivered: false,
            attempt: 1,
            failures: 0,
            lane: None,
            body: Body::Resident(message),
            more,
        };
        if let Some(state) = self.sessions.get_mut(&to.session) {
            state.out += Reply::delivery_weight(handover.bytes());
        }
        self.deliver(turn.effects, to, vec![handover], Need::NONE);
    }

    /// Answers without a lease; like every answer it waits for what the session did before.
    fn answer_resident(&mut self, turn: &mut Turn<'_>, to: Asked, answer: Answer) {
        let Some(state) = self.sessions.get_mut(&to.session) else { return };
        state.out += answer.weight();
        let need = state.need;
        self.wanted.cover(need);
        turn.effects.reply(to, answer, need, self.progress);
    }

    /// Bytes of messages that the session may be sent now.
    fn room_of(&self, session: SessionId) -> usize {
        let out =
            self.sessions.get(&session).map_or(0, |state| state.out.saturating_sub(state.reserved));
        self.config.session_out_max.saturating_sub(out + Reply::WEIGHT_MIN)
    }
}
