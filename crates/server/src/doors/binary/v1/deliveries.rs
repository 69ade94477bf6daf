//! The deliveries of one connection: which lease a delivery tag stands for.
//!
//! A tag is the counter of its lease's generation, so tags of a run of the broker never repeat and
//! those of one connection grow. Tags that were acknowledged are kept for a while, because a
//! repeated ACK gets no answer.

use std::collections::{BTreeMap, VecDeque};

use sluice_model::{LeaseId, SubscriptionId};

/// Acknowledged tags that are remembered.
const ACKED_MAX: usize = 4_096;

#[derive(Clone, Copy, Debug)]
struct Held {
    lease: LeaseId,
    subscription: SubscriptionId,
    acked: bool,
}

/// What an ACK refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acked {
    /// A delivery that is now to be settled.
    Now(LeaseId),
    /// One that was acknowledged before.
    Before,
    /// None of this connection's.
    Unknown,
}

/// The deliveries of one connection.
#[derive(Debug)]
pub(crate) struct Deliveries {
    max: usize,
    held: BTreeMap<u64, Held>,
    /// Tags in the order of their ACKs.
    acked: VecDeque<u64>,
}

impl Deliveries {
    /// Remembers at most `max` tags, the newest.
    pub(crate) fn new(max: usize) -> Self {
        Self { max, held: BTreeMap::new(), acked: VecDeque::new() }
    }

    /// Remembers a delivery and returns its tag.
    pub(crate) fn insert(&mut self, lease: LeaseId, subscription: SubscriptionId) -> u64 {
        let tag = lease.generation.counter;
        self.held.insert(tag, Held { lease, subscription, acked: false });
        if self.held.len() > self.max {
            self.held.pop_first();
        }
        tag
    }

    /// Notes that the delivery with this tag, of this subscription, is acknowledged.
    pub(crate) fn ack(&mut self, tag: u64, subscription: SubscriptionId) -> Acked {
        let held = self.held.get_mut(&tag).filter(|held| held.subscription == subscription);
        let Some(held) = held else { return Acked::Unknown };
        if held.acked {
            return Acked::Before;
        }
        held.acked = true;
        let lease = held.lease;
        self.acked.push_back(tag);
        if self.acked.len() > ACKED_MAX
            && let Some(oldest) = self.acked.pop_front()
        {
            self.forget(oldest);
        }
        Acked::Now(lease)
    }

    fn forget(&mut self, tag: u64) {
        // An ACK that was taken back leaves its tag among the acknowledged ones.
        if self.held.get(&tag).is_some_and(|held| held.acked) {
            self.held.remove(&tag);
        }
    }

    /// Takes an ACK back: the broker could not do it now, and the client may send it again.
    pub(crate) fn unack(&mut self, tag: u64) {
        if let Some(held) = self.held.get_mut(&tag) {
            held.acked = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use sluice_model::{Generation, QueueNo, Seq};

    use super::*;

    const SUB: SubscriptionId = SubscriptionId(7);

    fn lease(counter: u64) -> LeaseId {
        let generation = Generation { start: 1, counter };
        LeaseId { queue: QueueNo(1), seq: Seq(counter), generation, secret: counter }
    }

    #[test]
    fn an_ack_finds_its_lease_once() {
        let mut deliveries = Deliveries::new(10);
        assert_eq!(deliveries.insert(lease(5), SUB), 5);
        assert_eq!(deliveries.ack(6, SUB), Acked::Unknown);
        assert_eq!(deliveries.ack(5, SubscriptionId(8)), Acked::Unknown);
        assert_eq!(deliveries.ack(5, SUB), Acked::Now(lease(5)));
        assert_eq!(deliveries.ack(5, SUB), Acked::Before);
        deliveries.unack(5);
        assert_eq!(deliveries.ack(5, SUB), Acked::Now(lease(5)));
    }

    #[test]
    fn the_oldest_tags_make_room() {
        let mut deliveries = Deliveries::new(2);
        for counter in 1..=3 {
            deliveries.insert(lease(counter), SUB);
        }
        assert_eq!(deliveries.ack(1, SUB), Acked::Unknown);
        assert_eq!(deliveries.ack(2, SUB), Acked::Now(lease(2)));
        assert_eq!(deliveries.ack(3, SUB), Acked::Now(lease(3)));
    }

    #[test]
    fn acknowledged_tags_are_remembered_for_a_while() {
        let mut deliveries = Deliveries::new(usize::MAX);
        let last = ACKED_MAX as u64 + 1;
        for counter in 1..=last {
            deliveries.insert(lease(counter), SUB);
            deliveries.ack(counter, SUB);
        }
        assert_eq!(deliveries.ack(1, SUB), Acked::Unknown);
        assert_eq!(deliveries.ack(2, SUB), Acked::Before);
        assert_eq!(deliveries.held.len(), ACKED_MAX);
    }
}
