//! Many messages at once: blocks handed in, blocks handed out, and leases settled together.

use sluice_engine::Ran;
use sluice_model::{
    Answer, Block, BlockBuilder, BlockDelivery, Code, Command, Confirm, Destination, Extras, Level,
    Outcome, PublishBlock, PublishedBlock, Qos, Receive, SessionId, SettleMany, Settlement, Source,
    SubscriptionId, Topic,
};

use crate::rig::{Rig, Said, config, ms, peer, queue, with};

fn block(payloads: &[&str]) -> Block {
    let mut builder = BlockBuilder::default();
    payloads.iter().for_each(|payload| builder.push(payload.as_bytes()));
    builder.finish()
}

fn publish_block(to: Destination, qos: Qos, payloads: &[&str], whole: bool) -> Command {
    let (messages, confirm, level) = (block(payloads), Confirm::Always, None);
    let block = PublishBlock { to, qos, level, messages, whole, confirm, each: false };
    Command::PublishBlock(Box::new(block))
}

fn to_queue(payloads: &[&str], whole: bool) -> Command {
    publish_block(Destination::Queue(queue("mail")), Qos::AtLeastOnce, payloads, whole)
}

fn to_topic(qos: Qos, payloads: &[&str]) -> Command {
    publish_block(Destination::Topic(Topic::new("t").unwrap()), qos, payloads, false)
}

fn wait_for_many(from: SubscriptionId, max: u32) -> Command {
    let from = Source::Subscription(from);
    Command::Receive(Receive { max, wait: Some(ms(5_000)), gaps: true, ..Receive::one(from) })
}

/// What a session is told by blocks, and how many messages it was told it lost.
fn told_blocks(rig: &mut Rig, session: SessionId) -> (Vec<String>, u64) {
    let (mut payloads, mut gaps) = (Vec::new(), 0);
    while let Some(out) = rig.told(session) {
        match out.said {
            Said::Answer(Answer::DeliveredBlock(block)) => {
                let BlockDelivery { topic, messages, .. } = *block;
                assert_eq!(&topic[..], b"t");
                let text = |payload: &[u8]| String::from_utf8(payload.to_vec()).unwrap();
                payloads.extend(messages.payloads().map(text));
            }
            Said::Answer(Answer::Lost { messages }) => gaps += messages,
            Said::Got(got) => payloads.push(got.payload),
            said => panic!("{said:?}"),
        }
    }
    (payloads, gaps)
}

fn run(rig: &mut Rig, session: SessionId, command: Command) {
    assert_eq!(rig.run(session, command), Ran::Done);
}

fn rig_with(chosen: &[(&str, &str)]) -> (Rig, SessionId) {
    let mut rig = Rig::new(config());
    let client = rig.open(peer(1));
    rig.declare(client, "mail", chosen);
    (rig, client)
}

#[test]
fn a_block_becomes_messages_in_its_order_with_identities_in_a_row() {
    let (mut rig, client) = rig_with(&[]);
    let answer = rig.answer(client, to_queue(&["a", "b", "c"], false));
    let Answer::PublishedBlock(PublishedBlock { first, count, matched, level, each: false }) =
        answer
    else {
        panic!("{answer:?}")
    };
    assert_eq!((count, matched, level), (3, 1, Some(Level::Sync)));
    let got = rig.take(client, "mail", 3);
    assert_eq!(got.iter().map(|got| &*got.payload).collect::<Vec<_>>(), ["a", "b", "c"]);
    let last = sluice_model::MessageId { counter: first.counter + 2, ..first };
    assert_eq!(rig.look(client, "mail", last).acquires, 1);
}

#[test]
fn a_block_is_confirmed_and_seen_only_when_all_of_it_is_safe() {
    let (mut rig, client) = rig_with(&[]);
    rig.drains = false;
    let before = rig.tape.last();
    let out = rig.ask(client, to_queue(&["a", "b", "c"], false)).unwrap();
    assert_eq!((out.need.written, out.need.synced), (before + 3, before + 3));
}

#[test]
fn a_whole_block_is_refused_whole_and_another_is_taken_as_far_as_there_is_room() {
    let (mut rig, client) = rig_with(&[("max_messages", "2")]);
    let answer = rig.answer(client, to_queue(&["a", "b", "c"], true));
    assert!(matches!(answer, Answer::Refused(ref refusal) if refusal.code == Code::QueueFull));
    let answer = rig.answer(client, to_queue(&["a", "b", "c"], false));
    let Answer::PublishedEach(all) = answer else { panic!("{answer:?}") };
    assert!(all[0].is_ok() && all[1].is_ok());
    assert_eq!(all[2].as_ref().unwrap_err().code, Code::QueueFull);
    assert_eq!(rig.taken(client, "mail"), ["a", "b"]);
}

#[test]
fn a_message_that_is_too_long_takes_no_other_with_it() {
    let (mut rig, client) = rig_with(&[("max_message_bytes", "3")]);
    let answer = rig.answer(client, to_queue(&["a", "long", "c"], false));
    let Answer::PublishedEach(all) = answer else { panic!("{answer:?}") };
    let codes: Vec<_> = all.iter().map(|one| one.as_ref().err().map(|why| why.code)).collect();
    assert_eq!(codes, [None, Some(Code::TooLarge), None]);
    let answer = rig.answer(client, to_queue(&["long"], false));
    assert!(matches!(answer, Answer::Refused(ref refusal) if refusal.code == Code::TooLarge));
    assert_eq!(rig.taken(client, "mail"), ["a", "c"]);
}

#[test]
fn a_whole_block_survives_whole_or_not_at_all() {
    let (mut rig, client) = rig_with(&[]);
    let before = rig.tape.last();
    rig.answer(client, to_queue(&["a", "b", "c"], true));
    assert_eq!(rig.tape.batches.last(), Some(&(before, before + 3)));
    rig.answer(client, to_queue(&["d", "e"], false));
    assert_eq!(rig.tape.batches.len(), 1, "one that may be parted asks for nothing of the kind");
}

#[test]
fn a_block_into_a_queue_that_drops_pushes_out_older_messages_and_none_of_its_own() {
    let (mut rig, client) = rig_with(&[("max_messages", "3"), ("overflow", "drop_oldest")]);
    rig.answer(client, to_queue(&["a", "b", "c"], false));
    rig.answer(client, to_queue(&["d", "e"], false));
    assert_eq!(rig.taken(client, "mail"), ["c", "d", "e"]);
}

#[test]
fn a_block_at_most_once_reaches_those_who_listen_whole_and_in_memory_alone() {
    let mut rig = Rig::new(config());
    let client = rig.open(peer(1));
    let (one, two) = (rig.open(peer(2)), rig.open(peer(3)));
    let (first, second) = (rig.ephemeral(one, "t"), rig.ephemeral(two, "*"));
    let before = rig.tape.last();
    assert_eq!(rig.ask(one, wait_for_many(first, 100)), None);
    rig.answer(client, to_topic(Qos::AtMostOnce, &["a", "b", "c"]));
    rig.fire();
    assert_eq!(told_blocks(&mut rig, one), (vec!["a".into(), "b".into(), "c".into()], 0));
    assert_eq!(rig.tape.last(), before);
    // Whoever takes single messages gets them one by one.
    assert_eq!(rig.next(two, second), "a");
    assert_eq!(rig.run(two, wait_for_many(second, 100)), Ran::Done);
    assert_eq!(told_blocks(&mut rig, two), (vec!["b".into(), "c".into()], 0));
}

#[test]
fn a_block_at_least_once_is_seen_at_most_once_when_it_is_safe() {
    let (mut rig, client) = rig_with(&[]);
    let (listener, durable) = (rig.open(peer(2)), rig.open(peer(3)));
    let light = rig.ephemeral(listener, "t");
    rig.named(durable, "kept", "t");
    rig.commits = false;
    assert_eq!(rig.ask(listener, wait_for_many(light, 100)), None);
    run(&mut rig, client, to_topic(Qos::AtLeastOnce, &["a", "b"]));
    rig.fire();
    assert_eq!(rig.told(listener), None, "not before it is safe");
    rig.commit();
    rig.fire();
    assert_eq!(told_blocks(&mut rig, listener), (vec!["a".into(), "b".into()], 0));
}

#[test]
fn one_at_most_once_who_is_slow_is_told_how_many_it_lost() {
    let mut tight = with(|_| ());
    tight.subscriber_buffer_bytes = 200;
    let mut rig = Rig::new(tight);
    let (client, slow) = (rig.open(peer(1)), rig.open(peer(2)));
    let from = rig.ephemeral(slow, "t");
    let long = "x".repeat(90);
    for _ in 0..3 {
        rig.answer(client, to_topic(Qos::AtMostOnce, &[&long]));
    }
    run(&mut rig, slow, wait_for_many(from, 100));
    let (payloads, gaps) = told_blocks(&mut rig, slow);
    assert_eq!((payloads.len(), gaps), (1, 2));
    // Nothing is told twice.
    rig.answer(client, to_topic(Qos::AtMostOnce, &["a"]));
    run(&mut rig, slow, wait_for_many(from, 100));
    assert_eq!(told_blocks(&mut rig, slow), (vec!["a".into()], 0));
}

#[test]
fn one_who_takes_single_messages_is_told_too_if_it_can_be() {
    let mut tight = with(|_| ());
    tight.subscriber_buffer_bytes = 200;
    let mut rig = Rig::new(tight);
    let (client, slow) = (rig.open(peer(1)), rig.open(peer(2)));
    let from = rig.ephemeral(slow, "t");
    let long = "x".repeat(90);
    let overrun = |rig: &mut Rig| {
        for _ in 0..3 {
            rig.answer(client, to_topic(Qos::AtMostOnce, &[&long]));
        }
    };
    overrun(&mut rig);
    let deaf = Command::Receive(Receive::one(Source::Subscription(from)));
    run(&mut rig, slow, deaf);
    assert_eq!(told_blocks(&mut rig, slow), (vec![long.clone()], 0), "it can't be told");
    overrun(&mut rig);
    run(&mut rig, slow, wait_for_many(from, 1));
    assert_eq!(told_blocks(&mut rig, slow), (vec![long.clone()], 4), "nor is it forgotten");
    // One that waits hears of it likewise, and of its one message.
    run(&mut rig, slow, wait_for_many(from, 1));
    rig.answer(client, to_topic(Qos::AtMostOnce, &[&long, &long, &long]));
    rig.fire();
    assert_eq!(told_blocks(&mut rig, slow), (vec![long], 2));
}

#[test]
fn answers_about_each_message_count_for_what_they_will_be() {
    const OUT_MAX: usize = 20_000;
    /// Bytes that RECEIPT has for a message that was taken.
    const RECEIPT: usize = 18;
    let taken = |chosen: &[(&str, &str)]| {
        let mut config = config();
        config.session_out_max = OUT_MAX;
        let mut rig = Rig::new(config);
        let client = rig.open(peer(1));
        rig.declare(client, "mail", chosen);
        rig.drains = false;
        rig.engine.written(client, usize::MAX);
        let Command::PublishBlock(mut block) = to_queue(&["x"; 50], false) else { panic!() };
        block.each = true;
        let mut answers = Vec::new();
        while answers.len() < OUT_MAX {
            match rig.run(client, Command::PublishBlock(block.clone())) {
                Ran::Done => answers.push(rig.told(client).unwrap()),
                _ => break,
            }
        }
        answers
    };
    let receipts = taken(&[]);
    assert!(receipts.len() > 1);
    assert!(receipts.len() * 50 * RECEIPT <= OUT_MAX, "{} answers", receipts.len());
    let refused = taken(&[("max_messages", "1")]);
    let weight: usize = refused.iter().map(|out| out.weight).sum();
    assert!(refused.len() > 1 && weight <= OUT_MAX, "{} answers, {weight}", refused.len());
    let Said::Answer(Answer::PublishedEach(all)) = &refused[1].said else { panic!("{refused:?}") };
    let texts: usize =
        all.iter().filter_map(|one| one.as_ref().err()).map(|no| no.message.len()).sum();
    assert!(refused[1].weight >= texts + all.len() * RECEIPT);
}

#[test]
fn one_who_hears_of_refusals_alone_hears_one() {
    let mut config = config();
    config.queue.max_message_bytes = 4;
    let mut rig = Rig::new(config);
    let client = rig.open(peer(1));
    rig.ephemeral(client, "t");
    let block = to_topic(Qos::AtMostOnce, &["a", "too long", "b", "too long"]);
    let Command::PublishBlock(mut block) = block else { panic!() };
    block.confirm = Confirm::Refusal;
    let answer = rig.answer(client, Command::PublishBlock(block));
    let Answer::PublishedEach(all) = answer else { panic!("{answer:?}") };
    let [Err(refusal)] = &all[..] else { panic!("{all:?}") };
    assert_eq!(refusal.code, Code::TooLarge);
}

#[test]
fn a_wait_for_messages_at_most_once_ends_in_time_with_its_session_and_with_its_subscription() {
    let mut rig = Rig::new(config());
    let client = rig.open(peer(1));
    let from = rig.ephemeral(client, "t");
    assert_eq!(rig.ask(client, wait_for_many(from, 10)), None);
    rig.pass(ms(4_999));
    assert_eq!(rig.told(client), None);
    rig.pass(ms(1));
    assert_eq!(rig.told(client).unwrap().said, Said::Answer(Answer::Empty { next: None }));
    assert_eq!(rig.ask(client, wait_for_many(from, 10)), None);
    run(&mut rig, client, Command::Unsubscribe { subscription: from });
    assert_eq!(rig.told(client).unwrap().said, Said::Answer(Answer::Empty { next: None }));
    assert_eq!(rig.told(client).unwrap().said, Said::Answer(Answer::Unsubscribed));
    let from = rig.ephemeral(client, "t");
    assert_eq!(rig.ask(client, wait_for_many(from, 10)), None);
    rig.close(client, sluice_engine::EndedBy::Client, &[]);
    rig.pass(ms(10_000));
    rig.engine.check();
}

#[test]
fn what_does_not_fit_a_session_that_takes_little_comes_when_it_has_taken_more() {
    let mut tight = config();
    tight.session_out_max = 1_000;
    let mut rig = Rig::new(tight);
    rig.drains = false;
    let (client, slow) = (rig.open(peer(1)), rig.open(peer(2)));
    let from = rig.ephemeral(slow, "t");
    rig.engine.written(slow, 10_000);
    let long = "x".repeat(300);
    rig.answer(client, to_topic(Qos::AtMostOnce, &[&long, &long, &long, &long, &long]));
    run(&mut rig, slow, wait_for_many(from, 100));
    let first = told_blocks(&mut rig, slow).0.len();
    assert!((1..4).contains(&first), "{first} of 5 messages of 300 bytes in 1000");
    let mut all = first;
    while all < 5 {
        assert_eq!(rig.run(slow, wait_for_many(from, 100)), Ran::NoRoom);
        rig.engine.written(slow, 10_000);
        run(&mut rig, slow, wait_for_many(from, 100));
        let more = told_blocks(&mut rig, slow).0.len();
        assert!(more > 0);
        all += more;
    }
    assert_eq!(all, 5);
}

#[test]
fn a_wait_steps_aside_while_its_session_has_no_room_and_is_served_when_it_has() {
    let mut tight = config();
    tight.session_out_max = 1_000;
    let mut rig = Rig::new(tight);
    rig.drains = false;
    let (client, slow) = (rig.open(peer(1)), rig.open(peer(2)));
    let (first, second) = (rig.ephemeral(slow, "t"), rig.ephemeral(slow, "t"));
    rig.engine.written(slow, 10_000);
    run(&mut rig, slow, wait_for_many(first, 100));
    run(&mut rig, slow, wait_for_many(second, 100));
    rig.answer(client, to_topic(Qos::AtMostOnce, &[&"x".repeat(700)]));
    rig.fire();
    assert_eq!(told_blocks(&mut rig, slow).0.len(), 1, "there is room for one of the two copies");
    rig.engine.written(slow, 10_000);
    rig.fire();
    assert_eq!(told_blocks(&mut rig, slow).0.len(), 1);
}

#[test]
fn leases_are_settled_together_each_by_itself() {
    let (mut rig, client) = rig_with(&[]);
    for payload in ["a", "b", "c"] {
        rig.put(client, "mail", payload, Extras::default()).unwrap();
    }
    let leases: Vec<_> = rig.take(client, "mail", 3).iter().map(|got| got.lease()).collect();
    let many = |leases: Vec<_>, how, confirm| {
        Command::SettleMany(Box::new(SettleMany { leases, how, confirm }))
    };
    let extend = Settlement::Extend(ms(90_000));
    let answer = rig.answer(client, many(leases.clone(), extend, Confirm::Always));
    let deadline = Some(rig.now.after(ms(90_000)));
    assert_eq!(answer, Answer::SettledMany { refused: vec![], deadline });
    let released = Settlement::Nack(Outcome::Released { delay: None });
    let answer = rig.answer(client, many(vec![leases[2]], released, Confirm::Always));
    assert_eq!(answer, Answer::SettledMany { refused: vec![], deadline: None });
    let [again] = &rig.take(client, "mail", 3)[..] else { panic!("only c is back") };
    let again = again.lease();
    // Silence is consent, and a refusal is told whether it was asked for or not.
    let ack = many(vec![leases[0]], Settlement::Ack, Confirm::Refusal);
    assert_eq!(rig.ask(client, ack), None);
    let ack = many(leases, Settlement::Ack, Confirm::Refusal);
    let Answer::SettledMany { refused, .. } = rig.answer(client, ack) else { panic!() };
    let [(2, refusal)] = &refused[..] else { panic!("{refused:?}") };
    assert_eq!(refusal.code, Code::LeaseLost);
    assert_eq!(rig.ack(client, again), Ok(false));
    let stats = rig.stats(client, "mail");
    assert_eq!((stats.acked, stats.counts.ready, stats.counts.leased), (3, 0, 0));
}
