//! Ending leases, and making them longer: many at once, each by itself.

use axum::response::Response;
use sluice_model::{Answer, Command, Confirm, SettleMany, Timestamp};
use sluice_protocol::json;

use super::publish::unexpected;
use super::schema;
use crate::doors::http::caller::Caller;
use crate::doors::http::extract::{self, Json};
use crate::doors::http::refusal::Outcome;

/// Say that messages have been dealt with
#[utoipa::path(
    post, path = "/v1/ack", tag = "leases", request_body = schema::Ack,
    responses((status = 200, description = "What became of each", body = json::SettledEach))
)]
pub(super) async fn ack(caller: Caller, Json(body): Json) -> Outcome<Response> {
    settle(&caller, "ack", &body).await
}

/// Give messages back
///
/// `failed` counts the attempt and tries again after a delay, `released` counts nothing, `rejected`
/// sends to the dead set at once, `throttled` counts nothing and pauses the key for everybody.
#[utoipa::path(
    post, path = "/v1/nack", tag = "leases", request_body = schema::Nack,
    responses((status = 200, description = "What became of each", body = json::SettledEach))
)]
pub(super) async fn nack(caller: Caller, Json(body): Json) -> Outcome<Response> {
    settle(&caller, "nack", &body).await
}

/// Take more time to deal with messages
#[utoipa::path(
    post, path = "/v1/extend", tag = "leases", request_body = schema::Extend,
    responses((status = 200, description = "What became of each", body = json::SettledEach))
)]
pub(super) async fn extend(caller: Caller, Json(body): Json) -> Outcome<Response> {
    settle(&caller, "extend", &body).await
}

async fn settle(caller: &Caller, what: &str, body: &[u8]) -> Outcome<Response> {
    let (leases, how) = json::settle(what, body, caller.shared.config.batch_max)?;
    let many = SettleMany { leases: leases.clone(), how, confirm: Confirm::Always };
    match caller.ask(Command::SettleMany(Box::new(many))).await? {
        Answer::SettledMany { refused, deadline } => {
            let deadline_at = deadline.map(Timestamp::as_millis);
            Ok(extract::json(json::settled(&leases, &refused, deadline_at)))
        }
        _ => Err(unexpected().into()),
    }
}
