//! What was promised, and whether it is kept.
//!
//! A message is named by its publisher and a count. For every durable subscription the oracle
//! knows which messages it must get (confirmed, or once delivered), and which it must not get
//! again (their ack was confirmed). A fleeting message, published at most once, is owed to nobody,
//! but it must not outlive the run of the broker that took it.

mod blocks;
pub(crate) mod keys;
pub(crate) mod limits;
mod restored;

use std::collections::{BTreeMap, BTreeSet};

use sluice_model::Generation;

/// A message: which publisher's, and which of its.
pub(crate) type Name = (u32, u64);

/// A message as it came to a consumer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivered {
    pub(crate) subscription: usize,
    pub(crate) consumer: usize,
    pub(crate) name: Name,
    pub(crate) generation: Generation,
    pub(crate) redelivered: bool,
    /// Its lease is still valid as it comes.
    pub(crate) live: bool,
}

/// What a delivery that broke no promise was.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// Its place was compared with that of an earlier message of its publisher.
    pub(crate) compared: bool,
    /// The delivery before went to another consumer of the same subscription.
    pub(crate) shared: bool,
    /// It was published at most once.
    pub(crate) fleeting: bool,
    /// A late ack of another consumer was confirmed before it came.
    pub(crate) overtaken: bool,
}

/// What one subscription was promised and got.
#[derive(Clone, Debug, Default)]
struct Promise {
    /// It must get these, or have got them.
    owed: BTreeSet<Name>,
    /// It got these at least once, at first under this generation. A grant may be told after a
    /// later one: the consumer that has it waits for another reply before it.
    delivered: BTreeMap<Name, Generation>,
    /// Their acks are confirmed, to this consumer: they must never come again. A grant from before
    /// the ack may still be on its way to another consumer; then its lease has ended.
    settled: BTreeMap<Name, usize>,
    /// They may come once more or not: so many acks were handed in and not refused.
    settling: BTreeMap<Name, u32>,
    /// The last message of each publisher that came to a consumer as new. Two consumers of one
    /// subscription may be told in another order than the messages were granted.
    newest: BTreeMap<(usize, u32), u64>,
    last_consumer: Option<usize>,
}

/// A message that was handed to the broker.
#[derive(Clone, Debug)]
struct Published {
    /// The subscriptions that matched it.
    to: Vec<usize>,
    /// The run of the broker that took it, if it was published at most once.
    fleeting: Option<u64>,
}

/// What was promised.
#[derive(Clone, Debug, Default)]
pub(crate) struct Oracle {
    promises: Vec<Promise>,
    /// Messages handed to the broker, confirmed or not.
    published: BTreeMap<Name, Published>,
    generations: BTreeSet<Generation>,
    /// Messages that were stored with others, all or none, with the others.
    whole: BTreeMap<Name, Vec<Name>>,
    /// What consumers at most once got.
    copies: BTreeSet<(usize, Name)>,
    /// The last that they got of each publisher, fleeting ones and others apart.
    newest_copies: BTreeMap<(usize, u32, bool), u64>,
}

impl Oracle {
    pub(crate) fn new(subscriptions: usize) -> Self {
        let promises = (0..subscriptions).map(|_| Promise::default()).collect();
        Self { promises, ..Self::default() }
    }

    /// A message was handed to the broker; nothing is promised yet. `to` are the subscriptions
    /// that it matched; `fleeting` is the run of the broker if it was published at most once.
    pub(crate) fn published(&mut self, name: Name, to: Vec<usize>, fleeting: Option<u64>) {
        self.published.insert(name, Published { to, fleeting });
    }

    /// The broker has confirmed a message.
    pub(crate) fn confirmed(&mut self, name: Name) {
        let Some(Published { to, fleeting: None }) = self.published.get(&name) else { return };
        for at in to {
            self.promises[*at].owed.insert(name);
        }
    }

    /// A message came in the broker's run `run`. Gives what is wrong with that.
    pub(crate) fn delivered(&mut self, got: Delivered, run: u64) -> Result<Seen, String> {
        let Delivered { subscription, consumer, name, generation, redelivered, live } = got;
        let fleeting = self.check_published(name, run)?;
        if !self.generations.insert(generation) {
            return Err(format!("{generation:?} was granted twice"));
        }
        let promise = &mut self.promises[subscription];
        let settled = promise.settled.get(&name).copied();
        if settled.is_some_and(|by| live || by == consumer) {
            return Err(format!("{name:?} came again after its ack was confirmed"));
        }
        let mut compared = false;
        if !redelivered {
            if promise.delivered.get(&name).is_some_and(|first| *first < generation) {
                return Err(format!("{name:?} came again and was not marked"));
            }
            let newest = promise.newest.insert((consumer, name.0), name.1);
            if let Some(newest) = newest.filter(|newest| *newest >= name.1) {
                return Err(format!("{name:?} came as new behind {newest}"));
            }
            compared = newest.is_some();
        }
        let first = promise.delivered.entry(name).or_insert(generation);
        *first = generation.min(*first);
        if !fleeting {
            // What was shown is there for good, whoever was told.
            promise.owed.insert(name);
            self.owe_whole(name);
        }
        let overtaken = settled.is_some();
        let promise = &mut self.promises[subscription];
        let shared = promise.last_consumer.replace(consumer).is_some_and(|last| last != consumer);
        Ok(Seen { compared, shared, fleeting, overtaken })
    }

    /// A message came to a consumer at most once. Gives what is wrong with that.
    pub(crate) fn copied(&mut self, consumer: usize, name: Name, run: u64) -> Result<(), String> {
        let fleeting = self.check_published(name, run)?;
        if !self.copies.insert((consumer, name)) {
            return Err(format!("{name:?} came twice to a subscriber at most once"));
        }
        let newest = self.newest_copies.insert((consumer, name.0, fleeting), name.1);
        if let Some(newest) = newest.filter(|newest| *newest >= name.1) {
            return Err(format!("a copy of {name:?} came behind {newest}"));
        }
        // It was shown because it is safe.
        self.confirmed(name);
        Ok(())
    }

    /// Whether a message that came was fleeting.
    fn check_published(&self, name: Name, run: u64) -> Result<bool, String> {
        match self.published.get(&name) {
            None => Err(format!("{name:?} was delivered and never published")),
            Some(Published { fleeting: Some(taken), .. }) if *taken != run => {
                Err(format!("{name:?} outlived run {taken}, which was to have it in memory only"))
            }
            Some(published) => Ok(published.fleeting.is_some()),
        }
    }

    /// An ack was handed to the broker.
    pub(crate) fn acking(&mut self, subscription: usize, name: Name) {
        *self.promises[subscription].settling.entry(name).or_default() += 1;
    }

    /// The broker has confirmed an ack.
    pub(crate) fn acked(&mut self, subscription: usize, consumer: usize, name: Name) {
        self.promises[subscription].settled.insert(name, consumer);
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
                promise.settled.contains_key(*name) || promise.settling.contains_key(*name)
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
