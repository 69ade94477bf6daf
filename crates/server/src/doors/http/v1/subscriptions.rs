//! Durable subscriptions: made, listed, counted, ended. Their queues can be asked everything that
//! queues can, under the name `$sub.NAME`.

use axum::response::Response;
use sluice_model::{Answer, Code, Command, Qos, Subscribe, SubscriptionName};
use sluice_protocol::json;

use super::publish::unexpected;
use super::{ask, schema};
use crate::doors::http::caller::Caller;
use crate::doors::http::extract::{self, At, Fields, Json};
use crate::doors::http::refusal::{Outcome, Refused};

/// List durable subscriptions
#[utoipa::path(
    get, path = "/v1/subscriptions", tag = "topics", params(schema::Page),
    responses((status = 200, description = "A page of them", body = json::Queues))
)]
pub(super) async fn list(caller: Caller, fields: Fields) -> Outcome<Response> {
    ask(&caller, "subscription.list", &fields.with(&[]), b"").await
}

/// Make a durable subscription, or see that it is there
///
/// From then on it keeps what is published to the topics of its pattern. Another pattern under the
/// same name is a conflict.
#[utoipa::path(
    put, path = "/v1/subscriptions/{name}", tag = "topics", params(schema::InPath),
    request_body = schema::Subscribe,
    responses((status = 200, description = "It listens", body = schema::Done))
)]
pub(super) async fn subscribe(
    caller: Caller,
    At(name): At<String>,
    Json(body): Json,
) -> Outcome<Response> {
    let name = SubscriptionName::new(&name)
        .map_err(|error| Refused::new(Code::Invalid, format!("name: {error}")))?;
    let (pattern, settings) = json::subscribe(&body)?;
    let subscribe = Subscribe { pattern, qos: Qos::AtLeastOnce, name: Some(name), settings };
    let Answer::Subscribed { subscription } = caller.ask(Command::Subscribe(subscribe)).await?
    else {
        return Err(unexpected().into());
    };
    // It stays; what ends is that this connection listens.
    caller.ask(Command::Unsubscribe { subscription }).await?;
    Ok(extract::json("{}".to_owned()))
}

/// Show settings, counters and gauges of a durable subscription
#[utoipa::path(
    get, path = "/v1/subscriptions/{name}", tag = "topics", params(schema::InPath),
    responses((status = 200, description = "What it is like", body = json::Stats))
)]
pub(super) async fn stats(caller: Caller, At(name): At<String>) -> Outcome<Response> {
    ask(&caller, "queue.stats", &[("name", &format!("$sub.{name}"))], b"").await
}

/// Delete a durable subscription and what it has kept
#[utoipa::path(
    delete, path = "/v1/subscriptions/{name}", tag = "topics",
    params(schema::InPath, schema::Force),
    responses((status = 200, description = "It is gone", body = json::Removed))
)]
pub(super) async fn delete(
    caller: Caller,
    At(name): At<String>,
    fields: Fields,
) -> Outcome<Response> {
    ask(&caller, "subscription.delete", &fields.with(&[("name", &name)]), b"").await
}
