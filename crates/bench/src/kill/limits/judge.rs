//! Whether leases that were seen kept to the limits.
//!
//! A consumer holds a lease no earlier than it came and no longer than it used it, so what two of them hold at
//! one moment the broker had leased at that moment. When a lease was granted follows from its deadline.
//! What was granted and never arrived, because the broker was killed on the way, can only make the broker stricter.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

/// A lease that somebody saw. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The key of which so many may be leased at once.
    pub at_once: String,
    /// The key of which so many may begin in an interval.
    pub window: String,
    /// When the broker granted it.
    pub granted_at: u64,
    /// When it arrived.
    pub came_at: u64,
    /// When its holder stopped to use it: as it acknowledged it, or at its deadline.
    pub until: u64,
}

/// The most that was seen of each limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Leases under one key at one moment.
    pub at_once: u32,
    /// Starts under one key in one interval.
    pub starts: u32,
}

/// Looks at all leases.
///
/// # Errors
/// Says which limit was exceeded, for which key, and when.
pub fn judge(
    leases: &[Lease],
    at_once_max: u32,
    starts_max: u32,
    interval: Duration,
) -> Result<Verdict, String> {
    let mut verdict = Verdict::default();
    for (key, held) in by_key(leases, |lease| &lease.at_once) {
        let (most, at) = most_at_once(&held);
        if most > at_once_max {
            return Err(format!("{most} of {key} were held at once at {at}, {at_once_max} may be"));
        }
        verdict.at_once = verdict.at_once.max(most);
    }
    let length = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
    for (key, held) in by_key(leases, |lease| &lease.window) {
        let (most, at) = most_in(&held, length);
        if most > starts_max {
            let text = format!("{most} of {key} began within {length} ms from {at} on");
            return Err(format!("{text}, {starts_max} may"));
        }
        verdict.starts = verdict.starts.max(most);
    }
    Ok(verdict)
}

fn by_key(leases: &[Lease], key: fn(&Lease) -> &str) -> BTreeMap<&str, Vec<&Lease>> {
    let mut all: BTreeMap<&str, Vec<&Lease>> = BTreeMap::new();
    for lease in leases {
        all.entry(key(lease)).or_default().push(lease);
    }
    all
}

/// The most that were held at one moment, and when. What ends at a moment is not held at it.
fn most_at_once(leases: &[&Lease]) -> (u32, u64) {
    let begins = leases.iter().map(|lease| (lease.came_at, 1));
    let ends = leases.iter().map(|lease| (lease.until.max(lease.came_at), -1));
    let mut moments: Vec<(u64, i32)> = begins.chain(ends).collect();
    // Of one moment the ends come first.
    moments.sort_unstable();
    let (mut now, mut most) = (0, (0, 0));
    for (at, change) in moments {
        now += change;
        if now > most.0 {
            most = (now, at);
        }
    }
    (most.0.unsigned_abs(), most.1)
}

/// The most that began in an interval, and where that begins.
fn most_in(leases: &[&Lease], length: u64) -> (u32, u64) {
    let mut starts: Vec<u64> = leases.iter().map(|lease| lease.granted_at).collect();
    starts.sort_unstable();
    let (mut first, mut most) = (0, (0, 0));
    for (at, start) in starts.iter().enumerate() {
        while starts[first] + length <= *start {
            first += 1;
        }
        let count = (at + 1 - first) as u32;
        if count > most.0 {
            most = (count, starts[first]);
        }
    }
    most
}

/// All leases, for whoever looks into why.
pub(super) fn shown(leases: &[Lease]) -> String {
    let one = |lease: &Lease| {
        let Lease { at_once, window, granted_at, came_at, until } = lease;
        json!([at_once, window, granted_at, came_at, until]).to_string()
    };
    leases.iter().map(one).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(granted_at: u64, came_at: u64, until: u64) -> Lease {
        let (at_once, window) = ("c".to_owned(), "w".to_owned());
        Lease { at_once, window, granted_at, came_at, until }
    }

    const INTERVAL: Duration = Duration::from_millis(100);

    #[test]
    fn what_is_held_at_one_moment_is_counted_and_what_ends_then_is_not() {
        let leases = [lease(0, 5, 20), lease(0, 10, 20), lease(100, 20, 30)];
        let verdict = Verdict { at_once: 2, starts: 2 };
        assert_eq!(judge(&leases, 2, 9, INTERVAL), Ok(verdict));
        let broken = judge(&leases, 1, 9, INTERVAL).unwrap_err();
        assert!(broken.contains("2 of c were held at once at 10"), "{broken}");
    }

    #[test]
    fn an_interval_ends_before_the_moment_that_is_its_length_later() {
        let leases = [lease(0, 0, 0), lease(99, 0, 0), lease(100, 0, 0), lease(198, 0, 0)];
        assert_eq!(judge(&leases, 9, 3, INTERVAL).unwrap().starts, 3);
        let broken = judge(&leases, 9, 2, INTERVAL).unwrap_err();
        assert!(broken.contains("3 of w began within 100 ms from 99 on"), "{broken}");
    }

    #[test]
    fn keys_are_judged_each_by_itself() {
        let other = |lease: Lease| Lease { at_once: "d".into(), window: "x".into(), ..lease };
        let leases = [lease(0, 0, 9), other(lease(0, 0, 9))];
        assert_eq!(judge(&leases, 1, 1, INTERVAL), Ok(Verdict { at_once: 1, starts: 1 }));
    }
}
