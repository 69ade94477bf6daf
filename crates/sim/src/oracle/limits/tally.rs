//! What was taken of one key of a limit: tokens, starts, pauses.
//!
//! A bucket is reckoned in whole parts, so nothing is rounded before a limit is changed. Where what
//! is known may be less than what is, because nobody saw it or the pages don't say, the tally says
//! since when it is vague.

use std::collections::VecDeque;

use super::rule::{At, Rate};

/// Tokens that are there, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    parts: i128,
    at: At,
    /// It was carried over a change, which may round it.
    pub(crate) is_rounded: bool,
}

impl Bucket {
    pub(crate) fn full(rate: Rate, at: At) -> Self {
        Self { parts: rate.full(), at, is_rounded: false }
    }

    pub(crate) fn empty(at: At) -> Self {
        Self { parts: 0, at, is_rounded: false }
    }

    pub(crate) fn parts(&self, rate: Rate, now: At) -> i128 {
        let come = rate.gain * i128::from(now.saturating_sub(self.at));
        (self.parts + come).min(rate.full())
    }

    pub(crate) fn take(&mut self, rate: Rate, price: i128, now: At) {
        (self.parts, self.at) = (self.parts(rate, now) - price, self.at.max(now));
    }

    /// A pause has ended: no token is left.
    pub(crate) fn drain(&mut self, rate: Rate, at: At) {
        (self.parts, self.at) = (self.parts(rate, at).min(0), self.at.max(at));
    }

    /// The limit was changed: what fits is kept, nothing is refilled.
    pub(crate) fn carry(&mut self, from: Rate, to: Rate, at: At) {
        let parts = self.parts(from, at) * to.token;
        let rounded = parts.div_euclid(from.token) + i128::from(parts.rem_euclid(from.token) != 0);
        self.is_rounded |= from != to;
        (self.parts, self.at) = (rounded.min(to.full()), self.at.max(at));
    }

    /// The first millisecond at which so much is there, if nobody takes any.
    pub(crate) fn has_at(&self, rate: Rate, parts: i128) -> At {
        let missing = (parts - self.parts).max(0);
        let millis = (missing + rate.gain - 1) / rate.gain;
        self.at + At::try_from(millis).unwrap_or(At::MAX >> 8)
    }
}

/// What a consumer said of a key by giving a message back as throttled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Feedback {
    pub(crate) since: At,
    /// Nothing before, at least.
    pub(crate) until: At,
    /// One at a time from then on, until an ack.
    pub(crate) is_gentle: bool,
    /// The bucket is to be drained when it opens.
    pub(crate) drains: bool,
    /// Pauses without a time of their own since the last ack.
    pub(crate) strikes: u32,
    /// The last ack since, which may not have been the first thing in its millisecond.
    pub(crate) acked: At,
    /// It may be longer, or not there any more.
    pub(crate) is_vague: bool,
}

/// How long what was said is kept behind the end of a pause.
const KEPT: At = 600_000;

impl Feedback {
    pub(crate) fn is_gentle(&self, now: At) -> bool {
        self.is_gentle && now < self.until + KEPT
    }
}

/// One key of a limit, or of a queue.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// None as long as it is as a fresh one.
    pub(crate) bucket: Option<Bucket>,
    pub(crate) starts: VecDeque<At>,
    /// Up to this moment there may have been starts that nobody knows of.
    pub(crate) starts_vague: At,
    /// The end of a pause that somebody made by hand, and when it was made.
    pub(crate) by_hand: Option<(At, At)>,
    pub(crate) feedback: Option<Feedback>,
}

impl Tally {
    /// Starts in the interval of that length which ends now, both its ends counted.
    pub(crate) fn inside(&self, length: At, now: At) -> usize {
        self.starts.iter().filter(|at| **at + length >= now).count()
    }

    /// When one more may start, if nobody else comes first.
    pub(crate) fn starts_at(&self, max: usize, length: At, now: At) -> At {
        let inside: Vec<At> = self.starts.iter().copied().filter(|at| at + length >= now).collect();
        match inside.len().checked_sub(max) {
            None => now,
            Some(over) => inside[over] + length + 1,
        }
    }

    /// The end of every pause that surely runs at that moment.
    pub(crate) fn paused(&self, now: At) -> Option<At> {
        let by_hand = self.by_hand.map(|(until, _)| until);
        let by_nack = self.feedback.map(|feedback| feedback.until);
        by_hand.into_iter().chain(by_nack).filter(|until| *until > now).max()
    }
}
