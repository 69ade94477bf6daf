//! Limits and pauses through the whole broker: what is asked of them while it runs, and what of it a restart
//! and a crash keep.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use sluice_broker::{Broker, Session};
use sluice_model::{
    Answer, Code, Command, Confirm, Destination, Explained, Explanation, Extras, KeyPattern, Lane,
    LeaseId, Limit, LimitAnswer, LimitMatch, LimitRequest, Message, Pausable, Publish, Qos,
    QueueName, QueuePattern, QueueRequest, QueueSettings, Receive, Reply, Request, Source,
};
use sluice_wal::SimulatedDisk;

use crate::{ask, backend, block_on, open};

const HOUR: Duration = Duration::from_secs(3_600);

fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

/// A limit of the keys that match.
fn limit(name: &str, key: &str, terms: &str) -> Limit {
    let matches = LimitMatch { queue: QueuePattern::all(), key: KeyPattern::new(key).ok() };
    Limit::new(name, "key".parse().unwrap(), matches, terms.parse().unwrap()).unwrap()
}

fn command(request: LimitRequest) -> Command {
    Command::Limit(Box::new(request))
}

fn limits(session: &mut Session, request: LimitRequest) -> Result<LimitAnswer, Code> {
    match ask(session, vec![command(request)]).remove(0) {
        Answer::Limit(answer) => Ok(*answer),
        Answer::Refused(refusal) => Err(refusal.code),
        other => panic!("{other:?}"),
    }
}

/// Sets a limit; gives the one that it takes the place of.
fn set(session: &mut Session, limit: Limit) -> Option<Limit> {
    match limits(session, LimitRequest::Put(Box::new(limit))) {
        Ok(LimitAnswer::Put { replaced }) => replaced.map(|replaced| *replaced),
        other => panic!("{other:?}"),
    }
}

fn listed(session: &mut Session) -> Vec<Limit> {
    match limits(session, LimitRequest::List { name: None, after: None, limit: 100 }) {
        Ok(LimitAnswer::List { limits, more: false }) => limits,
        other => panic!("{other:?}"),
    }
}

fn pause(what: Pausable, period: Option<Duration>) -> LimitRequest {
    LimitRequest::Pause { what, period, reason: Some("deploy".into()) }
}

fn key_of(name: &str, key: &str) -> Pausable {
    Pausable::Key { queue: queue(name), key: key.into() }
}

fn resume(session: &mut Session, what: Pausable) -> bool {
    match limits(session, LimitRequest::Resume { what }) {
        Ok(LimitAnswer::Resumed(was_paused)) => was_paused,
        other => panic!("{other:?}"),
    }
}

/// The names of the reasons why the next message with a key is not delivered.
fn why(session: &mut Session, key: &str) -> Vec<&'static str> {
    let what = Explained::Key(key.into());
    match limits(session, LimitRequest::Explain { queue: queue("mail"), what }) {
        Ok(LimitAnswer::Explained { reasons, .. }) => {
            reasons.iter().map(Explanation::name).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// A session of a broker in which the queue has been made.
fn begin(broker: &Broker) -> Session {
    let mut session = open(broker);
    let (name, settings) = (queue("mail"), QueueSettings::default());
    let declare = QueueRequest::Declare { name, settings, update: false };
    ask(&mut session, vec![Command::Queue(Box::new(declare))]);
    session
}

/// Puts a message into the queue; its payload is its key.
fn put(session: &mut Session, key: &str) {
    let lane = Lane { keys: vec![key.into()], ..Lane::default() };
    let extras = Some(Box::new(Extras { lane, ..Extras::default() }));
    let message = Message { payload: Bytes::copy_from_slice(key.as_bytes()), extras };
    let (to, qos, confirm) = (Destination::Queue(queue("mail")), Qos::AtLeastOnce, Confirm::Always);
    let publish = Publish { to, level: None, qos, message, confirm };
    let answers = ask(session, vec![Command::Publish(publish)]);
    assert!(matches!(answers[..], [Answer::Published(_)]), "{answers:?}");
}

/// A receive whose lease ends with no connection.
fn receive(wait: Option<Duration>) -> Command {
    let from = Source::Queue(queue("mail"));
    Command::Receive(Receive { lease: Some(HOUR), wait, bound: false, ..Receive::one(from) })
}

fn taken(answer: &Answer) -> Option<(String, LeaseId)> {
    match answer {
        Answer::Delivered(delivery) => {
            let payload = String::from_utf8(delivery.carried.payload.to_vec()).unwrap();
            Some((payload, delivery.lease.unwrap()))
        }
        Answer::Empty { .. } => None,
        other => panic!("{other:?}"),
    }
}

/// Takes all that comes at once.
fn take(session: &mut Session) -> Vec<(String, LeaseId)> {
    let mut all = Vec::new();
    while let Some(one) = taken(&ask(session, vec![receive(None)])[0]) {
        all.push(one);
    }
    all
}

fn keys(taken: &[(String, LeaseId)]) -> Vec<&str> {
    taken.iter().map(|(key, _)| &**key).collect()
}

fn ack(session: &mut Session, lease: LeaseId) {
    let answers = ask(session, vec![Command::Ack { lease, confirm: Confirm::Always }]);
    assert!(matches!(answers[..], [Answer::Settled { already: false }]), "{answers:?}");
}

fn submit(session: &mut Session, command: Command) {
    session.submit(&mut VecDeque::from([Request { tag: 7, command }]));
}

/// Has a receive wait, of which nothing has come yet.
fn wait(session: &mut Session) {
    submit(session, receive(Some(HOUR)));
    let mut replies = Vec::new();
    session.take_replies(&mut replies);
    assert!(replies.is_empty(), "{replies:?}");
}

/// What comes to the receive that waits.
fn awaited(session: &mut Session) -> (String, LeaseId) {
    let mut replies: Vec<Reply> = Vec::new();
    while replies.is_empty() {
        block_on(session.replies());
        session.take_replies(&mut replies);
    }
    session.written(replies.iter().map(Reply::weight).sum());
    taken(&replies[0].answer).unwrap()
}

#[test]
fn limits_are_set_listed_changed_and_deleted_and_who_waits_hears_of_it_at_once() {
    let broker = Broker::new(backend(&SimulatedDisk::new()));
    let (mut ops, mut worker) = (begin(&broker), open(&broker));
    (0..5).for_each(|_| put(&mut ops, "a"));
    let (one, two) = (limit("one", "*", "concurrency 1"), limit("one", "*", "concurrency 2"));
    assert_eq!(set(&mut ops, one.clone()), None);
    assert_eq!(set(&mut ops, one.clone()), Some(one.clone()));
    assert_eq!(listed(&mut ops), std::slice::from_ref(&one));
    let first = take(&mut worker).remove(0).1;
    wait(&mut worker);
    assert_eq!(why(&mut ops, "a"), ["concurrency"]);
    assert_eq!(set(&mut ops, two.clone()), Some(one));
    awaited(&mut worker);
    wait(&mut worker);
    ack(&mut ops, first);
    awaited(&mut worker);
    wait(&mut worker);
    let delete = || LimitRequest::Delete { name: "one".into(), matches: None };
    assert_eq!(limits(&mut ops, delete()), Ok(LimitAnswer::Deleted(1)));
    awaited(&mut worker);
    assert_eq!(limits(&mut ops, delete()), Ok(LimitAnswer::Deleted(0)));
    assert_eq!(listed(&mut ops), []);
    assert_eq!(keys(&take(&mut worker)), ["a"], "the last of five");
    let other = LimitMatch { queue: QueuePattern::all(), key: None };
    let scope = "queue".parse().unwrap();
    let other = Limit::new("two", scope, other, "1/s".parse().unwrap()).unwrap();
    set(&mut ops, limit("two", "*", "1/s"));
    assert_eq!(limits(&mut ops, LimitRequest::Put(Box::new(other))), Err(Code::Invalid));
    broker.stop().unwrap();
}

#[test]
fn pauses_outlast_a_restart_and_end_by_hand_or_by_their_time() {
    let disk = SimulatedDisk::new();
    let broker = Broker::new(backend(&disk));
    let mut ops = begin(&broker);
    ["a", "b"].into_iter().for_each(|key| put(&mut ops, key));
    for pause in [pause(Pausable::Queue(queue("mail")), None), pause(key_of("mail", "a"), None)] {
        let Ok(LimitAnswer::Paused(paused)) = limits(&mut ops, pause) else { panic!() };
        assert_eq!((paused.until, paused.reason.as_deref()), (None, Some("deploy")));
    }
    assert_eq!(keys(&take(&mut ops)), [""; 0]);
    broker.stop().unwrap();
    drop((ops, broker));
    disk.crash_process();

    let broker = Broker::new(backend(&disk));
    let (mut ops, mut worker) = (open(&broker), open(&broker));
    wait(&mut worker);
    assert!(resume(&mut ops, Pausable::Queue(queue("mail"))));
    assert!(!resume(&mut ops, Pausable::Queue(queue("mail"))));
    assert_eq!(awaited(&mut worker).0, "b", "the key of the other one is paused still");
    wait(&mut worker);
    assert_eq!(why(&mut ops, "a"), ["paused"]);
    assert!(resume(&mut ops, key_of("mail", "a")) && !resume(&mut ops, key_of("mail", "a")));
    assert_eq!(awaited(&mut worker).0, "a");
    let short = pause(key_of("mail", "c"), Some(Duration::from_millis(200)));
    let Ok(LimitAnswer::Paused(paused)) = limits(&mut ops, short) else { panic!() };
    put(&mut ops, "c");
    submit(&mut worker, receive(Some(HOUR)));
    assert_eq!(awaited(&mut worker).0, "c");
    assert!(paused.until.is_some_and(|until| broker.now() >= until));
    assert!(!resume(&mut ops, key_of("mail", "c")));
    broker.stop().unwrap();
}

/// Publishes beside it until there is a checkpoint, and with it an image of the limits.
fn checkpoint(broker: &Broker, session: &mut Session) {
    crate::subscribe(session);
    let before = broker.stats().checkpoints;
    let mut published = 0;
    while broker.stats().checkpoints == before {
        ask(session, vec![crate::publish(&[b'x'; 1_024])]);
        published += 1;
        assert!(published < 100_000, "no checkpoint");
    }
}

#[test]
fn a_crash_keeps_what_was_confirmed_and_goes_on_counting_under_it() {
    for with_image in [false, true] {
        let disk = SimulatedDisk::with_faults(3);
        let broker = Broker::new(backend(&disk));
        let mut ops = begin(&broker);
        let all = [
            limit("few", "w", "window 3/1h"),
            limit("one", "c", "concurrency 1"),
            limit("slow", "r", "1/1h burst 3"),
        ];
        for limit in &all {
            assert_eq!(set(&mut ops, limit.clone()), None);
        }
        // One more than may go of each, and one that nothing limits.
        for key in ["w", "w", "w", "w", "c", "c", "r", "r", "r", "r", "p"] {
            put(&mut ops, key);
        }
        assert!(limits(&mut ops, pause(key_of("mail", "p"), None)).is_ok());
        let before = take(&mut ops);
        assert_eq!(keys(&before), ["w", "w", "w", "c", "r", "r", "r"]);
        // With what is confirmed now, leases that were granted before are on the disk.
        assert!(limits(&mut ops, pause(key_of("mail", "p"), None)).is_ok());
        if with_image {
            checkpoint(&broker, &mut ops);
        }
        // Never committed, and never confirmed.
        let late = LimitRequest::Put(Box::new(limit("z", "*", "1/s")));
        let mut lost: VecDeque<_> = (1..)
            .zip([late, LimitRequest::Resume { what: key_of("mail", "p") }])
            .map(|(tag, request)| Request { tag, command: command(request) })
            .collect();
        assert!(ops.submit_unled(&mut lost) && lost.is_empty());
        disk.crash_power();
        drop(ops);
        // The old broker only finds out that its disk is gone.
        let _ = broker.stop();
        drop(broker);

        let broker = Broker::new(backend(&disk));
        let mut ops = open(&broker);
        assert_eq!(listed(&mut ops), all);
        assert_eq!(keys(&take(&mut ops)), [""; 0]);
        let mut worker = open(&broker);
        wait(&mut worker);
        let reasons = ["w", "c", "r", "p"].map(|key| why(&mut ops, key));
        assert_eq!(reasons, [["window"], ["concurrency"], ["rate"], ["paused"]]);
        // A lease from before the crash is settled, and its place is free.
        ack(&mut ops, before[3].1);
        assert_eq!(awaited(&mut worker).0, "c");
        wait(&mut worker);
        assert!(resume(&mut ops, key_of("mail", "p")));
        assert_eq!(awaited(&mut worker).0, "p");
        wait(&mut worker);
        set(&mut ops, limit("few", "w", "window 4/1h"));
        assert_eq!(awaited(&mut worker).0, "w", "the three starts before the crash are known");
        assert_eq!(keys(&take(&mut ops)), [""; 0]);
        broker.stop().unwrap();
    }
}
