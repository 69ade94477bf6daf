//! Patience with hosts that throttle: how often, and how long at once.
//!
//! A pause is counted once, however many requests it hit: those that were sent before the last
//! pause began say nothing new. An answer of any other kind gives all patience back.

use std::collections::HashMap;
use std::time::Duration;

use crate::host::Host;

/// What was seen of hosts that throttle. Times are microseconds since any fixed moment.
pub(crate) struct Patience {
    pauses_max: u32,
    pause_max: Duration,
    strained: HashMap<Host, Strain>,
    given_up: HashMap<Host, GivenUp>,
}

struct Strain {
    pauses: u32,
    last: u64,
}

/// Why a host is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GivenUp {
    /// It asks for too long a pause.
    TooLong(Duration),
    /// It asks for too many in a row.
    TooOften(u32),
}

impl Patience {
    /// Until then.
    pub(crate) fn new(pauses_max: u32, pause_max: Duration) -> Self {
        Self { pauses_max, pause_max, strained: HashMap::new(), given_up: HashMap::new() }
    }

    /// A host answered a request that was sent at `sent` with a pause; says whether it is given up,
    /// and why.
    pub(crate) fn throttled(
        &mut self,
        host: &Host,
        retry_after: Option<Duration>,
        sent: u64,
        now: u64,
    ) -> Option<GivenUp> {
        if let Some(reason) = self.given_up.get(host) {
            return Some(*reason);
        }
        let reason = match retry_after.filter(|after| *after > self.pause_max) {
            Some(after) => Some(GivenUp::TooLong(after)),
            None => {
                let strain =
                    self.strained.entry(host.clone()).or_insert(Strain { pauses: 0, last: 0 });
                if strain.pauses == 0 || sent >= strain.last {
                    *strain = Strain { pauses: strain.pauses + 1, last: now };
                }
                (strain.pauses > self.pauses_max).then_some(GivenUp::TooOften(strain.pauses))
            }
        }?;
        self.strained.remove(host);
        self.given_up.insert(host.clone(), reason);
        Some(reason)
    }

    /// A host answered as hosts do.
    pub(crate) fn answered(&mut self, host: &Host) {
        self.strained.remove(host);
    }

    /// Whether a host is asked no more.
    pub(crate) fn is_given_up(&self, host: &Host) -> bool {
        self.given_up.contains_key(host)
    }

    /// Hosts that are asked no more, in order.
    pub(crate) fn all_given_up(&self) -> Vec<String> {
        let mut hosts: Vec<String> = self.given_up.keys().map(ToString::to_string).collect();
        hosts.sort_unstable();
        hosts
    }
}

impl std::fmt::Display for GivenUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLong(after) => write!(f, "the host asks for a pause of {} s", after.as_secs()),
            Self::TooOften(pauses) => write!(f, "the host asked for {pauses} pauses in a row"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Target;

    const SECOND: Duration = Duration::from_secs(1);

    fn host() -> Host {
        Target::read("http://a/").unwrap().host
    }

    #[test]
    fn requests_that_one_pause_hits_count_once() {
        let (mut patience, host) = (Patience::new(2, SECOND), host());
        for _ in 0..50 {
            assert_eq!(patience.throttled(&host, Some(SECOND), 5, 10), None);
        }
        assert_eq!(patience.throttled(&host, None, 20, 30), None);
        assert_eq!(patience.throttled(&host, None, 25, 31), None);
        // What was on its way then says nothing new.
        for sent in [40, 41] {
            assert_eq!(patience.throttled(&host, None, sent, 50), Some(GivenUp::TooOften(3)));
        }
        assert!(patience.is_given_up(&host));
        assert_eq!(patience.all_given_up(), ["a:80"]);
    }

    #[test]
    fn another_answer_gives_all_patience_back() {
        let (mut patience, host) = (Patience::new(1, SECOND), host());
        for at in (0..100).step_by(10) {
            assert_eq!(patience.throttled(&host, None, at, at + 5), None);
            patience.answered(&host);
        }
        assert!(!patience.is_given_up(&host));
    }

    #[test]
    fn a_pause_that_is_too_long_ends_it_at_once() {
        let (mut patience, host) = (Patience::new(9, SECOND), host());
        let long = 2 * SECOND;
        assert_eq!(patience.throttled(&host, Some(long), 0, 1), Some(GivenUp::TooLong(long)));
        assert!(patience.is_given_up(&host));
    }
}
