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
        weight(self.key.as_bytes().len(), self.value().map_or(0, |value| value.bytes.len()))
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

    /// As a watch tells it.
    pub(crate) fn event(&self) -> WatchEvent {
        let (key, revision) = (self.key.clone(), Revision(self.revision));
        match &self.what {
            What::Put { value, .. } => {
                let (value, expires_at) = (value.clone(), self.expires_at());
                WatchEvent::Put(Entry { key, value, revision, expires_at })
            }
            What::Deleted => WatchEvent::Deleted { key, revision },
            What::Expired => WatchEvent::Expired { key, revision },
        }
    }
}
