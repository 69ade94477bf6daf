//! Records to state: the one way in which what survives a crash is changed, live and in replay.

use sluice_model::{Extras, Generation, QueueNo, Seq, SubscriptionName, Timestamp, TopicPattern};

use crate::deadlines::Due;
use crate::engine::{Engine, cancel_deadlines};
use crate::journal::{BodyRef, Sequence};
use crate::queue::Queue;
use crate::queue::slots::{Extra, Lease, Slot};
use crate::random::LeaseKey;
use crate::record::{Cause, DeadReason, Record, Removal, Target};
use crate::topic::{Listener, Owner};

impl Engine {
    /// Applies one record that stands at `body` in the log.
    ///
    /// A record about a queue or message that is not there changes nothing: the queue ended later.
    pub(crate) fn apply(&mut self, record: &Record<'_>, body: BodyRef) {
        match record {
            Record::Founded { lease_key } => {
                self.lease_key = LeaseKey::from_bytes(*lease_key);
                self.global_dirty = true;
            }
            Record::Started { start, unclean, at: _ } => self.started(*start, *unclean),
            Record::Subscribed { queue, at, name, pattern, owner } => {
                // Names were checked before they were written.
                let name = name.as_deref().and_then(|name| SubscriptionName::new(name).ok());
                let Ok(pattern) = TopicPattern::new(pattern) else { return };
                let owner = Owner::from_record(owner);
                let mut queue = Queue::new(*queue, name, pattern, owner, *at);
                queue.made_by = body.sequence;
                queue.begin_run(self.start, false);
                self.add_queue(queue);
            }
            Record::Unsubscribed { queue } => self.remove_queue(*queue),
            Record::Published { at, id, targets, extras, content: _ } => {
                if id.start == self.start {
                    self.next.message = self.next.message.max(id.counter);
                }
                let shared = targets.len() > 1;
                for target in targets.iter() {
                    self.add_message(target, Slot::new(body, *at, shared), extras.as_deref());
                }
            }
            Record::Moved { targets, body: _ } => {
                for target in targets.iter() {
                    self.move_message(target, body);
                }
            }
            Record::Granted { target, generation, deadline, bound } => {
                let lease = Lease {
                    generation: *generation,
                    deadline: *deadline,
                    bound: *bound,
                    session: None,
                };
                self.grant_message(target, lease);
            }
            Record::Acked { target, generation } => {
                self.ack_message(target, *generation, body.sequence);
            }
            Record::Returned { target, cause, ready_at } => {
                self.return_message(target, *cause, *ready_at);
            }
            Record::Buried { target, reason, at } => self.bury_message(target, *reason, *at),
            Record::Removed { target, why } => self.remove_message(target, *why),
        }
    }

    /// A start begins: its ids and generations count from the beginning.
    pub(crate) fn started(&mut self, start: u32, unclean: bool) {
        self.start = start;
        self.next.message = 0;
        self.next.generation = 0;
        self.global_dirty = true;
        for queue in self.queues.values_mut() {
            queue.begin_run(start, unclean);
        }
    }

    /// Makes a queue known under its number, its name or owner, and its pattern.
    pub(crate) fn add_queue(&mut self, queue: Queue) {
        let no = queue.no;
        self.next.queue = self.next.queue.max(no.0);
        self.global_dirty = true;
        self.topics.insert(&queue.pattern, Listener::Queue(no));
        self.holdings.add(&queue.owner);
        match &queue.name {
            Some(name) => {
                self.names.insert(name.clone(), no);
            }
            None => {
                let key = (queue.owner.clone(), queue.pattern.clone());
                self.unnamed.entry(key).or_default().insert(no);
            }
        }
        self.queues.insert(no, queue);
    }

    fn remove_queue(&mut self, no: QueueNo) {
        let Some(queue) = self.queues.remove(&no) else { return };
        self.topics.remove(&queue.pattern, Listener::Queue(no));
        self.holdings.remove(&queue.owner);
        match &queue.name {
            Some(name) => {
                self.names.remove(name);
            }
            None => {
                let key = (queue.owner.clone(), queue.pattern.clone());
                if let Some(numbers) = self.unnamed.get_mut(&key) {
                    numbers.remove(&no);
                    if numbers.is_empty() {
                        self.unnamed.remove(&key);
                    }
                }
            }
        }
        if let Some(at) = queue.inactive_at {
            self.deadlines.cancel(at, Due::Inactive(no));
        }
        // Connections in their grace may still hold some of its messages.
        for (seq, lease) in queue.held_leases() {
            if let Some(session) = lease.session.and_then(|id| self.sessions.get_mut(&id)) {
                session.leases.remove(&(lease.generation, no, Seq(seq)));
            }
        }
        // At once, or an image taken while its messages are being forgotten would bring it back.
        self.removed_pieces.push(crate::image::queue_key(no));
        self.ended.push_back(queue);
    }

    fn add_message(&mut self, target: &Target, slot: Slot, _extras: Option<&Extras>) {
        let Some(queue) = self.queues.get_mut(&target.queue) else { return };
        queue.slots.skip_to(target.seq.0);
        let due = |at: Timestamp| at != Timestamp::EPOCH;
        let extra = (due(target.ready_at) || due(target.expires_at)).then(|| Extra {
            ready_at: target.ready_at,
            expires_at: target.expires_at,
            ..Extra::default()
        });
        queue.push(slot, extra);
        self.usage.add(&slot);
        if queue.has_hidden() && !std::mem::replace(&mut queue.listed_hidden, true) {
            self.hidden.push(target.queue);
        }
        self.expect_target(target);
    }

    /// Sets the deadlines of a new message.
    pub(crate) fn expect_target(&mut self, target: &Target) {
        if target.ready_at != Timestamp::EPOCH {
            self.deadlines.insert(target.ready_at, Due::Ready(target.queue, target.seq));
        }
        if target.expires_at != Timestamp::EPOCH {
            self.deadlines.insert(target.expires_at, Due::Expire(target.queue, target.seq));
        }
    }

    fn move_message(&mut self, target: &Target, body: BodyRef) {
        let Some(queue) = self.queues.get_mut(&target.queue) else { return };
        let Some(slot) = queue.slots.get(target.seq.0).copied() else { return };
        self.usage.release(&slot);
        queue.slots.relocate(target.seq.0, body);
        queue.dirty = true;
        if let Some(slot) = queue.slots.get(target.seq.0) {
            self.usage.add(slot);
        }
    }

    fn grant_message(&mut self, target: &Target, lease: Lease) {
        if lease.generation.start == self.start {
            self.next.generation = self.next.generation.max(lease.generation.counter);
        }
        let Some(queue) = self.queues.get_mut(&target.queue) else { return };
        if let Some((_, Some(extra))) = queue.slots.get_full(target.seq.0)
            && extra.ready_at != Timestamp::EPOCH
        {
            // In replay the clock does not say that a delay has passed; the grant does.
            self.deadlines.cancel(extra.ready_at, Due::Ready(target.queue, target.seq));
            queue.wake(target.seq.0);
        }
        queue.grant(target.seq.0, lease);
        self.deadlines.insert(lease.deadline, Due::Lease(target.queue, target.seq));
    }

    fn ack_message(&mut self, target: &Target, generation: Generation, sequence: Sequence) {
        self.cancel_deadlines_of(target);
        self.release_lease(target);
        let Some(queue) = self.queues.get_mut(&target.queue) else { return };
        if let Some(slot) = queue.ack(target.seq.0, generation, sequence) {
            self.usage.release(&slot);
        }
    }

    fn return_message(&mut self, target: &Target, cause: Cause, ready_at: Timestamp) {
        self.release_lease(target);
        let Some(queue) = self.queues.get_mut(&target.queue) else { return };
        let lease = queue.give_back(target.seq.0, cause, ready_at, self.start);
        if let Some(lease) = lease {
            self.deadlines.cancel(lease.deadline, Due::Lease(target.queue, target.seq));
        }
        if ready_at != Timestamp::EPOCH {
            self.deadlines.insert(ready_at, Due::Ready(target.queue, target.seq));
        }
    }

    fn bury_message(&mut self, target: &Target, reason: DeadReason, at: Timestamp) {
        self.cancel_deadlines_of(target);
        self.release_lease(target);
        if let Some(queue) = self.queues.get_mut(&target.queue) {
            queue.bury(target.seq.0, reason, at);
        }
    }

    fn remove_message(&mut self, target: &Target, why: Removal) {
        self.cancel_deadlines_of(target);
        self.release_lease(target);
        let Some(queue) = self.queues.get_mut(&target.queue) else { return };
        if let Some(slot) = queue.remove(target.seq.0, why) {
            self.usage.release(&slot);
        }
        self.stats.dropped += u64::from(why == Removal::Dropped);
    }

    fn cancel_deadlines_of(&mut self, target: &Target) {
        if let Some(queue) = self.queues.get(&target.queue)
            && let Some((_, extra)) = queue.slots.get_full(target.seq.0)
        {
            cancel_deadlines(&mut self.deadlines, target.queue, target.seq.0, extra);
        }
    }

    /// Takes a message off the list of what its holder holds.
    fn release_lease(&mut self, target: &Target) {
        if let Some(queue) = self.queues.get(&target.queue)
            && let Some((_, Some(extra))) = queue.slots.get_full(target.seq.0)
            && let Some(lease) = extra.lease
            && let Some(session) = lease.session.and_then(|id| self.sessions.get_mut(&id))
        {
            session.leases.remove(&(lease.generation, target.queue, target.seq));
        }
    }

    /// Whether a body at `from` is still what this message refers to.
    pub(crate) fn refers_to(&self, queue: QueueNo, seq: Seq, from: Sequence) -> bool {
        let queue = self.queues.get(&queue);
        queue.and_then(|queue| queue.slots.get(seq.0)).is_some_and(|slot| slot.sequence() == from)
    }
}
