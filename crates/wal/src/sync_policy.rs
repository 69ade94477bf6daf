//! When records are made safe.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// When records are made safe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before anybody is told that they are; what arrives during a sync shares the next.
    #[default]
    Always,
    /// After so many records, waited for by nobody.
    EveryN(u32),
    /// After so many milliseconds, waited for by nobody.
    IntervalMs(u32),
    /// When the kernel sees fit.
    None,
}

impl SyncPolicy {
    /// Whether a policy that nobody waits for wants a sync, with so many records unsynced and so
    /// long after the last sync. [`SyncPolicy::Always`] is about who waits, so it never does.
    pub fn is_due(self, unsynced: u64, since_sync: Duration) -> bool {
        match self {
            Self::Always | Self::None => false,
            Self::EveryN(records) => unsynced >= u64::from(records.max(1)),
            Self::IntervalMs(millis) => {
                unsynced > 0 && since_sync >= Duration::from_millis(millis.into())
            }
        }
    }
}

impl fmt::Display for SyncPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("always"),
            Self::EveryN(records) => write!(f, "every_n:{records}"),
            Self::IntervalMs(millis) => write!(f, "interval_ms:{millis}"),
            Self::None => f.write_str("none"),
        }
    }
}

/// Text that is no policy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is no sync policy: use always, every_n:N, interval_ms:N or none")]
pub struct PolicyError(String);

impl FromStr for SyncPolicy {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let bad = || PolicyError(text.to_owned());
        let number = |digits: &str| digits.parse().ok().filter(|n| *n > 0).ok_or_else(bad);
        match text.split_once(':') {
            None if text == "always" => Ok(Self::Always),
            None if text == "none" => Ok(Self::None),
            Some(("every_n", records)) => Ok(Self::EveryN(number(records)?)),
            Some(("interval_ms", millis)) => Ok(Self::IntervalMs(number(millis)?)),
            _ => Err(bad()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_come_back_as_they_are_written_and_nothing_else_is_one() {
        for text in ["always", "none", "every_n:64", "interval_ms:20"] {
            assert_eq!(text.parse::<SyncPolicy>().unwrap().to_string(), text);
        }
        for text in ["", "Always", "every_n", "every_n:", "every_n:0", "every_n:x", "always:1"] {
            assert!(text.parse::<SyncPolicy>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_sync_is_due_after_the_records_or_the_time_of_its_policy() {
        let second = Duration::from_secs(1);
        assert!(!SyncPolicy::Always.is_due(9, second));
        assert!(!SyncPolicy::None.is_due(9, second));
        assert!(SyncPolicy::EveryN(9).is_due(9, Duration::ZERO));
        assert!(!SyncPolicy::EveryN(10).is_due(9, second));
        assert!(SyncPolicy::IntervalMs(1000).is_due(1, second));
        assert!(!SyncPolicy::IntervalMs(1001).is_due(1, second));
        assert!(!SyncPolicy::IntervalMs(1).is_due(0, second));
    }
}
