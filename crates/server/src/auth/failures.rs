//! What happens to those who guess keys: counted by address, and made to wait.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sluice_flow::peer_group;

/// Wrong keys an address may show within [`WINDOW`] before it has to wait.
const FREE_FAILURES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
const DELAY_MIN: Duration = Duration::from_millis(250);
const DELAY_MAX: Duration = Duration::from_secs(60);
/// Addresses that share a place in the table; the one that failed longest ago gives way.
const WAYS: usize = 4;
const SETS: usize = 1_024;

#[derive(Clone, Copy)]
struct Failures {
    from: IpAddr,
    count: u32,
    /// When the count began. It begins anew after a [`WINDOW`], or, once there is a delay, a
    /// [`WINDOW`] after the last one has passed.
    since: Instant,
    /// No further key of this address is looked at before.
    blocked_until: Instant,
}

/// Counts wrong keys by address, in a table whose size doesn't depend on who attacks.
pub(crate) struct FailureTable {
    hasher: RandomState,
    sets: Mutex<Box<[[Option<Failures>; WAYS]]>>,
}

impl FailureTable {
    pub(crate) fn new() -> Self {
        let sets = vec![[None; WAYS]; SETS].into_boxed_slice();
        Self { hasher: RandomState::new(), sets: Mutex::new(sets) }
    }

    fn with_set<T>(&self, from: IpAddr, act: impl FnOnce(&mut [Option<Failures>; WAYS]) -> T) -> T {
        let at = self.hasher.hash_one(from) as usize % SETS;
        let mut sets = self.sets.lock();
        let set = sets.get_mut(at).expect("a remainder of SETS is below SETS");
        act(set)
    }

    /// Until when a key from `peer` must wait before it is looked at.
    pub(crate) fn blocked_until(&self, peer: IpAddr, now: Instant) -> Option<Instant> {
        let from = peer_group(peer);
        self.with_set(from, |set| {
            let mine = set.iter().flatten().find(|entry| entry.from == from);
            mine.map(|entry| entry.blocked_until).filter(|until| *until > now)
        })
    }

    /// Counts a wrong key from `peer`.
    pub(crate) fn failed(&self, peer: IpAddr, now: Instant) {
        let from = peer_group(peer);
        let fresh = Failures { from, count: 0, since: now, blocked_until: now };
        self.with_set(from, |set| {
            let place = match set.iter().position(|entry| entry.is_some_and(|e| e.from == from)) {
                Some(mine) => set.get_mut(mine),
                None => set.iter_mut().min_by_key(|entry| entry.map(|e| e.blocked_until)),
            };
            let Some(place) = place else { return };
            let mut entry = place.filter(|entry| entry.from == from).unwrap_or(fresh);
            let counted_from =
                if entry.count < FREE_FAILURES { entry.since } else { entry.blocked_until };
            if now.saturating_duration_since(counted_from) >= WINDOW {
                entry = fresh;
            }
            entry.count = entry.count.saturating_add(1);
            entry.blocked_until = now + delay_after(entry.count);
            *place = Some(entry);
        });
    }
}

fn delay_after(failures: u32) -> Duration {
    match failures.checked_sub(FREE_FAILURES) {
        None => Duration::ZERO,
        Some(over) => DELAY_MIN.saturating_mul(1 << over.min(16)).min(DELAY_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_wrong_keys_are_free_and_then_the_delay_grows() {
        let (table, start) = (FailureTable::new(), Instant::now());
        let peer: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..FREE_FAILURES - 1 {
            table.failed(peer, start);
            assert_eq!(table.blocked_until(peer, start), None);
        }
        let mut now = start;
        let mut delays = Vec::new();
        for _ in 0..4 {
            table.failed(peer, now);
            let until = table.blocked_until(peer, now).unwrap();
            delays.push(until - now);
            now = until;
            assert_eq!(table.blocked_until(peer, now), None);
        }
        assert_eq!(delays, [250, 500, 1_000, 2_000].map(Duration::from_millis));
        assert_eq!(table.blocked_until("192.0.2.2".parse().unwrap(), start), None);
        assert_eq!(delay_after(u32::MAX), DELAY_MAX);
    }

    #[test]
    fn a_minute_without_wrong_keys_is_forgiven() {
        let (table, start) = (FailureTable::new(), Instant::now());
        let peer: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..FREE_FAILURES {
            table.failed(peer, start);
        }
        let until = table.blocked_until(peer, start).unwrap();
        table.failed(peer, until + WINDOW);
        assert_eq!(table.blocked_until(peer, until + WINDOW), None);
    }

    #[test]
    fn the_table_does_not_grow_and_keeps_those_who_are_blocked() {
        let (table, start) = (FailureTable::new(), Instant::now());
        let attacker: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..20 {
            table.failed(attacker, start);
        }
        for other in 0..100_000u32 {
            table.failed(IpAddr::from(other.to_be_bytes()), start);
        }
        assert!(table.blocked_until(attacker, start).is_some());
        assert_eq!(table.sets.lock().len(), SETS);
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_together() {
        let (table, start) = (FailureTable::new(), Instant::now());
        for host in 0..FREE_FAILURES {
            table.failed(format!("2001:db8::{host:x}").parse().unwrap(), start);
        }
        assert!(table.blocked_until("2001:db8::ffff".parse().unwrap(), start).is_some());
        assert!(table.blocked_until("2001:db8:0:1::1".parse().unwrap(), start).is_none());
    }
}
