//! Dedupe ids: a publish that is tried again is stored once.

use sluice_model::{
    Answer, Code, Command, Destination, Extras, Message, PublishBatch, Published, Qos, SessionId,
};

use crate::rig::{Rig, Said, config, key, ms, peer, publish, put, queue};

fn with_id(id: &str) -> Extras {
    Extras { dedupe_id: Some(id.to_owned()), ..Extras::default() }
}

#[test]
fn t3_the_same_id_again_is_a_duplicate_for_the_window_and_no_longer() {
    let mut rig = Rig::new(config());
    let client = rig.open(peer(1));
    rig.declare(client, "mail", &[("dedupe_window_ms", "10000")]);
    rig.declare(client, "other", &[]);
    let first = rig.put(client, "mail", "a", with_id("x")).unwrap();
    let again = Published { duplicate: true, ..first };
    let written = rig.tape.last();
    assert_eq!(rig.put(client, "mail", "a", with_id("x")), Ok(again));
    assert_eq!(rig.put(client, "mail", "b", with_id("x")), Err(Code::Conflict));
    assert_eq!(rig.tape.last(), written, "nothing is stored");
    assert_ne!(rig.put(client, "other", "a", with_id("x")).unwrap().id, first.id);
    // Settled or not, and over restarts.
    let lease = rig.take(client, "mail", 1)[0].lease();
    assert_eq!(rig.ack(client, lease), Ok(false));
    rig.pass(ms(5_000));
    for with_image in [false, true, true] {
        rig.take_image();
        rig.restart(rig.tape.last(), with_image, true);
        let client = rig.open(peer(1));
        assert_eq!(rig.put(client, "mail", "a", with_id("x")), Ok(again));
    }
    rig.pass(ms(4_999));
    let client = rig.open(peer(1));
    assert_eq!(rig.put(client, "mail", "a", with_id("x")), Ok(again));
    rig.pass(ms(1));
    let later = rig.put(client, "mail", "b", with_id("x")).unwrap();
    assert!(!later.duplicate && later.id > first.id);
    rig.pass(ms(400_000));
    assert_eq!((rig.engine.dedupe_ids(), rig.engine.stats().published), (0, 1));
}

#[test]
fn a_duplicate_is_told_only_once_the_original_is_safe() {
    let mut rig = Rig::new(config());
    let client = rig.open(peer(1));
    rig.declare(client, "mail", &[]);
    rig.commits = false;
    let first = rig.ask(client, put("mail", "a", with_id("x"))).unwrap();
    let record = rig.tape.last();
    assert_eq!(first.need.synced, record);
    let other = rig.open(peer(2));
    let again = rig.ask(other, put("mail", "a", with_id("x"))).unwrap();
    assert_eq!((again.need, rig.tape.last()), (first.need, record));
    let fence = rig.ask(other, Command::Fence).unwrap();
    assert_eq!(fence.need, first.need, "a fence covers it too");
}

#[test]
fn ids_of_a_topic_are_known_even_where_nobody_listened() {
    let mut rig = Rig::new(config());
    let client = rig.open(peer(1));
    let send = |rig: &mut Rig, payload: &str| {
        rig.answer(client, publish("t", Qos::AtLeastOnce, payload, Some(with_id("x"))))
    };
    let Answer::Published(first) = send(&mut rig, "a") else { panic!() };
    let all = rig.named(client, "all", "t");
    let Answer::Published(again) = send(&mut rig, "a") else { panic!() };
    assert_eq!((again.id, again.duplicate), (first.id, true));
    assert!(matches!(send(&mut rig, "b"), Answer::Refused(why) if why.code == Code::Conflict));
    assert_eq!(rig.next(client, all), "");
}

#[test]
fn more_ids_than_may_be_remembered_are_refused_until_some_are_forgotten() {
    let mut rig = Rig::new(config());
    let client = rig.open(peer(1));
    rig.declare(client, "mail", &[("dedupe_max", "3"), ("dedupe_window_ms", "1000")]);
    for id in ["a", "b", "c"] {
        rig.put(client, "mail", id, with_id(id)).unwrap();
        rig.pass(ms(100));
    }
    assert_eq!(rig.put(client, "mail", "d", with_id("d")), Err(Code::QueueFull));
    rig.put(client, "mail", "without", Extras::default()).unwrap();
    rig.pass(ms(700));
    rig.put(client, "mail", "d", with_id("d")).unwrap();
    assert_eq!(rig.put(client, "mail", "e", with_id("e")), Err(Code::QueueFull));
    assert_eq!(rig.engine.dedupe_ids(), 3);
    let delete = sluice_model::QueueRequest::Delete { name: queue("mail"), force: true };
    assert!(matches!(rig.queue(client, delete), Answer::Removed { .. }));
    assert_eq!(rig.engine.dedupe_ids(), 0);
}

#[test]
fn topics_with_ids_are_bounded_together_and_the_others_go_on_without() {
    let mut config = config();
    config.dedupe_topics_max = 3;
    config.queue.dedupe_window = ms(1_000);
    let mut rig = Rig::new(config);
    let client = rig.open(peer(1));
    rig.declare(client, "mail", &[]);
    let send = |rig: &mut Rig, topic: &str, id: Option<&str>| {
        let extras = id.map(with_id);
        match rig.answer(client, publish(topic, Qos::AtLeastOnce, "x", extras)) {
            Answer::Published(published) => Ok(published.duplicate),
            Answer::Refused(refusal) => Err((refusal.code, refusal.message.to_string())),
            other => panic!("{other:?}"),
        }
    };
    let text = "dedupe ids of as many topics are remembered as dedupe_topics_max allows";
    let full = Err((Code::QueueFull, text.to_owned()));
    let batch = |topics: [&str; 2]| {
        let message = || Message { payload: "x".into(), extras: Some(Box::new(with_id("1"))) };
        let to = |topic: &str| (Destination::Topic(topic.parse().unwrap()), message());
        let messages = topics.map(to).into();
        Command::PublishBatch(Box::new(PublishBatch { messages, level: None }))
    };
    assert_eq!(send(&mut rig, "a", Some("1")), Ok(false));
    assert_eq!(send(&mut rig, "b", Some("1")), Ok(false));
    // Two more are one too many, and a batch is taken whole or not at all.
    let answer = rig.answer(client, batch(["c", "d"]));
    assert!(matches!(answer, Answer::Refused(why) if why.code == Code::QueueFull));
    assert_eq!((rig.engine.dedupe_ids(), rig.engine.stats().refused_dedupe), (2, 1));
    let answer = rig.answer(client, batch(["c", "b"]));
    assert!(matches!(answer, Answer::PublishedBatch(_)), "{answer:?}");
    assert_eq!(send(&mut rig, "d", Some("1")), full);
    assert_eq!(rig.engine.stats().refused_dedupe, 2);
    assert_eq!(send(&mut rig, "d", None), Ok(false));
    assert_eq!(send(&mut rig, "a", Some("2")), Ok(false));
    assert_eq!(send(&mut rig, "c", Some("1")), Ok(true));
    rig.put(client, "mail", "x", with_id("1")).unwrap();
    // After a restart they count as before.
    rig.take_image();
    for with_image in [true, false] {
        let kept = rig.tape.last();
        rig.restart(kept, with_image, false);
        let client = rig.open(peer(1));
        let command = publish("d", Qos::AtLeastOnce, "x", Some(with_id("1")));
        let answer = rig.answer(client, command);
        assert!(matches!(answer, Answer::Refused(why) if why.code == Code::QueueFull));
    }
    // A topic whose ids are forgotten makes room for another one.
    rig.pass(ms(1_000));
    assert_eq!(rig.engine.dedupe_ids(), 0);
    let client = rig.open(peer(1));
    let command = publish("d", Qos::AtLeastOnce, "x", Some(with_id("1")));
    assert!(matches!(rig.answer(client, command), Answer::Published(_)));
}

#[test]
fn one_key_has_ids_of_a_quarter_of_the_topics_at_most() {
    let mut config = config();
    config.dedupe_topics_max = 8;
    config.queue.dedupe_window = ms(1_000);
    let mut rig = Rig::new(config);
    let (one, same) = (rig.open(key("one", 1)), rig.open(key("one", 2)));
    let (other, anonymous) = (rig.open(key("other", 1)), rig.open(peer(1)));
    let send = |rig: &mut Rig, session, topic: &str| match rig
        .answer(session, publish(topic, Qos::AtLeastOnce, "x", Some(with_id("1"))))
    {
        Answer::Published(_) => Ok(()),
        Answer::Refused(refusal) => Err((refusal.code, refusal.message.to_string())),
        other => panic!("{other:?}"),
    };
    let text = "the key has dedupe ids of as many topics as dedupe_topics_per_principal allows";
    let full = Err((Code::QueueFull, text.to_owned()));
    for topic in ["a", "b"] {
        assert_eq!(send(&mut rig, one, topic), Ok(()));
    }
    assert_eq!(send(&mut rig, same, "c"), full);
    assert_eq!(send(&mut rig, same, "b"), Ok(()), "that topic has some already");
    for topic in ["b", "c", "d"] {
        assert_eq!(send(&mut rig, other, topic), Ok(()), "{topic}");
    }
    assert_eq!(send(&mut rig, other, "e"), full);
    for topic in ["e", "f", "g", "h"] {
        assert_eq!(send(&mut rig, anonymous, topic), Ok(()), "{topic}");
    }
    rig.pass(ms(1_000));
    assert_eq!(send(&mut rig, same, "c"), Ok(()));
}

#[test]
fn an_id_twice_in_a_batch_is_one_message() {
    let mut rig = Rig::new(config());
    let client = rig.open(peer(1));
    rig.declare(client, "mail", &[]);
    let message = |payload: &'static str, id: &str| {
        let extras = Some(Box::new(with_id(id)));
        let message = Message { payload: payload.into(), extras };
        (Destination::Queue(queue("mail")), message)
    };
    let batch = |messages| Command::PublishBatch(Box::new(PublishBatch { messages, level: None }));
    let out = rig.ask(client, batch(vec![message("a", "x"), message("b", "y"), message("a", "x")]));
    let Said::Answer(Answer::PublishedBatch(all)) = out.unwrap().said else { panic!() };
    assert_eq!(all.iter().map(|one| one.duplicate).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!((all[2].id, rig.stats(client, "mail").published), (all[0].id, 2));
    let conflict = rig.answer(client, batch(vec![message("c", "z"), message("d", "z")]));
    assert!(matches!(conflict, Answer::Refused(why) if why.code == Code::Conflict));
    assert_eq!(rig.stats(client, "mail").published, 2);
}

#[test]
fn ids_are_taken_into_an_image_in_slices_and_as_they_were_when_it_began() {
    const TOPICS: usize = 20;
    let make = || {
        let mut config = config();
        config.deadlines_per_turn = 1;
        config.queue.dedupe_window = ms(1_000);
        let mut rig = Rig::new(config);
        let client = rig.open(peer(1));
        rig.declare(client, "mail", &[]);
        rig.put(client, "mail", "x", with_id("1")).unwrap();
        rig.pass(ms(500));
        (0..TOPICS).for_each(|topic| send(&mut rig, client, topic, "1"));
        (rig, client)
    };
    let (mut whole, _) = make();
    whole.take_image();
    let (mut sliced, client) = make();
    sliced.begin_image();
    let begun = sliced.imaging.as_ref().map_or(0, |(pieces, _)| pieces.len());
    assert!(begun < TOPICS, "{begun} pieces in one hold");
    let mut slices = 0;
    while sliced.imaging.is_some() {
        sliced.image_slice();
        // Scopes that are due, new ones, and one whose ids are forgotten.
        (slices, _) = (slices + 1, sliced.pass(ms(100)));
        send(&mut sliced, client, TOPICS - 1, &slices.to_string());
        send(&mut sliced, client, TOPICS + slices, "1");
    }
    assert!(slices > TOPICS, "{slices} slices");
    assert_eq!(sliced.image.pieces, whole.image.pieces);
    sliced.take_image();
    sliced.fire_all();
    let ids = sliced.engine.dedupe_ids();
    sliced.restart(sliced.tape.last(), true, true);
    sliced.fire_all();
    assert_eq!(sliced.engine.dedupe_ids(), ids, "what changed meanwhile is in the next one");
}

/// Publishes to a topic by number, under an id.
fn send(rig: &mut Rig, client: SessionId, topic: usize, id: &str) {
    let message = publish(&format!("t.{topic}"), Qos::AtLeastOnce, "x", Some(with_id(id)));
    let answer = rig.answer(client, message);
    assert!(matches!(answer, Answer::Published(_)), "{answer:?}");
}
