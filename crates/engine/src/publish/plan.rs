//! What a publish comes to: checked, with where it goes, before anything is done.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_model::{
    Code, DELAY_MAX, Destination, Extras, Level, Message, MessageId, Principal, Published, Qos,
    QueueNo, SessionId, Timestamp,
};

use crate::config::{Overflow, QueueConfig};
use crate::content::Content;
use crate::dedupe::Known;
use crate::engine::{Engine, Refused, need_of};
use crate::journal::Need;
use crate::record::{DedupeMark, DedupeScope};
use crate::topic::Route;

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
    pub(super) mark: Option<DedupeMark>,
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
pub(super) enum Planned<'a> {
    New(Plan<'a>),
    /// It is known already; what was said then, and what it depends on.
    Duplicate(Published, Need),
    /// Its id is known with another body, by a record that the refusal depends on.
    Conflict(Need),
}

/// Messages and bytes that a batch adds to queues.
pub(super) type Added = BTreeMap<QueueNo, (u64, u64)>;

impl Engine {
    /// Checks a message and finds out where it goes.
    pub(super) fn plan<'a>(
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
}

pub(super) fn other_body() -> Refused {
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

pub(super) fn delay_of(extras: Option<&Extras>, now: Timestamp) -> Option<std::time::Duration> {
    let extras = extras?;
    let delay = match extras.deliver_at {
        Some(at) => Some(at.since(now)),
        None => extras.delay,
    };
    delay.filter(|delay| !delay.is_zero())
}

/// A message may only shorten its queue's time to live.
pub(super) fn ttl_of(extras: Option<&Extras>, rules: &QueueConfig) -> Option<std::time::Duration> {
    match (rules.ttl, extras.and_then(|extras| extras.ttl)) {
        (Some(queue), Some(own)) => Some(queue.min(own)),
        (queue, own) => queue.or(own),
    }
}
