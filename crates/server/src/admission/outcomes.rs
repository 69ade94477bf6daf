//! How the requests of a door end, by reason; one of these for each door.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! outcomes {
    ($($(#[$doc:meta])+ $variant:ident = $name:literal,)+) => {
        /// How a request ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Outcome { $($(#[$doc])+ $variant,)+ }

        const NAMES: &[&str] = &[$($name),+];

        /// Requests by outcome; they never go down.
        #[derive(Debug, Default)]
        pub struct Outcomes([AtomicU64; NAMES.len()]);
    };
}

outcomes! {
    /// It was carried out, whatever came of it.
    Processed = "processed",
    /// A limit of clients or of all together refused it: 429.
    RateLimited = "rate_limited",
    /// The waiting room was full, or too many were parked: 503.
    RejectedFull = "rejected_full",
    /// Its head or body took too long, or its client took no answer.
    Timeout = "timeout",
    /// The broker failed.
    Error = "error",
}

impl Outcomes {
    /// Counts one.
    pub fn count(&self, outcome: Outcome) {
        if let Some(counter) = self.0.get(outcome as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Every outcome by the name that metrics have for it, in the order of the table.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        NAMES.iter().zip(&self.0).map(|(name, counter)| (*name, counter.load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_is_counted_under_its_name() {
        let outcomes = Outcomes::default();
        outcomes.count(Outcome::Processed);
        outcomes.count(Outcome::Timeout);
        outcomes.count(Outcome::Timeout);
        let expected = [
            ("processed", 1),
            ("rate_limited", 0),
            ("rejected_full", 0),
            ("timeout", 2),
            ("error", 0),
        ];
        assert_eq!(outcomes.iter().collect::<Vec<_>>(), expected);
    }
}
