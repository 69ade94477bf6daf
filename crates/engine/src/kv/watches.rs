//! Who watches which keys. A watch holds no changes: it is a place in the history, and maybe a
//! receive that waits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sluice_model::{Key, Keys, WatchId};

use crate::queue::Waiting;
use crate::random::{Random, SeededMap};
use crate::topic::{Holdings, Owner};

/// A wish to be told what happens to keys.
#[derive(Debug)]
pub(crate) struct Watcher {
    pub(crate) owner: Owner,
    pub(crate) keys: Keys,
    /// Changes up to this were told, or are none of those that are meant.
    pub(crate) seen: u64,
    /// The first change behind `seen` that may be meant; none if none is that is at its level.
    pub(crate) from: Option<u64>,
    pub(crate) parked: Waiting,
    /// It stands in the engine's list of those whose receives may find something.
    pub(crate) listed_stirred: bool,
}

/// All watches, found by what they are about.
#[derive(Debug)]
pub(crate) struct Watches {
    all: SeededMap<WatchId, Watcher>,
    by_key: SeededMap<Key, BTreeSet<WatchId>>,
    by_prefix: SeededMap<Arc<str>, BTreeSet<WatchId>>,
    /// How many prefixes of each length are watched.
    lengths: BTreeMap<usize, usize>,
    held: Holdings,
    last: u64,
}

impl Watches {
    pub(crate) fn new(random: &Random) -> Self {
        Self {
            all: random.map(),
            by_key: random.map(),
            by_prefix: random.map(),
            lengths: BTreeMap::new(),
            held: Holdings::default(),
            last: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// How many of them one owner has.
    pub(crate) fn of(&self, owner: &Owner) -> usize {
        self.held.of(owner)
    }

    pub(crate) fn get(&self, id: WatchId) -> Option<&Watcher> {
        self.all.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: WatchId) -> Option<&mut Watcher> {
        self.all.get_mut(&id)
    }

    /// Begins a watch.
    pub(crate) fn add(&mut self, watcher: Watcher) -> WatchId {
        self.last += 1;
        let id = WatchId(self.last);
        match &watcher.keys {
            Keys::One(key) => drop(self.by_key.entry(key.clone()).or_default().insert(id)),
            Keys::Below(prefix) => {
                let those = self.by_prefix.entry(Arc::clone(prefix)).or_default();
                if those.is_empty() {
                    *self.lengths.entry(prefix.len()).or_default() += 1;
                }
                those.insert(id);
            }
        }
        self.held.add(&watcher.owner);
        self.all.insert(id, watcher);
        id
    }

    /// Ends a watch.
    pub(crate) fn remove(&mut self, id: WatchId) {
        let Some(watcher) = self.all.remove(&id) else { return };
        self.held.remove(&watcher.owner);
        match &watcher.keys {
            Keys::One(key) => {
                if let Some(those) = self.by_key.get_mut(key) {
                    those.remove(&id);
                    if those.is_empty() {
                        self.by_key.remove(key);
                    }
                }
            }
            Keys::Below(prefix) => self.remove_prefix(prefix, id),
        }
    }

    fn remove_prefix(&mut self, prefix: &Arc<str>, id: WatchId) {
        let Some(those) = self.by_prefix.get_mut(prefix) else { return };
        those.remove(&id);
        if !those.is_empty() {
            return;
        }
        self.by_prefix.remove(prefix);
        if let Some(count) = self.lengths.get_mut(&prefix.len()) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&prefix.len());
            }
        }
    }

    /// Notes a change of a key that is at its level for those who watch it, and names those of them
    /// who knew of none.
    pub(crate) fn note(&mut self, key: &Key, revision: u64, woken: &mut Vec<WatchId>) {
        let Self { all, by_key, by_prefix, lengths, .. } = self;
        let exact = by_key.get(key).into_iter();
        let starts = lengths.keys().filter_map(|len| key.as_str().get(..*len));
        let below = starts.filter_map(|start| by_prefix.get(start));
        for id in exact.chain(below).flatten() {
            let Some(watcher) = all.get_mut(id) else { continue };
            if watcher.from.is_none() && revision > watcher.seen {
                watcher.from = Some(revision);
                woken.push(*id);
            }
        }
    }

    /// Checks what must hold between any two calls, and panics where it does not.
    pub(crate) fn check(&self) {
        let exact = self.by_key.values().map(BTreeSet::len).sum::<usize>();
        let below = self.by_prefix.values().map(BTreeSet::len).sum::<usize>();
        assert_eq!(exact + below, self.all.len(), "watches");
        assert_eq!(self.lengths.values().sum::<usize>(), self.by_prefix.len(), "prefixes");
        for watcher in self.all.values() {
            watcher.parked.check();
        }
    }
}
