//! One direction of a connection: bytes that were read, each piece with the time from which it may
//! be passed on.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use sluice_flow::Random;

use crate::plan::Plan;

/// Bytes that are held back before no more are read.
const HELD_MAX: usize = 256 << 10;
/// A throttled direction passes on as much at once as it may in this time.
const BURST: Duration = Duration::from_millis(20);

/// Bytes on their way in one direction.
#[derive(Debug)]
pub(crate) struct Way {
    delay: Option<(Duration, Duration)>,
    throttle: Option<u64>,
    random: Random,
    pieces: VecDeque<(Duration, Bytes)>,
    held: usize,
    /// No piece may pass before the one in front of it.
    last_due: Duration,
    /// The rate allows the next piece from then on.
    free_at: Duration,
    /// The piece in front was found to be too early for the rate.
    is_waiting: bool,
    has_ended: bool,
    pub(crate) is_done: bool,
    pub(crate) delayed: u64,
    pub(crate) throttled: u64,
}

impl Way {
    pub(crate) fn new(plan: &Plan, random: Random) -> Self {
        Self {
            delay: plan.delay,
            throttle: plan.throttle,
            random,
            pieces: VecDeque::new(),
            held: 0,
            last_due: Duration::ZERO,
            free_at: Duration::ZERO,
            is_waiting: false,
            has_ended: false,
            is_done: false,
            delayed: 0,
            throttled: 0,
        }
    }

    /// Whether more is to be read.
    pub(crate) const fn wants(&self) -> bool {
        !self.has_ended && self.held < HELD_MAX
    }

    pub(crate) fn push(&mut self, bytes: Bytes, now: Duration) {
        if let Some((min, max)) = self.delay {
            let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            let drawn = self.random.within(micros(min)..=micros(max));
            self.last_due = self.last_due.max(now.saturating_add(Duration::from_micros(drawn)));
            self.delayed += 1;
        }
        self.held += bytes.len();
        self.pieces.push_back((self.last_due, bytes));
    }

    /// Nothing more will be read.
    pub(crate) const fn end(&mut self) {
        self.has_ended = true;
    }

    /// All that was read has been passed on, and nothing more will be read.
    pub(crate) fn is_at_end(&self) -> bool {
        self.has_ended && self.pieces.is_empty()
    }

    /// What may be passed on now, at most `max` bytes.
    pub(crate) fn take(&mut self, max: u64, now: Duration) -> Option<Bytes> {
        let (due, piece) = self.pieces.front_mut()?;
        if *due > now {
            return None;
        }
        if self.free_at > now {
            self.throttled += u64::from(!std::mem::replace(&mut self.is_waiting, true));
            return None;
        }
        self.is_waiting = false;
        let mut count = piece.len().min(usize::try_from(max).unwrap_or(usize::MAX));
        if let Some(rate) = self.throttle {
            let rate = rate.max(1) as f64;
            count = count.min((rate * BURST.as_secs_f64()).max(1.0) as usize);
            self.free_at = now + Duration::from_secs_f64(count as f64 / rate);
        }
        let taken = piece.split_to(count);
        if piece.is_empty() {
            self.pieces.pop_front();
        }
        self.held -= count;
        Some(taken)
    }

    /// When the piece in front may be passed on.
    pub(crate) fn next_time(&self) -> Option<Duration> {
        self.pieces.front().map(|(due, _)| (*due).max(self.free_at))
    }

    /// Throws away what is held; how many bytes that was.
    pub(crate) fn drop_all(&mut self) -> usize {
        self.pieces.clear();
        std::mem::take(&mut self.held)
    }
}
