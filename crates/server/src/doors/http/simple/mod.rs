//! The simple endpoints, on the queue `default`: what curl can remember.

mod clear;
mod dequeue;
mod enqueue;
mod health;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) use dequeue::dequeue;
pub(super) use enqueue::enqueue;

/// Where messages are handed in.
pub(super) const ENQUEUE: &str = "/enqueue";
/// Where they are taken.
pub(super) const DEQUEUE: &str = "/dequeue";
/// Where anybody asks whether anybody is there.
pub(super) const HEALTH: &str = "/health";

pub(super) fn routes() -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(enqueue::handle))
        .routes(routes!(dequeue::handle))
        .routes(routes!(clear::handle))
        .routes(routes!(health::handle))
}
