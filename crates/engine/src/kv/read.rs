//! Reading keys. What is shown waits for the record that made it so, and nobody is shown a key
//! whose time is over: an expiry that a reader meets is written down before the answer.

use std::ops::ControlFlow;

use sluice_model::{
    Code, Entry, KV_SCAN_MAX, Key, Keys, KvAnswer, Revision, SessionId, entry_weight,
};

use super::Outcome;
use super::change::Change;
use crate::engine::{Engine, Turn};
use crate::journal::Need;

/// Keys that one scan passes, at most, whatever it finds.
const WALK_MAX: usize = 4_096;

/// What one scan found.
#[derive(Default)]
struct Page {
    entries: Vec<Entry>,
    /// Those whose time is over.
    over: Vec<Key>,
    weight: usize,
    /// The last one that was looked at, if there are more behind it.
    next: Option<Key>,
    need: Need,
    /// The first one alone was too much.
    full: bool,
}

impl Engine {
    pub(super) fn kv_get(&mut self, turn: &mut Turn<'_>, session: SessionId, key: &Key) -> Outcome {
        let live = self.living(turn, key.as_str());
        let Some(change) = live.and_then(|live| self.kv.store.at(live.revision)) else {
            return self.no_such_key();
        };
        let len = change.value().map_or(0, |value| value.bytes.len());
        if !self.takes(session, entry_weight(key.as_str().len(), len)) {
            return Outcome::NoRoom;
        }
        Outcome::Answer(KvAnswer::Value(change.entry(true)), self.key_need(change.sequence))
    }

    pub(super) fn kv_exists(&mut self, turn: &mut Turn<'_>, key: &Key) -> Outcome {
        let live = self.living(turn, key.as_str());
        let Some(change) = live.and_then(|live| self.kv.store.at(live.revision)) else {
            return self.no_such_key();
        };
        let (revision, expires_at) = (Revision(change.revision), change.expires_at());
        Outcome::Answer(KvAnswer::There { revision, expires_at }, self.key_need(change.sequence))
    }

    /// Reads a page of keys: as many as were asked for, as fit and as one request may pass, but
    /// one at least.
    pub(super) fn kv_scan(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        (keys, after): (&Keys, Option<&Key>),
        limit: u16,
        values: bool,
    ) -> Outcome {
        if !(1..=KV_SCAN_MAX).contains(&limit) {
            let text = "a scan answers with 1 to 1000 keys";
            return Outcome::refused(Code::Invalid, text, Need::NONE);
        }
        let mut page = Page { need: self.absence_need(), ..Page::default() };
        let room = self.taken(session);
        let bounds = (usize::from(limit), room);
        for (at, change) in self.kv.store.range(keys, after).enumerate() {
            let need = self.key_need(change.sequence);
            let is_over = change.has_expired(turn.now);
            if at >= WALK_MAX || page.add(change, need, is_over, bounds, values).is_break() {
                break;
            }
            page.next = Some(change.key.clone());
        }
        let is_last = |next: &Key| self.kv.store.range(keys, Some(next)).next().is_none();
        if page.next.as_ref().is_some_and(is_last) {
            page.next = None;
        }
        // One alone is answered where nothing else is on its way.
        if page.full && !self.takes(session, page.weight) {
            return Outcome::NoRoom;
        }
        let Page { entries, over, next, mut need, .. } = page;
        for key in over {
            let (_, sequence) = self.end_key(turn, key.as_str(), true);
            need.cover(self.key_need(sequence));
        }
        Outcome::Answer(KvAnswer::Scanned { entries, next }, need)
    }
}

impl Page {
    /// Adds a key, unless there is no room for it.
    fn add(
        &mut self,
        change: &Change,
        need: Need,
        is_over: bool,
        (limit, room): (usize, usize),
        values: bool,
    ) -> ControlFlow<()> {
        if is_over {
            self.over.push(change.key.clone());
            return ControlFlow::Continue(());
        }
        if self.entries.len() >= limit {
            return ControlFlow::Break(());
        }
        let entry = change.entry(values);
        // The name of the next one is told beside.
        let weight = entry.weight() + 2 * entry.key.as_str().len();
        if self.weight + weight > room {
            if !self.entries.is_empty() {
                return ControlFlow::Break(());
            }
            self.full = true;
        }
        self.weight += weight;
        self.need.cover(need);
        self.entries.push(entry);
        ControlFlow::Continue(())
    }
}
