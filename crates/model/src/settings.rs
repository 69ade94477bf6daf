//! The one table of a queue's settings: names, kinds, ranges, and the numbers that stand for them
//! on disk and on the wire. Defaults belong to whoever applies them.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use thiserror::Error;

use crate::near::distance;

/// What the value of a setting is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingKind {
    /// A plain number.
    Count,
    /// A number of bytes.
    Bytes,
    /// A time in milliseconds.
    Millis,
    /// A number with a fraction, in thousandths.
    Thousandths,
    /// One of these words, by its place.
    Word(&'static [&'static str]),
}

macro_rules! settings {
    ($($(#[$doc:meta])+ $variant:ident = $number:literal, $name:literal, $kind:expr, $range:expr;)+) => {
        /// A setting of a queue.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Setting { $($(#[$doc])+ $variant,)+ }

        impl Setting {
            /// Every setting, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its name in configuration files and on the wire.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The number that stands for it on disk; never reused.
            pub const fn number(self) -> u8 {
                match self { $(Self::$variant => $number,)+ }
            }

            /// What its value is.
            pub const fn kind(self) -> SettingKind {
                match self { $(Self::$variant => $kind,)+ }
            }

            /// The values that it takes.
            pub const fn range(self) -> RangeInclusive<u64> {
                match self { $(Self::$variant => $range,)+ }
            }

            /// The setting that `number` stands for on disk.
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

use SettingKind::{Bytes, Count, Millis, Thousandths, Word};

const DAY: u64 = 86_400_000;

settings! {
    /// How long a consumer has to settle a delivery.
    LeaseMs = 1, "lease_ms", Millis, 1_000..=DAY / 2;
    /// Failures that park a message in the dead set; 0 for no limit.
    MaxFailures = 2, "max_failures", Count, 0..=10_000;
    /// Releases that park a message in the dead set.
    MaxReleases = 3, "max_releases", Count, 1..=u32::MAX as u64;
    /// Delay after the first failure.
    BackoffMinMs = 4, "backoff_min_ms", Millis, 0..=366 * DAY;
    /// No delay after a failure is longer.
    BackoffMaxMs = 5, "backoff_max_ms", Millis, 0..=366 * DAY;
    /// By what each further failure multiplies the delay.
    BackoffFactor = 6, "backoff_factor", Thousandths, 1_000..=1_000_000;
    /// Which part of a delay is left to chance.
    Jitter = 7, "jitter", Thousandths, 0..=1_000;
    /// How long a message may wait, from its publish; 0 for ever.
    TtlMs = 8, "ttl_ms", Millis, 0..=u64::MAX >> 16;
    /// What happens to a message that ran out of time.
    OnExpire = 9, "on_expire", Word(&["drop", "dead"]), 0..=1;
    /// How long a dedupe id is remembered.
    DedupeWindowMs = 10, "dedupe_window_ms", Millis, 1_000..=7 * DAY;
    /// Most dedupe ids remembered at a time.
    DedupeMax = 11, "dedupe_max", Count, 1..=100_000_000;
    /// Whether the messages of a group are delivered one after another.
    Order = 12, "order", Word(&["none", "group_fifo"]), 0..=1;
    /// Which group's turn it is.
    Fairness = 13, "fairness", Word(&["round_robin", "none"]), 0..=1;
    /// Most messages that are ready, delayed or leased.
    MaxMessages = 14, "max_messages", Count, 1..=u32::MAX as u64;
    /// Most bytes of such messages.
    MaxBytes = 15, "max_bytes", Bytes, 1..=u64::MAX >> 8;
    /// Largest message.
    MaxMessageBytes = 16, "max_message_bytes", Bytes, 1..=15 << 20;
    /// What a full queue does with the next message.
    Overflow = 17, "overflow", Word(&["reject", "drop_oldest", "dead"]), 0..=2;
    /// How safe messages are when they are confirmed.
    Durability = 18, "durability", Word(&["sync", "os", "memory"]), 0..=2;
    /// How long the dead set keeps a message; 0 for ever.
    DeadTtlMs = 19, "dead_ttl_ms", Millis, 0..=u64::MAX >> 16;
    /// Most messages in the dead set.
    DeadMax = 20, "dead_max", Count, 0..=u32::MAX as u64;
    /// Most bytes of messages in the dead set.
    DeadMaxBytes = 21, "dead_max_bytes", Bytes, 0..=u64::MAX >> 8;
    /// How long a subscription without a consumer lives; 0 for ever.
    InactiveExpiryMs = 22, "inactive_expiry_ms", Millis, 0..=u64::MAX >> 16;
}

/// Why a value can't be a setting's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SettingError {
    /// No setting has that name.
    #[error("there is no setting {name:?}; did you mean {nearest}?")]
    Unknown {
        /// The name given.
        name: String,
        /// The nearest one that exists.
        nearest: &'static str,
    },
    /// The value is of another kind.
    #[error("{name} = {value:?} is not {expected}")]
    Kind {
        /// The setting.
        name: &'static str,
        /// The value given.
        value: String,
        /// What is expected.
        expected: String,
    },
    /// The value is too small or too large.
    #[error("{name} = {value} is outside {min} .. {max}")]
    Range {
        /// The setting.
        name: &'static str,
        /// The value given.
        value: String,
        /// The smallest allowed.
        min: String,
        /// The largest allowed.
        max: String,
    },
}

impl Setting {
    /// The setting of that name.
    ///
    /// # Errors
    /// Names the nearest one that exists.
    pub fn named(name: &str) -> Result<Self, SettingError> {
        let found = Self::ALL.iter().copied().find(|setting| setting.name() == name);
        found.ok_or_else(|| {
            let near = Self::ALL.iter().min_by_key(|setting| distance(setting.name(), name));
            let nearest = near.map_or("", |setting| setting.name());
            SettingError::Unknown { name: name.to_owned(), nearest }
        })
    }

    /// How `value` is written: a number, or a word.
    pub fn show(self, value: u64) -> String {
        match self.kind() {
            Thousandths if value.is_multiple_of(1_000) => format!("{}.0", value / 1_000),
            Thousandths => {
                let text = format!("{}.{:03}", value / 1_000, value % 1_000);
                text.trim_end_matches('0').to_owned()
            }
            Word(words) => words.get(value as usize).copied().unwrap_or("?").to_owned(),
            Count | Bytes | Millis => value.to_string(),
        }
    }

    /// Reads a value as [`Setting::show`] writes it.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(self, text: &str) -> Result<u64, SettingError> {
        let parsed = match self.kind() {
            Word(words) => words.iter().position(|word| *word == text).map(|at| at as u64),
            Thousandths => {
                let number = text.parse::<f64>().ok().filter(|number| (0.0..1e12).contains(number));
                number.map(|number| (number * 1_000.0).round() as u64)
            }
            Count | Bytes | Millis => text.parse().ok(),
        };
        let value = parsed.ok_or_else(|| SettingError::Kind {
            name: self.name(),
            value: text.to_owned(),
            expected: match self.kind() {
                Word(words) => format!("one of {}", words.join(", ")),
                Thousandths => "a number".to_owned(),
                Count | Bytes | Millis => "a whole number".to_owned(),
            },
        })?;
        self.check(value)
    }

    /// Gives `value` back if it is in range.
    ///
    /// # Errors
    /// Says which range.
    pub fn check(self, value: u64) -> Result<u64, SettingError> {
        let range = self.range();
        if range.contains(&value) {
            return Ok(value);
        }
        let (min, max) = (self.show(*range.start()), self.show(*range.end()));
        Err(SettingError::Range { name: self.name(), value: self.show(value), min, max })
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Settings that somebody chose; the others stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueSettings(BTreeMap<Setting, u64>);

impl QueueSettings {
    /// Whether nothing is chosen.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Chooses a value that is in range.
    ///
    /// # Errors
    /// Says which range.
    pub fn set(&mut self, setting: Setting, value: u64) -> Result<(), SettingError> {
        self.0.insert(setting, setting.check(value)?);
        Ok(())
    }

    /// Chooses a value by name and text.
    ///
    /// # Errors
    /// Says what is wrong with either.
    pub fn set_text(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        let setting = Setting::named(name)?;
        self.0.insert(setting, setting.parse(value)?);
        Ok(())
    }

    /// The value chosen.
    pub fn get(&self, setting: Setting) -> Option<u64> {
        self.0.get(&setting).copied()
    }

    /// All that is chosen.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Setting, u64)> {
        self.0.iter().map(|(setting, value)| (*setting, *value))
    }

    /// Adds what `other` chooses, which wins.
    pub fn extend(&mut self, other: &Self) {
        self.0.extend(other.iter());
    }
}

/// A setting that is not what somebody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which.
    pub setting: Setting,
    /// What it is.
    pub is: u64,
    /// What was asked for.
    pub asked: u64,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, is, asked } = self;
        write!(f, "{setting} is {}, not {}", setting.show(*is), setting.show(*asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_unique_and_lead_back() {
        for (at, setting) in Setting::ALL.iter().enumerate() {
            assert_eq!(Setting::from_number(setting.number()), Some(*setting));
            assert_eq!(Setting::named(setting.name()), Ok(*setting));
            let earlier = &Setting::ALL[..at];
            assert!(earlier.iter().all(|other| other.number() != setting.number()));
            let range = setting.range();
            for value in [*range.start(), *range.end(), (*range.start() + range.end()) / 2] {
                if setting.kind() != Thousandths || value < 1 << 40 {
                    assert_eq!(setting.parse(&setting.show(value)), Ok(value), "{setting}");
                }
            }
        }
        assert_eq!(Setting::from_number(0), None);
    }

    #[test]
    #[rustfmt::skip]
    fn what_is_no_setting_is_refused_with_the_reason() {
        let cases = [
            ("lease",          "30",   "there is no setting \"lease\"; did you mean lease_ms?"),
            ("max_mesages",    "1",    "there is no setting \"max_mesages\"; did you mean max_messages?"),
            ("lease_ms",       "soon", "lease_ms = \"soon\" is not a whole number"),
            ("lease_ms",       "-1",   "lease_ms = \"-1\" is not a whole number"),
            ("lease_ms",       "1",    "lease_ms = 1 is outside 1000 .. 43200000"),
            ("jitter",         "1.5",  "jitter = 1.5 is outside 0.0 .. 1.0"),
            ("backoff_factor", "x",    "backoff_factor = \"x\" is not a number"),
            ("overflow",       "fail", "overflow = \"fail\" is not one of reject, drop_oldest, dead"),
        ];
        for (name, value, expected) in cases {
            let error = QueueSettings::default().set_text(name, value).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }
}
