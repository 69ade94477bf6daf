//! Publishing: one record and one body for every queue that a message goes to.
//!
//! First everything is checked and planned (`plan.rs`), for all messages of a batch; then it is done
//! (`store.rs`), and nothing can fail any more. Blocks of messages that are alike go a shorter way
//! (`block.rs`).

mod block;
mod plan;
mod store;

use std::collections::BTreeMap;

use sluice_model::{
    Answer, Code, Confirm, Destination, Level, Message, Publish, PublishBatch, Published, Qos,
    SessionId, Timestamp,
};

use self::plan::{Added, Planned, other_body};
pub(crate) use self::plan::{HEAD_BYTES, Plan, TARGET_BYTES};
pub(crate) use self::store::resident;
use crate::dedupe::NewIds;
use crate::engine::{Engine, Refused, Turn};
use crate::journal::Need;
use crate::record::DedupeScope;

/// What becomes of a batch.
struct PlannedBatch<'a> {
    /// One that repeats an earlier one refers to it by its place.
    plans: Vec<Result<Planned<'a>, usize>>,
    added: Added,
    /// Bytes of their records, at most.
    bytes: usize,
}

impl Engine {
    /// T1 to T5: stores a message for all queues that it goes to or for none.
    pub(crate) fn publish(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        tag: u64,
        publish: &Publish,
    ) {
        let Publish { to, qos, level, message, confirm } = publish;
        let planned = self.plan(turn.now, session, (to, message), *qos, *level);
        if let Ok(Planned::Conflict(need)) = planned {
            return self.refuse_after(turn.effects, session, tag, other_body(), need);
        }
        match planned.and_then(|planned| self.publish_planned(turn, session, &planned)) {
            Ok((published, need)) => {
                if *confirm == Confirm::Always {
                    self.reply(turn.effects, session, tag, Answer::Published(published), need);
                }
            }
            Err((code, text)) => self.refuse(turn.effects, session, tag, code, text),
        }
    }

    /// Stores a message without a dedupe id for all queues that it goes to or for none.
    pub(crate) fn publish_one(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        message: (&Destination, &Message),
        qos: Qos,
        level: Option<Level>,
    ) -> Result<(Published, Need), Refused> {
        let planned = self.plan(turn.now, session, message, qos, level)?;
        self.publish_planned(turn, session, &planned)
    }

    fn publish_planned(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        planned: &Planned<'_>,
    ) -> Result<(Published, Need), Refused> {
        if let Planned::New(plan) = planned
            && plan.qos == Qos::AtLeastOnce
        {
            let len = plan.stored_bytes();
            self.check_room(&plan.route, (1, len), None)?;
            for no in &plan.route.queues {
                self.make_room(turn, *no, 1, len);
            }
        }
        Ok(self.carry_out(turn, session, planned))
    }

    /// Stores messages, all or none.
    pub(crate) fn publish_batch(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        tag: u64,
        batch: &PublishBatch,
    ) {
        let PlannedBatch { plans, added, bytes } = match self.plan_batch(turn.now, session, batch) {
            Ok(planned) => planned,
            Err((code, text)) => return self.refuse(turn.effects, session, tag, code, text),
        };
        // Before the batch begins, whose records have to survive together.
        for (no, (messages, len)) in added {
            self.make_room(turn, no, messages, len);
        }
        turn.journal.begin_batch(bytes);
        let mut all: Vec<Published> = Vec::with_capacity(plans.len());
        let mut need = Need::NONE;
        for planned in plans {
            let (published, its_need) = match planned {
                Ok(planned) => self.carry_out(turn, session, &planned),
                // The same id twice in one batch: the second is the first.
                Err(first) => {
                    let first = all.get(first).copied().unwrap_or_default();
                    (Published { duplicate: true, ..first }, Need::NONE)
                }
            };
            need.cover(its_need);
            all.push(published);
        }
        turn.journal.end_batch();
        self.reply(turn.effects, session, tag, Answer::PublishedBatch(all), need);
    }

    /// Plans all messages of a batch.
    fn plan_batch<'a>(
        &mut self,
        now: Timestamp,
        session: SessionId,
        batch: &'a PublishBatch,
    ) -> Result<PlannedBatch<'a>, Refused> {
        let count = batch.messages.len();
        if count == 0 || count > self.config.batch_max {
            let text = format!("a batch has 1 .. {} messages", self.config.batch_max);
            return Err((Code::Invalid, text.into()));
        }
        let mut added = Added::new();
        let mut ids: BTreeMap<(DedupeScope, u128), (usize, u64)> = BTreeMap::new();
        let mut new_ids = NewIds::default();
        let mut plans = Vec::with_capacity(count);
        let mut bytes = 0;
        for (at, (to, message)) in batch.messages.iter().enumerate() {
            let which = |(code, text): Refused| (code, format!("message {at}: {text}").into());
            let planned = self
                .plan(now, session, (to, message), Qos::AtLeastOnce, batch.level)
                .map_err(which)?;
            if let Planned::Conflict(_) = planned {
                return Err(which(other_body()));
            }
            if let Planned::New(plan) = &planned {
                if let Some(mark) = &plan.mark {
                    let key = (mark.scope.clone(), mark.id);
                    match ids.get(&key) {
                        Some((first, body)) if *body == mark.body => {
                            plans.push(Err(*first));
                            continue;
                        }
                        Some(_) => return Err(which(other_body())),
                        None => ids.insert(key, (at, mark.body)),
                    };
                    let max = self.dedupe_max(mark);
                    self.dedupes.add(&mut new_ids, &mark.scope, max).map_err(which)?;
                }
                let stored = plan.stored_bytes();
                self.check_room(&plan.route, (1, stored), Some(&mut added)).map_err(which)?;
                bytes += HEAD_BYTES + TARGET_BYTES * plan.route.queues.len() + stored as usize;
            }
            plans.push(Ok(planned));
        }
        if bytes > self.config.batch_bytes_max {
            let text = format!("a batch has at most {} bytes", self.config.batch_bytes_max);
            return Err((Code::TooLarge, text.into()));
        }
        Ok(PlannedBatch { plans, added, bytes })
    }
}
