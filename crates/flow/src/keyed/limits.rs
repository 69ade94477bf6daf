//! The limits that keys are counted under, by number, and how a key follows a change of its limit.
//!
//! A change holds at once; what each key had is carried over when the key is next looked at. So a
//! limit keeps the changes that keys may not have followed yet, and each key a number that says
//! which they are.

use crate::rate::{Rate, RateError};
use crate::token::{Bucket, Change, TokenLimit};
use crate::window::{Starts, WindowLimit};

use super::Reason;

/// Most changes that a limit keeps for keys to follow; keys have 8 bits to count them.
const CHANGES_MAX: usize = 64;

/// What a key is counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(u32);

/// A limit's number: given by [`super::Keyed::add`], free again some time after its removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitNo(pub u32);

const OF_QUEUE: u32 = 1 << 31;

impl Owner {
    /// A limit: whatever queue a message is in, its key is the same key.
    pub fn limit(LimitNo(no): LimitNo) -> Self {
        Self(no & !OF_QUEUE)
    }

    /// A queue, for keys under no limit: nothing limits them but pauses. Queues are told apart by
    /// the lower 31 bits of their numbers.
    pub fn queue(no: u32) -> Self {
        Self(no | OF_QUEUE)
    }

    /// The limit, if it is one.
    pub fn as_limit(self) -> Option<LimitNo> {
        (self.0 & OF_QUEUE == 0).then_some(LimitNo(self.0))
    }

    /// The lower 31 bits of the number of the queue, if it is one.
    pub fn as_queue(self) -> Option<u32> {
        (self.0 & OF_QUEUE != 0).then_some(self.0 & !OF_QUEUE)
    }

    pub(super) fn number(self) -> u32 {
        self.0
    }

    fn slot(self) -> Option<usize> {
        (self.0 & OF_QUEUE == 0).then_some(self.0 as usize)
    }
}

impl Default for Owner {
    fn default() -> Self {
        Self::queue(0)
    }
}

/// What a limit allows; everything that is given must allow it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Tokens, and how many may be taken at once; a message takes its cost.
    pub rate: Option<(Rate, u32)>,
    /// Starts in any interval; a message is one, whatever its cost.
    pub window: Option<WindowLimit>,
    /// Leases held at once.
    pub concurrency: Option<u32>,
}

/// What keys of an older limit have to follow.
#[derive(Clone, Debug)]
enum Carried {
    /// Nothing that a key has means anything else now.
    Nothing,
    Tokens(Change),
    /// There was another rate, or none: what was charged then is unknown.
    Unknown,
}

#[derive(Debug, Default)]
pub(super) struct Limit {
    tokens: Option<TokenLimit>,
    pub(super) window: Option<WindowLimit>,
    concurrency: Option<u32>,
    /// The lower bits of the number of changes.
    pub(super) changes: u8,
    /// The last of them, those that keys may not have followed.
    pending: Vec<Carried>,
    /// Keys that are counted under it.
    pub(super) keys: u32,
    pub(super) parked: Parked,
    pub(super) is_removed: bool,
}

/// Lanes that wait for keys of a limit, and how long lanes have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Parked {
    lanes: u32,
    /// Up to `since`, in microseconds.
    waited: u64,
    since: u64,
}

/// How it stands with a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitFigures {
    /// Lanes that wait for its keys.
    pub lanes: u32,
    /// How long lanes have waited for them, all together, in microseconds.
    pub waited: u64,
    /// Keys of which something is known.
    pub keys: u32,
}

impl Parked {
    /// So many lanes wait from now on.
    fn count(&mut self, now: u64, lanes: impl FnOnce(u32) -> u32) {
        self.waited = self.waited_until(now);
        (self.lanes, self.since) = (lanes(self.lanes), self.since.max(now));
    }

    fn waited_until(&self, now: u64) -> u64 {
        let more = u64::from(self.lanes).saturating_mul(now.saturating_sub(self.since));
        self.waited.saturating_add(more)
    }

    pub(super) fn one_more(&mut self, now: u64) {
        self.count(now, |lanes| lanes + 1);
    }

    pub(super) fn one_less(&mut self, now: u64) {
        self.count(now, |lanes| lanes.saturating_sub(1));
    }
}

/// What a key has, to be judged.
pub(super) struct Standing<'a> {
    pub(super) bucket: Bucket,
    pub(super) starts: Option<&'a Starts>,
    pub(super) holders: u32,
    pub(super) gentle: bool,
}

impl Limit {
    /// Whether it allows one more message.
    pub(super) fn judge(&self, key: &Standing<'_>, cost: u32, now: u64) -> Result<(), Reason> {
        let max = match key.gentle {
            true => Some(self.concurrency.unwrap_or(1).min(1)),
            false => self.concurrency,
        };
        if let Some(max) = max.filter(|max| key.holders >= *max) {
            return Err(Reason::Concurrency { holders: key.holders, max });
        }
        if let (Some(window), Some(starts)) = (self.window, key.starts)
            && let Err(limited) = window.check(starts, 1, now)
        {
            return Err(Reason::Window { eligible_at: limited.eligible_at });
        }
        if let Some(tokens) = &self.tokens
            && let Err(limited) = tokens.check(key.bucket, cost, now)
        {
            return Err(Reason::Rate { eligible_at: limited.eligible_at });
        }
        Ok(())
    }

    /// Takes tokens that [`Limit::judge`] found to be there.
    pub(super) fn charge(&mut self, bucket: &mut Bucket, cost: u32, now: u64) {
        if let Some(tokens) = &mut self.tokens {
            debug_assert!(tokens.check(*bucket, cost, now).is_ok(), "charged without a check");
            tokens.take_checked(bucket, cost, now);
        }
    }

    /// What a bucket that has followed `changes` of the changes is now. A pause that ended at
    /// `opened` left it no token then: what came since did so at the rates of its time.
    pub(super) fn carry(&self, mut bucket: Bucket, changes: u8, opened: Option<u64>) -> Bucket {
        let (behind, mut opened) = (usize::from(self.changes.wrapping_sub(changes)), opened);
        for carried in &self.pending[self.pending.len().saturating_sub(behind)..] {
            match carried {
                Carried::Nothing => {}
                Carried::Tokens(change) => {
                    opened = opened.filter(|at| !change.drain_before(&mut bucket, *at));
                    change.carry(&mut bucket);
                }
                Carried::Unknown => bucket = Bucket::default(),
            }
        }
        if let (Some(tokens), Some(at)) = (&self.tokens, opened) {
            tokens.drain(&mut bucket, at);
        }
        bucket
    }

    /// When the bucket is as good as a fresh one.
    pub(super) fn full_at(&self, bucket: Bucket) -> u64 {
        self.tokens.as_ref().map_or(0, |tokens| tokens.idle_at(bucket))
    }

    pub(super) fn figures(&self, now: u64) -> LimitFigures {
        let Parked { lanes, .. } = self.parked;
        LimitFigures { lanes, waited: self.parked.waited_until(now), keys: self.keys }
    }

    pub(super) fn available(&self, bucket: Bucket, now: u64) -> Option<u32> {
        self.tokens.as_ref().map(|tokens| tokens.available(bucket, now))
    }
}

/// All limits.
#[derive(Debug, Default)]
pub(super) struct Limits {
    all: Vec<Option<Limit>>,
    /// For keys of queues, and of limits that are gone: no limit.
    none: Limit,
}

impl Limits {
    pub(super) fn get(&self, owner: Owner) -> &Limit {
        owner.slot().and_then(|at| self.all.get(at)?.as_ref()).unwrap_or(&self.none)
    }

    pub(super) fn get_mut(&mut self, owner: Owner) -> &mut Limit {
        let found = owner.slot().and_then(|at| self.all.get_mut(at)?.as_mut());
        found.unwrap_or(&mut self.none)
    }

    fn find_mut(&mut self, no: LimitNo) -> Option<&mut Limit> {
        self.all.get_mut(no.0 as usize)?.as_mut()
    }

    pub(super) fn add(&mut self, terms: &Terms) -> Result<LimitNo, RateError> {
        let tokens = match terms.rate {
            Some((rate, burst)) => Some(TokenLimit::new(rate, burst)?),
            None => None,
        };
        let (window, concurrency) = (terms.window, terms.concurrency);
        let limit = Limit { tokens, window, concurrency, ..Limit::default() };
        let free = self.all.iter().position(Option::is_none).unwrap_or(self.all.len());
        if free == self.all.len() {
            self.all.push(None);
        }
        self.all[free] = Some(limit);
        Ok(LimitNo(free as u32))
    }

    /// Changes a limit. Says whether keys have to follow.
    pub(super) fn change(
        &mut self,
        no: LimitNo,
        terms: &Terms,
        now: u64,
    ) -> Result<bool, RateError> {
        let Some(limit) = self.find_mut(no) else { return Ok(false) };
        let carried = match (&mut limit.tokens, terms.rate) {
            (Some(tokens), Some((rate, burst)))
                if (tokens.rate(), tokens.burst()) != (rate, burst) =>
            {
                Carried::Tokens(tokens.change(rate, burst, now)?)
            }
            (tokens @ None, Some((rate, burst))) => {
                let mut new = TokenLimit::new(rate, burst)?;
                // What was taken before is not known, so nothing is left of it.
                new.start_empty(now);
                *tokens = Some(new);
                Carried::Unknown
            }
            (tokens @ Some(_), None) => {
                *tokens = None;
                Carried::Unknown
            }
            _ => Carried::Nothing,
        };
        (limit.window, limit.concurrency) = (terms.window, terms.concurrency);
        if limit.keys == 0 {
            limit.pending.clear();
            return Ok(false);
        }
        limit.pending.push(carried);
        limit.changes = limit.changes.wrapping_add(1);
        Ok(true)
    }

    /// Nothing refers to the limit any more. Says whether keys have to go.
    pub(super) fn remove(&mut self, no: LimitNo) -> bool {
        if let Some(limit) = self.find_mut(no) {
            limit.is_removed = true;
        }
        let owner = Owner::limit(no);
        self.free(owner);
        self.get(owner).is_removed
    }

    /// A key is gone.
    pub(super) fn lose_key(&mut self, owner: Owner) {
        let limit = self.get_mut(owner);
        limit.keys = limit.keys.saturating_sub(1);
        self.free(owner);
    }

    /// Frees the number of a limit that was removed, when its last key is gone.
    fn free(&mut self, owner: Owner) {
        let slot = owner.slot().and_then(|at| self.all.get_mut(at));
        if let Some(slot) = slot
            && slot.as_ref().is_some_and(|limit| limit.is_removed && limit.keys == 0)
        {
            *slot = None;
        }
    }

    /// Whether keys must follow before the next change.
    pub(super) fn is_behind(&self, no: LimitNo) -> bool {
        self.get(Owner::limit(no)).pending.len() >= CHANGES_MAX
    }

    /// How it stands with all limits together, and with keys under none.
    pub(super) fn figures(&self, now: u64) -> LimitFigures {
        let all = self.all.iter().flatten().chain([&self.none]).map(|limit| limit.figures(now));
        all.fold(LimitFigures::default(), |sum, one| LimitFigures {
            lanes: sum.lanes + one.lanes,
            waited: sum.waited.saturating_add(one.waited),
            keys: sum.keys + one.keys,
        })
    }

    /// Lanes that wait for keys of any limit, or of none.
    pub(super) fn parked_lanes(&self) -> usize {
        let all = self.all.iter().flatten().chain([&self.none]);
        all.map(|limit| limit.parked.lanes as usize).sum()
    }

    /// All keys have followed.
    pub(super) fn settled(&mut self) {
        for limit in self.all.iter_mut().flatten() {
            limit.pending = Vec::new();
        }
    }

    /// Empties the buckets of all keys, as after a restart.
    pub(super) fn start_empty(&mut self, now: u64) {
        for tokens in self.all.iter_mut().flatten().filter_map(|limit| limit.tokens.as_mut()) {
            tokens.start_empty(now);
        }
    }
}
