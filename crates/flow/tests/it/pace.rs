//! How the time of a lease grows with the number of live keys.

use std::time::Instant;

use sluice_flow::{Ask, Ended, Keyed, KeyedConfig, Owner, Random, Rate, Terms, Waiter};

const ROUNDS: u32 = 200_000;

/// Nanoseconds for a lease and its ack, of random ones of so many keys that are all live.
#[expect(clippy::disallowed_methods, reason = "what is measured is time")]
fn nanos(keys: u64) -> f64 {
    let mut keyed = Keyed::new(KeyedConfig::default());
    let rate = Some((Rate::per_second(1_000_000).expect("it is allowed"), 1_000));
    let terms = Terms { rate, concurrency: Some(1_000_000), ..Terms::default() };
    let owner = Owner::limit(keyed.add(&terms).expect("it is allowed"));
    let texts: Vec<String> = (0..keys).map(|key| format!("stripe:{key:09}")).collect();
    let mut asks: Vec<[Ask<'_>; 1]> = texts.iter().map(|text| [Ask::new(owner, text)]).collect();
    let (waiter, mut woken) = (Waiter::new(0, 5), Vec::new());
    for ask in &mut asks {
        // Held, so that they stay live.
        keyed.may(&waiter, ask, 1, 1, &mut woken).expect("it is allowed");
        keyed.take(ask, 1, 1, &mut woken);
    }
    let mut random = Random::new(7);
    let begun = Instant::now();
    for round in 0..ROUNDS {
        let ask = &mut asks[random.below(keys) as usize];
        let now = u64::from(round) * 2;
        keyed.may(&waiter, ask, 1, now, &mut woken).expect("it is allowed");
        keyed.take(ask, 1, now, &mut woken);
        keyed.release(ask, 1, Ended::Acked, now, &mut woken);
    }
    begun.elapsed().as_nanos() as f64 / f64::from(ROUNDS)
}

#[test]
fn a_lease_takes_about_as_long_with_100_000_keys_as_with_10() {
    let [few, many] = [10, 100_000].map(nanos);
    println!("lease and ack: {few:.0} ns with 10 keys, {many:.0} ns with 100 000");
    // What is bounded is the work; memory that is further away may take its time.
    assert!(many < 20.0 * few + 1_000.0, "{few:.0} ns, then {many:.0}");
}
