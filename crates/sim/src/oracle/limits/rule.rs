//! Which limits a message is under, as the pages about limits say it, and what they allow.

use std::collections::BTreeMap;

use sluice_model::{Limit, LimitScope};

/// A time in milliseconds.
pub(crate) type At = u64;

/// The queues of the workload.
pub(crate) const QUEUES: [&str; 2] = ["q.a", "q.b"];

/// A limit's name, and the queues and keys that it is about; no two have the same.
pub(crate) type Slot = (String, String, Option<String>);

/// Under what something is counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    Limit(Slot),
    /// A key without a limit belongs to its queue.
    Queue(usize),
}

/// Tokens in the smallest parts that a rate deals in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Parts that come in a millisecond.
    pub(crate) gain: i128,
    /// Parts of a token.
    pub(crate) token: i128,
    pub(crate) burst: i128,
}

/// The slot of a limit.
pub(crate) fn slot(limit: &Limit) -> Slot {
    let matches = limit.matches();
    let key = matches.key.as_ref().map(|key| key.as_str().to_owned());
    (limit.name().to_owned(), matches.queue.as_str().to_owned(), key)
}

/// The rate of a limit, if it has one.
pub(crate) fn rate(limit: &Limit) -> Option<Rate> {
    let terms = limit.terms();
    terms.rate.map(|rate| Rate {
        gain: rate.thousandths().into(),
        token: 1_000 * i128::from(rate.per_ms()),
        burst: terms.burst.unwrap_or(1).into(),
    })
}

impl Rate {
    pub(crate) fn full(self) -> i128 {
        self.burst * self.token
    }

    /// What a message takes, and what must be there for it: what costs more than a burst takes a
    /// full bucket, and leaves a debt.
    pub(crate) fn price(self, cost: u16) -> (i128, i128) {
        let cost = i128::from(cost);
        (cost * self.token, cost.min(self.burst) * self.token)
    }
}

/// The pattern's words are tokens: `*` is one, a final `>` one or more.
fn is_of_queue(pattern: &str, queue: &str) -> bool {
    let (mut words, mut tokens) = (pattern.split('.'), queue.split('.'));
    loop {
        match (words.next(), tokens.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some(word), Some(token)) if word == "*" || word == token => {}
            _ => return false,
        }
    }
}

fn is_of_key(pattern: &str, key: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => key.starts_with(beginning),
        None => pattern == key,
    }
}

/// Exact before the longest beginning.
fn rank(pattern: &str) -> (bool, usize) {
    let literal = pattern.find(['*', '>']);
    (literal.is_none(), literal.unwrap_or(pattern.len()))
}

/// All limits that are set.
pub(crate) type Rules = BTreeMap<Slot, Limit>;

/// Under which limits a key of a queue is counted, or without a key the queue: of each name the most
/// specific one, of the key first.
pub(crate) fn of<'a>(rules: &'a Rules, queue: &str, key: Option<&str>) -> Vec<&'a Slot> {
    let mut best: BTreeMap<&str, (_, &Slot)> = BTreeMap::new();
    for (slot @ (name, of, pattern), limit) in rules {
        let is_meant = match (limit.scope(), pattern, key) {
            (LimitScope::Queue, None, None) => true,
            (LimitScope::Key, Some(pattern), Some(key)) => is_of_key(pattern, key),
            _ => false,
        };
        if !is_meant || !is_of_queue(of, queue) {
            continue;
        }
        let rank = (pattern.as_deref().map(rank), rank(of));
        let best = best.entry(name).or_insert((rank, slot));
        if rank > best.0 {
            *best = (rank, slot);
        }
    }
    best.into_values().map(|(_, slot)| slot).collect()
}

/// Everything that a message with these keys is counted under, and the key of it.
pub(crate) fn applied(rules: &Rules, queue: usize, keys: &[&'static str]) -> Vec<(Owner, String)> {
    let name = QUEUES[queue];
    let limit = |slot: &Slot| Owner::Limit(slot.clone());
    let of_queue = of(rules, name, None).into_iter();
    let mut all: Vec<_> = of_queue.map(|slot| (limit(slot), name.to_owned())).collect();
    for key in keys {
        all.extend(owners(rules, queue, key).into_iter().map(|owner| (owner, (*key).to_owned())));
    }
    all.sort();
    all.dedup();
    all
}

/// Under what a key of a queue is counted.
pub(crate) fn owners(rules: &Rules, queue: usize, key: &str) -> Vec<Owner> {
    let of = of(rules, QUEUES[queue], Some(key));
    match of.is_empty() {
        true => vec![Owner::Queue(queue)],
        false => of.into_iter().map(|slot| Owner::Limit(slot.clone())).collect(),
    }
}
