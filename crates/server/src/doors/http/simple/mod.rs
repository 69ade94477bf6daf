//! The simple endpoints, on the queue `default`: what curl can remember.

mod clear;
mod dequeue;
mod enqueue;
mod file;
mod health;
mod metrics;
mod snapshots;

use axum::Router;
use axum::routing::get;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) use dequeue::dequeue;
pub(super) use enqueue::{enqueue, extras};

/// Where messages are handed in.
pub(super) const ENQUEUE: &str = "/enqueue";
/// Where they are taken.
pub(super) const DEQUEUE: &str = "/dequeue";
/// Where figures are.
pub(super) const METRICS: &str = "/metrics";
/// Where anybody asks whether anybody is there.
pub(super) const HEALTH: &str = "/health";

/// Whether the process lives.
pub(super) const LIVEZ: &str = "/livez";
/// Whether messages are taken.
pub(super) const READYZ: &str = "/readyz";

/// What there is for those who watch and do nothing else.
pub(super) fn watching() -> Router {
    Router::new()
        .route("/metrics", get(metrics::exposed))
        .route(HEALTH, get(health::handle))
        .route(LIVEZ, get(health::livez))
        .route(READYZ, get(health::readyz))
}

pub(super) fn routes() -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(enqueue::handle))
        .routes(routes!(dequeue::handle))
        .routes(routes!(clear::handle))
        .routes(routes!(snapshots::persist))
        .routes(routes!(snapshots::load))
        .routes(routes!(metrics::handle))
        .routes(routes!(health::handle))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
}
