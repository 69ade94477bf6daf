//! Which change each key that is there refers to: by hash for who names a key, in order for scans.

use std::collections::BTreeSet;
use std::ops::Bound;

use sluice_model::{Key, Keys, NameError, Timestamp};

use super::change::Change;
use crate::random::{Random, SeededMap};

/// The last change of a key that is there: where it is, and what whoever writes the next one has to
/// know of it, so that nobody has to look there for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Live {
    /// Its number.
    pub(crate) revision: u64,
    /// The key is gone from then on; the epoch for never.
    pub(crate) expires_at: Timestamp,
    /// As [`Change::weight`].
    pub(crate) weight: u64,
}

impl Live {
    /// What the index has of a change.
    pub(super) fn of(change: &Change) -> Self {
        let expires_at = change.expires_at().unwrap_or(Timestamp::EPOCH);
        Self { revision: change.revision, expires_at, weight: change.weight() as u64 }
    }

    /// Whether the time of the key is over.
    pub(crate) fn has_expired(self, now: Timestamp) -> bool {
        self.expires_at != Timestamp::EPOCH && self.expires_at <= now
    }
}

/// All keys that are there.
#[derive(Debug)]
pub(super) struct Index {
    by_key: SeededMap<Key, Live>,
    /// The same keys, in order.
    names: BTreeSet<Key>,
}

impl Index {
    pub(super) fn new(random: &Random) -> Self {
        Self { by_key: random.map(), names: BTreeSet::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn get(&self, key: &str) -> Option<Live> {
        self.by_key.get(key).copied()
    }

    /// Lets a key refer to a change. Gives the key as it is held, which all its changes share, and
    /// what it referred to before.
    ///
    /// # Errors
    /// It is not there, and none.
    pub(super) fn put(&mut self, key: &str, live: Live) -> Result<(Key, Option<Live>), NameError> {
        if let Some((key, held)) = self.by_key.get_key_value_mut(key) {
            return Ok((key.clone(), Some(std::mem::replace(held, live))));
        }
        let key = Key::new(key)?;
        self.names.insert(key.clone());
        self.by_key.insert(key.clone(), live);
        Ok((key, None))
    }

    /// Takes a key out, and gives it with what it referred to.
    pub(super) fn remove(&mut self, key: &str) -> Option<(Key, Live)> {
        let gone = self.by_key.remove_entry(key)?;
        self.names.remove(key);
        Some(gone)
    }

    /// The keys of a range in their order, behind `after`.
    pub(super) fn range<'a>(
        &'a self,
        keys: &'a Keys,
        after: Option<&'a Key>,
    ) -> impl Iterator<Item = &'a Key> {
        let first = match keys {
            Keys::One(key) => key.as_str(),
            Keys::Below(prefix) => prefix,
        };
        let start = match after {
            Some(after) if after.as_str() >= first => Bound::Excluded(after.as_str()),
            _ => Bound::Included(first),
        };
        let behind = self.names.range::<str, _>((start, Bound::Unbounded));
        behind.take_while(move |key| match keys {
            Keys::One(one) => *key == one,
            Keys::Below(prefix) => key.as_str().starts_with(&**prefix),
        })
    }

    /// All keys in their order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.names.iter()
    }
}
