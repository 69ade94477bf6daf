//! Bytes a live key.

use sluice_flow::{Ask, Ended, Keyed, KeyedConfig, Owner, Rate, Terms, Waiter, WindowLimit};

use crate::used;

const KEYS: u32 = 1_000_000;
const SECOND: u64 = 1_000_000;
const DAY: u64 = 86_400 * SECOND;

fn text(number: u32) -> String {
    format!("stripe:{number:09}")
}

/// Leases `count` messages of each key and acks them. Gives back bytes a live key, and the keys.
fn fill(terms: &Terms, count: u32) -> (f64, Keyed) {
    let before = used();
    let mut keyed = Keyed::new(KeyedConfig { live_keys_max: KEYS, ..KeyedConfig::default() });
    let owner = Owner::limit(keyed.add(terms).expect("it is allowed"));
    let (waiter, mut woken) = (Waiter::new(0, 5), Vec::new());
    for number in 0..KEYS {
        let text = text(number);
        let mut asks = [Ask::new(owner, &text)];
        for _ in 0..count {
            keyed.may(&waiter, &mut asks, 1, SECOND, &mut woken).expect("it is allowed");
            keyed.take(&mut asks, 1, SECOND, &mut woken);
        }
        keyed.release(&mut asks, count, Ended::Acked, SECOND, &mut woken);
    }
    assert_eq!((keyed.all_figures(SECOND).keys, woken.len()), (KEYS, 0));
    ((used() - before) as f64 / f64::from(KEYS), keyed)
}

/// Lets a day pass, in steps of bounded work, and sees that nothing is left.
fn empty(mut keyed: Keyed, before: i64) {
    let mut woken = Vec::new();
    while keyed.next_at().is_some() {
        keyed.advance(SECOND + DAY, 4_096, &mut woken);
    }
    assert_eq!(keyed.all_figures(SECOND + DAY).keys, 0);
    // A wheel, and a few numbers of pieces that are free.
    assert!(used() - before < 16 << 10, "{} bytes are left", used() - before);
}

#[test]
fn a_live_key_with_a_rate_takes_at_most_96_bytes_and_idle_ones_none() {
    let before = used();
    let rate = Some((Rate::per_second(1).expect("it is allowed"), 10));
    let (bytes, keyed) = fill(&Terms { rate, ..Terms::default() }, 1);
    println!("{bytes:.1} bytes a key of 16 letters with a rate");
    assert!(bytes <= 96.0, "{bytes:.1} bytes a key");
    empty(keyed, before);
}

#[test]
fn a_live_key_with_a_window_takes_at_most_96_bytes_and_8_a_start() {
    let before = used();
    for count in [1, 3] {
        let window = Some(WindowLimit::new(10, 60_000).expect("it is allowed"));
        let rate = Some((Rate::per_second(1).expect("it is allowed"), 10));
        let (bytes, keyed) = fill(&Terms { rate, window, ..Terms::default() }, count);
        println!("{bytes:.1} bytes a key of 16 letters with a rate and {count} starts");
        assert!(bytes <= 96.0 + 8.0 * f64::from(count), "{bytes:.1} bytes a key");
        empty(keyed, before);
    }
}
