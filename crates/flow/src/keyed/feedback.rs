//! What consumers said about a key: that whoever is behind it wants a pause.
//!
//! ```text
//! open --throttled--> paused --time--> opened: empty bucket, one at a time --ack--> open
//!                      ^  |                     |
//!                      '--'<-----throttled------'
//! ```
//!
//! Times are microseconds. Without a time of its own a pause is 1 s, and twice the one before each
//! further time, up to 60 s. A key that is paused already is not paused twice as long because others
//! who held it say the same. Ten minutes after the last pause all of it is forgotten.

const SECOND: u64 = 1_000_000;
/// The first pause without a time of its own, and the longest.
const STEP_MIN: u64 = SECOND;
const STEP_MAX: u64 = 60 * SECOND;
/// How long it is kept behind the end of the pause.
const KEPT: u64 = 600 * SECOND;

/// What is known of one key; the default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Feedback {
    /// Nothing of the key is handed out before.
    pub paused_until: u64,
    /// From then on nothing is known any more.
    pub kept_until: u64,
    /// Pauses without a time of their own since the last ack.
    pub strikes: u8,
    /// One at a time after the pause, until one is acked.
    pub gentle: bool,
    /// The bucket is to be emptied at the end of the pause.
    pub empties: bool,
}

impl Feedback {
    /// A consumer was told to come again after `retry_after`, if it was told a time.
    pub(super) fn throttle(&mut self, retry_after: Option<u64>, pause_max: u64, now: u64) {
        self.forget(now);
        let pause = retry_after.unwrap_or_else(|| {
            if self.strikes == 0 || now >= self.paused_until {
                self.strikes = self.strikes.saturating_add(1);
            }
            let doublings = u32::from(self.strikes - 1).min(6);
            (STEP_MIN << doublings).min(STEP_MAX)
        });
        self.paused_until = self.paused_until.max(now.saturating_add(pause.min(pause_max)));
        self.kept_until = self.paused_until.saturating_add(KEPT);
        (self.gentle, self.empties) = (true, true);
    }

    /// A message was acked. Says whether that changed anything: acks during a pause are of those
    /// that were out before, and don't tell how it is now.
    pub(super) fn ack(&mut self, now: u64) -> bool {
        let counts = now >= self.paused_until && self.is_known(now);
        if counts {
            *self =
                Self { empties: self.empties, paused_until: self.paused_until, ..Self::default() };
        }
        counts
    }

    /// Ends the pause at once.
    pub(super) fn resume(&mut self, now: u64) {
        self.paused_until = self.paused_until.min(now);
    }

    /// Whether it holds its key in memory.
    pub(super) fn is_known(&self, now: u64) -> bool {
        now < self.kept_until || now < self.paused_until
    }

    /// Whether only one may be out at a time.
    pub(super) fn is_gentle(&self, now: u64) -> bool {
        self.gentle && now < self.kept_until
    }

    fn forget(&mut self, now: u64) {
        if !self.is_known(now) {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600 * SECOND;

    #[test]
    fn pauses_without_a_time_double_up_to_a_minute_and_an_ack_begins_anew() {
        let (mut feedback, mut now) = (Feedback::default(), 5);
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            feedback.throttle(None, HOUR, now);
            assert_eq!(feedback.paused_until, now + seconds * SECOND);
            // Others who were out say the same.
            feedback.throttle(None, HOUR, now);
            assert_eq!(feedback.paused_until, now + seconds * SECOND);
            assert!(!feedback.ack(now) && feedback.is_gentle(now));
            now = feedback.paused_until;
        }
        assert!(feedback.ack(now) && !feedback.is_gentle(now) && !feedback.is_known(now));
        feedback.throttle(None, HOUR, now);
        assert_eq!(feedback.paused_until, now + SECOND);
    }

    #[test]
    fn the_longest_pause_counts_and_none_is_longer_than_allowed() {
        let mut feedback = Feedback::default();
        feedback.throttle(Some(30 * SECOND), HOUR, 0);
        feedback.throttle(Some(10 * SECOND), HOUR, SECOND);
        assert_eq!(feedback.paused_until, 30 * SECOND);
        feedback.throttle(Some(u64::MAX), HOUR, SECOND);
        assert_eq!(feedback.paused_until, HOUR + SECOND);
        feedback.resume(2 * SECOND);
        assert_eq!(feedback.paused_until, 2 * SECOND);
    }

    #[test]
    fn it_is_forgotten_ten_minutes_after_the_pause() {
        let mut feedback = Feedback::default();
        feedback.throttle(None, HOUR, 0);
        let end = SECOND + KEPT;
        assert!(feedback.is_known(end - 1) && feedback.is_gentle(end - 1));
        assert!(!feedback.is_known(end) && !feedback.is_gentle(end));
        feedback.throttle(None, HOUR, end);
        assert_eq!((feedback.strikes, feedback.paused_until), (1, end + SECOND));
    }
}
