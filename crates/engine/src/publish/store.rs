//! What was planned is done: the message is in the log, in memory, and on its way.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use sluice_model::{
    Carried, DeadReason, Extras, Lane, Level, MessageId, Published, Qos, QueueNo, Seq, SessionId,
    Timestamp,
};

use super::plan::{Plan, Planned, delay_of, ttl_of};
use crate::config::Overflow;
use crate::content::Content;
use crate::engine::{Engine, HiddenCopy, Turn, need_of};
use crate::journal::Need;
use crate::queue::slots::{Extra, Slot};
use crate::record::{Record, Removal, Target};
use crate::topic::{Copy, Listener, Route};

impl Engine {
    /// Does what was planned.
    pub(super) fn carry_out(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        planned: &Planned<'_>,
    ) -> (Published, Need) {
        let plan = match planned {
            Planned::New(plan) => plan,
            Planned::Duplicate(published, need) => {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.need.cover(*need);
                }
                return (*published, *need);
            }
            // It was refused before.
            Planned::Conflict(need) => return (Published::default(), *need),
        };
        let id = self.next_message_id();
        let need = match plan.qos {
            Qos::AtMostOnce => self.publish_resident(turn, id, plan),
            Qos::AtLeastOnce => self.publish_stored(turn, id, session, plan),
        };
        let matched = plan.matched();
        self.count_published(plan, 1);
        (Published { id, matched, level: plan.level, duplicate: false }, need)
    }

    /// Counts messages that were taken.
    pub(crate) fn count_published(&mut self, plan: &Plan<'_>, messages: u64) {
        self.stats.published += messages;
        if plan.qos == Qos::AtLeastOnce && plan.matched() == 0 {
            self.stats.unroutable += messages;
        }
    }

    /// At most once: from memory, to whoever has room.
    fn publish_resident(&mut self, turn: &mut Turn<'_>, id: MessageId, plan: &Plan<'_>) -> Need {
        if plan.route.queues.is_empty() && plan.route.ephemerals.is_empty() {
            return Need::NONE;
        }
        let message = resident(&plan.content(turn.now, id));
        self.spread(&plan.route.ephemerals, &Copy::One(Arc::clone(&message)));
        self.queue_resident(turn.now, id, plan, &message);
        Need::NONE
    }

    /// Puts a message at most once into the queues that have room for it.
    pub(crate) fn queue_resident(
        &mut self,
        now: Timestamp,
        id: MessageId,
        plan: &Plan<'_>,
        message: &Arc<Carried>,
    ) {
        let len = message.bytes() as u64;
        for target in self.targets(now, plan) {
            let Some(queue) = self.queues.get(&target.queue) else { continue };
            // A guarantee of at most once lets a full queue pass the message by.
            let full = queue.counts.live() >= queue.rules.max_messages
                || queue.counts.bytes + len > queue.rules.max_bytes;
            if full {
                self.stats.dropped += 1;
            } else {
                self.keep_resident(now, id, &target, plan, message);
            }
        }
    }

    /// Puts a message that is in memory only into one queue.
    fn keep_resident(
        &mut self,
        now: Timestamp,
        id: MessageId,
        target: &Target,
        plan: &Plan<'_>,
        message: &Arc<Carried>,
    ) {
        let Some(queue) = self.queues.get_mut(&target.queue) else { return };
        self.changes.note(queue);
        let slot = Slot::resident(message.bytes() as u64, id.counter, now);
        let mut extra = Extra {
            ready_at: target.ready_at,
            expires_at: target.expires_at,
            resident: Some(Arc::clone(message)),
            ..Extra::default()
        };
        if let Some(lane) = lane_of(plan.extras) {
            extra.lane = Some(Arc::new(lane.clone()));
        }
        queue.push(slot, Some(extra));
        self.list_laned(target.queue);
        let Some(queue) = self.queues.get_mut(&target.queue) else { return };
        self.present += 1;
        if queue.has_hidden() && !std::mem::replace(&mut queue.listed_hidden, true) {
            self.hidden.push(target.queue);
        }
        self.expect_target(target);
        self.stir(Listener::Queue(target.queue));
    }

    /// At least once: for every queue, and a copy for subscribers at most once.
    fn publish_stored(
        &mut self,
        turn: &mut Turn<'_>,
        id: MessageId,
        session: SessionId,
        plan: &Plan<'_>,
    ) -> Need {
        let (need, message) = self.store(turn, id, session, plan);
        if !plan.route.ephemerals.is_empty() {
            let message = message.unwrap_or_else(|| resident(&plan.content(turn.now, id)));
            self.spread_after(need, &plan.route, Copy::One(message));
        }
        need
    }

    /// Puts a message into the log, for every queue; a queue at level memory keeps it in memory.
    /// Gives what its publisher waits for, and the message if it is in memory now.
    pub(crate) fn store(
        &mut self,
        turn: &mut Turn<'_>,
        id: MessageId,
        session: SessionId,
        plan: &Plan<'_>,
    ) -> (Need, Option<Arc<Carried>>) {
        let targets = self.targets(turn.now, plan);
        // Nearly always none is: the weakest level says so.
        let (in_memory, stored) = match plan.level {
            Some(Level::Memory) => {
                targets.into_iter().partition(|target| self.level_of(target.queue) == Level::Memory)
            }
            _ => (Vec::new(), targets),
        };
        let mut need = Need::NONE;
        if !stored.is_empty() || plan.mark.is_some() {
            need = self.append(turn, id, session, plan, &stored);
        }
        if in_memory.is_empty() {
            return (need, None);
        }
        let message = resident(&plan.content(turn.now, id));
        for target in &in_memory {
            self.keep_resident(turn.now, id, target, plan, &message);
        }
        (need, Some(message))
    }

    /// Hands copies of durable messages to subscribers at most once when they are committed.
    pub(crate) fn spread_after(&mut self, need: Need, route: &Arc<Route>, copy: Copy) {
        // One that waits for nothing still stays behind those before it.
        if need == Need::NONE && self.hidden_copies.is_empty() {
            self.spread(&route.ephemerals, &copy);
        } else if !route.ephemerals.is_empty() {
            let route = Arc::clone(route);
            self.hidden_copies.push_back(HiddenCopy { need, copy, route });
        }
    }

    /// Writes a message's record, and says what its publisher waits for.
    fn append(
        &mut self,
        turn: &mut Turn<'_>,
        id: MessageId,
        session: SessionId,
        plan: &Plan<'_>,
        targets: &[Target],
    ) -> Need {
        let content = plan.content(turn.now, id);
        let record = Record::Published {
            at: turn.now,
            id,
            targets: Cow::Borrowed(targets),
            lane: lane_of(plan.extras).map(Cow::Borrowed),
            dedupe: plan.mark.as_ref().map(Cow::Borrowed),
            // A record that only remembers an id holds no message.
            content: (!targets.is_empty()).then_some(content),
        };
        let body = turn.journal.append(&record);
        self.apply(&record, body);
        let mut need = Need::NONE;
        for target in targets {
            need.cover(need_of(self.level_of(target.queue), body.sequence));
        }
        if targets.is_empty() {
            need = need_of(Level::Sync, body.sequence);
        }
        self.wanted.cover(need);
        if let Some(session) = self.sessions.get_mut(&session) {
            session.need.cover(need);
        }
        need
    }

    /// Where the message will stand in each queue, and its times there.
    fn targets(&self, now: Timestamp, plan: &Plan<'_>) -> Vec<Target> {
        let delay = delay_of(plan.extras, now);
        let target = |no: &QueueNo| {
            let queue = self.queues.get(no)?;
            let ttl = ttl_of(plan.extras, &queue.rules);
            Some(Target {
                queue: *no,
                seq: Seq(queue.slots.next()),
                ready_at: delay.map_or(Timestamp::EPOCH, |delay| now.after(delay)),
                expires_at: ttl.map_or(Timestamp::EPOCH, |ttl| now.after(ttl)),
            })
        };
        plan.route.queues.iter().filter_map(target).collect()
    }

    /// How safe a queue's records must be before they are confirmed.
    pub(crate) fn level_of(&self, no: QueueNo) -> Level {
        self.queues.get(&no).map_or(Level::Sync, |queue| queue.rules.level)
    }

    /// T5: lets the oldest messages go until so many more, of `len` bytes together, fit. A queue
    /// whose bounds were lowered by much gets there slice by slice, with every publish.
    pub(crate) fn make_room(&mut self, turn: &mut Turn<'_>, no: QueueNo, messages: u64, len: u64) {
        let most = messages.max(self.config.deadlines_per_turn as u64);
        let (mut dropped, mut freed) = (0, 0);
        while dropped < most || freed < len {
            let Some(queue) = self.queues.get_mut(&no) else { return };
            let counts = queue.counts;
            let rules = &queue.rules;
            let few = counts.live() + messages <= rules.max_messages;
            if few && counts.bytes + len <= rules.max_bytes {
                return;
            }
            let overflow = rules.overflow;
            let Some(seq) = queue.oldest_droppable() else { return };
            let Some(slot) = queue.slots.get(seq) else { return };
            let resident = slot.sequence() == 0;
            (dropped, freed) = (dropped + 1, freed + slot.len());
            let target = Target::new(no, Seq(seq));
            if overflow == Overflow::Dead {
                self.bury(turn, target, DeadReason::Overflow, None, resident);
            } else {
                self.change(turn, &Record::Removed { target, why: Removal::Dropped }, resident);
            }
        }
    }
}

fn lane_of(extras: Option<&Extras>) -> Option<&Lane> {
    let lane = &extras?.lane;
    (*lane != Lane::default()).then_some(lane)
}

/// A copy in memory, in an allocation of its own so that it pins no read buffer.
pub(crate) fn resident(content: &Content<'_>) -> Arc<Carried> {
    let copy = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    Arc::new(Carried {
        id: content.id,
        published_at: content.published_at,
        topic: copy(content.topic),
        sender: copy(content.sender),
        headers: content.headers.iter().map(|(name, value)| (copy(name), copy(value))).collect(),
        payload: Bytes::copy_from_slice(content.payload),
    })
}
