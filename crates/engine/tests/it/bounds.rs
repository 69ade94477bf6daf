//! Bounds: of queues, of replies on their way, of leases and of the log.

use sluice_engine::{Overflow, Ran};
use sluice_model::{Answer, Code, Command, Qos};

use crate::rig::{Rig, Said, config, delay, ms, peer, publish, take, with};

fn refusal(answer: Answer) -> Code {
    match answer {
        Answer::Refused(refusal) => refusal.code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_full_queue_refuses_and_names_itself() {
    let mut rig = Rig::new(with(|queue| queue.max_messages = 2));
    let (client, all) = rig.consumer();
    let other = rig.named(client, "other", "u");
    rig.publish(client, "t", "a");
    rig.publish(client, "t", "b");
    let written = rig.tape.last();
    let answer = rig.answer(client, publish("t", Qos::AtLeastOnce, "c", None));
    assert!(format!("{answer:?}").contains("queue $sub.all is full"), "{answer:?}");
    // Stored for all that match or for none.
    let answer = rig.answer(client, publish("u", Qos::AtLeastOnce, "c", None));
    assert_eq!(refusal(answer), Code::QueueFull);
    assert_eq!(rig.next(client, other), "");
    assert_eq!(rig.tape.last(), written);
    // A held message still counts; an acked one does not.
    let lease = rig.receive(client, all).unwrap().lease();
    let answer = rig.answer(client, publish("t", Qos::AtLeastOnce, "c", None));
    assert_eq!(refusal(answer), Code::QueueFull);
    assert_eq!(rig.ack(client, lease), Ok(false));
    rig.publish(client, "t", "c");
    assert_eq!(rig.payloads(client, all), ["b", "c"]);
}

#[test]
fn a_full_queue_lets_a_message_at_most_once_pass_by() {
    let mut rig = Rig::new(with(|queue| queue.max_messages = 1));
    let (client, all) = rig.consumer();
    rig.publish_lightly(client, "t", "a");
    rig.publish_lightly(client, "t", "b");
    assert_eq!(rig.payloads(client, all), ["a"]);
    assert_eq!(rig.engine.stats().dropped, 1);
}

#[test]
fn the_bound_on_bytes_is_exact() {
    let mut rig = Rig::new(config());
    let (client, all) = rig.consumer();
    rig.publish(client, "t", "12345678");
    let len = u64::from(rig.receive(client, all).unwrap().at.unwrap().len);
    for (max_bytes, fits) in [(2 * len, true), (2 * len - 1, false)] {
        let mut rig = Rig::new(with(|queue| queue.max_bytes = max_bytes));
        let (client, _) = rig.consumer();
        rig.publish(client, "t", "12345678");
        let answer = rig.answer(client, publish("t", Qos::AtLeastOnce, "12345678", None));
        assert_eq!(matches!(answer, Answer::Published { .. }), fits, "{max_bytes}");
    }
}

#[test]
fn drop_oldest_drops_what_nobody_holds_and_counts_it() {
    let mut rig = Rig::new(with(|queue| {
        queue.overflow = Overflow::DropOldest;
        queue.max_messages = 3;
    }));
    let (client, all) = rig.consumer();
    rig.publish(client, "t", "held");
    let held = rig.receive(client, all).unwrap().lease();
    rig.publish_with(client, "delayed", delay(ms(100)));
    for payload in ["a", "b", "c"] {
        rig.publish(client, "t", payload);
    }
    assert_eq!(rig.engine.stats().dropped, 2);
    rig.pass(ms(100));
    // One that came back is the oldest again.
    rig.release(client, held);
    rig.publish(client, "t", "d");
    let left = rig.drain(client, all);
    let payloads: Vec<_> = left.iter().map(|got| got.payload.as_str()).collect();
    assert_eq!(payloads, ["b", "c", "d"]);
    assert_eq!(rig.engine.stats().dropped, 3);
    // All are held: nothing may be dropped, so the new one is refused.
    let answer = rig.answer(client, publish("t", Qos::AtLeastOnce, "e", None));
    assert_eq!(refusal(answer), Code::QueueFull);
    assert_eq!(rig.ack(client, left[1].lease()), Ok(false));
    rig.publish(client, "t", "e");
    assert_eq!(rig.payloads(client, all), ["e"]);
    rig.crash();
    assert_eq!(rig.engine.queued(), 3);
}

#[test]
fn drop_oldest_drops_as_many_as_the_bytes_of_the_new_one_need() {
    let mut rig = Rig::new(with(|queue| {
        queue.overflow = Overflow::DropOldest;
        queue.max_bytes = 400;
    }));
    let (client, all) = rig.consumer();
    for payload in ["a", "b", "c", "d"] {
        rig.publish(client, "t", payload);
    }
    rig.publish(client, "t", &"x".repeat(260));
    assert_eq!(rig.engine.stats().dropped, 2);
    let answer = rig.answer(client, publish("t", Qos::AtLeastOnce, &"y".repeat(400), None));
    assert_eq!(refusal(answer), Code::QueueFull);
    assert_eq!(rig.payloads(client, all).len(), 3);
}

#[test]
fn a_message_larger_than_the_bound_is_refused() {
    let mut config = config();
    config.queue.max_message_bytes = 10;
    let mut rig = Rig::new(config);
    let (client, _) = rig.consumer();
    rig.publish(client, "t", "0123456789");
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
        let answer = rig.answer(client, publish("t", qos, "0123456789x", None));
        assert_eq!(refusal(answer), Code::TooLarge);
    }
}

#[test]
fn a_delivery_that_finds_no_room_waits_until_replies_have_left() {
    let mut config = config();
    config.session_out_max = 1_000;
    let mut rig = Rig::new(config);
    let (client, all) = rig.consumer();
    let publisher = rig.open(peer(2));
    for n in 0..4 {
        rig.publish(publisher, "t", &format!("{n}{}", "x".repeat(250)));
    }
    rig.drains = false;
    let receive = || take(all);
    let first = rig.ask(client, receive()).unwrap();
    assert_eq!(rig.run(client, receive()), Ran::Done);
    assert_eq!(rig.run(client, receive()), Ran::NoRoom);
    assert!(rig.told(client).is_none());
    assert_eq!(rig.run(client, receive()), Ran::NoRoom, "nothing has happened in between");
    rig.engine.written(client, first.weight);
    match rig.ask(client, receive()).unwrap().said {
        Said::Got(got) => assert!(got.payload.starts_with('2')),
        other => panic!("{other:?}"),
    }
    assert_eq!(rig.run(client, receive()), Ran::NoRoom);
    // Whoever has nothing on its way gets anything.
    rig.engine.written(client, usize::MAX);
    assert_eq!(rig.run(client, receive()), Ran::Done);
}

#[test]
fn a_request_without_room_for_any_answer_does_nothing() {
    let mut config = config();
    config.session_out_max = 300;
    let mut rig = Rig::new(config);
    let (client, _) = rig.consumer();
    rig.drains = false;
    let fence = rig.ask(client, Command::Fence).unwrap();
    let command = publish("t", Qos::AtLeastOnce, "a", None);
    assert_eq!(rig.run(client, command.clone()), Ran::NoRoom);
    assert_eq!((rig.engine.queued(), rig.engine.stats().published), (0, 0));
    rig.engine.written(client, fence.weight);
    assert_eq!(rig.run(client, command), Ran::Done);
    assert_eq!(rig.engine.queued(), 1);
}

#[test]
fn a_session_holds_at_most_so_many_leases() {
    let mut config = config();
    config.session_leases_max = 2;
    let mut rig = Rig::new(config);
    let (client, all) = rig.consumer();
    for payload in ["a", "b", "c"] {
        rig.publish(client, "t", payload);
    }
    let a = rig.receive(client, all).unwrap().lease();
    rig.receive(client, all).unwrap();
    let answer = rig.answer(client, take(all));
    assert_eq!(refusal(answer), Code::RateLimited);
    assert_eq!(rig.ack(client, a), Ok(false));
    assert_eq!(rig.next(client, all), "c");
}

/// What a live record takes beside its body, and for each queue that holds it.
const RECORD: u64 = 16;
const TARGET: u64 = 12;

#[test]
fn a_shared_body_lives_until_its_last_message_is_gone() {
    let mut rig = Rig::new(config());
    let client = rig.open(peer(1));
    let queues = [rig.named(client, "one", "t"), rig.named(client, "two", "t")];
    let three = rig.unnamed(client, "t");
    let empty = rig.engine.live_bytes();
    assert_eq!(empty, 0);
    rig.publish(client, "t", "shared");
    let mut held: Vec<_> = queues.iter().map(|from| rig.receive(client, *from).unwrap()).collect();
    held.push(rig.receive(client, three).unwrap());
    let at = held[0].at.unwrap();
    assert!(held.iter().all(|got| got.at == Some(at)), "one body for all");
    let one = RECORD + TARGET + u64::from(at.len);
    for (got, others) in held.into_iter().zip([2, 1, 0]) {
        let live = one + others * TARGET;
        assert_eq!(rig.engine.live_bytes(), live);
        assert_eq!(rig.engine.live_bytes_of(at.segment), live);
        assert_eq!(rig.ack(client, got.lease()), Ok(false));
    }
    assert_eq!((rig.engine.live_bytes(), rig.engine.live_bytes_of(at.segment)), (0, 0));
}

#[test]
fn a_relocated_body_is_read_from_its_new_place_and_the_old_one_is_free() {
    let mut rig = Rig::new(config());
    let client = rig.open(peer(1));
    let queues = [rig.named(client, "one", "t"), rig.named(client, "two", "t")];
    rig.publish(client, "t", "shared");
    let old = rig.tape.last();
    let acked = rig.receive(client, queues[0]).unwrap();
    let held = rig.receive(client, queues[1]).unwrap();
    let at = held.at.unwrap();
    assert_eq!(rig.ack(client, acked.lease()), Ok(false));
    for _ in 0..100 {
        rig.publish(client, "filler", "");
    }
    for n in 0..70 {
        // Enough records for another segment.
        rig.named(client, &format!("filler{n}"), "none");
    }
    assert!(rig.relocate(old));
    let new = rig.engine.place_of(&held.lease()).unwrap();
    assert!(new.segment > at.segment && new.len == at.len);
    assert_eq!(rig.engine.live_bytes_of(at.segment), 0);
    assert_eq!(rig.engine.live_bytes(), RECORD + TARGET + u64::from(at.len));
    assert!(!rig.relocate(old), "nobody refers to the old place");
    rig.release(client, held.lease());
    assert_eq!(rig.engine.place_of(&held.lease()), None);
    let got = rig.receive(client, queues[1]).unwrap();
    assert_eq!((got.payload.as_str(), got.at), ("shared", Some(new)));
    rig.crash();
    let client = rig.open(peer(1));
    let two = rig.named(client, "two", "t");
    rig.pass(ms(2_000));
    let got = rig.receive(client, two).unwrap();
    assert_eq!((got.payload.as_str(), got.at), ("shared", Some(new)));
    assert_eq!(rig.ack(client, got.lease()), Ok(false));
    assert_eq!(rig.engine.live_bytes(), 0);
    assert!(!rig.relocate(new.sequence), "it is gone");
}
