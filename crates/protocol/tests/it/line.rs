//! The line door's two forms: what is written down, what is shown, and what nobody meant.
//!
//! `testdata/fuzz` holds seeds of lines that are well-formed and not, and whatever was found.

use std::fs;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use sluice_model::{
    Answer, Carried, Code, Command, Delivery, Entry, Explanation, Generation, Key, KvAnswer,
    KvRequest, LeaseId, LimitAnswer, LimitRequest, LimitedBy, MessageId, QueueNo, Refusal,
    Revision, Seq, SubscriptionId, Timestamp, Value, ValueKind, WatchEvent,
};
use sluice_protocol::line::{self, Ask, Event, Form, Line, LineDecoder, Said, Want};

use super::exercise::exercise;

const DOCS: &str = include_str!("../../../../docs/protocol/line.md");

#[test]
fn the_corpus_is_read_without_a_panic() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/fuzz");
    let mut read = 0;
    for dir in fs::read_dir(corpus).unwrap() {
        for file in fs::read_dir(dir.unwrap().path()).unwrap() {
            let bytes = fs::read(file.unwrap().path()).unwrap();
            exercise(&bytes);
            let (mut decoder, mut buffer) = (LineDecoder::new(16), BytesMut::from(&bytes[..]));
            while let Some(line) = decoder.decode(&mut buffer) {
                if let Line::Whole(line) = line {
                    exercise(&line);
                }
            }
            read += 1;
        }
    }
    assert!(read > 70, "{read}");
}

#[test]
fn the_docs_name_every_word_and_every_field() {
    for (word, arguments) in line::words() {
        let told = format!("{word} {arguments}");
        assert!(DOCS.contains(&format!("`{}`", told.trim())), "{told}");
    }
    let message = ["PUBLISH", "ENQUEUE"];
    for (action, fields) in line::actions() {
        let row = DOCS.lines().find(|row| {
            row.starts_with('|')
                && row.contains(&format!("`{action}`"))
                && row.matches('|').count() == 4
        });
        let row = row.unwrap_or_else(|| panic!("{action}"));
        for field in fields.iter().take(if message.contains(&action) { 2 } else { usize::MAX }) {
            assert!(row.contains(&format!("`{field}`")), "{action} {field}");
        }
    }
}

fn delivery(payload: &'static [u8]) -> Answer {
    let generation = Generation { start: 1, counter: 2 };
    let lease = LeaseId { queue: QueueNo(1), seq: Seq(2), generation, secret: 3 };
    let carried = Carried {
        id: MessageId { start: 1, counter: 2 },
        topic: "q".into(),
        sender: "anonymous".into(),
        payload: payload.into(),
        ..Carried::default()
    };
    let mut delivery =
        Delivery::first(SubscriptionId(0), Some(lease), Timestamp::from_millis(5), carried);
    delivery.subscription = None;
    Answer::Delivered(Box::new(delivery))
}

fn entry(kind: ValueKind, bytes: &'static [u8]) -> Entry {
    let value = Value { kind, bytes: bytes.into() };
    Entry { key: Key::new("a^b").unwrap(), value, revision: Revision(7), expires_at: None }
}

fn told(form: &Form, want: Want, answer: &Answer) -> Said {
    form.answer(want, answer, Timestamp::from_millis(1))
}

#[test]
fn text_shows_only_what_is_text() {
    let shown = told(&Form::Text, Want::Message, &delivery(b"two words"));
    let Said::Line(shown) = shown else { panic!("{shown:?}") };
    assert!(shown.starts_with(b"00000001-0000000000000002 ") && shown.ends_with(b" two words"));
    for payload in [&b"a\nb"[..], b"\xff", b"\x1b[0m", "\u{85}".as_bytes()] {
        let shown = told(&Form::Text, Want::Message, &delivery(payload));
        assert_eq!(shown, Said::Unshowable("ERR use JSON".into()), "{payload:?}");
    }
    let value = |bytes| {
        let answer = KvAnswer::Value(entry(ValueKind::Text, bytes));
        told(&Form::Text, Want::Value, &Answer::Kv(answer))
    };
    assert_eq!(value(b"plain"), Said::Line("plain".into()));
    assert_eq!(value(b"*put a b"), Said::Unshowable("ERR use JSON".into()));
}

#[test]
fn one_control_character_is_seen_wherever_it_stands() {
    for len in [1, 63, 64, 65, 200] {
        assert!(line::is_showable(&vec![b'~'; len]));
        for at in 0..len {
            for byte in [0x1f, 0x7f] {
                let mut bytes = vec![b' '; len];
                bytes[at] = byte;
                assert!(!line::is_showable(&bytes), "{byte} at {at} of {len}");
            }
        }
    }
    assert!(line::is_showable("größer".as_bytes()));
}

#[test]
fn a_value_that_text_sets_is_a_part_of_its_line() {
    let line = Bytes::from_static(b"SET key two words ");
    let Ok(Ask::Do(Command::Kv(request), _)) = line::read_shared(&line).ask else { panic!() };
    let KvRequest::Set { value, .. } = request else { panic!("{request:?}") };
    assert_eq!(value.bytes, "two words ");
    assert_eq!(value.bytes.as_ptr(), line[8..].as_ptr());
}

#[test]
fn an_empty_queue_says_when_it_has_something() {
    let empty = |millis| Answer::Empty { next: Some(Timestamp::from_millis(millis)) };
    let json = Form::Json { id: Some("7".into()) };
    for (form, answer, expected) in [
        (&Form::Text, Answer::Empty { next: None }, "EMPTY"),
        (&Form::Text, empty(1_501), "EMPTY 1500"),
        (&Form::Text, empty(0), "EMPTY 0"),
        (&json, Answer::Empty { next: None }, r#"{"result":null,"id":7}"#),
        (&json, empty(1_501), r#"{"result":null,"next_eligible_ms":1500,"id":7}"#),
    ] {
        assert_eq!(told(form, Want::Message, &answer), Said::Line(expected.into()));
    }
}

#[test]
#[rustfmt::skip]
fn words_and_actions_say_the_same_of_a_message() {
    let cases = [
        ("ENQUEUE mail  two words ",                r#"{"action": "ENQUEUE", "queue": "mail", "payload": " two words "}"#),
        ("enqueue key=tenant:7 mail x",             r#"{"action": "ENQUEUE", "queue": "mail", "payload": "x", "keys": ["tenant:7"]}"#),
        ("ENQUEUE  key=a,b  key=c=d priority=9 group=g cost=3 mail key=x", r#"{"action": "ENQUEUE", "queue": "mail", "payload": "key=x", "keys": ["a,b", "c=d"], "priority": 9, "group": "g", "cost": 3}"#),
        ("ENQUEUE keys=a,b key=c mail x",           r#"{"action": "ENQUEUE", "queue": "mail", "payload": "x", "keys": ["a", "b", "c"]}"#),
        ("ENQUEUE ttl_ms=5 delay_ms=2 dedupe_id=7 level=os mail ", r#"{"action": "ENQUEUE", "queue": "mail", "payload": "", "ttl_ms": 5, "delay_ms": 2, "dedupe_id": "7", "level": "os"}"#),
        ("PUBLISH key=a deliver_at=9 news.eu x y",  r#"{"action": "PUBLISH", "topic": "news.eu", "payload": "x y", "keys": ["a"], "deliver_at": 9}"#),
    ];
    for (text, json) in cases {
        let asked = line::read(json.as_bytes()).ask.unwrap_or_else(|error| panic!("{json}: {error:?}"));
        assert_eq!(line::read(text.as_bytes()).ask, Ok(asked), "{text}");
    }
    let wrong = [
        ("ENQUEUE kye=a mail x",        Code::BadRequest, "there is no field \"kye\"; did you mean keys?"),
        ("ENQUEUE a=b x",               Code::BadRequest, "there is no field \"a\", only headers, ttl_ms"),
        ("ENQUEUE group=g group=h q x", Code::BadRequest, "the field \"group\" is there twice"),
        ("ENQUEUE key=a mail",          Code::BadRequest, "usage: ENQUEUE [name=value ...] queue payload"),
        ("ENQUEUE key=a",               Code::BadRequest, "usage: ENQUEUE [name=value ...] queue payload"),
        ("PUBLISH priority=high t x",   Code::BadRequest, "priority = \"high\" is not a whole number"),
        ("ENQUEUE headers=a mail x",    Code::BadRequest, "headers is a string"),
        ("ENQUEUE priority=10 mail x",  Code::Invalid,    "priority = 10 is outside 0 .. 9"),
        ("ENQUEUE key= mail x",         Code::Invalid,    "it must have 1 to 128"),
        ("ENQUEUE key=a key=b key=c key=d key=e mail x", Code::Invalid, "5 keys, at most 4"),
        ("ENQUEUE level=disk mail x",   Code::Invalid,    "level = \"disk\" is not one of memory, os, sync"),
    ];
    for (line, code, expected) in wrong {
        let refusal = line::read(line.as_bytes()).ask.unwrap_err();
        assert!(refusal.code == code && refusal.message.contains(expected), "{line}: {refusal:?}");
    }
}

/// What a line asks of limits.
fn asked_of_limits(line: &str) -> LimitRequest {
    match line::read(line.as_bytes()).ask.unwrap_or_else(|error| panic!("{line}: {error:?}")) {
        Ask::Do(command, Want::Limits) => match command {
            Command::Limit(request) => *request,
            other => panic!("{line}: {other:?}"),
        },
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
#[rustfmt::skip]
fn words_and_actions_ask_the_same_of_limits() {
    let cases = [
        ("LIMIT stripe key > stripe:* 5/s burst 2 concurrency 4", r#"{"action": "LIMIT", "name": "stripe", "key": "stripe:*", "rate": "5/s", "burst": 2, "concurrency": 4}"#),
        ("limit a queue calls.* window 100/1m",  r#"{"action": "LIMIT", "name": "a", "queue": "calls.*", "window": {"max": 100, "length_ms": 60000}}"#),
        ("LIMIT front client 100/s delay 250ms", r#"{"action": "LIMIT", "name": "front", "scope": "client", "rate": 100, "max_wait_ms": 250}"#),
        ("LIMITS front",                         r#"{"action": "LIMITS", "name": "front", "limit": 1000}"#),
        ("UNLIMIT stripe > stripe:*",            r#"{"action": "UNLIMIT", "name": "stripe", "key": "stripe:*"}"#),
        ("UNLIMIT stripe",                       r#"{"action": "UNLIMIT", "name": "stripe"}"#),
        ("PAUSE calls 5000 a long deploy",       r#"{"action": "PAUSE", "queue": "calls", "for_ms": 5000, "reason": "a long deploy"}"#),
        ("PAUSE calls",                          r#"{"action": "PAUSE", "queue": "calls"}"#),
        ("PAUSEKEY calls tenant:7 5",            r#"{"action": "PAUSE", "queue": "calls", "key": "tenant:7", "for_ms": 5}"#),
        ("RESUME calls",                         r#"{"action": "RESUME", "queue": "calls"}"#),
        ("RESUMEKEY calls tenant:7",             r#"{"action": "RESUME", "queue": "calls", "key": "tenant:7"}"#),
        ("EXPLAIN calls",                        r#"{"action": "EXPLAIN", "queue": "calls"}"#),
        ("EXPLAIN calls 00000001-0000000000000002", r#"{"action": "EXPLAIN", "queue": "calls", "message": "00000001-0000000000000002", "id": 7}"#),
    ];
    for (text, json) in cases {
        assert_eq!(asked_of_limits(text), asked_of_limits(json), "{text}");
        let ask = line::read(text.as_bytes()).ask.unwrap();
        assert!(ask.is_exempt(), "who is over a limit can still change it: {text}");
    }
    let lease = "0000000300000000000000090000000100000000000000050123456789abcdef";
    let throttled = line::read(format!("THROTTLE {lease} 30000 tenant:7").as_bytes()).ask.unwrap();
    let json = format!(r#"{{"action": "NACK", "lease": "{lease}", "outcome": "throttled", "retry_after_ms": 30000, "key": "tenant:7"}}"#);
    assert_eq!(throttled, line::read(json.as_bytes()).ask.unwrap());
    let wrong = [
        ("LIMIT a key > 5/s",                       "usage: LIMIT name scope [queue [key]] terms"),
        ("LIMIT a keys > b 5/s",                    "scope \"keys\" is not one of"),
        ("LIMIT a queue > 5/s bust 3",              "\"bust\" is not part of a limit"),
        ("LIMIT a global concurrency 3",            "concurrency is given, with scope global it means nothing"),
        ("PAUSE calls soon",                        "for_ms = \"soon\" is not a whole number"),
        ("EXPLAIN calls 7",                         "an id of a message is"),
        (r#"{"action": "EXPLAIN", "queue": "calls", "message": "7"}"#, "message: an id of a message is"),
        (r#"{"action": "EXPLAIN", "queue": "calls", "message": "7", "key": "k"}"#, "with message neither group nor key may be"),
        (r#"{"action": "NACK", "lease": "a", "outcome": "throttled", "delay_ms": 3}"#, "lease \"a\""),
    ];
    for (line, expected) in wrong {
        let refusal = line::read(line.as_bytes()).ask.unwrap_err();
        assert!(refusal.message.contains(expected), "{line}: {refusal:?}");
    }
}

#[test]
fn a_limit_is_told_in_text_as_it_is_set() {
    let lines = [
        "LIMIT stripe key > stripe:* 2.5/s burst 2 window 100/m concurrency 4",
        "LIMIT front client 100/s delay 250ms",
        "LIMIT all queue calls.* concurrency 1",
    ];
    let limit = |line: &&str| match asked_of_limits(line) {
        LimitRequest::Put(limit) => *limit,
        other => panic!("{other:?}"),
    };
    let list = |more| LimitAnswer::List { limits: lines.iter().map(limit).collect(), more };
    let expected = lines.map(|line| line.strip_prefix("LIMIT ").unwrap()).join(" | ");
    let of = |answer| told(&Form::Text, Want::Limits, &Answer::Limit(Box::new(answer)));
    assert_eq!(of(list(false)), Said::Line(expected.clone().into()));
    assert_eq!(of(list(true)), Said::Line((expected + " | MORE").into()));
    let none = LimitAnswer::List { limits: vec![], more: false };
    let explained = |reasons| LimitAnswer::Explained { reasons, at: Timestamp::from_millis(1) };
    assert_eq!(of(none), Said::Line("NONE".into()));
    assert_eq!(of(explained(vec![])), Said::Line("DELIVERABLE".into()));
    let by = LimitedBy { limit: "stripe".into(), key: "stripe:7".into() };
    let eligible_at = Timestamp::from_millis(144);
    let reasons = vec![
        Explanation::Rate { by, eligible_at },
        Explanation::NoConsumer,
        Explanation::LowerPriority { than: 9 },
    ];
    let text = "rate of limit stripe for stripe:7: may go in 143ms | no consumer is receiving | \
                messages of priority 9 go first";
    assert_eq!(of(explained(reasons)), Said::Line(text.into()));
}

#[test]
#[rustfmt::skip]
fn json_shows_values_as_they_were_written() {
    let cases: [(ValueKind, &[u8], &str); 8] = [
        (ValueKind::Text,  b"a\"b",                     r#""a\"b""#),
        (ValueKind::Text,  &[1; 20],                    r#"{"base64":"AQEBAQEBAQEBAQEBAQEBAQEBAQE="}"#),
        (ValueKind::Bytes, b"abc",                      r#"{"base64":"YWJj"}"#),
        (ValueKind::Json,  b"1.10",                     "1.10"),
        (ValueKind::Json,  b"{\n \"a\": 1\n}",          r#"{  "a": 1 }"#),
        (ValueKind::Json,  b"{",                        r#"{"base64":"ew=="}"#),
        (ValueKind::Json,  b"{\"base64\": 1}",          r#"{"base64":"eyJiYXNlNjQiOiAxfQ=="}"#),
        (ValueKind::Text,  b"\xff",                     r#"{"base64":"/w=="}"#),
    ];
    let form = Form::Json { id: Some("[1.0]".into()) };
    for (kind, bytes, expected) in cases {
        let answer = Answer::Kv(KvAnswer::Value(entry(kind, bytes)));
        let expected = format!(r#"{{"result":{expected},"id":[1.0]}}"#);
        assert_eq!(told(&form, Want::Value, &answer), Said::Line(expected.into()));
    }
}

#[test]
#[rustfmt::skip]
fn pushes_are_known_by_their_beginning() {
    let put = WatchEvent::Put(entry(ValueKind::Text, b"x"));
    let gone = WatchEvent::Deleted { key: Key::new("k").unwrap(), revision: Revision(8) };
    let gap = WatchEvent::Gap { resumed_at: Revision(9) };
    let cases = [
        (Event::Change(&put),                           "*put a^b x", r#"{"event":"put","key":"a^b","value":"x","revision":7}"#),
        (Event::Change(&gone),                          "*del k",     r#"{"event":"del","key":"k","revision":8}"#),
        (Event::Change(&gap),                           "*gap 9",     r#"{"event":"gap","revision":9}"#),
        (Event::Lost { pattern: "a.>", messages: 3 },   "*gap a.> 3", r#"{"event":"gap","messages":3,"topic":"a.>"}"#),
    ];
    for (event, text, json) in cases {
        assert_eq!((event.to_text().as_str(), event.to_json().as_str()), (text, json));
    }
    let payload = Bytes::from_static(b"a\nb");
    let message = Event::Message { topic: b"t", sender: b"me", published_at: Timestamp::from_millis(5), headers: &[], payload: &payload };
    assert_eq!(message.to_text(), "*unshown t use JSON");
    assert_eq!(message.to_json(), r#"{"event":"message","payload":"a\nb","published_at":5,"sender":"me","topic":"t"}"#);
}

#[test]
fn refusals_are_one_short_line() {
    let limited = Refusal {
        retry_after: Some(std::time::Duration::from_millis(250)),
        ..Refusal::new(Code::RateLimited, "too many")
    };
    assert_eq!(Form::Text.refused(&limited), "ERR rate limited, retry after 250 ms");
    let forged = Refusal::new(Code::Invalid, "a\nOK");
    assert_eq!(Form::Text.refused(&forged), "ERR a?OK");
}

proptest! {
    #[test]
    fn any_line_is_answered_in_its_form(line in prop::collection::vec(any::<u8>(), 0..60)) {
        exercise(&line);
    }

    #[test]
    fn near_json_is_answered_in_json(
        name in "[a-z\"\\\\{}: ,]{0,8}",
        value in "[0-9a-z\"\\\\{}\\[\\]: ,.-]{0,20}",
    ) {
        exercise(format!("{{\"action\":\"SET\",\"key\":\"a\",\"{name}\":{value}}}").as_bytes());
        exercise(format!("{{\"action\":\"ECHO\",\"id\":{value}}}").as_bytes());
    }
}
