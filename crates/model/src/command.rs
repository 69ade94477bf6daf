//! What a client can ask of the broker, whatever door it came through.

use std::time::Duration;

use crate::{
    LeaseId, Message, Qos, Refusal, SubscriptionId, SubscriptionName, Topic, TopicPattern,
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
    /// Hand a message to every subscription that matches its topic.
    Publish(Publish),
    /// Begin to receive what is published.
    Subscribe(Subscribe),
    /// Take the next message of a subscription, if there is one.
    Receive {
        /// One of this session's subscriptions.
        subscription: SubscriptionId,
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
    /// Answer when everything before it on this session has reached its level.
    Fence,
    /// Nothing any more: it was refused on its way. What is left is its place among the replies.
    Refused(Box<Refusal>),
}

/// Hand a message to every subscription that matches its topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Where to.
    pub topic: Topic,
    /// The highest guarantee that the publisher asks for.
    pub qos: Qos,
    /// What.
    pub message: Message,
    /// Which outcomes are told.
    pub confirm: Confirm,
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
}

/// Which outcomes of a command its session is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Confirm {
    /// Success and refusal.
    Always,
    /// Only a refusal; success is known by a later fence.
    Refusal,
}

/// How a lease ends when its holder gives it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The attempt failed: counted, and tried again after the delay, else after backoff.
    Failed {
        /// Replaces the backoff.
        delay: Option<Duration>,
    },
    /// Not tried: nothing is counted against the message.
    Released {
        /// Stays hidden for so long; none puts it back in its place.
        delay: Option<Duration>,
    },
}
