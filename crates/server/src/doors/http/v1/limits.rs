//! Limits: set, listed, taken away; pauses and weights; and why a message is not delivered.

use axum::response::Response;
use sluice_protocol::json;

use super::{ask, schema};
use crate::doors::http::caller::Caller;
use crate::doors::http::extract::{At, Fields, Json};
use crate::doors::http::refusal::Outcome;

/// List limits
///
/// In the order of their names, as they can be set.
#[utoipa::path(
    get, path = "/v1/limits", tag = "limits", params(schema::LimitsOf),
    responses((status = 200, description = "A page of them", body = json::Limits))
)]
pub(super) async fn list(caller: Caller, fields: Fields) -> Outcome<Response> {
    ask(&caller, "limit.list", &fields.with(&[]), b"").await
}

/// Set a limit
///
/// In place of the one of that name with the same `queue` and `key`. It counts at once.
#[utoipa::path(
    put, path = "/v1/limits/{name}", tag = "limits", params(schema::LimitInPath),
    request_body = schema::NewLimit,
    responses((status = 200, description = "It counts", body = json::LimitPut))
)]
pub(super) async fn put(
    caller: Caller,
    At(name): At<String>,
    Json(body): Json,
) -> Outcome<Response> {
    ask(&caller, "limit.put", &[("name", &name)], &body).await
}

/// Take limits away
///
/// All of that name, or with `queue` or `key` the one that matches these.
#[utoipa::path(
    delete, path = "/v1/limits/{name}", tag = "limits",
    params(schema::LimitInPath, schema::MatchOf),
    responses((status = 200, description = "They count no more", body = json::LimitsDeleted))
)]
pub(super) async fn delete(
    caller: Caller,
    At(name): At<String>,
    fields: Fields,
) -> Outcome<Response> {
    ask(&caller, "limit.delete", &fields.with(&[("name", &name)]), b"").await
}

/// Show the keys of a limit that most waits for
#[utoipa::path(
    get, path = "/v1/limits/{name}/keys", tag = "limits",
    params(schema::LimitInPath, schema::TopOf),
    responses((status = 200, description = "How it stands with them", body = json::TopKeys))
)]
pub(super) async fn top(caller: Caller, At(name): At<String>, fields: Fields) -> Outcome<Response> {
    ask(&caller, "limit.top", &fields.with(&[("name", &name)]), b"").await
}

/// Pause a queue, or a key
///
/// Nothing of it is handed out until then, or until it is resumed.
#[utoipa::path(
    post, path = "/v1/queues/{name}/pause", tag = "limits", params(schema::InPath),
    request_body = Option<schema::Pause>,
    responses((status = 200, description = "The pause as it is", body = json::PauseShown))
)]
pub(super) async fn pause(
    caller: Caller,
    At(name): At<String>,
    Json(body): Json,
) -> Outcome<Response> {
    ask(&caller, "limit.pause", &[("queue", &name)], &body).await
}

/// End a pause of a queue, or of a key
#[utoipa::path(
    post, path = "/v1/queues/{name}/resume", tag = "limits", params(schema::InPath),
    request_body = Option<schema::Resume>,
    responses((status = 200, description = "It goes on", body = json::Resumed))
)]
pub(super) async fn resume(
    caller: Caller,
    At(name): At<String>,
    Json(body): Json,
) -> Outcome<Response> {
    ask(&caller, "limit.resume", &[("queue", &name)], &body).await
}

/// Give a group more turns than others
#[utoipa::path(
    post, path = "/v1/queues/{name}/weigh", tag = "limits", params(schema::InPath),
    request_body = schema::Weigh,
    responses((status = 200, description = "It has them", body = schema::Done))
)]
pub(super) async fn weigh(
    caller: Caller,
    At(name): At<String>,
    Json(body): Json,
) -> Outcome<Response> {
    ask(&caller, "queue.weigh", &[("name", &name)], &body).await
}

/// Say why the next message is not delivered
///
/// The next one of a group, under a key, or of all. Without a reason it goes to the next who asks.
#[utoipa::path(
    get, path = "/v1/queues/{name}/explain", tag = "limits",
    params(schema::InPath, schema::ExplainOf),
    responses((status = 200, description = "Every reason", body = json::WhyNot))
)]
pub(super) async fn explain(
    caller: Caller,
    At(name): At<String>,
    fields: Fields,
) -> Outcome<Response> {
    ask(&caller, "queue.explain", &fields.with(&[("name", &name)]), b"").await
}

/// Say why a message is not delivered
#[utoipa::path(
    get, path = "/v1/queues/{name}/messages/{id}/explain", tag = "messages",
    params(schema::MessageInPath),
    responses((status = 200, description = "Every reason", body = json::WhyNot))
)]
pub(super) async fn explain_message(
    caller: Caller,
    At((name, id)): At<(String, String)>,
) -> Outcome<Response> {
    ask(&caller, "queue.explain", &[("name", &name), ("id", &id)], b"").await
}
