//! The whole of the broker, in JSON: one module a thing, one function a route.
//!
//! Paths and queries give fields by name, bodies give the others; `sluice_protocol::json` reads
//! all of them and writes the answers.

mod backups;
mod document;
mod keys;
mod kv;
mod limits;
mod messages;
mod publish;
mod queues;
mod receive;
mod schema;
mod settle;
mod stream;
mod subscriptions;

use axum::response::Response;
use sluice_protocol::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) use document::{DOCUMENT, describe};

use super::caller::Caller;
use super::extract;
use super::refusal::Outcome;

/// Paths, and all below them, that need no place among the workers.
pub(super) const EXEMPT: &[&str] =
    &["/v1/ack", "/v1/nack", "/v1/extend", "/v1/limits", "/v1/keys", "/v1/backups"];

/// Every route.
pub(super) fn routes() -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(queues::list))
        .routes(routes!(queues::declare, queues::update, queues::stats, queues::delete))
        .routes(routes!(queues::purge))
        .routes(routes!(queues::redrive))
        .routes(routes!(publish::to_queue, messages::browse))
        .routes(routes!(publish::raw_to_queue))
        .routes(routes!(messages::peek, messages::remove))
        .routes(routes!(messages::cancel))
        .routes(routes!(messages::reschedule))
        .routes(routes!(receive::from_queue))
        .routes(routes!(settle::ack))
        .routes(routes!(settle::nack))
        .routes(routes!(settle::extend))
        .routes(routes!(publish::to_topic))
        .routes(routes!(publish::raw_to_topic))
        .routes(routes!(stream::stream))
        .routes(routes!(subscriptions::list))
        .routes(routes!(subscriptions::subscribe, subscriptions::stats, subscriptions::delete))
        .routes(routes!(receive::from_subscription))
        .routes(routes!(kv::scan))
        .routes(routes!(kv::get, kv::put, kv::delete))
        .routes(routes!(kv::increment))
        .routes(routes!(kv::watch))
        .routes(routes!(limits::list))
        .routes(routes!(limits::put, limits::delete))
        .routes(routes!(limits::top))
        .routes(routes!(limits::pause))
        .routes(routes!(limits::resume))
        .routes(routes!(limits::weigh))
        .routes(routes!(limits::explain))
        .routes(routes!(limits::explain_message))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::revoke))
        .routes(routes!(backups::begin, backups::status))
}

/// Asks a verb of `docs/protocol/json.md` or `limits.md` and tells what came back.
async fn ask(
    caller: &Caller,
    verb: &str,
    given: &[(&str, &str)],
    body: &[u8],
) -> Outcome<Response> {
    let answer = caller.ask(json::command(verb, given, body)?).await?;
    Ok(extract::json(json::answer(&answer)))
}
