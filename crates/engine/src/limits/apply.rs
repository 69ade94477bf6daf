//! Records of limits to state.

use sluice_flow::Ask;
use sluice_model::{Level, Limit, LimitMatch, Paused, QueueNo, Timestamp};

use super::{micros, micros_of, terms_of};
use crate::deadlines::Due;
use crate::engine::Engine;
use crate::journal::Sequence;
use crate::record::Record;
use crate::topic::Listener;

impl Engine {
    /// Applies a record of limits, or of what was done by hand.
    pub(crate) fn apply_to_limits(&mut self, record: &Record<'_>, sequence: Sequence) {
        self.limits.last_sequence = self.limits.last_sequence.max(sequence);
        match record {
            Record::Counted { queue, at, lane, count } => {
                self.replay_counted(*queue, lane, *count, *at);
            }
            Record::LimitPut { at, limit } => self.limit_was_put(limit, *at),
            Record::LimitDeleted { name, matches, .. } => {
                self.limits_were_deleted(name, matches.as_deref());
            }
            Record::Paused { queue, key: None, at: _, pause } => {
                self.queue_was_paused(*queue, pause.as_deref(), sequence);
            }
            Record::Paused { queue, key: Some(key), at, pause } => {
                self.pause_key(*queue, key, *at, pause.as_deref());
            }
            Record::Throttled { queue, key, at, retry_after } => {
                let owners = self.owners_seen_from(*queue, key);
                let mut asks: Vec<_> = owners.iter().map(|owner| Ask::new(*owner, key)).collect();
                let (keyed, woken) = (&mut self.limits.keyed, &mut self.limits.woken);
                keyed.throttle(&mut asks, retry_after.map(micros_of), micros(*at), woken);
            }
            Record::Weighed { queue, group, weight } => {
                let Some(queue) = self.queues.get_mut(queue) else { return };
                self.changes.note(queue);
                queue.touched(Level::Sync, sequence);
                queue.weigh(group, *weight);
                if let Some(lanes) = &mut queue.lanes {
                    lanes.set_weight(group, (*weight).into());
                }
                queue.dirty = true;
            }
            _ => {}
        }
    }

    fn limit_was_put(&mut self, limit: &Limit, at: Timestamp) {
        let is_known = self.limits.set.get(limit.name(), limit.matches()).is_some();
        if !is_known && self.limits.resolving.is_some() {
            // A limit that is new may get the number of one that is gone: whoever still asks that one
            // would be taken to ask the new one, with what it holds counted already.
            self.resolve_slice(&mut { usize::MAX });
        }
        let limits = &mut self.limits;
        limits.dirty = true;
        limits.version += 1;
        let Some(terms) = terms_of(limit.terms()) else { return };
        let before = limits.set.get(limit.name(), limit.matches()).and_then(|(_, no)| no);
        let is_counted = !limit.scope().is_for_requests();
        let no = match before.filter(|_| is_counted) {
            Some(no) => {
                // It was checked before it was written down.
                let _kept = limits.keyed.change(no, &terms, micros(at), &mut limits.woken);
                Some(no)
            }
            None if is_counted => limits.keyed.add(&terms).ok(),
            None => None,
        };
        if let Some(no) = no {
            limits.title(no, limit);
        }
        let version = limits.set.version();
        let _set = limits.set.set(limit.clone(), no);
        let is_stale = version != limits.set.version();
        if let Some(gone) = before.filter(|before| no != Some(*before)) {
            limits.keyed.remove(gone);
        }
        if is_stale || no != before {
            self.resolve_all();
        }
    }

    fn limits_were_deleted(&mut self, name: &str, matches: Option<&LimitMatch>) {
        let limits = &mut self.limits;
        limits.dirty = true;
        limits.version += 1;
        let is_meant = |limit: &Limit| {
            limit.name() == name && matches.is_none_or(|matches| limit.matches() == matches)
        };
        let meant = limits.set.iter().map(|(limit, _)| limit).filter(|limit| is_meant(limit));
        let meant: Vec<LimitMatch> = meant.map(|limit| limit.matches().clone()).collect();
        for matches in meant {
            if let Some((_, Some(no))) = limits.set.remove(name, &matches) {
                limits.keyed.remove(no);
            }
        }
        self.resolve_all();
    }

    fn queue_was_paused(&mut self, no: QueueNo, pause: Option<&Paused>, sequence: Sequence) {
        let Some(queue) = self.queues.get_mut(&no) else { return };
        self.changes.note(queue);
        queue.touched(Level::Sync, sequence);
        queue.pause = pause.map(|pause| Box::new(pause.clone()));
        queue.dirty = true;
        self.arm_resume(no);
        self.stir(Listener::Queue(no));
    }

    /// Sees to it that a queue goes on when its pause is over.
    pub(crate) fn arm_resume(&mut self, no: QueueNo) {
        let Some(queue) = self.queues.get_mut(&no) else { return };
        let until = queue.pause.as_ref().and_then(|pause| pause.until);
        if let Some(before) = std::mem::replace(&mut queue.resumes_at, until) {
            self.deadlines.cancel(before, Due::Resume(no));
        }
        if let Some(until) = until {
            self.deadlines.insert(until, Due::Resume(no));
        }
    }

    /// The pause of a queue is over.
    pub(crate) fn pause_is_over(&mut self, no: QueueNo) {
        let Some(queue) = self.queues.get_mut(&no) else { return };
        queue.resumes_at = None;
        self.stir(Listener::Queue(no));
    }
}
