//! What a restart brings back, whatever part of the log is left.

use sluice_engine::{Config, Record};
use sluice_model::{Code, LeaseId, Level, Qos, SessionId, SubscriptionId};

use crate::rig::{Rig, config, delay, ms, peer, publish, ttl, with};

#[test]
fn t26_a_held_message_stays_held_over_a_restart_for_the_grace() {
    let mut rig = Rig::new(with(|queue| queue.max_failures = 1));
    let (client, all) = rig.consumer();
    for payload in ["a", "b", "c"] {
        rig.publish(client, "t", payload);
    }
    let held = rig.drain(client, all);
    // The outage lasts longer than the lease.
    rig.now = rig.now.after(ms(100_000));
    rig.crash();
    let (client, all) = rig.consumer();
    assert_eq!(rig.next(client, all), "");
    rig.pass(ms(1_999));
    assert_eq!(rig.ack(client, held[1].lease()), Ok(false), "it is still the valid lease");
    assert_eq!(rig.next(client, all), "");
    rig.pass(ms(1));
    let again = rig.drain(client, all);
    assert_eq!(again.len(), 2);
    assert!(again.iter().all(|got| got.redelivered));
    assert_eq!(rig.engine.stats().failed, 0, "uncounted");
    assert!(again[0].lease().generation > held[2].lease().generation);
    assert_eq!(rig.ack(client, held[0].lease()), Err(Code::LeaseLost));
}

#[test]
fn t27_a_grant_that_was_lost_leaves_a_ready_message_marked_redelivered() {
    let mut rig = Rig::new(config());
    let (client, all) = rig.consumer();
    rig.publish(client, "t", "a");
    rig.publish(client, "t", "b");
    let kept = rig.tape.last();
    let lost = rig.receive(client, all).unwrap().lease();
    rig.restart(kept, false, true);
    let (client, all) = rig.consumer();
    rig.publish(client, "t", "c");
    let got = rig.drain(client, all);
    let told: Vec<_> = got.iter().map(|got| (got.payload.as_str(), got.redelivered)).collect();
    assert_eq!(told, [("a", true), ("b", true), ("c", false)]);
    assert_ne!(got[0].lease(), lost, "generations never repeat");
}

#[test]
fn t27_whoever_held_it_may_still_ack() {
    let mut rig = Rig::new(config());
    let (client, all) = rig.consumer();
    rig.publish(client, "t", "a");
    let kept = rig.tape.last();
    let lost = rig.receive(client, all).unwrap().lease();
    rig.restart(kept, false, true);
    let (client, all) = rig.consumer();
    assert_eq!(rig.ack(client, lost), Ok(false));
    assert_eq!(rig.next(client, all), "");
}

#[test]
fn after_an_orderly_stop_nothing_is_marked_redelivered() {
    let mut rig = Rig::new(config());
    let (client, _) = rig.consumer();
    rig.publish(client, "t", "a");
    rig.restart(rig.tape.last(), false, false);
    let (client, all) = rig.consumer();
    assert!(!rig.receive(client, all).unwrap().redelivered);
}

#[test]
fn an_old_lease_does_not_ack_a_message_that_took_the_place_of_a_lost_one() {
    // A message from memory, then one that had been handed to the kernel only.
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
        let mut rig = Rig::new(with(|queue| queue.level = Level::Os));
        let (client, all) = rig.consumer();
        rig.publish(client, "t", "kept");
        let kept = rig.tape.last();
        rig.ask(client, publish("t", qos, "lost", None));
        let held = rig.drain(client, all);
        rig.restart(kept, false, true);
        let (client, _) = rig.consumer();
        rig.publish(client, "t", "in its place");
        let other = &held[1];
        assert_eq!((other.payload.as_str(), other.lease().seq.0), ("lost", 1));
        assert_eq!(rig.ack(client, other.lease()), Err(Code::NotFound), "{qos:?}");
        // One more start, with and without an image, changes nothing about that.
        rig.take_image();
        for with_image in [true, false] {
            rig.restart(rig.tape.last(), with_image, true);
            let (client, _) = rig.consumer();
            assert_eq!(rig.ack(client, other.lease()), Err(Code::NotFound), "{qos:?}");
        }
        let (client, all) = rig.consumer();
        assert_eq!(rig.ack(client, held[0].lease()), Ok(false));
        assert_eq!(rig.payloads(client, all), ["in its place"]);
    }
}

#[test]
fn an_old_lease_does_not_ack_a_message_of_a_queue_that_took_the_number_of_a_lost_one() {
    let mut rig = Rig::new(config());
    let kept = rig.tape.last();
    let (client, all) = rig.consumer();
    rig.publish_lightly(client, "t", "lost");
    let lost = rig.receive(client, all).unwrap().lease();
    rig.restart(kept, false, true);
    let (client, all) = rig.consumer();
    rig.publish(client, "t", "in its place");
    assert_eq!(rig.ack(client, lost), Err(Code::NotFound));
    let got = rig.receive(client, all).unwrap();
    assert_eq!((got.lease().queue, got.lease().seq), (lost.queue, lost.seq));
}

#[test]
fn lease_ids_of_one_broker_mean_nothing_to_another_and_cannot_be_made_up() {
    let mut rig = Rig::new(config());
    let (client, all) = rig.consumer();
    rig.publish(client, "t", "a");
    let lease = rig.receive(client, all).unwrap().lease();
    for bit in 0..64 {
        let forged = sluice_model::LeaseId { secret: lease.secret ^ 1 << bit, ..lease };
        assert_eq!(rig.ack(client, forged), Err(Code::NotFound));
    }
    rig.crash();
    let (client, _) = rig.consumer();
    assert_eq!(rig.ack(client, lease), Ok(false), "the key survives");
}

#[test]
fn messages_from_memory_are_gone_after_a_restart_and_the_others_keep_their_places() {
    for with_image in [false, true] {
        let mut rig = Rig::new(config());
        let (client, all) = rig.consumer();
        for n in 0..6 {
            if n % 2 == 0 {
                rig.publish_lightly(client, "t", &format!("memory {n}"));
            } else {
                rig.publish(client, "t", &format!("log {n}"));
            }
            if n == 3 {
                rig.take_image();
            }
        }
        let held = rig.drain(client, all);
        assert_eq!(held.len(), 6);
        assert_eq!(rig.ack(client, held[2].lease()), Ok(false));
        assert_eq!(rig.ack(client, held[1].lease()), Ok(false));
        rig.restart(rig.tape.last(), with_image, true);
        assert_eq!(rig.engine.queued(), 2);
        let (client, all) = rig.consumer();
        rig.publish_lightly(client, "t", "memory 6");
        rig.publish(client, "t", "log 7");
        assert_eq!(rig.payloads(client, all), ["memory 6", "log 7"]);
        rig.pass(ms(2_000));
        assert_eq!(rig.payloads(client, all), ["log 3", "log 5"]);
        rig.restart(rig.tape.last(), with_image, true);
        let (client, all) = rig.consumer();
        rig.pass(ms(2_000));
        assert_eq!(rig.payloads(client, all), ["log 3", "log 5", "log 7"], "{with_image}");
    }
}

#[test]
fn a_repeated_ack_is_known_as_one_after_a_restart_too() {
    let mut rig = Rig::new(config());
    let (client, all) = rig.consumer();
    rig.publish(client, "t", "a");
    let lease = rig.receive(client, all).unwrap().lease();
    assert_eq!(rig.ack(client, lease), Ok(false));
    assert_eq!(rig.ack(client, lease), Ok(true));
    assert_eq!(rig.nack(client, lease, crate::rig::FAILED), Err(Code::NotFound));
    rig.crash();
    let (client, _) = rig.consumer();
    assert_eq!(rig.ack(client, lease), Ok(true));
    assert_eq!(rig.engine.stats().acked, 0);
}

#[test]
fn only_the_last_settled_leases_are_remembered() {
    let mut rig = Rig::new(config());
    let (client, all) = rig.consumer();
    let leases = settled(&mut rig, client, all, 4_097);
    assert_eq!(rig.ack(client, leases[0]), Err(Code::NotFound));
    assert_eq!(rig.ack(client, leases[1]), Ok(true));
    assert_eq!(rig.ack(client, leases[4_096]), Ok(true));
}

#[test]
fn queues_share_the_settled_leases_that_are_remembered() {
    let mut rig = Rig::new(Config { settled_max: 80, ..config() });
    let (client, all) = rig.consumer();
    let before = settled(&mut rig, client, all, 80);
    assert_eq!(rig.ack(client, before[0]), Ok(true), "there is one queue");
    for other in ["b", "c", "d"] {
        rig.declare(client, other, &[]);
    }
    let after = settled(&mut rig, client, all, 1);
    assert_eq!(rig.ack(client, before[60]), Err(Code::NotFound), "20 for each");
    assert_eq!(rig.ack(client, before[61]), Ok(true));
    assert_eq!(rig.ack(client, after[0]), Ok(true));
}

/// Publishes, takes and acks so many messages one after the other. Gives their leases.
fn settled(rig: &mut Rig, client: SessionId, from: SubscriptionId, count: usize) -> Vec<LeaseId> {
    let mut leases = Vec::new();
    for _ in 0..count {
        rig.publish(client, "t", "");
        let lease = rig.receive(client, from).unwrap().lease();
        assert_eq!(rig.ack(client, lease), Ok(false));
        leases.push(lease);
    }
    leases
}

#[test]
fn delays_and_times_to_live_go_on_over_a_restart() {
    let mut rig = Rig::new(config());
    let (client, all) = rig.consumer();
    rig.publish_with(client, "delayed", delay(ms(1_000)));
    rig.publish_with(client, "short", ttl(ms(500)));
    rig.publish(client, "t", "failed");
    let failed = rig.drain(client, all);
    rig.fail(client, failed[1].lease());
    rig.release(client, failed[0].lease());
    rig.crash();
    let (client, all) = rig.consumer();
    rig.pass(ms(500));
    assert_eq!((rig.next(client, all), rig.engine.stats().expired), (String::new(), 1));
    rig.pass(ms(500));
    assert_eq!(rig.payloads(client, all), ["delayed", "failed"]);
}

#[test]
fn a_delay_that_had_passed_is_not_waited_for_again() {
    let mut rig = Rig::new(config());
    let (client, all) = rig.consumer();
    rig.publish_with(client, "a", delay(ms(1_000)));
    rig.pass(ms(1_000));
    let held = rig.receive(client, all).unwrap();
    rig.release(client, held.lease());
    rig.crash();
    let (client, all) = rig.consumer();
    assert_eq!(rig.next(client, all), "a");
}

#[test]
fn failures_count_on_over_restarts() {
    let mut rig = Rig::new(with(|queue| queue.max_failures = 3));
    for with_image in [false, true, true] {
        let (client, all) = rig.consumer();
        if rig.engine.queued() == 0 {
            rig.publish(client, "t", "a");
        }
        let got = rig.receive(client, all).unwrap();
        rig.fail(client, got.lease());
        rig.take_image();
        rig.restart(rig.tape.last(), with_image, true);
        rig.pass(ms(10_000));
    }
    let (client, all) = rig.consumer();
    assert_eq!(rig.next(client, all), "");
    assert_eq!(rig.engine.queued(), 1, "dead");
}

#[test]
fn any_part_of_the_log_is_a_state_that_conserves_its_messages() {
    let mut rig = Rig::new(with(|queue| {
        queue.max_failures = 2;
        queue.max_releases = 1;
    }));
    let (client, all) = rig.consumer();
    let other = rig.open(peer(2));
    let unnamed = rig.unnamed(other, "t");
    for round in 0..6 {
        for n in 0..3 {
            rig.publish(client, "t", &format!("{round} {n}"));
        }
        rig.publish_with(client, "short", ttl(ms(700)));
        rig.publish_lightly(client, "t", "memory");
        for got in rig.drain(client, all).into_iter().skip(1) {
            match got.lease().generation.counter % 3 {
                0 => assert_eq!(rig.ack(client, got.lease()), Ok(false)),
                1 => rig.fail(client, got.lease()),
                _ => rig.release(client, got.lease()),
            }
        }
        let got = rig.receive(other, unnamed).unwrap();
        assert_eq!(rig.ack(other, got.lease()), Ok(false));
        rig.pass(ms(500));
    }
    let whole = rig.tape.clone();
    for kept in 0..=whole.last() {
        rig.tape = whole.clone();
        // Checks by itself.
        rig.restart(kept, false, true);
        let first = if kept == 0 { 1 } else { kept + 1 };
        assert!(matches!(rig.tape.record(first), Record::Founded { .. } | Record::Started { .. }));
        let (client, all) = rig.consumer();
        rig.pass(ms(3_600_001));
        for got in rig.drain(client, all) {
            assert_eq!(rig.ack(client, got.lease()), Ok(false));
        }
        assert_eq!(rig.engine.queued(), rig.engine.stats().dead + dead_of(&whole, kept));
    }
}

/// Messages in dead sets after the first `kept` records, of queues without an owner to come back.
fn dead_of(tape: &crate::rig::Tape, kept: u64) -> u64 {
    (1..=kept).filter(|n| matches!(tape.record(*n), Record::Buried { .. })).count() as u64
}
