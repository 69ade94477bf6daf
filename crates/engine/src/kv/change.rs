//! One change of a key.

use sluice_model::{Entry, Key, Revision, Timestamp, Value, WatchEvent};

use crate::journal::Sequence;

/// What a change counts for beside the bytes of its key and value: its places in the index and the
/// history, and what an allocation takes.
const OVERHEAD: usize = 160;

/// One change of a key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    /// Its number, over all keys.
    pub(crate) revision: u64,
    pub(crate) key: Key,
    pub(crate) what: What,
    /// Its record; 0 for one that an image brought, which is safe.
    pub(crate) sequence: Sequence,
}

/// What became of a key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    /// It has a value.
    Put {
        value: Value,
        /// Gone from then on; the epoch for never.
        expires_at: Timestamp,
    },
    /// Somebody removed it.
    Deleted,
    /// Its time was over.
    Expired,
}

/// What a change counts for whose key and value have so many bytes.
pub(crate) const fn weight(key: usize, value: usize) -> usize {
    OVERHEAD + key + value
}

impl Change {
    /// What it counts for in the bounds of the store and the history.
    pub(crate) fn weight(&self) -> usize {
        weight(self.key.as_str().len(), self.value().map_or(0, |value| value.bytes.len()))
    }

    /// The value that it gave its key.
    pub(crate) fn value(&self) -> Option<&Value> {
        match &self.what {
            What::Put { value, .. } => Some(value),
            What::Deleted | What::Expired => None,
        }
    }

    /// When the key is gone by itself.
    pub(crate) fn expires_at(&self) -> Option<Timestamp> {
        match &self.what {
            What::Put { expires_at, .. } => Some(*expires_at).filter(|at| *at != Timestamp::EPOCH),
            What::Deleted | What::Expired => None,
        }
    }

    /// Whether the time of the key is over.
    pub(crate) fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at().is_some_and(|at| at <= now)
    }

    /// The key as somebody sees it who reads, with its value if they want it.
    pub(crate) fn entry(&self, with_value: bool) -> Entry {
        let value = match self.value().filter(|_| with_value) {
            Some(value) => value.clone(),
            None => Value {
                kind: self.value().map_or_else(Default::default, |v| v.kind),
                ..Value::default()
            },
        };
        let (key, revision) = (self.key.clone(), Revision(self.revision));
        Entry { key, value, revision, expires_at: self.expires_at() }
    }

    /// As a watch tells it.
    pub(crate) fn event(&self) -> WatchEvent {
        let (key, revision) = (self.key.clone(), Revision(self.revision));
        match self.what {
            What::Put { .. } => WatchEvent::Put(self.entry(true)),
            What::Deleted => WatchEvent::Deleted { key, revision },
            What::Expired => WatchEvent::Expired { key, revision },
        }
    }
}
