//! A client's session as the engine sees it.

use std::collections::{BTreeMap, BTreeSet};

use sluice_model::{Client, Generation, QueueNo, Seq, SubscriptionId};

use crate::effects::Ticket;
use crate::journal::Need;
use crate::topic::{Listener, Owner};

/// One connection's state.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) owner: Owner,
    pub(crate) subscriptions: BTreeMap<SubscriptionId, Listener>,
    /// Its receives that wait.
    pub(crate) waiting: BTreeSet<(Listener, Ticket)>,
    /// What it holds, in the order of delivery.
    pub(crate) leases: BTreeSet<(Generation, QueueNo, Seq)>,
    /// What its publishes and acks so far must reach before a fence is answered.
    pub(crate) need: Need,
    /// Weight of the replies that have not left yet, reservations included.
    pub(crate) out: usize,
    /// The part of `out` that is kept for receives that wait as long as they like.
    pub(crate) reserved: usize,
    /// Of these receives, those that a message was there for and no room.
    pub(crate) starved: Vec<(Listener, Ticket)>,
    /// The connection is gone; what is left waits for the end of its grace.
    pub(crate) closed: bool,
}

impl Session {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            owner: Owner::of(&client),
            client,
            subscriptions: BTreeMap::new(),
            waiting: BTreeSet::new(),
            leases: BTreeSet::new(),
            need: Need::NONE,
            out: 0,
            reserved: 0,
            starved: Vec::new(),
            closed: false,
        }
    }

    /// Whether a reply of this weight may be made: there is room, or nothing else is on its way.
    /// What is kept for receives that wait does not count: it may wait as long as they do, and
    /// there is room looked for again when they are answered.
    pub(crate) fn has_room(&self, weight: usize, out_max: usize) -> bool {
        let out = self.out.saturating_sub(self.reserved);
        out == 0 || out + weight <= out_max
    }
}
