//! When there will be something: what a receive is told that finds nothing.

use sluice_model::{Answer, Command, LimitRequest, Pausable, Receive, SessionId, Source};

use super::lanes::of;
use super::limits::{keyed, limit};
use super::rig::{Rig, config, ms, peer, queue};

/// A broker with two queues, and a client.
fn rig() -> (Rig, SessionId) {
    let mut rig = Rig::new(config());
    let client = rig.open(peer(1));
    ["mail", "post"].into_iter().for_each(|name| rig.declare(client, name, &[]));
    (rig, client)
}

/// What a receive is told that finds nothing, in milliseconds from now on.
fn next(rig: &mut Rig, client: SessionId, of: &str) -> Option<u64> {
    let receive = Command::Receive(Receive::one(Source::Queue(queue(of))));
    let Answer::Empty { next } = rig.answer(client, receive) else { panic!("there is something") };
    next.map(|next| next.since(rig.now).as_millis() as u64)
}

/// Publishes so many messages with the key `k`.
fn put(rig: &mut Rig, client: SessionId, to: &str, count: usize) {
    for n in 0..count {
        rig.put(client, to, &n.to_string(), keyed(&["k"])).unwrap();
    }
}

#[test]
fn a_slot_that_came_free_leaves_the_time_of_the_rate() {
    let (mut rig, client) = rig();
    rig.set(client, limit("both", "key", ">", "*", "1/10s concurrency 1"));
    put(&mut rig, client, "mail", 2);
    put(&mut rig, client, "post", 1);
    let got = rig.take(client, "mail", 1).remove(0);
    for name in ["mail", "post"] {
        assert_eq!(next(&mut rig, client, name), None, "no time alone gives a slot");
    }
    rig.pass(ms(1_000));
    rig.ack(client, got.lease()).unwrap();
    for name in ["mail", "post"] {
        assert_eq!(next(&mut rig, client, name), Some(9_000), "{name}");
    }
}

#[test]
fn a_pause_that_ended_early_leaves_the_time_of_the_rate() {
    let (mut rig, client) = rig();
    rig.set(client, limit("rate", "key", ">", "*", "1/10s"));
    put(&mut rig, client, "mail", 2);
    let _got = rig.take(client, "mail", 1);
    let what = Pausable::Key { queue: queue("mail"), key: "k".into() };
    for period in [60_000, 30_000] {
        let (what, period) = (what.clone(), Some(ms(period)));
        rig.limit(client, LimitRequest::Pause { what, period, reason: None }).unwrap();
        assert_eq!(next(&mut rig, client, "mail"), period.map(|it| it.as_millis() as u64));
    }
    rig.limit(client, LimitRequest::Resume { what }).unwrap();
    assert_eq!(next(&mut rig, client, "mail"), Some(10_000));
}

#[test]
fn a_limit_that_was_raised_is_one_that_lets_the_next_go_sooner() {
    let (mut rig, client) = rig();
    rig.set(client, limit("rate", "key", ">", "*", "1/60s"));
    put(&mut rig, client, "mail", 2);
    put(&mut rig, client, "post", 1);
    let _got = rig.take(client, "mail", 1);
    for name in ["mail", "post"] {
        assert_eq!(next(&mut rig, client, name), Some(60_000));
    }
    rig.set(client, limit("rate", "key", ">", "*", "1/6s"));
    // Before its keys have followed nobody is told a time that is too late.
    assert_eq!(next(&mut rig, client, "mail"), Some(1));
    rig.fire_all();
    for name in ["mail", "post"] {
        assert_eq!(next(&mut rig, client, name), Some(6_000));
    }
}

#[test]
fn of_many_that_others_are_before_none_is_told_a_time_that_is_too_late() {
    let (mut rig, client) = rig();
    rig.set(client, limit("rate", "key", ">", "*", "1/s burst 5"));
    let keys: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    for (name, cost) in [("mail", 5), ("post", 5), ("mail", 1)] {
        for key in &keys {
            rig.put(client, name, key, of("", &[key], cost)).unwrap();
        }
        match (name, cost) {
            ("post", _) => assert_eq!(next(&mut rig, client, "post"), Some(5_000)),
            (_, 1) => assert_eq!(next(&mut rig, client, "mail"), Some(1_000)),
            _ => assert_eq!(rig.take(client, "mail", 20).len(), 20),
        }
    }
    // Those of the other queue, which need more, are before them. A receive finds out anew of some.
    rig.now = rig.now.after(ms(2_000));
    assert_eq!(next(&mut rig, client, "mail"), Some(1));
    assert_eq!(next(&mut rig, client, "mail"), Some(3_000));
}
