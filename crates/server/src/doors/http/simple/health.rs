//! Whether anybody is there, and whether there is any use in asking.

use axum::response::{IntoResponse, Response};
use hyper::StatusCode;

use crate::doors::http::caller::Caller;
use crate::doors::http::extract::Fields;
use crate::doors::readiness::{self, Check};

/// Ask whether anybody is there
#[utoipa::path(
    get, path = "/health", tag = "health",
    responses((status = 200, description = "Somebody is", body = str, content_type = "text/plain"))
)]
pub(super) async fn handle() -> &'static str {
    "ok"
}

/// Ask whether the process lives
#[utoipa::path(
    get, path = "/livez", tag = "health",
    responses((status = 200, description = "It does", body = str, content_type = "text/plain"))
)]
pub(super) async fn livez() -> &'static str {
    "ok"
}

/// Ask whether messages are taken
///
/// With `verbose` a line says how each thing stands that it depends on.
#[utoipa::path(
    get, path = "/readyz", tag = "health",
    params(("verbose" = Option<String>, Query, description = "How each thing stands")),
    responses(
        (status = 200, description = "They are", body = str, content_type = "text/plain"),
        (status = 503, description = "They are not", body = str, content_type = "text/plain")
    )
)]
pub(super) async fn readyz(caller: Caller, fields: Fields) -> Response {
    let is_draining = caller.notices.now().draining;
    let fault = is_draining.then(|| "the broker stops".to_owned());
    let mut checks = vec![Check { name: "drain", fault }];
    checks.extend(readiness::checks(&caller.shared, &caller.shared.broker.stats()));
    let ready = checks.iter().all(|check| check.fault.is_none());
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = |good| if good { "ok" } else { "failed" };
    let mut text = String::new();
    if fields.has("verbose") {
        for Check { name, fault } in checks {
            match fault {
                None => text.push_str(&format!("{name}: ok\n")),
                Some(fault) => text.push_str(&format!("{name}: failed: {fault}\n")),
            }
        }
        text.push_str(if ready { "ready\n" } else { "not ready\n" });
    } else {
        text.push_str(word(ready));
    }
    (status, text).into_response()
}
