//! What can come back to a client.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;

use crate::{Code, LeaseId, MessageId, SubscriptionId, Timestamp};

/// An answer with the tag of the request that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The tag of the request.
    pub tag: u64,
    /// What became of it.
    pub answer: Answer,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The message is at the level of every queue that took it.
    Published {
        /// Its identity from now on.
        id: MessageId,
        /// How many subscriptions it matched.
        matched: u32,
    },
    /// The subscription is there and gets what is published from now on.
    Subscribed {
        /// What this session calls it.
        subscription: SubscriptionId,
    },
    /// The next message of a subscription.
    Delivered(Delivery),
    /// There is nothing to receive now.
    Empty,
    /// The lease has ended as asked.
    Settled {
        /// It had been settled before, in the same way.
        already: bool,
    },
    /// Everything before the fence has reached its level.
    Fenced,
    /// Surely without effect, save for [`Code::Indeterminate`].
    Refused(Refusal),
}

/// One handing-over of a message to a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Through which subscription.
    pub subscription: SubscriptionId,
    /// What settles it; none for a delivery at most once.
    pub lease: Option<LeaseId>,
    /// It may have been delivered before.
    pub redelivered: bool,
    /// The message's identity.
    pub id: MessageId,
    /// When the broker took it.
    pub published_at: Timestamp,
    /// The topic that it was published to: UTF-8, checked when it was published.
    pub topic: Bytes,
    /// Who published it, as the broker knows and no client can choose: UTF-8.
    pub sender: Bytes,
    /// The bytes as they were handed in.
    pub payload: Bytes,
}

/// Why a request had no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The kind of reason.
    pub code: Code,
    /// The reason, as a lowercase fragment.
    pub message: Cow<'static, str>,
    /// When trying again may help.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal with a reason and no time to retry.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), retry_after: None }
    }
}

impl Reply {
    /// What this reply counts for in its connection's bound on outgoing bytes: at least the bytes
    /// that any door makes of it.
    pub fn weight(&self) -> usize {
        match &self.answer {
            Answer::Delivered(delivery) => {
                let Delivery { topic, sender, payload, .. } = delivery;
                Self::delivery_weight(topic.len() + sender.len() + payload.len())
            }
            Answer::Refused(refusal) => Self::WEIGHT_MIN + refusal.message.len(),
            _ => Self::WEIGHT_MIN,
        }
    }

    /// The weight of a reply that carries no message.
    pub const WEIGHT_MIN: usize = 128;

    /// The weight of a delivery whose topic, sender and payload have so many bytes together.
    pub const fn delivery_weight(bytes: usize) -> usize {
        Self::WEIGHT_MIN + bytes
    }
}
