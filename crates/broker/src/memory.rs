//! The memory budget: what makes it worse is refused before the system has none left.
//!
//! ```text
//! 0 % ---------- 85 % ------------------ 95 % --------------- 100 %
//!     all is well  no publishes            few new connections
//! ```
//!
//! What makes room again is never refused: receiving, settling, leaving.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use sluice_model::{Code, Refusal};

/// When a publisher may try again: about as long as consumers take to make a difference.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How short memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// Not at all.
    None,
    /// From 85 % of the budget: publishes are refused.
    High,
    /// From 95 %: new connections are refused as well, save a few.
    Critical,
}

/// The bytes that the process may use and those that it does.
pub struct Memory {
    limit: u64,
    /// From here on there is pressure, and from there it is critical.
    high: u64,
    critical: u64,
    used: Box<dyn Fn() -> u64 + Send + Sync>,
    refused: AtomicU64,
}

impl Memory {
    /// A budget of `limit` bytes; `used` says how many are in use, and is asked often.
    pub fn new(limit: u64, used: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        let share = |percent: u64| {
            let bytes = (u128::from(limit) * u128::from(percent)).div_ceil(100);
            u64::try_from(bytes).unwrap_or(limit)
        };
        Self {
            limit,
            high: share(85),
            critical: share(95),
            used: Box::new(used),
            refused: AtomicU64::new(0),
        }
    }

    /// Without a bound.
    pub fn unlimited() -> Self {
        Self::new(u64::MAX, || 0)
    }

    /// How short it is now.
    pub fn pressure(&self) -> Pressure {
        let used = (self.used)();
        if used >= self.critical {
            Pressure::Critical
        } else if used >= self.high {
            Pressure::High
        } else {
            Pressure::None
        }
    }

    /// The refusal of a publish that there is no memory for.
    pub(crate) fn refuse_publish(&self) -> Refusal {
        self.refused.fetch_add(1, Relaxed);
        let refusal = Refusal::new(Code::Overloaded, "the broker is short of memory");
        Refusal { retry_after: Some(RETRY_AFTER), ..refusal }
    }

    /// Publishes refused so far.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Bytes in use and the most there may be.
    pub fn usage(&self) -> (u64, u64) {
        ((self.used)(), self.limit)
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (used, limit) = self.usage();
        f.debug_struct("Memory").field("used", &used).field("limit", &limit).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn pressure_rises_at_85_and_95_percent() {
        let cases = [
            (0,   Pressure::None),
            (849, Pressure::None),
            (850, Pressure::High),
            (949, Pressure::High),
            (950, Pressure::Critical),
            (u64::MAX, Pressure::Critical),
        ];
        for (used, expected) in cases {
            assert_eq!(Memory::new(1_000, move || used).pressure(), expected, "{used}");
        }
        assert_eq!(Memory::unlimited().pressure(), Pressure::None);
    }
}
