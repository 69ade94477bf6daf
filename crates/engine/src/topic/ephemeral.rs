//! A subscription at most once: a bounded buffer in memory that belongs to one session.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use sluice_model::{Block, Carried, MessageId, SessionId, Timestamp, TopicPattern};

use crate::queue::Waiting;
use crate::topic::Owner;

/// What a block counts for in a buffer beside its bytes.
const BLOCK_WEIGHT: usize = 64;

/// Messages on their way to subscribers at most once.
#[derive(Clone, Debug)]
pub(crate) enum Copy {
    /// One message.
    One(Arc<Carried>),
    /// Messages that were published together.
    Many {
        /// What they have in common.
        head: Arc<BlockHead>,
        /// The identity of the first; each further one counts one higher.
        first: MessageId,
        /// What they carry.
        messages: Block,
    },
}

/// What messages that were published together have in common.
#[derive(Debug)]
pub(crate) struct BlockHead {
    pub(crate) published_at: Timestamp,
    pub(crate) topic: Bytes,
    pub(crate) sender: Bytes,
}

impl Copy {
    /// What it counts for in a buffer.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::One(message) => message.bytes(),
            Self::Many { messages, .. } => messages.bytes().len() + BLOCK_WEIGHT,
        }
    }

    /// How many messages it is.
    pub(crate) fn count(&self) -> u64 {
        match self {
            Self::One(_) => 1,
            Self::Many { messages, .. } => messages.count().into(),
        }
    }

    /// Takes messages off the front, at least one; none where that is all of them.
    fn split(&mut self, count_max: u32, bytes_max: usize) -> Option<Self> {
        let Self::Many { head, first, messages } = self else { return None };
        let mut taken = messages.split_to(count_max, bytes_max);
        if taken.is_empty() {
            taken = messages.split_to(1, usize::MAX);
        }
        let part = Self::Many { head: Arc::clone(head), first: *first, messages: taken };
        first.counter += part.count();
        Some(part)
    }
}

/// A subscription at most once. It loses its oldest messages when it can't keep up.
#[derive(Debug)]
pub(crate) struct Ephemeral {
    pub(crate) session: SessionId,
    pub(crate) owner: Owner,
    pub(crate) pattern: TopicPattern,
    /// Receives that wait for a message.
    pub(crate) parked: Waiting,
    /// It stands in the engine's list of those whose receives may find something.
    pub(crate) listed_stirred: bool,
    waiting: VecDeque<Copy>,
    bytes: usize,
    /// Messages lost since the consumer was last told.
    lost: u64,
}

impl Ephemeral {
    pub(crate) fn new(session: SessionId, owner: Owner, pattern: TopicPattern) -> Self {
        Self {
            session,
            owner,
            pattern,
            parked: Waiting::default(),
            listed_stirred: false,
            waiting: VecDeque::new(),
            bytes: 0,
            lost: 0,
        }
    }

    /// Adds messages and drops the oldest ones past `bytes_max`, but never the newest. Says how
    /// many were dropped.
    pub(crate) fn push(&mut self, copy: Copy, bytes_max: usize) -> u64 {
        self.bytes += copy.bytes();
        self.waiting.push_back(copy);
        let mut dropped = 0;
        while self.bytes > bytes_max && self.waiting.len() > 1 {
            dropped += self.take(u32::MAX, usize::MAX).map_or(0, |copy| copy.count());
        }
        while self.bytes > bytes_max && self.waiting.front().is_some_and(|copy| copy.count() > 1) {
            dropped += self.take(1, usize::MAX).map_or(0, |copy| copy.count());
        }
        self.lost += dropped;
        dropped
    }

    /// Messages lost since this was last asked.
    pub(crate) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// Bytes of the next message.
    pub(crate) fn next_bytes(&self) -> Option<usize> {
        match self.waiting.front()? {
            Copy::One(message) => Some(message.bytes()),
            Copy::Many { head, messages, .. } => {
                let payload = messages.payloads().next().map_or(0, <[u8]>::len);
                Some(head.topic.len() + head.sender.len() + payload + BLOCK_WEIGHT)
            }
        }
    }

    /// Takes the next message by itself.
    pub(crate) fn take_one(&mut self) -> Option<Arc<Carried>> {
        match self.take(1, usize::MAX)? {
            Copy::One(message) => Some(message),
            Copy::Many { head, first, messages } => Some(Arc::new(Carried {
                id: first,
                published_at: head.published_at,
                topic: head.topic.clone(),
                sender: head.sender.clone(),
                headers: Vec::new(),
                payload: messages.shared().next().unwrap_or_default(),
            })),
        }
    }

    /// Takes what comes next: a message, or as much of a block as `count_max` and `bytes_max`
    /// allow, but one message at least.
    pub(crate) fn take(&mut self, count_max: u32, bytes_max: usize) -> Option<Copy> {
        let front = self.waiting.front_mut()?;
        let before = front.bytes();
        let taken = match front.split(count_max, bytes_max) {
            Some(part) if front.count() > 0 => {
                self.bytes -= before - front.bytes();
                return Some(part);
            }
            part => part,
        };
        self.bytes -= before;
        let whole = self.waiting.pop_front();
        taken.or(whole)
    }
}

#[cfg(test)]
mod tests {
    use sluice_model::BlockBuilder;

    use super::*;

    fn ephemeral() -> Ephemeral {
        let pattern = TopicPattern::new("t").unwrap();
        Ephemeral::new(SessionId(1), Owner::from_record("somebody"), pattern)
    }

    fn block(first: u64, payloads: &[&[u8]]) -> Copy {
        let mut builder = BlockBuilder::default();
        payloads.iter().for_each(|payload| builder.push(payload));
        let (topic, sender) = (Bytes::from_static(b"t"), Bytes::from_static(b"s"));
        let head = BlockHead { published_at: Timestamp::from_millis(7), topic, sender };
        let first = MessageId { start: 1, counter: first };
        Copy::Many { head: Arc::new(head), first, messages: builder.finish() }
    }

    fn payloads(copy: &Copy) -> Vec<Vec<u8>> {
        match copy {
            Copy::One(message) => vec![message.payload.to_vec()],
            Copy::Many { messages, .. } => messages.payloads().map(<[u8]>::to_vec).collect(),
        }
    }

    #[test]
    fn a_block_is_taken_in_parts_and_each_message_keeps_its_identity() {
        let mut them = ephemeral();
        assert_eq!(them.push(block(10, &[b"a", b"bb", b"ccc", b"d"]), 1 << 20), 0);
        let one = them.take_one().unwrap();
        assert_eq!((one.id.counter, &one.payload[..]), (10, &b"a"[..]));
        let two = them.take(9, 7).unwrap();
        assert_eq!(payloads(&two), [&b"bb"[..], b"ccc"]);
        assert!(matches!(two, Copy::Many { first: MessageId { counter: 11, .. }, .. }));
        let last = them.take_one().unwrap();
        assert_eq!((last.id.counter, &last.payload[..]), (13, &b"d"[..]));
        assert!(them.take_one().is_none());
        assert_eq!(them.bytes, 0);
    }

    #[test]
    fn the_oldest_messages_are_lost_and_counted_but_never_the_newest() {
        let mut them = ephemeral();
        let large = vec![b'x'; 100];
        assert_eq!(them.push(block(1, &[&large, &large]), 400), 0);
        assert_eq!(them.push(block(3, &[&large, &large]), 400), 2, "the whole older block goes");
        assert_eq!(them.push(block(5, &[&large, &large, &large]), 200), 4, "then of the newest");
        assert_eq!(them.take_lost(), 6);
        assert_eq!(them.take_lost(), 0);
        assert_eq!(them.take_one().unwrap().id.counter, 7);
        assert_eq!(them.push(block(8, &[&large]), 1), 0, "one is kept however large");
    }
}
