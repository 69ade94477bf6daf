//! What a client reads of an answer.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sluice_model::{Answer, Code, Refusal};
use sluice_protocol::json;

use super::{audit, dead, delayed, differs, stats};

/// Reads an answer as a client does, and writes it again.
fn read<T: DeserializeOwned + Serialize + PartialEq + Debug>(answer: &Answer) -> T {
    let text = json::answer(answer);
    let shape: T = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e} in {text}"));
    assert_eq!(serde_json::to_string(&shape).unwrap(), text);
    shape
}

#[test]
fn a_client_reads_every_answer_as_it_was_told() {
    let told = stats();
    assert_eq!(read::<json::Stats>(&Answer::Stats(Box::new(told.clone()))), (&told).into());
    let queues: json::Queues = read(&Answer::Queues { queues: vec![audit()], next: None });
    assert_eq!(queues.queues, [json::Queue::from(&audit())]);
    let browsed: json::Browsed = read(&Answer::Browsed { messages: vec![dead()], next: Some(43) });
    assert_eq!((browsed.messages, browsed.next), (vec![(&dead()).into()], Some(43)));
    let peeked = delayed(b"hello");
    let shape: json::Peeked = read(&Answer::Peeked(Box::new(peeked.clone())));
    assert_eq!(shape, (&peeked).into());
    let declared: json::Declared = read(&Answer::Declared { created: true });
    assert!(declared.created && declared.differs.is_empty());
    let declared: json::Declared = read(&differs());
    assert_eq!((declared.created, declared.differs.len()), (false, 3));
    assert_eq!(read::<json::Removed>(&Answer::Removed { messages: 3 }).messages, 3);
    let redriven = Answer::Redriven { messages: 3, goes_on: false };
    assert_eq!(read::<json::Redriven>(&redriven).messages, 3);
    assert_eq!(read::<json::Rescheduled>(&Answer::Rescheduled { at: None }).ready_at, None);
    for code in Code::ALL {
        let failure: json::Failure = read(&Answer::Refused(Refusal::new(*code, "because")));
        assert_eq!((&*failure.error.code, failure.error.status), (code.name(), code.status()));
        assert_eq!((&*failure.error.message, failure.error.retry_after_ms), ("because", None));
    }
}

#[test]
fn a_client_passes_over_what_it_does_not_know() {
    let text = r#"{"messages": 1, "goes_on": false, "since": "the next version"}"#;
    assert_eq!(serde_json::from_str::<json::Redriven>(text).unwrap().messages, 1);
    let mut message: serde_json::Value =
        serde_json::to_value(json::Message::from(&dead())).unwrap();
    message["state"] = "asleep".into();
    let message: json::Message = serde_json::from_value(message).unwrap();
    assert_eq!(message.state, "asleep");
}

#[test]
#[rustfmt::skip]
fn a_payload_is_text_where_it_can_be() {
    let cases: [(&[u8], Option<&str>, Option<&str>); 6] = [
        (b"",              Some(""),           None),
        (b"a\tb\r\n",      Some("a\tb\r\n"),   None),
        ("\"\u{e4}\\".as_bytes(), Some("\"\u{e4}\\"), None),
        (b"\0",            None,               Some("AA==")),
        (b"\xff\xfe\xfd",  None,               Some("//79")),
        ("\u{85}".as_bytes(), None,             Some("woU=")),
    ];
    for (payload, text, base64) in cases {
        let peeked: json::Peeked = read(&Answer::Peeked(Box::new(delayed(payload))));
        assert_eq!((peeked.payload.as_deref(), peeked.payload_base64.as_deref()), (text, base64));
        assert_eq!(peeked.payload_bytes, payload.len() as u64);
    }
    let mut large = delayed(b"");
    large.carried.payload = vec![b'a'; json::PAYLOAD_SHOWN_MAX + 1].into();
    let peeked: json::Peeked = read(&Answer::Peeked(Box::new(large)));
    assert_eq!((peeked.payload, peeked.payload_base64), (None, None));
    assert_eq!(peeked.payload_bytes, json::PAYLOAD_SHOWN_MAX as u64 + 1);
}
