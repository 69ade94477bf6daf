//! Named, unnamed and ephemeral subscriptions, and who gets them.

use sluice_engine::{EndedBy, Overflow, Ran};
use sluice_model::{Client, Code, Command, Qos, Receive, Source, SubscriptionId};

use crate::rig::{EMPTY, Rig, Said, config, key, ms, peer, take};

#[test]
fn consumers_of_a_named_subscription_share_its_messages() {
    let mut rig = Rig::new(config());
    let (one, two) = (rig.open(peer(1)), rig.open(key("k", 2)));
    let (from_one, from_two) = (rig.named(one, "billing", "t"), rig.named(two, "billing", "t"));
    for payload in ["a", "b", "c"] {
        rig.publish(one, "t", payload);
    }
    assert_eq!(rig.next(one, from_one), "a");
    assert_eq!(rig.next(two, from_two), "b");
    assert_eq!(rig.next(one, from_one), "c");
    assert_eq!(rig.next(two, from_two), "");
    assert_eq!(rig.engine.subscriptions(), 1);
}

#[test]
fn a_name_with_another_pattern_is_a_conflict() {
    let mut rig = Rig::new(config());
    let client = rig.open(peer(1));
    rig.named(client, "billing", "t");
    let other = rig.subscribe_to(client, "t.*", Qos::AtLeastOnce, Some("billing"));
    assert_eq!(other, Err(Code::Conflict));
    assert_eq!(rig.engine.subscriptions(), 1);
}

#[test]
fn a_named_subscription_goes_on_receiving_while_its_consumer_is_away_and_never_expires() {
    let mut rig = Rig::new(config());
    let (client, _) = rig.consumer();
    rig.close(client, EndedBy::Client, &[]);
    let publisher = rig.open(peer(2));
    rig.publish(publisher, "t", "a");
    rig.pass(ms(1_000 * 3_600_000));
    let (client, all) = rig.consumer();
    assert_eq!(rig.payloads(client, all), ["a"]);
}

#[test]
fn a_session_receives_only_from_subscriptions_of_its_own() {
    let mut rig = Rig::new(config());
    let (_, all) = rig.consumer();
    let stranger = rig.open(peer(9));
    for subscription in [all, SubscriptionId(999)] {
        let answer = rig.answer(stranger, take(subscription));
        let text = format!("{answer:?}");
        assert!(text.contains("NotFound"), "{text}");
    }
}

#[test]
fn a_detached_unnamed_subscription_is_taken_over_with_its_messages() {
    let mut rig = Rig::new(config());
    let old = rig.open(peer(1));
    let all = rig.unnamed(old, "t");
    for payload in ["acked", "held", "waiting"] {
        rig.publish(old, "t", payload);
    }
    let acked = rig.receive(old, all).unwrap().lease();
    assert_eq!(rig.ack(old, acked), Ok(false));
    let held = rig.receive(old, all).unwrap().lease();
    rig.close(old, EndedBy::Client, &[]);
    let new = rig.open(peer(1));
    let all = rig.unnamed(new, "t");
    assert_eq!(rig.engine.subscriptions(), 1);
    assert_eq!(rig.ack(new, held), Err(Code::LeaseLost), "its tag is void");
    let got = rig.drain(new, all);
    let told: Vec<_> = got.iter().map(|got| (got.payload.as_str(), got.redelivered)).collect();
    assert_eq!(told, [("held", true), ("waiting", false)]);
    assert_eq!(rig.ack(new, held), Err(Code::LeaseLost), "another holds it");
    // The grace of the old connection finds nothing left to count.
    rig.pass(ms(2_000));
    assert_eq!(rig.engine.stats().failed, 0);
    assert_eq!(rig.ack(new, got[0].lease()), Ok(false));
}

#[test]
fn what_the_grace_gave_back_before_a_takeover_stays_with_the_new_consumer() {
    let mut rig = Rig::new(config());
    let old = rig.open(peer(1));
    let all = rig.unnamed(old, "t");
    rig.publish(old, "t", "a");
    let held = rig.receive(old, all).unwrap().lease();
    rig.close(old, EndedBy::Client, &[]);
    rig.pass(ms(2_000));
    rig.pass(ms(1_000));
    let new = rig.open(peer(1));
    let all = rig.unnamed(new, "t");
    assert_eq!(rig.next(new, all), "a");
    assert_eq!(rig.ack(new, held), Err(Code::LeaseLost));
}

#[test]
fn a_takeover_after_a_crash_ends_the_leases_of_the_run_before() {
    let mut rig = Rig::new(config());
    let old = rig.open(peer(1));
    let all = rig.unnamed(old, "t");
    rig.publish(old, "t", "a");
    let held = rig.receive(old, all).unwrap().lease();
    rig.crash();
    let new = rig.open(peer(1));
    let all = rig.unnamed(new, "t");
    assert_eq!(rig.ack(new, held), Err(Code::LeaseLost));
    assert_eq!(rig.payloads(new, all), ["a"]);
}

#[test]
fn a_takeover_voids_a_lease_whose_grant_was_lost_in_a_crash() {
    let mut rig = Rig::new(config());
    let old = rig.open(peer(1));
    let all = rig.unnamed(old, "t");
    rig.publish(old, "t", "a");
    let first = rig.receive(old, all).unwrap().lease();
    let kept = rig.tape.last();
    rig.release(old, first);
    let second = rig.receive(old, all).unwrap().lease();
    // The log knows the first lease, the client holds the second.
    rig.restart(kept, false, true);
    let new = rig.open(peer(1));
    let all = rig.unnamed(new, "t");
    for lease in [first, second] {
        assert_eq!(rig.ack(new, lease), Err(Code::LeaseLost));
    }
    assert_eq!(rig.next(new, all), "a");
}

#[test]
fn the_detached_subscription_that_was_made_first_is_taken_over_first() {
    let mut rig = Rig::new(config());
    let (one, two) = (rig.open(peer(1)), rig.open(peer(1)));
    let first = rig.unnamed(one, "t");
    let second = rig.unnamed(two, "t");
    rig.publish(one, "t", "a");
    let lease = rig.receive(two, second).unwrap().lease();
    assert_eq!(rig.ack(two, lease), Ok(false));
    // The second one is detached first, and yet comes second.
    rig.close(two, EndedBy::Client, &[]);
    rig.close(one, EndedBy::Client, &[]);
    let new = rig.open(peer(1));
    let again = rig.unnamed(new, "t");
    assert_ne!(again, first);
    assert_eq!(rig.payloads(new, again), ["a"]);
    let again = rig.unnamed(new, "t");
    assert_eq!(rig.payloads(new, again), [""; 0]);
    assert_eq!(rig.engine.subscriptions(), 2);
    rig.unnamed(new, "t");
    assert_eq!(rig.engine.subscriptions(), 3, "none is detached any more");
}

#[test]
fn only_the_same_principal_takes_over_and_in_open_mode_only_from_the_same_address() {
    // Who had it, who comes, whether it is theirs.
    let cases: [(Client, Client, bool); 6] = [
        (peer(1), peer(1), true),
        (peer(1), peer(2), false),
        (key("k", 1), key("k", 2), true),
        (key("k", 1), key("l", 1), false),
        (key("k", 1), peer(1), false),
        (key("192.0.2.1", 1), peer(1), false),
    ];
    for (had, comes, theirs) in cases {
        let mut rig = Rig::new(config());
        let old = rig.open(had.clone());
        rig.unnamed(old, "t");
        rig.close(old, EndedBy::Client, &[]);
        let new = rig.open(comes.clone());
        rig.unnamed(new, "other");
        rig.unnamed(new, "t");
        let expected = if theirs { 2 } else { 3 };
        assert_eq!(rig.engine.subscriptions(), expected, "{had:?} {comes:?}");
    }
}

#[test]
fn an_unnamed_subscription_expires_when_nobody_comes_back_for_it() {
    let mut rig = Rig::new(config());
    let client = rig.open(peer(1));
    rig.unnamed(client, "t");
    rig.publish(client, "t", "a");
    rig.pass(ms(2 * 3_600_000));
    assert_eq!(rig.engine.subscriptions(), 1, "it has a consumer");
    rig.close(client, EndedBy::Client, &[]);
    rig.pass(ms(3_599_000));
    let again = rig.open(peer(1));
    rig.unnamed(again, "t");
    rig.pass(ms(3_600_000));
    assert_eq!(rig.engine.subscriptions(), 1, "somebody came back");
    rig.close(again, EndedBy::Client, &[]);
    rig.pass(ms(1_000_000));
    // While the broker is away its time stands still.
    rig.crash();
    rig.pass(ms(3_599_999));
    assert_eq!((rig.engine.subscriptions(), rig.engine.queued()), (1, 1));
    rig.pass(ms(1));
    assert_eq!((rig.engine.subscriptions(), rig.engine.queued()), (0, 0));
    assert_eq!(rig.engine.live_bytes(), 0);
    rig.crash();
    assert_eq!(rig.engine.subscriptions(), 0);
}

#[test]
fn a_subscription_may_expire_while_its_lost_connection_still_has_its_grace() {
    let mut config = config();
    config.unnamed.inactive_expiry = Some(ms(1_000));
    let mut rig = Rig::new(config);
    let client = rig.open(peer(1));
    let all = rig.unnamed(client, "t");
    rig.publish(client, "t", "a");
    let lease = rig.receive(client, all).unwrap().lease();
    rig.close(client, EndedBy::Client, &[]);
    rig.pass(ms(1_000));
    assert_eq!(rig.engine.subscriptions(), 0);
    rig.pass(ms(60_000));
    let other = rig.open(peer(1));
    assert_eq!(rig.ack(other, lease), Err(Code::NotFound));
}

#[test]
fn a_broker_that_is_full_of_subscriptions_still_gives_back_those_it_has() {
    let mut config = config();
    config.subscriptions_max = 2;
    let mut rig = Rig::new(config);
    let client = rig.open(peer(1));
    rig.unnamed(client, "t");
    rig.named(client, "n", "t");
    rig.close(client, EndedBy::Client, &[]);
    let client = rig.open(peer(1));
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
        assert_eq!(rig.subscribe_to(client, "new", qos, None), Err(Code::Overloaded));
    }
    rig.unnamed(client, "t");
    rig.named(client, "n", "t");
    assert_eq!(rig.engine.subscriptions(), 2);
}

#[test]
fn one_key_gets_a_quarter_of_the_subscriptions_or_what_is_set() {
    for (set, expected) in [(0, 2), (3, 3)] {
        let mut config = config();
        config.subscriptions_max = 8;
        config.subscriptions_per_principal = set;
        let mut rig = Rig::new(config);
        let greedy = rig.open(key("greedy", 1));
        let again = rig.open(key("greedy", 2));
        rig.named(greedy, "n", "t");
        for number in 1..expected {
            rig.ephemeral(again, &format!("t.{number}"));
        }
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
            assert_eq!(rig.subscribe_to(greedy, "new", qos, None), Err(Code::Overloaded));
        }
        // What it has it still gets, and others have their share.
        rig.named(again, "n", "t");
        let modest = rig.open(key("modest", 1));
        rig.unnamed(modest, "t");
        // What goes with its connection makes room.
        rig.close(again, EndedBy::Client, &[]);
        rig.unnamed(greedy, "new");
    }
}

#[test]
fn a_slow_subscriber_at_most_once_loses_its_oldest_messages_which_is_counted() {
    let mut config = config();
    // Topic, sender and payload have 13 bytes together.
    config.subscriber_buffer_bytes = 39;
    let mut rig = Rig::new(config);
    let (slow, fast) = (rig.open(peer(1)), rig.open(peer(2)));
    let (from_slow, from_fast) = (rig.ephemeral(slow, "t"), rig.ephemeral(fast, "t"));
    for n in 0..5 {
        rig.publish_lightly(slow, "t", &format!("{n:03}"));
        assert_eq!(rig.next(fast, from_fast), format!("{n:03}"));
    }
    assert_eq!(rig.engine.stats().gaps, 2);
    let large = "x".repeat(100);
    assert_eq!(rig.payloads(slow, from_slow), ["002", "003", "004"]);
    rig.publish_lightly(slow, "t", "one");
    rig.publish_lightly(slow, "t", &large);
    assert_eq!(rig.next(fast, from_fast), large);
    assert_eq!(rig.payloads(slow, from_slow), [large], "one message always has room");
    assert_eq!(rig.engine.stats().gaps, 4, "one for each of them");
}

#[test]
fn a_receive_at_most_once_that_stays_hands_over_what_comes() {
    let mut config = config();
    config.session_out_max = 4_096;
    let mut rig = Rig::new(config);
    let (client, publisher) = (rig.open(peer(1)), rig.open(peer(2)));
    let from = Source::Subscription(rig.ephemeral(client, "t"));
    let receive = |max| {
        let wait = Some(ms(1_000));
        Command::Receive(Receive { max, wait, stays: true, ..Receive::one(from.clone()) })
    };
    let told = |rig: &mut Rig| match rig.told(client).map(|out| out.said) {
        None => "nothing".to_owned(),
        Some(Said::Got(got)) => got.payload,
        Some(other) if other == Said::Answer(EMPTY) => "empty".to_owned(),
        other => panic!("{other:?}"),
    };
    let publish = |rig: &mut Rig, payload: &str| {
        rig.publish_lightly(publisher, "t", payload);
        rig.fire();
        told(rig)
    };
    assert_eq!(rig.ask(client, receive(3)), None);
    for (payload, expected) in [("a", "a"), ("b", "b"), ("c", "c"), ("d", "nothing")] {
        assert_eq!(publish(&mut rig, payload), expected, "three were asked for");
    }
    // What is there comes at once; what has no room ends it.
    rig.drains = false;
    assert_eq!(rig.run(client, receive(9)), Ran::Done);
    rig.drains = true;
    assert_eq!(told(&mut rig), "d");
    assert_eq!(publish(&mut rig, &"x".repeat(4_000)), "empty");
    assert_eq!(rig.run(client, receive(9)), Ran::NoRoom);
    rig.engine.written(client, 4_096);
    assert_eq!(rig.run(client, receive(9)), Ran::Done);
    assert_eq!(told(&mut rig).len(), 4_000);
    rig.pass(ms(1_000));
    assert_eq!(told(&mut rig), "empty", "its time is over");
}

#[test]
fn a_subscription_at_most_once_ends_with_its_session() {
    let mut rig = Rig::new(config());
    let client = rig.open(peer(1));
    rig.ephemeral(client, "t");
    rig.close(client, EndedBy::Client, &[]);
    assert_eq!((rig.engine.subscriptions(), rig.engine.sessions()), (0, 0));
    let other = rig.open(peer(1));
    rig.publish(other, "t", "a");
    assert_eq!(rig.engine.stats().unroutable, 1);
}

#[test]
fn delivery_is_as_sure_as_the_lower_of_publish_and_subscription() {
    let mut rig = Rig::new(config());
    let client = rig.open(peer(1));
    let durable = rig.named(client, "n", "t");
    let light = rig.ephemeral(client, "t");
    let written = rig.tape.last();
    rig.publish_lightly(client, "t", "from memory");
    assert_eq!(rig.tape.last(), written, "at most once writes nothing");
    rig.publish(client, "t", "from the log");
    for (from, leased) in [(durable, true), (light, false)] {
        let got = rig.drain(client, from);
        assert_eq!(got.len(), 2);
        assert!(got.iter().all(|got| got.lease.is_some() == leased), "{got:?}");
    }
}

#[test]
fn an_unnamed_subscription_drops_its_oldest_messages_by_default() {
    assert_eq!(config().unnamed.overflow, Overflow::DropOldest);
    let mut config = config();
    config.unnamed.max_messages = 2;
    let mut rig = Rig::new(config);
    let client = rig.open(peer(1));
    let all = rig.unnamed(client, "t");
    for payload in ["a", "b", "c"] {
        rig.publish(client, "t", payload);
    }
    assert_eq!(rig.payloads(client, all), ["b", "c"]);
    assert_eq!(rig.engine.stats().dropped, 1);
}
