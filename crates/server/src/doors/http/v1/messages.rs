//! Messages in a queue: looked at, given another time, deleted.

use axum::response::Response;
use sluice_protocol::json;

use super::{ask, schema};
use crate::doors::http::caller::Caller;
use crate::doors::http::extract::{At, Fields, Json};
use crate::doors::http::refusal::Outcome;

/// Look at messages without touching them
///
/// Those to which everything applies that is given, in the order of their places. The dead set is
/// `state=dead`.
#[utoipa::path(
    get, path = "/v1/queues/{name}/messages", tag = "messages",
    params(schema::InPath, schema::Filter),
    responses((status = 200, description = "A page of them", body = json::Browsed))
)]
pub(super) async fn browse(
    caller: Caller,
    At(name): At<String>,
    fields: Fields,
) -> Outcome<Response> {
    ask(&caller, "queue.browse", &fields.with(&[("name", &name)]), b"").await
}

/// Look at one message and what it carries
#[utoipa::path(
    get, path = "/v1/queues/{name}/messages/{id}", tag = "messages", params(schema::MessageInPath),
    responses((status = 200, description = "The message", body = json::Peeked))
)]
pub(super) async fn peek(
    caller: Caller,
    At((name, id)): At<(String, String)>,
) -> Outcome<Response> {
    ask(&caller, "queue.peek", &[("name", &name), ("id", &id)], b"").await
}

/// Delete a message
///
/// While it is leased that needs `force`.
#[utoipa::path(
    delete, path = "/v1/queues/{name}/messages/{id}", tag = "messages",
    params(schema::MessageInPath, schema::Force),
    responses((status = 200, description = "It is gone", body = json::Removed))
)]
pub(super) async fn remove(
    caller: Caller,
    At((name, id)): At<(String, String)>,
    fields: Fields,
) -> Outcome<Response> {
    let given = fields.with(&[("name", &name), ("id", &id)]);
    ask(&caller, "queue.remove", &given, b"").await
}

/// Delete a message that is delayed
#[utoipa::path(
    post, path = "/v1/queues/{name}/messages/{id}/cancel", tag = "messages",
    params(schema::MessageInPath),
    responses((status = 200, description = "It is gone", body = json::Removed))
)]
pub(super) async fn cancel(
    caller: Caller,
    At((name, id)): At<(String, String)>,
) -> Outcome<Response> {
    ask(&caller, "queue.cancel", &[("name", &name), ("id", &id)], b"").await
}

/// Let a delayed message come at another time
#[utoipa::path(
    post, path = "/v1/queues/{name}/messages/{id}/reschedule", tag = "messages",
    params(schema::MessageInPath), request_body = schema::Reschedule,
    responses((status = 200, description = "When it comes", body = json::Rescheduled))
)]
pub(super) async fn reschedule(
    caller: Caller,
    At((name, id)): At<(String, String)>,
    Json(body): Json,
) -> Outcome<Response> {
    ask(&caller, "queue.reschedule", &[("name", &name), ("id", &id)], &body).await
}
