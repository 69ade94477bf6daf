//! `GET /health`: whether anybody is there.

/// Ask whether anybody is there
#[utoipa::path(
    get, path = "/health", tag = "health",
    responses((status = 200, description = "Somebody is", body = str, content_type = "text/plain"))
)]
pub(super) async fn handle() -> &'static str {
    "ok"
}
