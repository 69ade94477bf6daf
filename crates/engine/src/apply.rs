//! Records to state: the one way in which what survives a crash is changed, live and in replay.

use std::sync::Arc;

use sluice_flow::Ended;
use sluice_model::{
    DeadReason, Lane, Level, MessageId, Purge, QueueName, QueueNo, QueueSettings, Seq, Timestamp,
    TopicPattern,
};

use crate::config::QueueConfig;
use crate::deadlines::Due;
use crate::dedupe;
use crate::ending::cancel_deadlines;
use crate::engine::Engine;
use crate::journal::{BodyRef, Sequence};
use crate::queue::slots::{Extra, Lease, Slot};
use crate::queue::{Defined, Identity, Queue, Returned};
use crate::random::LeaseKey;
use crate::record::{DedupeMark, DedupeScope, Record, Removal, Target};
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
            Record::Declared { queue, at, name, pattern, owner, settings } => {
                self.declared(*queue, *at, (name.as_deref(), pattern.as_deref()), owner, settings);
                self.touched_whole(*queue, body.sequence);
            }
            Record::Configured { queue, settings } => {
                self.configured(*queue, settings);
                self.touched_whole(*queue, body.sequence);
            }
            Record::Ended { queue } => {
                self.changing(*queue);
                self.remove_queue(*queue);
            }
            Record::Published { at, id, targets, lane, dedupe, content: _ } => {
                if id.start == self.start {
                    self.next.message = self.next.message.max(id.counter);
                }
                let shared = targets.len() > 1;
                let lane = lane.as_deref().map(|lane| Arc::new(lane.clone()));
                for target in targets.iter() {
                    let level = self.level_of(target.queue).max(Level::Os);
                    let slot = Slot::new(body, id.counter, *at, level).shared(shared);
                    self.add_message(target, slot, lane.as_ref());
                }
                if let Some(mark) = dedupe {
                    self.remember(mark, *id, targets, body.sequence);
                }
            }
            Record::Moved { targets, body: _ } => {
                for target in targets.iter() {
                    self.move_message(target, body);
                }
            }
            Record::Purged { queue, from, to, what } => {
                self.changing(*queue);
                self.purge(*queue, from.0..to.0, *what);
                self.touched(*queue, body.sequence);
            }
            Record::RedriveBegun { queue, number, paced } => {
                if let Some(queue) = self.queues.get_mut(queue) {
                    self.changes.note(queue);
                    queue.redrives.insert(*number, paced.as_ref().clone());
                    queue.dirty = true;
                }
                self.touched_whole(*queue, body.sequence);
            }
            Record::RedriveDone { queue, number } => {
                if let Some(queue) = self.queues.get_mut(queue) {
                    self.changes.note(queue);
                    queue.redrives.remove(number);
                    queue.dirty = true;
                    // Should it be lost, the next start finds nothing left to put back.
                    queue.touched(Level::Os, body.sequence);
                }
            }
            Record::Granted { .. }
            | Record::GrantedMany { .. }
            | Record::Acked { .. }
            | Record::AckedMany { .. } => self.apply_to_many(record, body.sequence),
            record => self.apply_to_one(record, body.sequence),
        }
    }

    /// Applies a record about one message, or one key.
    fn apply_to_one(&mut self, record: &Record<'_>, sequence: Sequence) {
        match record {
            Record::Extended { target, at, deadline } => {
                // It is handed to the kernel, like a grant.
                if let Some(queue) = self.queues.get_mut(&target.queue) {
                    self.changes.note(queue);
                    queue.touched(Level::Os, sequence);
                }
                self.extend_message(target, *at, *deadline);
            }
            Record::Returned { target, cause, at, ready_at, note } => {
                let (cause, at, ready_at, note) = (*cause, *at, *ready_at, note.as_deref());
                let how = Returned { cause, at, ready_at, note, start: self.start };
                self.touched_one(target, sequence);
                self.return_message(target, how);
            }
            Record::Buried { target, reason, at, note } => {
                self.touched_one(target, sequence);
                self.bury_message(target, *reason, *at, note.as_deref());
            }
            Record::Removed { target, why } => {
                self.touched_one(target, sequence);
                self.remove_message(target, *why);
            }
            Record::Rescheduled { target, at, ready_at } => {
                self.touched_one(target, sequence);
                if let Some(queue) = self.queues.get_mut(&target.queue) {
                    queue.reschedule(target.seq.0, *at, *ready_at);
                }
                self.moved_in_time(target.queue);
            }
            Record::Redriven { target, at, fence } => {
                // First, because the message's new place goes by it.
                self.touched_one(target, sequence);
                if let Some(queue) = self.queues.get_mut(&target.queue) {
                    queue.redrive(target.seq.0, *at, *fence);
                }
                self.moved_in_time(target.queue);
            }
            Record::KeySet { .. } | Record::KeyGone { .. } => self.apply_to_key(record, sequence),
            // The others are of limits.
            _ => self.apply_to_limits(record, sequence),
        }
    }

    /// Notes a record about messages of a queue.
    fn touched(&mut self, no: QueueNo, sequence: Sequence) {
        if let Some(queue) = self.queues.get_mut(&no) {
            queue.touched(queue.rules.level, sequence);
        }
    }

    /// Notes a record about one message, before it changes.
    fn touched_one(&mut self, target: &Target, sequence: Sequence) {
        let Some(queue) = self.queues.get_mut(&target.queue) else { return };
        self.changes.note(queue);
        if let Some(level) = queue.slots.get(target.seq.0).map(Slot::level) {
            queue.touched(level, sequence);
        }
    }

    /// Notes a record about a queue itself.
    fn touched_whole(&mut self, no: QueueNo, sequence: Sequence) {
        if let Some(queue) = self.queues.get_mut(&no) {
            queue.touched(Level::Sync, sequence);
        }
    }

    /// A message of the queue may be ready, or due at another time.
    fn moved_in_time(&mut self, no: QueueNo) {
        self.arm(no);
        self.stir(Listener::Queue(no));
    }

    fn declared(
        &mut self,
        no: QueueNo,
        made_at: Timestamp,
        (name, pattern): (Option<&str>, Option<&str>),
        owner: &str,
        settings: &QueueSettings,
    ) {
        // Names were checked before they were written.
        let named = match name.map(QueueName::new) {
            None => QueueName::of_unnamed(no),
            Some(Ok(name)) => name,
            Some(Err(_)) => return,
        };
        let Ok(pattern) = pattern.map(TopicPattern::new).transpose() else { return };
        let (unnamed, owner) = (name.is_none(), Owner::from_record(owner));
        let identity = Identity { no, name: named, pattern, unnamed, owner, made_at };
        let rules = self.rules(unnamed, settings);
        let mut queue = Queue::new(identity, settings.clone(), rules, self.lane_seed);
        queue.begin_run(self.start, false);
        self.changes.note(&mut queue);
        self.add_queue(queue);
    }

    /// The rules of a queue that chose these settings.
    pub(crate) fn rules(&self, unnamed: bool, settings: &QueueSettings) -> Arc<QueueConfig> {
        let base = if unnamed { &self.defaults.unnamed } else { &self.defaults.queue };
        if settings.is_empty() {
            return Arc::clone(base);
        }
        // They were checked against the defaults of their time. Where defaults that were changed
        // since contradict them, the defaults give way as a whole.
        let standard = || QueueConfig::default().with(settings);
        let rules = base.with(settings).or_else(|_| standard());
        rules.map_or_else(|_| Arc::clone(base), Arc::new)
    }

    fn configured(&mut self, no: QueueNo, settings: &QueueSettings) {
        let Some(queue) = self.queues.get(&no) else { return };
        let rules = self.rules(queue.identity.unnamed, settings);
        if let Some(queue) = self.queues.get_mut(&no) {
            self.changes.note(queue);
            queue.settings = settings.clone();
            queue.defined = queue.defined.map(|_| Defined::Before);
            queue.rules = rules;
            queue.dirty = true;
            queue.regroup();
        }
        self.arm(no);
    }

    /// Remembers a dedupe id.
    fn remember(
        &mut self,
        mark: &DedupeMark,
        message: MessageId,
        targets: &[Target],
        sequence: Sequence,
    ) {
        let levels = || targets.iter().map(|target| self.level_of(target.queue).max(Level::Os));
        let entry = dedupe::Entry {
            id: mark.id,
            body: mark.body,
            until: mark.until,
            message,
            matched: targets.len() as u32,
            level: levels().min().unwrap_or(Level::Sync),
            sequence,
            waits_for: levels().max().unwrap_or(Level::Sync),
            sum: 0,
        };
        self.remember_entry(&mark.scope, entry);
    }

    /// Remembers a dedupe id, and sees to it that it is forgotten.
    pub(crate) fn remember_entry(&mut self, scope: &DedupeScope, entry: dedupe::Entry) {
        if let Some((scope, until)) = self.dedupes.insert(scope, entry) {
            self.deadlines.insert(until, Due::Dedupe(scope));
        }
    }

    /// A start begins: its ids and generations count from the beginning.
    pub(crate) fn started(&mut self, start: u32, unclean: bool) {
        self.start = start;
        self.next.message = 0;
        self.next.generation = 0;
        self.global_dirty = true;
        for queue in self.queues.values_mut() {
            self.changes.note(queue);
            queue.begin_run(start, unclean);
        }
    }

    /// Makes a queue known under its number and name, its owner, and its pattern.
    pub(crate) fn add_queue(&mut self, queue: Queue) {
        let identity = &queue.identity;
        let no = identity.no;
        self.next.queue = self.next.queue.max(no.0);
        self.global_dirty = true;
        self.names.insert(&identity.name, no);
        if let Some(pattern) = &identity.pattern {
            self.subscription_queues += 1;
            self.holdings.add(&identity.owner);
            self.topics.insert(pattern, Listener::Queue(no));
            if identity.unnamed {
                let key = (identity.owner.clone(), pattern.clone());
                self.unnamed.entry(key).or_default().insert(no);
            }
        } else {
            self.queues_held.add(&identity.owner);
        }
        self.present += queue.counts.present();
        self.queues.insert(no, queue);
    }

    fn remove_queue(&mut self, no: QueueNo) {
        self.forget_lanes(no);
        let Some(mut queue) = self.queues.remove(&no) else { return };
        self.present -= queue.counts.present();
        let identity = &queue.identity;
        self.names.remove(&identity.name);
        if let Some(pattern) = &identity.pattern {
            self.subscription_queues -= 1;
            self.holdings.remove(&identity.owner);
            self.topics.remove(pattern, Listener::Queue(no));
            let key = (identity.owner.clone(), pattern.clone());
            if let Some(numbers) = self.unnamed.get_mut(&key) {
                numbers.remove(&no);
                if numbers.is_empty() {
                    self.unnamed.remove(&key);
                }
            }
        } else {
            self.queues_held.remove(&identity.owner);
        }
        for at in [
            queue.wakes_at.take().map(|at| (at, Due::Ready(no))),
            queue.buries_at.take().map(|at| (at, Due::Dead(no))),
            queue.works_at.take().map(|at| (at, Due::Work(no))),
            queue.resumes_at.take().map(|at| (at, Due::Resume(no))),
        ]
        .into_iter()
        .flatten()
        {
            self.deadlines.cancel(at.0, at.1);
        }
        self.dedupes.end_queue(&DedupeScope::Queue(no));
        if let Some(at) = queue.inactive_at {
            self.deadlines.cancel(at, Due::Inactive(no));
        }
        // Connections in their grace may still hold some of its messages.
        for (seq, lease) in queue.held_leases() {
            if let Some(session) = lease.session.and_then(|id| self.sessions.get_mut(&id)) {
                session.forget((lease.generation, no, Seq(seq)), 1);
            }
        }
        // At once, or an image taken while its messages are being forgotten would bring it back.
        self.removed_pieces.extend(crate::image::queue_keys(&queue));
        self.ended.push_back(queue);
    }

    fn add_message(&mut self, target: &Target, slot: Slot, lane: Option<&Arc<Lane>>) {
        let Some(queue) = self.queues.get_mut(&target.queue) else { return };
        self.changes.note(queue);
        queue.slots.skip_to(target.seq.0);
        let due = |at: Timestamp| at != Timestamp::EPOCH;
        let special = due(target.ready_at) || due(target.expires_at) || lane.is_some();
        let extra = special.then(|| Extra {
            ready_at: target.ready_at,
            expires_at: target.expires_at,
            lane: lane.cloned(),
            ..Extra::default()
        });
        queue.push(slot, extra);
        self.list_laned(target.queue);
        let Some(queue) = self.queues.get_mut(&target.queue) else { return };
        self.present += 1;
        self.usage.add(&slot);
        if queue.has_hidden() && !std::mem::replace(&mut queue.listed_hidden, true) {
            self.hidden.push(target.queue);
        }
        if special {
            self.expect_target(target);
        }
    }

    /// Sets the deadlines of a new message.
    pub(crate) fn expect_target(&mut self, target: &Target) {
        if target.ready_at != Timestamp::EPOCH {
            self.arm(target.queue);
        }
        if target.expires_at != Timestamp::EPOCH {
            self.deadlines.insert(target.expires_at, Due::Expire(target.queue, target.seq));
        }
    }

    fn move_message(&mut self, target: &Target, body: BodyRef) {
        let Some(queue) = self.queues.get_mut(&target.queue) else { return };
        let Some(slot) = queue.slots.get(target.seq.0).copied() else { return };
        self.usage.release(&slot);
        self.changes.note(queue);
        queue.slots.relocate(target.seq.0, body);
        queue.dirty = true;
        if let Some(slot) = queue.slots.get(target.seq.0) {
            self.usage.add(slot);
        }
    }

    fn extend_message(&mut self, target: &Target, at: Timestamp, deadline: Timestamp) {
        let Some(queue) = self.queues.get_mut(&target.queue) else { return };
        if let Some(before) = queue.extend(target.seq.0, at, deadline) {
            let due = Due::Lease(target.queue, target.seq);
            self.deadlines.cancel(before, due);
            self.deadlines.insert(deadline, due);
        }
    }

    fn return_message(&mut self, target: &Target, how: Returned<'_>) {
        self.release_lease(target);
        let Some(queue) = self.queues.get_mut(&target.queue) else { return };
        if let Some(lease) = queue.give_back(target.seq.0, how) {
            self.deadlines.cancel(lease.deadline, Due::Lease(target.queue, target.seq));
        }
        self.moved_in_time(target.queue);
    }

    fn bury_message(
        &mut self,
        target: &Target,
        reason: DeadReason,
        at: Timestamp,
        note: Option<&str>,
    ) {
        self.cancel_deadlines_of(target);
        self.release_lease(target);
        if let Some(queue) = self.queues.get_mut(&target.queue) {
            queue.bury(target.seq.0, reason, at, note);
        }
        self.arm(target.queue);
    }

    /// T21: deletes messages by state.
    fn purge(&mut self, no: QueueNo, seqs: std::ops::Range<u64>, what: Purge) {
        let mut from = seqs.start;
        while let Some(queue) = self.queues.get(&no)
            && let Some(seq) = queue.slots.next_alive(from, seqs.end)
        {
            from = seq + 1;
            if queue.is_meant(seq, what) {
                self.remove_message(&Target::new(no, Seq(seq)), Removal::Deleted);
            }
        }
    }

    fn remove_message(&mut self, target: &Target, why: Removal) {
        self.cancel_deadlines_of(target);
        self.release_lease(target);
        let Some(queue) = self.queues.get_mut(&target.queue) else { return };
        if let Some(slot) = queue.remove(target.seq.0, why) {
            self.present -= 1;
            self.usage.release(&slot);
        }
        self.stats.dropped += u64::from(why == Removal::Dropped);
        self.list_untidy(target.queue);
    }

    fn cancel_deadlines_of(&mut self, target: &Target) {
        if let Some(queue) = self.queues.get(&target.queue)
            && let Some((_, extra)) = queue.slots.get_full(target.seq.0)
        {
            cancel_deadlines(&mut self.deadlines, target.queue, target.seq.0, extra);
        }
    }

    /// Takes a message off the list of what its holder holds, and from what limits count.
    fn release_lease(&mut self, target: &Target) {
        if let Some(queue) = self.queues.get_mut(&target.queue)
            && let Some(lease) = queue.lease_of(target.seq.0)
        {
            let lane = queue.lane_number(target.seq.0);
            self.limits.release(queue, lane, Ended::Otherwise);
            self.stir(Listener::Queue(target.queue));
            self.forget_held(target, &lease);
        }
    }

    fn forget_held(&mut self, target: &Target, lease: &Lease) {
        if let Some(session) = lease.session.and_then(|id| self.sessions.get_mut(&id)) {
            session.forget((lease.generation, target.queue, target.seq), 1);
        }
    }

    /// Whether a body at `from` is still what this message refers to.
    pub(crate) fn refers_to(&self, queue: QueueNo, seq: Seq, from: Sequence) -> bool {
        let queue = self.queues.get(&queue);
        queue.and_then(|queue| queue.slots.get(seq.0)).is_some_and(|slot| slot.sequence() == from)
    }
}
