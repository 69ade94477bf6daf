//! All that happened, once more and in its order: what limits allowed at every moment.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use sluice_model::Limit;

use super::Calls;
use super::event::{Event, NEVER, What};
use super::order::Turns;
use super::rule::{At, Owner, QUEUES, Rate, Rules, Slot, applied, owners, rate, slot};
use super::tally::{Bucket, Feedback, Tally};

/// The first pause that a consumer asks for without a time, and the longest.
const PAUSE_MIN: At = 1_000;
const PAUSE_MAX: At = 60_000;

/// What something is counted under, and its key.
pub(super) type Counted = Rc<Vec<(Owner, String)>>;

/// How it stands at a moment.
pub(crate) struct State<'a> {
    pub(super) calls: &'a Calls,
    pub(super) rules: Rules,
    pub(super) tallies: BTreeMap<(Owner, String), Tally>,
    /// What keys have that nothing was taken of.
    fresh: BTreeMap<Slot, Bucket>,
    pub(super) paused: [Option<At>; QUEUES.len()],
    /// Leases that may still be held.
    pub(super) leases: Vec<usize>,
    /// Messages that surely are ready, and since when.
    pub(super) ready: BTreeMap<usize, At>,
    pub(super) turns: Turns,
    /// There may be leases that nobody saw until then.
    pub(super) unseen_until: At,
    /// There may be starts that nobody saw up to then.
    pub(super) unseen_at: At,
    /// Tokens may have been taken that nobody saw, since the last start.
    pub(super) tokens_vague: bool,
    /// What is set may be more than is known, until the broker starts again.
    is_unsure: bool,
    /// When what is allowed was changed last: who waits for it may be looked at in slices.
    pub(super) changed: At,
    /// Keys of which it is not known whether they are paused.
    pub(super) doubtful: BTreeSet<String>,
    /// Whether the order of what is handed out is compared too.
    compares_order: bool,
    known: RefCell<BTreeMap<usize, Counted>>,
}

impl<'a> State<'a> {
    pub(super) fn new(calls: &'a Calls, compares_order: bool) -> Self {
        Self {
            calls,
            rules: Rules::new(),
            tallies: BTreeMap::new(),
            fresh: BTreeMap::new(),
            paused: [None; QUEUES.len()],
            leases: Vec::new(),
            ready: BTreeMap::new(),
            turns: Turns::default(),
            unseen_until: 0,
            unseen_at: 0,
            tokens_vague: false,
            is_unsure: false,
            changed: 0,
            doubtful: BTreeSet::new(),
            compares_order,
            known: RefCell::default(),
        }
    }

    /// Everything that a message is counted under.
    pub(super) fn counted(&self, message: usize) -> Counted {
        let mut known = self.known.borrow_mut();
        let counted = known.entry(message).or_insert_with(|| {
            let sent = &self.calls.messages[message].sent;
            Rc::new(applied(&self.rules, sent.queue, &sent.keys))
        });
        Rc::clone(counted)
    }

    /// How many leases are counted under a key, of those that `is_meant`.
    pub(super) fn holders(
        &self,
        of: &(Owner, String),
        is_meant: impl Fn(&super::Lease) -> bool,
    ) -> usize {
        let leases = self.leases.iter().map(|lease| &self.calls.leases[*lease]);
        leases.filter(|lease| is_meant(lease) && self.counted(lease.message).contains(of)).count()
    }

    pub(super) fn limit(&self, owner: &Owner) -> Option<&Limit> {
        match owner {
            Owner::Limit(slot) => self.rules.get(slot),
            Owner::Queue(_) => None,
        }
    }

    /// The bucket of a key of a limit with a rate, as it is then.
    pub(super) fn bucket(&self, of: &(Owner, String), now: At) -> Bucket {
        let tally = self.tallies.get(of);
        let Owner::Limit(slot) = &of.0 else { return Bucket::empty(0) };
        let fresh = self.fresh.get(slot).copied().unwrap_or(Bucket::empty(0));
        let mut bucket = tally.and_then(|tally| tally.bucket).unwrap_or(fresh);
        let feedback = tally.and_then(|tally| tally.feedback);
        if let Some(feedback) = feedback.filter(|it| it.drains && it.until <= now)
            && let Some(rate) = self.rules.get(slot).and_then(rate)
        {
            bucket.drain(rate, feedback.until);
        }
        bucket
    }

    pub(super) fn apply(&mut self, event: &Event) -> Result<(), String> {
        let at = event.at;
        if event.what.changes_what_is_allowed() {
            self.changed = at;
        }
        match &event.what {
            What::Started => self.started(at),
            What::Blind { until, restarts } => {
                self.unseen_until = self.unseen_until.max(*until);
                self.unseen_at = self.unseen_at.max(at);
                self.tokens_vague |= !restarts;
                self.ready.clear();
            }
            What::Put { limit, is_found } => self.put(limit, *is_found, at),
            What::Gone(slot) => {
                self.is_unsure = true;
                self.gone(slot, true);
            }
            What::Deleted(slot) => self.gone(slot, false),
            What::Paused { queue, key: None, until } => self.paused[*queue] = Some(*until),
            What::Resumed { queue, key: None } => self.paused[*queue] = None,
            What::Paused { queue, key: Some(key), until } => {
                self.each(*queue, key, |tally| tally.by_hand = Some((*until, at)));
            }
            What::Resumed { queue, key: Some(key) } => self.each(*queue, key, |tally| {
                tally.by_hand = None;
                if let Some(feedback) = &mut tally.feedback {
                    feedback.until = feedback.until.min(at);
                }
            }),
            // Under which limits the key is then is not known.
            What::Throttled { key, .. } if self.is_unsure => {
                self.doubtful.insert((*key).to_owned());
            }
            What::Throttled { queue, key, for_ms } => {
                self.each(*queue, key, |tally| throttle(tally, *for_ms, at));
            }
            What::Weighed { queue, group, weight } => self.turns.weigh(*queue, group, *weight),
            What::Acked(lease) => self.acked(*lease, at),
            What::Ready { message, since } => {
                if self.compares_order && self.calls.stays_ready(*message, *since, at) {
                    self.ready.insert(*message, at);
                }
            }
            What::Doubt(key) => drop(self.doubtful.insert((*key).to_owned())),
            What::Doubtful(message) => drop(self.ready.remove(message)),
            What::Granted(lease) => return self.granted(*lease, at),
        }
        Ok(())
    }

    fn started(&mut self, at: At) {
        (self.tokens_vague, self.is_unsure) = (false, false);
        self.fresh.values_mut().for_each(|bucket| *bucket = Bucket::empty(at));
        self.tallies.values_mut().for_each(|tally| tally.bucket = None);
    }

    /// Does something to a key under all limits that it is under, seen from a queue.
    fn each(&mut self, queue: usize, key: &str, mut change: impl FnMut(&mut Tally)) {
        for owner in owners(&self.rules, queue, key) {
            change(self.tallies.entry((owner, key.to_owned())).or_default());
        }
    }

    fn put(&mut self, limit: &Limit, is_found: bool, at: At) {
        let slot = slot(limit);
        let before = self.rules.insert(slot.clone(), limit.clone());
        self.known.borrow_mut().clear();
        let owner = Owner::Limit(slot.clone());
        let Some(before) = before else {
            self.tallies.retain(|(of, _), _| *of != owner);
            let bucket = match rate(limit) {
                Some(rate) if !is_found => Bucket::full(rate, at),
                _ => Bucket::empty(at),
            };
            self.fresh.insert(slot, bucket);
            if is_found {
                self.unseen_at = self.unseen_at.max(at);
            }
            return;
        };
        let of_it = self.tallies.iter_mut().filter(|((of, _), _)| *of == owner);
        let tallies: Vec<&mut Tally> = of_it.map(|(_, tally)| tally).collect();
        let fresh = self.fresh.entry(slot).or_insert(Bucket::empty(at));
        match (rate(&before), rate(limit)) {
            (Some(from), Some(to)) if from != to => {
                let had = *fresh;
                fresh.carry(from, to, at);
                for tally in tallies {
                    tally.carry_window(&before, limit, at);
                    open(tally, had, from, at);
                    tally.bucket.iter_mut().for_each(|bucket| bucket.carry(from, to, at));
                }
            }
            (from, to) => {
                let is_new = from != to;
                if is_new {
                    *fresh = Bucket::empty(at);
                }
                for tally in tallies {
                    tally.carry_window(&before, limit, at);
                    if is_new {
                        tally.bucket = None;
                    }
                }
            }
        }
    }

    fn gone(&mut self, slot: &Slot, may_be_there: bool) {
        self.rules.remove(slot);
        self.known.borrow_mut().clear();
        let owner = Owner::Limit(slot.clone());
        let doubtful = &mut self.doubtful;
        self.tallies.retain(|(of, key), tally| {
            let is_gone = *of == owner;
            if is_gone && may_be_there && (tally.feedback.is_some() || tally.by_hand.is_some()) {
                doubtful.insert(key.clone());
            }
            !is_gone
        });
    }

    /// The first ack after a pause opens its key. Under which limits it counts is not known to the
    /// moment when these come and go.
    fn acked(&mut self, lease: usize, at: At) {
        let lease = &self.calls.leases[lease];
        let keys = &self.calls.messages[lease.message].sent.keys;
        let counted = self.counted(lease.message);
        for (of, tally) in &mut self.tallies {
            let Some(feedback) = tally.feedback.as_mut().filter(|it| at >= it.until) else {
                continue;
            };
            if keys.contains(&of.1.as_str()) {
                (feedback.is_gentle, feedback.strikes, feedback.acked) = (false, 0, at);
                feedback.is_vague |= !lease.is_acked || !counted.contains(of);
                self.changed = at;
            }
        }
    }

    fn granted(&mut self, number: usize, at: At) -> Result<(), String> {
        let calls = self.calls;
        let message = calls.leases[number].message;
        let sent = &calls.messages[message].sent;
        if let Some(until) = self.paused[sent.queue].filter(|until| at < *until) {
            return Err(format!("{sent:?} came at {at}, its queue is paused until {until}"));
        }
        let looked = calls.quiet_before(at).unwrap_or(0);
        self.leases.retain(|lease| calls.leases[*lease].over_at >= looked);
        if self.compares_order {
            self.compare_order(message, at)?;
        }
        self.ready.remove(&message);
        self.leases.push(number);
        for of in self.counted(message).iter() {
            self.check(of, sent.cost, at)
                .map_err(|wrong| format!("{sent:?} came at {at}: {wrong} under {of:?}"))?;
            self.charge(of, sent.cost, at);
        }
        Ok(())
    }

    /// Holds a grant that is counted among the leases already against one key of it.
    fn check(&self, of: &(Owner, String), cost: u16, at: At) -> Result<(), String> {
        let tally = self.tallies.get(of);
        if let Some((until, _)) = tally.and_then(|tally| tally.by_hand)
            && at < until
        {
            return Err(format!("paused until {until} by hand"));
        }
        let feedback = tally.and_then(|tally| tally.feedback);
        if let Some(Feedback { since, until, .. }) = feedback
            && since < at
            && at < until
        {
            return Err(format!("paused until {until} since {since}"));
        }
        let terms = self.limit(&of.0).map(|limit| *limit.terms()).unwrap_or_default();
        let is_gentle = feedback.is_some_and(|it| it.since < at && it.is_gentle(at));
        let max = terms.concurrency.into_iter().chain(is_gentle.then_some(1)).min();
        let held = self.holders(of, |lease| lease.is_held(at));
        if let Some(max) = max.filter(|max| held > *max as usize) {
            return Err(format!("{held} are held, {max} may be, gentle: {is_gentle}"));
        }
        if let Some(window) = terms.window {
            let inside = tally.map_or(0, |tally| tally.inside(window.length_ms(), at)) + 1;
            if inside > window.max() as usize {
                return Err(format!("{inside} starts in {window}"));
            }
        }
        if let Some(rate) = self.limit(&of.0).and_then(rate) {
            let (parts, (_, needed)) = (self.bucket(of, at).parts(rate, at), rate.price(cost));
            if parts < needed {
                return Err(format!("{parts} parts of {needed} were there, {rate:?}"));
            }
        }
        Ok(())
    }

    fn charge(&mut self, of: &(Owner, String), cost: u16, at: At) {
        let Some(limit) = self.limit(&of.0) else { return };
        let (rate, is_windowed) = (rate(limit), limit.terms().window.is_some());
        let mut bucket = self.bucket(of, at);
        let tally = self.tallies.entry(of.clone()).or_default();
        if let Some(rate) = rate {
            bucket.take(rate, rate.price(cost).0, at);
            tally.bucket = Some(bucket);
            if let Some(feedback) = tally.feedback.as_mut().filter(|it| it.until <= at) {
                feedback.drains = false;
            }
        }
        if is_windowed {
            tally.starts.push_back(at);
        }
    }
}

/// Drains the bucket of a key whose pause is over.
fn open(tally: &mut Tally, fresh: Bucket, rate: Rate, at: At) {
    if let Some(feedback) = tally.feedback.as_mut().filter(|it| it.drains && it.until <= at) {
        tally.bucket.get_or_insert(fresh).drain(rate, feedback.until);
        feedback.drains = false;
    }
}

fn throttle(tally: &mut Tally, for_ms: Option<At>, at: At) {
    let before = tally.feedback.filter(|feedback| at < feedback.until);
    let strikes = tally.feedback.map_or(0, |feedback| feedback.strikes);
    // While it is paused others who say the same don't make it longer.
    let strikes = match (for_ms, before) {
        (None, Some(_)) if strikes > 0 => strikes,
        (None, _) => strikes + 1,
        (Some(_), _) => strikes,
    };
    let doubled = PAUSE_MIN << strikes.saturating_sub(1).min(6);
    let until = at + for_ms.unwrap_or(doubled.min(PAUSE_MAX));
    let since = before.map_or(at, |before| before.since);
    let until = before.map_or(until, |before| before.until.max(until)).min(NEVER);
    let is_vague = tally.feedback.is_some_and(|feedback| feedback.is_vague);
    let (is_gentle, drains, acked) = (true, true, 0);
    tally.feedback = Some(Feedback { since, until, is_gentle, drains, strikes, acked, is_vague });
}

impl Tally {
    /// The limit was changed: starts that had left a shorter window are not known to a longer one.
    fn carry_window(&mut self, from: &Limit, to: &Limit, at: At) {
        match (from.terms().window, to.terms().window) {
            (_, None) => self.starts.clear(),
            (None, Some(window)) => {
                self.starts.clear();
                self.starts_vague = at + window.length_ms();
            }
            (Some(from), Some(to)) if to.length_ms() > from.length_ms() => {
                self.starts.retain(|start| start + from.length_ms() >= at);
                self.starts_vague = at + to.length_ms();
            }
            (Some(_), Some(_)) => {}
        }
    }
}
