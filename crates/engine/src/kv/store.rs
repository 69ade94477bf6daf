//! The store: every change has its place by its number, and a key refers to its last one.
//!
//! The last changes are the history that watches are told from. A change that is neither the last
//! one of its key nor in the history is gone.
//!
//! ```text
//! chunks    [1 . . 4 5 .] [. 257 . .] ... [9001 9002 9003 ..... 9200 9201]
//!            |   keys not changed since |  |  history, all of them        |
//!            '--------- index ----------'  '- from                  last -'
//! ```

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use sluice_model::{Key, Keys};

use super::change::{Change, What};
use super::chunk::{BYTES, Chunk, SPAN};
use super::imaging::Listed;

/// A chunk, and what an image has of it.
#[derive(Debug)]
pub(super) struct Slab {
    pub(super) chunk: Arc<Chunk>,
    /// Bytes of its changes, now, all that it has got, and in the last image.
    bytes: usize,
    filled: usize,
    pub(super) written: usize,
    /// Changes came since the last image, or so many went that they are worth writing anew.
    pub(super) values_dirty: bool,
    /// Changes went since the last image.
    pub(super) states_dirty: bool,
    /// The last image has it.
    pub(super) imaged: bool,
    /// The image that it was last listed for.
    pub(super) listed_for: u64,
}

impl Slab {
    fn new(chunk: Chunk) -> Self {
        let bytes = chunk.bytes();
        Self {
            chunk: Arc::new(chunk),
            bytes,
            filled: bytes,
            written: 0,
            values_dirty: false,
            states_dirty: false,
            imaged: false,
            listed_for: 0,
        }
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}

/// All changes that are kept.
#[derive(Debug)]
pub(crate) struct Store {
    /// By the number of the first change of each.
    pub(super) chunks: BTreeMap<u64, Slab>,
    /// The last change of each key that is there.
    index: BTreeMap<Key, u64>,
    /// Bytes of these.
    bytes: u64,
    /// The number of the last change.
    last: u64,
    /// All changes from this on are there.
    from: u64,
    history_bytes: u64,
    /// Changes up to this are at their level.
    visible: u64,
    pub(super) listed: Listed,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            chunks: BTreeMap::new(),
            index: BTreeMap::new(),
            bytes: 0,
            last: 0,
            from: 1,
            history_bytes: 0,
            visible: 0,
            listed: Listed::default(),
        }
    }
}

impl Store {
    /// The number of the last change.
    pub(crate) const fn last(&self) -> u64 {
        self.last
    }

    /// The number from which on no change is forgotten.
    pub(crate) const fn from(&self) -> u64 {
        self.from
    }

    /// The number of the last change that is at its level.
    pub(crate) const fn visible(&self) -> u64 {
        self.visible
    }

    /// Notes that one more change is at its level.
    pub(crate) fn show_next(&mut self) {
        self.visible += 1;
    }

    /// Notes that every change is at its level.
    pub(crate) fn show_all(&mut self) {
        self.visible = self.last;
    }

    /// Keys that are there.
    pub(crate) fn len(&self) -> u64 {
        self.index.len() as u64
    }

    /// Bytes of keys that are there, with their values.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Changes in the history, and their bytes.
    pub(crate) const fn history(&self) -> (u64, u64) {
        (self.last + 1 - self.from, self.history_bytes)
    }

    /// The change of that number, if it is kept.
    pub(crate) fn at(&self, revision: u64) -> Option<&Change> {
        let (_, slab) = self.chunks.range(..=revision).next_back()?;
        slab.chunk.get(revision)
    }

    /// The last change of a key that is there.
    pub(crate) fn live(&self, key: &str) -> Option<&Change> {
        self.at(*self.index.get(key)?)
    }

    /// The key as it is held, if it is there.
    pub(crate) fn known(&self, key: &str) -> Option<&Key> {
        self.index.get_key_value(key).map(|(key, _)| key)
    }

    /// The change of that number, if it is the last one of a key that is there.
    pub(crate) fn live_at(&self, revision: u64) -> Option<&Change> {
        self.at(revision).filter(|change| self.is_live(change))
    }

    fn is_live(&self, change: &Change) -> bool {
        self.index.get(change.key.as_str()) == Some(&change.revision)
    }

    /// The keys of a range in their order, behind `after`, each with its last change.
    pub(crate) fn range<'a>(
        &'a self,
        keys: &'a Keys,
        after: Option<&'a Key>,
    ) -> impl Iterator<Item = &'a Change> {
        let first = match keys {
            Keys::One(key) => key.as_str(),
            Keys::Below(prefix) => prefix,
        };
        let start = match after {
            Some(after) if after.as_str() >= first => Bound::Excluded(after.as_str()),
            _ => Bound::Included(first),
        };
        self.index
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(move |(key, _)| match keys {
                Keys::One(one) => *key == one,
                Keys::Below(prefix) => key.as_str().starts_with(&**prefix),
            })
            .filter_map(|(_, revision)| self.at(*revision))
    }

    /// Adds a change; one that is there already changes nothing. Gives the change that was the last
    /// one of its key before.
    pub(crate) fn push(&mut self, change: Change) -> Option<Change> {
        let revision = change.revision;
        if revision <= self.last {
            return None;
        }
        // Records of a repaired log are missing: nobody may be told that nothing is.
        if revision > self.last + 1 {
            self.forget_before(self.last + 1);
            self.from = revision;
            self.visible = self.visible.max(revision - 1);
        }
        let before = self.last_of(&change);
        self.history_bytes += change.weight() as u64;
        self.last = revision;
        self.append(change);
        if let Some(before) = &before {
            self.drop_if_past(before.revision);
        }
        before
    }

    /// Lets the index refer to a change, and gives the one that it referred to before.
    fn last_of(&mut self, change: &Change) -> Option<Change> {
        let before = match change.what {
            What::Put { .. } => {
                self.bytes += change.weight() as u64;
                self.index.insert(change.key.clone(), change.revision)
            }
            What::Deleted | What::Expired => self.index.remove(change.key.as_str()),
        };
        let before = before.and_then(|revision| self.at(revision).cloned());
        self.bytes -= before.as_ref().map_or(0, |before| before.weight() as u64);
        before
    }

    fn append(&mut self, change: Change) {
        let revision = change.revision;
        let first = match self.chunks.last_key_value() {
            Some((first, slab)) if revision - first < SPAN && slab.filled < BYTES => *first,
            _ => {
                self.chunks.insert(revision, Slab::new(Chunk::new(revision)));
                revision
            }
        };
        self.note(first);
        let Some(slab) = self.chunks.get_mut(&first) else { return };
        let weight = change.weight();
        slab.bytes += weight;
        slab.filled += weight;
        slab.values_dirty = true;
        Arc::make_mut(&mut slab.chunk).changes.push_back(change);
    }

    /// Lets go of a change that is not in the history.
    fn drop_if_past(&mut self, revision: u64) {
        if revision < self.from {
            self.drop_change(revision);
        }
    }

    fn drop_change(&mut self, revision: u64) {
        let Some((&first, _)) = self.chunks.range(..=revision).next_back() else { return };
        self.note(first);
        let Some(slab) = self.chunks.get_mut(&first) else { return };
        let Some(gone) = Arc::make_mut(&mut slab.chunk).remove(revision) else { return };
        slab.bytes -= gone.weight();
        slab.states_dirty = true;
        slab.values_dirty |= slab.imaged && 2 * slab.bytes < slab.written;
        if slab.chunk.changes.is_empty() {
            self.remove_chunk(first);
        }
    }

    /// Shortens the history to so many changes and bytes, by `steps` changes at most. What is not at
    /// its level yet stays.
    pub(crate) fn trim(&mut self, changes_max: u64, bytes_max: u64, steps: usize) {
        for _ in 0..steps {
            let (changes, bytes) = self.history();
            if self.from > self.visible || changes <= changes_max && bytes <= bytes_max {
                return;
            }
            self.forget_before(self.from + 1);
        }
    }

    /// Ends the history before that number.
    fn forget_before(&mut self, revision: u64) {
        while self.from < revision {
            let gone = self.from;
            self.from += 1;
            let Some(change) = self.at(gone) else { continue };
            let (weight, is_live) = (change.weight() as u64, self.is_live(change));
            self.history_bytes -= weight;
            if !is_live {
                self.drop_change(gone);
            }
        }
    }

    /// Puts a chunk back that an image held. Chunks come in order, before [`Store::restored`].
    pub(crate) fn restore(&mut self, chunk: Chunk) {
        let mut slab = Slab::new(chunk);
        slab.imaged = true;
        // What was written may have been more; then it is written anew a little later.
        slab.written = slab.bytes;
        self.chunks.insert(slab.chunk.first, slab);
    }

    /// Sets the numbers that an image held.
    pub(crate) fn restore_numbers(&mut self, last: u64, from: u64) {
        (self.last, self.from, self.visible) = (last, from, last);
    }

    /// Makes the index of what an image held. Gives the changes of keys that expire.
    pub(crate) fn restored(&mut self) -> Vec<Change> {
        let chunks: Vec<Arc<Chunk>> =
            self.chunks.values().map(|slab| Arc::clone(&slab.chunk)).collect();
        for change in chunks.iter().flat_map(|chunk| &chunk.changes) {
            match change.what {
                What::Put { .. } => drop(self.index.insert(change.key.clone(), change.revision)),
                What::Deleted | What::Expired => drop(self.index.remove(change.key.as_str())),
            }
            if change.revision >= self.from {
                self.history_bytes += change.weight() as u64;
            }
        }
        let all = chunks.iter().flat_map(|chunk| &chunk.changes);
        let live: Vec<&Change> = all.filter(|change| self.is_live(change)).collect();
        self.bytes = live.iter().map(|change| change.weight() as u64).sum();
        live.into_iter().filter(|change| change.expires_at().is_some()).cloned().collect()
    }

    /// Checks what must hold between any two calls, and panics where it does not.
    pub(crate) fn check(&self) {
        let live = self.index.iter().map(|(key, revision)| {
            let change = self.at(*revision).expect("a key refers to a change that is kept");
            assert!(change.key == *key && change.value().is_some(), "{key} at {revision}");
            change.weight() as u64
        });
        assert_eq!(live.sum::<u64>(), self.bytes, "bytes of keys");
        let (mut kept, mut history) = (0, 0);
        for (first, slab) in &self.chunks {
            assert_eq!((slab.chunk.first, slab.chunk.bytes()), (*first, slab.bytes), "a chunk");
            self.check_listed(slab);
            for change in &slab.chunk.changes {
                let in_history = change.revision >= self.from;
                assert!(in_history || self.is_live(change), "{} is nobody's", change.revision);
                kept += u64::from(in_history);
                history += if in_history { change.weight() as u64 } else { 0 };
            }
        }
        assert_eq!((kept, history), self.history(), "the history");
        assert!(self.visible <= self.last && self.from <= self.last + 1);
    }
}
