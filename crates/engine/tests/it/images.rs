//! Images: an image and the records after it are worth all records.

use sluice_engine::EndedBy;
use sluice_model::{Answer, Extras, QueueRequest, SessionId};

use crate::rig::{Got, Image, Rig, config, delay, ms, peer, queue, ttl, with};

/// All that consumers can see: every message of every subscription, in order, over time.
fn seen(rig: &mut Rig) -> Vec<Vec<(String, bool, u64)>> {
    // What was due before the restart may still be due after it.
    rig.fire();
    let client = rig.open(peer(1));
    let mut all = Vec::new();
    for (name, pattern) in [("one", "t"), ("two", ">")] {
        let from = rig.named(client, name, pattern);
        all.push((client, from));
    }
    let from = rig.unnamed(client, "t");
    all.push((client, from));
    let mut seen = vec![];
    for _ in 0..4 {
        for (client, from) in &all {
            let told =
                |got: Got| (got.payload, got.redelivered, got.at.map_or(0, |at| at.sequence));
            seen.push(rig.drain(*client, *from).into_iter().map(told).collect());
        }
        rig.pass(ms(1_000));
    }
    seen
}

/// Some of everything that can happen to messages.
fn live_a_little(rig: &mut Rig, client: SessionId, round: u64) {
    let one = rig.named(client, "one", "t");
    let two = rig.named(client, "two", ">");
    for n in 0..8 {
        rig.publish(client, "t", &format!("{round} {n}"));
        rig.publish_lightly(client, "t", &format!("{round} {n} from memory"));
    }
    rig.publish(client, "other", &format!("{round} other"));
    rig.publish_with(client, &format!("{round} delayed"), delay(ms(2_500)));
    rig.publish_with(client, &format!("{round} short"), ttl(ms(1_500)));
    for from in [one, two] {
        for (n, got) in rig.drain(client, from).into_iter().enumerate() {
            match n % 5 {
                0 | 1 => assert_eq!(rig.ack(client, got.lease()), Ok(false)),
                2 => rig.fail(client, got.lease()),
                3 => rig.release(client, got.lease()),
                _ => {}
            }
        }
    }
    rig.pass(ms(900));
}

#[test]
fn an_image_and_the_records_after_it_are_worth_all_records() {
    for image_at in 0..4 {
        let make = || {
            let mut rig = Rig::new(with(|queue| queue.max_failures = 2));
            let client = rig.open(peer(1));
            rig.unnamed(client, "t");
            for round in 0..4 {
                live_a_little(&mut rig, client, round);
                if round == image_at {
                    rig.take_image();
                }
            }
            rig.close(client, EndedBy::Client, &[]);
            rig
        };
        let (mut plain, mut imaged) = (make(), make());
        assert_eq!(plain.tape.last(), imaged.tape.last(), "the same seed gives the same run");
        plain.restart(plain.tape.last(), false, true);
        imaged.restart(imaged.tape.last(), true, true);
        assert_eq!(plain.engine.queued(), imaged.engine.queued());
        assert_eq!(plain.engine.live_bytes(), imaged.engine.live_bytes());
        assert_eq!(plain.engine.subscriptions(), imaged.engine.subscriptions());
        assert_eq!(seen(&mut plain), seen(&mut imaged), "image after round {image_at}");
    }
}

#[test]
fn images_on_top_of_images_hold_the_same_as_one() {
    let make = |every: bool| {
        let mut rig = Rig::new(config());
        let client = rig.open(peer(1));
        rig.unnamed(client, "t");
        for round in 0..6 {
            live_a_little(&mut rig, client, round);
            if every {
                rig.take_image();
            }
        }
        rig.restart(rig.tape.last(), every, true);
        rig.fire();
        let client = rig.open(peer(1));
        for round in 6..9 {
            live_a_little(&mut rig, client, round);
            if every || round == 8 {
                rig.take_image();
            }
        }
        rig.restart(rig.tape.last(), true, true);
        rig
    };
    let (mut often, mut once) = (make(true), make(false));
    assert_eq!(often.image.pieces.len(), once.image.pieces.len());
    assert_eq!(often.engine.live_bytes(), once.engine.live_bytes());
    assert_eq!(seen(&mut often), seen(&mut once));
}

#[test]
fn an_image_holds_its_moment_even_if_it_is_encoded_later() {
    let mut rig = Rig::new(config());
    let (client, all) = rig.consumer();
    for payload in ["a", "b", "c"] {
        rig.publish(client, "t", payload);
    }
    let pieces = rig.engine.take_image();
    let covers = rig.tape.last();
    let got = rig.receive(client, all).unwrap();
    assert_eq!(rig.ack(client, got.lease()), Ok(false));
    rig.publish(client, "t", "d");
    let mut image = Image { covers, ..Image::default() };
    image.put(&pieces);
    rig.image = image;
    rig.restart(covers, true, true);
    let (client, all) = rig.consumer();
    assert_eq!(rig.payloads(client, all), ["a", "b", "c"]);
}

#[test]
fn an_image_after_a_lost_one_holds_everything() {
    let mut rig = Rig::new(config());
    let (client, all) = rig.consumer();
    for payload in ["a", "b"] {
        rig.publish(client, "t", payload);
    }
    let got = rig.receive(client, all).unwrap();
    assert_eq!(rig.ack(client, got.lease()), Ok(false));
    let _lost = rig.engine.take_image();
    rig.engine.forget_image();
    rig.take_image();
    rig.restart(rig.tape.last(), true, true);
    let (client, all) = rig.consumer();
    assert_eq!(rig.payloads(client, all), ["b"]);
}

#[test]
fn an_image_in_slices_is_byte_for_byte_that_of_its_moment_whatever_happens_between_them() {
    sliced_and_whole_are_alike(|_| {});
}

#[test]
fn an_image_of_everything_after_lost_ones_is_one_of_its_moment_too() {
    sliced_and_whole_are_alike(|rig| {
        for slices in [1, 3] {
            rig.begin_image();
            (0..slices).for_each(|_| rig.image_slice());
            rig.imaging = None;
            rig.engine.forget_image();
        }
    });
}

/// Takes an image at once and in slices while things happen, each after `before`.
fn sliced_and_whole_are_alike(before: impl Fn(&mut Rig)) {
    let make = || {
        let mut config = with(|queue| queue.max_failures = 2);
        // A slice takes one queue.
        config.deadlines_per_turn = 1;
        let mut rig = Rig::new(config);
        let client = rig.open(peer(1));
        for n in 0..10 {
            rig.named(client, &format!("idle-{n}"), "t");
        }
        rig.declare(client, "ended", &[]);
        rig.put(client, "ended", "gone", Extras::default()).unwrap();
        live_a_little(&mut rig, client, 0);
        before(&mut rig);
        (rig, client)
    };
    let (mut whole, _) = make();
    whole.take_image();
    let (mut sliced, client) = make();
    sliced.begin_image();
    sliced.image_slice();
    // New messages, leases and their ends, delays that are over, messages in memory only.
    live_a_little(&mut sliced, client, 1);
    sliced.image_slice();
    sliced.declare(client, "new", &[]);
    sliced.put(client, "new", "that the image does not know", Extras::default()).unwrap();
    let request = QueueRequest::Delete { name: queue("ended"), force: true };
    assert_eq!(sliced.queue(client, request), Answer::Removed { messages: 1 });
    for record in 1..sliced.tape.last() {
        sliced.relocate(record);
    }
    while sliced.imaging.is_some() {
        sliced.image_slice();
        live_a_little(&mut sliced, client, 2);
    }
    assert_eq!(sliced.image.pieces, whole.image.pieces);
    // What changed meanwhile is in the next one.
    sliced.take_image();
    assert!(sliced.image.pieces != whole.image.pieces);
    sliced.restart(sliced.tape.last(), true, true);
    let client = sliced.open(peer(1));
    assert_eq!(sliced.taken(client, "new"), ["that the image does not know"]);
}

#[test]
fn a_queue_with_few_messages_has_no_other_pieces_and_one_that_grows_and_shrinks_loses_none() {
    let mut rig = Rig::new(config());
    let mut expected: Vec<String> = Vec::new();
    let mut pieces = Vec::new();
    // Within the queue's piece, apart in one chunk, in several, apart again, within again.
    for count in [1, 3, 40, 600, 300, 20, 2, 0, 5] {
        let (client, all) = rig.consumer();
        while expected.len() > count {
            let got = rig.receive(client, all).unwrap();
            assert_eq!(got.payload, expected.remove(0));
            assert_eq!(rig.ack(client, got.lease()), Ok(false));
        }
        while expected.len() < count {
            expected.push(format!("{} of {count}", expected.len()));
            rig.publish(client, "t", &expected[expected.len() - 1]);
        }
        rig.take_image();
        pieces.push(rig.image.pieces.len());
        // A program that knows no messages in a queue's piece must not take it for one.
        let kinds: Vec<u8> = rig.image.pieces.keys().map(|key| key[0]).collect();
        assert!(!kinds.contains(&5), "{kinds:?}");
        assert_eq!(kinds.contains(&12), !kinds.contains(&1), "{kinds:?}");
        assert_eq!(kinds.contains(&11), kinds.contains(&12), "{kinds:?}");
        assert_eq!(kinds.contains(&12), rig.image.pieces.len() == 3, "{kinds:?}");
        rig.close(client, EndedBy::Client, &[]);
        rig.restart(rig.tape.last(), true, true);
        rig.fire();
    }
    // One for all queues, two for a small queue, or one for it and two a chunk.
    assert_eq!(pieces, [3, 3, 4, 8, 6, 4, 3, 3, 3]);
    let (client, all) = rig.consumer();
    assert_eq!(rig.payloads(client, all), expected);
}

#[test]
fn a_small_queue_is_defined_once_and_again_when_its_settings_change() {
    let mut rig = Rig::new(config());
    let client = rig.open(peer(1));
    rig.declare(client, "orders", &[("max_messages", "9")]);
    let kinds = |rig: &mut Rig| {
        let taken = rig.engine.take_image();
        rig.image.put(&taken);
        rig.image.covers = rig.tape.last();
        let kinds: Vec<u8> = taken.iter().map(|piece| piece.key()[0]).collect();
        kinds.into_iter().filter(|kind| ![0, 9].contains(kind)).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&mut rig), [11, 12]);
    assert!(rig.put(client, "orders", "a", Extras::default()).is_ok());
    assert_eq!(kinds(&mut rig), [12]);
    rig.declare(client, "orders", &[("max_messages", "7")]);
    assert_eq!(kinds(&mut rig), [11, 12]);
    rig.engine.forget_image();
    rig.image.pieces.clear();
    assert_eq!(kinds(&mut rig), [11, 12], "nothing of what was lost is relied on");
    rig.restart(rig.tape.last(), true, true);
    let client = rig.open(peer(1));
    assert!(rig.put(client, "orders", "b", Extras::default()).is_ok());
    assert_eq!(kinds(&mut rig), [12], "what was read is there");
}

#[test]
fn small_queues_of_older_programs_are_read() {
    let mut rig = Rig::new(config());
    let (client, _) = rig.consumer();
    rig.publish(client, "t", "a");
    rig.declare(client, "orders", &[("max_messages", "9")]);
    rig.take_image();
    let of = |kind: u8, rig: &Rig| -> Vec<_> {
        let pieces = rig.image.pieces.iter().filter(|(key, _)| key[0] == kind);
        pieces.map(|(key, bytes)| (*key, bytes.clone())).collect()
    };
    // They had both in one, under the flags of both.
    for ((defined, definition), (numbered, numbers)) in of(11, &rig).into_iter().zip(of(12, &rig)) {
        let mut whole = definition;
        whole[0] |= numbers[0];
        whole.extend_from_slice(&numbers[1..]);
        rig.image.pieces.remove(&defined);
        rig.image.pieces.remove(&numbered);
        let mut key = defined;
        key[0] = 5;
        rig.image.pieces.insert(key, whole);
    }
    assert_eq!((of(5, &rig).len(), rig.image.pieces.len()), (2, 3));
    rig.restart(rig.tape.last(), true, true);
    let (client, all) = rig.consumer();
    assert_eq!(rig.payloads(client, all), ["a"]);
    rig.declare(client, "orders", &[("max_messages", "7")]);
    rig.take_image();
    assert!(of(5, &rig).is_empty(), "both were written anew");
    rig.restart(rig.tape.last(), true, true);
    rig.take_image();
    assert_eq!((of(11, &rig).len(), of(12, &rig).len()), (2, 2));
}

#[test]
fn an_image_knows_where_a_body_was_moved() {
    let mut rig = Rig::new(config());
    let (client, _) = rig.consumer();
    rig.publish(client, "t", "a");
    let old = rig.tape.last();
    rig.take_image();
    // Nothing else happens in the queue between the two images.
    assert!(rig.relocate(old));
    let new = rig.tape.last();
    rig.take_image();
    rig.restart(rig.tape.last(), true, true);
    let (client, all) = rig.consumer();
    assert_eq!(rig.receive(client, all).unwrap().at.unwrap().sequence, new);
}

#[test]
fn an_image_does_not_bring_back_a_subscription_that_is_being_forgotten() {
    let mut config = config();
    config.deadlines_per_turn = 10;
    let mut rig = Rig::new(config);
    let client = rig.open(peer(1));
    rig.unnamed(client, "t");
    for _ in 0..100 {
        rig.publish(client, "t", "a");
    }
    rig.take_image();
    rig.close(client, EndedBy::Client, &[]);
    rig.pass(ms(3_600_000));
    assert_eq!(rig.engine.subscriptions(), 0);
    assert!(rig.engine.live_bytes() > 0, "it takes more than one turn to forget them all");
    rig.take_image();
    rig.restart(rig.tape.last(), true, true);
    assert_eq!((rig.engine.subscriptions(), rig.engine.live_bytes()), (0, 0));
    rig.take_image();
    assert_eq!(rig.image.pieces.len(), 1, "nothing but the global piece is left");
}

#[test]
fn an_image_lets_go_of_what_is_gone() {
    let mut rig = Rig::new(config());
    let (client, all) = rig.consumer();
    for _ in 0..3 {
        for _ in 0..1_500 {
            rig.publish(client, "t", "a");
        }
        rig.take_image();
        let full = rig.image.pieces.len();
        assert!(full >= 6, "{full}");
        while let Some(got) = rig.receive(client, all) {
            assert_eq!(rig.ack(client, got.lease()), Ok(false));
        }
        rig.take_image();
        assert_eq!(rig.image.pieces.len(), 3, "the global piece and the queue's two");
    }
    rig.restart(rig.tape.last(), true, true);
    let (client, all) = rig.consumer();
    rig.publish(client, "t", "b");
    let got = rig.receive(client, all).unwrap();
    assert_eq!((got.payload.as_str(), got.lease().seq.0), ("b", 4_500));
}

#[test]
fn chunks_that_held_messages_from_memory_leave_nothing_in_the_image() {
    let mut rig = Rig::new(config());
    let (client, _) = rig.consumer();
    for _ in 0..1_100 {
        rig.publish_lightly(client, "t", "a");
    }
    rig.publish(client, "t", "b");
    rig.take_image();
    rig.restart(rig.tape.last(), true, true);
    let (client, all) = rig.consumer();
    let got = rig.receive(client, all).unwrap();
    assert_eq!((got.payload.as_str(), got.lease().seq.0), ("b", 1_100));
    assert_eq!(rig.ack(client, got.lease()), Ok(false));
    rig.take_image();
    assert_eq!(rig.image.pieces.len(), 3);
    assert_eq!(rig.engine.queued(), 0);
}
