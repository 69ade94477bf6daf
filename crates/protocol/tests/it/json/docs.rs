//! The examples of `docs/protocol/json.md` and `limits.md`, each read and written by the code.

use std::time::Duration;

use serde_json::Value;
use sluice_model::{
    Answer, Code, Explanation, KeyFigures, LimitAnswer, LimitMatch, LimitRequest, LimitedBy,
    Paused, QueuePattern, QueueSummary, Refusal,
};
use sluice_protocol::json;

use super::{at, audit, counts, dead, delayed, differs, queue, stats};

const DOCS: &str = include_str!("../../../../../docs/protocol/json.md");
const LIMITS: &str = include_str!("../../../../../docs/protocol/limits.md");

/// A section of the docs: its heading, its text, and its examples.
struct Section {
    heading: &'static str,
    text: &'static str,
    examples: Vec<&'static str>,
}

fn sections(docs: &'static str) -> Vec<Section> {
    let parts = docs.split("\n#").skip(1).map(|part| {
        let (heading, text) = part.split_once('\n').unwrap();
        let heading = heading.trim_matches(['#', ' ', '`']);
        let examples = text.split("```json\n").skip(1);
        let examples = examples.map(|rest| rest.split("```").next().unwrap()).collect();
        Section { heading, text, examples }
    });
    parts.collect()
}

/// The answer that the docs show for a verb.
fn answer(verb: &str) -> Answer {
    match verb {
        "queue.declare" => differs(),
        "queue.update" => Answer::Declared { created: false },
        "queue.list" => {
            let (name, counts) = (queue("mail"), counts(7, 0, 2, 1));
            let queues = vec![QueueSummary { name, pattern: None, counts }];
            Answer::Queues { queues, next: Some(queue("mail")) }
        }
        "queue.stats" => Answer::Stats(Box::new(stats())),
        "queue.purge" => Answer::Removed { messages: 11 },
        "queue.delete" | "subscription.delete" => Answer::Removed { messages: 13 },
        "queue.browse" => Answer::Browsed { messages: vec![dead()], next: Some(43) },
        "queue.peek" => Answer::Peeked(Box::new(delayed(b"hello"))),
        "queue.remove" | "queue.cancel" => Answer::Removed { messages: 1 },
        "queue.reschedule" => Answer::Rescheduled { at: Some(at(1_764_182_060_000)) },
        "queue.redrive" => Answer::Redriven { messages: 0, goes_on: true },
        "subscription.list" => {
            let (name, counts) = (queue("$v1.12"), counts(0, 0, 0, 0));
            let unnamed = QueueSummary { name, pattern: Some("orders.eu".into()), counts };
            Answer::Queues { queues: vec![audit(), unnamed], next: None }
        }
        other => panic!("a new verb: {other}"),
    }
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

#[test]
fn every_verb_has_an_example_that_is_read_and_one_that_is_written() {
    let sections = sections(DOCS);
    for (verb, fields) in json::verbs() {
        let section = sections.iter().find(|section| section.heading == verb);
        let section = section.unwrap_or_else(|| panic!("the docs have nothing about {verb}"));
        let [request, told] = section.examples[..] else {
            panic!("{verb} has {} examples, not a request and an answer", section.examples.len());
        };
        let read = json::request(verb, request.as_bytes());
        let read = read.unwrap_or_else(|refusal| panic!("{verb}: {}", refusal.message));
        let (written, body) = json::written(&read);
        assert_eq!((written, value(&body)), (verb, value(request)));
        assert_eq!(value(&json::answer(&answer(verb))), value(told), "{verb}");
        for field in fields {
            let described = section.text.contains(&format!("`{field}`"));
            assert!(described, "the docs don't say what {field} of {verb} is");
        }
    }
    let described = sections.iter().filter(|section| section.heading.contains('.')).count();
    assert_eq!(described, json::verbs().len(), "the docs have a verb that does not exist");
}

/// The answer that the docs show for a verb about limits.
fn limit_answer(verb: &str) -> LimitAnswer {
    let limit = |json: &str| match json::limit_request("limit.put", &[], json.as_bytes()) {
        Ok(LimitRequest::Put(limit)) => limit,
        other => panic!("{other:?}"),
    };
    let pause = Paused { until: Some(at(1_764_182_032_000)), by: None, reason: None };
    match verb {
        "limit.put" => LimitAnswer::Put {
            replaced: Some(limit(
                r#"{"name": "stripe", "key": "stripe:*", "rate": 2.5, "window": "100/m"}"#,
            )),
        },
        "limit.list" => {
            let front = r#"{"name": "front", "scope": "client", "rate": 100, "burst": 20, "max_wait_ms": 250}"#;
            LimitAnswer::List { limits: vec![*limit(front)], more: true }
        }
        "limit.delete" => LimitAnswer::Deleted(1),
        "limit.pause" => {
            let (by, reason) = (Some("key:ops".into()), Some("their maintenance".into()));
            LimitAnswer::Paused(Paused { by, reason, ..pause })
        }
        "limit.resume" => LimitAnswer::Resumed(true),
        "limit.top" => LimitAnswer::TopKeys(vec![KeyFigures {
            matches: LimitMatch {
                queue: QueuePattern::all(),
                key: Some("stripe:*".parse().unwrap()),
            },
            key: "stripe:7".into(),
            holders: 4,
            lanes: 2,
            tokens: Some(0),
            paused: Some(pause),
        }]),
        "queue.weigh" => LimitAnswer::Weighed,
        "queue.explain" => {
            let by = LimitedBy { limit: "stripe".into(), key: "stripe:7".into() };
            let eligible_at = at(1_764_182_000_200);
            let reasons = vec![Explanation::Rate { by, eligible_at }];
            LimitAnswer::Explained { reasons, at: at(1_764_182_000_000) }
        }
        other => panic!("a new verb: {other}"),
    }
}

#[test]
fn every_verb_about_limits_has_an_example_too() {
    let sections = sections(LIMITS);
    for (verb, fields) in json::LIMIT_VERBS {
        let section = sections.iter().find(|section| section.heading == verb);
        let section = section.unwrap_or_else(|| panic!("the docs have nothing about {verb}"));
        let [request, told] = section.examples[..] else {
            panic!("{verb} has {} examples, not a request and an answer", section.examples.len());
        };
        let read = json::limit_request(verb, &[], request.as_bytes());
        let read = read.unwrap_or_else(|refusal| panic!("{verb}: {}", refusal.message));
        let (written, body) = json::limit_written(&read);
        assert_eq!((written, value(&body)), (verb, value(request)));
        assert_eq!(value(&json::limit_answer(&limit_answer(verb))), value(told), "{verb}");
        for field in fields {
            let described = section.text.contains(&format!("`{field}`"));
            assert!(described, "the docs don't say what {field} of {verb} is");
        }
    }
    let described = sections.iter().filter(|section| section.heading.contains('.')).count();
    assert_eq!(described, json::LIMIT_VERBS.len(), "the docs have a verb that does not exist");
}

#[test]
fn the_example_of_an_error_is_one() {
    let sections = sections(DOCS);
    let errors = sections.iter().find(|section| section.heading == "Errors").unwrap();
    let retry_after = Some(Duration::from_millis(1_500));
    let refusal = Refusal { retry_after, ..Refusal::new(Code::QueueFull, "the queue is full") };
    let told = json::answer(&Answer::Refused(refusal));
    assert_eq!(value(&told), value(errors.examples[0]));
}

#[test]
fn the_words_that_the_docs_list_are_all_there_are() {
    let listed = |word: &str| assert!(DOCS.contains(&format!("`{word}`")), "{word}");
    sluice_model::State::ALL.iter().for_each(|state| listed(state.name()));
    sluice_model::DeadReason::ALL.iter().for_each(|reason| listed(reason.name()));
    sluice_model::Transition::ALL.iter().for_each(|change| listed(change.name()));
}
