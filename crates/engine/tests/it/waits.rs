//! Who waits: for a message, for work on a queue, for a record to be safe. Everybody is answered,
//! in time and not too early.

use sluice_engine::{EndedBy, Need, Ran};
use sluice_model::{
    Answer, Code, Command, Confirm, Destination, Extras, Message, PublishBatch, Published, Purge,
    Qos, QueueRequest, QueueSettings, Receive, Redrive, SessionId, Source, Subscribe, Timestamp,
};

use crate::rig::{FAILED, Rig, Said, config, delay, ms, peer, publish, put, queue, take};

const WAITING: Purge = Purge { waiting: true, leased: false, dead: false };

fn rig() -> (Rig, SessionId) {
    let mut rig = Rig::new(config());
    let client = rig.open(peer(1));
    rig.declare(client, "mail", &[]);
    (rig, client)
}

fn wait(from: &str, wait: u64) -> Command {
    let wait = Some(ms(wait));
    Command::Receive(Receive { wait, ..Receive::one(Source::Queue(queue(from))) })
}

/// Runs a command that is answered later, if at all.
fn begin(rig: &mut Rig, session: SessionId, command: Command) {
    assert_eq!(rig.run(session, command), Ran::Done);
    assert_eq!(rig.told(session), None);
}

fn on_queue(request: QueueRequest) -> Command {
    Command::Queue(Box::new(request))
}

fn answers(rig: &mut Rig, session: SessionId) -> Vec<Answer> {
    let outs = std::iter::from_fn(|| rig.told(session));
    let answer = |said| match said {
        Said::Answer(answer) => Some(answer),
        _ => None,
    };
    outs.filter_map(|out| answer(out.said)).collect()
}

#[test]
fn who_waits_for_work_on_a_queue_is_answered_when_the_queue_is_deleted() {
    let (mut rig, client) = rig();
    rig.put(client, "mail", "a", Extras::default()).unwrap();
    let other = rig.open(peer(2));
    begin(&mut rig, other, on_queue(QueueRequest::Purge { name: queue("mail"), what: WAITING }));
    let delete = QueueRequest::Delete { name: queue("mail"), force: true };
    assert_eq!(rig.queue(client, delete), Answer::Removed { messages: 1 });
    assert_eq!(answers(&mut rig, other), [Answer::Removed { messages: 0 }]);
    rig.fire();
    assert_eq!(answers(&mut rig, other), []);
}

#[test]
fn who_waits_at_a_subscription_by_its_queues_name_is_answered_when_it_goes() {
    let (mut rig, client) = rig();
    let mut settings = QueueSettings::default();
    settings.set_text("inactive_expiry_ms", "1000").unwrap();
    let (pattern, name) = ("t".parse().unwrap(), Some("s".parse().unwrap()));
    let subscribe = Subscribe { pattern, qos: Qos::AtLeastOnce, name, settings };
    rig.answer(client, Command::Subscribe(subscribe));
    let other = rig.open(peer(2));
    begin(&mut rig, other, wait("$sub.s", 60_000));
    rig.close(client, EndedBy::Client, &[]);
    rig.pass(ms(1_000));
    assert_eq!(answers(&mut rig, other), [Answer::Empty { next: None }]);
}

#[test]
fn a_receive_through_a_subscription_whose_queue_was_deleted_is_refused() {
    let mut rig = Rig::new(config());
    let (client, all) = rig.consumer();
    let other = rig.open(peer(2));
    rig.queue(other, QueueRequest::Delete { name: queue("$sub.all"), force: true });
    let Answer::Refused(refusal) = rig.answer(client, take(all)) else { panic!() };
    assert_eq!(refusal.code, Code::NotFound);
}

#[test]
fn a_slow_redrive_holds_up_no_purge_and_goes_on_afterwards() {
    let (mut rig, client) = rig();
    for name in ["a", "b", "c"] {
        rig.put(client, "mail", name, Extras::default()).unwrap();
        let got = rig.take(client, "mail", 1).remove(0);
        let rejected = sluice_model::Outcome::Rejected { note: None };
        assert_eq!(rig.nack(client, got.lease(), rejected), Ok(false));
    }
    let which = Redrive::Matching { reason: None, age_min: None };
    let redrive = QueueRequest::Redrive { name: queue("mail"), which, per_second: Some(1) };
    let goes_on = Answer::Redriven { messages: 0, goes_on: true };
    assert_eq!(rig.queue(client, redrive), goes_on);
    rig.fire();
    begin(&mut rig, client, on_queue(QueueRequest::Purge { name: queue("mail"), what: WAITING }));
    rig.fire();
    assert_eq!(answers(&mut rig, client), [Answer::Removed { messages: 1 }]);
    for dead in [1, 0] {
        rig.pass(ms(1_000));
        assert_eq!(rig.stats(client, "mail").counts.dead, dead);
    }
}

#[test]
fn a_message_that_is_due_when_a_wait_ends_is_handed_over() {
    let (mut rig, client) = rig();
    rig.put(client, "mail", "a", delay(ms(500))).unwrap();
    begin(&mut rig, client, wait("mail", 500));
    rig.pass(ms(500));
    assert_eq!(rig.gots(client).len(), 1);
    // Nor does one that is in memory and came in the same turn come too late.
    rig.declare(client, "fast", &[("durability", "memory")]);
    begin(&mut rig, client, wait("fast", 500));
    let other = rig.open(peer(2));
    rig.now = rig.now.after(ms(500));
    rig.put(other, "fast", "b", Extras::default()).unwrap();
    rig.fire();
    assert_eq!(rig.gots(client).len(), 1);
}

#[test]
fn a_wait_that_ends_while_a_message_is_being_committed_ends_with_that_message() {
    let (mut rig, client) = rig();
    rig.commits = false;
    begin(&mut rig, client, wait("mail", 500));
    let other = rig.open(peer(2));
    rig.put(other, "mail", "a", Extras::default()).unwrap();
    rig.pass(ms(500));
    assert_eq!(rig.told(client), None);
    rig.commit();
    assert_eq!(rig.gots(client)[0].payload, "a");
}

#[test]
fn waiting_receives_get_no_more_than_their_session_has_room_for() {
    let mut config = config();
    config.session_out_max = 4_000;
    let mut rig = Rig::new(config);
    let client = rig.open(peer(1));
    rig.declare(client, "mail", &[]);
    for _ in 0..8 {
        begin(&mut rig, client, wait("mail", 60_000));
    }
    let other = rig.open(peer(2));
    let payload = "x".repeat(900);
    rig.commits = false;
    for _ in 0..8 {
        rig.put(other, "mail", &payload, Extras::default()).unwrap();
    }
    rig.drains = false;
    rig.commit();
    let mut seen = 0;
    for round in 0..8 {
        let outs: Vec<_> = std::iter::from_fn(|| rig.told(client)).collect();
        let weight: usize = outs.iter().map(|out| out.weight).sum();
        assert!((1..=4_000).contains(&weight), "{weight} bytes in round {round}");
        seen += outs.len();
        if seen == 8 {
            return;
        }
        rig.engine.written(client, weight);
        rig.fire();
    }
    panic!("{seen} of 8 came");
}

#[test]
fn a_receive_of_many_stops_at_what_the_session_may_hold() {
    let mut config = config();
    config.session_leases_max = 3;
    let mut rig = Rig::new(config);
    let client = rig.open(peer(1));
    rig.declare(client, "mail", &[]);
    let other = rig.open(peer(2));
    begin(&mut rig, client, wait("mail", 60_000));
    begin(&mut rig, client, wait("mail", 60_000));
    rig.put(other, "mail", "a", Extras::default()).unwrap();
    rig.put(other, "mail", "b", Extras::default()).unwrap();
    begin(&mut rig, client, wait("mail", 60_000));
    begin(&mut rig, client, wait("mail", 60_000));
    for name in ["c", "d", "e"] {
        rig.put(other, "mail", name, Extras::default()).unwrap();
    }
    let told: Vec<_> = std::iter::from_fn(|| rig.told(client)).collect();
    let codes: Vec<_> = told
        .iter()
        .map(|out| match &out.said {
            Said::Answer(Answer::Refused(refusal)) => Some(refusal.code),
            _ => None,
        })
        .collect();
    assert_eq!(codes, [None, Some(Code::RateLimited)]);
    assert_eq!(rig.taken(other, "mail"), ["d", "e"]);
    let third = rig.open(peer(3));
    for name in ["f", "g", "h", "i"] {
        rig.put(other, "mail", name, Extras::default()).unwrap();
    }
    assert_eq!(rig.taken(third, "mail"), ["f", "g", "h"]);
}

#[test]
fn a_duplicate_waits_for_the_strongest_level_that_its_original_has() {
    let mut rig = Rig::new(config());
    let client = rig.open(peer(1));
    for (name, durability) in [("weak", "os"), ("strong", "sync")] {
        let mut settings = QueueSettings::default();
        settings.set_text("durability", durability).unwrap();
        let (pattern, name) = ("t".parse().unwrap(), Some(name.parse().unwrap()));
        let subscribe = Subscribe { pattern, qos: Qos::AtLeastOnce, name, settings };
        rig.answer(client, Command::Subscribe(subscribe));
    }
    rig.commits = false;
    let extras = Extras { dedupe_id: Some("1".into()), ..Extras::default() };
    let command = publish("t", Qos::AtLeastOnce, "a", Some(extras));
    let first = rig.ask(client, command.clone()).unwrap();
    let second = rig.ask(client, command).unwrap();
    let record = rig.tape.last();
    assert_eq!(first.need, Need { written: record, synced: record });
    assert_eq!(second.need, first.need);
    // So does the refusal of another body: the reason for it could still be lost.
    let extras = Extras { dedupe_id: Some("1".into()), ..Extras::default() };
    let third = rig.ask(client, publish("t", Qos::AtLeastOnce, "b", Some(extras))).unwrap();
    assert!(matches!(third.said, Said::Answer(Answer::Refused(_))));
    assert_eq!(third.need, first.need);
}

#[test]
fn a_refusal_waits_for_what_it_tells_of() {
    let (mut rig, client) = rig();
    let id = rig.put(client, "mail", "a", Extras::default()).unwrap().id;
    rig.commits = false;
    let remove = on_queue(QueueRequest::Remove { name: queue("mail"), id, force: false });
    let gone = rig.ask(client, remove.clone()).unwrap();
    let refused = rig.ask(client, remove).unwrap();
    assert!(matches!(refused.said, Said::Answer(Answer::Refused(_))));
    assert_eq!((gone.need.synced, refused.need), (rig.tape.last(), gone.need));
}

#[test]
fn a_look_waits_for_the_level_that_was_promised_before_the_queue_was_changed() {
    let (mut rig, client) = rig();
    rig.commits = false;
    rig.put(client, "mail", "a", Extras::default()).unwrap();
    rig.declare(client, "mail", &[("durability", "os")]);
    let synced = rig.tape.last();
    rig.put(client, "mail", "b", Extras::default()).unwrap();
    let look = on_queue(QueueRequest::Stats { name: queue("mail") });
    let out = rig.ask(client, look).unwrap();
    assert_eq!(out.need, Need { written: rig.tape.last(), synced });
}

#[test]
fn a_fence_covers_an_extension() {
    let (mut rig, client) = rig();
    rig.put(client, "mail", "a", Extras::default()).unwrap();
    let lease = rig.take(client, "mail", 1)[0].lease();
    rig.commits = false;
    let extend = Command::Extend { lease, by: ms(9_000), confirm: Confirm::Refusal };
    begin(&mut rig, client, extend);
    let out = rig.ask(client, Command::Fence).unwrap();
    assert_eq!(out.need.written, rig.tape.last());
}

#[test]
fn a_message_for_a_time_too_far_away_is_refused() {
    let (mut rig, client) = rig();
    for (days, code) in [(366, None), (367, Some(Code::Invalid))] {
        let deliver_at = Some(rig.now.after(ms(days * 86_400_000)));
        let extras = Extras { deliver_at, ..Extras::default() };
        assert_eq!(rig.put(client, "mail", "a", extras).err(), code, "{days} days");
    }
    let deliver_at = Some(Timestamp::from_millis(u64::MAX));
    let extras = Extras { deliver_at, ..Extras::default() };
    assert_eq!(rig.put(client, "mail", "a", extras), Err(Code::Invalid));
}

#[test]
fn a_batch_remembers_no_more_ids_than_there_is_room_for() {
    let (mut rig, client) = rig();
    rig.declare(client, "mail", &[("dedupe_max", "3")]);
    let batch = |ids: &[&str]| {
        let message = |id: &&str| {
            let extras = Extras { dedupe_id: Some((*id).into()), ..Extras::default() };
            let message = Message { payload: "x".into(), extras: Some(Box::new(extras)) };
            (Destination::Queue(queue("mail")), message)
        };
        let messages = ids.iter().map(message).collect();
        Command::PublishBatch(Box::new(PublishBatch { messages, level: None }))
    };
    let Answer::Refused(refusal) = rig.answer(client, batch(&["a", "b", "c", "d"])) else {
        panic!()
    };
    assert_eq!(refusal.code, Code::QueueFull);
    assert_eq!(rig.engine.dedupe_ids(), 0);
    let Answer::PublishedBatch(all) = rig.answer(client, batch(&["a", "b", "b", "c"])) else {
        panic!()
    };
    let duplicates: Vec<_> = all.iter().map(|published: &Published| published.duplicate).collect();
    assert_eq!(duplicates, [false, false, true, false]);
    assert_eq!(rig.engine.dedupe_ids(), 3);
}

#[test]
fn a_queue_whose_bounds_were_lowered_lets_messages_go_slice_by_slice() {
    let mut config = config();
    config.deadlines_per_turn = 10;
    let mut rig = Rig::new(config);
    let client = rig.open(peer(1));
    rig.declare(client, "mail", &[("overflow", "drop_oldest")]);
    for n in 0..100 {
        rig.put(client, "mail", &n.to_string(), Extras::default()).unwrap();
    }
    rig.declare(client, "mail", &[("max_messages", "5")]);
    let mut before = 100;
    while before > 5 {
        rig.answer(client, put("mail", "more", Extras::default()));
        let ready = rig.stats(client, "mail").counts.ready;
        assert!((before - 9..before).contains(&ready) || ready == 5, "{ready} after {before}");
        before = ready;
    }
    let taken = rig.taken(client, "mail");
    assert_eq!(taken, ["more"; 5]);
}

#[test]
fn the_oldest_that_may_go_goes_wherever_it_came_back_from() {
    let (mut rig, client) = rig();
    rig.declare(client, "mail", &[("overflow", "drop_oldest"), ("max_messages", "4")]);
    for name in ["a", "b", "c", "d"] {
        rig.put(client, "mail", name, Extras::default()).unwrap();
    }
    let got = rig.take(client, "mail", 3);
    rig.put(client, "mail", "e", Extras::default()).unwrap();
    rig.release(client, got[1].lease());
    assert_eq!(rig.nack(client, got[0].lease(), FAILED), Ok(false));
    rig.put(client, "mail", "f", Extras::default()).unwrap();
    rig.put(client, "mail", "g", Extras::default()).unwrap();
    rig.put(client, "mail", "h", Extras::default()).unwrap();
    rig.pass(ms(1_000));
    assert_eq!(rig.taken(client, "mail"), ["f", "g", "h"]);
    assert_eq!(rig.stats(client, "mail").dropped, 4);
}

#[test]
fn a_receive_that_is_withdrawn_is_answered_at_once_and_others_wait_on() {
    let (mut rig, client) = rig();
    begin(&mut rig, client, wait("mail", 60_000));
    let first = rig.tag;
    begin(&mut rig, client, wait("mail", 60_000));
    begin(&mut rig, client, Command::Withdraw { receive: first + 100 });
    assert_eq!(rig.run(client, Command::Withdraw { receive: first }), Ran::Done);
    let told = rig.told(client).expect("the answer");
    assert_eq!((told.tag, told.said), (first, Said::Answer(Answer::Empty { next: None })));
    begin(&mut rig, client, Command::Withdraw { receive: first });
    let publisher = rig.open(peer(2));
    rig.put(publisher, "mail", "a", Extras::default()).unwrap();
    let told = rig.told(client).expect("the other one gets it");
    assert!(told.tag == first + 1 && matches!(told.said, Said::Got(_)), "{told:?}");
}

#[test]
fn receives_that_wait_keep_no_room_from_a_message_as_large_as_the_bound() {
    let mut config = config();
    config.session_out_max = 1_000;
    let mut rig = Rig::new(config);
    let client = rig.open(peer(1));
    rig.declare(client, "mail", &[]);
    rig.declare(client, "idle", &[]);
    (0..8).for_each(|_| begin(&mut rig, client, wait("idle", 60_000)));
    let other = rig.open(peer(2));
    rig.put(other, "mail", &"x".repeat(2_000), Extras::default()).unwrap();
    assert_eq!(rig.run(client, wait("mail", 60_000)), Ran::Done);
    let told = rig.told(client).expect("the message");
    assert!(matches!(told.said, Said::Got(_)), "{told:?}");
}
