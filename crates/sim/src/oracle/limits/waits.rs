//! What is in the way of a message, and whether the broker says so.

use sluice_model::{Explanation, LimitedBy};

use super::Message;
use super::replay::State;
use super::rule::{At, Owner, rate};

/// Something that is in the way.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    of: (Owner, String),
    why: Why,
    /// It surely is. Otherwise it may be.
    is_sure: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Why {
    /// Nobody knows.
    Unknown,
    Paused(At),
    /// Leases that surely are, that may be, and as many as may be at once.
    Concurrency(usize, usize, usize),
    /// Until then, if that is known exactly.
    Window(At, bool),
    Rate(At, bool),
}

impl State<'_> {
    /// Everything that is, or may be, in the way of a message that is ready.
    pub(crate) fn refusals(&self, message: usize, now: At) -> Vec<Refusal> {
        let cost = self.calls.messages[message].sent.cost;
        let mut all = Vec::new();
        for of in self.counted(message).iter() {
            let refuse = |(why, is_sure)| Refusal { of: of.clone(), why, is_sure };
            all.extend(self.refused(of, cost, now).into_iter().map(refuse));
        }
        all
    }

    fn refused(&self, of: &(Owner, String), cost: u16, now: At) -> Vec<(Why, bool)> {
        let mut all = Vec::new();
        let tally = self.tallies.get(of);
        let feedback = tally.and_then(|tally| tally.feedback);
        let is_vague = feedback.is_some_and(|it| it.is_vague || it.acked == now);
        if is_vague || self.doubtful.contains(&of.1) {
            all.push((Why::Unknown, false));
        }
        all.extend(tally.and_then(|tally| tally.paused(now)).map(|it| (Why::Paused(it), true)));
        let limit = self.limit(&of.0);
        let terms = limit.map(|limit| *limit.terms()).unwrap_or_default();
        let gentle = feedback.filter(|feedback| feedback.is_gentle(now)).map(|_| 1);
        if let Some(max) = terms.concurrency.into_iter().chain(gentle).min() {
            let held = self.holders(of, |lease| lease.is_held(now));
            let may_be = self.holders(of, |lease| lease.may_be_held(now));
            if may_be >= max as usize || now <= self.unseen_until {
                let why = Why::Concurrency(held, may_be, max as usize);
                all.push((why, held >= max as usize));
            }
        }
        if let Some(window) = terms.window {
            let (max, length) = (window.max() as usize, window.length_ms());
            let vague = tally.map_or(0, |tally| tally.starts_vague);
            let is_exact = self.unseen_at + length < now && vague < now;
            let starts_at = tally.map_or(now, |tally| tally.starts_at(max, length, now));
            if starts_at > now || !is_exact {
                all.push((Why::Window(starts_at, is_exact), starts_at > now));
            }
        }
        if let Some(rate) = limit.and_then(rate) {
            let bucket = self.bucket(of, now);
            let at = bucket.has_at(rate, rate.price(cost).1);
            let is_exact = !self.tokens_vague && !bucket.is_rounded;
            if at > now || !is_exact {
                all.push((Why::Rate(at, is_exact), at > now));
            }
        }
        all
    }

    /// Whether nothing at all is in the way of a message that is ready.
    pub(super) fn is_surely_next(&self, message: usize, now: At) -> bool {
        self.refusals(message, now).is_empty() && !self.is_contested(message, now)
    }

    /// Whether others may come before it, in another queue or because they are dearer. At the end all
    /// are over: what counts is who was there at that moment.
    fn is_contested(&self, message: usize, now: At) -> bool {
        let counted = self.counted(message);
        let limited = |of: &&(Owner, String)| matches!(of.0, Owner::Limit(_));
        let this = &self.calls.messages[message].sent;
        let comes_before = |(at, other): (usize, &Message)| {
            let is_over = other.is_over && other.acking.is_some_and(|acking| acking < now);
            let is_it = at == message || is_over || other.asked > now;
            if is_it || other.sent.queue == this.queue && other.sent.cost <= this.cost {
                return false;
            }
            let theirs = self.counted(at);
            counted.iter().filter(limited).any(|of| theirs.contains(of))
        };
        counted.iter().any(|of| limited(&of))
            && self.calls.messages.iter().enumerate().any(comes_before)
    }

    /// Whether a message that waits does so for nothing, with somebody there who wants it.
    pub(crate) fn waits_in_vain(&self, message: usize, now: At) -> bool {
        self.paused[self.calls.messages[message].sent.queue].is_none_or(|until| until <= now)
            && self.refusals(message, now).is_empty()
            && !self.is_behind_dearer(message)
    }

    /// Whether a dearer one may wait for the same tokens, which cheaper ones don't overtake.
    fn is_behind_dearer(&self, message: usize) -> bool {
        let counted = self.counted(message);
        let is_rated = |of: &&(Owner, String)| self.limit(&of.0).and_then(rate).is_some();
        let cost = self.calls.messages[message].sent.cost;
        counted.iter().filter(is_rated).any(|of| {
            let mut others = self.calls.messages.iter().enumerate();
            others.any(|(at, other)| {
                !other.is_over && other.sent.cost > cost && self.counted(at).contains(of)
            })
        })
    }

    /// When a message that waits may go if nothing happens but that time passes; none if that is
    /// not known.
    pub(crate) fn eligible_at(&self, message: usize, now: At) -> Option<At> {
        let queue = self.calls.messages[message].sent.queue;
        let mut last = self.paused[queue].filter(|until| *until > now).unwrap_or(now);
        for refusal in self.refusals(message, now) {
            match refusal.why {
                Why::Paused(at) | Why::Window(at, true) | Why::Rate(at, true) => {
                    last = last.max(at);
                }
                _ => return None,
            }
        }
        (last < super::NEVER && !self.is_behind_dearer(message)).then_some(last)
    }

    /// Holds the reasons that the broker gives for a message that is ready against those there are.
    pub(crate) fn compare_reasons(
        &self,
        message: usize,
        told: &[Explanation],
        now: At,
    ) -> Result<(), String> {
        let known = self.refusals(message, now);
        let wrong = |what: &str| {
            let sent = &self.calls.messages[message].sent;
            Err(format!("at {now} {sent:?}: {what}: told {told:?}, known {known:?}"))
        };
        for reason in told {
            if !self.is_true(message, &known, reason, now) {
                return wrong(&format!("{} is not so", reason.name()));
            }
        }
        for refusal in known.iter().filter(|refusal| refusal.is_sure) {
            if !told.iter().any(|reason| refusal.is_covered(reason)) {
                return wrong(&format!("{refusal:?} is not told"));
            }
        }
        Ok(())
    }

    fn is_true(&self, message: usize, known: &[Refusal], reason: &Explanation, now: At) -> bool {
        let queue = self.calls.messages[message].sent.queue;
        match reason {
            Explanation::Paused { key: None, pause } => {
                let until = pause.until.map_or(super::NEVER, |until| until.as_millis());
                self.paused[queue] == Some(until) && until > now
            }
            Explanation::Rate { .. }
            | Explanation::Window { .. }
            | Explanation::Concurrency { .. }
            | Explanation::Paused { .. } => {
                known.iter().any(|refusal| refusal.is_told(reason) && refusal.agrees(reason))
            }
            // Who else is there, and what has not come yet, is looked at elsewhere.
            _ => true,
        }
    }
}

impl Refusal {
    /// Whether the reason is about it, or, where nobody knows, may be.
    fn is_told(&self, reason: &Explanation) -> bool {
        let by = match (reason, &self.why) {
            (Explanation::Paused { key, .. }, Why::Paused(_) | Why::Unknown) => {
                return key.as_deref() == Some(self.of.1.as_str());
            }
            (Explanation::Rate { by, .. }, Why::Rate(..))
            | (Explanation::Window { by, .. }, Why::Window(..))
            | (Explanation::Concurrency { by, .. }, Why::Concurrency(..) | Why::Unknown) => by,
            _ => return false,
        };
        self.is_by(by)
    }

    /// Whether the reason is about the same key of the same limit: of each one is told, which may be
    /// another one than this.
    fn is_covered(&self, reason: &Explanation) -> bool {
        match reason {
            Explanation::Paused { key, .. } => key.as_deref() == Some(self.of.1.as_str()),
            Explanation::Rate { by, .. }
            | Explanation::Window { by, .. }
            | Explanation::Concurrency { by, .. } => self.is_by(by),
            _ => false,
        }
    }

    fn is_by(&self, by: &LimitedBy) -> bool {
        let name = match &self.of.0 {
            Owner::Limit((name, _, _)) => name.as_str(),
            Owner::Queue(_) => "",
        };
        *by.limit == *name && *by.key == *self.of.1
    }

    /// Whether the figures are right.
    fn agrees(&self, reason: &Explanation) -> bool {
        match (reason, &self.why) {
            (Explanation::Rate { eligible_at, .. }, Why::Rate(at, is_exact))
            | (Explanation::Window { eligible_at, .. }, Why::Window(at, is_exact)) => {
                // What was seen is not more than there was.
                let told = eligible_at.as_millis();
                told == *at || !is_exact && told + 1 >= *at
            }
            (
                Explanation::Concurrency { holders, max, .. },
                Why::Concurrency(held, may_be, at_once),
            ) => {
                // Some may be held that nobody saw.
                let is_max = *max as usize == *at_once;
                is_max
                    && *holders as usize >= *held
                    && (*holders as usize <= *may_be || !self.is_sure)
            }
            // The longest of several is told under each.
            (Explanation::Paused { pause, .. }, Why::Paused(until)) => {
                pause.until.map_or(super::NEVER, |it| it.as_millis()) == *until
            }
            _ => true,
        }
    }
}
