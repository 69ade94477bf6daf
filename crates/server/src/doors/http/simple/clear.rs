//! `POST /clear`: throws everything away that the queue `default` holds.

use hyper::StatusCode;
use sluice_model::{Code, Purge, QueueRequest, Refusal};

use crate::doors::http::caller::Caller;
use crate::doors::http::door;
use crate::doors::http::refusal::Outcome;

/// Delete every message of the queue `default`
///
/// Also those that somebody holds, and the dead ones. The counters of `GET /metrics` in JSON begin
/// at 0 again.
#[utoipa::path(
    post, path = "/clear", tag = "simple",
    responses((status = 200, description = "They are gone"))
)]
pub(super) async fn handle(caller: Caller) -> Outcome<StatusCode> {
    let what = Purge { waiting: true, leased: true, dead: true };
    match caller.ask_queue(QueueRequest::Purge { name: door::default_queue(), what }).await {
        // One that is not there holds nothing.
        Ok(_) | Err(Refusal { code: Code::NotFound, .. }) => {}
        Err(refusal) => return Err(refusal.into()),
    }
    caller.shared.begun.clear(&caller.shared.counters.snapshot());
    Ok(StatusCode::OK)
}
