//! The dead set: how messages get there, how they leave it, and its bounds.

use sluice_model::{
    Answer, Code, Command, DeadReason, Extras, MessageId, Outcome, Purge, QueueRequest, Redrive,
    SessionId, State, Transition,
};

use crate::rig::{FAILED, RELEASED, Rig, Said, config, ms, peer, queue, ttl};

fn rig(chosen: &[(&str, &str)]) -> (Rig, SessionId) {
    let mut rig = Rig::new(config());
    let client = rig.open(peer(1));
    rig.declare(client, "mail", chosen);
    (rig, client)
}

fn put(rig: &mut Rig, client: SessionId, payload: &str) -> MessageId {
    rig.put(client, "mail", payload, Extras::default()).unwrap().id
}

fn reject(rig: &mut Rig, client: SessionId, note: &str) {
    let lease = rig.take(client, "mail", 1)[0].lease();
    let outcome = Outcome::Rejected { note: Some(note.into()) };
    assert_eq!(rig.nack(client, lease, outcome), Ok(false));
}

/// Puts back what is meant, and gives how many were.
fn redrive(rig: &mut Rig, client: SessionId, which: Redrive) -> u64 {
    let (name, per_second) = (queue("mail"), None);
    let request = QueueRequest::Redrive { name, which, per_second };
    assert_eq!(rig.ask(client, Command::Queue(Box::new(request))), None);
    for _ in 0..100 {
        rig.fire();
        if let Some(out) = rig.told(client) {
            let Said::Answer(Answer::Redriven { messages, goes_on: false }) = out.said else {
                panic!("{:?}", out.said)
            };
            return messages;
        }
    }
    panic!("it never ends")
}

const ALL: Redrive = Redrive::Matching { reason: None, age_min: None };

#[test]
fn t15_a_rejected_message_is_dead_at_once_with_its_reason() {
    let (mut rig, client) = rig(&[]);
    let id = put(&mut rig, client, "a");
    let long = "é".repeat(200);
    reject(&mut rig, client, &long);
    for with_image in [false, true] {
        rig.take_image();
        rig.restart(rig.tape.last(), with_image, true);
        let client = rig.open(peer(1));
        let info = rig.look(client, "mail", id);
        assert_eq!((info.state, info.failures), (State::Dead, 0));
        assert_eq!(info.dead.unwrap().0, DeadReason::Rejected);
        assert_eq!(info.last_change.0, Transition::Died);
        assert_eq!(info.last_error.as_deref(), Some(&*"é".repeat(128)), "256 bytes of it");
        assert_eq!(rig.taken(client, "mail"), [""; 0]);
    }
}

#[test]
fn t22_a_redriven_message_waits_behind_all_others_as_good_as_new() {
    let (mut rig, client) = rig(&[("max_failures", "2"), ("backoff_min_ms", "0")]);
    let id = rig.put(client, "mail", "a", ttl(ms(60_000))).unwrap().id;
    let other = put(&mut rig, client, "b");
    put(&mut rig, client, "c");
    let mut late = Vec::new();
    for _ in 0..2 {
        let lease = rig.take(client, "mail", 1)[0].lease();
        rig.fail(client, lease);
        late.push(lease);
    }
    reject(&mut rig, client, "no");
    assert_eq!(rig.stats(client, "mail").counts.dead, 2);
    assert_eq!(redrive(&mut rig, client, Redrive::Ids(vec![other, id, MessageId::default()])), 2);
    put(&mut rig, client, "d");
    for with_image in [false, true] {
        rig.take_image();
        rig.restart(rig.tape.last(), with_image, true);
        let client = rig.open(peer(1));
        let info = rig.look(client, "mail", id);
        assert_eq!((info.state, info.failures, info.redriven), (State::Ready, 0, 1));
        assert_eq!((info.expires_at, info.dead), (None, None));
        assert_eq!(rig.ack(client, late[1]), Err(Code::LeaseLost), "the fence is raised");
        let gots = rig.take(client, "mail", 10);
        let payloads: Vec<_> = gots.iter().map(|got| got.payload.as_str()).collect();
        assert_eq!(payloads, ["c", "b", "a", "d"]);
        // Released, it keeps the place that it has now.
        for got in gots {
            rig.release(client, got.lease());
        }
    }
}

#[test]
fn a_redrive_by_reason_and_age_takes_the_oldest_first_and_stops_at_the_bounds() {
    let (mut rig, client) = rig(&[("max_messages", "3"), ("max_releases", "1")]);
    for n in 0..3 {
        put(&mut rig, client, &format!("{n}"));
        reject(&mut rig, client, "no");
        rig.pass(ms(1_000));
    }
    put(&mut rig, client, "released");
    for _ in 0..2 {
        let lease = rig.take(client, "mail", 1)[0].lease();
        assert_eq!(rig.nack(client, lease, RELEASED), Ok(false));
    }
    assert_eq!(rig.stats(client, "mail").counts.dead, 4);
    let by = |reason, age| Redrive::Matching { reason, age_min: age };
    assert_eq!(redrive(&mut rig, client, by(Some(DeadReason::Expired), None)), 0);
    assert_eq!(redrive(&mut rig, client, by(None, Some(ms(3_000)))), 1);
    assert_eq!(redrive(&mut rig, client, by(Some(DeadReason::MaxReleases), None)), 1);
    assert_eq!(redrive(&mut rig, client, ALL), 1, "there is room for one");
    assert_eq!(rig.taken(client, "mail"), ["0", "released", "1"]);
}

#[test]
fn a_redrive_with_a_pace_answers_at_once_and_keeps_to_it() {
    let (mut rig, client) = rig(&[]);
    for n in 0..10 {
        put(&mut rig, client, &format!("{n}"));
        reject(&mut rig, client, "no");
    }
    let (name, per_second) = (queue("mail"), Some(4));
    let request = QueueRequest::Redrive { name, which: ALL, per_second };
    assert_eq!(rig.queue(client, request), Answer::Redriven { messages: 0, goes_on: true });
    for quarter in 0..12 {
        rig.fire();
        let stats = rig.stats(client, "mail");
        assert_eq!(stats.counts.ready, (quarter + 1).min(10), "after {quarter} quarters");
        assert_eq!(stats.redriving, stats.counts.dead > 0);
        rig.pass(ms(250));
    }
    let all: Vec<_> = (0..10).map(|n| n.to_string()).collect();
    assert_eq!(rig.taken(client, "mail"), all, "in the order of their deaths");
}

#[test]
fn a_redrive_with_a_pace_goes_on_at_its_pace_after_a_restart_in_its_middle() {
    for (with_image, ids) in [(false, false), (true, false), (false, true), (true, true)] {
        let (mut rig, client) = rig(&[]);
        let mut all = Vec::new();
        for n in 0..8 {
            all.push(put(&mut rig, client, &format!("{n}")));
            reject(&mut rig, client, "no");
        }
        rig.pass(ms(1));
        let which = if ids { Redrive::Ids(all) } else { ALL };
        let (name, per_second) = (queue("mail"), Some(4));
        let request = QueueRequest::Redrive { name, which, per_second };
        assert_eq!(rig.queue(client, request), Answer::Redriven { messages: 0, goes_on: true });
        rig.fire();
        rig.pass(ms(250));
        assert_eq!(rig.stats(client, "mail").counts.ready, 2);
        // One that dies after it was asked for is not meant, now or after a restart.
        assert_eq!(rig.take(client, "mail", 1)[0].payload, "0");
        let again = rig.take(client, "mail", 1)[0].lease();
        assert_eq!(rig.nack(client, again, Outcome::Rejected { note: None }), Ok(false));
        rig.take_image();
        // The broker is away for a while, and twice: that is no time to catch up with.
        for run in 0..2 {
            let kept = rig.tape.last();
            rig.restart(kept, with_image && run == 0, true);
            rig.now = rig.now.after(ms(5_000));
            rig.restart(kept, with_image && run == 0, true);
        }
        let client = rig.open(peer(1));
        let left = |rig: &mut Rig| rig.stats(client, "mail").counts.dead;
        for quarter in 0..7 {
            rig.fire();
            assert_eq!(left(&mut rig), 7 - quarter, "{quarter} quarters after the start");
            rig.pass(ms(250));
        }
        let stats = rig.stats(client, "mail");
        assert_eq!((stats.counts.dead, stats.redriving), (1, false), "what died later stays");
        // That it is done survives as well.
        rig.restart(rig.tape.last(), false, true);
        rig.pass(ms(5_000));
        let client = rig.open(peer(1));
        let stats = rig.stats(client, "mail");
        assert_eq!((stats.counts.dead, stats.redriving), (1, false));
    }
}

#[test]
fn a_redrive_with_a_pace_is_answered_once_it_is_safe() {
    let (mut rig, client) = rig(&[]);
    put(&mut rig, client, "a");
    reject(&mut rig, client, "no");
    rig.commits = false;
    let request = QueueRequest::Redrive { name: queue("mail"), which: ALL, per_second: Some(1) };
    let out = rig.ask(client, Command::Queue(Box::new(request))).unwrap();
    assert_eq!(out.need.synced, rig.tape.last());
}

#[test]
fn t23_the_dead_set_lets_go_what_is_too_old_or_too_much() {
    let (mut rig, client) = rig(&[("dead_max", "3"), ("dead_ttl_ms", "10000")]);
    for n in 0..5 {
        put(&mut rig, client, &format!("{n}"));
        reject(&mut rig, client, "no");
        rig.pass(ms(1_000));
    }
    let stats = rig.stats(client, "mail");
    assert_eq!((stats.counts.dead, stats.dropped), (3, 2));
    rig.take_image();
    rig.restart(rig.tape.last(), true, true);
    rig.pass(ms(7_000));
    let client = rig.open(peer(1));
    assert_eq!(rig.stats(client, "mail").counts.dead, 2, "the third is 10 s old");
    rig.declare(client, "mail", &[("dead_ttl_ms", "0"), ("dead_max", "1")]);
    rig.fire();
    assert_eq!(rig.stats(client, "mail").counts.dead, 1);
    rig.pass(ms(1_000_000));
    assert_eq!(rig.stats(client, "mail").counts.dead, 1);
    rig.declare(client, "mail", &[("dead_ttl_ms", "5")]);
    rig.fire();
    let stats = rig.stats(client, "mail");
    assert_eq!((stats.counts.dead, stats.dropped, stats.dead_bytes), (0, 5, 0));
}

#[test]
fn what_overflows_into_the_dead_set_pushes_out_no_real_failure() {
    let chosen = [("max_messages", "2"), ("overflow", "dead"), ("dead_max", "2")];
    let (mut rig, client) = rig(&chosen);
    for n in 0..2 {
        put(&mut rig, client, &format!("rejected {n}"));
        reject(&mut rig, client, "no");
    }
    for n in 0..6 {
        put(&mut rig, client, &format!("{n}"));
    }
    let stats = rig.stats(client, "mail");
    assert_eq!((stats.counts.dead, stats.dropped), (4, 2));
    assert_eq!(rig.taken(client, "mail"), ["4", "5"]);
    assert_eq!(rig.put(client, "mail", "all are held", Extras::default()), Err(Code::QueueFull));
    let what = Purge { waiting: false, leased: false, dead: true };
    let purge = QueueRequest::Purge { name: queue("mail"), what };
    assert_eq!(rig.ask(client, Command::Queue(Box::new(purge))), None);
    rig.fire();
    assert_eq!(rig.told(client).unwrap().said, Said::Answer(Answer::Removed { messages: 4 }));
}

#[test]
fn t24_settings_lowered_park_what_is_spent() {
    let (mut rig, client) = rig(&[("backoff_min_ms", "0"), ("max_failures", "0")]);
    for n in 0..4 {
        put(&mut rig, client, &format!("{n}"));
    }
    for got in rig.take(client, "mail", 2) {
        rig.fail(client, got.lease());
    }
    let held = rig.take(client, "mail", 1)[0].lease();
    rig.declare(client, "mail", &[("max_failures", "1")]);
    assert_eq!(rig.ack(client, held), Ok(false), "who holds it may still settle it");
    rig.fire();
    let stats = rig.stats(client, "mail");
    assert_eq!((stats.counts.dead, stats.counts.ready), (1, 2));
    let dead = rig.look(client, "mail", MessageId { start: 1, counter: 2 });
    assert_eq!((dead.dead.unwrap().0, dead.failures), (DeadReason::MaxFailures, 1));
    let lease = rig.take(client, "mail", 1)[0].lease();
    assert_eq!(rig.nack(client, lease, FAILED), Ok(false));
    assert_eq!(rig.stats(client, "mail").counts.dead, 2);
}

#[test]
fn t23_a_dead_set_that_a_crash_left_over_its_bounds_is_trimmed_after_the_start() {
    let (mut rig, client) = rig(&[("dead_max", "0")]);
    put(&mut rig, client, "a");
    let before = rig.tape.last();
    reject(&mut rig, client, "why");
    // The grant and the death are kept, the drop that followed it is lost.
    rig.restart(before + 2, false, true);
    let client = rig.open(peer(1));
    assert_eq!(rig.stats(client, "mail").counts.dead, 1);
    rig.fire();
    let stats = rig.stats(client, "mail");
    assert_eq!((stats.counts.dead, stats.dropped), (0, 1));
}

#[test]
fn t22_messages_in_memory_are_put_back_in_the_order_in_which_they_died() {
    let (mut rig, client) = rig(&[("durability", "memory")]);
    for name in ["a", "b", "c"] {
        put(&mut rig, client, name);
    }
    let got = rig.take(client, "mail", 3);
    for at in [2, 0, 1] {
        let outcome = Outcome::Rejected { note: None };
        assert_eq!(rig.nack(client, got[at].lease(), outcome), Ok(false));
        rig.pass(ms(10));
    }
    assert_eq!(redrive(&mut rig, client, ALL), 3);
    assert_eq!(rig.taken(client, "mail"), ["c", "a", "b"]);
}
