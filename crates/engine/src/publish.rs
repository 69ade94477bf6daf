//! Publishing: one record and one body for every queue that a message goes to.
//!
//! First everything is checked and planned, for all messages of a batch; then it is done, and
//! nothing can fail any more.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use sluice_model::{
    Answer, Carried, Code, Confirm, DELAY_MAX, DeadReason, Destination, Extras, Lane, Level,
    Message, MessageId, Principal, Publish, PublishBatch, Published, Qos, QueueNo, Seq, SessionId,
    Timestamp,
};

use crate::config::{Overflow, QueueConfig};
use crate::content::Content;
use crate::dedupe::{Known, NewIds};
use crate::engine::{Engine, HiddenCopy, Refused, Turn, need_of};
use crate::journal::Need;
use crate::queue::slots::{Extra, Slot};
use crate::record::{DedupeMark, DedupeScope, Record, Removal, Target};
use crate::topic::{Copy, Listener, Route};

/// Bytes of a record's head that no message makes longer: kind, times, id, dedupe, lane.
pub(crate) const HEAD_BYTES: usize = 2_048;
/// Bytes of a target in a record's head.
pub(crate) const TARGET_BYTES: usize = 32;

/// A message that may be published, and how.
pub(crate) struct Plan<'a> {
    pub(crate) to: &'a Destination,
    pub(crate) payload: &'a [u8],
    pub(crate) extras: Option<&'a Extras>,
    pub(crate) qos: Qos,
    pub(crate) route: Arc<Route>,
    mark: Option<DedupeMark>,
    /// The weakest level of the queues that it goes to.
    pub(crate) level: Option<Level>,
    pub(crate) sender: Principal,
}

impl Plan<'_> {
    pub(crate) fn content(&self, now: Timestamp, id: MessageId) -> Content<'_> {
        Content {
            published_at: now,
            id,
            topic: self.to.as_str(),
            sender: self.sender.as_str(),
            headers: self.extras.map_or(&[], |extras| &extras.headers),
            payload: self.payload,
        }
    }

    /// How many queues and subscriptions it reaches.
    pub(crate) fn matched(&self) -> u32 {
        (self.route.queues.len() + self.route.ephemerals.len()) as u32
    }

    /// Bytes that the message takes in the log.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.content(Timestamp::EPOCH, MessageId::default()).len() as u64
    }
}

/// What becomes of a publish.
enum Planned<'a> {
    New(Plan<'a>),
    /// It is known already; what was said then, and what it depends on.
    Duplicate(Published, Need),
    /// Its id is known with another body, by a record that the refusal depends on.
    Conflict(Need),
}

/// Messages and bytes that a batch adds to queues.
type Added = BTreeMap<QueueNo, (u64, u64)>;

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

    /// Checks a message and finds out where it goes.
    fn plan<'a>(
        &mut self,
        now: Timestamp,
        session: SessionId,
        (to, message): (&'a Destination, &'a Message),
        qos: Qos,
        level: Option<Level>,
    ) -> Result<Planned<'a>, Refused> {
        let extras = message.extras.as_deref();
        if let Some(extras) = extras {
            extras.validate().map_err(|error| (Code::Invalid, error.to_string().into()))?;
        }
        let plan = self.plan_alike(session, to, qos, level)?;
        let plan = Plan { payload: &message.payload, extras, ..plan };
        let delay = delay_of(extras, now);
        if delay.is_some_and(|delay| delay > DELAY_MAX) {
            return Err((Code::Invalid, "the delay is longer than 366 days".into()));
        }
        for rules in self.rules_along(&plan.route) {
            if ttl_of(extras, rules).is_some_and(|ttl| delay.is_some_and(|delay| delay >= ttl)) {
                let text = "the delay is not shorter than the time to live";
                return Err((Code::Invalid, text.into()));
            }
        }
        self.check_len(&plan.route, plan.payload.len() as u64)?;
        self.check_stored(&plan)?;
        let mark = self.mark(now, to, message);
        let known =
            mark.as_ref().map(|mark| self.look_up(now, session, mark)).transpose()?.flatten();
        Ok(known.unwrap_or(Planned::New(Plan { mark, ..plan })))
    }

    /// What all messages to one destination have in common; what they carry is left out.
    pub(crate) fn plan_alike<'a>(
        &mut self,
        session: SessionId,
        to: &'a Destination,
        qos: Qos,
        level: Option<Level>,
    ) -> Result<Plan<'a>, Refused> {
        let Some(state) = self.sessions.get(&session) else {
            return Err((Code::NotFound, "the session has ended".into()));
        };
        let sender = state.client.principal.clone();
        let route = self.route(to)?;
        let level = self.weakest_level(&route, qos, level)?;
        Ok(Plan { to, payload: &[], extras: None, qos, route, mark: None, level, sender })
    }

    /// The rules of the queues on a route.
    fn rules_along(&self, route: &Route) -> impl Iterator<Item = &QueueConfig> {
        let queues = route.queues.iter().filter_map(|no| self.queues.get(no));
        queues.map(|queue| &*queue.rules)
    }

    /// Refuses a payload that a queue on the route does not take.
    pub(crate) fn check_len(&self, route: &Route, len: u64) -> Result<(), Refused> {
        for rules in self.rules_along(route) {
            too_large(len, rules)?;
        }
        if route.queues.is_empty() { too_large(len, &self.config.queue) } else { Ok(()) }
    }

    /// Refuses a message that no record can hold.
    pub(crate) fn check_stored(&self, plan: &Plan<'_>) -> Result<(), Refused> {
        let stored = HEAD_BYTES + TARGET_BYTES * plan.route.queues.len();
        if stored as u64 + plan.stored_bytes() <= self.config.stored_max as u64 {
            return Ok(());
        }
        Err((Code::TooLarge, "the message is larger than a record of the log can be".into()))
    }

    /// The weakest level on a route, none where there is no queue; refused where it is weaker than
    /// what was asked for.
    pub(crate) fn weakest_level(
        &self,
        route: &Route,
        qos: Qos,
        asked: Option<Level>,
    ) -> Result<Option<Level>, Refused> {
        let levels = self.rules_along(route).map(|rules| match qos {
            Qos::AtMostOnce => Level::Memory,
            Qos::AtLeastOnce => rules.level,
        });
        let weakest = levels.min();
        match asked.zip(weakest) {
            Some((asked, weakest)) if asked > weakest => {
                let (asked, weakest) = (asked.name(), weakest.name());
                let text = format!("level {asked} was asked for, a queue has level {weakest}");
                Err((Code::Invalid, text.into()))
            }
            _ => Ok(weakest),
        }
    }

    pub(crate) fn route(&mut self, to: &Destination) -> Result<Arc<Route>, Refused> {
        match to {
            Destination::Topic(topic) => Ok(self.topics.route(topic)),
            Destination::Queue(name) if name.is_subscription() => {
                let text = "messages come to the queue of a subscription through topics alone";
                Err((Code::Invalid, text.into()))
            }
            Destination::Queue(name) => match self.names.find(name) {
                Some(no) => Ok(Arc::new(Route { queues: vec![no], ephemerals: Vec::new() })),
                None => Err((Code::NotFound, "there is no such queue".into())),
            },
        }
    }

    /// What makes a second publish of this message a duplicate, if it asks for that.
    fn mark(&self, now: Timestamp, to: &Destination, message: &Message) -> Option<DedupeMark> {
        let id = message.extras.as_ref()?.dedupe_id.as_ref()?;
        let (id, body) = self.dedupe_hashes(id, &message.payload);
        let (scope, window) = match to {
            Destination::Topic(topic) => {
                (DedupeScope::Topic(topic.clone()), self.config.queue.dedupe_window)
            }
            Destination::Queue(name) => {
                let no = self.names.find(name)?;
                (DedupeScope::Queue(no), self.queues.get(&no)?.rules.dedupe_window)
            }
        };
        Some(DedupeMark { scope, id, body, until: now.after(window) })
    }

    /// T3: what was said when the message was published before.
    fn look_up<'a>(
        &mut self,
        now: Timestamp,
        session: SessionId,
        mark: &DedupeMark,
    ) -> Result<Option<Planned<'a>>, Refused> {
        let owner = self.sessions.get(&session).map(|state| state.owner.clone());
        match self.dedupes.look(now, owner, mark, self.dedupe_max(mark)) {
            Known::New => Ok(None),
            Known::Same(entry) => {
                let (id, matched) = (entry.message, entry.matched);
                let level = (matched > 0).then_some(entry.level);
                let published = Published { id, matched, level, duplicate: true };
                let need = need_of(entry.waits_for, entry.sequence);
                Ok(Some(Planned::Duplicate(published, need)))
            }
            Known::Other(entry) => {
                Ok(Some(Planned::Conflict(need_of(entry.waits_for, entry.sequence))))
            }
            Known::Full(no_room) => Err(no_room.refusal()),
        }
    }

    /// How many ids may be remembered beside this one.
    pub(crate) fn dedupe_max(&self, mark: &DedupeMark) -> u64 {
        match &mark.scope {
            DedupeScope::Topic(_) | DedupeScope::Keys => self.config.queue.dedupe_max,
            DedupeScope::Queue(no) => self.queues.get(no).map_or(0, |q| q.rules.dedupe_max),
        }
    }

    /// T4: refuses messages, so many with so many bytes together, that would not fit every queue,
    /// after what `added` has taken already.
    pub(crate) fn check_room(
        &self,
        route: &Route,
        (new, len): (u64, u64),
        mut added: Option<&mut Added>,
    ) -> Result<(), Refused> {
        for no in &route.queues {
            let Some(queue) = self.queues.get(no) else { continue };
            let before = added.as_ref().and_then(|added| added.get(no)).copied().unwrap_or((0, 0));
            let counts = queue.counts;
            // What may be dropped makes room.
            let (messages, bytes) = match queue.rules.overflow {
                Overflow::Reject => (counts.live(), counts.bytes),
                Overflow::DropOldest | Overflow::Dead => {
                    (counts.by_state.leased, counts.leased_bytes)
                }
            };
            let fits = messages + before.0 + new <= queue.rules.max_messages
                && bytes + before.1 + len <= queue.rules.max_bytes;
            if !fits {
                let text = format!("queue {} is full", queue.identity.name);
                return Err((Code::QueueFull, text.into()));
            }
            if let Some(added) = &mut added {
                added.insert(*no, (before.0 + new, before.1 + len));
            }
        }
        Ok(())
    }

    /// Does what was planned.
    fn carry_out(
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

fn other_body() -> Refused {
    (Code::Conflict, "the dedupe id was used for another message".into())
}

fn too_large(len: u64, rules: &QueueConfig) -> Result<(), Refused> {
    if len <= rules.max_message_bytes {
        return Ok(());
    }
    let max = rules.max_message_bytes;
    let text = format!("the message has {len} bytes, max_message_bytes is {max}");
    Err((Code::TooLarge, text.into()))
}

fn delay_of(extras: Option<&Extras>, now: Timestamp) -> Option<std::time::Duration> {
    let extras = extras?;
    let delay = match extras.deliver_at {
        Some(at) => Some(at.since(now)),
        None => extras.delay,
    };
    delay.filter(|delay| !delay.is_zero())
}

/// A message may only shorten its queue's time to live.
fn ttl_of(extras: Option<&Extras>, rules: &QueueConfig) -> Option<std::time::Duration> {
    match (rules.ttl, extras.and_then(|extras| extras.ttl)) {
        (Some(queue), Some(own)) => Some(queue.min(own)),
        (queue, own) => queue.or(own),
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
