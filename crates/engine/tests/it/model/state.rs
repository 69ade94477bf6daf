//! The simplest right broker: every message is in one state, and every change is an event.
//!
//! An event that the log holds has the number of its record, so that after a crash the events up
//! to the last record kept, applied to nothing, are what the engine must have found again.

use std::collections::{BTreeMap, VecDeque};

use sluice_engine::{Cause, Progress, QueueConfig, Removal};
use sluice_model::{
    DeadReason, Generation, LeaseId, Level, MessageId, Purge, QueueNo, QueueSettings, SessionId,
    State, Timestamp, Transition,
};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Where {
    Ready,
    Delayed(Timestamp),
    Leased(Held),
    Dead(DeadReason, Timestamp),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Held {
    pub(super) lease: LeaseId,
    pub(super) granted_at: Timestamp,
    pub(super) deadline: Timestamp,
    pub(super) bound: bool,
    pub(super) session: Option<SessionId>,
}

#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) id: MessageId,
    pub(super) seq: u64,
    /// Where it stands among those of its priority.
    pub(super) order: u64,
    pub(super) payload: String,
    pub(super) priority: u8,
    pub(super) level: Level,
    pub(super) bytes: u64,
    pub(super) enqueued_at: Timestamp,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) at: Where,
    pub(super) acquires: u32,
    pub(super) failures: u32,
    pub(super) releases: u32,
    pub(super) redriven: u32,
    pub(super) note: Option<String>,
    pub(super) last: (Transition, Timestamp),
    /// A late ack under an older generation is refused.
    pub(super) fence: Generation,
}

impl Message {
    pub(super) fn state(&self) -> State {
        match self.at {
            Where::Ready => State::Ready,
            Where::Delayed(_) => State::Delayed,
            Where::Leased(_) => State::Leased,
            Where::Dead(..) => State::Dead,
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.at, Where::Ready | Where::Delayed(_))
    }

    pub(super) fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    pub(super) fn held(&self) -> Option<Held> {
        match self.at {
            Where::Leased(held) => Some(held),
            _ => None,
        }
    }
}

/// What became of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Counted {
    pub(super) published: u64,
    pub(super) acked: u64,
    pub(super) expired: u64,
    pub(super) deleted: u64,
    pub(super) dropped: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) payload: String,
    pub(super) id: MessageId,
    pub(super) until: Timestamp,
}

#[derive(Clone, Debug)]
pub(super) struct Queue {
    pub(super) name: String,
    pub(super) settings: QueueSettings,
    pub(super) rules: QueueConfig,
    /// By seq.
    pub(super) messages: BTreeMap<u64, Message>,
    pub(super) seen: BTreeMap<String, Seen>,
    pub(super) counted: Counted,
    /// The part of it that messages in memory only have, which no record tells of.
    pub(super) fleeting: Counted,
    /// Messages that are not visible yet: seq, record, whether it must be synced.
    pub(super) hidden: VecDeque<(u64, u64, bool)>,
    pub(super) tail: u64,
    pub(super) tail_synced: u64,
}

impl Queue {
    pub(super) fn live(&self) -> u64 {
        self.messages.values().filter(|m| m.state() != State::Dead).count() as u64
    }

    pub(super) fn leased(&self) -> u64 {
        self.messages.values().filter(|m| m.state() == State::Leased).count() as u64
    }

    pub(super) fn is_visible(&self, seq: u64) -> bool {
        self.hidden.iter().all(|(hidden, ..)| *hidden != seq)
    }

    /// The message that is next, expired or not.
    pub(super) fn first(&self) -> Option<&Message> {
        let ready = self.messages.values().filter(|m| m.at == Where::Ready);
        let visible = ready.filter(|m| self.is_visible(m.seq));
        visible.min_by_key(|m| (9 - m.priority, m.order))
    }

    pub(super) fn reveal(&mut self, progress: Progress) {
        if self.tail <= progress.written && self.tail_synced <= progress.synced {
            return self.hidden.clear();
        }
        let alive = |seq: &u64| self.messages.contains_key(seq);
        while let Some((seq, record, synced)) = self.hidden.front().copied() {
            let committed = record <= if synced { progress.synced } else { progress.written };
            let passed = !alive(&seq) && self.hidden.iter().any(|(seq, ..)| alive(seq));
            if !(passed || alive(&seq) && committed) {
                return;
            }
            self.hidden.pop_front();
        }
    }

    /// The dead of one share, oldest first.
    pub(super) fn dead(&self, overflow: bool) -> Vec<(Timestamp, u64, DeadReason)> {
        let dead = self.messages.values().filter_map(|m| match m.at {
            Where::Dead(reason, at) => Some((at, m.seq, reason)),
            _ => None,
        });
        let mut dead: Vec<_> =
            dead.filter(|(_, _, r)| (*r == DeadReason::Overflow) == overflow).collect();
        dead.sort_unstable();
        dead
    }
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Declared(String, QueueSettings, QueueConfig),
    Configured(QueueSettings, QueueConfig),
    Ended,
    Published(Box<Message>, Option<(String, Timestamp)>),
    /// An id alone: the message is in memory only.
    Remembered(String, Seen),
    Granted(Held),
    Extended(Timestamp, Timestamp),
    Acked,
    Returned(Cause, Timestamp, Option<Timestamp>, Option<String>),
    Buried(DeadReason, Timestamp, Option<String>),
    Removed(Removal),
    /// T6 leaves no record.
    Woke,
    Rescheduled(Timestamp, Option<Timestamp>),
    Redriven(Timestamp, Generation),
    Purged(Purge, u64, u64),
}

#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) queue: QueueNo,
    pub(super) seq: u64,
    pub(super) what: What,
}

/// All queues, and the stamp of the next message that comes to a tail.
#[derive(Clone, Debug, Default)]
pub(super) struct State0 {
    pub(super) queues: BTreeMap<QueueNo, Queue>,
    pub(super) stamp: u64,
    pub(super) start: u32,
}

impl State0 {
    pub(super) fn apply(&mut self, event: &Event) {
        self.stamp += 1;
        let stamp = self.stamp;
        let Event { queue: no, seq, what } = event;
        if let What::Declared(name, settings, rules) = what {
            let queue = Queue {
                name: name.clone(),
                settings: settings.clone(),
                rules: rules.clone(),
                messages: BTreeMap::new(),
                seen: BTreeMap::new(),
                counted: Counted::default(),
                fleeting: Counted::default(),
                hidden: VecDeque::new(),
                tail: 0,
                tail_synced: 0,
            };
            assert!(self.queues.insert(*no, queue).is_none(), "{no:?} is its own");
            return;
        }
        let Some(queue) = self.queues.get_mut(no) else { panic!("{event:?} without a queue") };
        match what {
            What::Ended => {
                self.queues.remove(no);
            }
            What::Configured(settings, rules) => {
                (queue.settings, queue.rules) = (settings.clone(), rules.clone());
            }
            What::Published(message, mark) => {
                let message = Message { order: stamp, ..(**message).clone() };
                if let Some((id, until)) = mark {
                    let Message { payload, id: original, .. } = message.clone();
                    queue.seen.insert(id.clone(), Seen { payload, id: original, until: *until });
                }
                let before = queue.messages.insert(*seq, message);
                assert!(before.is_none(), "seq {seq} is its own");
                queue.count(*seq, |counted| counted.published += 1);
            }
            What::Remembered(id, seen) => {
                queue.seen.insert(id.clone(), seen.clone());
            }
            What::Purged(what, from, to) => queue.purge(*what, *from..*to),
            What::Acked => queue.end(*seq, |counted| counted.acked += 1),
            What::Removed(Removal::Expired) => queue.end(*seq, |counted| counted.expired += 1),
            What::Removed(Removal::Deleted) => queue.end(*seq, |counted| counted.deleted += 1),
            What::Removed(Removal::Dropped) => queue.end(*seq, |counted| counted.dropped += 1),
            what => {
                let message = queue.messages.get_mut(seq);
                message
                    .unwrap_or_else(|| panic!("{event:?} without a message"))
                    .change(what, stamp);
            }
        }
    }
}

impl Queue {
    fn count(&mut self, seq: u64, count: impl Fn(&mut Counted)) {
        count(&mut self.counted);
        if self.messages[&seq].level == Level::Memory {
            count(&mut self.fleeting);
        }
    }

    fn end(&mut self, seq: u64, count: impl Fn(&mut Counted)) {
        assert!(self.messages.contains_key(&seq), "{seq} ends and is not there");
        self.count(seq, count);
        self.messages.remove(&seq);
    }

    pub(super) fn meant(&self, what: Purge, seqs: std::ops::Range<u64>) -> Vec<u64> {
        let meant = |m: &Message| match m.state() {
            State::Ready | State::Delayed => what.waiting,
            State::Leased => what.leased,
            State::Dead => what.dead,
        };
        self.messages.range(seqs).filter(|(_, m)| meant(m)).map(|(seq, _)| *seq).collect()
    }

    fn purge(&mut self, what: Purge, seqs: std::ops::Range<u64>) {
        for seq in self.meant(what, seqs) {
            self.end(seq, |counted| counted.deleted += 1);
        }
    }
}

impl Message {
    fn change(&mut self, what: &What, stamp: u64) {
        match what {
            What::Granted(held) => {
                self.acquires += 1;
                self.last = (Transition::Leased, held.granted_at);
                self.at = Where::Leased(*held);
            }
            What::Extended(at, deadline) => {
                let Where::Leased(held) = &mut self.at else { panic!("{self:?} is not held") };
                held.deadline = *deadline;
                self.last = (Transition::Extended, *at);
            }
            What::Returned(cause, at, ready_at, note) => {
                let held = self.held().expect("only what is held is given back");
                self.failures += u32::from(cause.is_failure());
                self.releases += u32::from(*cause == Cause::Released);
                self.last = (transition(*cause), *at);
                self.note = note.clone().or(self.note.take());
                if matches!(cause, Cause::Failed | Cause::Released | Cause::Throttled) {
                    let Generation { start, counter } = held.lease.generation;
                    self.fence = Generation { start, counter: counter + 1 };
                }
                self.at = ready_at.map_or(Where::Ready, Where::Delayed);
            }
            What::Buried(reason, at, note) => {
                if self.held().is_some() {
                    self.failures += u32::from(*reason == DeadReason::MaxFailures);
                    self.releases += u32::from(*reason == DeadReason::MaxReleases);
                }
                self.note = note.clone().or(self.note.take());
                self.last = (Transition::Died, *at);
                self.at = Where::Dead(*reason, *at);
            }
            What::Woke => self.at = Where::Ready,
            What::Rescheduled(at, ready_at) => {
                self.last = (Transition::Rescheduled, *at);
                self.at = ready_at.map_or(Where::Ready, Where::Delayed);
            }
            What::Redriven(at, fence) => {
                assert_eq!(self.state(), State::Dead);
                (self.failures, self.releases, self.expires_at) = (0, 0, None);
                self.redriven += 1;
                self.fence = *fence;
                self.order = stamp;
                self.last = (Transition::Redriven, *at);
                self.at = Where::Ready;
            }
            other => panic!("{other:?} is about no single message"),
        }
    }
}

fn transition(cause: Cause) -> Transition {
    match cause {
        Cause::Failed => Transition::Failed,
        Cause::Expired => Transition::Expired,
        Cause::Lost => Transition::Lost,
        Cause::Released => Transition::Released,
        Cause::Withdrawn | Cause::TakenOver => Transition::Withdrawn,
        Cause::Throttled => Transition::Throttled,
    }
}
