//! What was promised, and whether it is kept.
//!
//! A message is named by its publisher and a count. For every subscription the oracle knows which
//! messages it must get (confirmed, or once delivered), and which it must not get again (their
//! ack was confirmed).

use std::collections::{BTreeMap, BTreeSet};

use sluice_model::Generation;

/// A message: which publisher's, and which of its.
pub(crate) type Name = (u32, u64);

/// What one subscription was promised and got.
#[derive(Debug, Default)]
struct Promise {
    /// It must get these, or have got them.
    owed: BTreeSet<Name>,
    /// It got these at least once.
    delivered: BTreeSet<Name>,
    /// Their acks are confirmed: they must never come again.
    settled: BTreeSet<Name>,
    /// They may come once more or not: so many acks were handed in and not refused.
    settling: BTreeMap<Name, u32>,
    /// The last message of each publisher that came as new.
    newest: BTreeMap<u32, u64>,
}

/// What was promised.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    promises: Vec<Promise>,
    /// Messages handed to the broker, confirmed or not.
    published: BTreeSet<Name>,
    generations: BTreeSet<Generation>,
}

impl Oracle {
    pub(crate) fn new(subscriptions: usize) -> Self {
        let promises = (0..subscriptions).map(|_| Promise::default()).collect();
        Self { promises, ..Self::default() }
    }

    /// A message was handed to the broker; nothing is promised yet.
    pub(crate) fn published(&mut self, name: Name) {
        self.published.insert(name);
    }

    /// The broker has confirmed a message that these subscriptions matched when it was published.
    pub(crate) fn confirmed(&mut self, name: Name, subscriptions: &[usize]) {
        for at in subscriptions {
            self.promises[*at].owed.insert(name);
        }
    }

    /// A message came. Gives what is wrong with that.
    pub(crate) fn delivered(
        &mut self,
        subscription: usize,
        name: Name,
        generation: Generation,
        redelivered: bool,
    ) -> Result<(), String> {
        if !self.published.contains(&name) {
            return Err(format!("{name:?} was delivered and never published"));
        }
        if !self.generations.insert(generation) {
            return Err(format!("{generation:?} was granted twice"));
        }
        let promise = &mut self.promises[subscription];
        if promise.settled.contains(&name) {
            return Err(format!("{name:?} came again after its ack was confirmed"));
        }
        if !redelivered {
            if promise.delivered.contains(&name) {
                return Err(format!("{name:?} came again and was not marked"));
            }
            let newest = promise.newest.entry(name.0).or_default();
            if *newest >= name.1 {
                return Err(format!("{name:?} came as new behind {newest}"));
            }
            *newest = name.1;
        }
        promise.delivered.insert(name);
        // What was shown is there for good, whoever was told.
        promise.owed.insert(name);
        Ok(())
    }

    /// An ack was handed to the broker.
    pub(crate) fn acking(&mut self, subscription: usize, name: Name) {
        *self.promises[subscription].settling.entry(name).or_default() += 1;
    }

    /// The broker has confirmed an ack.
    pub(crate) fn acked(&mut self, subscription: usize, name: Name) {
        self.promises[subscription].settled.insert(name);
    }

    /// The broker has refused an ack: without another one the message stays owed.
    pub(crate) fn ack_refused(&mut self, subscription: usize, name: Name) {
        let settling = &mut self.promises[subscription].settling;
        if let Some(acks) = settling.get_mut(&name) {
            *acks -= 1;
            if *acks == 0 {
                settling.remove(&name);
            }
        }
    }

    /// What subscriptions are still owed, though everything was taken that there was. `parked`
    /// says how many messages went to the dead set, which is where they may be.
    pub(crate) fn missing(&self, parked: u64) -> Result<(), String> {
        let mut missing = Vec::new();
        for (at, promise) in self.promises.iter().enumerate() {
            let gone = |name: &&Name| {
                promise.settled.contains(*name) || promise.settling.contains_key(*name)
            };
            missing.extend(promise.owed.iter().filter(|name| !gone(name)).map(|name| (at, *name)));
        }
        if missing.len() as u64 > parked {
            return Err(format!(
                "{} messages are missing, {parked} are dead: {missing:?}",
                missing.len()
            ));
        }
        Ok(())
    }
}
