//! What the clients of a named queue ask, and what they are told.

use std::time::Duration;

use sluice_broker::local::{Input, Parcel, ParcelContent};
use sluice_engine::{Body, EndedBy, Handover};
use sluice_model::{Answer, Carried, Client as Who, Code, Outcome as Ended, Principal, Published};

use super::{Workload, World};
use crate::client::name_of;
use crate::history::{Came, Op, What};
use crate::oracle::Name;
use crate::worker::{Draft, Held};

/// Clients of the queue.
pub(super) const WORKERS: usize = 4;
/// Messages a second that the slowest redrive puts back.
const PACE_MIN: u32 = 10;

impl World {
    /// One client asks for something, or for many things at once.
    pub(super) fn work(&mut self) {
        let at = self.random.below(WORKERS as u64) as usize;
        if !self.connect(at) {
            return;
        }
        for _ in 0..1 + self.random.below(4) {
            match self.random.below(100) {
                0..=26 => self.put(at),
                27..=35 => self.put_batch(at),
                36..=64 => self.take(at, false),
                65..=90 => self.settle_one(at),
                91..=94 => self.remove(at),
                95..=96 => {
                    let op = self.history.ask(What::Purge);
                    self.workers[at].purge(op);
                }
                97..=98 => self.redrive_somehow(at),
                _ => self.look(at),
            }
        }
        self.submit_work(at);
    }

    /// Asks for the counters of the queue.
    pub(super) fn look(&mut self, at: usize) {
        let op = self.history.ask(What::Stats);
        self.workers[at].stats(op);
    }

    /// Whether the client has a connection now; a new one begins by declaring the queue.
    pub(super) fn connect(&mut self, at: usize) -> bool {
        let Some(broker) = &mut self.broker else { return false };
        if self.workers[at].session.is_none() {
            let peer = [127, 0, 1, at as u8].into();
            let session = broker.driver.open(Who { principal: Principal::Anonymous, peer });
            self.workers[at].session = Some(session);
            let op = self.history.ask(What::Declare);
            self.workers[at].declare(op);
            for draft in std::mem::take(&mut self.workers[at].again) {
                self.hand_in(at, draft);
            }
        }
        true
    }

    pub(super) fn draft(&mut self, at: usize) -> Draft {
        let count = self.history.tick();
        let priority = if self.random.percent(30) { self.random.below(10) as u8 } else { 5 };
        let delay =
            self.random.percent(10).then(|| Duration::from_millis(self.random.below(300) + 1));
        let padding = if self.random.percent(5) { 1_500 } else { self.random.below(60) };
        let name: Name = (at as u32, count);
        Draft { name, priority, repeats: false, delay, padding: padding as usize }
    }

    fn put(&mut self, at: usize) {
        let repeats = self.random.percent(40);
        let draft = Draft { repeats, ..self.draft(at) };
        self.hand_in(at, draft);
    }

    fn hand_in(&mut self, at: usize, draft: Draft) {
        let op = self.history.ask(What::Publish(vec![draft.clone()]));
        self.workers[at].publish(&draft, op);
    }

    fn put_batch(&mut self, at: usize) {
        let drafts: Vec<_> = (0..2 + self.random.below(3)).map(|_| self.draft(at)).collect();
        let op = self.history.ask(What::Publish(drafts.clone()));
        self.workers[at].publish_batch(&drafts, op);
    }

    pub(super) fn take(&mut self, at: usize, all: bool) {
        let bound = self.random.percent(40);
        let max = if all || self.random.percent(40) { 1 + self.random.below(5) } else { 1 };
        let wait = (!all && self.random.percent(30))
            .then(|| Duration::from_millis(1 + self.random.below(100)));
        let op = self.history.ask(What::Receive { bound });
        self.workers[at].receive(max as u32, bound, wait, op);
    }

    fn settle_one(&mut self, at: usize) {
        let held = &mut self.workers[at].held;
        if held.is_empty() {
            return;
        }
        let held = held.remove(self.random.below(held.len() as u64) as usize);
        let outcome = match self.random.below(100) {
            0..=59 => return self.ack_one(at, held),
            60..=69 => Ended::Failed { delay: None, note: None },
            70..=79 => Ended::Released { delay: None },
            80..=89 => {
                let op = self.history.ask(What::Reject(held.name));
                return self.workers[at].nack(&held, Ended::Rejected { note: None }, op);
            }
            // Its deadline ends it.
            _ => return,
        };
        let op = self.history.ask(What::Nack(held.name));
        self.workers[at].nack(&held, outcome, op);
    }

    pub(super) fn ack_one(&mut self, at: usize, held: Held) {
        self.counters.queue_outlived += u64::from(held.outlived && !held.bound);
        let op = self.history.ask(What::Ack(held.name));
        self.workers[at].ack(&held, op);
    }

    /// Deletes a message that was confirmed lately, whoever put it in.
    fn remove(&mut self, at: usize) {
        let (of, back) = (self.random.below(WORKERS as u64), self.random.below(6));
        let Some((name, id)) = self.history.recent(of as u32, back as usize) else { return };
        let op = self.history.ask(What::Remove(name));
        self.workers[at].remove(id, op);
    }

    pub(super) fn redrive(&mut self, at: usize) {
        let op = self.history.ask(What::Redrive { paced: false });
        self.workers[at].redrive(None, op);
    }

    /// At once, or at a pace at which crashes come in between.
    fn redrive_somehow(&mut self, at: usize) {
        if !self.aside.percent(60) {
            return self.redrive(at);
        }
        let per_second = Some(PACE_MIN + self.aside.below(40) as u32);
        let op = self.history.ask(What::Redrive { paced: true });
        self.workers[at].redrive(per_second, op);
    }

    pub(super) fn submit_work(&mut self, at: usize) {
        let slow = self.is_slow();
        let worker = &mut self.workers[at];
        let Some(session) = worker.session else { return };
        let written = if slow { 0 } else { std::mem::take(&mut worker.written) };
        let mut requests = std::mem::take(&mut worker.requests);
        let before = requests.len();
        self.turn(Input::Requests { session, written, requests: &mut requests });
        self.counters.operations += (before - requests.len()) as u64;
        self.workers[at].requests = requests;
    }

    pub(super) fn lose_a_worker(&mut self) {
        let at = self.random.below(WORKERS as u64) as usize;
        let Some(session) = self.workers[at].session else { return };
        let by = if self.random.percent(60) { EndedBy::Client } else { EndedBy::Broker };
        self.turn(Input::Close { session, by, unsent: Vec::new() });
        self.forget_worker(at);
    }

    /// The client's connection is gone: what was not answered may have happened, or not.
    pub(super) fn forget_worker(&mut self, at: usize) {
        self.history.lose_bound(at);
        for op in self.workers[at].lose() {
            self.history.end(&op, false);
            if let What::Publish(drafts) = &op.what {
                let repeated = drafts.iter().filter(|draft| draft.repeats);
                self.workers[at].again.extend(repeated.cloned());
            }
        }
    }

    pub(super) fn told_worker(&mut self, at: usize, parcel: Parcel) -> Result<(), String> {
        let worker = &mut self.workers[at];
        worker.written += parcel.weight;
        let op = worker.asked.remove(&parcel.tag).ok_or("an answer that nobody asked for")?;
        let pushed = matches!(op.what, What::Push);
        if pushed {
            let messages = match &parcel.content {
                ParcelContent::Handovers(handovers) => handovers.len(),
                _ => 0,
            };
            worker.pushed(messages)?;
            self.counters.pushed += messages as u64;
        }
        match (parcel.content, &op.what) {
            (ParcelContent::Handovers(mut handovers), What::Receive { .. } | What::Push) => {
                let bound = !matches!(op.what, What::Receive { bound: false });
                if self.workload == Workload::Blocks {
                    self.fetch(&mut handovers);
                }
                handovers.iter().try_for_each(|handover| self.came(at, &op, bound, handover))
            }
            (ParcelContent::Answer(answer), _) => self.worker_answered(&op, answer),
            (content, _) => Err(format!("{:?} was answered by {content:?}", op.what)),
        }
    }

    fn came(&mut self, at: usize, op: &Op, bound: bool, handover: &Handover) -> Result<(), String> {
        let lease = handover.lease.ok_or("a message of a queue without a lease")?;
        if matches!(handover.body, Body::Resident(_)) {
            return Err("a stored message in memory only".into());
        }
        let read: Option<Carried> = self.read(&handover.body, &lease)?;
        let Some(carried) = read else {
            // Whoever it was, it may be anywhere now.
            self.history.unread(lease.seq);
            return Ok(());
        };
        let name = name_of(&carried.payload).ok_or("a payload was changed")?;
        self.counters.delivered += 1;
        self.counters.redelivered += u64::from(handover.redelivered);
        self.note("came", &[at as u64, name.0.into(), name.1]);
        let fresh = match self.backups.is_second_life() {
            true => !self.marked(name, handover)?,
            false => handover.attempt == 1 && !handover.redelivered,
        };
        self.backups.check_start(&lease)?;
        self.backups.lease(at, name, lease);
        let (generation, deadline) = (lease.generation, handover.deadline);
        let (id, seq, asked) = (carried.id, lease.seq, op.asked);
        let came = Came { name, id, seq, generation, deadline, fresh, asked, bound, at };
        self.history.came(&came, self.now)?;
        self.workers[at].held.push(Held { name, lease, bound, outlived: false });
        Ok(())
    }

    fn worker_answered(&mut self, op: &Op, answer: Answer) -> Result<(), String> {
        if self.many_answered(op, &answer)? {
            self.history.end(op, true);
            return Ok(());
        }
        match (&op.what, answer) {
            (What::Publish(drafts), Answer::Published(published)) => {
                self.stored(drafts, &[published])?;
            }
            (What::Publish(drafts), Answer::PublishedBatch(all)) => {
                self.counters.queue_batches += 1;
                self.stored(drafts, &all)?;
            }
            (What::Receive { .. }, Answer::Empty { .. }) => self.history.empty(op),
            (What::Ack(name), Answer::Settled { already }) => {
                self.counters.acked += 1;
                self.note("settled", &[name.0.into(), name.1]);
                if !already {
                    self.history.over(*name)?;
                }
            }
            (What::OldAck(name), Answer::Settled { already }) => {
                self.old_ack(*name, true)?;
                self.history.may_be_over(*name);
                if !already {
                    self.history.over(*name)?;
                }
            }
            (What::OldAck(name), Answer::Refused(_)) => self.old_ack(*name, false)?,
            (What::Remove(name), Answer::Removed { messages: 1 }) => {
                self.counters.queue_removed += 1;
                self.history.over(*name)?;
            }
            (What::Purge, Answer::Removed { messages }) => self.counters.queue_purged += messages,
            (What::Redrive { paced: false }, Answer::Redriven { messages, goes_on: false }) => {
                self.counters.queue_redriven += messages;
            }
            (What::Redrive { paced: true }, Answer::Redriven { goes_on: true, .. }) => {}
            (What::Declare, Answer::Declared { .. })
            | (What::Nack(_) | What::Reject(_), Answer::Settled { already: false }) => {}
            (What::Stats, Answer::Stats(stats)) => {
                let gone = stats.acked + stats.expired + stats.deleted + stats.dropped;
                let counts = stats.counts;
                let present = counts.ready + counts.delayed + counts.leased + counts.dead;
                if stats.published != gone + present {
                    return Err(format!("the counters do not add up: {stats:?}"));
                }
            }
            (What::Nack(_) | What::Reject(_), Answer::Refused(_)) => {
                self.history.end(op, false);
                return Ok(());
            }
            (_, Answer::Refused(refusal)) => {
                // A purge or redrive that was refused did nothing.
                let nothing = matches!(op.what, What::Purge | What::Redrive { .. });
                if nothing && refusal.code != Code::Indeterminate {
                    return Ok(());
                }
                self.history.end(op, false);
                return Ok(());
            }
            (what, answer) => return Err(format!("{what:?} was answered by {answer:?}")),
        }
        self.history.end(op, true);
        Ok(())
    }

    pub(super) fn stored(&mut self, drafts: &[Draft], all: &[Published]) -> Result<(), String> {
        for (draft, published) in drafts.iter().zip(all) {
            self.counters.confirmed += 1;
            self.counters.queue_duplicates += u64::from(published.duplicate);
            self.note("stored", &[draft.name.0.into(), draft.name.1]);
            self.history.confirmed(draft.name, published.id)?;
        }
        Ok(())
    }
}
