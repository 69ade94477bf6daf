//! What waits for the log: visibility, and replies.

use sluice_engine::{Need, Place, Progress};
use sluice_model::{
    Answer, Command, Confirm, Level, Publish, Qos, QueueSettings, SessionId, Subscribe,
    SubscriptionId,
};

use crate::rig::{
    EMPTY, Out, RELEASED, Rig, Said, config, delay, key, ms, peer, publish, take, with,
};

/// A rig that commits only when told.
fn by_hand(mut rig: Rig) -> Rig {
    rig.commit();
    rig.commits = false;
    rig
}

fn synced(sequence: u64) -> Need {
    Need { written: sequence, synced: sequence }
}

fn written(sequence: u64) -> Need {
    Need { written: sequence, synced: 0 }
}

fn parked(rig: &mut Rig, session: SessionId, subscription: SubscriptionId) -> Place {
    match rig.ask(session, take(subscription)).unwrap().said {
        Said::Parked(ticket) => Place::Kept(ticket),
        other => panic!("{other:?}"),
    }
}

fn payload(out: &Out) -> &str {
    match &out.said {
        Said::Got(got) => &got.payload,
        Said::Answer(Answer::Empty { .. }) => "",
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_is_invisible_until_its_record_has_its_level() {
    for (level, visible_at) in [(Level::Os, "written"), (Level::Sync, "synced")] {
        let mut rig = Rig::new(with(|queue| queue.level = level));
        let (client, all) = rig.consumer();
        let publisher = rig.open(peer(2));
        rig = by_hand(rig);
        let before = rig.tape.last();
        let out = rig.ask(publisher, publish("t", Qos::AtLeastOnce, "a", None)).unwrap();
        let record = rig.tape.last();
        assert_eq!(record, before + 1);
        let expected = if level == Level::Os { written(record) } else { synced(record) };
        assert_eq!(out.need, expected);
        // The subscription itself is on the disk already, whatever its messages wait for.
        let wanted = Need { synced: expected.synced.max(before), ..expected };
        assert_eq!(rig.engine.wanted(), wanted);
        let place = parked(&mut rig, client, all);
        assert!(rig.told(client).is_none());
        rig.commit_to(record, before);
        if visible_at == "synced" {
            assert!(rig.told(client).is_none());
            rig.commit_to(record, record);
        }
        let out = rig.told(client).unwrap();
        assert_eq!((payload(&out), out.place), ("a", Some(place)));
        assert_eq!(out.need, written(record + 1), "its grant has to be written");
    }
}

#[test]
fn parked_receives_are_answered_at_the_commit_in_their_order() {
    let mut rig = Rig::new(config());
    let (one, from_one) = rig.consumer();
    let (two, from_two) = rig.consumer();
    let (three, from_three) = rig.consumer();
    rig = by_hand(rig);
    for payload in ["a", "b"] {
        rig.publish(one, "t", payload);
    }
    let places = [
        parked(&mut rig, two, from_two),
        parked(&mut rig, one, from_one),
        parked(&mut rig, three, from_three),
    ];
    rig.commit();
    let outs = [two, one, three].map(|session| rig.told(session).unwrap());
    assert_eq!(outs.each_ref().map(payload), ["a", "b", ""]);
    assert_eq!(outs.each_ref().map(|out| out.place.unwrap()), places);
}

#[test]
fn one_commit_may_show_a_part_and_leave_the_rest_parked() {
    let mut rig = Rig::new(config());
    let (client, all) = rig.consumer();
    rig = by_hand(rig);
    rig.publish(client, "t", "a");
    let first = rig.tape.last();
    rig.publish(client, "t", "b");
    let places = [parked(&mut rig, client, all), parked(&mut rig, client, all)];
    rig.commit_to(first, first);
    let out = rig.told(client).unwrap();
    assert_eq!((payload(&out), out.place), ("a", Some(places[0])));
    assert!(rig.told(client).is_none());
    rig.commit();
    let out = rig.told(client).unwrap();
    assert_eq!((payload(&out), out.place), ("b", Some(places[1])));
}

#[test]
fn a_parked_receive_takes_a_message_that_came_back_first() {
    let mut rig = Rig::new(config());
    let (client, all) = rig.consumer();
    rig.publish(client, "t", "old");
    let lease = rig.receive(client, all).unwrap().lease();
    rig = by_hand(rig);
    rig.publish(client, "t", "new");
    let other = rig.open(peer(2));
    let from = rig.named(other, "all", ">");
    parked(&mut rig, other, from);
    assert_eq!(rig.nack(client, lease, RELEASED), Ok(false));
    rig.commit();
    let out = rig.told(other).unwrap();
    assert_eq!(payload(&out), "old");
}

#[test]
fn a_parked_receive_is_told_of_nothing_when_what_comes_is_delayed() {
    let mut rig = Rig::new(config());
    let (client, all) = rig.consumer();
    rig = by_hand(rig);
    rig.publish_with(client, "late", delay(ms(1_000)));
    parked(&mut rig, client, all);
    rig.commit();
    let out = rig.told(client).unwrap();
    assert_eq!(payload(&out), "");
}

#[test]
fn parked_receives_of_a_session_that_ended_are_forgotten() {
    let mut rig = Rig::new(config());
    let (one, from_one) = rig.consumer();
    let (two, from_two) = rig.consumer();
    rig = by_hand(rig);
    rig.publish(two, "t", "a");
    parked(&mut rig, one, from_one);
    parked(&mut rig, two, from_two);
    rig.close(one, sluice_engine::EndedBy::Client, &[]);
    rig.commit();
    let out = rig.told(two).unwrap();
    assert_eq!(payload(&out), "a");
}

#[test]
fn a_message_from_memory_waits_behind_those_that_wait_for_the_log() {
    let mut rig = Rig::new(config());
    let (client, all) = rig.consumer();
    rig = by_hand(rig);
    rig.publish_lightly(client, "t", "at once");
    assert_eq!(rig.next(client, all), "at once");
    rig.publish(client, "t", "first");
    rig.publish_lightly(client, "t", "second");
    parked(&mut rig, client, all);
    rig.commit();
    assert_eq!(payload(&rig.told(client).unwrap()), "first");
    assert_eq!(rig.next(client, all), "second");
}

#[test]
fn a_copy_for_a_subscriber_at_most_once_waits_for_the_commit_too() {
    let mut rig = Rig::new(config());
    let client = rig.open(peer(1));
    let light = rig.ephemeral(client, "t");
    rig.publish(client, "t", "in no queue");
    assert_eq!(rig.next(client, light), "in no queue");
    rig.named(client, "all", ">");
    rig = by_hand(rig);
    rig.publish(client, "t", "a");
    let empty = rig.ask(client, take(light)).unwrap();
    assert_eq!(payload(&empty), "");
    rig.commit();
    assert_eq!(rig.next(client, light), "a");
}

#[test]
fn a_fence_waits_for_the_publishes_and_settlements_before_it_and_no_later_ones() {
    let mut rig = Rig::new(config());
    let (client, all) = rig.consumer();
    let other = rig.open(peer(2));
    rig.publish(other, "t", "a");
    rig.publish(other, "t", "b");
    let held = rig.drain(client, all);
    rig = by_hand(rig);
    let fence = |rig: &mut Rig| rig.ask(client, Command::Fence).unwrap();
    let idle = fence(&mut rig).need;
    assert!(idle.is_met(rig.progress), "nothing of it is on its way");
    rig.publish(other, "t", "not its own");
    assert_eq!(fence(&mut rig).need, idle);
    let quietly = Publish { confirm: Confirm::Refusal, ..publish_quietly("t") };
    assert!(rig.ask(client, Command::Publish(quietly)).is_none());
    let last = rig.tape.last();
    assert_eq!(fence(&mut rig).need, synced(last));
    let ack = Command::Ack { lease: held[0].lease(), confirm: Confirm::Refusal };
    assert!(rig.ask(client, ack).is_none());
    assert_eq!(fence(&mut rig).need, synced(last + 1));
    let (lease, confirm) = (held[1].lease(), Confirm::Refusal);
    assert!(rig.ask(client, Command::Nack { lease, outcome: RELEASED, confirm }).is_none());
    let out = fence(&mut rig);
    assert_eq!((out.need, out.said), (synced(last + 2), Said::Answer(Answer::Fenced)));
    assert_eq!(rig.engine.wanted(), synced(last + 2));
}

fn publish_quietly(topic: &str) -> Publish {
    match publish(topic, Qos::AtLeastOnce, "quiet", None) {
        Command::Publish(publish) => publish,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reply_names_the_record_that_it_speaks_of() {
    let mut rig = by_hand(Rig::new(config()));
    let client = rig.open(peer(1));
    let all = rig.named(client, "all", ">");
    rig.commit();
    rig.publish(client, "t", "a");
    rig.commit();
    let receive = take(all);
    let out = rig.ask(client, receive.clone()).unwrap();
    assert_eq!(out.need.written, rig.tape.last(), "the grant");
    assert!(out.need.synced <= rig.progress.synced);
    let Said::Got(got) = out.said else { panic!() };
    let ack = Command::Ack { lease: got.lease(), confirm: Confirm::Always };
    let out = rig.ask(client, ack.clone()).unwrap();
    let acked = rig.tape.last();
    assert_eq!(out.need, synced(acked));
    rig.publish(client, "t", "b");
    // Again, while the first one is still on its way: the same record.
    let out = rig.ask(client, ack).unwrap();
    assert_eq!(out.said, Said::Answer(Answer::Settled { already: true }));
    assert_eq!(out.need, synced(acked));
    assert_eq!((rig.tape.last(), rig.engine.stats().acked), (acked + 1, 1));
    // What says "nothing" waits for what the session did before.
    let other = rig.ephemeral(client, "u");
    let out = rig.ask(client, take(other)).unwrap();
    assert_eq!((out.said, out.need), (Said::Answer(EMPTY), synced(acked + 1)));
}

#[test]
fn the_level_of_a_publish_is_that_of_every_queue_it_reaches() {
    let mut config = with(|queue| queue.level = Level::Os);
    config.unnamed.level = Level::Sync;
    let mut rig = Rig::new(config);
    let client = rig.open(key("k", 1));
    rig.named(client, "os", "a.>");
    rig.unnamed(client, "a.b");
    rig = by_hand(rig);
    let out = rig.ask(client, publish("a.c", Qos::AtLeastOnce, "", None)).unwrap();
    assert_eq!(out.need, written(rig.tape.last()));
    let out = rig.ask(client, publish("a.b", Qos::AtLeastOnce, "", None)).unwrap();
    assert_eq!(out.need, synced(rig.tape.last()));
    let out = rig.ask(client, publish("none", Qos::AtLeastOnce, "", None)).unwrap();
    assert!(out.need.is_met(Progress::default()));
}

#[test]
fn a_subscription_is_told_when_it_is_safe_and_what_came_before_it_is_not_its() {
    let mut rig = by_hand(Rig::new(config()));
    let client = rig.open(peer(1));
    rig.publish(client, "t", "before");
    assert_eq!(rig.engine.stats().unroutable, 1);
    let subscribe = |rig: &mut Rig| {
        let all = rig.named(client, "all", ">");
        (all, rig.tape.last())
    };
    let (all, made) = subscribe(&mut rig);
    assert_eq!(rig.engine.wanted(), synced(made));
    let (_, again) = subscribe(&mut rig);
    assert_eq!(again, made, "it is there already");
    // Somebody else finds it there, though not yet on the disk.
    let other = rig.open(peer(2));
    let command = Command::Subscribe(Subscribe {
        pattern: ">".parse().unwrap(),
        qos: Qos::AtLeastOnce,
        name: Some("all".parse().unwrap()),
        settings: QueueSettings::default(),
    });
    assert_eq!(rig.ask(other, command).unwrap().need, synced(made));
    let command = Command::Subscribe(Subscribe {
        pattern: "t".parse().unwrap(),
        qos: Qos::AtLeastOnce,
        name: None,
        settings: QueueSettings::default(),
    });
    let unnamed = rig.ask(other, command.clone()).unwrap().need;
    assert_eq!(unnamed, synced(rig.tape.last()));
    rig.close(other, sluice_engine::EndedBy::Client, &[]);
    let again = rig.open(peer(2));
    assert_eq!(rig.ask(again, command).unwrap().need, unnamed);
    rig.commit();
    assert_eq!(rig.next(client, all), "");
}

#[test]
fn copies_that_wait_for_no_record_stay_behind_those_that_do() {
    let mut rig = Rig::new(config());
    let client = rig.open(peer(1));
    rig.unnamed(client, "stored");
    let all = rig.ephemeral(client, ">");
    rig = by_hand(rig);
    rig.ask(client, publish("stored", Qos::AtLeastOnce, "first", None)).unwrap();
    // No queue takes it, so nothing of it is in the log.
    rig.ask(client, publish("other", Qos::AtLeastOnce, "second", None)).unwrap();
    let out = rig.ask(client, take(all)).unwrap();
    assert_eq!(payload(&out), "");
    rig.commit();
    assert_eq!(rig.payloads(client, all), ["first", "second"]);
}
