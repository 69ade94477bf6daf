//! Blocks of messages, many settlements at once and pushed delivery, for clients of the queue.

use std::collections::VecDeque;
use std::time::Duration;

use sluice_broker::local::Input;
use sluice_engine::{Body, Handover};
use sluice_model::{Answer, Outcome as Ended, Published, Refusal, Settlement};
use sluice_wal::{BodyRef, Sequence};

use super::World;
use super::work::WORKERS;
use crate::history::{Many, Op, What};
use crate::worker::Draft;

/// The queue of these schedules is full with so many messages, more or less.
const QUEUE_MIN: u64 = 15;
const QUEUE_SPAN: u64 = 45;
/// Messages in the buffer of a subscriber at most once, in bytes.
const BUFFER_BYTES: usize = 2 << 10;
/// Bytes on their way to a client past which it starves, in some schedules.
const OUT_MAX: usize = 3 << 10;

impl World {
    /// Makes room so scarce that blocks are parted and subscribers lose messages.
    pub(super) fn with_little_room(mut self) -> Self {
        if self.workload != super::Workload::Blocks {
            return self;
        }
        self.config.engine.queue.max_messages = QUEUE_MIN + self.aside.below(QUEUE_SPAN);
        self.config.engine.subscriber_buffer_bytes = BUFFER_BYTES;
        if self.aside.percent(50) {
            self.config.engine.session_out_max = OUT_MAX;
        }
        self
    }

    /// Whether a client takes its replies slowly: what has not left leaves no room for others.
    pub(super) fn is_slow(&mut self) -> bool {
        self.workload == super::Workload::Blocks && !self.ends && self.aside.percent(60)
    }

    /// One client of the queue asks for something that touches many messages.
    pub(super) fn work_in_blocks(&mut self) -> Result<(), String> {
        let at = self.random.below(WORKERS as u64) as usize;
        if !self.connect(at) {
            return Ok(());
        }
        for _ in 0..1 + self.random.below(3) {
            match self.random.below(100) {
                0..=29 => self.put_block(at),
                30..=59 => self.settle_many(at),
                60..=71 => {
                    self.workers[at].credit += 1 + self.random.below(20) as u32;
                }
                72..=75 => self.take(at, true),
                76..=79 => self.withdraw(at),
                80..=85 => return self.starve(at),
                86..=95 => self.tell_written(at)?,
                _ => self.work(),
            }
        }
        self.feed(at);
        self.submit_work(at);
        Ok(())
    }

    fn put_block(&mut self, at: usize) {
        let more = if self.random.percent(20) { 30 } else { 8 };
        let count = 2 + self.random.below(more);
        // Some are longer than a frame, so that a crash may come between two of theirs.
        let bulk = if self.random.percent(40) { 400 } else { 0 };
        let plain = |draft: Draft| {
            let padding = draft.padding.max(bulk);
            Draft { priority: 5, delay: None, padding, ..draft }
        };
        let drafts: Vec<_> = (0..count).map(|_| plain(self.draft(at))).collect();
        let whole = self.random.percent(50);
        let op = self.history.ask(What::Block { drafts: drafts.clone(), whole });
        self.workers[at].publish_block(&drafts, whole, op);
    }

    /// Settles all that a client holds, or some of it, and some that it does not hold any more.
    fn settle_many(&mut self, at: usize) {
        let worker = &mut self.workers[at];
        let keep = self.random.below(3) as usize;
        let split = worker.held.len().min(keep);
        let mut leases = worker.held.split_off(split);
        let stale = worker.spent.len().min(self.random.below(3) as usize);
        leases.extend(worker.spent.drain(..stale));
        if leases.is_empty() {
            return;
        }
        let by = Duration::from_millis(1 + self.random.below(600));
        let (how, many) = match self.random.below(100) {
            0..=59 => (Settlement::Ack, Many::Ack),
            60..=69 => {
                (Settlement::Nack(Ended::Failed { delay: None, note: None }), Many::GiveBack)
            }
            70..=79 => (Settlement::Nack(Ended::Released { delay: None }), Many::GiveBack),
            _ => (Settlement::Extend(by), Many::Extend { until: self.now.after(by) }),
        };
        let names = leases.iter().map(|held| (held.name, held.lease.generation)).collect();
        let op = self.history.ask(What::SettleMany { leases: names, how: many });
        let worker = &mut self.workers[at];
        worker.settle_many(&leases, how, op);
        match many {
            Many::Extend { .. } => worker.held.extend(leases),
            Many::Ack | Many::GiveBack => worker.spend(leases),
        }
    }

    /// Keeps one receive that waits for a client with credit.
    pub(super) fn feed(&mut self, at: usize) {
        let worker = &self.workers[at];
        if worker.session.is_some() && worker.push.is_none() && worker.credit > 0 {
            let op = self.history.ask(What::Push);
            self.workers[at].push(op);
            self.counters.pushes += 1;
        }
    }

    fn withdraw(&mut self, at: usize) {
        if let Some(receive) = self.workers[at].push {
            self.workers[at].withdraw(receive);
        }
    }

    /// Lets a receive wait, leaves no room for its answer, and has something come.
    fn starve(&mut self, at: usize) -> Result<(), String> {
        self.tell_written(at)?;
        self.workers[at].credit += 1 + self.random.below(9) as u32;
        self.feed(at);
        self.submit_work(at);
        // Nothing that is answered weighs more.
        self.look(at);
        self.submit_work(at);
        let other = (at + 1) % WORKERS;
        if self.connect(other) {
            self.put_block(other);
            self.submit_work(other);
        }
        self.tell_written(at)
    }

    /// Lets come what is on its way to the disk.
    fn settle_down(&mut self) -> Result<(), String> {
        (0..4).try_for_each(|_| {
            self.commit();
            self.collect()
        })
    }

    /// Says that replies have left, and nothing else: what starved comes now.
    fn tell_written(&mut self, at: usize) -> Result<(), String> {
        // What is due anyhow comes before.
        self.turn(Input::Tick);
        self.settle_down()?;
        let worker = &mut self.workers[at];
        let Some(session) = worker.session else { return Ok(()) };
        let (written, before) = (std::mem::take(&mut worker.written), worker.pushed);
        self.turn(Input::Requests { session, written, requests: &mut VecDeque::new() });
        self.settle_down()?;
        self.counters.push_starved += u64::from(self.workers[at].pushed > before);
        Ok(())
    }

    /// A block, or many settlements, are answered. Gives the answer back if it is of another kind.
    pub(super) fn many_answered(&mut self, op: &Op, answer: &Answer) -> Result<bool, String> {
        match (&op.what, answer) {
            (What::Block { drafts, whole }, Answer::PublishedBlock(published)) => {
                self.counters.blocks_whole += u64::from(*whole);
                if published.count as usize != drafts.len() {
                    return Err(format!("{drafts:?} were answered by {published:?}"));
                }
                for (draft, back) in drafts.iter().zip(0..) {
                    let mut id = published.first;
                    id.counter += back;
                    self.stored(std::slice::from_ref(draft), &[one(id)])?;
                }
            }
            (What::Block { drafts, whole: false }, Answer::PublishedEach(all)) => {
                self.counters.blocks_parted += 1;
                if all.len() != drafts.len() {
                    return Err(format!("{drafts:?} were answered by {all:?}"));
                }
                for (draft, each) in drafts.iter().zip(all) {
                    match each {
                        Ok(published) => {
                            self.stored(std::slice::from_ref(draft), &[*published])?;
                        }
                        Err(_) => self.history.refused(draft.name)?,
                    }
                }
            }
            (What::Block { drafts, .. }, Answer::Refused(refusal)) if is_sure(refusal) => {
                drafts.iter().try_for_each(|draft| self.history.refused(draft.name))?;
            }
            (What::SettleMany { leases, how }, Answer::SettledMany { refused, deadline }) => {
                self.counters.settled_many += 1;
                self.counters.settled_refused += refused.len() as u64;
                let is_refused = |at: usize| refused.iter().any(|(no, _)| *no as usize == at);
                let settled = (0..).zip(leases).filter(|(at, _)| !is_refused(*at));
                for (_, (name, generation)) in settled {
                    self.note("settled", &[name.0.into(), name.1]);
                    match how {
                        Many::Ack => self.history.over_by(*name, *generation)?,
                        Many::GiveBack => self.history.is_not_over(*name, op.asked)?,
                        Many::Extend { .. } => {
                            self.counters.extended += 1;
                            self.history.is_not_over(*name, op.asked)?;
                            let until = deadline.ok_or("a lease was extended to no time")?;
                            self.history.extended(*name, *generation, until);
                        }
                    }
                }
            }
            (What::Push, Answer::Empty { .. }) => self.counters.withdrawn += 1,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Reads the bodies that are not at hand, neighbours in the log at once, as the broker's link
    /// does. What can't be read is left to be read by itself.
    pub(super) fn fetch(&mut self, handovers: &mut [Handover]) {
        let Some(broker) = &self.broker else { return };
        let missing = handovers.iter_mut().filter_map(|handover| match &mut handover.body {
            Body::Stored { at, bytes: bytes @ None } => {
                let place = BodyRef { segment: at.segment, offset: at.offset, len: at.len };
                Some(((Sequence(at.sequence), place), bytes))
            }
            _ => None,
        });
        let (places, into): (Vec<_>, Vec<_>) = missing.unzip();
        if places.len() < 2 {
            return;
        }
        let reader = broker.driver.reader();
        let trouble = !self.is_calm() && self.random.percent(10);
        self.fail_reads(trouble);
        let all = reader.read_many(&places);
        self.fail_reads(false);
        for (bytes, read) in into.into_iter().zip(all) {
            self.counters.read_together += u64::from(read.is_ok());
            *bytes = read.ok();
        }
    }
}

/// Whether a refusal says that nothing was done.
pub(super) fn is_sure(refusal: &Refusal) -> bool {
    refusal.code != sluice_model::Code::Indeterminate
}

fn one(id: sluice_model::MessageId) -> Published {
    Published { id, ..Published::default() }
}
