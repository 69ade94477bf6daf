//! Queues in JSON: the examples of the docs, and requests and answers that nobody thought of.

mod any;
mod docs;
mod shapes;

use std::sync::Arc;
use std::time::Duration;

use sluice_model::{
    Answer, Carried, DeadReason, Difference, Lane, MessageId, MessageInfo, Peeked, QueueName,
    QueueSettings, QueueStats, QueueSummary, Seq, Setting, State, StateCounts, Timestamp,
    Transition,
};

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

fn counts(ready: u64, delayed: u64, leased: u64, dead: u64) -> StateCounts {
    StateCounts { ready, delayed, leased, dead }
}

fn settings(chosen: &[(&str, &str)]) -> QueueSettings {
    let mut settings = QueueSettings::default();
    for (name, value) in chosen {
        settings.set_text(name, value).unwrap();
    }
    settings
}

fn differs() -> Answer {
    let differences = [
        (Setting::LeaseMs, 30_000, 60_000),
        (Setting::BackoffFactor, 2_000, 1_500),
        (Setting::Overflow, 0, 1),
    ];
    let differences = differences.map(|(setting, is, asked)| Difference { setting, is, asked });
    Answer::Differs(differences.into())
}

fn audit() -> QueueSummary {
    QueueSummary {
        name: queue("$sub.audit"),
        pattern: Some("orders.>".into()),
        counts: counts(7, 3, 2, 1),
    }
}

fn stats() -> QueueStats {
    let chosen =
        [("lease_ms", "30000"), ("backoff_factor", "2"), ("jitter", "0.2"), ("overflow", "reject")];
    QueueStats {
        name: queue("$sub.audit"),
        pattern: Some("orders.>".into()),
        made_at: at(1_764_181_972_000),
        settings: settings(&chosen),
        counts: counts(7, 3, 2, 1),
        bytes: 5_120,
        dead_bytes: 512,
        published: 113,
        acked: 96,
        expired: 1,
        deleted: 2,
        dropped: 1,
        oldest_ready: Some(Duration::from_millis(1_250)),
        oldest_leased: Some(Duration::from_micros(800_900)),
        next_due: Some(at(1_764_181_999_000)),
        consumers: 2,
        waiting: 0,
        redriving: false,
        degraded: false,
    }
}

/// A message about which there is much to say.
fn dead() -> MessageInfo {
    let keys = vec!["stripe:7".into()];
    MessageInfo {
        id: MessageId { start: 2, counter: 255 },
        seq: Seq(43),
        state: State::Dead,
        enqueued_at: at(1_764_181_972_000),
        ready_at: None,
        expires_at: Some(at(1_764_268_372_000)),
        deadline: None,
        lane: Some(Arc::new(Lane { priority: 9, group: Some("eu".into()), keys, cost: 2 })),
        bytes: 215,
        acquires: 3,
        failures: 2,
        releases: 0,
        redriven: 1,
        last_error: Some("no such account".into()),
        dead: Some((DeadReason::Rejected, at(1_764_181_990_000))),
        last_change: (Transition::Died, at(1_764_181_990_000)),
    }
}

/// A message about which there is little to say, with a payload.
fn delayed(payload: &'static [u8]) -> Peeked {
    let info = MessageInfo {
        id: MessageId { start: 2, counter: 256 },
        seq: Seq(44),
        state: State::Delayed,
        enqueued_at: at(1_764_181_972_000),
        ready_at: Some(at(1_764_182_000_000)),
        expires_at: None,
        deadline: None,
        lane: None,
        bytes: 64,
        acquires: 0,
        failures: 0,
        releases: 0,
        redriven: 0,
        last_error: None,
        dead: None,
        last_change: (Transition::Published, at(1_764_181_972_000)),
    };
    let carried = Carried {
        id: info.id,
        published_at: info.enqueued_at,
        topic: "mail".into(),
        sender: "anonymous".into(),
        headers: vec![("content-type".into(), "text/plain".into())],
        payload: payload.into(),
    };
    Peeked { info, carried }
}
