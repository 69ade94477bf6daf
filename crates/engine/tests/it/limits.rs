//! Limits and pauses as they are set, listed and kept.

use sluice_model::{
    Answer, Code, Command, Explained, Explanation, Extras, KeyPattern, Lane, Limit, LimitAnswer,
    LimitMatch, LimitRequest, Outcome, Pausable, Paused, QueuePattern, Receive, SessionId, Source,
    State, Throttled, Timestamp,
};

use super::rig::{Rig, Said, config, ms, peer, queue};

/// A limit like `("stripe", "key", "pay.>", "stripe:*", "5/s")`; the key `""` is none.
pub(crate) fn limit(name: &str, scope: &str, of: &str, key: &str, terms: &str) -> Limit {
    let key = (!key.is_empty()).then(|| KeyPattern::new(key).unwrap());
    let matches = LimitMatch { queue: QueuePattern::new(of).unwrap(), key };
    Limit::new(name, scope.parse().unwrap(), matches, terms.parse().unwrap()).unwrap()
}

/// What a message has that carries these keys.
pub(crate) fn keyed(keys: &[&str]) -> Extras {
    let keys = keys.iter().map(|key| Box::from(*key)).collect();
    Extras { lane: Lane { keys, ..Lane::default() }, ..Extras::default() }
}

impl Rig {
    pub(crate) fn limit(
        &mut self,
        session: SessionId,
        request: LimitRequest,
    ) -> Result<LimitAnswer, Code> {
        match self.answer(session, Command::Limit(Box::new(request))) {
            Answer::Limit(answer) => Ok(*answer),
            Answer::Refused(refusal) => Err(refusal.code),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn set(&mut self, session: SessionId, limit: Limit) {
        let answer = self.limit(session, LimitRequest::Put(Box::new(limit)));
        assert!(matches!(answer, Ok(LimitAnswer::Put { .. })), "{answer:?}");
    }

    pub(crate) fn limits(&mut self, session: SessionId) -> Vec<Limit> {
        let list = LimitRequest::List { name: None, after: None, limit: 1_000 };
        match self.limit(session, list) {
            Ok(LimitAnswer::List { limits, more: false }) => limits,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn explain(
        &mut self,
        session: SessionId,
        of: &str,
        what: Explained,
    ) -> Vec<Explanation> {
        match self.limit(session, LimitRequest::Explain { queue: queue(of), what }) {
            Ok(LimitAnswer::Explained { reasons, .. }) => reasons,
            other => panic!("{other:?}"),
        }
    }

    fn pause(&mut self, session: SessionId, what: Pausable, millis: Option<u64>) -> Paused {
        let reason = Some("deploy".into());
        let pause = LimitRequest::Pause { what, period: millis.map(ms), reason };
        match self.limit(session, pause) {
            Ok(LimitAnswer::Paused(paused)) => paused,
            other => panic!("{other:?}"),
        }
    }

    fn resume(&mut self, session: SessionId, what: Pausable) -> bool {
        match self.limit(session, LimitRequest::Resume { what }) {
            Ok(LimitAnswer::Resumed(was_paused)) => was_paused,
            other => panic!("{other:?}"),
        }
    }
}

fn reasons(rig: &mut Rig, session: SessionId, what: Explained) -> Vec<&'static str> {
    rig.explain(session, "mail", what).iter().map(Explanation::name).collect()
}

#[test]
fn limits_are_set_listed_and_deleted_and_survive_a_restart_with_and_without_an_image() {
    let mut rig = Rig::new(config());
    let ops = rig.open(peer(1));
    let all = [
        limit("all", "global", ">", "", "1000/s"),
        limit("stripe", "key", "pay", "stripe:*", "concurrency 4"),
        limit("stripe", "key", "pay.>", "stripe:*", "5/s burst 10 window 100/1m"),
    ];
    for limit in all.iter().rev() {
        rig.set(ops, limit.clone());
    }
    let tie = limit("stripe", "key", "*.>", "stripe:*", "1/s");
    rig.set(ops, tie);
    let tied = limit("stripe", "key", ">", "stripe:*", "1/s");
    assert_eq!(rig.limit(ops, LimitRequest::Put(Box::new(tied))), Err(Code::Invalid));
    let other = limit("stripe", "queue", "pay", "", "1/s");
    assert_eq!(rig.limit(ops, LimitRequest::Put(Box::new(other))), Err(Code::Invalid));
    let matches = Some(LimitMatch {
        queue: QueuePattern::new("*.>").unwrap(),
        key: KeyPattern::new("stripe:*").ok(),
    });
    let delete = LimitRequest::Delete { name: "stripe".into(), matches };
    assert_eq!(rig.limit(ops, delete.clone()), Ok(LimitAnswer::Deleted(1)));
    assert_eq!(rig.limit(ops, delete), Ok(LimitAnswer::Deleted(0)));
    assert_eq!(rig.limits(ops), all);
    for with_image in [false, true] {
        if with_image {
            rig.take_image();
        }
        rig.restart(rig.tape.last(), with_image, true);
        let ops = rig.open(peer(1));
        assert_eq!(rig.limits(ops), all);
    }
    let ops = rig.open(peer(1));
    let after = Some((Box::from("stripe"), all[1].matches().clone()));
    for (after, there, more) in [(None, &all[1], true), (after, &all[2], false)] {
        let page = LimitRequest::List { name: Some("stripe".into()), after, limit: 1 };
        let expected = LimitAnswer::List { limits: vec![there.clone()], more };
        assert_eq!(rig.limit(ops, page), Ok(expected));
    }
    let delete = LimitRequest::Delete { name: "stripe".into(), matches: None };
    assert_eq!(rig.limit(ops, delete), Ok(LimitAnswer::Deleted(2)));
    assert_eq!(rig.limits(ops), all[..1]);
}

#[test]
fn a_paused_queue_gives_out_nothing_until_its_time_or_until_it_is_resumed() {
    let mut rig = Rig::new(config());
    let ops = rig.open(peer(1));
    rig.declare(ops, "mail", &[]);
    rig.put(ops, "mail", "1", Extras::default()).unwrap();
    let mail = || Pausable::Queue(queue("mail"));
    let paused = rig.pause(ops, mail(), Some(5_000));
    assert_eq!(paused.until, Some(rig.now.after(ms(5_000))));
    assert!(rig.taken(ops, "mail").is_empty());
    assert_eq!(reasons(&mut rig, ops, Explained::Queue), ["paused", "no_consumer"]);
    for with_image in [false, true] {
        if with_image {
            rig.take_image();
        }
        rig.restart(rig.tape.last(), with_image, true);
        let ops = rig.open(peer(1));
        assert!(rig.taken(ops, "mail").is_empty());
    }
    let ops = rig.open(peer(1));
    rig.pass(ms(5_000));
    assert_eq!(rig.taken(ops, "mail"), ["1"]);
    rig.put(ops, "mail", "2", Extras::default()).unwrap();
    assert_eq!(rig.pause(ops, mail(), None).until, None);
    rig.pass(ms(3_600_000));
    assert!(!rig.taken(ops, "mail").contains(&"2".to_owned()));
    assert!(rig.resume(ops, mail()) && !rig.resume(ops, mail()));
    assert!(rig.taken(ops, "mail").contains(&"2".to_owned()));
}

#[test]
fn a_pause_of_a_key_survives_images_after_a_restart_that_gave_limits_other_numbers() {
    let mut rig = Rig::new(config());
    let ops = rig.open(peer(1));
    rig.declare(ops, "mail", &[]);
    rig.put(ops, "mail", "1", keyed(&["stripe"])).unwrap();
    rig.set(ops, limit("gone", "key", ">", "*", "concurrency 9"));
    rig.set(ops, limit("stays", "key", ">", "*", "concurrency 9"));
    let delete = LimitRequest::Delete { name: "gone".into(), matches: None };
    assert_eq!(rig.limit(ops, delete), Ok(LimitAnswer::Deleted(1)));
    rig.pause(ops, Pausable::Key { queue: queue("mail"), key: "stripe".into() }, None);
    for image in 1..=3 {
        rig.take_image();
        rig.restart(rig.tape.last(), true, true);
        let ops = rig.open(peer(1));
        let key = Explained::Key("stripe".into());
        assert!(reasons(&mut rig, ops, key).contains(&"paused"), "image {image}");
        assert!(rig.taken(ops, "mail").is_empty(), "image {image}");
    }
}

#[test]
fn a_receive_that_waits_is_answered_when_the_pause_of_its_queue_ends() {
    let mut rig = Rig::new(config());
    let ops = rig.open(peer(1));
    rig.declare(ops, "mail", &[]);
    rig.put(ops, "mail", "1", Extras::default()).unwrap();
    for by_hand in [true, false] {
        rig.pause(ops, Pausable::Queue(queue("mail")), (!by_hand).then_some(2_000));
        let wait = Some(ms(60_000));
        let from = sluice_model::Source::Queue(queue("mail"));
        let receive = sluice_model::Receive { wait, ..sluice_model::Receive::one(from) };
        assert_eq!(rig.ask(ops, Command::Receive(receive)), None);
        match by_hand {
            true => assert!(rig.resume(ops, Pausable::Queue(queue("mail")))),
            false => rig.pass(ms(2_000)),
        }
        rig.fire();
        let gots = rig.gots(ops);
        assert_eq!(gots.len(), 1, "{by_hand}");
        rig.release(ops, gots[0].lease());
    }
}

#[test]
fn t14_a_throttled_message_pauses_its_key_and_counts_nothing() {
    let mut rig = Rig::new(config());
    let ops = rig.open(peer(1));
    rig.declare(ops, "mail", &[]);
    let id = rig.put(ops, "mail", "1", keyed(&["stripe", "eu"])).unwrap().id;
    let got = rig.take(ops, "mail", 1).remove(0);
    let throttled = |key: Option<&str>, millis: Option<u64>| {
        let (key, retry_after) = (key.map(Box::from), millis.map(ms));
        Outcome::Throttled(Throttled { key, retry_after })
    };
    assert_eq!(rig.nack(ops, got.lease(), throttled(None, Some(4_000))), Ok(false));
    let info = rig.look(ops, "mail", id);
    assert_eq!((info.state, info.failures, info.releases), (State::Ready, 0, 0));
    let until = Some(rig.now.after(ms(4_000)));
    let pause = |key: &str, until: Option<Timestamp>| {
        let paused = Paused { until, by: None, reason: None };
        Explanation::Paused { key: Some(key.into()), pause: paused }
    };
    assert_eq!(rig.explain(ops, "mail", Explained::Message(id))[0], pause("stripe", until));
    for with_image in [false, true] {
        if with_image {
            rig.take_image();
        }
        rig.restart(rig.tape.last(), with_image, true);
        let ops = rig.open(peer(1));
        let key = Explained::Key("eu".into());
        assert_eq!(rig.explain(ops, "mail", key)[0], pause("stripe", until));
    }
    let ops = rig.open(peer(1));
    let what = || Pausable::Key { queue: queue("mail"), key: "stripe".into() };
    assert!(rig.resume(ops, what()) && !rig.resume(ops, what()));
    let key = Explained::Key("stripe".into());
    assert_eq!(reasons(&mut rig, ops, key), ["no_consumer"]);
}

#[test]
fn t14_a_throttled_message_without_keys_is_delayed_by_a_second_at_least() {
    let mut rig = Rig::new(config());
    let ops = rig.open(peer(1));
    rig.declare(ops, "mail", &[]);
    let id = rig.put(ops, "mail", "1", Extras::default()).unwrap().id;
    for (retry_after, expected) in [(None, 1_000), (Some(100), 1_000), (Some(7_000), 7_000)] {
        let got = rig.take(ops, "mail", 1).remove(0);
        let throttled = Throttled { key: None, retry_after: retry_after.map(ms) };
        assert_eq!(rig.nack(ops, got.lease(), Outcome::Throttled(throttled)), Ok(false));
        let info = rig.look(ops, "mail", id);
        assert_eq!((info.failures, info.releases), (0, 0));
        assert_eq!(info.ready_at, Some(rig.now.after(ms(expected))));
        rig.pass(ms(expected));
    }
}

/// A rig of which a turn looks at one thing.
fn rig_of_small_turns() -> Rig {
    Rig::new(sluice_engine::Config { deadlines_per_turn: 1, ..config() })
}

/// Receives a message of a queue; its payload, if there is one.
fn lease(rig: &mut Rig, session: SessionId, of: &str) -> Option<String> {
    let from = Source::Queue(queue(of));
    match rig.ask(session, Command::Receive(Receive::one(from))).map(|out| out.said) {
        Some(Said::Got(got)) => Some(got.payload),
        _ => None,
    }
}

/// Has a message with a key be held.
fn hold(rig: &mut Rig, session: SessionId, of: &str, key: &str) {
    rig.put(session, of, key, keyed(&[key])).unwrap();
    assert_eq!(lease(rig, session, of).as_deref(), Some(key));
}

#[test]
fn a_limit_that_comes_reaches_every_lane_though_a_turn_looks_at_one_thing() {
    let mut rig = rig_of_small_turns();
    let ops = rig.open(peer(1));
    rig.declare(ops, "mail", &[]);
    ["a", "b", "c"].into_iter().for_each(|key| hold(&mut rig, ops, "mail", key));
    rig.set(ops, limit("all", "key", ">", "*", "concurrency 1"));
    (0..20).for_each(|_| rig.fire());
    assert!(rig.engine.next_deadline().is_some_and(|at| at > rig.now));
    hold(&mut rig, ops, "mail", "d");
}

#[test]
fn a_limit_that_comes_while_another_one_goes_counts_what_is_held() {
    let mut rig = rig_of_small_turns();
    let ops = rig.open(peer(1));
    ["first", "mail"].into_iter().for_each(|name| rig.declare(ops, name, &[]));
    let old = limit("old", "key", "mail", "*", "concurrency 1");
    rig.set(ops, old.clone());
    rig.fire_all();
    hold(&mut rig, ops, "mail", "k");
    (0..10).for_each(|n| hold(&mut rig, ops, "first", &n.to_string()));
    let delete = LimitRequest::Delete { name: "old".into(), matches: Some(old.matches().clone()) };
    assert_eq!(rig.limit(ops, delete), Ok(LimitAnswer::Deleted(1)));
    // Its key is forgotten before the lane that asked it is looked at.
    (0..3).for_each(|_| rig.fire());
    rig.set(ops, limit("new", "key", "mail", "*", "concurrency 1"));
    rig.fire_all();
    rig.put(ops, "mail", "next", keyed(&["k"])).unwrap();
    assert_eq!(lease(&mut rig, ops, "mail"), None);
}

#[test]
fn who_finds_nothing_is_told_the_time_of_the_first_that_may_go_not_of_the_first_that_waits() {
    let mut rig = Rig::new(config());
    let ops = rig.open(peer(1));
    rig.declare(ops, "mail", &[]);
    rig.set(ops, limit("fast", "key", ">", "a", "1/s"));
    rig.set(ops, limit("slow", "key", ">", "b", "1/10s"));
    rig.put(ops, "mail", "taken", keyed(&["a", "b"])).unwrap();
    assert_eq!(lease(&mut rig, ops, "mail").as_deref(), Some("taken"));
    rig.put(ops, "mail", "both", keyed(&["a", "b"])).unwrap();
    rig.put(ops, "mail", "one", keyed(&["a"])).unwrap();
    assert_eq!(lease(&mut rig, ops, "mail"), None);
    // One that goes before them takes what they have waited for.
    rig.now = rig.now.after(ms(1_000));
    let mut extras = keyed(&["a"]);
    extras.lane.priority = 9;
    rig.put(ops, "mail", "high", extras).unwrap();
    assert_eq!(lease(&mut rig, ops, "mail").as_deref(), Some("high"));
    let receive = Command::Receive(Receive::one(Source::Queue(queue("mail"))));
    let next = Some(rig.now.after(ms(1_000)));
    assert_eq!(rig.answer(ops, receive), Answer::Empty { next });
}

#[test]
fn what_is_no_limit_pause_or_weight_is_refused() {
    let mut rig = Rig::new(sluice_engine::Config { limits_max: 1, ..config() });
    let ops = rig.open(peer(1));
    rig.declare(ops, "mail", &[]);
    rig.set(ops, limit("a", "queue", ">", "", "1/s"));
    let second = limit("b", "queue", ">", "", "1/s");
    assert_eq!(rig.limit(ops, LimitRequest::Put(Box::new(second))), Err(Code::Overloaded));
    let weigh = |group: &str, weight| LimitRequest::Weigh {
        queue: queue("mail"),
        group: group.into(),
        weight,
    };
    assert_eq!(rig.limit(ops, weigh("g", 0)), Err(Code::Invalid));
    assert_eq!(rig.limit(ops, weigh("", 2)), Err(Code::Invalid));
    assert_eq!(rig.limit(ops, weigh("g", 3)), Ok(LimitAnswer::Weighed));
    let what = Pausable::Queue(queue("none"));
    let pause = LimitRequest::Pause { what, period: None, reason: None };
    assert_eq!(rig.limit(ops, pause), Err(Code::NotFound));
    let what = Pausable::Queue(queue("mail"));
    let reason = Some("x".repeat(300).into());
    let pause = LimitRequest::Pause { what, period: None, reason };
    assert_eq!(rig.limit(ops, pause), Err(Code::Invalid));
}
