//! What limits cost: instructions are not counted here, so times are only held against each other
//! with much room. Built for release, what it prints says more.

use std::time::Instant;

use sluice_model::{Command, Confirm, Extras, Receive, SessionId, SettleMany, Settlement, Source};

use crate::lanes::of;
use crate::limits::limit;
use crate::rig::{Rig, config, put, queue};

/// Most keys, and the messages that are handed over and acked; more where it takes no minutes.
const KEYS: u32 = if cfg!(debug_assertions) { 10_000 } else { 100_000 };
const MESSAGES: u32 = 2 * KEYS;
const BATCH: u32 = 100;
/// Messages of a key that waits for long, and keys with one message behind them.
const HOT: u32 = if cfg!(debug_assertions) { 20_000 } else { 1_000_000 };
const COLD: u32 = 999;

/// A rig that looks at its engine only now and then.
fn rig() -> (Rig, SessionId) {
    let mut rig = Rig::new(config());
    rig.checks = false;
    let client = rig.open(crate::rig::peer(1));
    rig.declare(client, "mail", &[]);
    (rig, client)
}

fn fill(rig: &mut Rig, client: SessionId, count: u32, extras: impl Fn(u32) -> Extras) {
    rig.commits = false;
    for n in 0..count {
        let _ran = rig.run(client, put("mail", "hello", extras(n)));
        rig.outs.clear();
    }
    rig.commits = true;
    rig.commit();
}

/// Nanoseconds for a message to be leased and acked, in batches.
#[expect(clippy::disallowed_methods, reason = "what is measured is time")]
fn lease(rig: &mut Rig, client: SessionId, count: u32) -> f64 {
    let begun = Instant::now();
    for _ in 0..count / BATCH {
        let receive = Receive { max: BATCH, ..Receive::one(Source::Queue(queue("mail"))) };
        let _ran = rig.run(client, Command::Receive(receive));
        let leases: Vec<_> = rig.gots(client).iter().map(|got| got.lease()).collect();
        assert_eq!(leases.len(), BATCH as usize);
        let (how, confirm) = (Settlement::Ack, Confirm::Always);
        let many = Box::new(SettleMany { leases, how, confirm });
        let _ran = rig.run(client, Command::SettleMany(many));
        rig.outs.clear();
    }
    begun.elapsed().as_nanos() as f64 / f64::from(count)
}

#[test]
fn a_lease_costs_about_the_same_with_limits_that_never_bind_and_with_many_keys() {
    let plain = |_: u32| Extras::default();
    let keyed = |keys: u32| move |n: u32| of("", &[&format!("stripe:{}", n % keys)], 1);
    let unlimited = {
        let (mut rig, client) = rig();
        fill(&mut rig, client, MESSAGES, plain);
        lease(&mut rig, client, MESSAGES)
    };
    let [few, many] = [10, KEYS].map(|keys| {
        let (mut rig, client) = rig();
        let loose = "1000000/s burst 1000000 concurrency 1000000";
        rig.set(client, limit("loose", "key", ">", "stripe:*", loose));
        fill(&mut rig, client, MESSAGES, keyed(keys));
        lease(&mut rig, client, MESSAGES)
    });
    println!("none {unlimited:.0} ns, 10 keys {few:.0} ns, {KEYS} keys {many:.0} ns");
    assert!(many < 10.0 * few && few < 20.0 * unlimited, "{unlimited:.0} {few:.0} {many:.0}");
}

/// The places of the messages that a receive of so many gets, in the order of their leases.
fn places(rig: &mut Rig, client: SessionId, max: u32) -> Vec<u64> {
    let receive = Receive { max, ..Receive::one(Source::Queue(queue("mail"))) };
    let _ran = rig.run(client, Command::Receive(receive));
    let places = rig.gots(client).iter().map(|got| got.lease().seq.0).collect();
    rig.outs.clear();
    places
}

#[test]
#[expect(clippy::disallowed_methods, reason = "what is measured is time")]
fn a_hot_key_with_a_long_backlog_holds_up_no_cold_one() {
    let (mut rig, client) = rig();
    rig.declare(client, "mail", &[("max_messages", "2000000")]);
    rig.set(client, limit("one", "key", ">", "*", "concurrency 1"));
    fill(&mut rig, client, HOT, |_| of("", &["hot"], 1));
    fill(&mut rig, client, COLD, |n| of("", &[&format!("cold:{n}")], 1));
    let begun = Instant::now();
    let got = places(&mut rig, client, 1 + COLD);
    println!("one of {HOT} hot ones and {COLD} cold ones in {:?}", begun.elapsed());
    let hot = u64::from(HOT);
    assert_eq!(got, [&[0][..], &(hot..hot + u64::from(COLD)).collect::<Vec<_>>()].concat());
    assert!(places(&mut rig, client, 1).is_empty(), "the hot key has as many as it may");
}

#[test]
fn a_hot_group_with_a_long_backlog_has_no_more_than_its_turn_before_any_cold_one() {
    let (mut rig, client) = rig();
    rig.declare(client, "mail", &[("max_messages", "2000000")]);
    fill(&mut rig, client, HOT, |_| of("hot", &["hot"], 1));
    fill(&mut rig, client, COLD, |n| of(&format!("cold:{n}"), &["cold"], 1));
    let mut got = Vec::new();
    while got.len() < COLD as usize + 2 {
        got.extend(places(&mut rig, client, 10));
    }
    let is_cold = |place: &u64| *place >= u64::from(HOT);
    assert_eq!(got.iter().filter(|place| is_cold(place)).count(), COLD as usize);
    let last = got.iter().rposition(is_cold).unwrap();
    let hot = got[..last].iter().filter(|place| !is_cold(place)).count();
    // Its quantum and its largest cost, which are 1 each.
    assert!(hot <= 2, "{hot} of the hot group before the last cold one");
    let left = rig.explain(client, "mail", sluice_model::Explained::Key("cold".into()));
    assert_eq!(left.first().map(sluice_model::Explanation::name), Some("leased"));
}
