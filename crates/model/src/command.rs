//! What a client can ask of the broker, whatever door it came through.

use std::time::Duration;

use crate::{
    Block, KvRequest, LeaseId, Level, LimitRequest, Message, Qos, QueueName, QueueRequest,
    QueueSettings, Refusal, SubscriptionId, SubscriptionName, Throttled, Topic, TopicPattern,
    WatchId,
};

/// A command with the number under which its session wants the reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Chosen by the door; comes back in [`crate::Reply::tag`].
    pub tag: u64,
    /// What is asked.
    pub command: Command,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Hand in a message.
    Publish(Publish),
    /// Hand in messages, all or none.
    PublishBatch(Box<PublishBatch>),
    /// Hand in messages without extras to one destination.
    PublishBlock(Box<PublishBlock>),
    /// Begin to receive what is published.
    Subscribe(Subscribe),
    /// End what [`Command::Subscribe`] began for this session. A durable subscription stays.
    Unsubscribe {
        /// One of this session's subscriptions.
        subscription: SubscriptionId,
    },
    /// Take the next messages, if there are any.
    Receive(Receive),
    /// Answer a receive of this session now, if it still waits. Says nothing itself.
    Withdraw {
        /// The tag of the receive.
        receive: u64,
    },
    /// Settle a delivery: it has been dealt with.
    Ack {
        /// The lease that came with the delivery.
        lease: LeaseId,
        /// Which outcomes are told.
        confirm: Confirm,
    },
    /// Give a delivery back.
    Nack {
        /// The lease that came with the delivery.
        lease: LeaseId,
        /// Why, which decides what happens next.
        outcome: Outcome,
        /// Which outcomes are told.
        confirm: Confirm,
    },
    /// Take more time to settle a delivery.
    Extend {
        /// The lease that came with the delivery.
        lease: LeaseId,
        /// How long from now; a lease lives 12 h at most, extensions included.
        by: Duration,
        /// Which outcomes are told.
        confirm: Confirm,
    },
    /// Settle deliveries or take more time for them, each by itself.
    SettleMany(Box<SettleMany>),
    /// Answer when everything before it on this session has reached its level.
    Fence,
    /// Look after a queue.
    Queue(Box<QueueRequest>),
    /// Set limits, pause keys and queues, or ask why something is not delivered.
    Limit(Box<LimitRequest>),
    /// Read, write or watch keys.
    Kv(KvRequest),
    /// Nothing any more: it was refused on its way. What is left is its place among the replies.
    Refused(Box<Refusal>),
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Every subscription that matches the topic.
    Topic(Topic),
    /// The queue of that name.
    Queue(QueueName),
}

impl Destination {
    /// The topic's or the queue's name.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Topic(topic) => topic.as_str(),
            Self::Queue(queue) => queue.as_str(),
        }
    }
}

/// Hand in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Where to.
    pub to: Destination,
    /// The highest guarantee that the publisher asks for.
    pub qos: Qos,
    /// The least level that the publisher accepts; none for whatever the queues have.
    pub level: Option<Level>,
    /// What.
    pub message: Message,
    /// Which outcomes are told.
    pub confirm: Confirm,
}

/// Hand in messages, all or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishBatch {
    /// Where each goes; a destination may be named by many.
    pub messages: Vec<(Destination, Message)>,
    /// The least level that the publisher accepts; none for whatever the queues have.
    pub level: Option<Level>,
}

/// Hand in messages without extras to one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishBlock {
    /// Where to.
    pub to: Destination,
    /// The highest guarantee that the publisher asks for.
    pub qos: Qos,
    /// The least level that the publisher accepts; none for whatever the queues have.
    pub level: Option<Level>,
    /// What; at least one.
    pub messages: Block,
    /// All of them or none; otherwise those that can be taken are.
    pub whole: bool,
    /// Which outcomes are told.
    pub confirm: Confirm,
    /// What became of each message is told, also where all were taken.
    pub each: bool,
}

/// Begin to receive what is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// Which topics.
    pub pattern: TopicPattern,
    /// At most once from memory, or at least once from a queue.
    pub qos: Qos,
    /// The durable subscription to share or to make. Without a name, at least once, the session
    /// takes over its principal's oldest detached subscription to the same pattern or makes one.
    pub name: Option<SubscriptionName>,
    /// What its queue is to be like, if it has a name.
    pub settings: QueueSettings,
}

impl Subscribe {
    /// A subscription without a name.
    pub fn unnamed(pattern: TopicPattern, qos: Qos) -> Self {
        Self { pattern, qos, name: None, settings: QueueSettings::default() }
    }
}

/// Take the next messages, if there are any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receive {
    /// Where from.
    pub from: Source,
    /// At most so many; 1 or more. As many come as fit the session's bound on outgoing bytes. A
    /// receive of more than one message at most once may get blocks of them.
    pub max: u32,
    /// Time to settle each; none for the queue's.
    pub lease: Option<Duration>,
    /// How long to wait for the first one. The answer to a receive that waits comes when it comes:
    /// requests after it may be answered before.
    pub wait: Option<Duration>,
    /// The leases end with the session's connection.
    pub bound: bool,
    /// Who asks can be told how many messages at most once were lost; a loss that nobody heard of
    /// is told with the next receive that can.
    pub gaps: bool,
    /// A receive at most once, or of changes, that waits goes on to wait after it was answered, until
    /// `max` have come or its time is over: its answers say that others follow. Where there is no room
    /// for what comes next it ends with an empty one, whoever takes what is on its way asks again.
    pub stays: bool,
}

impl Receive {
    /// One message, if there is one now, under a lease that ends with the connection.
    pub const fn one(from: Source) -> Self {
        Self { from, max: 1, lease: None, wait: None, bound: true, gaps: false, stays: false }
    }
}

/// Where messages come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// One of the session's subscriptions.
    Subscription(SubscriptionId),
    /// The queue of that name.
    Queue(QueueName),
    /// One of the session's watches: [`crate::Answer::Changes`] is what comes.
    Watch(WatchId),
}

/// Which outcomes of a command its session is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Confirm {
    /// Success and refusal.
    Always,
    /// Only a refusal; success is known by a later fence.
    Refusal,
}

/// Longest note with a failed or rejected delivery, in bytes; what is past it is cut off.
pub const NOTE_BYTES_MAX: usize = 256;

/// How a lease ends when its holder gives it back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The attempt failed: counted, and tried again after the delay, else after backoff.
    Failed {
        /// Replaces the backoff.
        delay: Option<Duration>,
        /// Kept as the message's last error.
        note: Option<Box<str>>,
    },
    /// Not tried: nothing is counted against the message.
    Released {
        /// Stays hidden for so long; none puts it back in its place.
        delay: Option<Duration>,
    },
    /// A door could not hand it to its client: nothing is counted, and it is put back in its place. No client
    /// can say so.
    Withdrawn,
    /// Not tried, because whoever is behind its key wants a pause: the key is paused for everybody,
    /// nothing is counted.
    Throttled(Throttled),
    /// No attempt will ever succeed: to the dead set at once.
    Rejected {
        /// Kept as the message's last error.
        note: Option<Box<str>>,
    },
}

/// Settle deliveries or take more time for them, each by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettleMany {
    /// The leases that came with the deliveries.
    pub leases: Vec<LeaseId>,
    /// What is to become of them.
    pub how: Settlement,
    /// Which outcomes are told.
    pub confirm: Confirm,
}

/// What is to become of a lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Settlement {
    /// It ends: the message has been dealt with.
    Ack,
    /// It ends: the message is given back.
    Nack(Outcome),
    /// It goes on for so long from now.
    Extend(Duration),
}
