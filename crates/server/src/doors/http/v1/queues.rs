//! Queues: made, changed, listed, counted, emptied, ended.

use axum::response::Response;
use sluice_protocol::json;

use super::{ask, schema};
use crate::doors::http::caller::Caller;
use crate::doors::http::extract::{At, Fields, Json};
use crate::doors::http::refusal::Outcome;

/// List queues
///
/// Those that are no subscription's, in the order of their names.
#[utoipa::path(
    get, path = "/v1/queues", tag = "queues", params(schema::Page),
    responses((status = 200, description = "A page of them", body = json::Queues))
)]
pub(super) async fn list(caller: Caller, fields: Fields) -> Outcome<Response> {
    ask(&caller, "queue.list", &fields.with(&[]), b"").await
}

/// Make a queue, or see that it is as asked
///
/// Where it is there and otherwise, `differs` says how, and nothing is changed.
#[utoipa::path(
    put, path = "/v1/queues/{name}", tag = "queues", params(schema::InPath),
    request_body = Option<schema::Settings>,
    responses((status = 200, description = "How it is", body = json::Declared))
)]
pub(super) async fn declare(
    caller: Caller,
    At(name): At<String>,
    Json(body): Json,
) -> Outcome<Response> {
    ask(&caller, "queue.declare", &[("name", &name)], &body).await
}

/// Change settings of a queue, or make it
#[utoipa::path(
    patch, path = "/v1/queues/{name}", tag = "queues", params(schema::InPath),
    request_body = schema::Settings,
    responses((status = 200, description = "It is as asked", body = json::Declared))
)]
pub(super) async fn update(
    caller: Caller,
    At(name): At<String>,
    Json(body): Json,
) -> Outcome<Response> {
    ask(&caller, "queue.update", &[("name", &name)], &body).await
}

/// Show settings, counters and gauges of a queue
#[utoipa::path(
    get, path = "/v1/queues/{name}", tag = "queues", params(schema::InPath),
    responses((status = 200, description = "What it is like", body = json::Stats))
)]
pub(super) async fn stats(caller: Caller, At(name): At<String>) -> Outcome<Response> {
    ask(&caller, "queue.stats", &[("name", &name)], b"").await
}

/// Delete a queue and all its messages
#[utoipa::path(
    delete, path = "/v1/queues/{name}", tag = "queues", params(schema::InPath, schema::Force),
    responses((status = 200, description = "It is gone", body = json::Removed))
)]
pub(super) async fn delete(
    caller: Caller,
    At(name): At<String>,
    fields: Fields,
) -> Outcome<Response> {
    ask(&caller, "queue.delete", &fields.with(&[("name", &name)]), b"").await
}

/// Delete messages of a queue
///
/// Without a body those that are ready or delayed.
#[utoipa::path(
    post, path = "/v1/queues/{name}/purge", tag = "queues", params(schema::InPath),
    request_body = Option<schema::Purge>,
    responses((status = 200, description = "They are gone", body = json::Removed))
)]
pub(super) async fn purge(
    caller: Caller,
    At(name): At<String>,
    Json(body): Json,
) -> Outcome<Response> {
    ask(&caller, "queue.purge", &[("name", &name)], &body).await
}

/// Put messages of a dead set back
///
/// Either those of `ids`, or all to which the rest applies, oldest first.
#[utoipa::path(
    post, path = "/v1/queues/{name}/redrive", tag = "queues", params(schema::InPath),
    request_body = Option<schema::Redrive>,
    responses((status = 200, description = "They are back", body = json::Redriven))
)]
pub(super) async fn redrive(
    caller: Caller,
    At(name): At<String>,
    Json(body): Json,
) -> Outcome<Response> {
    ask(&caller, "queue.redrive", &[("name", &name)], &body).await
}
