//! A survey sees every queue, and no part of it costs much.

use sluice_model::{Extras, QueueFigures, QueueKind, QueueName};

use crate::rig::{Rig, config, delay, ms, peer, put};

/// Messages that one part passes at most.
const STEPS_MAX: u64 = 512;
/// Queues of one part at most.
const QUEUES_MAX: usize = 64;

/// All queues of a kind, and how many parts that took.
fn survey(rig: &mut Rig, kind: QueueKind) -> (Vec<QueueFigures>, usize) {
    let (mut all, mut parts) = (Vec::<QueueFigures>::new(), 0);
    loop {
        let after: Option<QueueName> = all.last().map(|queue| queue.name.clone());
        let part = rig.engine.survey(rig.now, kind, after.as_ref());
        parts += 1;
        assert!(part.queues.len() <= QUEUES_MAX, "{}", part.queues.len());
        all.extend(part.queues);
        if !part.more {
            return (all, parts);
        }
    }
}

#[test]
fn a_survey_sees_every_queue_once_in_the_order_of_names() {
    let mut rig = Rig::new(config());
    let session = rig.open(peer(1));
    let mut names: Vec<String> = (0..600).map(|n| format!("q.{n:03}")).collect();
    // Before and behind the subscriptions, whose names begin with a dollar.
    names.extend(["!first".into(), "zzz".into()]);
    for name in &names {
        rig.declare(session, name, &[]);
    }
    rig.named(session, "audit", "orders.>");
    names.sort();
    let (plain, parts) = survey(&mut rig, QueueKind::Plain);
    let found: Vec<&str> = plain.iter().map(|queue| queue.name.as_str()).collect();
    assert_eq!(found, names);
    assert_eq!(parts, names.len().div_ceil(QUEUES_MAX));
    let (subscriptions, _) = survey(&mut rig, QueueKind::Subscription);
    assert_eq!(subscriptions.len(), 1);
    assert_eq!(subscriptions[0].name.as_str(), "$sub.audit");
}

#[test]
fn a_survey_tells_what_the_queue_itself_tells() {
    let mut rig = Rig::new(config());
    let session = rig.open(peer(1));
    rig.declare(session, "work", &[]);
    for payload in ["one", "three", "four"] {
        rig.ask(session, put("work", payload, Extras::default()));
    }
    rig.ask(session, put("work", "later", delay(ms(60_000))));
    rig.commit();
    rig.pass(ms(1_000));
    assert_eq!(rig.take(session, "work", 1).len(), 1);
    rig.pass(ms(500));
    let (found, _) = survey(&mut rig, QueueKind::Plain);
    let stats = rig.stats(session, "work");
    assert_eq!(found[0].messages, stats.counts);
    let bytes = found[0].bytes;
    assert_eq!(bytes.ready + bytes.delayed + bytes.leased, stats.bytes);
    assert!(bytes.ready > bytes.leased && bytes.leased > 0 && bytes.delayed > 0, "{bytes:?}");
    assert_eq!((found[0].oldest_ready, found[0].oldest_leased), (Some(ms(1_500)), Some(ms(500))));
    assert_eq!(stats.oldest_ready, found[0].oldest_ready);
}

#[test]
fn a_part_passes_few_messages_and_the_next_goes_on_behind_them() {
    let mut rig = Rig::new(config());
    let session = rig.open(peer(1));
    rig.declare(session, "a", &[]);
    rig.declare(session, "b", &[]);
    let delayed = 3 * STEPS_MAX;
    for _ in 0..delayed {
        rig.ask(session, put("b", "x", delay(ms(600_000))));
    }
    rig.ask(session, put("b", "ready", Extras::default()));
    rig.commit();
    rig.pass(ms(7));
    let (found, parts) = survey(&mut rig, QueueKind::Plain);
    assert_eq!(found.len(), 2);
    assert_eq!((found[1].messages.ready, found[1].messages.delayed), (1, delayed));
    assert_eq!(found[1].oldest_ready, Some(ms(7)));
    assert!(parts > 3, "{parts} parts");
    // What was passed once is never passed again.
    assert_eq!(survey(&mut rig, QueueKind::Plain).1, 1);
    rig.engine.check();
}
