//! T1 to T5: what becomes of messages that are handed in, one by one or many at once.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use sluice_engine::{DedupeMark, Overflow, Record, Removal};
use sluice_model::{
    Answer, Code, Command, Confirm, DeadReason, Destination, Extras, Generation, Lane, Level,
    MessageId, Publish, PublishBatch, Published, Qos, QueueNo, State, Transition,
};

use super::World;
use super::state::{Message, Seen, What, Where};
use crate::rig::{ms, queue};

/// A message that is handed in.
#[derive(Clone, Debug)]
struct Draft {
    no: QueueNo,
    payload: String,
    delay: Option<Duration>,
    ttl: Option<Duration>,
    priority: u8,
    dedupe_id: Option<String>,
}

/// What the model says of one.
#[derive(Debug)]
enum Said {
    New,
    Known(MessageId),
    /// The same id stands earlier in the same batch.
    Repeats(usize),
}

impl World {
    fn draft(&mut self, no: QueueNo) -> Draft {
        self.names += 1;
        let dedupe_id = self.dice.one_in(4).then(|| self.dice.below(4).to_string());
        let same = dedupe_id.is_some() && self.dice.one_in(2);
        let payload = if same { "same".to_owned() } else { format!("{:06}", self.names) };
        Draft {
            no,
            payload,
            delay: self.dice.one_in(4).then(|| ms(self.dice.below(2_500))),
            ttl: self.dice.one_in(5).then(|| ms(self.dice.between(1, 4_000))),
            priority: if self.dice.one_in(3) { self.dice.below(10) as u8 } else { 5 },
            dedupe_id,
        }
    }

    fn handed(&self, draft: &Draft) -> (Destination, sluice_model::Message) {
        let lane = Lane { priority: draft.priority, ..Lane::default() };
        let extras = Extras {
            ttl: draft.ttl,
            delay: draft.delay,
            lane,
            dedupe_id: draft.dedupe_id.clone(),
            ..Extras::default()
        };
        let payload = Bytes::copy_from_slice(draft.payload.as_bytes());
        let message = sluice_model::Message { payload, extras: Some(Box::new(extras)) };
        (Destination::Queue(queue(&self.queue(draft.no).name)), message)
    }

    pub(super) fn publish(&mut self) {
        let Some(no) = self.a_queue() else { return };
        let draft = self.draft(no);
        let session = self.session();
        let (to, message) = self.handed(&draft);
        let (qos, confirm) = (Qos::AtLeastOnce, Confirm::Always);
        let publish = Publish { to, qos, level: None, message, confirm };
        let before = self.rig.tape.last();
        let out = self.rig.ask(session, Command::Publish(publish)).unwrap();
        let synced = out.need.synced;
        let told = match out.said {
            crate::rig::Said::Answer(Answer::Published(one)) => Ok(vec![one]),
            crate::rig::Said::Answer(Answer::Refused(refusal)) => Err(refusal.code),
            other => panic!("{other:?}"),
        };
        let level = self.queue(no).rules.level;
        if told.as_ref().is_ok_and(|all| !all[0].duplicate) && level == Level::Sync {
            assert_eq!(synced, self.rig.tape.last(), "the answer waits for the record");
        }
        self.published(before, &[draft], told);
    }

    pub(super) fn publish_batch(&mut self) {
        let mut drafts = Vec::new();
        for _ in 0..self.dice.between(1, 5) {
            let Some(no) = self.a_queue() else { return };
            drafts.push(self.draft(no));
        }
        let messages = drafts.iter().map(|draft| self.handed(draft)).collect();
        let command = Command::PublishBatch(Box::new(PublishBatch { messages, level: None }));
        let (session, before) = (self.session(), self.rig.tape.last());
        let told = match self.rig.answer(session, command) {
            Answer::PublishedBatch(all) => Ok(all),
            Answer::Refused(refusal) => Err(refusal.code),
            other => panic!("{other:?}"),
        };
        self.published(before, &drafts, told);
    }

    fn published(&mut self, before: u64, drafts: &[Draft], told: Result<Vec<Published>, Code>) {
        let says = match (self.admit(drafts), told) {
            (Err(expected), Err(code)) => {
                assert_eq!(code, expected, "{drafts:?}");
                if code == Code::QueueFull {
                    self.hit(4);
                }
                return self.settle(before);
            }
            (Ok(says), Ok(told)) => says.into_iter().zip(told).collect::<Vec<_>>(),
            (says, told) => panic!("the model says {says:?}, the engine {told:?}: {drafts:?}"),
        };
        let mut added: BTreeMap<QueueNo, u64> = BTreeMap::new();
        for (draft, (said, _)) in drafts.iter().zip(&says) {
            *added.entry(draft.no).or_default() += u64::from(matches!(said, Said::New));
        }
        for (no, count) in added.into_iter().filter(|(_, count)| *count > 0) {
            self.make_room(no, count);
        }
        let mut ids = Vec::new();
        for (draft, (said, told)) in drafts.iter().zip(says) {
            ids.push(told.id);
            match said {
                Said::New => {
                    assert!(!told.duplicate, "{draft:?}");
                    self.store(before, draft, told.id);
                }
                Said::Known(id) => {
                    self.hit(3);
                    assert_eq!((told.id, told.duplicate), (id, true), "{draft:?}");
                }
                Said::Repeats(first) => {
                    assert_eq!((told.id, told.duplicate), (ids[first], true), "{draft:?}");
                }
            }
        }
        self.settle(before);
    }

    /// What has to become of these, or why all are refused.
    fn admit(&self, drafts: &[Draft]) -> Result<Vec<Said>, Code> {
        let now = self.rig.now;
        let mut says = Vec::new();
        let mut added: BTreeMap<QueueNo, u64> = BTreeMap::new();
        for (at, draft) in drafts.iter().enumerate() {
            let queue = self.queue(draft.no);
            let ttl = draft.ttl.into_iter().chain(queue.rules.ttl).min();
            let delay = draft.delay.filter(|delay| !delay.is_zero());
            if ttl.is_some_and(|ttl| delay.is_some_and(|delay| delay >= ttl)) {
                return Err(Code::Invalid);
            }
            if let Some(id) = &draft.dedupe_id {
                let seen = queue.seen.get(id).filter(|seen| seen.until > now);
                if let Some(seen) = seen {
                    if seen.payload != draft.payload {
                        return Err(Code::Conflict);
                    }
                    says.push(Said::Known(seen.id));
                    continue;
                }
                let same = |d: &&Draft| d.no == draft.no && d.dedupe_id == draft.dedupe_id;
                if let Some(first) = drafts[..at].iter().position(|d| same(&d)) {
                    if drafts[first].payload != draft.payload {
                        return Err(Code::Conflict);
                    }
                    says.push(Said::Repeats(first));
                    continue;
                }
            }
            let taken = match queue.rules.overflow {
                Overflow::Reject => queue.live(),
                _ => queue.leased(),
            };
            let added = added.entry(draft.no).or_default();
            if taken + *added >= queue.rules.max_messages {
                return Err(Code::QueueFull);
            }
            *added += 1;
            says.push(Said::New);
        }
        Ok(says)
    }

    /// T5. Of a queue whose bounds were lowered only so many go with a publish, or as many as it
    /// has bytes: which of the two the model leaves open.
    fn make_room(&mut self, no: QueueNo, count: u64) {
        let most = count.max(self.rig.config.deadlines_per_turn as u64);
        for dropped in 0.. {
            let queue = self.queue(no);
            let oldest = queue.messages.values().find(|message| message.is_waiting());
            let full = queue.live() + count > queue.rules.max_messages;
            let oldest = oldest.map(|message| (message.seq, message.id)).filter(|_| full);
            let Some((seq, id)) = oldest else { return };
            let stays =
                |world: &mut Self| world.find(no, id).is_some_and(|i| i.state != State::Dead);
            if dropped >= most && stays(self) {
                return;
            }
            let queue = self.queue(no);
            let overflow = queue.rules.overflow;
            self.hit(5);
            if overflow == Overflow::Dead {
                self.bury(no, seq, DeadReason::Overflow, None);
            } else {
                self.emit(no, seq, What::Removed(Removal::Dropped));
            }
        }
    }

    /// T1, T2.
    fn store(&mut self, before: u64, draft: &Draft, id: MessageId) {
        let (no, now) = (draft.no, self.rig.now);
        let level = self.queue(no).rules.level;
        let record = (before + 1..=self.rig.tape.last()).find(
            |n| matches!(self.rig.tape.record(*n), Record::Published { id: its, .. } if its == id),
        );
        let until = now.after(self.queue(no).rules.dedupe_window);
        let mark = draft.dedupe_id.clone().map(|dedupe_id| (dedupe_id, until));
        let info = self.find(no, id).expect("it is there");
        let seq = if level == Level::Memory {
            if let Some((dedupe_id, until)) = mark.clone() {
                let seen = Seen { payload: draft.payload.clone(), id, until };
                self.emit(no, 0, What::Remembered(dedupe_id, seen));
            }
            info.seq.0
        } else {
            match self.rig.tape.record(record.expect("it has a record")) {
                Record::Published { targets, dedupe, .. } => {
                    let window = |mark: &DedupeMark| mark.until;
                    assert_eq!(dedupe.as_deref().map(window), mark.as_ref().map(|_| until));
                    targets[0].seq.0
                }
                other => panic!("{other:?}"),
            }
        };
        let delay = draft.delay.filter(|delay| !delay.is_zero());
        self.hit(if delay.is_some() { 2 } else { 1 });
        let ttl = draft.ttl.into_iter().chain(self.queue(no).rules.ttl).min();
        let message = Message {
            id,
            seq,
            order: 0,
            payload: draft.payload.clone(),
            priority: draft.priority,
            level,
            bytes: info.bytes,
            enqueued_at: now,
            expires_at: ttl.map(|ttl| now.after(ttl)),
            at: delay.map_or(Where::Ready, |delay| Where::Delayed(now.after(delay))),
            acquires: 0,
            failures: 0,
            releases: 0,
            redriven: 0,
            note: None,
            last: (Transition::Published, now),
            fence: Generation::default(),
        };
        let newest = self.queue(no).messages.keys().next_back().copied();
        assert!(newest < Some(seq), "seqs grow");
        let mark = mark.filter(|_| level != Level::Memory);
        self.emit(no, seq, What::Published(Box::new(message), mark));
        let queue = self.live.queues.get_mut(&no).unwrap();
        let record = if level == Level::Memory { 0 } else { record.unwrap_or_default() };
        queue.tail = queue.tail.max(record);
        if level == Level::Sync {
            queue.tail_synced = queue.tail_synced.max(record);
        }
        if level != Level::Memory || !queue.hidden.is_empty() {
            queue.hidden.push_back((seq, record, level == Level::Sync));
        }
    }
}
