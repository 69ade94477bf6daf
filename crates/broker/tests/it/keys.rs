//! Keys and values through the whole broker: grants, crashes, backups, and histories of many
//! clients of one key, searched for an order that explains them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use bytes::Bytes;
use sluice_broker::{Broker, Directory, Session};
use sluice_model::{
    Answer, Client, Code, Command, Condition, Entry, Grants, Key, Keys, KvAnswer, KvRequest,
    Principal, Receive, Request, Revision, Source, Value, ValueKind, WatchEvent,
};
use sluice_wal::SimulatedDisk;

use crate::linear::{Done, What, is_linearizable};
use crate::{ask, backend, block_on, open};

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn kv(request: KvRequest) -> Command {
    Command::Kv(request)
}

fn set_if(name: &str, value: &str, condition: Condition) -> Command {
    let value = Value { kind: ValueKind::Text, bytes: Bytes::copy_from_slice(value.as_bytes()) };
    kv(KvRequest::Set { key: key(name), value, ttl: None, condition, dedupe_id: None })
}

fn set(name: &str, value: &str) -> Command {
    set_if(name, value, Condition::Always)
}

fn get(name: &str) -> Command {
    kv(KvRequest::Get { key: key(name) })
}

fn delete(name: &str) -> Command {
    kv(KvRequest::Delete { key: key(name), condition: Condition::Always })
}

fn scan(prefix: &str) -> Command {
    let keys = Keys::below(prefix).unwrap();
    kv(KvRequest::Scan { keys, after: None, limit: 1_000, values: true })
}

fn watch(keys: Keys, from: Option<u64>) -> Command {
    kv(KvRequest::Watch { keys, from: from.map(Revision) })
}

/// The value, or the code of the refusal.
fn value_of(answer: &Answer) -> Result<(String, u64), Code> {
    match answer {
        Answer::Refused(refusal) => Err(refusal.code),
        Answer::Kv(answer) => match answer {
            KvAnswer::Value(Entry { value, revision, .. }) => {
                Ok((String::from_utf8(value.bytes.to_vec()).unwrap(), revision.0))
            }
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn read(session: &mut Session, name: &str) -> Result<(String, u64), Code> {
    value_of(&ask(session, vec![get(name)])[0])
}

#[test]
fn what_was_confirmed_is_there_after_a_crash_and_a_watch_resumes() {
    let disk = SimulatedDisk::with_faults(5);
    let broker = Broker::new(backend(&disk));
    let mut session = open(&broker);
    for n in 0..50 {
        ask(&mut session, vec![set("a", &n.to_string()), set(&format!("n^{n}"), "x")]);
    }
    ask(&mut session, vec![delete("n^7")]);
    disk.crash_power();
    drop(session);
    // The old broker only finds out that its disk is gone.
    let _ = broker.stop();

    let broker = Broker::new(backend(&disk));
    let mut session = open(&broker);
    assert_eq!(read(&mut session, "a"), Ok(("49".into(), 99)));
    assert_eq!(read(&mut session, "n^7"), Err(Code::NotFound));
    let answers = ask(&mut session, vec![scan("n^")]);
    let Answer::Kv(answer) = &answers[0] else { panic!("{answers:?}") };
    let KvAnswer::Scanned { entries, next: None } = answer else { panic!("{answer:?}") };
    assert_eq!(entries.len(), 49);
    let answers = ask(&mut session, vec![watch(Keys::One(key("n^7")), Some(1))]);
    let Answer::Kv(answer) = &answers[0] else { panic!("{answers:?}") };
    let KvAnswer::Watching { watch, revision: Revision(101) } = *answer else {
        panic!("{answer:?}")
    };
    let receive = Receive { max: 9, ..Receive::one(Source::Watch(watch)) };
    let answers = ask(&mut session, vec![Command::Receive(receive)]);
    let Answer::Changes { events, .. } = &answers[0] else { panic!("{answers:?}") };
    assert!(
        matches!(&events[..], [WatchEvent::Put(put), WatchEvent::Deleted { revision: Revision(101), .. }] if put.revision == Revision(16)),
        "{events:?}"
    );
    session.close(sluice_broker::ClosedBy::Client);
    assert_eq!(broker.stats().watches, 0);
    broker.stop().unwrap();
}

fn directory(grants: &[&str]) -> Directory {
    let grants = Arc::new(Grants::parse(grants.iter().copied()).unwrap());
    Directory::Keys(BTreeMap::from([(Arc::from("k"), grants)]))
}

#[test]
#[rustfmt::skip]
fn a_key_reads_and_writes_what_its_grants_hold() {
    let broker = Broker::new(backend(&SimulatedDisk::new()));
    let (reads, writes) = (&["kv_read:a^", "kv_read:one"][..], &["kv_write:a^"][..]);
    let all = [reads, writes].concat();
    let cases = [
        // What is asked, and whether it is allowed to read, to write, and to do both.
        (set("a^1", "x"),                         [false, true,  true]),
        (delete("a^1"),                           [false, true,  true]),
        (get("a^1"),                              [true,  false, true]),
        (kv(KvRequest::Exists { key: key("a^1") }), [true, false, true]),
        (get("one"),                              [true,  false, true]),
        (get("a"),                                [false, false, false]),
        (set("b^1", "x"),                         [false, false, false]),
        (scan("a^"),                              [true,  false, true]),
        (scan("a^b^"),                            [true,  false, true]),
        (scan("a"),                               [false, false, false]),
        (scan(""),                                [false, false, false]),
        (watch(Keys::below("a^").unwrap(), None), [true,  false, true]),
        (watch(Keys::One(key("one")), None),      [true,  false, true]),
        (watch(Keys::below("one").unwrap(), None), [false, false, false]),
    ];
    for (at, grants) in [reads, writes, &all].into_iter().enumerate() {
        broker.set_directory(directory(grants));
        let principal = Principal::Key("k".into());
        let mut session = broker.open(Client { principal, peer: [127, 0, 0, 1].into() });
        for (command, allowed) in &cases {
            let answer = ask(&mut session, vec![command.clone()]).remove(0);
            let refused = matches!(&answer, Answer::Refused(refusal) if refusal.code == Code::Forbidden);
            assert_eq!(!refused, allowed[at], "{grants:?} {command:?}: {answer:?}");
        }
    }
}

#[test]
fn a_session_that_watches_what_it_may_not_read_any_more_is_over() {
    let broker = Broker::new(backend(&SimulatedDisk::new()));
    broker.set_directory(directory(&["kv_read:a^", "kv_read:b"]));
    let principal = Principal::Key("k".into());
    let mut session = broker.open(Client { principal, peer: [127, 0, 0, 1].into() });
    let answers = ask(&mut session, vec![watch(Keys::One(key("b")), None)]);
    let Answer::Kv(answer) = &answers[0] else { panic!("{answers:?}") };
    let KvAnswer::Watching { watch: ended, .. } = *answer else { panic!("{answer:?}") };
    ask(&mut session, vec![watch(Keys::below("a^x").unwrap(), None)]);
    ask(&mut session, vec![kv(KvRequest::Unwatch { watch: ended })]);
    // What has ended needs nothing more.
    broker.set_directory(directory(&["kv_read:a^"]));
    assert!(!session.is_revoked());
    broker.set_directory(directory(&["kv_read:a^y"]));
    assert!(session.is_revoked());
}

/// What one client does to the key, one after the other.
fn work(broker: &Broker, clock: &AtomicU64, client: u64, seed: u64, times: u64) -> Vec<Done> {
    let mut session = open(broker);
    let mut history = Vec::new();
    let mut seen: Option<(String, u64)> = None;
    for n in 0..times {
        let dice = (seed * 31 + client * 7 + n * 13) ^ (n * n * 5) ^ (client << 2);
        let value = format!("{client}.{n}");
        let asked = clock.fetch_add(1, SeqCst);
        let is_ok = |answer: &Answer| match answer {
            Answer::Kv(_) => true,
            Answer::Refused(refusal) => {
                assert!(matches!(refusal.code, Code::Conflict | Code::NotFound), "{refusal:?}");
                false
            }
            other => panic!("{other:?}"),
        };
        let what = match (dice % 5, &seen) {
            (0, _) => {
                assert!(is_ok(&ask(&mut session, vec![set("k", &value)])[0]));
                What::Put(value)
            }
            (1, Some((before, revision))) => {
                let condition = Condition::Revision(Revision(*revision));
                let done = is_ok(&ask(&mut session, vec![set_if("k", &value, condition)])[0]);
                What::Swap { before: before.clone(), after: value, done: Some(done) }
            }
            (2, _) => {
                let done =
                    is_ok(&ask(&mut session, vec![set_if("k", &value, Condition::Absent)])[0]);
                What::PutNew { value, done: Some(done) }
            }
            (3, _) => What::Delete(Some(is_ok(&ask(&mut session, vec![delete("k")])[0]))),
            _ => {
                seen = read(&mut session, "k").ok();
                What::Read(seen.clone().map(|(value, _)| value))
            }
        };
        let answered = Some(clock.fetch_add(1, SeqCst));
        history.push(Done { what, asked, answered });
    }
    history
}

#[test]
fn the_recorded_histories_of_eight_clients_of_a_key_are_linearizable() {
    for seed in 0..12 {
        let broker = Broker::new(backend(&SimulatedDisk::new()));
        let clock = AtomicU64::new(0);
        let history: Vec<Done> = std::thread::scope(|scope| {
            let (broker, clock) = (&broker, &clock);
            let clients: Vec<_> = (0..8)
                .map(|client| scope.spawn(move || work(broker, clock, client, seed, 14)))
                .collect();
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
        });
        assert_eq!(history.len(), 112);
        assert!(is_linearizable(&history), "seed {seed}: {history:?}");
        broker.stop().unwrap();
    }
}

#[test]
fn conditional_writes_of_many_clients_lose_no_update() {
    const CLIENTS: u64 = 32;
    const TIMES: u64 = 20;
    let broker = Broker::new(backend(&SimulatedDisk::new()));
    ask(&mut open(&broker), vec![set("sum", "0")]);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut session = open(&broker);
                let mut made = 0;
                while made < TIMES {
                    let (value, revision) = read(&mut session, "sum").unwrap();
                    let next = (value.parse::<u64>().unwrap() + 1).to_string();
                    let condition = Condition::Revision(Revision(revision));
                    let answer = ask(&mut session, vec![set_if("sum", &next, condition)]).remove(0);
                    made += u64::from(matches!(answer, Answer::Kv(_)));
                }
            });
        }
    });
    let (sum, revision) = read(&mut open(&broker), "sum").unwrap();
    assert_eq!((sum.parse(), revision), (Ok(CLIENTS * TIMES), CLIENTS * TIMES + 1));
    broker.stop().unwrap();
}

#[test]
fn ten_thousand_watchers_of_a_key_all_hear_of_it() {
    let broker = Broker::new(backend(&SimulatedDisk::new()));
    let mut sessions: Vec<Session> = (0..10_000).map(|_| open(&broker)).collect();
    for session in &mut sessions {
        let answers = ask(session, vec![watch(Keys::One(key("k")), None)]);
        let Answer::Kv(answer) = &answers[0] else { panic!("{answers:?}") };
        let KvAnswer::Watching { watch, .. } = *answer else { panic!("{answer:?}") };
        let wait = Some(std::time::Duration::from_secs(600));
        let command =
            Command::Receive(Receive { max: 9, wait, ..Receive::one(Source::Watch(watch)) });
        session.submit(&mut VecDeque::from([Request { tag: 7, command }]));
    }
    assert_eq!(broker.stats().watches, 10_000);
    ask(&mut open(&broker), vec![set("other", "x"), set("k", "x")]);
    for session in &mut sessions {
        let mut replies = Vec::new();
        while replies.is_empty() {
            block_on(session.replies());
            session.take_replies(&mut replies);
        }
        assert!(matches!(&replies[0].answer, Answer::Changes { events, .. } if events.len() == 1));
    }
    assert_eq!(broker.stats().watch_events, 10_000);
    drop(sessions);
    assert_eq!(broker.stats().watches, 0);
    broker.stop().unwrap();
}

#[test]
fn replies_that_are_ready_at_once_stay_in_order_with_those_that_wait() {
    let disk = SimulatedDisk::with_faults(3);
    let broker = Broker::new(backend(&disk));
    let mut session = open(&broker);
    let mut tag = 0;
    let mut requests = |commands: Vec<Command>| -> VecDeque<Request> {
        let mut tagged = |command| {
            tag += 1;
            Request { tag, command }
        };
        commands.into_iter().map(&mut tagged).collect()
    };
    let is_ready = |session: &mut Session| {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        session.poll_replies(&mut context).is_ready()
    };
    // What comes at once, before and behind what is committed, and behind what nobody has taken.
    session.submit(&mut requests(vec![get("a"), get("a"), set("a", "1"), get("a")]));
    assert!(is_ready(&mut session));
    session.submit(&mut requests(vec![get("a")]));
    session.submit(&mut requests(vec![set("a", "2")]));
    session.submit(&mut requests(vec![get("a"), get("b")]));
    let mut replies = Vec::new();
    while replies.len() < 8 {
        block_on(session.replies());
        session.take_replies(&mut replies);
    }
    assert!(!is_ready(&mut session));
    assert!(replies.iter().map(|reply| reply.tag).eq(1..=8));
    let read = |at: usize| value_of(&replies[at].answer).map(|(value, _)| value);
    assert_eq!((read(1), read(7)), (Err(Code::NotFound), Err(Code::NotFound)));
    assert_eq!([read(3), read(4), read(6)], ["1", "1", "2"].map(|value| Ok(value.to_owned())));
    session.written(replies.iter().map(sluice_model::Reply::weight).sum());
    session.submit(&mut requests(vec![get("a")]));
    assert!(is_ready(&mut session));
    session.close(sluice_broker::ClosedBy::Client);
    broker.stop().unwrap();
}
