//! The line door's two forms: what is written down, what is shown, and what nobody meant.
//!
//! `testdata/fuzz` holds seeds of lines that are well-formed and not, and whatever was found.

use std::fs;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use sluice_model::{
    Answer, Carried, Code, Delivery, Entry, Generation, Key, KvAnswer, LeaseId, MessageId, QueueNo,
    Refusal, Revision, Seq, SubscriptionId, Timestamp, Value, ValueKind, WatchEvent,
};
use sluice_protocol::line::{self, Event, Form, Line, LineDecoder, Said, Want};

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
    Answer::Delivered(delivery)
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
    assert!(shown.starts_with("00000001-0000000000000002 ") && shown.ends_with(" two words"));
    for payload in [&b"a\nb"[..], b"\xff", b"\x1b[0m", "\u{85}".as_bytes()] {
        let shown = told(&Form::Text, Want::Message, &delivery(payload));
        assert_eq!(shown, Said::Unshowable("ERR use JSON".to_owned()), "{payload:?}");
    }
    let value = |bytes| {
        let answer = KvAnswer::Value(entry(ValueKind::Text, bytes));
        told(&Form::Text, Want::Value, &Answer::Kv(Box::new(answer)))
    };
    assert_eq!(value(b"plain"), Said::Line("plain".to_owned()));
    assert_eq!(value(b"*put a b"), Said::Unshowable("ERR use JSON".to_owned()));
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
        let answer = Answer::Kv(Box::new(KvAnswer::Value(entry(kind, bytes))));
        let expected = format!(r#"{{"result":{expected},"id":[1.0]}}"#);
        assert_eq!(told(&form, Want::Value, &answer), Said::Line(expected));
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
