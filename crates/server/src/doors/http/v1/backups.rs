//! Backups of a broker that serves.

use axum::response::Response;
use hyper::StatusCode;
use sluice_model::{Action, Resource};

use super::schema;
use crate::doors::backups::told;
use crate::doors::http::caller::Caller;
use crate::doors::http::extract;
use crate::doors::http::refusal::Outcome;

/// Begin a backup
///
/// Where it goes is the broker's to say. `GET` shows how it stands.
#[utoipa::path(
    post, path = "/v1/backups", tag = "admin",
    responses((status = 202, description = "It is being made", body = schema::Backup))
)]
pub(super) async fn begin(caller: Caller) -> Outcome<Response> {
    caller.may(Action::Admin, Resource::Broker)?;
    let status = caller.shared.broker.backup()?;
    Ok(extract::json_with(StatusCode::ACCEPTED, told(&status, None).to_string()))
}

/// Show how the newest backup stands
#[utoipa::path(
    get, path = "/v1/backups", tag = "admin",
    responses((status = 200, description = "How it stands", body = schema::Backup))
)]
pub(super) async fn status(caller: Caller) -> Outcome<Response> {
    caller.may(Action::Admin, Resource::Broker)?;
    let status = caller.shared.broker.backup_status();
    Ok(extract::json(told(&status, None).to_string()))
}
