//! Watching keys: a watch follows the history at its session's pace.
//!
//! ```text
//!                .-- a change that is meant is at its level --.
//!   waits for one                                              has one to tell
//!                '-- told, and none is left ------------------'   |
//!                                                                 '-- forgotten meanwhile: a gap
//! ```

use sluice_model::{
    Answer, Code, Keys, KvAnswer, Revision, SessionId, Timestamp, WatchEvent, WatchId,
};

use super::Outcome;
use super::watches::Watcher;
use crate::deadlines::Due;
use crate::engine::{Asked, Engine, Ran, Refused, Turn};
use crate::journal::Need;
use crate::queue::{Parked, Waiting};
use crate::receive::Terms;
use crate::topic::Listener;

/// Changes that one look for the next event passes, at most.
const WALK_MAX: u64 = 4_096;
/// Changes that are forgotten in one turn, at most.
const TRIM_MAX: usize = 4_096;

/// What a watch has to tell next.
enum Next {
    /// This, which brings it to that number.
    Event(WatchEvent, u64),
    /// Nothing that is known.
    Nothing,
    /// It has to look further another time.
    Later,
}

impl Engine {
    /// Begins a watch.
    pub(super) fn begin_watch(
        &mut self,
        session: SessionId,
        keys: &Keys,
        from: Option<Revision>,
    ) -> Outcome {
        let store = &self.kv.store;
        let (last, visible) = (store.last(), store.visible());
        let need = store.at(last).map_or(Need::NONE, |change| self.key_need(change.sequence));
        let seen = match from {
            None => last,
            Some(Revision(from)) if from > last + 1 => {
                let text = format!("the last change has revision {last}");
                return Outcome::Refused((Code::Invalid, text.into()), need);
            }
            Some(Revision(from)) if from.max(1) < store.from() => {
                let text = format!("changes before revision {} are forgotten", store.from());
                return Outcome::Refused((Code::Gone, text.into()), Need::NONE);
            }
            Some(Revision(from)) => from.max(1) - 1,
        };
        let owner = match self.room_for_watch(session) {
            Ok(owner) => owner,
            Err(refused) => return Outcome::Refused(refused, Need::NONE),
        };
        let watch = self.kv.watches.add(Watcher {
            owner,
            keys: keys.clone(),
            seen,
            from: (seen < visible).then_some(seen + 1),
            parked: Waiting::default(),
            listed_stirred: false,
        });
        if let Some(state) = self.sessions.get_mut(&session) {
            state.watches.insert(watch);
        }
        Outcome::Answer(KvAnswer::Watching { watch, revision: Revision(last) }, need)
    }

    /// Who may have one more watch, if there is room for it.
    fn room_for_watch(&self, session: SessionId) -> Result<crate::topic::Owner, Refused> {
        let Some(owner) = self.sessions.get(&session).map(|state| state.owner.clone()) else {
            return Err((Code::NotFound, "the session has ended".into()));
        };
        if self.kv.watches.len() >= self.config.watches_max {
            let text = "the broker has as many watches as watches_max allows";
            return Err((Code::Overloaded, text.into()));
        }
        if self.kv.watches.of(&owner) >= self.config.watches_per_principal() {
            let text = "the key has as many watches as watches_per_principal allows";
            return Err((Code::Overloaded, text.into()));
        }
        Ok(owner)
    }

    /// Ends a watch of a session, and its receives that wait.
    pub(super) fn end_watch(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        watch: WatchId,
    ) -> Outcome {
        let known =
            self.sessions.get_mut(&session).is_some_and(|state| state.watches.remove(&watch));
        if !known {
            let text = "the session has no such watch";
            return Outcome::refused(Code::NotFound, text, Need::NONE);
        }
        let waiting: Vec<_> = self
            .kv
            .watches
            .get(watch)
            .iter()
            .flat_map(|watcher| watcher.parked.tickets())
            .collect();
        for ticket in waiting {
            self.end_wait(turn, Listener::Watch(watch), ticket);
        }
        self.kv.watches.remove(watch);
        Outcome::Answer(KvAnswer::Unwatched, Need::NONE)
    }

    /// Tells what a watch has to tell, or waits for it.
    pub(crate) fn receive_changes(
        &mut self,
        turn: &mut Turn<'_>,
        to: Asked,
        id: WatchId,
        terms: Terms,
        until: Option<Timestamp>,
    ) -> Ran {
        let from = Listener::Watch(id);
        match self.next_change(id) {
            Next::Event(event, _) if !self.has_room(to.session, event.weight()) => {
                return Ran::NoRoom;
            }
            Next::Event(..) => self.tell_changes(turn, to, id, terms.max),
            next if until.is_some() => {
                self.wait(turn, to, from, terms, sluice_model::Reply::WEIGHT_MIN, until);
                self.look_later(turn.now, id, &next);
            }
            Next::Nothing | Next::Later => self.answer_empty(turn, to, from),
        }
        Ran::Done
    }

    /// Answers the receives that wait for changes.
    pub(crate) fn serve_watch(&mut self, turn: &mut Turn<'_>, id: WatchId) {
        let from = Listener::Watch(id);
        while let Some(watcher) = self.kv.watches.get(id)
            && let Some((ticket, parked)) = watcher.parked.first()
        {
            let event = match self.next_change(id) {
                Next::Event(event, _) => event,
                next => return self.look_later(turn.now, id, &next),
            };
            if !self.has_room_for(&parked, event.weight()) {
                self.starve(from, ticket, parked.session);
                continue;
            }
            self.unpark(from, ticket);
            let Parked { session, tag, place, max, .. } = parked;
            self.tell_changes(turn, Asked { session, tag, place }, id, max);
        }
    }

    fn look_later(&mut self, now: Timestamp, id: WatchId, next: &Next) {
        if matches!(next, Next::Later) {
            self.deadlines.insert(now, Due::Watch(id));
        }
    }

    /// What a watch has to tell next. What it passes on the way it never looks at again.
    fn next_change(&mut self, id: WatchId) -> Next {
        let store = &self.kv.store;
        let Some(watcher) = self.kv.watches.get_mut(id) else { return Next::Nothing };
        let Some(from) = watcher.from else { return Next::Nothing };
        if from < store.from() {
            let resumed_at = Revision(store.from());
            return Next::Event(WatchEvent::Gap { resumed_at }, store.from() - 1);
        }
        let end = store.visible().min(from.saturating_add(WALK_MAX));
        for revision in from..=end {
            let change = store.at(revision);
            if let Some(change) = change.filter(|change| watcher.keys.hold(change.key.as_str())) {
                watcher.from = Some(revision);
                return Next::Event(change.event(), revision);
            }
        }
        watcher.seen = end;
        watcher.from = (end < store.visible()).then_some(end + 1);
        if watcher.from.is_some() { Next::Later } else { Next::Nothing }
    }

    /// Answers a receive with changes, of which there is room for one at least.
    fn tell_changes(&mut self, turn: &mut Turn<'_>, to: Asked, id: WatchId, max: u32) {
        let max = (max as usize).min(self.config.batch_max);
        let room = self.taken(to.session);
        let (mut events, mut weight) = (Vec::new(), 0);
        while events.len() < max
            && let Next::Event(event, reached) = self.next_change(id)
        {
            weight += event.weight();
            if weight > room && !events.is_empty() {
                break;
            }
            self.stats.watch_gaps += u64::from(matches!(event, WatchEvent::Gap { .. }));
            events.push(event);
            let visible = self.kv.store.visible();
            if let Some(watcher) = self.kv.watches.get_mut(id) {
                watcher.seen = reached;
                watcher.from = (reached < visible).then_some(reached + 1);
            }
        }
        self.stats.watch_events += events.len() as u64;
        let need = self.sessions.get(&to.session).map_or(Need::NONE, |state| state.need);
        self.reply_to(turn.effects, to, Answer::Changes { watch: id, events, more: false }, need);
    }

    /// Lets those who watch know of the changes that are at their level by now.
    pub(crate) fn show_changes(&mut self) {
        let last = self.kv.store.last();
        let newest = self.kv.store.at(last);
        let is_met = |sequence| self.key_need(sequence).is_met(self.progress);
        // Records are in order: with the last one at its level, all are.
        if self.kv.watches.is_empty() && newest.is_some_and(|newest| is_met(newest.sequence)) {
            return self.kv.store.show_all();
        }
        let mut woken = Vec::new();
        while self.kv.store.visible() < self.kv.store.last() {
            let revision = self.kv.store.visible() + 1;
            let Some(change) = self.kv.store.at(revision) else { break };
            if !self.key_need(change.sequence).is_met(self.progress) {
                break;
            }
            if !self.kv.watches.is_empty() {
                let key = change.key.clone();
                self.kv.watches.note(&key, revision, &mut woken);
            }
            self.kv.store.show_next();
        }
        for id in woken {
            self.stir(Listener::Watch(id));
        }
    }

    /// Forgets changes past the bounds of the history.
    pub(crate) fn trim_history(&mut self) {
        let (changes, bytes) = (self.config.watch_history, self.config.watch_history_bytes);
        self.kv.store.trim(changes, bytes, TRIM_MAX);
    }
}
