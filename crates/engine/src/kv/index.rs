//! Which change each key that is there refers to: by hash for who names a key, in order for scans.

use std::collections::BTreeSet;
use std::ops::Bound;

use bytes::Bytes;
use hashbrown::Equivalent;
use sluice_model::{Entry, Key, Keys, NameError, Revision, Timestamp, Value};

use super::change::{self, Change, What};
use crate::journal::Sequence;
use crate::random::{Random, SeededMap};

/// What the last change of a key that is there made of it: all that whoever reads it, or writes it
/// anew, has to know, so that nobody has to look for the change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Live {
    /// The change's number.
    pub(crate) revision: u64,
    /// The change's record; 0 for one that an image brought.
    pub(crate) sequence: Sequence,
    /// The bytes are those of the change.
    pub(crate) value: Value,
    /// The key is gone from then on; the epoch for never.
    pub(crate) expires_at: Timestamp,
}

/// The same without the value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) revision: u64,
    pub(crate) sequence: Sequence,
    /// As [`Change::weight`].
    pub(crate) weight: u64,
}

impl Live {
    /// What a change made of its key, if that is there then.
    pub(super) fn of(change: &Change) -> Option<Self> {
        let Change { revision, sequence, .. } = *change;
        match &change.what {
            What::Put { value, expires_at } => {
                Some(Self { revision, sequence, value: value.clone(), expires_at: *expires_at })
            }
            What::Deleted | What::Expired => None,
        }
    }

    /// Whether the time of the key is over.
    pub(crate) fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at != Timestamp::EPOCH && self.expires_at <= now
    }

    /// What it counts for in the bounds of the store.
    pub(super) fn weight(&self, key: &Key) -> u64 {
        change::weight(key.as_bytes().len(), self.value.bytes.len()) as u64
    }

    /// The same without the value.
    pub(super) fn known(&self, key: &Key) -> Known {
        Known { revision: self.revision, sequence: self.sequence, weight: self.weight(key) }
    }

    /// When the key is gone by itself.
    pub(crate) fn expires_at(&self) -> Option<Timestamp> {
        Some(self.expires_at).filter(|at| *at != Timestamp::EPOCH)
    }

    /// The key as somebody sees it who reads, with its value if they want it.
    pub(crate) fn entry(&self, key: &Key, with_value: bool) -> Entry {
        let bytes = if with_value { self.value.bytes.clone() } else { Bytes::new() };
        let value = Value { kind: self.value.kind, bytes };
        let (key, revision) = (key.clone(), Revision(self.revision));
        Entry { key, value, revision, expires_at: self.expires_at() }
    }
}

/// The text of a key, by which it is found as fast as by itself.
#[derive(Clone, Copy, Hash)]
struct Name<'a>(&'a str);

impl Equivalent<Key> for Name<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.0.as_bytes() == key.as_bytes()
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

    pub(super) fn get(&self, key: &Key) -> Option<&Live> {
        self.by_key.get(key)
    }

    /// Notes that the bytes of a change lie elsewhere by now, if a key refers to it.
    pub(super) fn move_value(&mut self, key: &Key, revision: u64, bytes: &Bytes) {
        if let Some(live) = self.by_key.get_mut(key).filter(|live| live.revision == revision) {
            live.value.bytes = bytes.clone();
        }
    }

    /// Lets a key refer to a change. Gives the key as it is held, which all its changes share, and
    /// what it referred to before.
    ///
    /// # Errors
    /// It is not there, and none.
    pub(super) fn put(&mut self, key: &str, live: Live) -> Result<(Key, Option<Live>), NameError> {
        if let Some((key, held)) = self.by_key.get_key_value_mut(&Name(key)) {
            return Ok((key.clone(), Some(std::mem::replace(held, live))));
        }
        let key = Key::new(key)?;
        self.names.insert(key.clone());
        self.by_key.insert(key.clone(), live);
        Ok((key, None))
    }

    /// Takes a key out, and gives it with what it referred to.
    pub(super) fn remove(&mut self, key: &str) -> Option<(Key, Live)> {
        let gone = self.by_key.remove_entry(&Name(key))?;
        self.names.remove(&gone.0);
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
