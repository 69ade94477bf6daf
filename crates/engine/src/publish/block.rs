//! Publishing many messages without extras to one destination: what they have in common is found
//! out once.

use std::sync::Arc;

use bytes::Bytes;
use sluice_model::{
    Answer, Block, Code, Confirm, Message, MessageId, PublishBlock, PublishedBlock, Qos, Refusal,
    SessionId,
};

use super::{HEAD_BYTES, Plan, TARGET_BYTES, resident};
use crate::engine::{Engine, Refused, Turn};
use crate::journal::Need;
use crate::topic::{BlockHead, Copy};

/// A block up to this long is copied for its subscribers, so that it pins no read buffer.
const COPY_MAX: usize = 256 << 10;

impl Engine {
    /// T1, T4, T5 for many messages: all are stored, or, if they may be parted, those that can be.
    pub(crate) fn publish_block(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        tag: u64,
        block: &PublishBlock,
    ) {
        let outcome = self.plan_block(session, block);
        let answer = match outcome {
            Ok(plan) => {
                let (published, need) = self.carry_out_block(turn, session, plan, block);
                (block.confirm == Confirm::Always)
                    .then_some((Answer::PublishedBlock(published), need))
            }
            // One of them may be what is refused, or there is room for some.
            Err((Code::QueueFull | Code::TooLarge, _))
                if !block.whole && block.messages.count() > 1 =>
            {
                Some(self.publish_each(turn, session, block))
            }
            Err((code, text)) => return self.refuse(turn.effects, session, tag, code, text),
        };
        if let Some((answer, need)) = answer {
            self.reply(turn.effects, session, tag, answer, need);
        }
    }

    /// Checks all messages of a block and finds out where they go.
    fn plan_block<'a>(
        &mut self,
        session: SessionId,
        block: &'a PublishBlock,
    ) -> Result<Plan<'a>, Refused> {
        let PublishBlock { to, qos, level, messages, whole, .. } = block;
        let count = u64::from(messages.count());
        let batch_max = self.config.batch_max;
        if count == 0 || *qos == Qos::AtLeastOnce && count > batch_max as u64 {
            let text = format!("a batch has 1 .. {batch_max} messages");
            return Err((Code::Invalid, text.into()));
        }
        let mut plan = self.plan_alike(session, to, *qos, *level)?;
        // What fits the longest fits all.
        plan.payload = messages.payloads().max_by_key(|payload| payload.len()).unwrap_or_default();
        self.check_len(&plan.route, plan.payload.len() as u64)?;
        self.check_stored(&plan)?;
        if *qos == Qos::AtLeastOnce {
            let len = stored_bytes(&plan, messages);
            if *whole && batch_bytes(&plan, messages) > self.config.batch_bytes_max {
                let text = format!("a batch has at most {} bytes", self.config.batch_bytes_max);
                return Err((Code::TooLarge, text.into()));
            }
            self.check_room(&plan.route, (count, len), None)?;
        }
        Ok(plan)
    }

    fn carry_out_block<'a>(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        mut plan: Plan<'a>,
        block: &'a PublishBlock,
    ) -> (PublishedBlock, Need) {
        let PublishBlock { qos, messages, whole, .. } = block;
        let count = messages.count();
        let first = MessageId { start: self.start, counter: self.next.message + 1 };
        let mut need = Need::NONE;
        match qos {
            Qos::AtLeastOnce => {
                let len = stored_bytes(&plan, messages);
                for no in &plan.route.queues {
                    self.make_room(turn, *no, count.into(), len);
                }
                if *whole {
                    turn.journal.begin_batch(batch_bytes(&plan, messages));
                }
                for payload in messages.payloads() {
                    plan.payload = payload;
                    let id = self.next_message_id();
                    let (its_need, _) = self.store(turn, id, session, &plan);
                    need.cover(its_need);
                }
                if *whole {
                    turn.journal.end_batch();
                }
            }
            Qos::AtMostOnce if plan.route.queues.is_empty() => {
                self.next.message += u64::from(count);
            }
            Qos::AtMostOnce => {
                for payload in messages.payloads() {
                    plan.payload = payload;
                    let id = self.next_message_id();
                    let message = resident(&plan.content(turn.now, id));
                    self.queue_resident(turn.now, id, &plan, &message);
                }
            }
        }
        if !plan.route.ephemerals.is_empty() {
            let copy = |text: &str| Bytes::copy_from_slice(text.as_bytes());
            let (topic, sender) = (copy(plan.to.as_str()), copy(plan.sender.as_str()));
            let head = Arc::new(BlockHead { published_at: turn.now, topic, sender });
            let copy = Copy::Many { head, first, messages: detached(messages) };
            self.spread_after(need, &plan.route, copy);
        }
        self.count_published(&plan, count.into());
        let (matched, level, each) = (plan.matched(), plan.level, block.each);
        (PublishedBlock { first, count, matched, level, each }, need)
    }

    /// Publishes the messages of a block one by one, and tells what became of each.
    fn publish_each(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        block: &PublishBlock,
    ) -> (Answer, Need) {
        let PublishBlock { to, qos, level, messages, .. } = block;
        let mut need = Need::NONE;
        let mut one = |payload| {
            let message = Message::plain(payload);
            let outcome = self.publish_one(turn, session, (to, &message), *qos, *level);
            let (published, its_need) = outcome.map_err(|(code, text)| {
                self.stats.refused += 1;
                Refusal::new(code, text)
            })?;
            need.cover(its_need);
            Ok(published)
        };
        let outcomes = messages.shared().map(&mut one);
        let all = match block.confirm {
            Confirm::Always => outcomes.collect(),
            Confirm::Refusal => outcomes.fold(Vec::new(), |mut told, outcome| {
                if told.is_empty() && outcome.is_err() {
                    told.push(outcome);
                }
                told
            }),
        };
        (Answer::PublishedEach(all), need)
    }

    pub(crate) fn next_message_id(&mut self) -> MessageId {
        self.next.message += 1;
        MessageId { start: self.start, counter: self.next.message }
    }
}

/// Bytes that the messages take in the log.
fn stored_bytes(plan: &Plan<'_>, messages: &Block) -> u64 {
    let around = plan.stored_bytes() - plan.payload.len() as u64;
    around * u64::from(messages.count()) + messages.payload_bytes() as u64
}

/// Bytes of the messages' records, at most.
fn batch_bytes(plan: &Plan<'_>, messages: &Block) -> usize {
    let heads = HEAD_BYTES + TARGET_BYTES * plan.route.queues.len();
    heads * messages.count() as usize + stored_bytes(plan, messages) as usize
}

/// The messages in memory of their own, if they are not long.
fn detached(messages: &Block) -> Block {
    let bytes = messages.bytes();
    if bytes.len() > COPY_MAX {
        return messages.clone();
    }
    let copy = Bytes::copy_from_slice(bytes);
    Block::checked(copy, messages.count(), messages.payload_bytes())
}
