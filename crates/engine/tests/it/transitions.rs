//! One test for each transition of a message.

use sluice_engine::{EndedBy, OnExpire};
use sluice_model::{Answer, Code, Outcome, Qos};

use crate::rig::{FAILED, Rig, config, delay, ms, peer, publish, ttl, with};

#[test]
fn t1_a_published_message_is_ready_for_every_subscription_that_matches() {
    let mut rig = Rig::new(config());
    let client = rig.open(peer(1));
    let exact = rig.named(client, "exact", "orders.eu");
    let star = rig.named(client, "star", "orders.*");
    let other = rig.named(client, "other", "orders");
    let light = rig.ephemeral(client, ">");
    rig.publish(client, "orders.eu", "a");
    rig.publish(client, "orders.us", "b");
    assert_eq!(rig.payloads(client, exact), ["a"]);
    assert_eq!(rig.payloads(client, star), ["a", "b"]);
    assert_eq!(rig.payloads(client, other), [""; 0]);
    assert_eq!(rig.payloads(client, light), ["a", "b"]);
}

#[test]
fn t2_a_message_with_a_delay_is_not_handed_over_before_its_time() {
    let mut rig = Rig::new(config());
    let (client, all) = rig.consumer();
    rig.publish_with(client, "late", delay(ms(500)));
    assert_eq!(rig.next(client, all), "");
    rig.pass(ms(499));
    assert_eq!(rig.next(client, all), "");
    rig.pass(ms(1));
    let got = rig.receive(client, all).unwrap();
    assert_eq!((got.payload.as_str(), got.redelivered), ("late", false));
}

#[test]
fn t6_a_delayed_message_keeps_its_place_when_its_time_comes() {
    let mut rig = Rig::new(config());
    let (client, all) = rig.consumer();
    rig.publish_with(client, "first", delay(ms(500)));
    rig.publish(client, "t", "second");
    rig.publish(client, "t", "third");
    assert_eq!(rig.next(client, all), "second");
    rig.pass(ms(500));
    assert_eq!(rig.payloads(client, all), ["first", "third"]);
}

#[test]
fn t8_a_message_is_handed_to_one_consumer_under_a_generation_of_its_own() {
    let mut rig = Rig::new(config());
    let (one, from_one) = rig.consumer();
    let (two, from_two) = rig.consumer();
    rig.publish(one, "t", "a");
    let first = rig.receive(one, from_one).unwrap();
    assert!(!first.redelivered);
    assert_eq!(rig.next(two, from_two), "");
    rig.release(one, first.lease());
    let second = rig.receive(two, from_two).unwrap();
    assert!(second.redelivered);
    assert!(second.lease().generation > first.lease().generation);
    assert_ne!(second.lease().secret, first.lease().secret);
}

#[test]
fn t9_an_acked_message_is_gone() {
    let mut rig = Rig::new(config());
    let (client, all) = rig.consumer();
    rig.publish(client, "t", "a");
    let lease = rig.receive(client, all).unwrap().lease();
    assert_eq!(rig.ack(client, lease), Ok(false));
    rig.pass(ms(3_600_000));
    assert_eq!(rig.next(client, all), "");
    assert_eq!((rig.engine.queued(), rig.engine.live_bytes()), (0, 0));
    rig.crash();
    let (client, all) = rig.consumer();
    assert_eq!(rig.next(client, all), "");
}

#[test]
fn t11_a_failed_message_comes_back_after_a_backoff_that_grows() {
    let mut rig = Rig::new(config());
    let (client, all) = rig.consumer();
    rig.publish(client, "t", "a");
    for wait in [1_000, 2_000, 4_000] {
        let got = rig.receive(client, all).unwrap();
        rig.fail(client, got.lease());
        rig.pass(ms(wait - 1));
        assert_eq!(rig.next(client, all), "");
        rig.pass(ms(1));
    }
    let got = rig.receive(client, all).unwrap();
    let own = Outcome::Failed { delay: Some(ms(50)), note: None };
    assert_eq!(rig.nack(client, got.lease(), own), Ok(false));
    rig.pass(ms(50));
    assert!(rig.receive(client, all).unwrap().redelivered);
}

#[test]
fn t12_the_last_failure_parks_the_message_in_the_dead_set() {
    let mut rig = Rig::new(with(|queue| queue.max_failures = 2));
    let (client, all) = rig.consumer();
    rig.publish_with(client, "a", ttl(ms(5_000)));
    let got = rig.receive(client, all).unwrap();
    rig.fail(client, got.lease());
    rig.pass(ms(1_000));
    let got = rig.receive(client, all).unwrap();
    // Past its time too: the failures go first.
    rig.pass(ms(10_000));
    rig.fail(client, got.lease());
    assert_eq!((rig.engine.stats().dead, rig.engine.stats().expired), (1, 0));
    rig.pass(ms(100_000));
    assert_eq!(rig.next(client, all), "");
    assert_eq!(rig.engine.queued(), 1, "a dead message is still there");
    assert_eq!(rig.ack(client, got.lease()), Err(Code::LeaseLost));
}

#[test]
fn t12_without_a_limit_a_message_fails_for_ever() {
    let mut rig = Rig::new(with(|queue| queue.max_failures = 0));
    let (client, all) = rig.consumer();
    rig.publish(client, "t", "a");
    for _ in 0..50 {
        let got = rig.receive(client, all).unwrap();
        rig.fail(client, got.lease());
        rig.pass(ms(600_000));
    }
    assert_eq!(rig.next(client, all), "a");
}

#[test]
fn t13_a_released_message_goes_back_to_its_place_uncounted() {
    let mut rig = Rig::new(with(|queue| queue.max_failures = 1));
    let (client, all) = rig.consumer();
    for payload in ["a", "b", "c"] {
        rig.publish(client, "t", payload);
    }
    let a = rig.receive(client, all).unwrap();
    assert_eq!(rig.next(client, all), "b");
    rig.release(client, a.lease());
    let a = rig.receive(client, all).unwrap();
    assert_eq!(a.payload, "a");
    let later = Outcome::Released { delay: Some(ms(100)) };
    assert_eq!(rig.nack(client, a.lease(), later), Ok(false));
    assert_eq!(rig.next(client, all), "c");
    rig.pass(ms(100));
    assert_eq!(rig.next(client, all), "a");
    assert_eq!(rig.engine.stats().dead, 0);
}

#[test]
fn t16_a_lease_that_runs_out_counts_as_a_failure() {
    let mut rig = Rig::new(with(|queue| queue.max_failures = 2));
    let (client, all) = rig.consumer();
    rig.publish(client, "t", "a");
    assert_eq!(rig.next(client, all), "a");
    rig.pass(ms(29_999));
    assert_eq!(rig.engine.stats().failed, 0);
    rig.pass(ms(1));
    assert_eq!(rig.engine.stats().failed, 1);
    assert_eq!(rig.next(client, all), "");
    rig.pass(ms(1_000));
    assert_eq!(rig.next(client, all), "a");
    rig.pass(ms(30_000));
    assert_eq!((rig.engine.stats().failed, rig.engine.stats().dead), (2, 1));
}

#[test]
fn t17_a_lost_connection_costs_its_oldest_delivery_a_failure_after_the_grace() {
    let mut rig = Rig::new(config());
    let (client, all) = rig.consumer();
    for payload in ["a", "b", "c", "d"] {
        rig.publish(client, "t", payload);
    }
    let held: Vec<_> = (0..3).map(|_| rig.receive(client, all).unwrap()).collect();
    // The last one never left the broker.
    rig.close(client, EndedBy::Client, &[held[2].lease()]);
    let (other, all) = rig.consumer();
    assert_eq!(rig.payloads(other, all), ["c", "d"]);
    rig.pass(ms(1_999));
    assert_eq!(rig.next(other, all), "");
    rig.pass(ms(1));
    assert_eq!(rig.payloads(other, all), ["b"]);
    assert_eq!(rig.engine.stats().failed, 1);
    rig.pass(ms(1_000));
    assert_eq!(rig.payloads(other, all), ["a"]);
}

#[test]
fn t17_when_the_broker_closes_nothing_is_counted_and_there_is_no_grace() {
    let mut rig = Rig::new(with(|queue| queue.max_failures = 1));
    let (client, all) = rig.consumer();
    rig.publish(client, "t", "a");
    assert_eq!(rig.next(client, all), "a");
    rig.close(client, EndedBy::Broker, &[]);
    let (other, all) = rig.consumer();
    assert_eq!(rig.next(other, all), "a");
    assert_eq!(rig.engine.stats().failed, 0);
}

#[test]
fn t17_an_ack_within_the_grace_counts_whoever_brings_it() {
    let mut rig = Rig::new(config());
    let (client, all) = rig.consumer();
    rig.publish(client, "t", "a");
    let lease = rig.receive(client, all).unwrap().lease();
    rig.close(client, EndedBy::Client, &[]);
    let (other, all) = rig.consumer();
    assert_eq!(rig.ack(other, lease), Ok(false));
    rig.pass(ms(60_000));
    assert_eq!(rig.next(other, all), "");
    assert_eq!(rig.engine.stats().failed, 0);
}

#[test]
fn t18_an_expired_message_is_never_handed_over() {
    let mut rig = Rig::new(with(|queue| queue.ttl = Some(ms(1_000))));
    let (client, all) = rig.consumer();
    rig.publish(client, "t", "a");
    rig.publish_with(client, "shorter", ttl(ms(100)));
    rig.publish_with(client, "not longer", ttl(ms(5_000)));
    rig.publish_with(client, "delayed", delay(ms(999)));
    let late = publish("t", Qos::AtLeastOnce, "too late", Some(delay(ms(1_000))));
    let answer = rig.answer(client, late);
    assert!(matches!(&answer, Answer::Refused(why) if why.code == Code::Invalid), "{answer:?}");
    rig.pass(ms(100));
    assert_eq!(rig.engine.stats().expired, 1);
    // The deadline has not fired, and yet it is not handed over.
    rig.now = rig.now.after(ms(900));
    assert_eq!(rig.next(client, all), "");
    rig.fire();
    assert_eq!((rig.engine.stats().expired, rig.engine.queued()), (4, 0));
    assert_eq!(rig.engine.live_bytes(), 0);
}

#[test]
fn t18_an_expired_message_goes_to_the_dead_set_where_the_queue_says_so() {
    let mut rig = Rig::new(with(|queue| queue.on_expire = OnExpire::Dead));
    let (client, all) = rig.consumer();
    rig.publish_with(client, "a", ttl(ms(100)));
    rig.pass(ms(100));
    assert_eq!(rig.next(client, all), "");
    assert_eq!((rig.engine.stats().dead, rig.engine.queued()), (1, 1));
}

#[test]
fn t18_a_message_at_most_once_in_a_queue_has_its_time_and_delay_too() {
    let mut rig = Rig::new(with(|queue| queue.ttl = Some(ms(1_000))));
    let (client, all) = rig.consumer();
    rig.publish_lightly(client, "t", "a");
    let later = publish("t", Qos::AtMostOnce, "b", Some(delay(ms(500))));
    assert!(matches!(rig.answer(client, later), Answer::Published { .. }));
    assert_eq!(rig.next(client, all), "a");
    assert_eq!(rig.next(client, all), "");
    rig.pass(ms(500));
    let b = rig.receive(client, all).unwrap();
    rig.release(client, b.lease());
    rig.pass(ms(500));
    assert_eq!(rig.next(client, all), "");
    assert_eq!((rig.engine.stats().expired, rig.engine.queued()), (1, 1));
}

#[test]
fn t19_a_lease_that_ends_after_the_message_expired_ends_the_message() {
    let mut rig = Rig::new(config());
    let (client, all) = rig.consumer();
    rig.publish_with(client, "a", ttl(ms(100)));
    rig.publish_with(client, "b", ttl(ms(100)));
    let a = rig.receive(client, all).unwrap();
    let b = rig.receive(client, all).unwrap();
    rig.pass(ms(200));
    assert_eq!(rig.engine.queued(), 2, "a held message waits for its lease to end");
    rig.release(client, a.lease());
    assert_eq!((rig.engine.stats().expired, rig.engine.queued()), (1, 1));
    assert_eq!(rig.ack(client, b.lease()), Ok(false), "an ack is still an ack");
    assert_eq!((rig.engine.stats().expired, rig.engine.stats().acked), (1, 1));
}

#[test]
fn t20_a_late_ack_is_welcome_while_nobody_holds_the_message() {
    let mut rig = Rig::new(config());
    let (client, all) = rig.consumer();
    for payload in ["a", "b", "c"] {
        rig.publish(client, "t", payload);
    }
    let held = rig.drain(client, all);
    rig.pass(ms(30_000));
    assert_eq!(rig.ack(client, held[0].lease()), Ok(false), "delayed by backoff");
    rig.pass(ms(1_000));
    assert_eq!(rig.ack(client, held[1].lease()), Ok(false), "ready again");
    let again = rig.receive(client, all).unwrap();
    assert_eq!(rig.ack(client, held[2].lease()), Err(Code::LeaseLost), "another holds it");
    assert_eq!(rig.engine.stats().late_acks, 2);
    // The newer lease ends by itself too: either generation will do.
    rig.pass(ms(30_000));
    assert_eq!(rig.ack(client, held[2].lease()), Ok(false));
    assert_eq!(rig.ack(client, again.lease()), Err(Code::NotFound));
    assert_eq!(rig.engine.queued(), 0);
}

#[test]
fn t20_a_nack_raises_the_fence_for_its_lease_and_older_ones() {
    let mut rig = Rig::new(config());
    let (client, all) = rig.consumer();
    rig.publish(client, "t", "a");
    let first = rig.receive(client, all).unwrap().lease();
    rig.pass(ms(30_000));
    rig.pass(ms(1_000));
    let second = rig.receive(client, all).unwrap().lease();
    rig.release(client, second);
    assert_eq!(rig.ack(client, first), Err(Code::LeaseLost));
    assert_eq!(rig.ack(client, second), Err(Code::LeaseLost));
    assert_eq!(rig.nack(client, second, FAILED), Err(Code::LeaseLost));
    assert_eq!(rig.next(client, all), "a");
}

#[test]
fn t25_endless_release_ends_in_the_dead_set() {
    let mut rig = Rig::new(with(|queue| queue.max_releases = 3));
    let (client, all) = rig.consumer();
    rig.publish(client, "t", "a");
    for _ in 0..4 {
        let got = rig.receive(client, all).unwrap();
        rig.release(client, got.lease());
    }
    assert_eq!(rig.next(client, all), "");
    assert_eq!(rig.engine.stats().dead, 1);
}

#[test]
fn t28_a_message_whose_body_cannot_be_read_goes_to_the_dead_set() {
    let mut rig = Rig::new(config());
    let (client, all) = rig.consumer();
    rig.publish(client, "t", "a");
    rig.publish(client, "t", "b");
    let lease = rig.receive(client, all).unwrap().lease();
    rig.corrupt(lease);
    assert_eq!((rig.engine.stats().dead, rig.engine.queued()), (1, 2));
    assert_eq!(rig.ack(client, lease), Err(Code::LeaseLost));
    assert_eq!(rig.payloads(client, all), ["b"]);
    // Known by then: a second report changes nothing.
    rig.corrupt(lease);
    assert_eq!(rig.engine.stats().dead, 1);
}
