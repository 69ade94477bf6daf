//! Watching keys: a watch follows the history at its session's pace.
//!
//! ```text
//!                .-- a change that is meant is at its level --.
//!   waits for one                                              has one to tell
//!                '-- told, and none is left ------------------'   |
//!                                                                 '-- forgotten meanwhile: a gap
//! ```

use sluice_model::{
    Answer, Code, Keys, KvAnswer, Reply, Revision, SessionId, Timestamp, WatchEvent, WatchId,
};

use super::watches::{Told, Watcher};
use super::{Kv, Outcome};
use crate::deadlines::Due;
use crate::effects::{Effect, Ticket};
use crate::engine::{Asked, Engine, Ran, Refused, Turn};
use crate::journal::Need;
use crate::queue::{Parked, Waiting};
use crate::receive::Terms;
use crate::topic::Listener;

/// Changes that are forgotten in one turn, at most.
const TRIM_MAX: usize = 4_096;

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
        let told = self.tell_changes(turn, to, id, terms, None);
        let left = match told {
            Told::Some { left: 0, .. } => return Ran::Done,
            Told::Some { left, .. } => left,
            Told::NoRoom => return Ran::NoRoom,
            Told::Nothing | Told::Later => terms.max,
        };
        if until.is_none() {
            self.answer_empty(turn, to, from);
            return Ran::Done;
        }
        self.wait(turn, to, from, Terms { max: left, ..terms }, Reply::WEIGHT_MIN, until);
        match told {
            Told::Later => self.deadlines.insert(turn.now, Due::Watch(id)),
            // There may be more than could be told at once.
            _ => self.serve_watch(turn, id),
        }
        Ran::Done
    }

    /// Answers the receives that wait for changes.
    pub(crate) fn serve_watch(&mut self, turn: &mut Turn<'_>, id: WatchId) {
        let from = Listener::Watch(id);
        while let Some(watcher) = self.kv.watches.get(id)
            && let Some((ticket, parked)) = watcher.parked.first()
        {
            let Parked { session, tag, place, terms, .. } = parked;
            match self.tell_changes(turn, Asked { session, tag, place }, id, terms, Some(ticket)) {
                Told::Some { left: 0, .. } => drop(self.unpark(from, ticket)),
                Told::Some { more, .. } if more => {}
                Told::Some { .. } => return,
                Told::NoRoom => self.lacks_room(turn, from, ticket, &parked),
                Told::Nothing => return,
                Told::Later => return self.deadlines.insert(turn.now, Due::Watch(id)),
            }
        }
    }

    /// Answers a receive with what its watch has to tell, as far as there is room; the one with this ticket
    /// waits for what is left.
    fn tell_changes(
        &mut self,
        turn: &mut Turn<'_>,
        to: Asked,
        id: WatchId,
        terms: Terms,
        ticket: Option<Ticket>,
    ) -> Told {
        let Self { kv: Kv { store, watches, .. }, sessions, config, stats, wanted, .. } = self;
        let (Some(watcher), made) = watches.told_next(id) else { return Told::Nothing };
        let Some(state) = sessions.get_mut(&to.session) else { return Told::Nothing };
        let max = (terms.max as usize).min(config.batch_max);
        let out = state.out.saturating_sub(state.reserved);
        let fits = |weight, least| out + weight <= config.session_out_max || least && out == 0;
        let (events, weight) = match watcher.take(made, store, max, fits) {
            Ok(taken) => taken,
            Err(none) => return none,
        };
        let gaps = events.iter().filter(|event| matches!(event, WatchEvent::Gap { .. })).count();
        stats.watch_gaps += gaps as u64;
        stats.watch_events += events.len() as u64;
        let left = if terms.stays { terms.max.saturating_sub(events.len() as u32) } else { 0 };
        if left > 0
            && let Some(parked) = ticket.and_then(|ticket| watcher.parked.get_mut(ticket))
        {
            parked.terms.max = left;
        }
        state.out += weight;
        wanted.cover(state.need);
        let Asked { session, tag, place } = to;
        let (need, answer) = (state.need, Answer::Changes { watch: id, events, more: left > 0 });
        turn.effects.push(Effect::Reply { session, tag, place, answer, need });
        Told::Some { left, more: watcher.has_more() }
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
        while self.kv.store.visible() < self.kv.store.last() {
            let revision = self.kv.store.visible() + 1;
            let Some(change) = self.kv.store.at(revision) else { break };
            if !self.key_need(change.sequence).is_met(self.progress) {
                break;
            }
            if !self.kv.watches.is_empty() {
                let key = change.key.clone();
                self.kv.watches.note(&key, revision, &mut self.stirred);
            }
            self.kv.store.show_next();
        }
    }

    /// Forgets changes past the bounds of the history.
    pub(crate) fn trim_history(&mut self) {
        let (changes, bytes) = (self.config.watch_history, self.config.watch_history_bytes);
        self.kv.store.trim(changes, bytes, TRIM_MAX);
    }
}
