//! Retry delays that grow with each failure and are spread by jitter.
//!
//! The delay after the n-th failure is `min(max, min * factor^(n-1))`, then drawn uniformly from
//! `[delay * (1 - jitter), delay]`. The draw is an argument, so the same seed gives the same delay.

use std::time::Duration;

use thiserror::Error;

/// How long to wait before a message is tried again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The delay after the first failure.
    pub min: Duration,
    /// No delay is longer.
    pub max: Duration,
    /// By what each further failure multiplies the delay; at least 1.
    pub factor: f64,
    /// Which part of the delay is left to chance, from 0 to 1.
    pub jitter: f64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            min: Duration::from_secs(1),
            max: Duration::from_secs(600),
            factor: 2.0,
            jitter: 0.2,
        }
    }
}

/// Why a backoff makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum BackoffError {
    /// `min` is above `max`.
    #[error("backoff_min_ms {min:?} is above backoff_max_ms {max:?}")]
    Order {
        /// The lower bound given.
        min: Duration,
        /// The upper bound given.
        max: Duration,
    },
    /// The factor is below 1 or no number.
    #[error("backoff_factor {0} is not at least 1")]
    Factor(f64),
    /// The jitter is outside 0 to 1.
    #[error("jitter {0} is not between 0 and 1")]
    Jitter(f64),
}

impl Backoff {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the value that is out of range.
    pub fn validate(&self) -> Result<(), BackoffError> {
        if self.min > self.max {
            return Err(BackoffError::Order { min: self.min, max: self.max });
        }
        if !self.factor.is_finite() || self.factor < 1.0 {
            return Err(BackoffError::Factor(self.factor));
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(BackoffError::Jitter(self.jitter));
        }
        Ok(())
    }

    /// The delay after failure number `failures` (from 1), with `draw` as the random bits.
    pub fn delay(&self, failures: u32, draw: u64) -> Duration {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let grown = self.min.as_secs_f64() * self.factor.powi(exponent);
        let full = grown.min(self.max.as_secs_f64());
        // The upper 53 bits make every fraction in [0, 1) equally likely.
        let fraction = (draw >> 11) as f64 / (1u64 << 53) as f64;
        Duration::from_secs_f64(full * (1.0 - self.jitter * fraction))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Backoff = Backoff {
        min: Duration::from_millis(100),
        max: Duration::from_secs(10),
        factor: 2.0,
        jitter: 0.0,
    };

    #[test]
    #[rustfmt::skip]
    fn delay_doubles_with_each_failure_up_to_the_maximum() {
        let cases = [(1, 100), (2, 200), (3, 400), (7, 6_400), (8, 10_000), (u32::MAX, 10_000)];
        for (failures, millis) in cases {
            assert_eq!(PLAIN.delay(failures, 7), Duration::from_millis(millis), "{failures}");
        }
    }

    #[test]
    fn jitter_only_shortens_and_stays_inside_its_share() {
        let backoff = Backoff { jitter: 0.2, ..PLAIN };
        assert_eq!(backoff.delay(1, 0), Duration::from_millis(100));
        let least = backoff.delay(1, u64::MAX);
        assert!(
            least >= Duration::from_millis(80) && least < Duration::from_millis(81),
            "{least:?}"
        );
    }

    #[test]
    fn ranges_are_checked() {
        assert_eq!(Backoff::default().validate(), Ok(()));
        let bad = Backoff { factor: 0.5, ..PLAIN };
        assert_eq!(bad.validate(), Err(BackoffError::Factor(0.5)));
        let bad = Backoff { jitter: 1.5, ..PLAIN };
        assert_eq!(bad.validate(), Err(BackoffError::Jitter(1.5)));
        let bad = Backoff { min: Duration::from_secs(11), ..PLAIN };
        assert!(matches!(bad.validate(), Err(BackoffError::Order { .. })));
    }
}
