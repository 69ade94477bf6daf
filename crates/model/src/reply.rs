//! What can come back to a client.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::{
    Block, Code, Difference, HEADER_BYTES_MAX, HEADERS_MAX, KvAnswer, Lane, LeaseId, Level,
    LimitAnswer, MessageId, MessageInfo, NAME_BYTES_MAX, QueueName, QueueStats, QueueSummary,
    SubscriptionId, Timestamp, WatchEvent, WatchId,
};

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
    Published(Published),
    /// Every message of the batch is at the level of every queue that took it.
    PublishedBatch(Vec<Published>),
    /// Every message of the block is at the level of every queue that took it.
    PublishedBlock(PublishedBlock),
    /// What became of each message of a block, because not all of them were taken. Whoever is told
    /// of refusals alone gets the first one alone.
    PublishedEach(Vec<Result<Published, Refusal>>),
    /// The subscription is there and gets what is published from now on.
    Subscribed {
        /// What this session calls it.
        subscription: SubscriptionId,
    },
    /// The session is not subscribed any more.
    Unsubscribed,
    /// A message. More answers to the same request follow while its `more` is set.
    Delivered(Box<Delivery>),
    /// Messages at most once. More answers to the same request follow while its `more` is set.
    DeliveredBlock(Box<BlockDelivery>),
    /// Messages at most once were lost because they came faster than they were taken. Further
    /// answers to the same request follow.
    Lost {
        /// So many, all before those that follow.
        messages: u64,
    },
    /// A message that could not be read back; it is in the dead set now.
    Unreadable {
        /// Further answers to the same request follow.
        more: bool,
    },
    /// There is nothing to receive now.
    Empty {
        /// When there will be, if that is known.
        next: Option<Timestamp>,
    },
    /// The lease has ended as asked.
    Settled {
        /// It had been settled before, in the same way.
        already: bool,
    },
    /// The lease lives longer.
    Extended {
        /// Until then.
        deadline: Timestamp,
    },
    /// All leases are settled as asked, or live longer, but for those named here.
    SettledMany {
        /// By their place in the request, and why.
        refused: Vec<(u32, Refusal)>,
        /// The earliest of the new deadlines of those that live longer.
        deadline: Option<Timestamp>,
    },
    /// Everything before the fence has reached its level.
    Fenced,
    /// The queue is as asked.
    Declared {
        /// It was not there before.
        created: bool,
    },
    /// The queue is there, but otherwise; nothing was changed.
    Differs(Vec<Difference>),
    /// The queues in the order of their names.
    Queues {
        /// As many as were asked for.
        queues: Vec<QueueSummary>,
        /// Where to go on, if there are more.
        next: Option<QueueName>,
    },
    /// What a queue is like.
    Stats(Box<QueueStats>),
    /// The queue is gone, or these many messages of it.
    Removed {
        /// Messages that were there.
        messages: u64,
    },
    /// Messages, looked at.
    Browsed {
        /// In the order of their places.
        messages: Vec<MessageInfo>,
        /// Where to go on, if there may be more.
        next: Option<u64>,
    },
    /// A message, looked at, and what it carries.
    Peeked(Box<Peeked>),
    /// The message comes at that time.
    Rescheduled {
        /// None for at once.
        at: Option<Timestamp>,
    },
    /// Messages were put back from the dead set.
    Redriven {
        /// So many.
        messages: u64,
        /// The work goes on at the pace that was asked for.
        goes_on: bool,
    },
    /// What became of a request about limits.
    Limit(Box<LimitAnswer>),
    /// What became of a request about keys and values.
    Kv(KvAnswer),
    /// What happened to watched keys, in the order of revisions. More answers to the same request
    /// follow while `more` is set.
    Changes {
        /// Through which watch.
        watch: WatchId,
        /// At least one. Those who are told of the same change alone share it.
        events: Arc<[WatchEvent]>,
        /// Further answers to the same request follow.
        more: bool,
    },
    /// Surely without effect, save for [`Code::Indeterminate`].
    Refused(Refusal),
}

impl Answer {
    /// Whether further answers to the same request follow.
    pub fn goes_on(&self) -> bool {
        match self {
            Self::Delivered(delivery) => delivery.more,
            Self::DeliveredBlock(block) => block.more,
            Self::Unreadable { more } | Self::Changes { more, .. } => *more,
            Self::Lost { .. } => true,
            _ => false,
        }
    }
}

/// A message that was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Its identity from now on; the original's for a duplicate.
    pub id: MessageId,
    /// How many queues and subscriptions it reached.
    pub matched: u32,
    /// The weakest level among the queues that took it; none where none did.
    pub level: Option<Level>,
    /// It had been published before, under the same dedupe id: nothing was stored.
    pub duplicate: bool,
}

/// Messages that were taken together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishedBlock {
    /// The first one's identity; each further one counts one higher.
    pub first: MessageId,
    /// So many.
    pub count: u32,
    /// How many queues and subscriptions each of them reached.
    pub matched: u32,
    /// The weakest level among the queues that took them; none where none did.
    pub level: Option<Level>,
    /// Each of them is told by itself.
    pub each: bool,
}

/// Messages at most once on their way to a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockDelivery {
    /// Through which subscription.
    pub subscription: SubscriptionId,
    /// When the broker took them.
    pub published_at: Timestamp,
    /// The topic that they were published to: UTF-8.
    pub topic: Bytes,
    /// Who published them, as the broker knows: UTF-8.
    pub sender: Bytes,
    /// What they carry.
    pub messages: Block,
    /// Further answers to the same request follow.
    pub more: bool,
}

impl BlockDelivery {
    /// Bytes of all that they carry.
    pub fn bytes(&self) -> usize {
        self.topic.len() + self.sender.len() + self.messages.bytes().len()
    }
}

/// One handing-over of a message to a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Through which subscription; none from a queue by name.
    pub subscription: Option<SubscriptionId>,
    /// What settles it; none for a delivery at most once.
    pub lease: Option<LeaseId>,
    /// When the lease ends by itself; the epoch without one.
    pub deadline: Timestamp,
    /// It may have been delivered before.
    pub redelivered: bool,
    /// The how-manieth lease of the message this is, from 1.
    pub attempt: u32,
    /// How often an attempt failed.
    pub failures: u32,
    /// Order and limits; none for the defaults.
    pub lane: Option<Arc<Lane>>,
    /// What the message carries.
    pub carried: Carried,
    /// Further answers to the same request follow.
    pub more: bool,
}

impl Delivery {
    /// The first delivery of a message with nothing special about it.
    pub fn first(
        subscription: SubscriptionId,
        lease: Option<LeaseId>,
        deadline: Timestamp,
        carried: Carried,
    ) -> Self {
        Self {
            subscription: Some(subscription),
            lease,
            deadline,
            redelivered: false,
            attempt: 1,
            failures: 0,
            lane: None,
            carried,
            more: false,
        }
    }
}

/// What a message carries, as its consumer gets it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// The message's identity.
    pub id: MessageId,
    /// When the broker took it.
    pub published_at: Timestamp,
    /// The topic that it was published to, or the queue: UTF-8, checked when it was published.
    pub topic: Bytes,
    /// Who published it, as the broker knows: UTF-8.
    pub sender: Bytes,
    /// Pairs of strings, in the order given: UTF-8.
    pub headers: Vec<(Bytes, Bytes)>,
    /// The bytes as they were handed in.
    pub payload: Bytes,
}

impl Carried {
    /// Bytes of all that it carries.
    pub fn bytes(&self) -> usize {
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.topic.len() + self.sender.len() + headers + self.payload.len()
    }
}

/// A message that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peeked {
    /// Its state.
    pub info: MessageInfo,
    /// What it carries.
    pub carried: Carried,
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

impl Answer {
    /// What a reply with this answer counts for in its connection's bound on outgoing bytes: at least
    /// the bytes that any door makes of it.
    pub fn weight(&self) -> usize {
        match self {
            Self::Delivered(delivery) => Reply::delivery_weight(delivery.carried.bytes()),
            Self::Peeked(peeked) => Reply::peek_weight(peeked.carried.bytes()),
            Self::Refused(refusal) => Reply::WEIGHT_MIN + 2 * refusal.message.len(),
            Self::DeliveredBlock(block) => Reply::delivery_weight(block.bytes()),
            Self::PublishedBatch(all) => Reply::WEIGHT_MIN * (1 + all.len()),
            Self::PublishedBlock(block) if block.each => Reply::receipts_weight(block.count),
            Self::PublishedEach(all) => {
                let texts =
                    all.iter().filter_map(|one| one.as_ref().err()).map(|no| no.message.len());
                Reply::WEIGHT_MIN * (1 + all.len()) + texts.sum::<usize>()
            }
            Self::SettledMany { refused, .. } => Reply::settled_weight(refused.len()),
            Self::Browsed { messages, .. } => {
                Reply::WEIGHT_MIN + messages.iter().map(MessageInfo::weight).sum::<usize>()
            }
            Self::Queues { queues, .. } => {
                let next = 3 * NAME_BYTES_MAX;
                Reply::WEIGHT_MIN + next + queues.iter().map(QueueSummary::weight).sum::<usize>()
            }
            Self::Differs(differences) => Reply::WEIGHT_MIN * (1 + differences.len()),
            Self::Stats(_) => Reply::WEIGHT_MIN * 32,
            Self::Kv(answer) => Reply::WEIGHT_MIN + answer.weight(),
            Self::Limit(answer) => Reply::WEIGHT_MIN + answer.weight(),
            Self::Changes { events, .. } => {
                Reply::WEIGHT_MIN + events.iter().map(WatchEvent::weight).sum::<usize>()
            }
            _ => Reply::WEIGHT_MIN,
        }
    }
}

impl Reply {
    /// As [`Answer::weight`].
    pub fn weight(&self) -> usize {
        self.answer.weight()
    }

    /// The weight of a reply that carries no message.
    pub const WEIGHT_MIN: usize = 128;

    /// The weight of an answer that says of each of so many messages that it was taken.
    pub const fn receipts_weight(messages: u32) -> usize {
        Self::WEIGHT_MIN + messages as usize * Self::WEIGHT_MIN / 4
    }

    /// The weight of an answer that says of each of so many messages why it was refused, with texts
    /// of usual length.
    pub const fn refusals_weight(messages: u32) -> usize {
        Self::WEIGHT_MIN + messages as usize * Self::WEIGHT_MIN * 2
    }

    /// The weight of an answer to many leases of which so many are refused.
    pub const fn settled_weight(refused: usize) -> usize {
        Self::WEIGHT_MIN + refused * Self::WEIGHT_MIN / 4
    }

    /// The weight of a message that was looked at and carries so many bytes, of which JSON may make
    /// two of one, and six where they are headers.
    pub const fn peek_weight(bytes: usize) -> usize {
        let headers = if bytes < HEADER_BYTES_MAX { bytes } else { HEADER_BYTES_MAX };
        Self::WEIGHT_MIN * (4 + HEADERS_MAX / 8) + MessageInfo::WEIGHT_MAX + 2 * bytes + 4 * headers
    }

    /// The weight of a delivery whose topic and payload have so many bytes together.
    pub const fn delivery_weight(bytes: usize) -> usize {
        Self::WEIGHT_MIN + bytes
    }
}
