//! What a limit allows, as text: `2.5/s burst 10 window 100/1m concurrency 4`.
//!
//! ```text
//! rate         NUMBER/PERIOD           5/s  100/m  2.5/10s
//! window       window COUNT/PERIOD     window 100/1m
//! others       burst N   concurrency N   delay PERIOD   refuse
//! PERIOD       a whole number, 1 if there is none, of ms, s, m, h or d
//! ```

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{LIMIT_WAIT_MAX, LimitError, LimitMode, LimitScope, LimitTerms};

/// Most starts of a window.
pub const WINDOW_STARTS_MAX: u32 = 100_000;
/// The longest period, and the longest time in which a burst comes back: 366 days.
const SPAN_MS_MAX: u64 = 366 * 86_400_000;
/// Most tokens in a period; with a fraction, in thousandths. Such rates are kept exactly: the time
/// between two tokens is a multiple of a four-millionth of a millisecond or a longer one.
const TOKENS_MAX: u64 = 4_000_000;
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Tokens per period, kept exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateTerm {
    thousandths: u64,
    per_ms: u64,
}

/// Most starts in any interval of a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowTerm {
    max: u32,
    length_ms: u64,
}

impl RateTerm {
    /// `thousandths / 1000` tokens in every `per_ms` milliseconds: whole numbers up to 4 000 000, and
    /// up to 4 000 with a fraction.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn new(thousandths: u64, per_ms: u64) -> Result<Self, LimitError> {
        let term = Self { thousandths, per_ms };
        let wrong = |problem| Err(LimitError::Rate { text: term.to_string(), problem });
        if thousandths == 0 {
            return wrong("is 0; concurrency 0 closes a key");
        }
        if !(1..=SPAN_MS_MAX).contains(&per_ms) {
            return wrong("has a period outside 1ms .. 366d");
        }
        let most = if thousandths.is_multiple_of(1_000) { 1_000 * TOKENS_MAX } else { TOKENS_MAX };
        if thousandths > most {
            return wrong("is above 4000000, or above 4000 with a fraction");
        }
        if term.millis_for(1) > u128::from(SPAN_MS_MAX) {
            return wrong("is below one in 366 days");
        }
        Ok(term)
    }

    /// Tokens in a period, in thousandths.
    pub fn thousandths(self) -> u64 {
        self.thousandths
    }

    /// The period, in milliseconds.
    pub fn per_ms(self) -> u64 {
        self.per_ms
    }

    /// Milliseconds in which so many come, rounded up.
    fn millis_for(self, tokens: u32) -> u128 {
        let thousandths = u128::from(tokens) * 1_000 * u128::from(self.per_ms);
        thousandths.div_ceil(u128::from(self.thousandths))
    }
}

impl WindowTerm {
    /// At most `max` starts, from 1 to [`WINDOW_STARTS_MAX`], in any `length_ms` milliseconds.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn new(max: u32, length_ms: u64) -> Result<Self, LimitError> {
        let term = Self { max, length_ms };
        let wrong = |problem| Err(LimitError::Window { text: term.to_string(), problem });
        if !(1..=WINDOW_STARTS_MAX).contains(&max) {
            return wrong("has a max outside 1 .. 100000");
        }
        if !(1..=SPAN_MS_MAX).contains(&length_ms) {
            return wrong("has a length outside 1ms .. 366d");
        }
        Ok(term)
    }

    /// Most starts.
    pub fn max(self) -> u32 {
        self.max
    }

    /// The length of the interval, in milliseconds.
    pub fn length_ms(self) -> u64 {
        self.length_ms
    }
}

impl LimitTerms {
    /// How many tokens may be taken at once.
    pub fn burst(&self) -> u32 {
        self.burst.unwrap_or(1)
    }

    pub(super) fn check(&self, scope: LimitScope) -> Result<(), LimitError> {
        if self.rate.is_none() && self.window.is_none() && self.concurrency.is_none() {
            return Err(LimitError::Nothing);
        }
        let meaningless = |field| Err(LimitError::Meaningless { field, scope });
        if scope.is_for_requests() {
            if self.window.is_some() {
                return meaningless("window");
            }
            if self.concurrency.is_some() {
                return meaningless("concurrency");
            }
        } else if self.mode != LimitMode::Refuse {
            return meaningless("delay");
        }
        if let LimitMode::Delay(wait) = self.mode
            && (wait < Duration::from_millis(1) || wait > LIMIT_WAIT_MAX)
        {
            return Err(LimitError::Wait(wait.as_millis()));
        }
        let burst = self.burst();
        let problem = match self.rate {
            _ if burst == 0 => "is not at least 1",
            None if self.burst.is_some() => "is given without a rate",
            Some(rate) if rate.millis_for(burst) > u128::from(SPAN_MS_MAX) => {
                "takes longer than 366 days to come back at this rate"
            }
            _ => return Ok(()),
        };
        Err(LimitError::Burst { burst, problem })
    }
}

/// Milliseconds as a period: `10s`, and `s` for one second.
fn write_period(f: &mut fmt::Formatter<'_>, millis: u64) -> fmt::Result {
    let fits = |unit: &&(&str, u64)| millis > 0 && millis.is_multiple_of(unit.1);
    let (name, length) = UNITS.iter().find(fits).copied().unwrap_or(("ms", 1));
    match millis / length {
        1 => f.write_str(name),
        count => write!(f, "{count}{name}"),
    }
}

fn period(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = text.split_at(digits);
    let (_, length) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let count = if count.is_empty() { 1 } else { count.parse::<u64>().ok()? };
    count.checked_mul(*length)
}

/// Reads a number with at most three digits behind the point, in thousandths.
fn thousandths(text: &str) -> Option<u64> {
    let (whole, behind) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(behind) || behind.len() > 3 {
        return None;
    }
    let behind: u64 = format!("{behind:0<3}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000)?.checked_add(behind)
}

impl fmt::Display for RateTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.thousandths / 1_000, self.thousandths % 1_000);
        let behind = format!(".{rest:03}");
        let behind = if rest == 0 { "" } else { behind.trim_end_matches('0') };
        write!(f, "{whole}{behind}/")?;
        write_period(f, self.per_ms)
    }
}

impl FromStr for RateTerm {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let parts = text.split_once('/').and_then(|(n, per)| thousandths(n).zip(period(per)));
        let problem =
            "is not like 5/s, 2.5/s or 100/10m, with at most three digits behind the point";
        let (thousandths, per_ms) =
            parts.ok_or_else(|| LimitError::Rate { text: text.to_owned(), problem })?;
        Self::new(thousandths, per_ms)
    }
}

impl fmt::Display for WindowTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.max)?;
        write_period(f, self.length_ms)
    }
}

impl FromStr for WindowTerm {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let parts = text.split_once('/').and_then(|(n, per)| n.parse().ok().zip(period(per)));
        let problem = "is not like 100/1m";
        let (max, length_ms) =
            parts.ok_or_else(|| LimitError::Window { text: text.to_owned(), problem })?;
        Self::new(max, length_ms)
    }
}

impl fmt::Display for LimitTerms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let mut part = |f: &mut fmt::Formatter<'_>, text: fmt::Arguments<'_>| {
            write!(f, "{separator}{text}")?;
            separator = " ";
            Ok(())
        };
        if let Some(rate) = self.rate {
            part(f, format_args!("{rate}"))?;
        }
        if let Some(burst) = self.burst {
            part(f, format_args!("burst {burst}"))?;
        }
        if let Some(window) = self.window {
            part(f, format_args!("window {window}"))?;
        }
        if let Some(concurrency) = self.concurrency {
            part(f, format_args!("concurrency {concurrency}"))?;
        }
        match self.mode {
            LimitMode::Refuse => Ok(()),
            LimitMode::Delay(wait) => part(f, format_args!("delay {}ms", wait.as_millis())),
        }
    }
}

impl FromStr for LimitTerms {
    type Err = LimitError;

    /// Reads the parts in any order, each at most once. What they mean together is checked by
    /// [`super::Limit::new`].
    fn from_str(text: &str) -> Result<Self, LimitError> {
        let mut terms = Self::default();
        let mut seen: Vec<&str> = Vec::new();
        let mut words = text.split_whitespace();
        while let Some(word) = words.next() {
            let field = if word.contains('/') { "rate" } else { word };
            let unknown = || LimitError::Word(word.to_owned());
            if seen.contains(&field) {
                return Err(unknown());
            }
            seen.push(field);
            match field {
                "rate" => terms.rate = Some(word.parse()?),
                "refuse" => terms.mode = LimitMode::Refuse,
                "burst" | "concurrency" | "window" | "delay" => {
                    let value = words.next().ok_or_else(unknown)?;
                    let number = || value.parse().map_err(|_| LimitError::Word(value.to_owned()));
                    match field {
                        "burst" => terms.burst = Some(number()?),
                        "concurrency" => terms.concurrency = Some(number()?),
                        "window" => terms.window = Some(value.parse()?),
                        _ => {
                            let millis = period(value);
                            let millis =
                                millis.ok_or_else(|| LimitError::Word(value.to_owned()))?;
                            terms.mode = LimitMode::Delay(Duration::from_millis(millis));
                        }
                    }
                }
                _ => return Err(unknown()),
            }
        }
        Ok(terms)
    }
}
