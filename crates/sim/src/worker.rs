//! A client of a named queue: it puts in, takes out, settles and looks after.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use sluice_model::{
    BlockBuilder, Command, Confirm, Destination, Extras, Lane, LeaseId, Level, Message, Outcome,
    Publish, PublishBatch, PublishBlock, Purge, Qos, QueueName, QueueRequest, QueueSettings,
    Receive, Redrive, Request, SessionId, SettleMany, Settlement, Source,
};

use crate::client::{PUSH_WAIT, payload};
use crate::history::Op;
use crate::oracle::Name;

/// The queue that all of them work on.
const QUEUE: &str = "jobs";
/// Settled leases that a client remembers.
const SPENT_MAX: usize = 20;

/// A message as it is handed in.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) name: Name,
    pub(crate) priority: u8,
    /// It is tried again under the same dedupe id until it is answered.
    pub(crate) repeats: bool,
    pub(crate) delay: Option<std::time::Duration>,
    pub(crate) padding: usize,
}

/// A lease that a worker has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) name: Name,
    pub(crate) lease: LeaseId,
    pub(crate) bound: bool,
    /// Its connection, or the broker, went away since.
    pub(crate) outlived: bool,
}

/// A client of one session.
#[derive(Debug, Default)]
pub(crate) struct Worker {
    pub(crate) session: Option<SessionId>,
    pub(crate) asked: BTreeMap<u64, Op>,
    pub(crate) requests: VecDeque<Request>,
    /// Weight of replies taken and not reported as written.
    pub(crate) written: usize,
    pub(crate) held: Vec<Held>,
    /// Leases that were settled: using one again is refused, or changes nothing.
    pub(crate) spent: Vec<Held>,
    /// The receive that waits for what is to be pushed, how much more may be, and how much was.
    pub(crate) push: Option<u64>,
    pub(crate) credit: u32,
    pub(crate) pushed: u64,
    /// Publishes with a dedupe id that were never answered.
    pub(crate) again: Vec<Draft>,
    last_tag: u64,
}

fn queue() -> QueueName {
    QueueName::new(QUEUE).expect("the workload's name is valid")
}

impl Worker {
    /// Forgets a connection that is gone. Gives back what was asked and not answered.
    pub(crate) fn lose(&mut self) -> Vec<Op> {
        let asked = std::mem::take(&mut self.asked);
        let held = std::mem::take(&mut self.held).into_iter().filter(|held| !held.bound);
        let held = held.map(|held| Held { outlived: true, ..held }).collect();
        let (last_tag, again) = (self.last_tag, std::mem::take(&mut self.again));
        *self = Self { last_tag, held, again, ..Self::default() };
        asked.into_values().collect()
    }

    fn ask(&mut self, command: Command, op: Op) {
        self.last_tag += 1;
        self.asked.insert(self.last_tag, op);
        self.requests.push_back(Request { tag: self.last_tag, command });
    }

    fn look_after(&mut self, request: QueueRequest, op: Op) {
        self.ask(Command::Queue(Box::new(request)), op);
    }

    pub(crate) fn declare(&mut self, op: Op) {
        let settings = QueueSettings::default();
        self.look_after(QueueRequest::Declare { name: queue(), settings, update: false }, op);
    }

    pub(crate) fn publish(&mut self, draft: &Draft, op: Op) {
        let (to, message) = handed(draft);
        let (qos, level, confirm) = (Qos::AtLeastOnce, Some(Level::Sync), Confirm::Always);
        self.ask(Command::Publish(Publish { to, qos, level, message, confirm }), op);
    }

    pub(crate) fn publish_batch(&mut self, drafts: &[Draft], op: Op) {
        let messages = drafts.iter().map(handed).collect();
        let batch = PublishBatch { messages, level: Some(Level::Sync) };
        self.ask(Command::PublishBatch(Box::new(batch)), op);
    }

    pub(crate) fn publish_block(&mut self, drafts: &[Draft], whole: bool, op: Op) {
        let mut builder = BlockBuilder::default();
        drafts.iter().for_each(|draft| builder.push(&payload(draft.name, draft.padding)));
        let (to, messages) = (Destination::Queue(queue()), builder.finish());
        let (qos, level, confirm) = (Qos::AtLeastOnce, Some(Level::Sync), Confirm::Always);
        let block = PublishBlock { to, qos, level, messages, whole, confirm, each: false };
        self.ask(Command::PublishBlock(Box::new(block)), op);
    }

    pub(crate) fn settle_many(&mut self, held: &[Held], how: Settlement, op: Op) {
        let leases = held.iter().map(|held| held.lease).collect();
        let many = SettleMany { leases, how, confirm: Confirm::Always };
        self.ask(Command::SettleMany(Box::new(many)), op);
    }

    /// Keeps leases that were settled, to try the latest of them again.
    pub(crate) fn spend(&mut self, held: Vec<Held>) {
        self.spent.extend(held);
        let old = self.spent.len().saturating_sub(SPENT_MAX);
        self.spent.drain(..old);
    }

    /// A receive that waits for as much as there is credit for.
    pub(crate) fn push(&mut self, op: Op) {
        let (from, max) = (Source::Queue(queue()), self.credit);
        let wait = Some(PUSH_WAIT);
        let receive = Receive { max, wait, gaps: true, ..Receive::one(from) };
        self.ask(Command::Receive(receive), op);
        self.push = Some(self.last_tag);
    }

    /// The receive that waited is answered, with so many messages.
    pub(crate) fn pushed(&mut self, messages: usize) -> Result<(), String> {
        self.push = None;
        self.pushed += messages as u64;
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        self.credit = self.credit.checked_sub(messages).ok_or("more was pushed than asked for")?;
        Ok(())
    }

    pub(crate) fn withdraw(&mut self, receive: u64) {
        self.last_tag += 1;
        self.requests
            .push_back(Request { tag: self.last_tag, command: Command::Withdraw { receive } });
    }

    pub(crate) fn receive(
        &mut self,
        max: u32,
        bound: bool,
        wait: Option<std::time::Duration>,
        op: Op,
    ) {
        let from = Source::Queue(queue());
        let receive = Receive { max, wait, bound, gaps: true, ..Receive::one(from) };
        self.ask(Command::Receive(receive), op);
    }

    pub(crate) fn ack(&mut self, held: &Held, op: Op) {
        self.ask(Command::Ack { lease: held.lease, confirm: Confirm::Always }, op);
    }

    pub(crate) fn nack(&mut self, held: &Held, outcome: Outcome, op: Op) {
        let confirm = Confirm::Always;
        self.ask(Command::Nack { lease: held.lease, outcome, confirm }, op);
    }

    pub(crate) fn remove(&mut self, id: sluice_model::MessageId, op: Op) {
        self.look_after(QueueRequest::Remove { name: queue(), id, force: false }, op);
    }

    pub(crate) fn purge(&mut self, op: Op) {
        let what = Purge { waiting: true, leased: false, dead: false };
        self.look_after(QueueRequest::Purge { name: queue(), what }, op);
    }

    pub(crate) fn redrive(&mut self, per_second: Option<u32>, op: Op) {
        let which = Redrive::Matching { reason: None, age_min: None };
        self.look_after(QueueRequest::Redrive { name: queue(), which, per_second }, op);
    }

    pub(crate) fn stats(&mut self, op: Op) {
        self.look_after(QueueRequest::Stats { name: queue() }, op);
    }
}

fn handed(draft: &Draft) -> (Destination, Message) {
    let Draft { name, priority, repeats, delay, padding } = draft;
    let lane = Lane { priority: *priority, ..Lane::default() };
    let dedupe_id = repeats.then(|| format!("{}-{}", name.0, name.1));
    let extras = Extras { lane, dedupe_id, delay: *delay, ..Extras::default() };
    let message =
        Message { payload: Bytes::from(payload(*name, *padding)), extras: Some(Box::new(extras)) };
    (Destination::Queue(queue()), message)
}
