//! Consumers: what is pushed, under which credit, and again after each new connection.
//!
//! ```text
//! wanted --SUBSCRIBE, CONSUME--> asked --CONSUMING--> live --CANCEL--> leaving --OK--> gone
//!    ^                             |--- for now ---.   |
//!    |--------- later -----------------------------+---|--- ERROR ---> gone
//!    '--------- connection lost -------------------'---'
//! ```
//!
//! The broker may push as many messages as `credit` says. Each that is settled or dropped is owed
//! back, and given back when half of all that may be on its way is owed. What lies unread from
//! connections that were lost counts against the credit on the next one, so that a user who does not
//! look has never more than `prefetch` waiting. A watch of keys is a consumer whose messages are changes;
//! it is asked for again behind the last one that came.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use sluice_flow::Random;
use sluice_model::{Keys, Qos, Revision, WatchEvent};
use sluice_protocol::binary::v2::{
    CREDIT_MAX, Cancel, ConsumeRef, Credit, EncodeError, SubscribeRef, WatchRef,
};
use tokio::sync::oneshot;

use super::delivered::{Delivered, Names};
use super::sink::Sink;
use crate::error::{Error, Refused};
use crate::options::Retry;

/// What is consumed.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    Queue(Box<str>),
    Pattern {
        pattern: Box<str>,
        name: Box<str>,
        settings: Vec<(String, String)>,
    },
    /// Changes, from a revision on.
    Keys {
        keys: Keys,
        from: Option<Revision>,
    },
}

/// A consumer as its user asks for it.
pub(crate) struct Spec {
    pub(crate) wanted: Wanted,
    pub(crate) prefetch: u32,
    pub(crate) lease_ms: u32,
    pub(crate) to: Sink,
    pub(crate) ready: oneshot::Sender<Result<(), Error>>,
}

/// Where a consumer is in its life on this connection.
enum Phase {
    Wanted { after: Option<Instant> },
    Asked,
    Live { wire: u64 },
    Leaving { wire: u64 },
}

struct Consumer {
    wanted: Wanted,
    prefetch: u32,
    lease_ms: u32,
    to: Sink,
    /// Until the first CONSUMING or WATCHING.
    ready: Option<oneshot::Sender<Result<(), Error>>>,
    phase: Phase,
    credit: u32,
    owed: u32,
    /// Messages handed over that its user has not looked at.
    unread: u32,
    tries: u32,
    dropped: bool,
}

/// All consumers of a client.
pub(crate) struct Consumers {
    retry: Retry,
    draws: Random,
    all: HashMap<u64, Consumer>,
    keys: u64,
    by_wire: HashMap<u64, u64>,
    /// CANCEL that is not answered, and SUBSCRIBE, CONSUME and WATCH of consumers that there are: an ERROR
    /// with their ids may come at any time.
    asked: HashMap<u64, u64>,
    names: Names,
    /// Something is to be written.
    changed: bool,
}

impl Consumers {
    pub(crate) fn new(retry: Retry, seed: u64) -> Self {
        Self {
            retry,
            draws: Random::new(seed),
            all: HashMap::new(),
            keys: 0,
            by_wire: HashMap::new(),
            asked: HashMap::new(),
            names: Names::default(),
            changed: false,
        }
    }

    /// A new consumer's key.
    pub(crate) fn add(&mut self, spec: Spec) -> u64 {
        let Spec { wanted, prefetch, lease_ms, to, ready } = spec;
        let prefetch = prefetch.clamp(1, CREDIT_MAX);
        let (ready, phase) = (Some(ready), Phase::Wanted { after: None });
        let (credit, owed, unread, tries, dropped) = (0, 0, 0, 0, false);
        self.keys += 1;
        self.changed = true;
        self.all.insert(
            self.keys,
            Consumer {
                wanted,
                prefetch,
                lease_ms,
                to,
                ready,
                phase,
                credit,
                owed,
                unread,
                tries,
                dropped,
            },
        );
        self.keys
    }

    /// Its user wants no more.
    pub(crate) fn remove(&mut self, key: u64) {
        let Some(consumer) = self.all.get_mut(&key) else { return };
        consumer.dropped = true;
        self.changed = true;
        if matches!(consumer.phase, Phase::Wanted { .. }) {
            self.all.remove(&key);
        }
    }

    /// So many of its messages were settled or dropped.
    pub(crate) fn owe(&mut self, key: u64, messages: u32) {
        if let Some(consumer) = self.all.get_mut(&key) {
            consumer.owed = consumer.owed.saturating_add(messages);
            self.changed |= consumer.is_due();
        }
    }

    /// Its user looks at so many messages that were handed over. Those of a lost connection were not
    /// asked for again while they lay there: now they may be. Says whether something is to be written.
    pub(crate) fn looked_at(&mut self, key: u64, messages: u32, is_old: bool) -> bool {
        let Some(consumer) = self.all.get_mut(&key) else { return false };
        consumer.unread = consumer.unread.saturating_sub(messages);
        if is_old && matches!(consumer.phase, Phase::Asked | Phase::Live { .. }) {
            consumer.owed = consumer.owed.saturating_add(messages);
            self.changed |= consumer.is_due();
        }
        self.changed
    }

    /// When a refused consumer is to be asked for again.
    pub(crate) fn next_time(&self) -> Option<Instant> {
        let after = |consumer: &Consumer| match consumer.phase {
            Phase::Wanted { after } => after,
            _ => None,
        };
        self.all.values().filter_map(after).min()
    }

    /// Writes what consumers need. `accepting`: new ones too.
    pub(crate) fn take(
        &mut self,
        out: &mut BytesMut,
        next_id: &mut u64,
        now: Instant,
        accepting: bool,
    ) {
        if !self.changed && self.next_time().is_none_or(|at| at > now) {
            return;
        }
        self.changed = false;
        let mut failed = Vec::new();
        for (&key, consumer) in &mut self.all {
            match consumer.phase {
                Phase::Live { wire } if consumer.dropped => {
                    *next_id += 1;
                    Cancel { consumer: wire }.put(out, *next_id);
                    consumer.phase = Phase::Leaving { wire };
                    self.asked.insert(*next_id, key);
                }
                Phase::Live { wire } if consumer.is_due() => {
                    *next_id += 1;
                    let messages = std::mem::take(&mut consumer.owed);
                    consumer.credit += messages;
                    Credit { consumer: wire, messages }.put(out, *next_id);
                }
                Phase::Wanted { after } if accepting && after.is_none_or(|at| at <= now) => {
                    *next_id += 1;
                    match consumer.ask(out, *next_id) {
                        Ok(()) => {
                            self.asked.insert(*next_id, key);
                        }
                        Err(error) => failed.push((key, error)),
                    }
                }
                _ => {}
            }
        }
        for (key, error) in failed {
            self.end(key, &error.into());
        }
    }

    /// CONSUMING for `id`; WATCHING where it says which the last change was.
    pub(crate) fn consuming(
        &mut self,
        id: u64,
        wire: u64,
        last_change: Option<Revision>,
    ) -> Result<(), Error> {
        let none = || Error::protocol("a CONSUMING or WATCHING that nobody asked for");
        let key = *self.asked.get(&id).ok_or_else(none)?;
        let consumer = self.all.get_mut(&key).ok_or_else(none)?;
        if !matches!(consumer.phase, Phase::Asked) || self.by_wire.insert(wire, key).is_some() {
            return Err(none());
        }
        match (&mut consumer.wanted, last_change) {
            // From then on nothing is missed, also on the next connection.
            (Wanted::Keys { from, .. }, Some(last)) => {
                from.get_or_insert(Revision(last.0.saturating_add(1)));
            }
            (Wanted::Queue(_) | Wanted::Pattern { .. }, None) => {}
            _ => return Err(none()),
        }
        consumer.phase = Phase::Live { wire };
        consumer.tries = 0;
        self.changed |= consumer.dropped;
        if let Some(ready) = consumer.ready.take() {
            let _ = ready.send(Ok(()));
        }
        Ok(())
    }

    /// OK for `id`, which is then that of a CANCEL.
    pub(crate) fn cancelled(&mut self, id: u64) -> Result<(), Error> {
        let key = self.asked.remove(&id);
        let gone = key.and_then(|key| match self.all.get(&key)?.phase {
            Phase::Leaving { wire } => Some((key, wire)),
            _ => None,
        });
        let (key, wire) = gone.ok_or_else(|| Error::protocol("an OK for no CANCEL"))?;
        self.all.remove(&key);
        self.by_wire.remove(&wire);
        self.asked.retain(|_, asked| *asked != key);
        Ok(())
    }

    /// False where `id` is something else's.
    pub(crate) fn refused(&mut self, id: u64, refused: &Refused, now: Instant) -> bool {
        let Some(key) = self.asked.remove(&id) else { return false };
        let Some(consumer) = self.all.get_mut(&key) else { return true };
        if let Phase::Live { wire } | Phase::Leaving { wire } = consumer.phase {
            self.by_wire.remove(&wire);
        }
        // Only a consumer that was there before is asked for again: whoever makes one is told.
        let again = refused.is_for_now() && consumer.ready.is_none();
        if again && consumer.tries < self.retry.tries_max && !consumer.dropped {
            consumer.tries += 1;
            let pause = self.retry.backoff.delay(consumer.tries, self.draws.number());
            let wait = refused.retry_after.unwrap_or_default().min(Duration::from_secs(3_600));
            consumer.phase = Phase::Wanted { after: Some(now + wait + pause) };
        } else {
            self.end(key, &refused.clone().into());
        }
        true
    }

    /// Which consumer a push of so many messages or changes is for, and the names of the frame before.
    pub(crate) fn pushed(&mut self, wire: u64, count: u32) -> Result<(u64, &mut Names), Error> {
        let none = || Error::protocol("a DELIVER or CHANGES for no consumer");
        let key = *self.by_wire.get(&wire).ok_or_else(none)?;
        let consumer = self.all.get_mut(&key).ok_or_else(none)?;
        let more = || Error::protocol("more than there was credit for");
        consumer.credit = consumer.credit.checked_sub(count).ok_or_else(more)?;
        Ok((key, &mut self.names))
    }

    /// Hands a frame's messages to a consumer. What nobody takes comes back.
    pub(crate) fn hand(&mut self, key: u64, messages: Vec<Delivered>) -> Vec<Delivered> {
        let Some(consumer) = self.all.get_mut(&key).filter(|consumer| !consumer.dropped) else {
            return messages;
        };
        let count = messages.len() as u32;
        match consumer.to.hand(messages) {
            Err(messages) => messages,
            Ok(()) => {
                consumer.unread = consumer.unread.saturating_add(count);
                Vec::new()
            }
        }
    }

    /// Tells a watch a frame's changes.
    pub(crate) fn tell(
        &mut self,
        key: u64,
        epoch: u64,
        changes: Vec<WatchEvent>,
    ) -> Result<(), Error> {
        let Some(consumer) = self.all.get_mut(&key) else { return Ok(()) };
        let Wanted::Keys { from, .. } = &mut consumer.wanted else {
            return Err(Error::protocol("CHANGES for a consumer of messages"));
        };
        *from = changes.last().map(behind).or(*from);
        let count = changes.len() as u32;
        if !consumer.dropped && consumer.to.tell(epoch, changes) {
            consumer.unread = consumer.unread.saturating_add(count);
        }
        Ok(())
    }

    /// GAP.
    pub(crate) fn gap(&self, wire: u64, messages: u64) -> Result<(), Error> {
        let consumer = self.by_wire.get(&wire).and_then(|key| self.all.get(key));
        let consumer = consumer.ok_or_else(|| Error::protocol("a GAP for no consumer"))?;
        match &consumer.to {
            Sink::Messages { gaps, .. } => gaps.fetch_add(messages, Ordering::Relaxed),
            Sink::Changes(_) => return Err(Error::protocol("a GAP for a watch")),
        };
        Ok(())
    }

    /// All are asked for again on the next connection.
    pub(crate) fn disconnected(&mut self) {
        self.asked.clear();
        self.by_wire.clear();
        self.all.retain(|_, consumer| !consumer.dropped);
        for consumer in self.all.values_mut() {
            consumer.phase = Phase::Wanted { after: None };
            (consumer.credit, consumer.owed) = (0, 0);
        }
        self.changed = true;
    }

    /// There will be no further connection.
    pub(crate) fn closed(&mut self, why: &Error) {
        let keys: Vec<u64> = self.all.keys().copied().collect();
        keys.into_iter().for_each(|key| self.end(key, why));
    }

    fn end(&mut self, key: u64, why: &Error) {
        let Some(consumer) = self.all.remove(&key) else { return };
        match consumer.ready {
            Some(ready) => {
                let _ = ready.send(Err(why.clone()));
            }
            None => consumer.to.end(why.clone()),
        }
    }
}

/// Where to go on behind a change.
fn behind(event: &WatchEvent) -> Revision {
    match event {
        WatchEvent::Put(entry) => Revision(entry.revision.0.saturating_add(1)),
        WatchEvent::Deleted { revision, .. } | WatchEvent::Expired { revision, .. } => {
            Revision(revision.0.saturating_add(1))
        }
        WatchEvent::Gap { resumed_at } => *resumed_at,
    }
}

impl Consumer {
    /// Enough is owed to be worth a frame.
    const fn is_due(&self) -> bool {
        self.owed > 0 && self.owed >= self.prefetch.div_ceil(2)
    }

    /// Asks the broker for it with all the credit it may have beside what lies unread.
    fn ask(&mut self, out: &mut BytesMut, id: u64) -> Result<(), EncodeError> {
        let (credit, lease_ms) = (self.prefetch.saturating_sub(self.unread), self.lease_ms);
        match &self.wanted {
            Wanted::Queue(queue) => ConsumeRef { queue, credit, lease_ms }.put(out, id)?,
            Wanted::Pattern { pattern, name, settings } => {
                let qos = if name.is_empty() { Qos::AtMostOnce } else { Qos::AtLeastOnce };
                let (push, none) = (true, Default::default());
                let subscribe =
                    SubscribeRef { qos, push, name, pattern, credit, lease_ms, settings: none };
                let settings: Vec<_> =
                    settings.iter().map(|(name, value)| (&**name, &**value)).collect();
                subscribe.put(out, id, &settings)?;
            }
            Wanted::Keys { keys, from } => {
                let (keys, below) = match keys {
                    Keys::One(key) => (key.as_str(), false),
                    Keys::Below(prefix) => (&**prefix, true),
                };
                WatchRef { keys, below, from: *from, credit }.put(out, id)?;
            }
        }
        self.phase = Phase::Asked;
        self.credit = credit;
        self.owed = 0;
        Ok(())
    }
}
