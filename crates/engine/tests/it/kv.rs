//! Keys and values: writes, conditions, repeats, times to live, scans.

use bytes::Bytes;
use sluice_engine::{Config, Record};
use sluice_model::{
    Answer, Code, Command, Condition, Entry, Key, Keys, KvAnswer, KvRequest, Level, Revision,
    SessionId, Value, ValueKind,
};

use crate::rig::{Out, Rig, Said, config, ms, peer, with};

pub(crate) fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

pub(crate) fn text(value: &str) -> Value {
    Value { kind: ValueKind::Text, bytes: Bytes::copy_from_slice(value.as_bytes()) }
}

pub(crate) fn set(name: &str, value: &str) -> KvRequest {
    KvRequest::Set {
        key: key(name),
        value: text(value),
        ttl: None,
        condition: Condition::Always,
        dedupe_id: None,
    }
}

fn set_if(name: &str, value: &str, condition: Condition) -> KvRequest {
    KvRequest::Set { key: key(name), value: text(value), ttl: None, condition, dedupe_id: None }
}

pub(crate) fn set_for(name: &str, value: &str, millis: u64) -> KvRequest {
    KvRequest::Set {
        key: key(name),
        value: text(value),
        ttl: Some(ms(millis)),
        condition: Condition::Always,
        dedupe_id: None,
    }
}

fn add(name: &str, by: i64, id: Option<&str>) -> KvRequest {
    KvRequest::Increment { key: key(name), by, dedupe_id: id.map(Box::from) }
}

fn get(name: &str) -> KvRequest {
    KvRequest::Get { key: key(name) }
}

pub(crate) fn delete(name: &str) -> KvRequest {
    KvRequest::Delete { key: key(name), condition: Condition::Always }
}

fn scan(prefix: &str, after: Option<&str>, limit: u16) -> KvRequest {
    let (keys, after) = (Keys::below(prefix).unwrap(), after.map(key));
    KvRequest::Scan { keys, after, limit, values: true }
}

impl Rig {
    pub(crate) fn kv_out(&mut self, session: SessionId, request: KvRequest) -> Out {
        self.ask(session, Command::Kv(request)).unwrap()
    }

    pub(crate) fn kv(&mut self, session: SessionId, request: KvRequest) -> Result<KvAnswer, Code> {
        match self.kv_out(session, request).said {
            Said::Answer(Answer::Kv(answer)) => Ok(answer),
            Said::Answer(Answer::Refused(refusal)) => Err(refusal.code),
            other => panic!("{other:?}"),
        }
    }

    /// The value of a key and its revision.
    fn value(&mut self, session: SessionId, name: &str) -> Result<(String, u64), Code> {
        match self.kv(session, get(name))? {
            KvAnswer::Value(Entry { value, revision, .. }) => {
                Ok((String::from_utf8(value.bytes.to_vec()).unwrap(), revision.0))
            }
            other => panic!("{other:?}"),
        }
    }

    fn scanned(&mut self, session: SessionId, request: KvRequest) -> (Vec<String>, Option<String>) {
        match self.kv(session, request) {
            Ok(KvAnswer::Scanned { entries, next }) => (
                entries.into_iter().map(|entry| entry.key.to_string()).collect(),
                next.map(|key| key.to_string()),
            ),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn written(revision: u64) -> Result<KvAnswer, Code> {
    Ok(KvAnswer::Written { revision: Revision(revision), duplicate: false })
}

#[test]
fn what_was_set_is_read_and_what_was_removed_is_not() {
    let mut rig = Rig::new(config());
    let session = rig.open(peer(1));
    assert_eq!(rig.value(session, "a"), Err(Code::NotFound));
    assert_eq!(rig.kv(session, set("a", "1")), written(1));
    assert_eq!(rig.kv(session, set("users^eu^a", "2")), written(2));
    assert_eq!(rig.value(session, "a"), Ok(("1".into(), 1)));
    assert_eq!(rig.kv(session, set("a", "3")), written(3));
    assert_eq!(rig.value(session, "a"), Ok(("3".into(), 3)));
    assert_eq!(rig.kv(session, delete("a")), written(4));
    assert_eq!(rig.kv(session, delete("a")), Err(Code::NotFound));
    assert_eq!(rig.value(session, "a"), Err(Code::NotFound));
    let exists = KvRequest::Exists { key: key("users^eu^a") };
    let there = KvAnswer::There { revision: Revision(2), expires_at: None };
    assert_eq!(rig.kv(session, exists), Ok(there));
    assert_eq!(rig.kv(session, KvRequest::Exists { key: key("a") }), Err(Code::NotFound));
    assert_eq!((rig.engine.keys(), rig.engine.watch_history().0), (1, 4));
}

#[test]
fn a_condition_that_does_not_hold_changes_nothing() {
    let mut rig = Rig::new(config());
    let session = rig.open(peer(1));
    let at = |revision| Condition::Revision(Revision(revision));
    assert_eq!(rig.kv(session, set_if("a", "1", at(1))), Err(Code::Conflict), "not there");
    assert_eq!(rig.kv(session, set_if("a", "1", Condition::Absent)), written(1));
    assert_eq!(rig.kv(session, set_if("a", "2", Condition::Absent)), Err(Code::Conflict));
    assert_eq!(rig.kv(session, set_if("a", "2", at(2))), Err(Code::Conflict));
    assert_eq!(rig.value(session, "a"), Ok(("1".into(), 1)));
    assert_eq!(rig.kv(session, set_if("a", "2", at(1))), written(2));
    let delete_at = |condition| KvRequest::Delete { key: key("a"), condition };
    assert_eq!(rig.kv(session, delete_at(at(1))), Err(Code::Conflict));
    assert_eq!(rig.kv(session, delete_at(Condition::Absent)), Err(Code::Invalid));
    assert_eq!(rig.kv(session, delete_at(at(2))), written(3));
    assert_eq!(rig.kv(session, delete_at(at(2))), Err(Code::NotFound));
    assert_eq!(rig.kv(session, set_if("a", "3", Condition::Absent)), written(4));
}

#[test]
#[rustfmt::skip]
fn numbers_are_added_to_and_nothing_else_is() {
    let mut rig = Rig::new(config());
    let session = rig.open(peer(1));
    let most = i64::MAX.to_string();
    let cases: [(&str, i64, Option<i64>); 9] = [
        ("0",     1,        Some(1)),
        ("-7",    7,        Some(0)),
        ("41",    1,        Some(42)),
        (&most,   -1,       Some(i64::MAX - 1)),
        (&most,   1,        None),
        ("",      1,        None),
        ("4.5",   1,        None),
        (" 4",    1,        None),
        ("0",     i64::MIN, Some(i64::MIN)),
    ];
    for (before, by, expected) in cases {
        rig.kv(session, set_for("a", before, 1_000)).unwrap();
        let sum = rig.kv(session, add("a", by, None));
        match expected {
            None => assert_eq!(sum, Err(Code::Invalid), "{before} {by}"),
            Some(expected) => {
                assert!(matches!(sum, Ok(KvAnswer::Incremented { value, .. }) if value == expected), "{before} {by}");
                assert_eq!(rig.value(session, "a").unwrap().0, expected.to_string());
            }
        }
        // The time to live stays.
        rig.pass(ms(1_000));
        assert_eq!(rig.value(session, "a"), Err(Code::NotFound));
    }
    let KvAnswer::Incremented { value: 5, .. } = rig.kv(session, add("new", 5, None)).unwrap() else { panic!() };
    let KvAnswer::Value(entry) = rig.kv(session, get("new")).unwrap() else { panic!() };
    assert_eq!(entry.value.kind, ValueKind::Json);
}

#[test]
fn a_repeat_inside_the_window_answers_like_the_first_and_changes_nothing() {
    let mut rig = Rig::new(with(|queue| queue.dedupe_window = ms(5_000)));
    let session = rig.open(peer(1));
    let set = |value: &str, id: &str| KvRequest::Set {
        key: key("a"),
        value: text(value),
        ttl: None,
        condition: Condition::Absent,
        dedupe_id: Some(id.into()),
    };
    assert_eq!(rig.kv(session, set("1", "x")), written(1));
    let repeat = Ok(KvAnswer::Written { revision: Revision(1), duplicate: true });
    assert_eq!(rig.kv(session, set("1", "x")), repeat);
    assert_eq!(rig.kv(session, set("2", "x")), Err(Code::Conflict), "another body");
    assert_eq!(rig.kv(session, set("1", "y")), Err(Code::Conflict), "the key is there");
    let sum = |value, revision, duplicate| {
        Ok(KvAnswer::Incremented { value, revision: Revision(revision), duplicate })
    };
    assert_eq!(rig.kv(session, add("n", 2, Some("x"))), sum(2, 2, false), "ids are a key's own");
    assert_eq!(rig.kv(session, add("n", 2, None)), sum(4, 3, false));
    for with_image in [false, true] {
        if with_image {
            rig.take_image();
        }
        rig.restart(rig.tape.last(), with_image, true);
        let session = rig.open(peer(1));
        assert_eq!(rig.kv(session, add("n", 2, Some("x"))), sum(2, 2, true));
        assert_eq!(rig.kv(session, add("n", 3, Some("x"))), Err(Code::Conflict));
        assert_eq!(rig.kv(session, set("1", "x")), repeat);
        assert_eq!(rig.value(session, "n"), Ok(("4".into(), 3)));
    }
    let session = rig.open(peer(1));
    rig.pass(ms(5_000));
    assert_eq!(rig.kv(session, add("n", 3, Some("x"))), sum(7, 4, false), "it is forgotten");
}

#[test]
fn an_expired_key_is_gone_before_its_record_and_a_reader_waits_for_that() {
    let mut rig = Rig::new(config());
    let session = rig.open(peer(1));
    rig.commits = false;
    for name in ["a", "b", "c", "d"] {
        rig.kv(session, set_for(name, "1", 1_000)).unwrap();
    }
    rig.kv(session, set("e", "1")).unwrap();
    rig.commit();
    // The clock goes on, and no deadline has fired yet.
    rig.now = rig.now.after(ms(1_000));
    let before = rig.tape.last();
    let out = rig.kv_out(session, get("a"));
    let Said::Answer(Answer::Refused(refusal)) = &out.said else { panic!("{out:?}") };
    assert_eq!((refusal.code, out.need.synced), (Code::NotFound, before + 1));
    assert!(matches!(rig.tape.record(before + 1), Record::KeyGone { expired: true, .. }));
    let Ok(KvAnswer::Written { .. }) = rig.kv(session, set_if("b", "2", Condition::Absent)) else {
        panic!("an expired key is absent")
    };
    let out = rig.kv_out(session, scan("", None, 10));
    let Said::Answer(Answer::Kv(answer)) = &out.said else { panic!("{out:?}") };
    let KvAnswer::Scanned { entries, next: None } = answer else { panic!("{answer:?}") };
    let names: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!((names, out.need.synced), (vec!["b", "e"], rig.tape.last()));
    let records = rig.tape.last();
    rig.fire_all();
    assert_eq!(rig.tape.last(), records, "each expires once");
    assert_eq!(rig.engine.keys(), 2);
}

#[test]
fn a_key_that_was_set_anew_does_not_expire_with_the_old_value() {
    let mut rig = Rig::new(config());
    let session = rig.open(peer(1));
    rig.kv(session, set_for("a", "1", 1_000)).unwrap();
    rig.kv(session, set("a", "2")).unwrap();
    rig.kv(session, set_for("b", "1", 1_000)).unwrap();
    rig.kv(session, set_for("b", "2", 3_000)).unwrap();
    rig.restart(rig.tape.last(), false, true);
    let session = rig.open(peer(1));
    rig.pass(ms(2_999));
    assert_eq!(rig.value(session, "a"), Ok(("2".into(), 2)));
    assert_eq!(rig.value(session, "b"), Ok(("2".into(), 4)));
    rig.pass(ms(1));
    assert_eq!(rig.value(session, "b"), Err(Code::NotFound));
    assert_eq!(rig.value(session, "a"), Ok(("2".into(), 2)));
}

#[test]
fn nobody_is_shown_what_is_not_at_its_level() {
    let mut rig = Rig::new(config());
    let session = rig.open(peer(1));
    rig.kv(session, set("a", "1")).unwrap();
    rig.commits = false;
    let other = rig.open(peer(2));
    let need = |rig: &mut Rig, request| rig.kv_out(other, request).need.synced;
    let before = rig.tape.last();
    assert!(need(&mut rig, get("a")) <= before);
    rig.kv(session, set("a", "2")).unwrap();
    let last = rig.tape.last();
    assert_eq!(need(&mut rig, get("a")), last);
    assert_eq!(need(&mut rig, KvRequest::Exists { key: key("a") }), last);
    assert_eq!(need(&mut rig, scan("", None, 9)), last);
    assert_eq!(need(&mut rig, set_if("a", "3", Condition::Absent)), last, "a refusal shows it");
    rig.kv(session, delete("a")).unwrap();
    let last = rig.tape.last();
    assert_eq!(need(&mut rig, get("a")), last);
    assert_eq!(need(&mut rig, scan("", None, 9)), last);
    assert_eq!(need(&mut rig, delete("a")), last);
}

#[test]
fn a_weaker_level_is_waited_for_and_no_more() {
    for (level, written, synced) in [(Level::Os, true, false), (Level::Memory, false, false)] {
        let mut rig = Rig::new(with(|queue| queue.level = level));
        let session = rig.open(peer(1));
        let out = rig.kv_out(session, set("a", "1"));
        assert_eq!((out.need.written > 0, out.need.synced > 0), (written, synced), "{level:?}");
    }
}

#[test]
fn a_scan_goes_on_where_it_stopped_and_stays_below_its_prefix() {
    let mut rig = Rig::new(config());
    let session = rig.open(peer(1));
    for name in ["b", "a^2", "a^1", "a^1^x", "a", "ab", "a^3"] {
        rig.kv(session, set(name, "v")).unwrap();
    }
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let all = ["a", "a^1", "a^1^x", "a^2", "a^3", "ab", "b"];
    assert_eq!(rig.scanned(session, scan("", None, 1_000)), (names(&all), None));
    assert_eq!(
        rig.scanned(session, scan("a^", None, 2)),
        (names(&all[1..3]), Some("a^1^x".into()))
    );
    assert_eq!(rig.scanned(session, scan("a^", Some("a^1^x"), 2)), (names(&all[3..5]), None));
    assert_eq!(rig.scanned(session, scan("a", Some("a^3"), 9)), (names(&["ab"]), None));
    assert_eq!(rig.scanned(session, scan("c", None, 9)), (vec![], None));
    let one = KvRequest::Scan { keys: Keys::One(key("a")), after: None, limit: 9, values: false };
    assert_eq!(rig.scanned(session, one), (names(&["a"]), None));
    assert_eq!(rig.kv(session, scan("", None, 0)), Err(Code::Invalid));
    assert_eq!(rig.kv(session, scan("", None, 1_001)), Err(Code::Invalid));
}

#[test]
fn a_scan_grants_what_fits_and_one_key_at_least() {
    let mut rig = Rig::new(Config { session_out_max: 4_096, ..config() });
    let session = rig.open(peer(1));
    for name in ["a", "b", "c", "d"] {
        rig.kv(session, set(name, &"x".repeat(700))).unwrap();
    }
    rig.kv(session, set("e", &"x".repeat(9_000))).unwrap();
    let (first, next) = rig.scanned(session, scan("", None, 100));
    assert_eq!((first, next), (vec!["a".to_owned(), "b".to_owned()], Some("b".to_owned())));
    let (rest, next) = rig.scanned(session, scan("", Some("d"), 100));
    assert_eq!((rest, next), (vec!["e".to_owned()], None));
    // With something on its way there is no room for the large one.
    rig.drains = false;
    rig.kv(session, get("a")).unwrap();
    let large = scan("", Some("d"), 100);
    let ran = rig.run(session, Command::Kv(large));
    assert_eq!(ran, sluice_engine::Ran::NoRoom);
    let ran = rig.run(session, Command::Kv(get("e")));
    assert_eq!(ran, sluice_engine::Ran::NoRoom);
}

#[test]
fn keys_past_the_bound_are_refused_and_what_makes_room_is_not() {
    let mut rig = Rig::new(Config { kv_bytes_max: 2_000, ..config() });
    let session = rig.open(peer(1));
    rig.kv(session, set("a", &"x".repeat(900))).unwrap();
    rig.kv(session, set("b", &"x".repeat(700))).unwrap();
    assert_eq!(rig.kv(session, set("c", "")), Err(Code::Overloaded));
    assert_eq!(rig.kv(session, add("c", 1, None)), Err(Code::Overloaded));
    assert_eq!(rig.kv(session, set("a", &"x".repeat(990))), Err(Code::Overloaded));
    rig.kv(session, set("a", &"x".repeat(800))).unwrap();
    rig.kv(session, set("a", &"x".repeat(900))).unwrap();
    rig.kv(session, delete("a")).unwrap();
    rig.kv(session, set("c", &"x".repeat(900))).unwrap();
    let large = "x".repeat((1 << 20) + 1);
    assert_eq!(rig.kv(session, set("c", &large)), Err(Code::TooLarge));
}
