//! Lanes: whose turn it is, who waits for what, and what an empty receive says.

use sluice_model::{
    Answer, Command, Explained, Explanation, Extras, Lane, LimitRequest, Outcome, Receive, Source,
    Throttled, Timestamp,
};

use crate::limits::{keyed, limit};
use crate::rig::{Rig, Said, config, ms, peer, queue};

pub(crate) fn of(group: &str, keys: &[&str], cost: u16) -> Extras {
    let group = (!group.is_empty()).then(|| Box::from(group));
    let keys = keys.iter().map(|key| Box::from(*key)).collect();
    Extras { lane: Lane { group, keys, cost, ..Lane::default() }, ..Extras::default() }
}

fn rig() -> (Rig, sluice_model::SessionId) {
    let mut rig = Rig::new(config());
    let client = rig.open(peer(1));
    rig.declare(client, "mail", &[]);
    (rig, client)
}

fn receive(wait: u64, max: u32) -> Command {
    let from = Source::Queue(queue("mail"));
    let wait = (wait > 0).then(|| ms(wait));
    Command::Receive(Receive { max, wait, ..Receive::one(from) })
}

#[test]
fn groups_take_turns_by_cost_and_weight_and_messages_without_one_are_one_of_them() {
    let (mut rig, client) = rig();
    for n in 0..4 {
        rig.put(client, "mail", &format!("a{n}"), of("a", &[], 1)).unwrap();
    }
    for n in 0..4 {
        rig.put(client, "mail", &format!("b{n}"), of("b", &["k"], 1)).unwrap();
        rig.put(client, "mail", &format!("-{n}"), Extras::default()).unwrap();
    }
    let taken = rig.taken(client, "mail");
    assert_eq!(taken[..6], ["a0", "b0", "-0", "a1", "b1", "-1"]);
    let (mut rig, client) = self::rig();
    let weigh = LimitRequest::Weigh { queue: queue("mail"), group: "a".into(), weight: 2 };
    rig.limit(client, weigh).unwrap();
    rig.restart(rig.tape.last(), false, true);
    let client = rig.open(peer(1));
    for n in 0..6 {
        rig.put(client, "mail", &format!("a{n}"), of("a", &[], 1)).unwrap();
        rig.put(client, "mail", &format!("b{n}"), of("b", &[], 1)).unwrap();
    }
    assert_eq!(rig.taken(client, "mail")[..6], ["a0", "a1", "b0", "a2", "a3", "b1"]);
}

#[test]
fn without_fairness_the_oldest_goes_first_whatever_its_group_and_keys() {
    let (mut rig, client) = rig();
    rig.declare(client, "mail", &[("fairness", "none")]);
    let (mut sent, groups, keys) = (Vec::new(), ["", "a", "b"], ["k", "l"]);
    for n in 0..12 {
        rig.put(client, "mail", &n.to_string(), of(groups[n % 3], &keys[..n % 2], 1)).unwrap();
        sent.push(n.to_string());
    }
    assert_eq!(rig.taken(client, "mail"), sent);
}

#[test]
fn a_key_at_its_limit_hides_no_other_message_and_a_freed_slot_wakes_its_next() {
    let (mut rig, client) = rig();
    rig.set(client, limit("s", "key", ">", "*", "concurrency 1"));
    for n in 0..3 {
        rig.put(client, "mail", &format!("hot{n}"), keyed(&["hot"])).unwrap();
    }
    rig.put(client, "mail", "cold", keyed(&["cold"])).unwrap();
    rig.put(client, "mail", "plain", Extras::default()).unwrap();
    let gots = rig.take(client, "mail", 10);
    let payloads: Vec<_> = gots.iter().map(|got| &*got.payload).collect();
    assert_eq!(payloads, ["hot0", "cold", "plain"]);
    let waiting = rig.open(peer(2));
    assert_eq!(rig.ask(waiting, receive(60_000, 10)), None);
    let reasons = rig.explain(client, "mail", Explained::Key("hot".into()));
    let by = |key: &str| sluice_model::LimitedBy { limit: "s".into(), key: key.into() };
    let full = Explanation::Concurrency { by: by("hot"), holders: 1, max: 1 };
    assert_eq!(reasons, [full]);
    rig.ack(client, gots[0].lease()).unwrap();
    rig.fire();
    assert_eq!(rig.gots(waiting).len(), 1, "the next one came with the ack");
}

#[test]
fn an_empty_receive_says_when_a_rate_lets_the_next_one_go_and_one_that_waits_gets_it_then() {
    let (mut rig, client) = rig();
    rig.set(client, limit("r", "key", "mail", "*", "2/s"));
    rig.put(client, "mail", "1", keyed(&["k"])).unwrap();
    rig.put(client, "mail", "2", keyed(&["k"])).unwrap();
    assert_eq!(rig.taken(client, "mail"), ["1"]);
    let next = Some(rig.now.after(ms(500)));
    assert_eq!(rig.answer(client, receive(0, 1)), Answer::Empty { next });
    assert_eq!(rig.ask(client, receive(60_000, 1)), None);
    assert_eq!(rig.engine.next_deadline(), next);
    rig.pass(ms(499));
    assert!(rig.gots(client).is_empty());
    rig.pass(ms(1));
    assert_eq!(rig.gots(client).len(), 1);
}

#[test]
fn messages_of_a_group_follow_each_other_from_delivery_to_ack_whatever_their_priority() {
    let (mut rig, client) = rig();
    rig.declare(client, "mail", &[("order", "group_fifo")]);
    for (payload, group, priority) in [("a1", "a", 1), ("a2", "a", 9), ("b1", "b", 5)] {
        let lane = Lane { group: Some(group.into()), priority, ..Lane::default() };
        rig.put(client, "mail", payload, Extras { lane, ..Extras::default() }).unwrap();
    }
    let lane = Lane { group: Some("a".into()), ..Lane::default() };
    let delayed = Extras { lane, delay: Some(ms(5_000)), ..Extras::default() };
    rig.put(client, "mail", "late", delayed).unwrap();
    let gots = rig.take(client, "mail", 10);
    let payloads: Vec<_> = gots.iter().map(|got| &*got.payload).collect();
    assert_eq!(payloads, ["b1", "a1"]);
    rig.ack(client, gots[0].lease()).unwrap();
    // A retry keeps its place and holds up the others, over a restart too.
    rig.fail(client, gots[1].lease());
    for with_image in [false, true] {
        if with_image {
            rig.take_image();
        }
        rig.restart(rig.tape.last(), with_image, true);
        let client = rig.open(peer(1));
        assert!(!rig.taken(client, "mail").contains(&"a2".to_owned()));
    }
    let client = rig.open(peer(1));
    rig.pass(ms(1_500));
    for expected in ["a1", "a2"] {
        let got = rig.take(client, "mail", 1).remove(0);
        assert_eq!(got.payload, expected);
        rig.ack(client, got.lease()).unwrap();
    }
    // A first delay held nobody up, and its message has its place from then on.
    rig.pass(ms(5_000));
    rig.put(client, "mail", "a3", of("a", &[], 1)).unwrap();
    assert_eq!(rig.take(client, "mail", 1)[0].payload, "late");
    let head = rig.explain(client, "mail", Explained::Group("a".into()));
    assert!(matches!(head[..], [Explanation::BehindHead { .. }, ..]), "{head:?}");
}

#[test]
fn a_delivery_under_a_window_waits_for_the_disk_and_its_start_counts_after_a_crash() {
    for (level, with_image) in [("sync", false), ("sync", true), ("memory", false)] {
        let (mut rig, client) = rig();
        rig.declare(client, "mail", &[("durability", level)]);
        rig.set(client, limit("w", "key", ">", "*", "window 2/10s"));
        for n in 0..4 {
            rig.put(client, "mail", &n.to_string(), keyed(&["k"])).unwrap();
        }
        rig.commits = false;
        let _ran = rig.run(client, receive(0, 10));
        let outs: Vec<_> = std::iter::from_fn(|| rig.told(client)).collect();
        assert_eq!(outs.len(), 2, "{level}");
        for out in &outs {
            assert!(matches!(out.said, Said::Got(_)) && out.need.synced == rig.tape.last());
        }
        rig.commits = true;
        rig.commit();
        if with_image {
            rig.take_image();
        }
        let at = rig.now;
        rig.restart(rig.tape.last(), with_image, true);
        let client = rig.open(peer(1));
        if level == "memory" {
            rig.put(client, "mail", "4", keyed(&["k"])).unwrap();
        }
        rig.pass(ms(4_000));
        let Answer::Empty { next } = rig.answer(client, receive(0, 1)) else { panic!("{level}") };
        let left = Timestamp::from_millis(at.as_millis() + 10_001);
        assert_eq!(next, Some(left), "{level}");
        rig.pass(left.since(rig.now));
        assert_eq!(rig.take(client, "mail", 1).len(), 1);
    }
}

#[test]
fn leases_count_after_a_restart_and_buckets_are_empty() {
    let (mut rig, client) = rig();
    rig.set(client, limit("c", "key", ">", "c*", "concurrency 2"));
    rig.set(client, limit("r", "key", ">", "r*", "1/s burst 5"));
    for n in 0..4 {
        rig.put(client, "mail", &format!("c{n}"), keyed(&["c1"])).unwrap();
    }
    assert_eq!(rig.taken(client, "mail"), ["c0", "c1"]);
    for n in 0..4 {
        rig.put(client, "mail", &format!("r{n}"), keyed(&["r1"])).unwrap();
    }
    for with_image in [false, true] {
        if with_image {
            rig.take_image();
        }
        rig.restart(rig.tape.last(), with_image, true);
        let client = rig.open(peer(1));
        assert!(rig.taken(client, "mail").is_empty(), "{with_image}");
    }
    let client = rig.open(peer(1));
    rig.pass(ms(1_000));
    assert_eq!(rig.taken(client, "mail"), ["r0"]);
}

#[test]
fn a_limit_that_is_new_counts_what_is_held_already_and_one_that_goes_lets_those_go_who_waited() {
    let (mut rig, client) = rig();
    for n in 0..4 {
        rig.put(client, "mail", &format!("k{n}"), keyed(&["k"])).unwrap();
        rig.put(client, "mail", &format!("-{n}"), Extras::default()).unwrap();
    }
    assert_eq!(rig.take(client, "mail", 4).len(), 4);
    rig.set(client, limit("c", "key", ">", "*", "concurrency 3"));
    rig.set(client, limit("q", "queue", "mail", "", "concurrency 6"));
    rig.fire_all();
    assert_eq!(rig.taken(client, "mail"), ["k2", "-2"], "two of the key and four in all were held");
    let waiting = rig.open(peer(2));
    assert_eq!(rig.ask(waiting, receive(60_000, 10)), None);
    let delete = |name: &str| LimitRequest::Delete { name: name.into(), matches: None };
    rig.limit(client, delete("c")).unwrap();
    rig.fire_all();
    assert!(rig.gots(waiting).is_empty());
    rig.limit(client, delete("q")).unwrap();
    rig.fire_all();
    let payloads: Vec<_> = rig.gots(waiting).into_iter().map(|got| got.payload).collect();
    assert_eq!(payloads, ["k3", "-3"]);
}

#[test]
fn a_throttled_key_is_paused_for_everybody_and_opens_gently() {
    let (mut rig, client) = rig();
    for n in 0..4 {
        rig.put(client, "mail", &n.to_string(), keyed(&["k"])).unwrap();
    }
    let gots = rig.take(client, "mail", 2);
    let throttled = Throttled { key: None, retry_after: Some(ms(3_000)) };
    rig.nack(client, gots[0].lease(), Outcome::Throttled(throttled)).unwrap();
    rig.ack(client, gots[1].lease()).unwrap();
    let waiting = rig.open(peer(2));
    assert_eq!(rig.ask(waiting, receive(60_000, 10)), None);
    rig.pass(ms(2_999));
    assert!(rig.gots(waiting).is_empty());
    rig.pass(ms(1));
    let one = rig.gots(waiting);
    assert_eq!(one.iter().map(|got| &*got.payload).collect::<Vec<_>>(), ["0"]);
    assert!(rig.taken(client, "mail").is_empty(), "one at a time until one is acked");
    rig.ack(waiting, one[0].lease()).unwrap();
    assert_eq!(rig.taken(client, "mail"), ["2", "3"]);
}

#[test]
fn one_who_polls_pays_for_no_lane_twice_however_many_wait_for_one_key() {
    let mut rig = Rig::new(sluice_engine::Config { deadlines_per_turn: 16, ..config() });
    let client = rig.open(peer(1));
    rig.declare(client, "mail", &[]);
    rig.set(client, limit("c", "key", ">", "api", "concurrency 1"));
    for n in 0..150 {
        rig.put(client, "mail", &n.to_string(), of(&format!("g{n}"), &["api"], 1)).unwrap();
    }
    let mut payloads = std::collections::BTreeSet::new();
    for _ in 0..150 {
        let _ran = rig.run(client, receive(0, 2));
        rig.fire_all();
        // The first look for a second one goes on for some turns.
        let told = std::iter::from_fn(|| rig.told(client)).map(|out| out.said);
        let gots: Vec<_> = told
            .filter_map(|said| match said {
                Said::Got(got) => Some(got),
                _ => None,
            })
            .collect();
        assert_eq!(gots.len(), 1, "one may be held");
        rig.ack(client, gots[0].lease()).unwrap();
        payloads.insert(gots[0].payload.clone());
    }
    assert_eq!((payloads.len(), rig.engine.queued()), (150, 0));
}
