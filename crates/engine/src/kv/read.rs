//! Reading keys. What is shown waits for the record that made it so, and nobody is shown a key
//! whose time is over: an expiry that a reader meets is written down before the answer.

use std::ops::ControlFlow;

use sluice_model::{
    Code, Entry, KV_SCAN_MAX, Key, Keys, KvAnswer, Revision, SessionId, entry_weight,
};

use super::Outcome;
use super::index::Live;
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
    /// Reads a key, or says only that it is there. One whose time is over is ended first.
    pub(super) fn kv_look(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        key: &Key,
        with_value: bool,
    ) -> Outcome {
        let found = self.kv.store.find(key);
        if found.is_some_and(|live| live.has_expired(turn.now)) {
            self.end_key(turn, key, true);
            return self.no_such_key();
        }
        let Some(live) = found else { return self.no_such_key() };
        let need = self.key_need(live.sequence);
        if !with_value {
            let (revision, expires_at) = (Revision(live.revision), live.expires_at());
            return Outcome::Answer(KvAnswer::There { revision, expires_at }, need);
        }
        if !self.takes(session, entry_weight(key.as_bytes().len(), live.value.bytes.len())) {
            return Outcome::NoRoom;
        }
        Outcome::Answer(KvAnswer::Value(live.entry(key, true)), need)
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
        for (at, (key, live)) in self.kv.store.range(keys, after).enumerate() {
            let need = self.key_need(live.sequence);
            let is_over = live.has_expired(turn.now);
            if at >= WALK_MAX || page.add((key, live), need, is_over, bounds, values).is_break() {
                break;
            }
            page.next = Some(key.clone());
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
            let (_, sequence) = self.end_key(turn, &key, true);
            need.cover(self.key_need(sequence));
        }
        Outcome::Answer(KvAnswer::Scanned { entries, next }, need)
    }
}

impl Page {
    /// Adds a key, unless there is no room for it.
    fn add(
        &mut self,
        (key, live): (&Key, &Live),
        need: Need,
        is_over: bool,
        (limit, room): (usize, usize),
        values: bool,
    ) -> ControlFlow<()> {
        if is_over {
            self.over.push(key.clone());
            return ControlFlow::Continue(());
        }
        if self.entries.len() >= limit {
            return ControlFlow::Break(());
        }
        let entry = live.entry(key, values);
        // The name of the next one is told beside.
        let weight = entry.weight() + 2 * entry.key.as_bytes().len();
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
