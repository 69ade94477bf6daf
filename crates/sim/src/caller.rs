//! A client of queues under limits: it puts in, takes out and settles, or sets limits.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use sluice_model::{
    Command, Confirm, Destination, Explained, Extras, Lane, LeaseId, Level, LimitRequest, Message,
    Outcome, Publish, PublishBatch, Qos, QueueName, QueueRequest, QueueSettings, Receive, Request,
    SessionId, Source, Throttled,
};

use crate::client::payload;
use crate::oracle::Name;
use crate::oracle::limits::{At, QUEUES, Sent};

/// How a lease is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Back {
    Failed(At),
    Released,
    /// For so long, if it says how long, under that key if it names one.
    Throttled(Option<At>, Option<&'static str>),
}

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    Declare,
    Publish(Vec<usize>),
    Receive {
        queue: usize,
        lease: At,
        bound: bool,
        /// It waits until then.
        until: Option<At>,
    },
    /// By the number of the lease.
    Ack(usize),
    Nack(usize, Back),
    Limit(LimitRequest),
    /// Why a message waits, by its number.
    Why(usize),
    List,
    Stats,
}

/// Something asked, and when.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) what: Asked,
    /// When the broker ran it; none if it has not.
    pub(crate) ran: Option<At>,
    /// By the oracle's clock.
    pub(crate) no: u64,
}

impl Ask {
    /// Whether it is a receive that waits.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.what, Asked::Receive { until: Some(_), .. })
    }
}

/// A client of one session.
#[derive(Debug, Default)]
pub(crate) struct Caller {
    pub(crate) session: Option<SessionId>,
    pub(crate) asked: BTreeMap<u64, Ask>,
    pub(crate) requests: VecDeque<Request>,
    /// Weight of replies taken and not reported as written.
    pub(crate) written: usize,
    /// Leases that it has, by their numbers.
    pub(crate) held: Vec<(usize, LeaseId)>,
    last_tag: u64,
}

/// The name of a queue of the workload.
pub(crate) fn queue(at: usize) -> QueueName {
    QueueName::new(QUEUES[at]).expect("the workload's names are valid")
}

impl Caller {
    /// Forgets a connection that is gone. Gives back what was asked and not answered; leases stay if
    /// they outlive it.
    pub(crate) fn lose(&mut self, keep: impl Fn(usize) -> bool) -> Vec<Ask> {
        let asked = std::mem::take(&mut self.asked);
        let mut held = std::mem::take(&mut self.held);
        held.retain(|(lease, _)| keep(*lease));
        *self = Self { last_tag: self.last_tag, held, ..Self::default() };
        asked.into_values().collect()
    }

    fn ask(&mut self, command: Command, what: Asked, no: u64) {
        self.last_tag += 1;
        self.asked.insert(self.last_tag, Ask { what, ran: None, no });
        self.requests.push_back(Request { tag: self.last_tag, command });
    }

    /// Notes what the broker has run by now; gives the numbers of what is new.
    pub(crate) fn note_run(&mut self, now: At) -> Vec<u64> {
        let waiting = self.requests.front().map_or(u64::MAX, |request| request.tag);
        let mut tags = Vec::new();
        for (tag, ask) in self.asked.iter_mut().filter(|(tag, _)| **tag < waiting) {
            if ask.ran.is_none() {
                ask.ran = Some(now);
                tags.push(*tag);
            }
        }
        tags
    }

    pub(crate) fn declare(&mut self, at: usize, settings: QueueSettings, no: u64) {
        let request = QueueRequest::Declare { name: queue(at), settings, update: false };
        self.ask(Command::Queue(Box::new(request)), Asked::Declare, no);
    }

    pub(crate) fn stats(&mut self, at: usize, no: u64) {
        let request = QueueRequest::Stats { name: queue(at) };
        self.ask(Command::Queue(Box::new(request)), Asked::Stats, no);
    }

    pub(crate) fn publish(&mut self, sent: &[(usize, Name, Sent)], no: u64) {
        let numbers = sent.iter().map(|(number, _, _)| *number).collect();
        let mut messages: Vec<_> = sent.iter().map(|(_, name, sent)| handed(*name, sent)).collect();
        let level = Some(Level::Sync);
        let command = match messages.pop() {
            Some((to, message)) if messages.is_empty() => {
                let (qos, confirm) = (Qos::AtLeastOnce, Confirm::Always);
                Command::Publish(Publish { to, qos, level, message, confirm })
            }
            last => {
                messages.extend(last);
                Command::PublishBatch(Box::new(PublishBatch { messages, level }))
            }
        };
        self.ask(command, Asked::Publish(numbers), no);
    }

    pub(crate) fn receive(
        &mut self,
        at: usize,
        max: u32,
        lease: At,
        bound: bool,
        wait: Option<(At, At)>,
        no: u64,
    ) {
        let until = wait.map(|(now, millis)| now + millis);
        let wait = wait.map(|(_, millis)| Duration::from_millis(millis));
        let from = Source::Queue(queue(at));
        let its_lease = Some(Duration::from_millis(lease));
        let receive = Receive { max, lease: its_lease, wait, bound, ..Receive::one(from) };
        let what = Asked::Receive { queue: at, lease, bound, until };
        self.ask(Command::Receive(receive), what, no);
    }

    pub(crate) fn ack(&mut self, number: usize, lease: LeaseId, no: u64) {
        let command = Command::Ack { lease, confirm: Confirm::Always };
        self.ask(command, Asked::Ack(number), no);
    }

    pub(crate) fn nack(&mut self, number: usize, lease: LeaseId, back: Back, no: u64) {
        let outcome = match back {
            Back::Failed(delay) => {
                Outcome::Failed { delay: Some(Duration::from_millis(delay)), note: None }
            }
            Back::Released => Outcome::Released { delay: None },
            Back::Throttled(after, key) => Outcome::Throttled(Throttled {
                retry_after: after.map(Duration::from_millis),
                key: key.map(Box::from),
            }),
        };
        let command = Command::Nack { lease, outcome, confirm: Confirm::Always };
        self.ask(command, Asked::Nack(number, back), no);
    }

    pub(crate) fn limit(&mut self, request: LimitRequest, no: u64) {
        let what = Asked::Limit(request.clone());
        self.ask(Command::Limit(Box::new(request)), what, no);
    }

    pub(crate) fn list(&mut self, no: u64) {
        let list = LimitRequest::List { name: None, after: None, limit: 200 };
        self.ask(Command::Limit(Box::new(list)), Asked::List, no);
    }

    pub(crate) fn why(&mut self, at: usize, message: usize, what: Explained, no: u64) {
        let explain = LimitRequest::Explain { queue: queue(at), what };
        self.ask(Command::Limit(Box::new(explain)), Asked::Why(message), no);
    }
}

fn handed(name: Name, sent: &Sent) -> (Destination, Message) {
    let lane = Lane {
        priority: sent.priority,
        group: sent.group.map(Box::from),
        keys: sent.keys.iter().map(|key| Box::from(*key)).collect(),
        cost: sent.cost,
    };
    let delay = (sent.delay > 0).then(|| Duration::from_millis(sent.delay));
    let extras = Extras { lane, delay, ..Extras::default() };
    let payload = Bytes::from(payload(name, 0));
    let message = Message { payload, extras: Some(Box::new(extras)) };
    (Destination::Queue(queue(sent.queue)), message)
}
