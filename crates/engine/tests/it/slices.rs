//! What touches many leases goes on in slices, and nobody can tell but by the time that it takes.

use sluice_engine::{EndedBy, Ran, Record};
use sluice_model::{
    Answer, Code, Command, Confirm, Extras, Purge, Qos, QueueKind, QueueRequest, Receive,
    SessionId, Source, Subscribe, SubscriptionId,
};

use crate::rig::{FAILED, Got, Rig, Said, config, ms, peer, queue, take};

const SLICE: usize = 10;

fn rig() -> Rig {
    let mut config = config();
    config.deadlines_per_turn = SLICE;
    Rig::new(config)
}

fn name(n: usize) -> String {
    format!("{n:03}")
}

fn names(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(name).collect()
}

fn publish(rig: &mut Rig, numbers: std::ops::Range<usize>) {
    let publisher = rig.open(peer(9));
    for n in numbers {
        rig.publish(publisher, "t", &name(n));
    }
}

/// What a turn that fires wrote.
fn fired(rig: &mut Rig) -> usize {
    let before = rig.tape.last();
    rig.fire();
    let ended = |n: &u64| matches!(rig.tape.record(*n), Record::Returned { .. });
    (before + 1..=rig.tape.last()).filter(ended).count()
}

/// Fires until nothing is due; never more than a slice of leases ends in a turn.
fn fire_in_slices(rig: &mut Rig) {
    while rig.engine.next_deadline().is_some_and(|at| at <= rig.now) {
        let ended = fired(rig);
        assert!(ended <= SLICE, "{ended} leases ended in a turn");
    }
}

/// A consumer that takes whatever is there, between any two turns.
fn taken_between_turns(rig: &mut Rig, to: SessionId, from: SubscriptionId) -> Vec<String> {
    let mut payloads = Vec::new();
    loop {
        let due = rig.engine.next_deadline().is_some_and(|at| at <= rig.now);
        assert_eq!(rig.run(to, take(from)), Ran::Done);
        let mut told = rig.told(to);
        while let Some(Said::Parked(_)) = told.as_ref().map(|out| &out.said) {
            assert!(due, "a receive waits and nothing is on its way");
            let ended = fired(rig);
            assert!(ended <= SLICE, "{ended} leases ended in a turn");
            told = rig.told(to).or(told);
        }
        match told.unwrap().said {
            Said::Got(got) => payloads.push(got.payload),
            _ if due => _ = fired(rig),
            _ => return payloads,
        }
    }
}

fn hold_all(rig: &mut Rig, client: SessionId, from: SubscriptionId, many: usize) -> Vec<Got> {
    let held = rig.drain(client, from);
    assert_eq!(held.len(), many);
    held
}

#[test]
fn no_newer_message_overtakes_what_a_closed_connection_held() {
    for (by, grace) in [(EndedBy::Broker, 0), (EndedBy::Client, 2_000)] {
        let mut rig = rig();
        let (client, all) = rig.consumer();
        let (other, same) = rig.consumer();
        publish(&mut rig, 0..95);
        hold_all(&mut rig, client, all, 95);
        publish(&mut rig, 95..100);
        let now = rig.now;
        rig.engine.close(now, client, by, &[]);
        rig.now = rig.now.after(ms(grace));
        // The first slice: what is there by then is held back until the rest is.
        assert_eq!(fired(&mut rig), SLICE);
        // The oldest failed with its consumer and waits for another attempt.
        let lost = usize::from(by == EndedBy::Client);
        assert_eq!(taken_between_turns(&mut rig, other, same), names(lost..100), "{by:?}");
        rig.pass(ms(1_000));
        assert_eq!(rig.payloads(other, same), names(0..lost));
    }
}

#[test]
fn only_the_oldest_delivery_of_a_lost_connection_counts_as_failed_in_whichever_slice() {
    let mut rig = rig();
    let (client, all) = rig.consumer();
    publish(&mut rig, 0..40);
    let held = hold_all(&mut rig, client, all, 40);
    // The first 25 never left the broker: those are no attempts.
    let unsent: Vec<_> = held[..25].iter().map(Got::lease).collect();
    let now = rig.now;
    rig.engine.close(now, client, EndedBy::Client, &unsent);
    rig.now = rig.now.after(rig.config.lost_grace);
    fire_in_slices(&mut rig);
    assert_eq!(rig.engine.stats().failed, 1);
    let (other, same) = rig.consumer();
    let expected: Vec<_> = (0..40).filter(|n| *n != 25).map(name).collect();
    assert_eq!(rig.payloads(other, same), expected);
}

#[test]
fn until_its_turn_comes_a_lease_that_is_over_can_be_acked_late_and_nothing_else() {
    let mut rig = rig();
    let (client, all) = rig.consumer();
    publish(&mut rig, 0..30);
    let held = hold_all(&mut rig, client, all, 30);
    let now = rig.now;
    rig.engine.close(now, client, EndedBy::Broker, &[]);
    let other = rig.open(peer(2));
    let last = held[29].lease();
    assert_eq!(rig.nack(other, last, FAILED), Err(Code::LeaseLost));
    let extend = Command::Extend { lease: last, by: ms(1_000), confirm: Confirm::Always };
    assert!(matches!(rig.answer(other, extend), Answer::Refused(r) if r.code == Code::LeaseLost));
    assert_eq!(rig.ack(other, last), Ok(false));
    assert_eq!(rig.ack(other, last), Ok(true));
    assert_eq!(rig.engine.stats().late_acks, 1);
    // What runs out before its turn comes is not counted either.
    rig.now = rig.now.after(ms(60_000));
    fire_in_slices(&mut rig);
    assert_eq!((rig.engine.stats().failed, rig.engine.queued()), (0, 29));
    let same = rig.named(other, "all", ">");
    assert_eq!(rig.payloads(other, same), names(0..29));
}

/// Begins to take over an unnamed subscription.
fn begin_to_take_over(rig: &mut Rig) -> (SessionId, u64) {
    let client = rig.open(peer(1));
    let subscribe = Subscribe::unnamed(">".parse().unwrap(), Qos::AtLeastOnce);
    let tag = rig.tag + 1;
    assert_eq!(rig.run(client, Command::Subscribe(subscribe)), Ran::Done);
    assert!(matches!(rig.told(client).unwrap().said, Said::Parked(_)));
    (client, tag)
}

fn taken_over(rig: &mut Rig, client: SessionId, tag: u64) -> SubscriptionId {
    let mut told = None;
    while told.is_none() {
        let ended = fired(rig);
        assert!((1..=SLICE).contains(&ended), "{ended} leases ended in a turn");
        told = rig.told(client);
    }
    let told = told.unwrap();
    assert_eq!(told.tag, tag);
    match told.said {
        Said::Answer(Answer::Subscribed { subscription }) => subscription,
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_takes_over_is_answered_once_all_is_back_and_the_old_leases_are_void_at_once() {
    let mut rig = rig();
    let old = rig.open(peer(1));
    let subscription = rig.unnamed(old, ">");
    publish(&mut rig, 0..35);
    let held = hold_all(&mut rig, old, subscription, 35);
    publish(&mut rig, 35..40);
    rig.close(old, EndedBy::Client, &[]);
    let (new, tag) = begin_to_take_over(&mut rig);
    for lease in [held[0].lease(), held[34].lease()] {
        assert_eq!(rig.ack(new, lease), Err(Code::LeaseLost));
    }
    // The end of the old connection's grace, and of its leases, comes in between.
    rig.now = rig.now.after(ms(60_000));
    let subscription = taken_over(&mut rig, new, tag);
    fire_in_slices(&mut rig);
    assert_eq!(rig.engine.stats().failed, 0);
    assert_eq!(rig.ack(new, held[34].lease()), Err(Code::LeaseLost));
    assert_eq!(rig.payloads(new, subscription), names(0..40));
}

#[test]
fn a_takeover_that_its_connection_did_not_live_to_see_goes_to_the_next_one() {
    let mut rig = rig();
    let old = rig.open(peer(1));
    let subscription = rig.unnamed(old, ">");
    publish(&mut rig, 0..35);
    hold_all(&mut rig, old, subscription, 35);
    rig.close(old, EndedBy::Client, &[]);
    let (first, _) = begin_to_take_over(&mut rig);
    assert_eq!(fired(&mut rig), SLICE);
    let now = rig.now;
    rig.engine.close(now, first, EndedBy::Client, &[]);
    let (second, tag) = begin_to_take_over(&mut rig);
    let subscription = taken_over(&mut rig, second, tag);
    assert_eq!(rig.payloads(second, subscription), names(0..35));
    assert_eq!(rig.told(first), None);
}

#[test]
fn a_crash_in_the_middle_of_a_takeover_leaves_everything_to_the_next() {
    for with_image in [false, true] {
        let mut rig = rig();
        let old = rig.open(peer(1));
        let subscription = rig.unnamed(old, ">");
        publish(&mut rig, 0..35);
        hold_all(&mut rig, old, subscription, 35);
        rig.close(old, EndedBy::Client, &[]);
        begin_to_take_over(&mut rig);
        assert_eq!(fired(&mut rig), SLICE);
        rig.take_image();
        let kept = rig.tape.last();
        rig.restart(kept, with_image, true);
        let (new, tag) = begin_to_take_over(&mut rig);
        let subscription = taken_over(&mut rig, new, tag);
        assert_eq!(rig.payloads(new, subscription), names(0..35));
        assert_eq!(rig.engine.stats().failed, 0);
    }
}

#[test]
fn a_queue_that_ends_in_the_middle_of_a_takeover_or_a_release_leaves_nobody_waiting() {
    let mut rig = rig();
    let old = rig.open(peer(1));
    let subscription = rig.unnamed(old, ">");
    publish(&mut rig, 0..35);
    hold_all(&mut rig, old, subscription, 35);
    let now = rig.now;
    rig.engine.close(now, old, EndedBy::Broker, &[]);
    assert_eq!(fired(&mut rig), SLICE);
    let (new, tag) = begin_to_take_over(&mut rig);
    let looker = rig.open(peer(7));
    let list = rig.queue(
        looker,
        QueueRequest::List { kind: QueueKind::Subscription, after: None, limit: 10 },
    );
    let Answer::Queues { queues, .. } = list else { panic!("{list:?}") };
    let name = queues[0].name.clone();
    let delete = QueueRequest::Delete { name, force: true };
    assert_eq!(rig.run(new, Command::Queue(Box::new(delete))), Ran::Done);
    let told = rig.told(new).unwrap();
    assert_eq!(told.tag, tag);
    assert!(matches!(told.said, Said::Answer(Answer::Subscribed { .. })));
    rig.fire_all();
    assert_eq!((rig.engine.queued(), rig.engine.sessions()), (0, 3));
}

#[test]
fn a_receive_that_waits_for_what_goes_back_keeps_room_for_the_largest_of_it() {
    let mut rig = rig();
    let client = rig.open(peer(1));
    rig.declare(client, "q", &[]);
    let large = "x".repeat(200_000);
    for _ in 0..20 {
        rig.put(client, "q", &large, Extras::default()).unwrap();
    }
    let receive = Receive::one(Source::Queue(queue("q")));
    for _ in 0..20 {
        assert_eq!(rig.take(client, "q", 1).len(), 1);
    }
    let now = rig.now;
    rig.engine.close(now, client, EndedBy::Broker, &[]);
    assert_eq!(fired(&mut rig), SLICE);
    let other = rig.open(peer(2));
    rig.drains = false;
    let ran = |rig: &mut Rig| rig.run(other, Command::Receive(receive.clone()));
    assert_eq!(ran(&mut rig), Ran::Done);
    assert_eq!(ran(&mut rig), Ran::NoRoom, "one message may be as large as all that is allowed");
    fire_in_slices(&mut rig);
    assert_eq!(rig.gots(other).len(), 1);
}

#[test]
fn one_thing_a_turn_is_enough_to_get_everything_done() {
    let mut config = config();
    config.deadlines_per_turn = 1;
    let mut rig = Rig::new(config);
    let (client, all) = rig.consumer();
    let (other, same) = rig.consumer();
    publish(&mut rig, 0..5);
    hold_all(&mut rig, client, all, 5);
    let now = rig.now;
    rig.engine.close(now, client, EndedBy::Broker, &[]);
    for _ in 0..20 {
        rig.fire();
    }
    assert_eq!(rig.payloads(other, same), names(0..5));
    rig.declare(other, "q", &[]);
    for n in 0..3 {
        rig.put(other, "q", &name(n), Extras::default()).unwrap();
    }
    let what = Purge { waiting: true, leased: false, dead: false };
    let purge = QueueRequest::Purge { name: queue("q"), what };
    assert_eq!(rig.run(other, Command::Queue(Box::new(purge))), Ran::Done);
    for _ in 0..5 {
        rig.fire();
    }
    let told = rig.told(other).unwrap().said;
    assert_eq!(told, Said::Answer(Answer::Removed { messages: 3 }));
}
