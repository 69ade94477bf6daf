//! A rate that is kept exactly: so many tokens in so many milliseconds.
//!
//! Time comes in as whole microseconds since any fixed moment, also the epoch. Inside, it is
//! counted in ticks so short that the interval between two tokens is a whole number of them, so
//! sums of intervals never round and nothing drifts, however odd the rate. There are at most
//! 4 000 000 ticks in a millisecond, which lets a `u64` of them reach from the epoch to 2116.
//!
//! A moment between two ticks is rounded to the side that admits less: the error is below a tick,
//! a tick is below a microsecond, and it doesn't add up.

use thiserror::Error;

/// The time of what never comes.
pub const NEVER: u64 = u64::MAX;

const TICKS_PER_MS_MAX: u64 = 4_000_000;
/// The longest time between two tokens, and in which an empty bucket is full again: 366 days.
const SPAN_MS_MAX: u64 = 366 * 24 * 3_600 * 1_000;
/// Digits behind the point of a decimal rate.
const DECIMALS_MAX: usize = 9;

/// Tokens per period; settings call them `rate` and `per_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Ticks between two tokens.
    interval: u64,
    ticks_per_ms: u64,
}

/// Why a rate or a burst can't be kept.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RateError {
    /// No tokens, or no time for them to come in.
    #[error("rate and per_ms must be above 0")]
    Zero,
    /// The text is no decimal number, or has too many digits.
    #[error(
        "rate {0:?} is not a decimal number with at most {DECIMALS_MAX} digits behind the point"
    )]
    NotDecimal(String),
    /// The time between two tokens is no whole number of ticks.
    #[error(
        "the rate can't be kept exactly: the time between two tokens, as a fraction of 1 ms, \
         has the denominator {denominator}, it must be at most {TICKS_PER_MS_MAX}"
    )]
    TooFine {
        /// The denominator of the reduced fraction.
        denominator: u128,
    },
    /// Tokens come less than once in 366 days.
    #[error("the rate is below one token in 366 days")]
    TooSlow,
    /// No token fits the bucket.
    #[error("burst is 0, it must be at least 1")]
    NoBurst,
    /// An empty bucket would take longer than 366 days to fill.
    #[error("a burst of {burst} takes longer than 366 days to come back at this rate")]
    BurstTooLong {
        /// The burst given.
        burst: u32,
    },
}

impl Rate {
    /// `tokens` in every second.
    ///
    /// # Errors
    /// See [`Rate::fraction`].
    pub fn per_second(tokens: u64) -> Result<Self, RateError> {
        Self::fraction(tokens, 1, 1_000)
    }

    /// The decimal number `text`, like `5` or `0.25`, of tokens in every `per_ms` milliseconds.
    ///
    /// # Errors
    /// The text is no decimal number, or see [`Rate::fraction`].
    pub fn decimal(text: &str, per_ms: u64) -> Result<Self, RateError> {
        let wrong = || RateError::NotDecimal(text.to_owned());
        let (whole, behind) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(behind) || behind.len() > DECIMALS_MAX {
            return Err(wrong());
        }
        let numerator = format!("{whole}{behind}").parse().map_err(|_| wrong())?;
        // At most 10^9.
        let denominator = behind.bytes().fold(1, |power: u64, _| power * 10);
        Self::fraction(numerator, denominator, per_ms)
    }

    /// `numerator / denominator` tokens in every `per_ms` milliseconds.
    ///
    /// # Errors
    /// There are none in any time, they come too slowly, or the rate is finer than can be kept
    /// exactly. Whole rates up to 4 000 000 a second and those with three digits behind the point
    /// up to 4 000 a second always can.
    pub fn fraction(numerator: u64, denominator: u64, per_ms: u64) -> Result<Self, RateError> {
        if numerator == 0 || denominator == 0 || per_ms == 0 {
            return Err(RateError::Zero);
        }
        let (above, below) = (u128::from(denominator) * u128::from(per_ms), u128::from(numerator));
        let common = gcd(above, below);
        let (above, below) = (above / common, below / common);
        if below > u128::from(TICKS_PER_MS_MAX) {
            return Err(RateError::TooFine { denominator: below });
        }
        if above / below > u128::from(SPAN_MS_MAX) {
            return Err(RateError::TooSlow);
        }
        // Ticks as short as may be, so that every microsecond has one of its own.
        let finer = u128::from(TICKS_PER_MS_MAX) / below;
        let interval = u64::try_from(above * finer).map_err(|_| RateError::TooSlow)?;
        let ticks_per_ms = u64::try_from(below * finer).map_err(|_| RateError::TooSlow)?;
        Ok(Self { interval, ticks_per_ms })
    }

    /// Ticks that `tokens` take to come.
    pub(crate) fn ticks_for(self, tokens: u32) -> u128 {
        u128::from(self.interval) * u128::from(tokens)
    }

    /// Ticks between two tokens.
    pub(crate) fn interval(self) -> u64 {
        self.interval
    }

    /// The last tick that is not after `micros`.
    pub(crate) fn floor(self, micros: u64) -> u128 {
        // In two parts, of which only the first can leave 64 bits: a division of 128 bits would
        // take longer than all the rest of a check.
        let (millis, rest) = (micros / 1_000, micros % 1_000);
        u128::from(millis) * u128::from(self.ticks_per_ms)
            + u128::from(rest * self.ticks_per_ms / 1_000)
    }

    /// The first tick that is not before `micros`.
    pub(crate) fn ceil(self, micros: u64) -> u128 {
        let (millis, rest) = (micros / 1_000, micros % 1_000);
        u128::from(millis) * u128::from(self.ticks_per_ms)
            + u128::from((rest * self.ticks_per_ms).div_ceil(1_000))
    }

    /// The first microsecond that is not before `ticks`.
    pub(crate) fn micros(self, ticks: u128) -> u64 {
        if let Ok(ticks) = u64::try_from(ticks) {
            // In two parts, for the same reason.
            let (millis, rest) = (ticks / self.ticks_per_ms, ticks % self.ticks_per_ms);
            let micros = (rest * 1_000).div_ceil(self.ticks_per_ms);
            return millis.checked_mul(1_000).map_or(NEVER, |whole| whole.saturating_add(micros));
        }
        let micros = ticks.saturating_mul(1_000).div_ceil(u128::from(self.ticks_per_ms));
        u64::try_from(micros).unwrap_or(NEVER)
    }

    /// Checks that `burst` tokens come back in a time that can be counted.
    pub(crate) fn check_burst(self, burst: u32) -> Result<(), RateError> {
        if burst == 0 {
            return Err(RateError::NoBurst);
        }
        let longest = u128::from(SPAN_MS_MAX) * u128::from(self.ticks_per_ms);
        match self.ticks_for(burst) > longest {
            true => Err(RateError::BurstTooLong { burst }),
            false => Ok(()),
        }
    }
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    #[rustfmt::skip]
    fn intervals_are_whole_numbers_of_ticks() {
        let cases = [
            (Rate::per_second(5),               200_000),
            (Rate::per_second(1_000),           1_000),
            (Rate::per_second(4_000_000),       1),
            (Rate::decimal("0.5", 1_000),       2_000_000),
            (Rate::decimal("2.500", 1_000),     400_000),
            (Rate::decimal("1", 60_000),        60_000_000),
            (Rate::fraction(1, 366, 86_400_000), 31_622_400_000_000),
        ];
        for (rate, micros) in cases {
            let rate = rate.unwrap();
            assert_eq!(rate.micros(rate.ticks_for(1)), micros, "{rate:?}");
        }
        // A third of a second is no whole number of microseconds, three thirds are.
        let thirds = Rate::per_second(3).unwrap();
        assert_eq!(thirds.micros(thirds.ticks_for(1)), 333_334);
        assert_eq!(thirds.micros(thirds.ticks_for(3)), 1_000_000);
    }

    #[test]
    #[rustfmt::skip]
    fn what_cant_be_kept_is_refused() {
        let text = |text: &str| Err(RateError::NotDecimal(text.to_owned()));
        let cases = [
            (Rate::per_second(0),                   Err(RateError::Zero)),
            (Rate::decimal("0.00", 1_000),          Err(RateError::Zero)),
            (Rate::decimal("1", 0),                 Err(RateError::Zero)),
            (Rate::per_second(4_000_003_000_003),   Err(RateError::TooFine { denominator: 4_000_003_000_003 })),
            (Rate::fraction(1, 367, 86_400_000),    Err(RateError::TooSlow)),
            (Rate::decimal("", 1),                  text("")),
            (Rate::decimal("-1", 1),                text("-1")),
            (Rate::decimal("1.", 1),                text("1.")),
            (Rate::decimal("1e3", 1),               text("1e3")),
            (Rate::decimal("0.1234567890", 1),      text("0.1234567890")),
            (Rate::decimal("99999999999999999999", 1), text("99999999999999999999")),
        ];
        for (rate, expected) in cases {
            assert_eq!(rate, expected);
        }
        let daily = Rate::decimal("1", 86_400_000).unwrap();
        assert_eq!(daily.check_burst(366), Ok(()));
        assert_eq!(daily.check_burst(367), Err(RateError::BurstTooLong { burst: 367 }));
        assert_eq!(daily.check_burst(0), Err(RateError::NoBurst));
    }

    proptest! {
        #[test]
        fn no_rate_and_no_time_panics(n in any::<u64>(), d in any::<u64>(), per in any::<u64>(), at in any::<u64>(), small in 1u64..5_000_000) {
            for rate in [Rate::fraction(n, d, per), Rate::fraction(small, d, per), Rate::fraction(small, 1, 1_000)] {
                let Ok(rate) = rate else { continue };
                prop_assert!(rate.floor(at) <= rate.ceil(at) && rate.ceil(at) <= rate.floor(at) + 1);
                // The microsecond of a tick is the first from which on the tick is there.
                let micros = rate.micros(rate.ceil(at));
                prop_assert!(micros >= at && rate.floor(micros) >= rate.ceil(at));
                rate.check_burst(u32::MAX).ok();
                rate.micros(rate.ticks_for(u32::MAX));
            }
        }
    }
}
