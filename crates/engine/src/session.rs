//! A client's session as the engine sees it.

use std::collections::{BTreeMap, BTreeSet};

use sluice_model::{Client, Generation, QueueNo, Seq, SubscriptionId, WatchId};

use crate::effects::Ticket;
use crate::journal::Need;
use crate::record::Cause;
use crate::run_set::{RunSet, Step};
use crate::topic::{Listener, Owner};

/// A lease that a session holds; they are in the order of delivery.
pub(crate) type Held = (Generation, QueueNo, Seq);

impl Step for Held {
    fn plus(self, count: u32) -> Self {
        let (Generation { start, counter }, no, Seq(seq)) = self;
        let more = u64::from(count);
        (Generation { start, counter: counter + more }, no, Seq(seq + more))
    }

    fn distance_from(self, first: Self) -> Option<u64> {
        let (generation, no, seq) = self;
        let (first_generation, first_no, first_seq) = first;
        let in_place = seq.0.checked_sub(first_seq.0)?;
        let in_time = generation.counter.checked_sub(first_generation.counter)?;
        let in_line = (generation.start, no) == (first_generation.start, first_no);
        (in_line && in_place == in_time).then_some(in_place)
    }
}

/// One connection's state.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) owner: Owner,
    pub(crate) subscriptions: BTreeMap<SubscriptionId, Listener>,
    /// What it watches.
    pub(crate) watches: BTreeSet<WatchId>,
    /// Its receives that wait.
    pub(crate) waiting: BTreeSet<(Listener, Ticket)>,
    /// What it holds, in the order of delivery.
    pub(crate) leases: RunSet<Held>,
    /// Of a connection that is gone: deliveries that never left the broker and go back.
    pub(crate) unsent: RunSet<Held>,
    /// How the next of `leases` ends; none while they live.
    pub(crate) ends_by: Option<Cause>,
    /// Queues that wait for the rest of what goes back.
    pub(crate) holds_back: BTreeSet<QueueNo>,
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
            watches: BTreeSet::new(),
            waiting: BTreeSet::new(),
            leases: RunSet::default(),
            unsent: RunSet::default(),
            ends_by: None,
            holds_back: BTreeSet::new(),
            need: Need::NONE,
            out: 0,
            reserved: 0,
            starved: Vec::new(),
            closed: false,
        }
    }

    /// Takes so many leases in a row off the list, because they have ended.
    pub(crate) fn forget(&mut self, first: Held, count: u32) {
        if self.leases.remove(first, count) < count {
            self.unsent.remove(first, count);
        }
    }

    /// The next lease that is over and has not been ended yet, and how it ends.
    pub(crate) fn next_over(&self) -> Option<(Held, Cause)> {
        let unsent = self.unsent.first().map(|held| (held, Cause::Withdrawn));
        unsent.or_else(|| Some((self.leases.first()?, self.ends_by?)))
    }

    /// Whether a reply of this weight may be made: there is room, or nothing else is on its way.
    /// What is kept for receives that wait does not count: it may wait as long as they do, and
    /// there is room looked for again when they are answered.
    pub(crate) fn has_room(&self, weight: usize, out_max: usize) -> bool {
        let out = self.out.saturating_sub(self.reserved);
        out == 0 || out + weight <= out_max
    }
}
