//! What was handed over, held against what limits allow.

use std::collections::BTreeMap;

use sluice_model::{Limit, LimitScope};

/// A message as its publisher knows it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) queue: usize,
    pub(super) group: Option<String>,
    pub(super) keys: Vec<String>,
    pub(super) cost: u64,
    /// When it took its place, where messages of its group follow each other.
    pub(super) placed: (u64, u64),
    pub(super) state: State,
    /// It was handed over, and is acked or gone since.
    pub(super) is_over: bool,
}

/// Where a message is, as far as one can know from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Ready,
    /// Hidden until then.
    Delayed(u64),
    /// Held until then.
    Held(u64),
    Gone,
}

/// One of the keys of a limit, or of a queue's own.
pub(super) type Key = (String, String, String);

/// What was counted under a limit since it was set.
#[derive(Clone, Debug, Default)]
struct Count {
    /// When, and what it cost.
    starts: Vec<(u64, u64)>,
    /// How many of them were before the last restart, of which rates know nothing any more: what
    /// costs more than a burst leaves a debt that is not kept.
    forgotten: usize,
}

/// What was handed over.
#[derive(Debug, Default)]
pub(super) struct Judge {
    pub(super) limits: BTreeMap<Key, Limit>,
    counts: BTreeMap<(Key, String), Count>,
    /// Pauses by key and scope: by hand, and by consumers.
    pub(super) paused: BTreeMap<(Option<Key>, usize, String), u64>,
}

/// Names of queues.
pub(super) const QUEUES: [&str; 2] = ["mail", "jobs"];

fn id(limit: &Limit) -> Key {
    let key = limit.matches().key.as_ref().map_or("", |key| key.as_str());
    (limit.name().to_owned(), limit.matches().queue.as_str().to_owned(), key.to_owned())
}

impl Judge {
    pub(super) fn set(&mut self, limit: Limit) {
        let key = id(&limit);
        if self.limits.get(&key) != Some(&limit) {
            self.counts.retain(|(of, _), _| *of != key);
            self.limits.insert(key, limit);
        }
    }

    pub(super) fn restarted(&mut self) {
        self.counts.values_mut().for_each(|count| count.forgotten = count.starts.len());
    }

    pub(super) fn delete(&mut self, limit: &Limit) {
        let key = id(limit);
        self.limits.remove(&key);
        self.counts.retain(|(of, _), _| *of != key);
        self.paused.retain(|(of, _, _), _| of.as_ref() != Some(&key));
    }

    /// The limits that a key, or none, of a queue is counted under: of each name the most specific.
    pub(super) fn of(&self, queue: usize, key: Option<&str>) -> Vec<&Limit> {
        let name = QUEUES[queue];
        let mut best: BTreeMap<&str, ((bool, usize, bool), &Limit)> = BTreeMap::new();
        for limit in self.limits.values() {
            let (of, pattern) = (limit.matches().queue.as_str(), limit.matches().key.as_ref());
            let is_meant = of == ">" || of == name;
            let rank = match (key, pattern.map(|pattern| pattern.as_str())) {
                (None, None) if limit.scope() == LimitScope::Queue => (false, 0, of == name),
                (Some(key), Some(pattern)) => match pattern.strip_suffix('*') {
                    Some(prefix) if key.starts_with(prefix) => (false, prefix.len(), of == name),
                    None if key == pattern => (true, key.len(), of == name),
                    _ => continue,
                },
                _ => continue,
            };
            let entry = best.entry(limit.name()).or_insert((rank, limit));
            if is_meant && (rank > entry.0 || !matches(entry.1, name)) {
                *entry = (rank, limit);
            }
        }
        best.into_values().map(|(_, limit)| limit).filter(|limit| matches(limit, name)).collect()
    }

    /// Everything that a message is counted under, with the text of the key.
    pub(super) fn applied(&self, message: &Known) -> Vec<(Key, String, Limit)> {
        let mut all = Vec::new();
        let of_queue = self.of(message.queue, None).into_iter();
        all.extend(
            of_queue.map(|limit| (id(limit), QUEUES[message.queue].to_owned(), limit.clone())),
        );
        let mut seen: Vec<&str> = Vec::new();
        for key in &message.keys {
            if !seen.contains(&&**key) {
                seen.push(key);
                let of_key = self.of(message.queue, Some(key)).into_iter();
                all.extend(of_key.map(|limit| (id(limit), key.clone(), limit.clone())));
            }
        }
        all
    }

    /// Under what pauses of a key are kept, seen from a queue.
    pub(super) fn scopes(&self, queue: usize, key: &str) -> Vec<(Option<Key>, usize, String)> {
        let of = self.of(queue, Some(key));
        match of.is_empty() {
            true => vec![(None, queue, key.to_owned())],
            false => of.iter().map(|limit| (Some(id(limit)), 0, key.to_owned())).collect(),
        }
    }

    pub(super) fn paused_until(&self, queue: usize, key: &str) -> u64 {
        let scopes = self.scopes(queue, key).into_iter();
        scopes.filter_map(|scope| self.paused.get(&scope).copied()).max().unwrap_or(0)
    }

    /// A message was handed over at `now`; `all` are the messages with their states after it.
    pub(super) fn handed_over(&mut self, now: u64, message: &Known, all: &BTreeMap<u64, Known>) {
        for key in &message.keys {
            let until = self.paused_until(message.queue, key);
            assert!(until <= now, "{key} is paused until {until}, {message:?} came at {now}");
        }
        for (of, text, limit) in self.applied(message) {
            let terms = *limit.terms();
            if let Some(max) = terms.concurrency {
                let holds = |other: &&Known| {
                    matches!(other.state, State::Held(until) if until > now)
                        && self
                            .applied(other)
                            .iter()
                            .any(|(its, key, _)| (its, key) == (&of, &text))
                };
                let held = all.values().filter(holds).count();
                assert!(
                    held <= max as usize,
                    "{held} are held of {max} under {of:?} {text} at {now}"
                );
            }
            let count = self.counts.entry((of.clone(), text.clone())).or_default();
            count.starts.push((now, message.cost));
            if let Some(window) = terms.window {
                let from = now.saturating_sub(window.length_ms());
                let inside = count.starts.iter().filter(|(at, _)| *at >= from).count();
                assert!(
                    inside <= window.max() as usize,
                    "{inside} starts of {of:?} {text} at {now}"
                );
            }
            if let Some(rate) = terms.rate {
                let starts = &count.starts[count.forgotten..];
                let dearest = starts.iter().map(|(_, cost)| *cost).max().unwrap_or(1);
                let burst = u64::from(terms.burst()).max(dearest);
                for (at, (from, _)) in starts.iter().enumerate() {
                    let cost: u64 = starts[at..].iter().map(|(_, cost)| *cost).sum();
                    // In thousandths of a token per millisecond.
                    let come = (now - from) * rate.thousandths() / rate.per_ms();
                    assert!(
                        cost * 1_000 <= burst * 1_000 + come,
                        "{cost} tokens since {from} of {of:?} {text} at {now}: {:?} {terms}",
                        count.starts
                    );
                }
            }
        }
    }

    /// Whether nothing can be in the way of a message, as far as one can be sure.
    pub(super) fn is_free(&self, message: &Known, all: &BTreeMap<u64, Known>) -> bool {
        let paused = |key: &String| {
            self.scopes(message.queue, key).iter().any(|scope| {
                // Whether it was ever paused: afterwards it opens gently.
                self.paused.contains_key(scope)
            })
        };
        if message.keys.iter().any(paused) {
            return false;
        }
        self.applied(message).iter().all(|(of, text, limit)| {
            let terms = limit.terms();
            if terms.rate.is_some() || terms.window.is_some() {
                return false;
            }
            let holds = |other: &&Known| {
                // Its end is not known to the moment.
                matches!(other.state, State::Held(_))
                    && self.applied(other).iter().any(|(its, key, _)| (its, key) == (of, text))
            };
            let held = all.values().filter(holds).count();
            terms.concurrency.is_none_or(|max| held < max as usize)
        })
    }
}

fn matches(limit: &Limit, queue: &str) -> bool {
    matches!(limit.matches().queue.as_str(), ">") || limit.matches().queue.as_str() == queue
}
