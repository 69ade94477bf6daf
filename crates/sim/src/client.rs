//! Publishers and consumers: what they have asked and not been told yet.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use sluice_model::{
    BlockBuilder, Command, Confirm, Destination, LeaseId, Message, Outcome, Publish, PublishBlock,
    Qos, Receive, Request, SessionId, SettleMany, Settlement, Source, Subscribe, SubscriptionId,
    SubscriptionName, Topic, TopicPattern,
};

use crate::oracle::Name;
use crate::roles::Role;

/// As long as a session waits for what is to be pushed.
pub(crate) const PUSH_WAIT: Duration = Duration::from_secs(3_600);

/// What a request was for.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    Publish(Name),
    /// Confirms the publishes and acks before it.
    Fence(Vec<Name>, Vec<Name>),
    Subscribe,
    Receive,
    Ack(Name),
    AckMany(Vec<Name>),
    /// By a lease of a life before this one.
    OldAck(Name),
    Nack,
    Block(Sent),
    /// A receive of so many more.
    Many {
        left: u32,
        waits: bool,
    },
}

/// A block that was handed in.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) names: Vec<Name>,
    pub(crate) whole: bool,
    /// The session of the subscriber at most once, if there was one, when the broker ran it; none
    /// if it has not.
    pub(crate) reached: Option<Option<SessionId>>,
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
    /// The receive that waits for what is to be pushed, and how much more may be.
    pub(crate) push: Option<u64>,
    pub(crate) credit: u32,
    /// The broker has run its subscribe.
    pub(crate) listens: bool,
    /// What reached its subscription, what of it came, and how much it was told that it lost.
    pub(crate) reached: BTreeSet<Name>,
    pub(crate) copied: BTreeSet<Name>,
    pub(crate) lost: u64,
    /// A receive has found nothing.
    pub(crate) is_drained: bool,
    /// Something was published of which nobody was told whether it was taken.
    pub(crate) is_unsure: bool,
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
            push: None,
            credit: 0,
            listens: false,
            reached: BTreeSet::new(),
            copied: BTreeSet::new(),
            lost: 0,
            is_drained: false,
            is_unsure: false,
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
        let topic = Topic::new(topic).expect("the topics of the workload are valid");
        let message = Message::plain(Bytes::from(payload(name, padding)));
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

    pub(crate) fn publish_block(
        &mut self,
        topic: &str,
        names: Vec<Name>,
        padding: usize,
        qos: Qos,
        whole: bool,
    ) {
        let mut builder = BlockBuilder::default();
        names.iter().for_each(|name| builder.push(&payload(*name, padding)));
        let to = Destination::Topic(Topic::new(topic).expect("the workload's topics are valid"));
        let (messages, confirm) = (builder.finish(), Confirm::Always);
        let block = PublishBlock { to, qos, level: None, messages, whole, confirm, each: false };
        let sent = Sent { names, whole, reached: None };
        self.ask(Command::PublishBlock(Box::new(block)), Asked::Block(sent));
    }

    /// The broker has run what is not among the requests any more.
    pub(crate) fn reach(&mut self, listener: Option<SessionId>) {
        let waiting: BTreeSet<u64> = self.requests.iter().map(|request| request.tag).collect();
        for (tag, asked) in &mut self.asked {
            if let (Asked::Block(sent), false) = (asked, waiting.contains(tag)) {
                sent.reached.get_or_insert(listener);
            }
        }
    }

    /// A receive is not answered yet.
    pub(crate) fn is_receiving(&self) -> bool {
        self.asked.values().any(|asked| matches!(asked, Asked::Receive | Asked::Many { .. }))
    }

    /// Many messages, if there are some now.
    pub(crate) fn receive_many(&mut self, subscription: SubscriptionId, max: u32) {
        let from = Source::Subscription(subscription);
        let receive = Receive { max, gaps: true, ..Receive::one(from) };
        self.ask(Command::Receive(receive), Asked::Many { left: max, waits: false });
    }

    /// A receive that waits for as much as there is credit for.
    pub(crate) fn push(&mut self, subscription: SubscriptionId) {
        let (max, wait) = (self.credit.max(2), Some(PUSH_WAIT));
        let from = Source::Subscription(subscription);
        // Every other one stays for more.
        let stays = self.last_tag.is_multiple_of(2);
        let receive = Receive { max, wait, gaps: true, stays, ..Receive::one(from) };
        self.ask(Command::Receive(receive), Asked::Many { left: max, waits: true });
        self.push = Some(self.last_tag);
    }

    pub(crate) fn withdraw(&mut self) {
        let Some(receive) = self.push else { return };
        self.last_tag += 1;
        let command = Command::Withdraw { receive };
        self.requests.push_back(Request { tag: self.last_tag, command });
    }

    /// A receive of many brought so many messages, or ended. Gives how many were pushed.
    pub(crate) fn took(&mut self, tag: u64, messages: usize, goes_on: bool) -> Result<u64, String> {
        let Some(Asked::Many { left, waits }) = self.asked.get_mut(&tag) else { return Ok(0) };
        let count = u32::try_from(messages).unwrap_or(u32::MAX);
        *left = left.checked_sub(count).ok_or("more came than was asked for")?;
        let waits = *waits;
        if !goes_on {
            self.asked.remove(&tag);
            self.push.take_if(|push| *push == tag);
        }
        if !waits {
            return Ok(0);
        }
        self.credit = self.credit.saturating_sub(count);
        Ok(count.into())
    }

    pub(crate) fn ack_many(&mut self, held: Vec<(Name, LeaseId)>) {
        let (names, leases) = held.into_iter().unzip();
        let many = SettleMany { leases, how: Settlement::Ack, confirm: Confirm::Always };
        self.ask(Command::SettleMany(Box::new(many)), Asked::AckMany(names));
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

/// What a message carries: its name, and as much as it takes to be so long.
pub(crate) fn payload(name: Name, padding: usize) -> Vec<u8> {
    let mut payload = format!("{}-{}|", name.0, name.1).into_bytes();
    payload.resize(payload.len() + padding, b'.');
    payload
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
