//! Requests about limits: set, list and delete them, pause and resume by hand, weigh groups.

use std::borrow::Cow;
use std::time::Duration;

use sluice_flow::{Ask, KeyView, Owner};
use sluice_model::{
    Answer, Code, KEY_BYTES_MAX, KeyFigures, Level, Limit, LimitAnswer, LimitMatch, LimitRequest,
    NOTE_BYTES_MAX, Pausable, Paused, QueueName, QueueNo, SessionId, Timestamp, WEIGHT_MAX,
};

use super::{kept, micros, terms_of, told};
use crate::engine::{Engine, Refused, Turn, need_of};
use crate::journal::Need;
use crate::record::Record;

/// Most weights of a queue's groups.
const WEIGHTS_MAX: usize = 10_000;
/// Keys that a look for the busiest ones passes at most.
const LOOK_MAX: usize = 100_000;
/// Longest name of who paused something.
const BY_BYTES_MAX: usize = 256;

type Outcome = Result<(LimitAnswer, Need), Refused>;

impl Engine {
    /// Runs a request about limits.
    pub(crate) fn limit_request(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        tag: u64,
        request: &LimitRequest,
    ) {
        let outcome = match request {
            LimitRequest::Put(limit) => self.put_limit(turn, limit),
            LimitRequest::List { name, after, limit } => {
                Ok(self.list_limits(name.as_deref(), after.as_ref(), *limit))
            }
            LimitRequest::Delete { name, matches } => {
                Ok(self.delete_limits(turn, name, matches.as_ref()))
            }
            LimitRequest::Pause { what, period, reason } => {
                self.pause(turn, session, what, *period, reason.as_deref())
            }
            LimitRequest::Resume { what } => self.resume(turn, what),
            LimitRequest::TopKeys { name, limit } => Ok(self.top_keys(name, *limit)),
            LimitRequest::Weigh { queue, group, weight } => self.weigh(turn, queue, group, *weight),
            LimitRequest::Explain { queue, what } => self.explain(turn.now, queue, what),
        };
        match outcome {
            Ok((answer, need)) => {
                self.reply(turn.effects, session, tag, Answer::Limit(Box::new(answer)), need);
            }
            Err(refused) => {
                let need = self.limits_need();
                self.refuse_after(turn.effects, session, tag, refused, need);
            }
        }
    }

    /// What an answer depends on that tells what limits there are.
    pub(crate) fn limits_need(&self) -> Need {
        need_of(Level::Sync, self.limits.last_sequence)
    }

    fn put_limit(&mut self, turn: &mut Turn<'_>, limit: &Limit) -> Outcome {
        let invalid = |text: String| (Code::Invalid, text.into());
        self.limits.set.check(limit).map_err(|error| invalid(error.to_string()))?;
        let replaced = self.limits.set.get(limit.name(), limit.matches());
        let replaced = replaced.map(|(limit, _)| Box::new(limit.clone()));
        if replaced.is_none() && self.limits.set.len() >= self.config.limits_max {
            let text = "the broker has as many limits as limits_max allows";
            return Err((Code::Overloaded, text.into()));
        }
        if terms_of(limit.terms()).is_none() {
            return Err(invalid("the limit can't be kept exactly".to_owned()));
        }
        if replaced.as_deref() == Some(limit) {
            return Ok((LimitAnswer::Put { replaced }, self.limits_need()));
        }
        let record = Record::LimitPut { at: turn.now, limit: Cow::Borrowed(limit) };
        self.commit(turn.journal, &record);
        self.resolve_slice(&mut { self.config.deadlines_per_turn });
        Ok((LimitAnswer::Put { replaced }, self.limits_need()))
    }

    fn list_limits(
        &self,
        name: Option<&str>,
        after: Option<&(Box<str>, LimitMatch)>,
        limit: u16,
    ) -> (LimitAnswer, Need) {
        let count = usize::from(limit).clamp(1, self.config.batch_max);
        let is_meant = |limit: &&Limit| {
            let place = (limit.name(), limit.matches());
            name.is_none_or(|name| name == limit.name())
                && after.is_none_or(|(name, matches)| place > (&**name, matches))
        };
        let all = self.limits.set.iter().map(|(limit, _)| limit);
        let mut found = all.filter(is_meant);
        let limits = found.by_ref().take(count).cloned().collect();
        let more = found.next().is_some();
        (LimitAnswer::List { limits, more }, self.limits_need())
    }

    fn delete_limits(
        &mut self,
        turn: &mut Turn<'_>,
        name: &str,
        matches: Option<&LimitMatch>,
    ) -> (LimitAnswer, Need) {
        let before = self.limits.set.len();
        let is_meant = |limit: &Limit| {
            limit.name() == name && matches.is_none_or(|matches| limit.matches() == matches)
        };
        if self.limits.set.iter().any(|(limit, _)| is_meant(limit)) {
            let matches = matches.map(Cow::Borrowed);
            let record = Record::LimitDeleted { at: turn.now, name: name.into(), matches };
            self.commit(turn.journal, &record);
            self.resolve_slice(&mut { self.config.deadlines_per_turn });
        }
        // There are `limits_max` at most.
        let deleted = (before - self.limits.set.len()) as u32;
        (LimitAnswer::Deleted(deleted), self.limits_need())
    }

    fn pause(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        what: &Pausable,
        period: Option<Duration>,
        reason: Option<&str>,
    ) -> Outcome {
        let (queue, key) = self.pausable(what)?;
        if reason.is_some_and(|reason| reason.len() > NOTE_BYTES_MAX) {
            let text = format!("the reason is longer than {NOTE_BYTES_MAX} bytes");
            return Err((Code::Invalid, text.into()));
        }
        if period.is_some_and(|period| period.is_zero()) {
            return Err((Code::Invalid, "the pause has no length".into()));
        }
        let by = self.sessions.get(&session).map(|state| state.owner.as_str());
        let by = by.map(|by| by.get(..by.floor_char_boundary(BY_BYTES_MAX)).unwrap_or_default());
        let pause = Paused {
            until: period.map(|period| turn.now.after(period)),
            by: by.filter(|by| !by.is_empty()).map(Box::from),
            reason: reason.map(Box::from),
        };
        let record = Record::Paused {
            queue,
            key: key.map(Cow::Borrowed),
            at: turn.now,
            pause: Some(Cow::Borrowed(&pause)),
        };
        self.commit(turn.journal, &record);
        Ok((LimitAnswer::Paused(pause), self.limits_need()))
    }

    fn resume(&mut self, turn: &mut Turn<'_>, what: &Pausable) -> Outcome {
        let (queue, key) = self.pausable(what)?;
        let was_paused = match key {
            None => self.queues.get(&queue).is_some_and(|queue| queue.is_paused(turn.now)),
            Some(key) => self.key_pause(turn.now, queue, key).is_some(),
        };
        if was_paused {
            let (key, at) = (key.map(Cow::Borrowed), turn.now);
            self.commit(turn.journal, &Record::Paused { queue, key, at, pause: None });
        }
        Ok((LimitAnswer::Resumed(was_paused), self.limits_need()))
    }

    fn pausable<'a>(&self, what: &'a Pausable) -> Result<(QueueNo, Option<&'a str>), Refused> {
        match what {
            Pausable::Queue(name) => Ok((self.named(name)?, None)),
            Pausable::Key { queue, key } => {
                check_text("the key", key)?;
                Ok((self.named(queue)?, Some(key)))
            }
        }
    }

    fn weigh(
        &mut self,
        turn: &mut Turn<'_>,
        queue: &QueueName,
        group: &str,
        weight: u16,
    ) -> Outcome {
        let no = self.named(queue)?;
        check_text("the group", group)?;
        if !(1..=WEIGHT_MAX).contains(&weight) {
            let text = format!("weight {weight} is outside 1 .. {WEIGHT_MAX}");
            return Err((Code::Invalid, text.into()));
        }
        let weights = self.queues.get(&no).map(|queue| &queue.weights);
        let known = weights.is_some_and(|weights| weights.contains_key(group));
        if !known && weights.is_some_and(|weights| weights.len() >= WEIGHTS_MAX) {
            let text = format!("the queue has {WEIGHTS_MAX} weights already");
            return Err((Code::Overloaded, text.into()));
        }
        self.commit(turn.journal, &Record::Weighed { queue: no, group: group.into(), weight });
        Ok((LimitAnswer::Weighed, self.limits_need()))
    }

    /// The keys of limits of a name that have most lanes waiting, then most leases.
    fn top_keys(&self, name: &str, limit: u16) -> (LimitAnswer, Need) {
        let mut views = Vec::new();
        self.limits.keyed.views(0, LOOK_MAX, &mut views);
        let is_meant =
            |view: &KeyView| self.limits.titled(view.owner).is_some_and(|(its, _)| **its == *name);
        views.retain(is_meant);
        views.sort_by(|a, b| {
            let rank = |view: &KeyView| (view.waiting, view.holders);
            rank(b).cmp(&rank(a)).then_with(|| a.text.cmp(&b.text))
        });
        views.truncate(usize::from(limit).clamp(1, self.config.batch_max));
        let figures = |view: KeyView| {
            let (_, matches) = self.limits.titled(view.owner)?;
            Some(KeyFigures {
                matches: matches.clone(),
                key: view.text,
                holders: view.holders,
                lanes: view.waiting,
                tokens: view.tokens,
                paused: view.paused_until.map(|until| told(until, view.pause.as_ref())),
            })
        };
        (LimitAnswer::TopKeys(views.into_iter().filter_map(figures).collect()), self.limits_need())
    }

    /// The pause of a key as a queue sees it: the longest under any limit.
    pub(crate) fn key_pause(&self, now: Timestamp, no: QueueNo, key: &str) -> Option<Paused> {
        let owners = self.owners_seen_from(no, key).into_iter();
        let views = owners.filter_map(|owner| self.limits.keyed.view(&Ask::new(owner, key)));
        let paused = views.filter_map(|view| Some((view.paused_until?, view.pause)));
        let paused = paused.filter(|(until, _)| *until > micros(now));
        let longest = paused.max_by_key(|(until, _)| *until)?;
        Some(told(longest.0, longest.1.as_ref()))
    }

    /// Writes down that a key wants a pause.
    pub(crate) fn throttle(
        &mut self,
        turn: &mut Turn<'_>,
        queue: QueueNo,
        key: &str,
        retry_after: Option<Duration>,
    ) {
        let record = Record::Throttled { queue, key: key.into(), at: turn.now, retry_after };
        self.commit(turn.journal, &record);
    }

    /// The limits under which a key is counted as a queue sees it, or the queue itself; none if it is
    /// gone.
    pub(super) fn owners_seen_from(&self, no: QueueNo, key: &str) -> Vec<Owner> {
        let Some(queue) = self.queues.get(&no) else { return Vec::new() };
        let of = self.limits.set.of_queue(queue.identity.name.as_str());
        self.limits.owners_of(&of, no, key)
    }

    /// Carries a pause by hand to a key as a queue sees it.
    pub(crate) fn pause_key(
        &mut self,
        no: QueueNo,
        key: &str,
        at: Timestamp,
        pause: Option<&Paused>,
    ) {
        let owners = self.owners_seen_from(no, key);
        let (now, limits) = (micros(at), &mut self.limits);
        for owner in owners {
            let (ask, woken) = (&mut Ask::new(owner, key), &mut limits.woken);
            match pause {
                Some(pause) => limits.keyed.pause(ask, kept(pause), now, woken),
                None => drop(limits.keyed.resume(ask, now, woken)),
            }
        }
    }
}

pub(crate) fn check_text(what: &str, text: &str) -> Result<(), Refused> {
    match (1..=KEY_BYTES_MAX).contains(&text.len()) {
        true => Ok(()),
        false => {
            let text =
                format!("{what} has {} bytes, it must have 1 to {KEY_BYTES_MAX}", text.len());
            Err((Code::Invalid, text.into()))
        }
    }
}
