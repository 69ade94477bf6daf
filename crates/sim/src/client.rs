//! Publishers and consumers: what they have asked and not been told yet.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use sluice_model::{
    Command, Confirm, Destination, LeaseId, Message, Outcome, Publish, Qos, Receive, Request,
    SessionId, Source, Subscribe, SubscriptionId, SubscriptionName, Topic, TopicPattern,
};

use crate::oracle::Name;
use crate::roles::Role;

/// What a request was for.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    Publish(Name),
    /// Confirms the publishes and acks before it.
    Fence(Vec<Name>, Vec<Name>),
    Subscribe,
    Receive,
    Ack(Name),
    /// By a lease of a life before this one.
    OldAck(Name),
    Nack,
}

/// A client of one session.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) session: Option<SessionId>,
    pub(crate) asked: BTreeMap<u64, Asked>,
    pub(crate) requests: VecDeque<Request>,
    /// Weight of replies taken and not reported as written.
    pub(crate) written: usize,
    last_tag: u64,
    /// Publishes and acks since the last fence.
    published: Vec<Name>,
    acked: Vec<Name>,
    /// Messages that it holds, with their leases.
    pub(crate) held: Vec<(Name, LeaseId)>,
    pub(crate) subscription: Option<SubscriptionId>,
}

impl Client {
    pub(crate) fn new() -> Self {
        Self {
            session: None,
            asked: BTreeMap::new(),
            requests: VecDeque::new(),
            written: 0,
            last_tag: 0,
            published: Vec::new(),
            acked: Vec::new(),
            held: Vec::new(),
            subscription: None,
        }
    }

    /// Forgets everything about a connection that is gone.
    pub(crate) fn forget(&mut self) {
        *self = Self { last_tag: self.last_tag, ..Self::new() };
    }

    fn ask(&mut self, command: Command, asked: Asked) {
        self.last_tag += 1;
        self.asked.insert(self.last_tag, asked);
        self.requests.push_back(Request { tag: self.last_tag, command });
    }

    pub(crate) fn publish(
        &mut self,
        topic: &str,
        name: Name,
        padding: usize,
        qos: Qos,
        confirm: Confirm,
    ) {
        let mut payload = format!("{}-{}|", name.0, name.1).into_bytes();
        payload.resize(payload.len() + padding, b'.');
        let topic = Topic::new(topic).expect("the topics of the workload are valid");
        let message = Message::plain(Bytes::from(payload));
        if confirm == Confirm::Refusal {
            self.published.push(name);
        }
        let to = Destination::Topic(topic);
        let publish = Publish { to, qos, level: None, message, confirm };
        self.ask(Command::Publish(publish), Asked::Publish(name));
    }

    pub(crate) fn subscribe(&mut self, role: &Role) {
        let pattern = TopicPattern::new(role.pattern).expect("the workload's patterns are valid");
        let name = role.name.map(SubscriptionName::new);
        let name = name.transpose().expect("the workload's names are valid");
        let subscribe = Subscribe { name, ..Subscribe::unnamed(pattern, role.qos) };
        self.ask(Command::Subscribe(subscribe), Asked::Subscribe);
    }

    pub(crate) fn receive(&mut self, subscription: SubscriptionId) {
        self.ask(
            Command::Receive(Receive::one(Source::Subscription(subscription))),
            Asked::Receive,
        );
    }

    pub(crate) fn ack(&mut self, name: Name, lease: LeaseId, confirm: Confirm) {
        if confirm == Confirm::Refusal {
            self.acked.push(name);
        }
        self.ask(Command::Ack { lease, confirm }, Asked::Ack(name));
    }

    pub(crate) fn old_ack(&mut self, name: Name, lease: LeaseId) {
        self.ask(Command::Ack { lease, confirm: Confirm::Always }, Asked::OldAck(name));
    }

    pub(crate) fn nack(&mut self, lease: LeaseId, outcome: Outcome) {
        let confirm = Confirm::Always;
        self.ask(Command::Nack { lease, outcome, confirm }, Asked::Nack);
    }

    pub(crate) fn fence(&mut self) {
        let asked =
            Asked::Fence(std::mem::take(&mut self.published), std::mem::take(&mut self.acked));
        self.ask(Command::Fence, asked);
    }

    /// A publish or ack was refused, so no fence stands for it.
    pub(crate) fn refused(&mut self, name: Name) {
        self.published.retain(|published| *published != name);
        self.acked.retain(|acked| *acked != name);
        for asked in self.asked.values_mut() {
            if let Asked::Fence(published, acked) = asked {
                published.retain(|published| *published != name);
                acked.retain(|acked| *acked != name);
            }
        }
    }
}

/// Reads a message's name back from its payload.
pub(crate) fn name_of(payload: &[u8]) -> Option<Name> {
    let text = std::str::from_utf8(payload).ok()?;
    let (name, padding) = text.split_once('|')?;
    let (publisher, count) = name.split_once('-')?;
    if padding.bytes().any(|byte| byte != b'.') {
        return None;
    }
    Some((publisher.parse().ok()?, count.parse().ok()?))
}
