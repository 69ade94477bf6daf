//! `GET /metrics`: what is counted, for people and scripts.
//!
//! Prometheus' text, for who accepts that, says more: [`crate::metrics`].

use std::collections::BTreeMap;

use axum::response::{IntoResponse, Response};
use hyper::HeaderMap;
use hyper::header::{ACCEPT, CONTENT_TYPE, VARY};
use serde_json::{Map, Value, json};
use sluice_broker::Stats;
use sluice_model::{Action, Answer, Code, QueueRequest, Refusal, Resource};
use tokio::runtime::Handle;
use utoipa::ToSchema;

use crate::doors::http::caller::Caller;
use crate::doors::http::door;
use crate::doors::http::refusal::Outcome;
use crate::limits;
use crate::metrics::{self, Format};

/// What the answer in JSON has, for the document alone. A test holds the two against each other.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the document is made from its fields")]
struct Figures {
    /// How long the server has been there.
    uptime_sec: u64,
    /// Messages taken by `POST /enqueue`.
    enqueues: u64,
    /// Messages given by `GET /dequeue`.
    dequeues_ok: u64,
    /// Times that it had nothing to give.
    dequeues_empty: u64,
    /// Messages of the queue `default`.
    queue_length: u64,
    /// Bytes of them.
    queue_bytes: u64,
    /// Descriptors that are open; null where the system does not say.
    open_fds: Option<u64>,
    /// Descriptors that may be.
    fd_limit: u64,
    /// Tasks of the runtime.
    tasks: u64,
    /// Bytes of the heap in use.
    memory_used: u64,
    /// Others than this machine reach it without keys or without TLS.
    insecure: bool,
    /// What the broker counts, by name.
    broker: BTreeMap<String, u64>,
    /// What the doors count, by name.
    doors: BTreeMap<String, u64>,
}

/// Show what is counted
///
/// `enqueues`, `dequeues_ok` and `dequeues_empty` count since the start or the last `POST /clear`,
/// `doors` and `broker` since the start. Prometheus' text where that is accepted.
#[utoipa::path(
    get, path = "/metrics", tag = "health",
    responses((status = 200, description = "Names and figures", content(
        (Figures = "application/json"),
        (String = "text/plain"),
        (String = "application/openmetrics-text")
    )))
)]
pub(super) async fn handle(caller: Caller, headers: HeaderMap) -> Outcome<Response> {
    show(&caller, &headers, Format::Json).await
}

/// The same where Prometheus is expected: text unless JSON is asked for.
pub(super) async fn exposed(caller: Caller, headers: HeaderMap) -> Outcome<Response> {
    show(&caller, &headers, Format::Plain).await
}

async fn show(caller: &Caller, headers: &HeaderMap, usual: Format) -> Outcome<Response> {
    caller.may(Action::Observe, Resource::Broker)?;
    let accept = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let format = Format::accepted(accept, usual);
    let text = match format {
        Format::Json => figures(caller).await?.to_string(),
        Format::OpenMetrics | Format::Plain => metrics::page(&caller.shared, format).await?,
    };
    let about = [(CONTENT_TYPE, format.content_type()), (VARY, "accept")];
    Ok((about, text).into_response())
}

async fn figures(caller: &Caller) -> Result<Value, Refusal> {
    let asked = caller.ask_queue(QueueRequest::Stats { name: door::default_queue() }).await;
    let (length, bytes) = match asked {
        Ok(Answer::Stats(stats)) => {
            let counts = stats.counts;
            (counts.ready + counts.delayed + counts.leased, stats.bytes)
        }
        Ok(_) | Err(Refusal { code: Code::NotFound, .. }) => (0, 0),
        Err(refusal) => return Err(refusal),
    };
    let counted = caller.shared.counters.snapshot();
    let (begun, since) = (&caller.shared.begun, caller.shared.begun.since(&counted));
    let doors: Map<String, Value> =
        counted.iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    Ok(json!({
        "uptime_sec": begun.at.elapsed().as_secs(),
        "enqueues": since.enqueues,
        "dequeues_ok": since.dequeues_ok,
        "dequeues_empty": since.dequeues_empty,
        "queue_length": length,
        "queue_bytes": bytes,
        "open_fds": limits::open_descriptors(),
        "fd_limit": limits::descriptor_limit(),
        "tasks": Handle::current().metrics().num_alive_tasks(),
        "memory_used": caller.shared.broker.memory().usage().0,
        "insecure": caller.shared.config.is_exposed(),
        "broker": broker(&caller.shared.broker.stats()),
        "doors": doors,
    }))
}

fn broker(stats: &Stats) -> Value {
    let Stats { published, delivered, acked, unroutable, dropped, expired, dead, .. } = stats;
    let Stats { refused, forbidden, refused_memory, refused_space, subscriptions, .. } = stats;
    let Stats { sessions, queued, commits, file_bytes, disk_free, .. } = stats;
    json!({
        "published": published,
        "delivered": delivered,
        "acked": acked,
        "unroutable": unroutable,
        "dropped": dropped,
        "expired": expired,
        "dead": dead,
        "refused": refused,
        "forbidden": forbidden,
        "refused_memory": refused_memory,
        "refused_space": refused_space,
        "subscriptions": subscriptions,
        "sessions": sessions,
        "queued": queued,
        "commits": commits,
        "file_bytes": file_bytes,
        "disk_free": disk_free,
    })
}
