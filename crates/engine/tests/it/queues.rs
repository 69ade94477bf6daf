//! Queues by name: making them, putting in, taking out, and looking after what is in them.

use sluice_engine::Ran;
use sluice_model::{
    Answer, Code, Command, Confirm, Destination, Extras, Filter, Lane, Level, Message, Outcome,
    PublishBatch, Purge, QueueKind, QueueRequest, Receive, Seq, SessionId, Source, State,
    Transition,
};

use crate::rig::{FAILED, Rig, Said, config, delay, ms, peer, publish, put, queue, settings, ttl};

fn rig() -> (Rig, SessionId) {
    let mut rig = Rig::new(config());
    let client = rig.open(peer(1));
    rig.declare(client, "mail", &[]);
    (rig, client)
}

fn refused(answer: Answer) -> (Code, String) {
    match answer {
        Answer::Refused(refusal) => (refusal.code, refusal.message.into_owned()),
        other => panic!("{other:?}"),
    }
}

fn priority(priority: u8) -> Extras {
    Extras { lane: Lane { priority, ..Lane::default() }, ..Extras::default() }
}

fn extend(lease: sluice_model::LeaseId, by: u64) -> Command {
    Command::Extend { lease, by: ms(by), confirm: Confirm::Always }
}

#[test]
fn a_queue_is_made_once_compared_and_changed_only_when_asked() {
    let (mut rig, client) = rig();
    let declare = |rig: &mut Rig, chosen: &[(&str, &str)], update| {
        let (name, settings) = (queue("jobs"), settings(chosen));
        rig.queue(client, QueueRequest::Declare { name, settings, update })
    };
    let chosen = [("lease_ms", "5000"), ("overflow", "dead")];
    assert_eq!(declare(&mut rig, &chosen, false), Answer::Declared { created: true });
    assert_eq!(declare(&mut rig, &chosen, false), Answer::Declared { created: false });
    assert_eq!(declare(&mut rig, &[], false), Answer::Declared { created: false });
    let written = rig.tape.last();
    let other = [("lease_ms", "6000"), ("max_messages", "7")];
    let Answer::Differs(differences) = declare(&mut rig, &other, false) else { panic!() };
    let texts: Vec<_> = differences.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["lease_ms is 5000, not 6000", "max_messages is 1000000, not 7"]);
    assert_eq!(rig.tape.last(), written, "nothing is changed");
    assert_eq!(declare(&mut rig, &other, true), Answer::Declared { created: false });
    for restarts in 0..3 {
        let stats = rig.stats(client, "jobs");
        let value = |name: &str| {
            let setting = sluice_model::Setting::named(name).unwrap();
            setting.show(stats.settings.get(setting).unwrap())
        };
        assert_eq!((value("lease_ms"), value("overflow")), ("6000".into(), "dead".into()));
        assert_eq!((value("max_messages"), value("ttl_ms")), ("7".into(), "0".into()));
        // From records, then from an image.
        rig.take_image();
        rig.restart(rig.tape.last(), restarts > 0, true);
        assert_eq!(rig.open(peer(1)), client, "the first session of every run");
    }
    let order = |word| [("order", word)];
    let fifo = declare(&mut rig, &order("group_fifo"), true);
    assert_eq!(fifo, Answer::Declared { created: false });
    rig.put(client, "jobs", "1", Extras::default()).unwrap();
    assert_eq!(refused(declare(&mut rig, &order("none"), true)).0, Code::Conflict);
    let crossed = [("backoff_min_ms", "9000000")];
    assert_eq!(refused(declare(&mut rig, &crossed, true)).0, Code::Invalid);
}

#[test]
fn what_is_put_in_comes_out_once_with_all_that_it_carries() {
    let (mut rig, client) = rig();
    let lane =
        Lane { group: Some("g".into()), keys: vec!["stripe:7".into()], cost: 3, ..Lane::default() };
    let headers = vec![("trace".to_owned(), "1".to_owned())];
    let extras = Extras { lane: lane.clone(), headers, ..Extras::default() };
    let published = rig.put(client, "mail", "a", extras).unwrap();
    assert_eq!((published.matched, published.level), (1, Some(Level::Sync)));
    for with_image in [false, true] {
        rig.take_image();
        rig.restart(rig.tape.last(), with_image, true);
        let client = rig.open(peer(1));
        let info = rig.look(client, "mail", published.id);
        assert_eq!((info.state, info.lane.as_deref()), (State::Ready, Some(&lane)));
        let [got] = &rig.take(client, "mail", 10)[..] else { panic!() };
        assert_eq!((got.payload.as_str(), got.topic.as_str()), ("a", "mail"));
        rig.release(client, got.lease());
    }
    let missing = rig.put(client, "none", "a", Extras::default());
    assert_eq!(missing, Err(Code::NotFound));
    let named = rig.named(client, "audit", "t");
    assert_eq!(rig.put(client, "$sub.audit", "a", Extras::default()), Err(Code::Invalid));
    rig.publish(client, "t", "by topic");
    assert_eq!(rig.stats(client, "$sub.audit").pattern.as_deref(), Some("t"));
    assert_eq!(rig.taken(client, "$sub.audit"), ["by topic"], "any consumer may take it");
    assert_eq!(rig.next(client, named), "");
}

#[test]
fn values_out_of_range_are_refused_before_anything_is_stored() {
    let (mut rig, client) = rig();
    let lane = |change: fn(&mut Lane)| {
        let mut lane = Lane::default();
        change(&mut lane);
        Extras { lane, ..Extras::default() }
    };
    let long = Some("x".repeat(129));
    let cases = [
        lane(|lane| lane.priority = 10),
        lane(|lane| lane.cost = 0),
        lane(|lane| lane.cost = 1_001),
        lane(|lane| lane.keys = vec!["k".into(); 5]),
        lane(|lane| lane.keys = vec!["".into()]),
        lane(|lane| lane.group = Some("g".repeat(129).into())),
        Extras { dedupe_id: long, ..Extras::default() },
        Extras { headers: vec![(String::new(), String::new()); 65], ..Extras::default() },
        Extras { headers: vec![("h".repeat(16_385), String::new())], ..Extras::default() },
        delay(ms(366 * 86_400_000 + 1)),
        Extras { delay: Some(ms(10)), ..ttl(ms(10)) },
    ];
    let written = rig.tape.last();
    for extras in cases {
        assert_eq!(rig.put(client, "mail", "a", extras.clone()), Err(Code::Invalid), "{extras:?}");
    }
    rig.declare(client, "small", &[("max_message_bytes", "3"), ("durability", "os")]);
    assert_eq!(rig.put(client, "small", "four", Extras::default()), Err(Code::TooLarge));
    let Command::Publish(mut strong) = put("small", "a", Extras::default()) else { panic!() };
    strong.level = Some(Level::Sync);
    let answer = rig.answer(client, Command::Publish(strong));
    assert_eq!(refused(answer).0, Code::Invalid, "a level is never weakened");
    assert_eq!((rig.tape.last(), rig.engine.queued()), (written + 1, 0));
}

#[test]
fn higher_priorities_come_first_and_each_in_its_order() {
    let (mut rig, client) = rig();
    for (n, level) in [5, 0, 9, 5, 9, 7, 0].into_iter().enumerate() {
        rig.put(client, "mail", &format!("{level}{n}"), priority(level)).unwrap();
    }
    let expected = ["92", "94", "75", "50", "53", "01", "06"];
    for with_image in [false, true] {
        rig.take_image();
        rig.restart(rig.tape.last(), with_image, true);
        let client = rig.open(peer(1));
        let gots = rig.take(client, "mail", 100);
        let payloads: Vec<_> = gots.iter().map(|got| got.payload.as_str()).collect();
        assert_eq!(payloads, expected);
        for got in gots {
            rig.release(client, got.lease());
        }
        let oldest = rig.stats(client, "mail").oldest_ready.unwrap();
        assert_eq!(oldest, ms(0), "all came at one time");
    }
    // Not visible before it is safe, whatever its priority.
    rig.commits = false;
    let client = rig.open(peer(1));
    let written = rig.tape.last();
    let _ = rig.run(client, put("mail", "hidden", priority(9)));
    rig.commit_to(written, written);
    assert_eq!(rig.take(client, "mail", 1)[0].payload, "92");
    rig.commit();
    assert_eq!(rig.take(client, "mail", 1)[0].payload, "94", "it came first");
    assert_eq!(rig.take(client, "mail", 1)[0].payload, "hidden");
}

#[test]
fn a_batch_is_stored_whole_or_not_at_all_and_so_it_survives() {
    let (mut rig, client) = rig();
    rig.declare(client, "small", &[("max_messages", "2")]);
    let message = |to: &str, payload: &str| {
        (Destination::Queue(queue(to)), Message::plain(payload.to_owned().into_bytes()))
    };
    let batch = |messages| {
        Command::PublishBatch(Box::new(PublishBatch { messages, level: Some(Level::Sync) }))
    };
    let three = vec![message("small", "1"), message("small", "2"), message("small", "3")];
    let written = rig.tape.last();
    let (code, text) = refused(rig.answer(client, batch(three)));
    assert_eq!((code, text.as_str()), (Code::QueueFull, "message 2: queue small is full"));
    let missing = vec![message("mail", "1"), message("none", "2")];
    assert_eq!(refused(rig.answer(client, batch(missing))).0, Code::NotFound);
    assert_eq!(refused(rig.answer(client, batch(vec![]))).0, Code::Invalid);
    assert_eq!((rig.tape.last(), rig.engine.queued()), (written, 0));
    let mixed = vec![message("mail", "1"), message("small", "2"), message("mail", "3")];
    let out = rig.ask(client, batch(mixed)).unwrap();
    let Said::Answer(Answer::PublishedBatch(all)) = out.said else { panic!("{:?}", out.said) };
    assert_eq!(all.iter().map(|one| one.matched).sum::<u32>(), 3);
    assert!(all.windows(2).all(|two| two[0].id < two[1].id));
    assert_eq!(
        (out.need.synced, rig.tape.batches.clone()),
        (written + 3, vec![(written, written + 3)])
    );
    assert_eq!(rig.taken(client, "mail"), ["1", "3"]);
}

#[test]
fn a_batch_into_a_queue_that_drops_pushes_out_older_messages_and_none_of_its_own() {
    let (mut rig, client) = rig();
    rig.declare(client, "ring", &[("max_messages", "3"), ("overflow", "drop_oldest")]);
    for n in 0..3 {
        rig.put(client, "ring", &format!("old {n}"), Extras::default()).unwrap();
    }
    let message = |n: u32| {
        (Destination::Queue(queue("ring")), Message::plain(format!("new {n}").into_bytes()))
    };
    let batch = PublishBatch { messages: (0..2).map(message).collect(), level: None };
    let answer = rig.answer(client, Command::PublishBatch(Box::new(batch)));
    assert!(matches!(answer, Answer::PublishedBatch(_)), "{answer:?}");
    assert_eq!(rig.taken(client, "ring"), ["old 2", "new 0", "new 1"]);
}

#[test]
fn messages_in_memory_need_no_commit_and_end_with_the_process() {
    let (mut rig, client) = rig();
    rig.declare(client, "fast", &[("durability", "memory")]);
    let written = rig.tape.last();
    rig.commits = false;
    let out = rig.ask(client, put("fast", "a", Extras::default())).unwrap();
    assert_eq!((out.need.synced, rig.tape.last()), (0, written));
    let [got] = &rig.take(client, "fast", 9)[..] else { panic!() };
    assert_eq!(rig.ack(client, got.lease()), Ok(false));
    assert_eq!(rig.ack(client, got.lease()), Ok(true));
    let _ = rig.run(client, put("fast", "b", priority(9)));
    rig.commit();
    rig.restart(rig.tape.last(), false, true);
    let client = rig.open(peer(1));
    assert_eq!(rig.stats(client, "fast").counts.ready, 0);
}

#[test]
fn a_receive_waits_for_a_message_and_is_told_when_the_next_is_due() {
    let (mut rig, client) = rig();
    let wait = |millis| {
        let from = Source::Queue(queue("mail"));
        Command::Receive(Receive { wait: Some(ms(millis)), max: 2, ..Receive::one(from) })
    };
    let (first, second) = (rig.open(peer(2)), rig.open(peer(3)));
    assert_eq!(rig.ask(first, wait(5_000)), None);
    assert_eq!(rig.ask(second, wait(2_000)), None);
    rig.put(client, "mail", "a", Extras::default()).unwrap();
    let [a] = &rig.gots(first)[..] else { panic!("who came first is served first") };
    assert_eq!(rig.told(second), None);
    // One that comes back is as good as a new one.
    rig.release(first, a.lease());
    rig.fire();
    let [a] = &rig.gots(second)[..] else { panic!() };
    assert_eq!(
        rig.nack(second, a.lease(), Outcome::Failed { delay: Some(ms(700)), note: None }),
        Ok(false)
    );
    let out =
        rig.ask(client, Command::Receive(Receive::one(Source::Queue(queue("mail"))))).unwrap();
    let due = rig.now.after(ms(700));
    assert_eq!(out.said, Said::Answer(Answer::Empty { next: Some(due) }));
    assert_eq!(rig.ask(first, wait(5_000)), None);
    rig.pass(ms(700));
    assert_eq!(rig.gots(first).len(), 1);
    // Patience ends.
    assert_eq!(rig.ask(second, wait(2_000)), None);
    rig.pass(ms(1_999));
    assert_eq!(rig.told(second), None);
    rig.pass(ms(1));
    assert!(matches!(rig.told(second).unwrap().said, Said::Answer(Answer::Empty { .. })));
    // Who is gone waits no longer.
    assert_eq!(rig.ask(second, wait(2_000)), None);
    rig.close(second, sluice_engine::EndedBy::Client, &[]);
    rig.put(client, "mail", "b", Extras::default()).unwrap();
    assert_eq!(rig.taken(client, "mail"), ["b"]);
}

#[test]
fn a_receive_gets_as_many_as_it_asks_for_and_as_fit() {
    let (mut rig, client) = rig();
    for n in 0..10 {
        rig.put(client, "mail", &format!("{n}"), Extras::default()).unwrap();
    }
    let from = Source::Queue(queue("mail"));
    let receive = Command::Receive(Receive { max: 4, ..Receive::one(from) });
    assert_eq!(rig.run(client, receive), Ran::Done);
    assert_eq!(rig.gots(client).len(), 4);
    let mut tight = config();
    tight.session_out_max = 1_000;
    let mut rig = Rig::new(tight);
    rig.drains = false;
    let client = rig.open(peer(1));
    rig.declare(client, "mail", &[]);
    rig.engine.written(client, 10_000);
    for n in 0..5 {
        rig.put(client, "mail", &format!("{n}{}", "x".repeat(300)), Extras::default()).unwrap();
        rig.engine.written(client, 10_000);
    }
    let fit = rig.take(client, "mail", 5).len();
    assert!((1..5).contains(&fit), "{fit} of 5 messages in 1000 bytes");
}

#[test]
fn t10_a_lease_is_extended_up_to_its_longest_life() {
    let (mut rig, client) = rig();
    rig.put(client, "mail", "a", Extras::default()).unwrap();
    let lease = rig.take(client, "mail", 1)[0].lease();
    rig.pass(ms(29_000));
    let deadline = rig.now.after(ms(60_000));
    assert_eq!(rig.answer(client, extend(lease, 60_000)), Answer::Extended { deadline });
    rig.pass(ms(59_999));
    assert_eq!(rig.stats(client, "mail").counts.leased, 1);
    let most = 12 * 3_600_000 - 29_000 - 59_999;
    assert_eq!(refused(rig.answer(client, extend(lease, most + 1))).0, Code::Invalid);
    assert!(matches!(rig.answer(client, extend(lease, most)), Answer::Extended { .. }));
    // The extension survives.
    rig.take_image();
    rig.restart(rig.tape.last(), true, true);
    rig.pass(ms(most - 1));
    let client = rig.open(peer(1));
    let counts = rig.stats(client, "mail").counts;
    // Its connection ended with the process, and so did its grace.
    assert_eq!((counts.leased, counts.ready), (0, 1));
    assert_eq!(refused(rig.answer(client, extend(lease, 1))).0, Code::LeaseLost);
}

#[test]
fn an_unbound_lease_outlives_its_connection_and_a_restart() {
    let (mut rig, client) = rig();
    rig.put(client, "mail", "a", Extras::default()).unwrap();
    let from = Source::Queue(queue("mail"));
    let receive = Receive { bound: false, lease: Some(ms(60_000)), ..Receive::one(from) };
    assert_eq!(rig.run(client, Command::Receive(receive)), Ran::Done);
    let lease = rig.gots(client)[0].lease();
    rig.close(client, sluice_engine::EndedBy::Client, &[]);
    rig.pass(ms(50_000));
    rig.restart(rig.tape.last(), false, true);
    let client = rig.open(peer(1));
    rig.pass(ms(9_999));
    assert_eq!(rig.stats(client, "mail").counts.leased, 1);
    assert_eq!(rig.ack(client, lease), Ok(false));
}

#[test]
fn t7_a_delayed_message_can_be_fired_rescheduled_and_cancelled_and_no_other() {
    let (mut rig, client) = rig();
    let name = || queue("mail");
    let mut ids = Vec::new();
    for n in 0..4 {
        ids.push(rig.put(client, "mail", &format!("{n}"), delay(ms(10_000))).unwrap().id);
    }
    let (start, now) = (rig.now, rig.now);
    let later = |id, at| QueueRequest::Reschedule { name: name(), id, at };
    assert_eq!(rig.queue(client, later(ids[0], now)), Answer::Rescheduled { at: None });
    assert_eq!(rig.taken(client, "mail"), ["0"]);
    assert_eq!(refused(rig.queue(client, later(ids[0], now))).0, Code::Conflict, "it is leased");
    let at = start.after(ms(20_000));
    assert_eq!(rig.queue(client, later(ids[1], at)), Answer::Rescheduled { at: Some(at) });
    let cancel = QueueRequest::Cancel { name: name(), id: ids[2] };
    assert_eq!(rig.queue(client, cancel.clone()), Answer::Removed { messages: 1 });
    assert_eq!(refused(rig.queue(client, cancel)).0, Code::NotFound);
    rig.take_image();
    rig.restart(rig.tape.last(), true, true);
    let client = rig.open(peer(1));
    assert_eq!(rig.look(client, "mail", ids[1]).last_change, (Transition::Rescheduled, start));
    rig.pass(ms(10_000));
    let counts = rig.stats(client, "mail").counts;
    assert_eq!((counts.delayed, counts.ready), (1, 2), "one waits, and one lost its consumer");
    let cancel = QueueRequest::Cancel { name: name(), id: ids[3] };
    assert_eq!(refused(rig.queue(client, cancel)).1, "the message is ready, not delayed");
    rig.pass(ms(10_000));
    assert_eq!(rig.taken(client, "mail"), ["0", "1", "3"]);
}

#[test]
fn t21_deletes_and_purges_spare_what_is_held_unless_forced() {
    let (mut rig, client) = rig();
    let mut ids = Vec::new();
    for n in 0..2_000 {
        ids.push(rig.put(client, "mail", &format!("{n}"), Extras::default()).unwrap().id);
    }
    let held = rig.take(client, "mail", 1)[0].lease();
    let remove = |id, force| QueueRequest::Remove { name: queue("mail"), id, force };
    assert_eq!(refused(rig.queue(client, remove(ids[0], false))).0, Code::Conflict);
    assert_eq!(rig.queue(client, remove(ids[1], false)), Answer::Removed { messages: 1 });
    assert_eq!(refused(rig.queue(client, remove(ids[1], false))).0, Code::NotFound);
    let purge = |waiting, leased| {
        let what = Purge { waiting, leased, dead: false };
        Command::Queue(Box::new(QueueRequest::Purge { name: queue("mail"), what }))
    };
    assert_eq!(rig.ask(client, purge(true, false)), None, "it is done slice by slice");
    let mut turns = 0;
    let answer = loop {
        turns += 1;
        rig.fire();
        if let Some(out) = rig.told(client) {
            break out.said;
        }
    };
    assert_eq!(answer, Said::Answer(Answer::Removed { messages: 1_998 }));
    assert!(turns > 1, "{turns} turns");
    let stats = rig.stats(client, "mail");
    assert_eq!((stats.counts.leased, stats.counts.ready, stats.deleted), (1, 0, 1_999));
    rig.restart(rig.tape.last(), false, true);
    let client = rig.open(peer(1));
    assert_eq!(rig.stats(client, "mail").deleted, 1_999);
    assert_eq!(rig.ask(client, purge(false, true)), None);
    rig.fire();
    assert_eq!(rig.told(client).unwrap().said, Said::Answer(Answer::Removed { messages: 1 }));
    assert_eq!(rig.ack(client, held), Err(Code::NotFound));
    assert_eq!((rig.engine.queued(), rig.engine.live_bytes()), (0, 0));
}

#[test]
fn a_queue_that_is_deleted_takes_its_messages_and_leaves_nothing() {
    let (mut rig, client) = rig();
    for n in 0..5 {
        rig.put(client, "mail", &format!("{n}"), delay(ms(1_000 * n))).unwrap();
    }
    let delete = |force| QueueRequest::Delete { name: queue("mail"), force };
    let lease = rig.take(client, "mail", 1)[0].lease();
    assert_eq!(refused(rig.queue(client, delete(false))).0, Code::Conflict);
    let waiter = rig.open(peer(2));
    let wait = Receive { wait: Some(ms(60_000)), ..Receive::one(Source::Queue(queue("mail"))) };
    assert_eq!(rig.ask(waiter, Command::Receive(wait)), None);
    rig.declare(client, "other", &[]);
    assert_eq!(rig.queue(client, delete(true)), Answer::Removed { messages: 5 });
    assert!(rig.told(waiter).is_some(), "who waits is told that nothing will come");
    assert_eq!(refused(rig.queue(client, delete(true))).0, Code::NotFound);
    assert_eq!(rig.ack(client, lease), Err(Code::NotFound));
    rig.pass(ms(10_000));
    assert_eq!((rig.engine.live_bytes(), rig.engine.next_deadline()), (0, None));
    let list = QueueRequest::List { kind: QueueKind::Plain, after: None, limit: 10 };
    let Answer::Queues { queues, next } = rig.queue(client, list) else { panic!() };
    assert_eq!((queues.len(), queues[0].name.clone(), next), (1, queue("other"), None));
    // The same name is another queue.
    rig.declare(client, "mail", &[]);
    assert_eq!(rig.ack(client, lease), Err(Code::NotFound));
    assert_eq!(rig.taken(client, "mail"), [""; 0]);
}

#[test]
fn a_list_names_the_queues_of_a_kind_page_by_page_in_the_order_of_their_names() {
    let (mut rig, client) = rig();
    // Some sort before the broker's own, some behind.
    let plain = ["\"a\"", "#1", "%", "%a", "jobs", "mail", "~"];
    for name in plain {
        rig.declare(client, name, &[]);
    }
    for n in 0..3 {
        rig.named(client, &format!("s{n}"), &format!("orders.{n}"));
    }
    rig.unnamed(client, "orders.>");
    let theirs = ["$sub.s0", "$sub.s1", "$sub.s2", "$v1.11"];
    for (kind, expected) in [(QueueKind::Plain, &plain[..]), (QueueKind::Subscription, &theirs)] {
        for limit in 1..=8 {
            let (mut names, mut patterns, mut after) = (Vec::new(), Vec::new(), None);
            loop {
                let list = QueueRequest::List { kind, after, limit };
                let Answer::Queues { queues, next } = rig.queue(client, list) else { panic!() };
                assert!(queues.len() <= usize::from(limit));
                names.extend(queues.iter().map(|queue| queue.name.as_str().to_owned()));
                patterns.extend(queues.into_iter().filter_map(|queue| queue.pattern));
                after = next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(names, expected, "{kind:?}, {limit} a page");
            match kind {
                QueueKind::Plain => assert!(patterns.is_empty()),
                QueueKind::Subscription => {
                    assert_eq!(patterns, ["orders.0", "orders.1", "orders.2", "orders.>"]);
                }
            }
        }
        // A cursor that names a queue of the other kind, or one that is gone.
        for (at, after) in [(0, "!"), (2, "$sub.a"), (2, "$v1.99"), (3, "%"), (6, "z")] {
            let after = Some(queue(after));
            let list = QueueRequest::List { kind: QueueKind::Plain, after, limit: 1 };
            let Answer::Queues { queues, .. } = rig.queue(client, list) else { panic!() };
            assert_eq!(queues[0].name.as_str(), plain[at]);
        }
        let past = QueueRequest::List {
            kind: QueueKind::Subscription,
            after: Some(queue("jobs")),
            limit: 1,
        };
        assert_eq!(rig.queue(client, past), Answer::Queues { queues: vec![], next: None });
    }
}

#[test]
fn browsing_finds_by_state_group_key_and_age_page_by_page_and_changes_nothing() {
    let (mut rig, client) = rig();
    for n in 0..20u64 {
        let group = (n % 2 == 0).then(|| "even".into());
        let lane = Lane { group, keys: vec![format!("k{}", n % 5).into()], ..Lane::default() };
        let extras = Extras { lane, ..if n >= 15 { delay(ms(60_000)) } else { Extras::default() } };
        rig.put(client, "mail", &format!("{n}"), extras).unwrap();
        rig.pass(ms(10));
    }
    let held = rig.take(client, "mail", 3);
    assert_eq!(rig.nack(client, held[0].lease(), FAILED), Ok(false));
    let (written, counters) = (rig.tape.last(), rig.engine.stats());
    let seqs = |rig: &mut Rig, filter: Filter, limit: u16| {
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let (name, filter) = (queue("mail"), filter.clone());
            let request = QueueRequest::Browse { name, filter, after, limit };
            let Answer::Browsed { messages, next } = rig.queue(client, request) else { panic!() };
            assert!(messages.len() <= usize::from(limit));
            all.extend(messages.iter().map(|message| message.seq.0));
            after = next;
            if after.is_none() {
                return all;
            }
        }
    };
    let state = |state| Filter { state: Some(state), ..Filter::default() };
    let cases = [
        (Filter::default(), (0..20).collect::<Vec<_>>()),
        (state(State::Leased), vec![1, 2]),
        (state(State::Delayed), vec![0, 15, 16, 17, 18, 19]),
        (state(State::Dead), vec![]),
        (Filter { group: Some("even".into()), ..state(State::Ready) }, vec![4, 6, 8, 10, 12, 14]),
        (Filter { key: Some("k3".into()), ..Filter::default() }, vec![3, 8, 13, 18]),
        (Filter { age_min: Some(ms(180)), ..Filter::default() }, vec![0, 1, 2]),
    ];
    for (filter, expected) in cases {
        for limit in [1, 3, 1_000] {
            assert_eq!(seqs(&mut rig, filter.clone(), limit), expected, "{filter:?} by {limit}");
        }
    }
    assert_eq!((rig.tape.last(), rig.engine.stats()), (written, counters));
    let (name, filter) = (queue("mail"), Filter::default());
    let request = QueueRequest::Browse { name, filter, after: None, limit: 1 };
    let Answer::Browsed { messages, .. } = rig.queue(client, request) else { panic!() };
    let failed = &messages[0];
    assert_eq!(failed.seq, Seq(0));
    assert_eq!((failed.failures, failed.acquires), (1, 1));
    assert_eq!(failed.last_change.0, Transition::Failed);
}

#[test]
fn counters_and_gauges_add_up_over_restarts() {
    let (mut rig, client) = rig();
    for n in 0..6 {
        rig.put(client, "mail", &format!("{n}"), ttl(ms(100_000))).unwrap();
    }
    rig.pass(ms(500));
    let gots = rig.take(client, "mail", 3);
    assert_eq!(rig.ack(client, gots[0].lease()), Ok(false));
    rig.fail(client, gots[1].lease());
    rig.pass(ms(250));
    let stats = rig.stats(client, "mail");
    let counts = stats.counts;
    assert_eq!((counts.ready, counts.delayed, counts.leased, counts.dead), (3, 1, 1, 0));
    assert_eq!((stats.oldest_ready, stats.oldest_leased), (Some(ms(750)), Some(ms(250))));
    assert_eq!((stats.published, stats.acked), (6, 1));
    for with_image in [false, true] {
        rig.take_image();
        rig.restart(rig.tape.last(), with_image, true);
        let client = rig.open(peer(1));
        let again = rig.stats(client, "mail");
        let totals = (again.published, again.acked, again.expired, again.deleted, again.dropped);
        assert_eq!(totals, (6, 1, 0, 0, 0));
        assert_eq!((again.bytes, again.made_at), (stats.bytes, stats.made_at));
    }
}

#[test]
fn topics_reach_queues_by_subscription_only() {
    let (mut rig, client) = rig();
    let answer = rig.answer(client, publish("mail", sluice_model::Qos::AtLeastOnce, "a", None));
    let Answer::Published(published) = answer else { panic!("{answer:?}") };
    assert_eq!((published.matched, published.level), (0, None));
    assert_eq!(rig.taken(client, "mail"), [""; 0]);
}
