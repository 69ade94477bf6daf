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
use std::sync::Arc;

use bytes::Bytes;
use sluice_model::{Key, Keys, Value};

use super::change::{self, Change, What};
use super::chunk::{BYTES, Chunk, SPAN};
use super::imaging::Listed;
use super::index::{Index, Live};
use super::values::Values;
use crate::journal::Sequence;
use crate::random::Random;

/// A history of so many chunks is long: one more or less makes little difference.
const CHUNKS_MANY: u64 = 16;

/// A chunk, and what an image has of it.
#[derive(Debug)]
pub(super) struct Slab {
    pub(super) chunk: Arc<Chunk>,
    /// Bytes of its changes, now, all that it has got, when its values were last set apart, and in the
    /// last image.
    bytes: usize,
    filled: usize,
    packed: usize,
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
            packed: bytes,
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

    /// The number behind its last change.
    fn end(&self) -> u64 {
        self.chunk.changes.back().map_or(0, |last| last.revision + 1)
    }

    /// Lets go of all changes but those that are live.
    fn keep_live(&mut self, index: &mut Index, listed: &mut Listed) {
        if self.chunk.changes.iter().all(|change| is_live(index, change)) {
            return;
        }
        listed.note(self);
        let chunk = Arc::make_mut(&mut self.chunk);
        let mut bytes = 0;
        chunk.changes.retain(|change| {
            let live = is_live(index, change);
            bytes += if live { change.weight() } else { 0 };
            live
        });
        chunk.changes.shrink_to_fit();
        self.bytes = bytes;
        self.lost(index);
    }

    /// Lets go of a change, if it is there. True if nothing is left.
    fn drop_change(&mut self, revision: u64, index: &mut Index, listed: &mut Listed) -> bool {
        if self.chunk.get(revision).is_none() {
            return false;
        }
        listed.note(self);
        let Some(gone) = Arc::make_mut(&mut self.chunk).remove(revision) else { return false };
        self.bytes -= gone.weight();
        self.lost(index);
        self.chunk.changes.is_empty()
    }

    /// Notes that changes went.
    fn lost(&mut self, index: &mut Index) {
        self.states_dirty = true;
        self.values_dirty |= self.imaged && 2 * self.bytes < self.written;
        if 2 * self.bytes < self.packed {
            self.packed = self.bytes;
            let moved = |key: &Key, revision, bytes: &Bytes| {
                index.move_value(key, revision, bytes);
            };
            Arc::make_mut(&mut self.chunk).set_apart(moved);
        }
    }
}

/// All changes that are kept.
#[derive(Debug)]
pub(crate) struct Store {
    /// By the number of the first change of each.
    pub(super) chunks: BTreeMap<u64, Slab>,
    /// The last change of each key that is there.
    index: Index,
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
    values: Values,
}

impl Store {
    pub(crate) fn new(random: &Random) -> Self {
        Self {
            chunks: BTreeMap::new(),
            index: Index::new(random),
            bytes: 0,
            last: 0,
            from: 1,
            history_bytes: 0,
            visible: 0,
            listed: Listed::default(),
            values: Values::default(),
        }
    }

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

    /// What a key is, if it is there.
    pub(crate) fn find(&self, key: &Key) -> Option<&Live> {
        self.index.get(key)
    }

    /// The change of that number, if it is the last one of a key that is there.
    pub(crate) fn live_at(&self, revision: u64) -> Option<&Change> {
        self.at(revision).filter(|change| is_live(&self.index, change))
    }

    /// The keys of a range in their order, behind `after`, each with what it is.
    pub(crate) fn range<'a>(
        &'a self,
        keys: &'a Keys,
        after: Option<&'a Key>,
    ) -> impl Iterator<Item = (&'a Key, &'a Live)> {
        self.index.range(keys, after).filter_map(|key| Some((key, self.find(key)?)))
    }

    /// A copy of a value for a change that is about to be added.
    pub(crate) fn keep(&mut self, value: &[u8]) -> Bytes {
        self.values.keep(value)
    }

    /// Adds a change; one that is there already changes nothing. Gives what was the last one of its
    /// key before.
    pub(crate) fn push(
        &mut self,
        revision: u64,
        key: &str,
        what: What,
        sequence: Sequence,
    ) -> Option<Live> {
        if revision <= self.last {
            return None;
        }
        // Keys were checked before they were written.
        let (key, before) = self.refer((revision, sequence), key, &what)?;
        // Records of a repaired log are missing: nobody may be told that nothing is.
        if revision > self.last + 1 {
            self.forget_before(self.last + 1);
            self.from = revision;
            self.visible = self.visible.max(revision - 1);
        }
        let change = Change { revision, key, what, sequence };
        self.history_bytes += change.weight() as u64;
        self.last = revision;
        self.append(change);
        if let Some(before) = &before {
            self.drop_if_past(before.revision);
        }
        before
    }

    /// Lets the index refer to a change. Gives its key, and what the key referred to before.
    fn refer(
        &mut self,
        (revision, sequence): (u64, Sequence),
        key: &str,
        what: &What,
    ) -> Option<(Key, Option<Live>)> {
        let (key, before) = match what {
            What::Put { value, expires_at } => {
                let (value, expires_at) = (value.clone(), *expires_at);
                let live = Live { revision, sequence, value, expires_at };
                let weight = change::weight(key.len(), live.value.bytes.len());
                let put = self.index.put(key, live).ok()?;
                self.bytes += weight as u64;
                put
            }
            What::Deleted | What::Expired => match self.index.remove(key) {
                Some((key, before)) => (key, Some(before)),
                None => (Key::new(key).ok()?, None),
            },
        };
        self.bytes -= before.as_ref().map_or(0, |before| before.weight(&key));
        Some((key, before))
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
        let Some(slab) = self.chunks.get_mut(&first) else { return };
        self.listed.note(slab);
        let weight = change.weight();
        slab.bytes += weight;
        slab.filled += weight;
        slab.packed += weight;
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
        let Some((&first, slab)) = self.chunks.range_mut(..=revision).next_back() else { return };
        if slab.drop_change(revision, &mut self.index, &mut self.listed) {
            self.remove_chunk(first);
        }
    }

    /// Shortens the history to so many changes and bytes, by `steps` changes at most. What is not at
    /// its level yet stays. A long one goes by whole chunks: it has a few changes more, or bytes less.
    pub(crate) fn trim(&mut self, changes_max: u64, bytes_max: u64, steps: usize) {
        let upto = self.from.saturating_add(steps as u64).min(self.visible + 1);
        let last = self.last;
        if changes_max / CHUNKS_MANY >= SPAN && bytes_max / CHUNKS_MANY >= BYTES as u64 {
            let is_surplus = |end: u64, bytes: u64| {
                end <= upto && (last + 1 - end >= changes_max || bytes > bytes_max)
            };
            while self.forget_chunk(is_surplus) {}
            return;
        }
        let is_enough =
            |from: u64, bytes: u64| last + 1 - from <= changes_max && bytes <= bytes_max;
        self.forget(upto, is_enough);
    }

    /// Ends the history behind its first chunk, if that `is_surplus` by the number behind it and the
    /// bytes of the history. Says whether it was.
    fn forget_chunk(&mut self, is_surplus: impl Fn(u64, u64) -> bool) -> bool {
        let Self { chunks, index, listed, from, history_bytes, .. } = self;
        let Some((&first, slab)) = chunks.range_mut(..=*from).next_back() else { return false };
        let end = slab.end();
        if end <= *from || !is_surplus(end, *history_bytes) {
            return false;
        }
        let gone = slab.chunk.changes.iter().filter(|change| change.revision >= *from);
        *history_bytes -= gone.map(|change| change.weight() as u64).sum::<u64>();
        *from = end;
        slab.keep_live(index, listed);
        if slab.chunk.changes.is_empty() {
            self.remove_chunk(first);
        }
        true
    }

    /// Ends the history before that number.
    fn forget_before(&mut self, revision: u64) {
        self.forget(revision, |_, _| false);
    }

    /// The same, but no further than it `is_enough`, by where the history begins then and its bytes.
    fn forget(&mut self, revision: u64, is_enough: impl Fn(u64, u64) -> bool) {
        while self.from < revision && !is_enough(self.from, self.history_bytes) {
            let Self { chunks, index, listed, from, history_bytes, .. } = self;
            let Some((&first, slab)) = chunks.range_mut(..=*from).next_back() else {
                self.from += 1;
                continue;
            };
            let mut is_empty = false;
            // Those that lie together go in one go.
            loop {
                let gone = *from;
                *from += 1;
                if let Some(change) = slab.chunk.get(gone) {
                    *history_bytes -= change.weight() as u64;
                    if !is_live(index, change) {
                        is_empty = slab.drop_change(gone, index, listed);
                    }
                }
                let is_last = slab.chunk.changes.back().is_none_or(|last| last.revision < *from);
                if is_last || *from >= revision || is_enough(*from, *history_bytes) {
                    break;
                }
            }
            if is_empty {
                self.remove_chunk(first);
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
            match Live::of(change) {
                Some(live) => drop(self.index.put(change.key.as_str(), live)),
                None => drop(self.index.remove(change.key.as_str())),
            }
            if change.revision >= self.from {
                self.history_bytes += change.weight() as u64;
            }
        }
        let all = chunks.iter().flat_map(|chunk| &chunk.changes);
        let live: Vec<&Change> = all.filter(|change| is_live(&self.index, change)).collect();
        self.bytes = live.iter().map(|change| change.weight() as u64).sum();
        live.into_iter().filter(|change| change.expires_at().is_some()).cloned().collect()
    }

    /// Checks what must hold between any two calls, and panics where it does not.
    pub(crate) fn check(&self) {
        assert_eq!(self.index.keys().count(), self.index.len(), "keys in order");
        let live = self.index.keys().map(|key| {
            let live = self.find(key).expect("a key in order is in the index");
            let change = self.at(live.revision).expect("a key refers to a change that is kept");
            assert!(change.key == *key && Live::of(change).as_ref() == Some(live), "{key}");
            let lies_at = |value: &Value| value.bytes.as_ptr();
            assert_eq!(change.value().map(lies_at), Some(lies_at(&live.value)), "bytes of {key}");
            change.weight() as u64
        });
        assert_eq!(live.sum::<u64>(), self.bytes, "bytes of keys");
        let (mut kept, mut history) = (0, 0);
        for (first, slab) in &self.chunks {
            assert_eq!((slab.chunk.first, slab.chunk.bytes()), (*first, slab.bytes), "a chunk");
            self.check_listed(slab);
            for change in &slab.chunk.changes {
                let in_history = change.revision >= self.from;
                assert!(
                    in_history || is_live(&self.index, change),
                    "{} is nobody's",
                    change.revision
                );
                kept += u64::from(in_history);
                history += if in_history { change.weight() as u64 } else { 0 };
            }
        }
        assert_eq!((kept, history), self.history(), "the history");
        assert!(self.visible <= self.last && self.from <= self.last + 1);
    }
}

/// Whether a key refers to this change.
fn is_live(index: &Index, change: &Change) -> bool {
    index.get(&change.key).is_some_and(|live| live.revision == change.revision)
}

#[cfg(test)]
mod tests {
    use sluice_model::Timestamp;

    use super::*;

    /// Writes one of 600 keys, some of which are hardly ever written again, with a value of so many bytes.
    fn write(store: &mut Store, revision: u64, bytes: usize) {
        let dice = revision * revision % 7_919;
        let key = format!("key{}", if dice.is_multiple_of(64) { dice % 600 } else { dice % 50 });
        let value = Value { bytes: store.keep(&vec![b'v'; bytes]), ..Value::default() };
        let what = match dice % 9 {
            0 => What::Deleted,
            _ => What::Put { value, expires_at: Timestamp::EPOCH },
        };
        store.push(revision, &key, what, revision);
        store.show_all();
    }

    #[test]
    fn a_long_history_goes_by_whole_chunks_and_never_below_what_it_may_have() {
        let mut store = Store::new(&Random::new(1));
        let (changes_max, bytes_max) = (CHUNKS_MANY * SPAN, 8 << 20);
        for revision in 1..=3 * changes_max {
            write(&mut store, revision, 10);
            store.trim(changes_max, bytes_max, 4_096);
            let (changes, _) = store.history();
            assert!((revision.min(changes_max)..changes_max + SPAN).contains(&changes));
            if revision % 512 == 0 {
                store.check();
            }
        }
    }

    #[test]
    fn a_long_history_has_never_more_bytes_than_it_may() {
        let mut store = Store::new(&Random::new(1));
        let bytes_max = CHUNKS_MANY * BYTES as u64;
        for revision in 1..=4_000 {
            write(&mut store, revision, 1_000);
            store.trim(100_000, bytes_max, 4_096);
            assert!(store.history().1 <= bytes_max);
        }
        assert!(store.history().1 > bytes_max - 2 * BYTES as u64);
        store.check();
    }
}
