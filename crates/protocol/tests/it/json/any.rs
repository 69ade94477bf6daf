//! Bodies that nobody meant are answered, and every request comes back as it was written.

use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use sluice_model::{
    Answer, Code, DeadReason, Filter, Lane, MessageId, NAME_BYTES_MAX, NOTE_BYTES_MAX, Purge,
    QueueKind, QueueName, QueueRequest, QueueSettings, QueueSummary, Redrive, Refusal, Reply,
    Setting, State, SubscriptionName, Timestamp,
};
use sluice_protocol::json;

use super::{dead, delayed, stats};

fn any_name() -> impl Strategy<Value = QueueName> {
    let plain = r#"[a-z0-9#%"\\~\u{e4}]{1,9}(\.[a-z0-9_-]{1,5}){0,3}"#;
    let plain = plain.prop_map(|name| QueueName::new(&name).unwrap());
    let named = "[a-z]{1,9}".prop_map(|name| SubscriptionName::new(&name).unwrap());
    let unnamed = any::<u32>().prop_map(|no| QueueName::of_unnamed(sluice_model::QueueNo(no)));
    prop_oneof![4 => plain, 1 => named.prop_map(|name| QueueName::of_subscription(&name)), 1 => unnamed]
}

fn any_id() -> impl Strategy<Value = MessageId> {
    any::<(u32, u64)>().prop_map(|(start, counter)| MessageId { start, counter })
}

fn any_settings() -> impl Strategy<Value = QueueSettings> {
    vec((select(Setting::ALL), any::<u64>()), 0..8).prop_map(|chosen| {
        let mut settings = QueueSettings::default();
        for (setting, value) in chosen {
            let (min, max) = setting.range().into_inner();
            settings.set(setting, min + value % (max - min + 1)).unwrap();
        }
        settings
    })
}

fn any_duration() -> impl Strategy<Value = Option<Duration>> {
    option::of(any::<u64>().prop_map(Duration::from_millis))
}

fn any_filter() -> impl Strategy<Value = Filter> {
    let key = || option::of(".{1,30}");
    let reason = option::of(select(DeadReason::ALL));
    (option::of(select(State::ALL)), key(), key(), any_duration(), reason).prop_map(
        |(state, group, key, age_min, reason)| Filter { state, group, key, age_min, reason },
    )
}

fn any_purge() -> impl Strategy<Value = Purge> {
    (1u8..8).prop_map(|bits| Purge {
        waiting: bits & 1 > 0,
        leased: bits & 2 > 0,
        dead: bits & 4 > 0,
    })
}

fn any_redrive() -> impl Strategy<Value = Redrive> {
    let matching = (option::of(select(DeadReason::ALL)), any_duration());
    prop_oneof![
        vec(any_id(), 0..20).prop_map(Redrive::Ids),
        matching.prop_map(|(reason, age_min)| Redrive::Matching { reason, age_min }),
    ]
}

fn any_request() -> impl Strategy<Value = QueueRequest> {
    let (name, id, limit) = (any_name, any_id, 1..=json::PAGE_MAX);
    let kind = select(&[QueueKind::Plain, QueueKind::Subscription][..]);
    prop_oneof![
        (name(), any_settings(), any::<bool>()).prop_map(|(name, settings, update)| {
            QueueRequest::Declare { name, settings, update }
        }),
        (name(), any::<bool>()).prop_map(|(name, force)| QueueRequest::Delete { name, force }),
        (kind, option::of(name()), limit.clone())
            .prop_map(|(kind, after, limit)| QueueRequest::List { kind, after, limit }),
        name().prop_map(|name| QueueRequest::Stats { name }),
        (name(), any_purge()).prop_map(|(name, what)| QueueRequest::Purge { name, what }),
        (name(), any_filter(), any::<Option<u64>>(), limit).prop_map(
            |(name, filter, after, limit)| QueueRequest::Browse { name, filter, after, limit }
        ),
        (name(), id()).prop_map(|(name, id)| QueueRequest::Peek { name, id }),
        (name(), id(), any::<bool>()).prop_map(|(name, id, force)| QueueRequest::Remove {
            name,
            id,
            force
        }),
        (name(), id()).prop_map(|(name, id)| QueueRequest::Cancel { name, id }),
        (name(), id(), any::<u64>()).prop_map(|(name, id, at)| {
            QueueRequest::Reschedule { name, id, at: Timestamp::from_millis(at) }
        }),
        (name(), any_redrive(), option::of(1..=u32::MAX)).prop_map(|(name, which, per_second)| {
            QueueRequest::Redrive { name, which, per_second }
        }),
    ]
}

/// Verbs, with bodies that are often nearly right.
fn any_body() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
    let known = json::verbs().collect::<Vec<_>>();
    let value = select(vec![
        "0",
        "-1",
        "1.5",
        "1e400",
        "18446744073709551616",
        "true",
        "null",
        "[]",
        "[[1]]",
        "{}",
        "\"\"",
        "\"mail\"",
        "\"$sub.a\"",
        "\"ready\"",
        "\"00000001-0000000000000002\"",
        "[\"00000001-0000000000000002\"]",
        "{\"lease_ms\": 5}",
        "{\"jitter\": 1e-9}",
        "{\"a\": {}}",
    ]);
    let near = select(known).prop_flat_map(move |(verb, fields)| {
        let field = prop_oneof![9 => select(fields), 1 => Just("nmae")];
        vec((field, value.clone()), 0..5).prop_map(move |fields| {
            let fields: Vec<_> = fields.iter().map(|(f, v)| format!("\"{f}\": {v}")).collect();
            (verb, format!("{{{}}}", fields.join(",")).into_bytes())
        })
    });
    let verb = select(json::verbs().map(|(verb, _)| verb).collect::<Vec<_>>());
    let letters = vec(select(&b"{}[]\":,0e-.\\u1tfnalsr \xff"[..]), 0..60);
    let noise = prop_oneof![vec(any::<u8>(), 0..60), letters];
    prop_oneof![near, (verb, noise)]
}

proptest! {
    #[test]
    fn any_body_is_read_or_refused((verb, body) in any_body()) {
        match json::request(verb, &body) {
            // What was read is written, if in fewer ways than it can be read.
            Ok(request) => {
                let (verb, body) = json::written(&request);
                prop_assert_eq!(json::request(verb, body.as_bytes()), Ok(request));
            }
            Err(refusal) => {
                prop_assert!(matches!(refusal.code, Code::BadRequest | Code::Invalid));
                prop_assert!(refusal.message.len() < 400, "{}", refusal.message);
                let reply = Answer::Refused(refusal);
                let bytes = json::answer(&reply).len();
                let weight = Reply { tag: 0, answer: reply }.weight();
                prop_assert!(bytes <= weight);
            }
        }
    }

    #[test]
    fn any_verb_is_answered(verb in ".*", body in vec(any::<u8>(), 0..9)) {
        let known = json::verbs().any(|(known, _)| known == verb);
        prop_assert!(known || json::request(&verb, &body).unwrap_err().code == Code::BadRequest);
    }

    #[test]
    fn a_request_comes_back_as_it_was_written(request in any_request()) {
        let (verb, body) = json::written(&request);
        prop_assert_eq!(json::request(verb, body.as_bytes()), Ok(request), "{} {}", verb, body);
    }

    /// The weight is what a connection's bound on outgoing bytes counts.
    #[test]
    fn an_answer_has_no_more_bytes_than_its_weight(
        letter in select(&["\u{1}", "\"", "\\", "\n", "a", "\u{20ac}"][..]),
        bytes in 0usize..=NOTE_BYTES_MAX,
        payload in vec(any::<u8>(), 0..40_000),
        count in 0usize..9,
    ) {
        let text = |max: usize| letter.repeat(bytes.min(max) / letter.len());
        let keys = vec![text(128).into(); 4];
        let lane = Lane { group: Some(text(128).into()), keys, ..Lane::default() };
        let mut info = dead();
        let most = Timestamp::from_millis(u64::MAX);
        info.lane = Some(Arc::new(lane));
        info.last_error = Some(text(NOTE_BYTES_MAX).into());
        (info.ready_at, info.deadline, info.expires_at) = (Some(most), Some(most), Some(most));
        (info.enqueued_at, info.seq.0, info.bytes) = (most, u64::MAX, u64::MAX);
        (info.dead, info.last_change.1) = (Some((DeadReason::MaxFailures, most)), most);
        (info.acquires, info.failures) = (u32::MAX, u32::MAX);
        (info.releases, info.redriven) = (u32::MAX, u32::MAX);
        let mut peeked = delayed(b"");
        peeked.info = info.clone();
        peeked.carried.payload = payload.into();
        peeked.carried.headers = vec![(text(256).into(), "".into()); 64];
        let mut as_text = peeked.clone();
        as_text.carried.payload = "\n".repeat(bytes * 90).into();
        let name = QueueName::new(&format!("$sub.{}", "\"".repeat(NAME_BYTES_MAX - 5)));
        let name = name.unwrap_or_else(|_| QueueName::new("mail").unwrap());
        let counts = sluice_model::StateCounts {
            ready: u64::MAX, delayed: u64::MAX, leased: u64::MAX, dead: u64::MAX,
        };
        let summary = QueueSummary {
            name: name.clone(), pattern: Some("\\".repeat(NAME_BYTES_MAX)), counts,
        };
        let mut stats = stats();
        (stats.name, stats.pattern) = (name.clone(), summary.pattern.clone());
        for setting in Setting::ALL {
            stats.settings.set(*setting, *setting.range().end()).unwrap();
        }
        (stats.counts, stats.bytes, stats.dead_bytes) = (counts, u64::MAX, u64::MAX);
        (stats.published, stats.acked, stats.expired) = (u64::MAX, u64::MAX, u64::MAX);
        (stats.deleted, stats.dropped, stats.consumers) = (u64::MAX, u64::MAX, u64::MAX);
        (stats.waiting, stats.made_at, stats.next_due) = (u64::MAX, most, Some(most));
        (stats.oldest_ready, stats.oldest_leased) = (Some(Duration::MAX), Some(Duration::MAX));
        let differ = Setting::ALL.iter().map(|setting| {
            let (is, asked) = setting.range().into_inner();
            sluice_model::Difference { setting: *setting, is, asked }
        });
        let retry_after = Some(Duration::MAX);
        let answers = [
            Answer::Refused(Refusal { retry_after, ..Refusal::new(Code::MethodNotAllowed, "") }),
            Answer::Declared { created: false },
            Answer::Differs(differ.take(count).collect()),
            Answer::Queues { queues: vec![summary; count], next: Some(name) },
            Answer::Stats(Box::new(stats)),
            Answer::Removed { messages: u64::MAX },
            Answer::Browsed { messages: vec![info; count], next: Some(u64::MAX) },
            Answer::Peeked(Box::new(peeked)),
            Answer::Peeked(Box::new(as_text)),
            Answer::Rescheduled { at: Some(most) },
            Answer::Redriven { messages: u64::MAX, goes_on: false },
        ];
        for answer in answers {
            let bytes = json::answer(&answer).len();
            let weight = Reply { tag: 0, answer: answer.clone() }.weight();
            prop_assert!(bytes <= weight, "{} bytes, {}: {:.300?}", bytes, weight, answer);
        }
    }
}
