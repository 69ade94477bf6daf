//! A lane: messages of a queue that have priority, group and keys in common, so that what one of
//! them has to wait for the others wait for too.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use sluice_model::{Lane as Order, Timestamp};

use super::messages::Messages;
use crate::limits::Asking;
use crate::queue::order::Place;

/// Where a message stands in its lane: the lowest is next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot {
    /// Since when it has its place, where messages of a group follow each other; else the epoch.
    pub(crate) at: Timestamp,
    pub(crate) place: Place,
    pub(crate) seq: u64,
}

impl Spot {
    /// That of a message whose seq is its place.
    pub(crate) fn fresh(seq: u64) -> Self {
        Self { at: Timestamp::EPOCH, place: Place { seq, ..Place::default() }, seq }
    }

    /// Whether it is such a message's.
    pub(crate) fn is_fresh(&self) -> bool {
        *self == Self::fresh(self.seq)
    }
}

/// What a lane knows of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// It may be handed over; otherwise it holds up its group.
    pub(crate) is_ready: bool,
    pub(crate) priority: u8,
    pub(crate) cost: u16,
}

/// The message that stands for its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) spot: Spot,
    pub(crate) priority: u8,
    pub(crate) cost: u32,
}

/// Where a lane is among those that have something to hand over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seat {
    /// Nowhere: it has nothing.
    Out,
    /// Among those of its priority that nothing is known to hold up.
    Main,
    /// In a line that waits for a key.
    Line(u32),
}

/// What makes a lane: priority, group and keys, or the group alone where its messages follow each
/// other.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) order: Arc<Order>,
    pub(super) is_fifo: bool,
}

/// Messages that wait for the same things.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(super) name: Named,
    /// Of its name.
    pub(super) hash: u64,
    /// Its group's number; 0 for all messages without one.
    pub(crate) group: u32,
    /// Its messages stand in the order of the queue itself: those without group and keys.
    pub(crate) is_plain: bool,
    pub(super) messages: Messages,
    /// Messages that belong to it, wherever they are but in the dead set.
    pub(super) members: u32,
    /// Messages that consumers hold.
    pub(crate) held: u32,
    /// What its messages ask, as of a version of the limits; of its head where messages follow each
    /// other.
    pub(crate) asked: Vec<Asking>,
    pub(crate) asked_for: Option<(u64, u64)>,
    /// The order and limits of the head.
    pub(crate) order: Arc<Order>,
    pub(crate) seat: Seat,
    /// As it stands at its seat.
    pub(super) head: Option<Head>,
    /// It is on the list of those that have nothing.
    pub(super) is_idle: bool,
}

impl Named {
    fn parts(&self) -> (bool, u8, Option<&str>, &[Box<str>]) {
        let Order { priority, group, keys, cost: _ } = &*self.order;
        match self.is_fifo {
            true => (true, 0, group.as_deref(), &[]),
            false => (false, *priority, group.as_deref(), keys),
        }
    }
}

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for Named {}

impl Hash for Named {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl Lane {
    pub(super) fn new(name: Named, hash: u64, group: u32, is_plain: bool) -> Self {
        Self {
            order: Arc::clone(&name.order),
            name,
            hash,
            group,
            is_plain,
            messages: Messages::default(),
            members: 0,
            held: 0,
            asked: Vec::new(),
            asked_for: None,
            seat: Seat::Out,
            head: None,
            is_idle: false,
        }
    }

    /// Whether its messages follow each other.
    pub(crate) fn is_fifo(&self) -> bool {
        self.name.is_fifo
    }

    /// Its next message, if it may be handed over as far as the lane knows.
    pub(super) fn first(&self) -> Option<Head> {
        let (spot, entry) = self.messages.first(self.name.order.priority)?;
        let is_free = !self.is_fifo() || self.held == 0;
        let Entry { is_ready, priority, cost } = entry;
        (is_ready && is_free).then_some(Head { spot, priority, cost: cost.into() })
    }

    /// The message that holds up the others of its group.
    pub(crate) fn holds_up(&self) -> Option<u64> {
        let (spot, _) = self.messages.first(self.name.order.priority)?;
        Some(spot.seq).filter(|_| self.is_fifo())
    }
}
