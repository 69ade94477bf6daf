//! Who watches which keys. A watch holds no changes: it is a place in the history, and maybe a
//! receive that waits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sluice_model::{Key, Keys, Reply, Revision, WatchEvent, WatchId};

use super::change::Change;
use super::store::Store;
use crate::queue::Waiting;
use crate::random::{Random, SeededMap};
use crate::topic::{Holdings, Listener, Owner};

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

/// Changes that one look for the next one to tell passes, at most.
const WALK_MAX: u64 = 4_096;

/// The change that somebody was told alone last, and its number.
type Made = Option<(u64, Arc<[WatchEvent]>)>;

/// What a watch has to tell next.
enum Next<'a> {
    Change(&'a Change),
    /// Changes before this one were forgotten.
    Gap {
        resumed_at: u64,
    },
    /// Nothing that is known.
    Nothing,
    /// It has to look further another time.
    Later,
}

/// What came of telling a receive what its watch has to tell.
pub(super) enum Told {
    /// It was answered, and waits for so many more.
    Some {
        left: u32,
        /// There may be more to tell at once.
        more: bool,
    },
    /// There is something, and no room for it.
    NoRoom,
    Nothing,
    /// It has to look further another time.
    Later,
}

impl Watcher {
    /// What it has to tell next. What it passes on the way it never looks at again.
    fn next<'a>(&mut self, store: &'a Store) -> Next<'a> {
        let Some(from) = self.from else { return Next::Nothing };
        if from < store.from() {
            return Next::Gap { resumed_at: store.from() };
        }
        let end = store.visible().min(from.saturating_add(WALK_MAX));
        for revision in from..=end {
            let change = store.at(revision);
            if let Some(change) = change.filter(|change| self.keys.hold(change.key.as_str())) {
                self.from = Some(revision);
                return Next::Change(change);
            }
        }
        self.told(end, store.visible());
        if self.from.is_some() { Next::Later } else { Next::Nothing }
    }

    /// Takes what it has to tell, one event at least, with its weight as an answer. `fits` says whether
    /// there is room for an answer of that weight, and is told whether it is the least there can be.
    ///
    /// # Errors
    /// Nothing is taken, for this reason.
    pub(super) fn take(
        &mut self,
        told: &mut Made,
        store: &Store,
        max: usize,
        fits: impl Fn(usize, bool) -> bool,
    ) -> Result<(Arc<[WatchEvent]>, usize), Told> {
        let before = (self.seen, self.from);
        if let Some(change) = self.pass_only(store) {
            // Where many are told of one change, that is made an event once.
            let made = told.take().filter(|(revision, _)| *revision == change.revision);
            let made = made.unwrap_or_else(|| (change.revision, Arc::new([change.event()])));
            let events = Arc::clone(&told.insert(made).1);
            let weight = Reply::WEIGHT_MIN + events.iter().map(WatchEvent::weight).sum::<usize>();
            if fits(weight, true) {
                return Ok((events, weight));
            }
            (self.seen, self.from) = before;
            return Err(Told::NoRoom);
        }
        let (mut events, mut weight) = (Vec::new(), Reply::WEIGHT_MIN);
        while events.len() < max {
            let (event, reached) = match self.next(store) {
                Next::Change(change) => (change.event(), change.revision),
                Next::Gap { resumed_at } => {
                    (WatchEvent::Gap { resumed_at: Revision(resumed_at) }, resumed_at - 1)
                }
                Next::Nothing if events.is_empty() => return Err(Told::Nothing),
                Next::Later if events.is_empty() => return Err(Told::Later),
                Next::Nothing | Next::Later => break,
            };
            let with_it = weight + event.weight();
            match fits(with_it, events.is_empty()) {
                false if events.is_empty() => return Err(Told::NoRoom),
                false => break,
                true => weight = with_it,
            }
            self.told(reached, store.visible());
            events.push(event);
        }
        Ok((events.into(), weight))
    }

    /// Whether there may be more to tell.
    pub(super) fn has_more(&self) -> bool {
        self.from.is_some()
    }

    /// Passes the change that it has to tell, if it is the only one.
    fn pass_only<'a>(&mut self, store: &'a Store) -> Option<&'a Change> {
        let Next::Change(change) = self.next(store) else { return None };
        let before = (self.seen, self.from);
        self.told(change.revision, store.visible());
        if matches!(self.next(store), Next::Nothing) {
            return Some(change);
        }
        (self.seen, self.from) = before;
        None
    }

    /// It was told all up to this change; up to `visible` there may be more to tell.
    fn told(&mut self, upto: u64, visible: u64) {
        self.seen = upto;
        self.from = (upto < visible).then_some(upto + 1);
    }
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
    told: Made,
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
            told: None,
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
    pub(crate) fn add(&mut self, mut watcher: Watcher) -> WatchId {
        self.last += 1;
        let id = WatchId(self.last);
        match &mut watcher.keys {
            Keys::One(key) => match self.by_key.get_key_value_mut(key) {
                Some((held, those)) => {
                    // All look at the same bytes when it changes.
                    *key = held.clone();
                    those.insert(id);
                }
                None => drop(self.by_key.insert(key.clone(), BTreeSet::from([id]))),
            },
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
    /// who knew of none and have a receive that waits.
    pub(crate) fn note(&mut self, key: &Key, revision: u64, stirred: &mut Vec<Listener>) {
        let Self { all, by_key, by_prefix, lengths, .. } = self;
        let exact = by_key.get(key).into_iter();
        let starts = lengths.keys().filter_map(|len| key.as_str().get(..*len));
        let below = starts.filter_map(|start| by_prefix.get(start));
        for id in exact.chain(below).flatten() {
            let Some(watcher) = all.get_mut(id) else { continue };
            if watcher.from.is_none() && revision > watcher.seen {
                watcher.from = Some(revision);
                if !watcher.parked.nobody_in_line() && !watcher.listed_stirred {
                    watcher.listed_stirred = true;
                    stirred.push(Listener::Watch(*id));
                }
            }
        }
    }

    /// A watch, and the change that somebody was told last, which it may have to tell as well.
    pub(super) fn told_next(&mut self, id: WatchId) -> (Option<&mut Watcher>, &mut Made) {
        (self.all.get_mut(&id), &mut self.told)
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
