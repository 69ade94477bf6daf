//! Publishing: one record and one body for every subscription that matches.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use sluice_model::{
    Answer, Code, Confirm, MessageId, Principal, Publish, Qos, QueueNo, Seq, SessionId, Timestamp,
};

use crate::config::{Level, Overflow};
use crate::content::Content;
use crate::effects::Resident;
use crate::engine::{Engine, HiddenCopy, Turn, need_of, queue_config};
use crate::journal::Need;
use crate::queue::slots::{Extra, Slot};
use crate::record::{Record, Removal, Target};
use crate::topic::Route;

impl Engine {
    /// T1, T2, T4, T5: stores a message for all that match or for none.
    pub(crate) fn publish(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        tag: u64,
        publish: &Publish,
    ) {
        if publish.message.payload.len() > self.config.max_message_bytes {
            let text = "the message is larger than max_message_bytes";
            return self.refuse(turn.effects, session, tag, Code::TooLarge, text);
        }
        let route = self.topics.route(&publish.topic);
        let id = MessageId { start: self.start, counter: self.next.message + 1 };
        let outcome = match publish.qos {
            Qos::AtMostOnce => Ok(self.publish_resident(turn.now, session, id, publish, &route)),
            Qos::AtLeastOnce => self.publish_stored(turn, session, id, publish, &route),
        };
        let matched = (route.queues.len() + route.ephemerals.len()) as u32;
        match outcome {
            Ok(need) => {
                self.next.message = id.counter;
                self.stats.published += 1;
                let unroutable = matched == 0 && publish.qos == Qos::AtLeastOnce;
                self.stats.unroutable += u64::from(unroutable);
                if publish.confirm == Confirm::Always {
                    self.reply(turn.effects, session, tag, Answer::Published { id, matched }, need);
                }
            }
            Err(full) => {
                let text = format!("the queue of subscription {} is full", full.0);
                self.refuse(turn.effects, session, tag, Code::QueueFull, text);
            }
        }
    }

    /// Who publishes, as the door has found out.
    fn sender(&self, session: SessionId) -> Principal {
        let state = self.sessions.get(&session);
        state.map_or(Principal::Anonymous, |state| state.client.principal.clone())
    }

    /// At most once: from memory, to whoever has room.
    fn publish_resident(
        &mut self,
        now: Timestamp,
        session: SessionId,
        id: MessageId,
        publish: &Publish,
        route: &Route,
    ) -> Need {
        if route.queues.is_empty() && route.ephemerals.is_empty() {
            return Need::NONE;
        }
        let message = resident(now, id, publish, self.sender(session));
        self.spread(&route.ephemerals, &message);
        let len = message.bytes() as u64;
        for target in self.targets(now, publish, route) {
            let no = target.queue;
            let Some(queue) = self.queues.get_mut(&no) else { continue };
            let rules = queue_config(&self.config, queue);
            // A guarantee of at most once lets a full queue pass the message by.
            let full = queue.counts.live() >= rules.max_messages
                || queue.counts.bytes + len > rules.max_bytes;
            if full {
                self.stats.dropped += 1;
                continue;
            }
            let slot = Slot::resident(len, now);
            let extra = Extra {
                ready_at: target.ready_at,
                expires_at: target.expires_at,
                resident: Some(Arc::clone(&message)),
                ..Extra::default()
            };
            queue.push(slot, Some(extra));
            if queue.has_hidden() && !std::mem::replace(&mut queue.listed_hidden, true) {
                self.hidden.push(no);
            }
            self.expect_target(&target);
        }
        Need::NONE
    }

    /// At least once: in the log, for every queue or for none. Fails with the one that is full.
    fn publish_stored(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        id: MessageId,
        publish: &Publish,
        route: &Route,
    ) -> Result<Need, QueueNo> {
        let extras = publish.message.extras.as_deref();
        let sender = self.sender(session);
        let content = Content {
            published_at: turn.now,
            id,
            topic: publish.topic.as_str(),
            sender: sender.as_str(),
            headers: extras.map_or(&[], |extras| &extras.headers),
            payload: &publish.message.payload,
        };
        let mut need = Need::NONE;
        if !route.queues.is_empty() {
            let len = content.len() as u64;
            if let Some(full) = route.queues.iter().find(|no| !self.could_take(**no, len)) {
                return Err(*full);
            }
            for no in &route.queues {
                self.make_room(turn, *no, len);
            }
            let targets = self.targets(turn.now, publish, route);
            let record = Record::Published {
                at: turn.now,
                id,
                targets: Cow::Borrowed(&targets),
                extras: extras.map(Cow::Borrowed),
                content: Some(content),
            };
            let sequence = self.commit(turn.journal, &record).sequence;
            for no in &route.queues {
                need.cover(need_of(self.level_of(*no), sequence));
            }
            self.wanted.cover(need);
            if let Some(session) = self.sessions.get_mut(&session) {
                session.need.cover(need);
            }
        }
        if !route.ephemerals.is_empty() {
            let message = resident(turn.now, id, publish, sender.clone());
            // One that waits for nothing still stays behind those before it.
            if need == Need::NONE && self.hidden_copies.is_empty() {
                self.spread(&route.ephemerals, &message);
            } else {
                let to = route.ephemerals.clone();
                self.hidden_copies.push_back(HiddenCopy { need, message, to });
            }
        }
        Ok(need)
    }

    /// Where the message will stand in each queue, and its times there.
    fn targets(&self, now: Timestamp, publish: &Publish, route: &Route) -> Vec<Target> {
        let extras = publish.message.extras.as_deref();
        let delay = extras.and_then(|extras| extras.delay).filter(|delay| !delay.is_zero());
        let own_ttl = extras.and_then(|extras| extras.ttl);
        let target = |no: &QueueNo| {
            let queue = self.queues.get(no)?;
            let ttl = match (queue_config(&self.config, queue).ttl, own_ttl) {
                (Some(queue), Some(own)) => Some(queue.min(own)),
                (queue, own) => queue.or(own),
            };
            Some(Target {
                queue: *no,
                seq: Seq(queue.slots.next()),
                ready_at: delay.map_or(Timestamp::EPOCH, |delay| now.after(delay)),
                expires_at: ttl.map_or(Timestamp::EPOCH, |ttl| now.after(ttl)),
            })
        };
        route.queues.iter().filter_map(target).collect()
    }

    /// How safe a queue's records must be before they are confirmed.
    pub(crate) fn level_of(&self, no: QueueNo) -> Level {
        self.queues.get(&no).map_or(Level::Sync, |queue| queue_config(&self.config, queue).level)
    }

    /// Whether a queue has room for `len` bytes, or would have after dropping all it may drop.
    fn could_take(&self, no: QueueNo, len: u64) -> bool {
        let Some(queue) = self.queues.get(&no) else { return false };
        let rules = queue_config(&self.config, queue);
        let counts = queue.counts;
        let (messages, bytes) = match rules.overflow {
            Overflow::Reject => (counts.live(), counts.bytes),
            Overflow::DropOldest => (counts.leased, counts.leased_bytes),
        };
        messages < rules.max_messages && bytes + len <= rules.max_bytes
    }

    /// T5: drops the oldest messages until `len` bytes fit.
    fn make_room(&mut self, turn: &mut Turn<'_>, no: QueueNo, len: u64) {
        loop {
            let Some(queue) = self.queues.get_mut(&no) else { return };
            let rules = queue_config(&self.config, queue);
            let counts = queue.counts;
            if counts.live() < rules.max_messages && counts.bytes + len <= rules.max_bytes {
                return;
            }
            let Some(seq) = queue.oldest_droppable() else { return };
            let resident = queue.slots.get(seq).is_some_and(|slot| slot.sequence() == 0);
            let target = Target::new(no, Seq(seq));
            self.change(turn, &Record::Removed { target, why: Removal::Dropped }, resident);
        }
    }
}

/// A copy in memory, in an allocation of its own so that it pins no read buffer.
fn resident(now: Timestamp, id: MessageId, publish: &Publish, sender: Principal) -> Arc<Resident> {
    Arc::new(Resident {
        id,
        published_at: now,
        topic: publish.topic.clone(),
        sender,
        payload: Bytes::copy_from_slice(&publish.message.payload),
    })
}
