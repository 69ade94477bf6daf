//! All limits, and which of them apply to a message.
//!
//! ```text
//! queue --patterns that match it--> [ keys: exact --> limits ; prefixes by length --> limits ]
//!          (by what they begin with)           one probe each, for each length that there is
//! ```
//!
//! Limits of different names all apply. Within one name the most specific match wins: the more
//! specific key pattern, then the more specific queue pattern, where one that is exact goes before
//! all others, and of those the longest beginning without a wildcard. Two that would be equally
//! specific for some queue and key are refused when the second is set.
//!
//! To find the limits of a message nothing goes through all of them: a queue keeps which patterns
//! match it ([`LimitSet::of_queue`]) until the set changes, and a key is looked up in the
//! index of each. [`MATCHES_MAX`] bounds how many limits one match can bring.

use std::collections::{BTreeMap, BTreeSet};

use super::pattern::Specificity;
use super::{Limit, LimitError, LimitMatch};

/// Most limits, each with a name of its own, that have the same match.
pub const MATCHES_MAX: usize = 8;

/// Where a limit is known: its name and what it matches.
type Id = (Box<str>, LimitMatch);

/// A limit that applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied<T> {
    /// What the caller set beside it.
    pub with: T,
    /// Which of the message's keys it limits, by its place; none if it limits the queue.
    pub key: Option<usize>,
}

/// How specific a match is: of the key first, then of the queue.
type Rank = (Option<Specificity>, Specificity);

/// A limit among those that a queue pattern brings.
#[derive(Clone, Debug)]
struct Listed<T> {
    id: Id,
    rank: Rank,
    with: T,
}

/// The limits that a queue pattern brings, by key.
#[derive(Clone, Debug)]
struct OfPattern<T> {
    /// Limits of the queue itself.
    queue: Vec<Listed<T>>,
    /// By key, and by what keys begin with.
    exact: BTreeMap<Box<str>, Vec<Listed<T>>>,
    prefixes: BTreeMap<Box<str>, Vec<Listed<T>>>,
    /// How many prefixes have which length.
    lengths: BTreeMap<usize, usize>,
}

/// The patterns that match a queue, for as long as the set is of that version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueLimits {
    version: u64,
    patterns: Box<[Box<str>]>,
}

impl QueueLimits {
    /// Whether no limit is about the queue or any key in it.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }
}

/// Limits by name and match; beside each the caller keeps a `T`, such as its number.
#[derive(Clone, Debug)]
pub struct LimitSet<T> {
    all: BTreeMap<Box<str>, BTreeMap<LimitMatch, (Limit, T)>>,
    len: usize,
    patterns: BTreeMap<Box<str>, OfPattern<T>>,
    /// Patterns with wildcards, by what stands before the first.
    by_literal: BTreeMap<Box<str>, BTreeSet<Box<str>>>,
    version: u64,
}

impl<T> Default for LimitSet<T> {
    fn default() -> Self {
        let (all, patterns, by_literal) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { all, len: 0, patterns, by_literal, version: 0 }
    }
}

impl<T> OfPattern<T> {
    fn new() -> Self {
        let (exact, prefixes, lengths) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { queue: Vec::new(), exact, prefixes, lengths }
    }

    fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.exact.is_empty() && self.prefixes.is_empty()
    }

    /// The limits of one match.
    fn alike(&self, matches: &LimitMatch) -> &[Listed<T>] {
        let found = match &matches.key {
            None => Some(&self.queue),
            Some(key) => match key.prefix() {
                Some(prefix) => self.prefixes.get(prefix),
                None => self.exact.get(key.as_str()),
            },
        };
        found.map_or(&[], Vec::as_slice)
    }

    /// The one of that name and match.
    fn get_mut(&mut self, id: &Id) -> Option<&mut Listed<T>> {
        let found = match &id.1.key {
            None => Some(&mut self.queue),
            Some(key) => match key.prefix() {
                Some(prefix) => self.prefixes.get_mut(prefix),
                None => self.exact.get_mut(key.as_str()),
            },
        };
        found?.iter_mut().find(|it| it.id == *id)
    }

    fn insert(&mut self, it: Listed<T>) {
        let Some(key) = it.id.1.key.clone() else { return self.queue.push(it) };
        match key.prefix() {
            Some(prefix) => {
                let alike = self.prefixes.entry(prefix.into()).or_default();
                if alike.is_empty() {
                    *self.lengths.entry(prefix.len()).or_default() += 1;
                }
                alike.push(it);
            }
            None => self.exact.entry(key.as_str().into()).or_default().push(it),
        }
    }

    fn remove(&mut self, id: &Id) {
        let Some(key) = &id.1.key else { return self.queue.retain(|it| it.id != *id) };
        let (index, text) = match key.prefix() {
            Some(prefix) => (&mut self.prefixes, prefix),
            None => (&mut self.exact, key.as_str()),
        };
        let Some(alike) = index.get_mut(text) else { return };
        alike.retain(|it| it.id != *id);
        if alike.is_empty() {
            index.remove(text);
            if key.prefix().is_some()
                && let Some(count) = self.lengths.get_mut(&text.len())
            {
                *count -= 1;
                self.lengths.retain(|_, count| *count > 0);
            }
        }
    }

    /// The limits that are about a key, or about the queue itself.
    fn of<'a>(&'a self, key: Option<&'a str>) -> impl Iterator<Item = &'a Listed<T>> {
        let queue = if key.is_none() { &self.queue[..] } else { &[] };
        queue.iter().chain(key.into_iter().flat_map(|key| self.of_key(key)))
    }

    fn of_key<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Listed<T>> {
        let prefixes = self.lengths.keys().take_while(|length| **length <= key.len());
        // A length at which no letter ends is that of no prefix of this key.
        let prefixes = prefixes.filter_map(|length| self.prefixes.get(key.get(..*length)?));
        self.exact.get(key).into_iter().chain(prefixes).flatten()
    }
}

impl<T: Copy> LimitSet<T> {
    /// How many limits there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Counts the changes of what applies where: [`QueueLimits`] are good for one version.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Every limit, by name and match.
    pub fn iter(&self) -> impl Iterator<Item = (&Limit, T)> {
        self.all.values().flat_map(BTreeMap::values).map(|(limit, with)| (limit, *with))
    }

    /// The limit of that name and match.
    pub fn get(&self, name: &str, matches: &LimitMatch) -> Option<(&Limit, T)> {
        self.all.get(name)?.get(matches).map(|(limit, with)| (limit, *with))
    }

    /// Whether a limit may be set.
    ///
    /// # Errors
    /// It counts something else than others of its name, is as specific as one of them, or too many
    /// have the same match.
    pub fn check(&self, limit: &Limit) -> Result<(), LimitError> {
        let matches = limit.matches();
        for (other, _) in self.all.get(limit.name()).into_iter().flat_map(BTreeMap::values) {
            let (is, asked) = (other.scope(), limit.scope());
            if other.matches() != matches && is != asked {
                return Err(LimitError::ScopeDiffers { is, asked });
            }
            let theirs = other.matches();
            if theirs != matches
                && theirs.key == matches.key
                && theirs.queue.specificity() == matches.queue.specificity()
                && theirs.queue.overlaps(&matches.queue)
            {
                return Err(LimitError::Tie { queue: theirs.queue.as_str().to_owned() });
            }
        }
        let alike = self.patterns.get(matches.queue.as_str()).map_or(&[][..], |p| p.alike(matches));
        let is_known = alike.iter().any(|it| *it.id.0 == *limit.name());
        match alike.len() >= MATCHES_MAX && !is_known {
            true => Err(LimitError::TooManyAlike),
            false => Ok(()),
        }
    }

    /// Sets a limit, in place of that of the same name and match, which is given back.
    ///
    /// # Errors
    /// See [`LimitSet::check`]. Nothing has changed then.
    pub fn set(&mut self, limit: Limit, with: T) -> Result<Option<(Limit, T)>, LimitError> {
        self.check(&limit)?;
        let id: Id = (limit.name().into(), limit.matches().clone());
        let is_for_requests = limit.scope().is_for_requests();
        let old = self.all.entry(id.0.clone()).or_default().insert(id.1.clone(), (limit, with));
        if let Some((before, _)) = &old
            && before.scope().is_for_requests() == is_for_requests
        {
            // Where it applies has not changed.
            let pattern = self.patterns.get_mut(id.1.queue.as_str());
            if let Some(listed) = pattern.and_then(|pattern| pattern.get_mut(&id)) {
                listed.with = with;
            }
            return Ok(old);
        }
        self.len += usize::from(old.is_none());
        match is_for_requests {
            true => self.unlink(&id),
            false => self.link(id, with),
        }
        Ok(old)
    }

    /// Takes a limit out.
    pub fn remove(&mut self, name: &str, matches: &LimitMatch) -> Option<(Limit, T)> {
        let alike = self.all.get_mut(name)?;
        let old = alike.remove(matches)?;
        if alike.is_empty() {
            self.all.remove(name);
        }
        self.len -= 1;
        self.unlink(&(name.into(), matches.clone()));
        Some(old)
    }

    fn link(&mut self, id: Id, with: T) {
        let queue = id.1.queue.clone();
        let key = id.1.key.as_ref().map(|key| key.specificity());
        let rank = (key, queue.specificity());
        if !queue.is_exact() {
            let alike = self.by_literal.entry(queue.literal().into()).or_default();
            alike.insert(queue.as_str().into());
        }
        let pattern = self.patterns.entry(queue.as_str().into()).or_insert_with(OfPattern::new);
        pattern.insert(Listed { id, rank, with });
        self.version += 1;
    }

    fn unlink(&mut self, id: &Id) {
        let queue = &id.1.queue;
        self.version += 1;
        let Some(pattern) = self.patterns.get_mut(queue.as_str()) else { return };
        pattern.remove(id);
        if !pattern.is_empty() {
            return;
        }
        self.patterns.remove(queue.as_str());
        if let Some(alike) = self.by_literal.get_mut(queue.literal()) {
            alike.remove(queue.as_str());
            if alike.is_empty() {
                self.by_literal.remove(queue.literal());
            }
        }
    }

    /// Finds the patterns that match a queue: the one that is its name, and of those that begin with
    /// some of its tokens the ones that match.
    pub fn of_queue(&self, queue: &str) -> QueueLimits {
        let exact = self.patterns.get_key_value(queue).map(|(pattern, _)| pattern);
        let dots = queue.match_indices('.').map(|(at, _)| at + 1);
        let literals = std::iter::once(0).chain(dots).map(|end| &queue[..end]);
        let alike = literals.filter_map(|literal| self.by_literal.get(literal)).flatten();
        let matching = alike.filter(|pattern| {
            super::QueuePattern::new(pattern).is_ok_and(|pattern| pattern.matches(queue))
        });
        let patterns = exact.into_iter().chain(matching).cloned().collect();
        QueueLimits { version: self.version, patterns }
    }

    /// Whether `of_queue` must be asked again.
    pub fn is_stale(&self, limits: &QueueLimits) -> bool {
        limits.version != self.version
    }

    /// Tells the limits of a message with these keys in the queue: for each name one of the queue
    /// and one of each key, if they match. A key that is there twice counts once.
    pub fn of_message<K>(&self, queue: &QueueLimits, keys: &[K], mut tell: impl FnMut(Applied<T>))
    where
        K: AsRef<str> + PartialEq,
    {
        for key in std::iter::once(None).chain((0..keys.len()).map(Some)) {
            if key.is_some_and(|at| keys[..at].contains(&keys[at])) {
                continue;
            }
            let mut tell = |it: &Listed<T>| tell(Applied { with: it.with, key });
            let patterns = queue.patterns.iter().filter_map(|pattern| self.patterns.get(pattern));
            let mut found = patterns.flat_map(|of| of.of(key.map(|at| keys[at].as_ref())));
            let (Some(first), second) = (found.next(), found.next()) else { continue };
            let Some(second) = second else {
                // As nearly always: there is nothing to choose from.
                tell(first);
                continue;
            };
            let mut best = Vec::new();
            [first, second].into_iter().chain(found).for_each(|it| prefer(&mut best, it));
            best.into_iter().for_each(tell);
        }
    }
}

/// Keeps the more specific one of each name, by name. There are few.
fn prefer<'a, T>(best: &mut Vec<&'a Listed<T>>, it: &'a Listed<T>) {
    match best.binary_search_by(|other| other.id.0.cmp(&it.id.0)) {
        Ok(at) if it.rank > best[at].rank => best[at] = it,
        Ok(_) => {}
        Err(at) => best.insert(at, it),
    }
}
