//! The client that sets limits, pauses and weighs: one thing at a time, and after a crash it finds out
//! what came of the last one.

use std::time::Duration;

use sluice_model::{
    KeyPattern, Limit, LimitAnswer, LimitMatch, LimitMode, LimitRequest, LimitScope, LimitTerms,
    Pausable, QueuePattern, RateTerm, WindowTerm,
};

use super::OPERATOR;
use super::ask::{GROUPS, KEYS};
use crate::caller::queue;
use crate::oracle::limits::{At, NEVER, QUEUES, Slot, What, slot};
use crate::world::World;

/// Tokens in thousandths, and the milliseconds that they come in.
const RATES: [(u64, u64); 6] =
    [(1_000, 20), (3_000, 100), (2_500, 50), (1_000, 7), (10_000, 1_000), (333, 10)];

impl World {
    /// The operator does something, if it knows what came of the last thing that it did.
    pub(super) fn operate(&mut self) {
        if !self.connect_caller(OPERATOR) {
            return;
        }
        if self.limits.callers[OPERATOR].asked.is_empty() {
            self.ask_operator();
        }
        self.submit_operator();
    }

    /// Nothing else happens in the millisecond in which a limit changes.
    pub(super) fn submit_operator(&mut self) {
        let one = Duration::from_millis(1);
        self.now = self.now.after(one);
        self.submit_calls(OPERATOR);
        self.now = self.now.after(one);
    }

    fn ask_operator(&mut self) {
        let no = self.tick();
        if !self.limits.is_listed {
            return self.limits.callers[OPERATOR].list(no);
        }
        let request = match self.limits.unresolved.take() {
            Some((again, _)) => again,
            None => self.some_request(),
        };
        self.limits.callers[OPERATOR].limit(request, no);
    }

    fn some_request(&mut self) -> LimitRequest {
        match self.random.below(100) {
            0..=54 => LimitRequest::Put(Box::new(self.some_limit())),
            55..=69 => self.delete(),
            70..=80 => {
                let (what, most) = (self.some_pausable(), if self.is_calm() { 60 } else { 400 });
                let is_long = self.random.percent(15);
                let period = Duration::from_millis(1 + self.random.below(most));
                LimitRequest::Pause { what, period: (!is_long).then_some(period), reason: None }
            }
            81..=91 => LimitRequest::Resume { what: self.some_pausable() },
            92..=94 => LimitRequest::TopKeys { name: "one".into(), limit: 10 },
            _ => {
                let group = GROUPS[self.random.below(3) as usize].into();
                let (queue, weight) = (queue(self.some_queue()), 1 + self.random.below(3) as u16);
                LimitRequest::Weigh { queue, group, weight }
            }
        }
    }

    fn some_queue(&mut self) -> usize {
        self.random.below(QUEUES.len() as u64) as usize
    }

    /// One of the limits that are set, or all of its name.
    fn delete(&mut self) -> LimitRequest {
        let limits: Vec<&Limit> = self.limits.set.values().collect();
        if limits.is_empty() {
            return LimitRequest::Delete { name: "one".into(), matches: None };
        }
        let limit = limits[self.random.below(limits.len() as u64) as usize].clone();
        let all = self.random.percent(15);
        let matches = (!all).then(|| limit.matches().clone());
        LimitRequest::Delete { name: limit.name().into(), matches }
    }

    fn some_pausable(&mut self) -> Pausable {
        let queue = queue(self.some_queue());
        match self.random.percent(30) {
            true => Pausable::Queue(queue),
            false => {
                let key = KEYS[self.random.below(KEYS.len() as u64) as usize].into();
                Pausable::Key { queue, key }
            }
        }
    }

    fn some_limit(&mut self) -> Limit {
        // Now and then one that is set is changed.
        let kept: Vec<&Limit> = self.limits.set.values().collect();
        if !kept.is_empty() && self.random.percent(40) {
            let limit = kept[self.random.below(kept.len() as u64) as usize].clone();
            let terms = self.some_terms(limit.scope());
            return made(limit.name(), limit.scope(), limit.matches().clone(), terms);
        }
        let (name, scope) = match self.random.below(100) {
            0..=44 => ("one", LimitScope::Key),
            45..=69 => ("two", LimitScope::Key),
            70..=91 => ("box", LimitScope::Queue),
            92..=95 => ("gate", LimitScope::Client),
            _ => ("wall", LimitScope::Global),
        };
        let of = match scope.is_for_requests() {
            true => ">",
            false => [">", "q.*", "q.a", "q.b"][self.random.below(4) as usize],
        };
        let keys = ["*", "k:*", "k:1*", "k:1", "t"];
        let key = keys[self.random.below(keys.len() as u64) as usize];
        let key = (scope == LimitScope::Key).then(|| KeyPattern::new(key));
        let matches = LimitMatch {
            queue: QueuePattern::new(of).expect("the workload's patterns are valid"),
            key: key.transpose().expect("the workload's patterns are valid"),
        };
        let terms = self.some_terms(scope);
        made(name, scope, matches, terms)
    }

    fn some_terms(&mut self, scope: LimitScope) -> LimitTerms {
        let mut terms = LimitTerms::default();
        let kind = self.random.below(10);
        if scope.is_for_requests() || matches!(kind, 0..=2 | 8..=9) {
            let (thousandths, per_ms) = RATES[self.random.below(RATES.len() as u64) as usize];
            terms.rate = RateTerm::new(thousandths, per_ms).ok();
            let burst = 1 + self.random.below(5) as u32;
            terms.burst = self.random.percent(60).then_some(burst);
        }
        if scope.is_for_requests() {
            if self.random.percent(50) {
                terms.mode = LimitMode::Delay(Duration::from_millis(1 + self.random.below(200)));
            }
            return terms;
        }
        if matches!(kind, 3..=5 | 8) {
            let length = [1, 20, 100, 500][self.random.below(4) as usize];
            terms.window = WindowTerm::new(1 + self.random.below(5) as u32, length).ok();
        }
        if matches!(kind, 6..=7 | 9) {
            let closed = self.random.percent(8);
            terms.concurrency = Some(if closed { 0 } else { 1 + self.random.below(3) as u32 });
        }
        terms
    }

    /// A request of the operator was lost with the broker.
    pub(super) fn unresolved(&mut self, request: LimitRequest, ran: At) {
        let calls = &mut self.limits.calls;
        match &request {
            LimitRequest::Put(limit) => calls.happened(ran, What::Gone(slot(limit))),
            LimitRequest::Delete { name, matches } => {
                for slot in meant(&self.limits.set, name, matches.as_ref()) {
                    calls.happened(ran, What::Gone(slot));
                }
            }
            LimitRequest::Pause { what, .. } | LimitRequest::Resume { what } => {
                let (queue, key) = place(what);
                calls.happened(ran, What::Resumed { queue, key });
                if let Some(key) = key {
                    calls.happened(ran, What::Doubt(key));
                }
            }
            LimitRequest::Weigh { .. } => return self.weighed(&request, ran),
            _ => return,
        }
        self.limits.unresolved = Some((request, None));
    }

    /// A request of the operator was done.
    pub(super) fn operated(
        &mut self,
        request: &LimitRequest,
        answer: &LimitAnswer,
        ran: At,
    ) -> Result<(), String> {
        let (calls, set) = (&mut self.limits.calls, &mut self.limits.set);
        match (request, answer) {
            (LimitRequest::Put(limit), LimitAnswer::Put { replaced }) => {
                let before = set.insert(slot(limit), (**limit).clone());
                if before.as_ref() != replaced.as_deref() {
                    return Err(format!("{limit:?} replaced {replaced:?}, there was {before:?}"));
                }
                self.counters.limit_changes += 1;
                let limit = limit.clone();
                calls.happened(ran, What::Put { limit, is_found: false });
            }
            (LimitRequest::Delete { name, matches }, LimitAnswer::Deleted(count)) => {
                let gone = meant(set, name, matches.as_ref());
                if gone.len() != *count as usize {
                    return Err(format!("{count} limits were deleted of {gone:?}"));
                }
                for slot in gone {
                    set.remove(&slot);
                    self.counters.limit_deletes += 1;
                    calls.happened(ran, What::Deleted(slot));
                }
            }
            (LimitRequest::Pause { what, .. }, LimitAnswer::Paused(paused)) => {
                let (queue, key) = place(what);
                let until = paused.until.map_or(NEVER, |until| until.as_millis());
                self.counters.limit_pauses += 1;
                calls.happened(ran, What::Paused { queue, key, until });
            }
            (LimitRequest::Resume { what }, LimitAnswer::Resumed(_)) => {
                let (queue, key) = place(what);
                calls.happened(ran, What::Resumed { queue, key });
            }
            (LimitRequest::Weigh { .. }, LimitAnswer::Weighed) => self.weighed(request, ran),
            (LimitRequest::TopKeys { .. }, LimitAnswer::TopKeys(_)) => {}
            (request, answer) => return Err(format!("{request:?} was answered by {answer:?}")),
        }
        Ok(())
    }

    fn weighed(&mut self, request: &LimitRequest, ran: At) {
        let LimitRequest::Weigh { queue, group, weight } = request else { return };
        let at = QUEUES.iter().position(|name| *name == queue.as_str());
        let group = GROUPS.iter().find(|name| ***name == **group);
        if let (Some(queue), Some(group)) = (at, group) {
            let what = What::Weighed { queue, group, weight: (*weight).into() };
            self.limits.calls.happened(ran, what);
        }
    }

    /// All limits as the broker lists them: those that were confirmed, and nothing else.
    pub(super) fn listed(&mut self, limits: &[Limit]) -> Result<(), String> {
        self.limits.is_listed = true;
        self.counters.limit_lists += 1;
        let found: super::BTreeMap<Slot, Limit> =
            limits.iter().map(|limit| (slot(limit), limit.clone())).collect();
        let unresolved = match &self.limits.unresolved {
            Some((LimitRequest::Put(limit), started)) => (vec![slot(limit)], *started),
            Some((LimitRequest::Delete { name, matches }, started)) => {
                (meant(&self.limits.set, name, matches.as_ref()), *started)
            }
            _ => (Vec::new(), None),
        };
        let started = unresolved.1.unwrap_or_default();
        for slot in unresolved.0 {
            self.limits.unresolved = None;
            self.limits.set.remove(&slot);
            if let Some(limit) = found.get(&slot) {
                let boxed = Box::new(limit.clone());
                self.limits.calls.happened(started, What::Put { limit: boxed, is_found: true });
                self.limits.set.insert(slot, limit.clone());
            }
        }
        match found == self.limits.set && found.len() == limits.len() {
            true => Ok(()),
            false => Err(format!("there are {found:?}, {:?} were set", self.limits.set)),
        }
    }
}

fn made(name: &str, scope: LimitScope, matches: LimitMatch, terms: LimitTerms) -> Limit {
    Limit::new(name, scope, matches, terms).expect("the workload's limits are valid")
}

/// The limits of a name, or the one with that match.
fn meant(
    set: &super::BTreeMap<Slot, Limit>,
    name: &str,
    matches: Option<&LimitMatch>,
) -> Vec<Slot> {
    let is_meant = |limit: &&Limit| {
        limit.name() == name && matches.is_none_or(|matches| limit.matches() == matches)
    };
    set.values().filter(is_meant).map(slot).collect()
}

/// What is paused: a queue, or a key of it.
fn place(what: &Pausable) -> (usize, Option<&'static str>) {
    let name = what.queue().as_str();
    let at = QUEUES.iter().position(|queue| *queue == name).unwrap_or_default();
    let key = match what {
        Pausable::Queue(_) => None,
        Pausable::Key { key, .. } => KEYS.iter().find(|name| ***name == **key).copied(),
    };
    (at, key)
}
