//! Dedupe ids: what was published under which id lately, so that a publish that is tried again is
//! stored once.
//!
//! Ids are compared within a scope, a topic or a queue. A scope remembers hashes of id and body in
//! the order of the publishes, in chunks that images share; an id is forgotten when its window has
//! passed and all older ones are forgotten.

mod imaging;

use std::collections::{BTreeMap, VecDeque};
use std::hash::Hasher as _;
use std::sync::Arc;

use siphasher::sip128::{Hasher128 as _, SipHasher24};
use sluice_model::{Code, Level, MessageId, Timestamp};

use self::imaging::Listed;
use crate::deadlines::Due;
use crate::engine::{Engine, Refused};
use crate::journal::Sequence;
use crate::random::SeededMap;
use crate::record::{DedupeMark, DedupeScope};
use crate::topic::{Holdings, Owner};

/// Entries in a chunk.
pub(crate) const CHUNK: u64 = 1024;

/// A publish that is remembered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Entry {
    /// Keyed hash of its dedupe id, and of its payload.
    pub(crate) id: u128,
    pub(crate) body: u64,
    /// When it is forgotten.
    pub(crate) until: Timestamp,
    /// What the publisher was told; of a write to a key the revision is the counter.
    pub(crate) message: MessageId,
    pub(crate) matched: u32,
    pub(crate) level: Level,
    /// The record, and the strongest level of the queues that took it, which it must be at before
    /// a duplicate is told. What a start finds is on the disk: no image needs to hold the latter.
    pub(crate) sequence: Sequence,
    pub(crate) waits_for: Level,
    /// What an addition to a key came to; 0 for anything else.
    pub(crate) sum: i64,
}

/// What is known of an id.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Known {
    /// Nothing.
    New,
    /// It was published.
    Same(Entry),
    /// It was published with another body.
    Other(Entry),
    /// Nothing, and there is no room for it.
    Full(NoRoom),
}

/// Which bound of the ids is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// The topic or queue has as many as it may have.
    Ids,
    /// As many topics have some as may have.
    Topics,
    /// As many topics have some by this key as may have.
    OwnTopics,
}

impl NoRoom {
    /// What the publisher is told.
    pub(crate) fn refusal(self) -> Refused {
        let text = match self {
            Self::OwnTopics => {
                "the key has dedupe ids of as many topics as dedupe_topics_per_principal allows"
            }
            Self::Ids => "as many dedupe ids are remembered as dedupe_max allows",
            Self::Topics => {
                "dedupe ids of as many topics are remembered as dedupe_topics_max allows"
            }
        };
        (Code::QueueFull, text.into())
    }
}

/// New ids of a batch, which find room together or not at all.
#[derive(Debug, Default)]
pub(crate) struct NewIds {
    by_scope: BTreeMap<DedupeScope, u64>,
    topics: usize,
}

/// One scope's entries.
#[derive(Debug)]
pub(crate) struct Scope {
    number: u32,
    pub(crate) name: DedupeScope,
    /// Whose key made it, of a topic; none since a restart, which outlasts most windows.
    owner: Option<Owner>,
    /// Chunks of entries; the first may be partly forgotten, the last is partly filled.
    chunks: VecDeque<Arc<Vec<Entry>>>,
    /// Number of the first chunk.
    first_chunk: u64,
    /// Index of the first entry that is not forgotten.
    first: u64,
    index: SeededMap<u128, u64>,
    /// The first chunk that changed since the last image.
    dirty_from: u64,
    /// Chunks that went since the last image, and are in it.
    removed: Vec<u64>,
    /// The image that its changes go into, if there are any.
    listed_for: u64,
    is_armed: bool,
}

impl Scope {
    fn end(&self) -> u64 {
        match self.chunks.back() {
            Some(last) => {
                (self.first_chunk + self.chunks.len() as u64 - 1) * CHUNK + last.len() as u64
            }
            None => self.first,
        }
    }

    fn get(&self, index: u64) -> Option<&Entry> {
        let chunk = (index / CHUNK).checked_sub(self.first_chunk)?;
        self.chunks.get(usize::try_from(chunk).ok()?)?.get((index % CHUNK) as usize)
    }

    fn len(&self) -> u64 {
        self.end() - self.first
    }

    fn push(&mut self, entry: Entry, listed: &mut Listed) {
        listed.note(self);
        let index = self.end();
        if index.is_multiple_of(CHUNK) || self.chunks.is_empty() {
            self.chunks.push_back(Arc::default());
        }
        if let Some(last) = self.chunks.back_mut() {
            Arc::make_mut(last).push(entry);
        }
        self.index.insert(entry.id, index);
        self.dirty_from = self.dirty_from.min(index / CHUNK);
    }

    /// Forgets the first entry if its time has passed.
    fn forget_first(&mut self, now: Timestamp, listed: &mut Listed) -> bool {
        let Some(entry) = self.get(self.first).filter(|entry| entry.until <= now).copied() else {
            return false;
        };
        if self.index.get(&entry.id) == Some(&self.first) {
            self.index.remove(&entry.id);
        }
        self.first += 1;
        if self.first.is_multiple_of(CHUNK) || self.first == self.end() {
            listed.note(self);
            let number = self.first_chunk;
            self.chunks.pop_front();
            self.removed.push(number);
            self.first_chunk += 1;
            self.first = self.first_chunk * CHUNK;
        }
        true
    }
}

/// A chunk of a scope as an image takes it.
#[derive(Clone, Debug)]
pub(crate) struct DedupeChunk {
    pub(crate) scope: DedupeScope,
    pub(crate) entries: Arc<Vec<Entry>>,
}

/// All that is remembered.
#[derive(Debug)]
pub(crate) struct Dedupes {
    scopes: BTreeMap<u32, Scope>,
    numbers: BTreeMap<DedupeScope, u32>,
    last_number: u32,
    /// Never filled: its hasher is what the indexes of scopes go by.
    template: SeededMap<u128, u64>,
    /// What images have to hold.
    listed: Listed,
    /// Scopes that are topics, all together and of each key, and the most that there may be.
    topics: usize,
    topics_max: usize,
    held: Holdings,
    own_max: usize,
    /// Who published last under an id that was not known.
    publisher: Option<Owner>,
    /// Publishes that were refused because there was no room for their id.
    pub(crate) refused: u64,
}

impl Dedupes {
    /// Nothing. At most `topics_max` topics may have ids, and `own_max` by one key.
    pub(crate) fn new(template: SeededMap<u128, u64>, topics_max: usize, own_max: usize) -> Self {
        Self {
            topics: 0,
            topics_max,
            held: Holdings::default(),
            own_max,
            publisher: None,
            refused: 0,
            scopes: BTreeMap::new(),
            numbers: BTreeMap::new(),
            last_number: 0,
            template,
            listed: Listed::default(),
        }
    }

    /// What is known of an id under which `owner` wants to publish.
    pub(crate) fn look(
        &mut self,
        now: Timestamp,
        owner: Option<Owner>,
        mark: &DedupeMark,
        max: u64,
    ) -> Known {
        self.publisher = owner;
        let number = self.numbers.get(&mark.scope);
        let Some(scope) = number.and_then(|number| self.scopes.get_mut(number)) else {
            return match self.check_topic(&mark.scope, 0) {
                Ok(()) => Known::New,
                Err(no_room) => self.full(no_room),
            };
        };
        let found = scope.index.get(&mark.id).and_then(|index| scope.get(*index));
        match found.filter(|entry| entry.until > now) {
            Some(entry) if entry.body == mark.body => Known::Same(*entry),
            Some(entry) => Known::Other(*entry),
            None => {
                while scope.len() >= max && scope.forget_first(now, &mut self.listed) {}
                if scope.len() >= max { self.full(NoRoom::Ids) } else { Known::New }
            }
        }
    }

    fn full(&mut self, no_room: NoRoom) -> Known {
        self.refused += 1;
        Known::Full(no_room)
    }

    /// Whether a scope that is not there yet finds room beside `more` topics of its publisher.
    fn check_topic(&self, scope: &DedupeScope, more: usize) -> Result<(), NoRoom> {
        let own = self.publisher.as_ref().filter(|owner| owner.is_key());
        match scope {
            DedupeScope::Queue(_) | DedupeScope::Keys => Ok(()),
            _ if self.topics + more >= self.topics_max => Err(NoRoom::Topics),
            _ if own.is_some_and(|own| self.held.of(own) + more >= self.own_max) => {
                Err(NoRoom::OwnTopics)
            }
            DedupeScope::Topic(_) => Ok(()),
        }
    }

    /// Adds an id that [`Dedupes::look`] does not know to those of a batch, if it finds room beside
    /// them.
    pub(crate) fn add(
        &mut self,
        new: &mut NewIds,
        scope: &DedupeScope,
        max: u64,
    ) -> Result<(), Refused> {
        let known = self.numbers.get(scope).and_then(|number| self.scopes.get(number));
        let here = known.map_or(0, Scope::len);
        let is_new = known.is_none() && !new.by_scope.contains_key(scope);
        let ids = new.by_scope.entry(scope.clone()).or_default();
        let room = match is_new {
            _ if *ids > 0 && here + *ids >= max => Err(NoRoom::Ids),
            true => self.check_topic(scope, new.topics),
            false => Ok(()),
        };
        *ids += 1;
        new.topics += usize::from(is_new && matches!(scope, DedupeScope::Topic(_)));
        self.refused += u64::from(room.is_err());
        room.map_err(NoRoom::refusal)
    }

    /// Remembers a publish. Gives the scope's number and when its first entry is forgotten, if
    /// nobody sees to that yet.
    pub(crate) fn insert(&mut self, scope: &DedupeScope, entry: Entry) -> Option<(u32, Timestamp)> {
        let number = match self.numbers.get(scope) {
            Some(number) => *number,
            None => {
                self.last_number += 1;
                self.add_scope(self.last_number, scope.clone(), 0);
                self.last_number
            }
        };
        let scope = self.scopes.get_mut(&number)?;
        scope.push(entry, &mut self.listed);
        let arm = !std::mem::replace(&mut scope.is_armed, true);
        arm.then(|| scope.get(scope.first).map(|first| (number, first.until))).flatten()
    }

    fn add_scope(&mut self, number: u32, name: DedupeScope, first_chunk: u64) {
        self.last_number = self.last_number.max(number);
        let is_topic = matches!(name, DedupeScope::Topic(_));
        self.topics += usize::from(is_topic);
        let owner = self.publisher.clone().filter(|_| is_topic);
        owner.iter().for_each(|owner| self.held.add(owner));
        self.numbers.insert(name.clone(), number);
        let scope = Scope {
            number,
            name,
            owner,
            chunks: VecDeque::new(),
            first_chunk,
            first: first_chunk * CHUNK,
            index: self.template.clone(),
            dirty_from: u64::MAX,
            removed: Vec::new(),
            listed_for: 0,
            is_armed: false,
        };
        self.scopes.insert(number, scope);
    }

    /// Forgets what is due, and says when the next one is.
    fn forget(&mut self, now: Timestamp, number: u32, budget: &mut usize) -> Option<Timestamp> {
        let scope = self.scopes.get_mut(&number)?;
        while *budget > 0 && scope.forget_first(now, &mut self.listed) {
            *budget -= 1;
        }
        if let Some(first) = scope.get(scope.first) {
            return Some(first.until);
        }
        self.end_scope(number);
        None
    }

    fn end_scope(&mut self, number: u32) {
        let Some(mut scope) = self.scopes.remove(&number) else { return };
        self.listed.note(&mut scope);
        self.numbers.remove(&scope.name);
        self.topics -= usize::from(matches!(scope.name, DedupeScope::Topic(_)));
        scope.owner.iter().for_each(|owner| self.held.remove(owner));
        self.listed.remove(scope);
    }

    /// Forgets a queue that is gone.
    pub(crate) fn end_queue(&mut self, scope: &DedupeScope) {
        if let Some(number) = self.numbers.get(scope).copied() {
            self.end_scope(number);
        }
    }

    /// Puts back a chunk that an image held. Chunks of a scope come in order.
    pub(crate) fn restore(&mut self, number: u32, chunk: u64, name: DedupeScope, all: Vec<Entry>) {
        if !self.scopes.contains_key(&number) {
            self.add_scope(number, name, chunk);
        }
        let Some(scope) = self.scopes.get_mut(&number) else { return };
        for (index, entry) in (chunk * CHUNK..).zip(&all) {
            scope.index.insert(entry.id, index);
        }
        scope.chunks.push_back(Arc::new(all));
    }

    /// Scopes whose first entry nobody sees to yet, and when it is due.
    pub(crate) fn arm_all(&mut self) -> Vec<(u32, Timestamp)> {
        let mut due = Vec::new();
        for (number, scope) in &mut self.scopes {
            scope.is_armed = true;
            let until = scope.get(scope.first).map_or(Timestamp::EPOCH, |entry| entry.until);
            due.push((*number, until));
        }
        due
    }

    /// Ids that are remembered.
    pub(crate) fn len(&self) -> u64 {
        self.scopes.values().map(Scope::len).sum()
    }
}

impl Engine {
    /// The keyed hashes of a dedupe id and of what is published under it.
    pub(crate) fn dedupe_hashes(&self, id: &str, payload: &[u8]) -> (u128, u64) {
        let key = self.lease_key.to_bytes();
        let mut hasher = SipHasher24::new_with_key(&key);
        hasher.write(id.as_bytes());
        let id = hasher.finish128().as_u128();
        let mut hasher = SipHasher24::new_with_key(&key);
        hasher.write(payload);
        (id, hasher.finish())
    }

    /// Lets go of the ids of a scope whose time has passed.
    pub(crate) fn forget_ids(&mut self, now: Timestamp, scope: u32, budget: &mut usize) {
        if let Some(next) = self.dedupes.forget(now, scope, budget) {
            self.deadlines.insert(next, Due::Dedupe(scope));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Key, decode_dedupe, dedupe_key};
    use crate::random::Random;
    use sluice_model::QueueNo;

    /// An image in slices: chunks as they are encoded, and those that are to go.
    fn image(all: &mut Dedupes) -> (Vec<(Key, Vec<u8>)>, Vec<Key>) {
        let (mut pieces, mut kept, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        all.begin_image();
        while all.image_slice(1, &mut pieces) {}
        all.check();
        for piece in pieces {
            let mut bytes = Vec::new();
            match piece.encode(&mut bytes) {
                true => kept.push((piece.key(), bytes)),
                false => gone.push(piece.key()),
            }
        }
        (kept, gone)
    }

    fn entry(id: u128, until: u64) -> Entry {
        Entry {
            id,
            body: 7,
            until: Timestamp::from_millis(until),
            message: MessageId::default(),
            matched: 1,
            level: Level::Sync,
            sequence: 1,
            waits_for: Level::Sync,
            sum: 0,
        }
    }

    fn mark(id: u128, body: u64) -> DedupeMark {
        let scope = DedupeScope::Queue(QueueNo(1));
        DedupeMark { scope, id, body, until: Timestamp::EPOCH }
    }

    #[test]
    fn ids_are_known_for_their_window_and_room_comes_back() {
        let mut all = Dedupes::new(Random::new(1).map(), 10, 10);
        let scope = DedupeScope::Queue(QueueNo(1));
        let at = Timestamp::from_millis;
        for id in 0..3_000 {
            all.insert(&scope, entry(id, 1_000 + id as u64));
        }
        assert_eq!(all.len(), 3_000);
        assert_eq!(all.look(at(999), None, &mark(0, 7), 3_000), Known::Same(entry(0, 1_000)));
        assert_eq!(all.look(at(999), None, &mark(0, 8), 3_000), Known::Other(entry(0, 1_000)));
        assert_eq!(all.look(at(999), None, &mark(9_999, 7), 3_000), Known::Full(NoRoom::Ids));
        assert_eq!(all.look(at(1_000), None, &mark(9_999, 7), 3_000), Known::New);
        assert_eq!(all.look(at(1_000), None, &mark(0, 8), 3_000), Known::New);
        assert_eq!(all.forget(at(2_500), 1, &mut 10_000), Some(at(2_501)));
        assert_eq!(all.len(), 1_499);
        assert_eq!(
            all.look(at(2_500), None, &mark(2_999, 7), 3_000),
            Known::Same(entry(2_999, 3_999))
        );
        let (kept, gone) = image(&mut all);
        assert_eq!(gone, [dedupe_key(1, 0)]);
        let keys: Vec<_> = kept.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, [dedupe_key(1, 1), dedupe_key(1, 2)]);
        let mut again = Dedupes::new(Random::new(1).map(), 10, 10);
        for (chunk, (_, bytes)) in (1..).zip(kept) {
            let (scope, entries) = decode_dedupe(&bytes).unwrap();
            again.restore(1, chunk, scope, entries);
        }
        assert_eq!(
            again.look(at(2_500), None, &mark(2_999, 7), 3_000),
            Known::Same(entry(2_999, 3_999))
        );
        assert_eq!(all.forget(at(9_000), 1, &mut 10_000), None);
        assert_eq!((all.len(), all.scopes.len()), (0, 0));
        assert_eq!(image(&mut all), (vec![], vec![dedupe_key(1, 1), dedupe_key(1, 2)]));
        all.insert(&scope, entry(5, 9_001));
        assert_eq!(all.look(at(9_000), None, &mark(5, 7), 1), Known::Same(entry(5, 9_001)));
    }
}
