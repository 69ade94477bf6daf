//! What all connections of the door share, and the way from a request to its handler.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use hyper::{Method, Request};
use sluice_model::{Code, QueueName, QueueSettings, Refusal, Setting};
use tokio::time::Instant;
use tower_service::Service as _;
use utoipa_axum::router::OpenApiRouter;

use super::caller::Caller;
use super::refusal::Refused;
use super::{HttpConfig, extract, service, simple, v1};
use crate::auth::KeyRing;
use crate::requests::DoorName;

/// What all connections of the door share.
pub(crate) struct HttpDoor {
    name: DoorName,
    router: Router,
    ring: Arc<KeyRing>,
}

/// An answer that is being made.
pub(super) type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;

/// When the server started, and what the simple counters stood at when they were cleared.
pub(crate) struct Begun {
    pub(super) at: Instant,
    pub(super) enqueues: AtomicU64,
    pub(super) dequeues_ok: AtomicU64,
    pub(super) dequeues_empty: AtomicU64,
    /// The queue `default` has been given its bounds.
    pub(super) provided: AtomicBool,
}

impl Default for Begun {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        let (enqueues, dequeues_ok, dequeues_empty) = (zero(), zero(), zero());
        let provided = AtomicBool::new(false);
        Self { at: Instant::now(), enqueues, dequeues_ok, dequeues_empty, provided }
    }
}

/// The simple counters since they were cleared.
pub(super) struct Since {
    pub(super) enqueues: u64,
    pub(super) dequeues_ok: u64,
    pub(super) dequeues_empty: u64,
}

impl Begun {
    /// How long the server has been there.
    pub(crate) fn uptime(&self) -> Duration {
        self.at.elapsed()
    }

    /// What was counted since.
    pub(super) fn since(&self, counters: &crate::CountersSnapshot) -> Since {
        let since = |now: u64, then: &AtomicU64| now.saturating_sub(then.load(Relaxed));
        Since {
            enqueues: since(counters.http_enqueues, &self.enqueues),
            dequeues_ok: since(counters.http_dequeues_ok, &self.dequeues_ok),
            dequeues_empty: since(counters.http_dequeues_empty, &self.dequeues_empty),
        }
    }

    /// The simple counters begin anew.
    pub(super) fn clear(&self, counters: &crate::CountersSnapshot) {
        self.enqueues.store(counters.http_enqueues, Relaxed);
        self.dequeues_ok.store(counters.http_dequeues_ok, Relaxed);
        self.dequeues_empty.store(counters.http_dequeues_empty, Relaxed);
    }
}

impl HttpDoor {
    /// The door of a server whose keys `ring` can replace.
    pub(crate) fn new(ring: KeyRing) -> Self {
        let (router, document) = routes().split_for_parts();
        let document = v1::describe(document);
        let router = router.route(
            v1::DOCUMENT,
            axum::routing::get(async move || extract::json(document.to_string())),
        );
        Self { name: DoorName::Http, router: refusing(router), ring: Arc::new(ring) }
    }

    /// The door of those who watch and do nothing else.
    pub(crate) fn for_metrics(ring: KeyRing) -> Self {
        Self { name: DoorName::Metrics, router: refusing(simple::watching()), ring: Arc::new(ring) }
    }

    /// Which door it is.
    pub(super) fn name(&self) -> DoorName {
        self.name
    }

    /// A handle with which the keys can be replaced.
    pub(super) fn ring(&self) -> Arc<KeyRing> {
        Arc::clone(&self.ring)
    }

    /// Whether anybody may ask for it: no key is looked at.
    pub(super) fn is_public(&self, path: &str) -> bool {
        matches!(path, simple::HEALTH | simple::LIVEZ | simple::READYZ | v1::DOCUMENT)
    }

    /// Whether it is served however many others are: it tells how things stand, makes room, or is
    /// the operator's.
    pub(super) fn is_exempt(&self, path: &str) -> bool {
        self.is_public(path)
            || path == simple::METRICS
            || v1::EXEMPT.iter().any(|exempt| {
                let rest = path.strip_prefix(exempt);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
    }

    /// Serves a request. The two that queues live by don't pass the table of routes.
    pub(super) fn answer(
        &self,
        request: Request<hyper::body::Incoming>,
        caller: Caller,
    ) -> Answering {
        let is_whole = self.name == DoorName::Http;
        match (request.method(), request.uri().path()) {
            (&Method::POST, simple::ENQUEUE) if is_whole => {
                let extras = simple::extras(request.headers());
                let body = request.into_body();
                Box::pin(
                    async move { simple::enqueue(&caller, extras, body).await.into_response() },
                )
            }
            (&Method::GET, simple::DEQUEUE) if is_whole => {
                Box::pin(async move { simple::dequeue(&caller).await.into_response() })
            }
            _ => {
                let mut request = request.map(service::incoming);
                request.extensions_mut().insert(caller);
                let answer = self.router.clone().call(request);
                Box::pin(async move {
                    let Ok(response) = answer.await;
                    response
                })
            }
        }
    }
}

/// The same with refusals of what it has no route for.
fn refusing(router: Router) -> Router {
    router
        .fallback(async || Refused::new(Code::NotFound, "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            Refused::new(Code::MethodNotAllowed, "the path has other methods, see Allow")
        })
}

/// Every route, each described.
fn routes() -> OpenApiRouter {
    simple::routes().merge(v1::routes())
}

#[cfg(test)]
pub(super) fn document() -> String {
    v1::describe(routes().split_for_parts().1).to_string()
}

/// The queue of the simple endpoints.
pub(super) fn default_queue() -> QueueName {
    static NAME: LazyLock<QueueName> =
        LazyLock::new(|| QueueName::new("default").expect("the name has one good token"));
    NAME.clone()
}

/// Its bounds, times so many.
///
/// # Errors
/// They are none that a queue can have.
pub(super) fn default_settings(http: &HttpConfig, times: u64) -> Result<QueueSettings, Refusal> {
    let mut settings = QueueSettings::default();
    let bounds = [
        (Setting::MaxMessages, http.default_max_messages),
        (Setting::MaxBytes, http.default_max_bytes),
    ];
    for (setting, bound) in bounds {
        let bound = bound.saturating_mul(times).min(*setting.range().end());
        settings
            .set(setting, bound)
            .map_err(|error| Refusal::new(Code::Invalid, error.to_string()))?;
    }
    Ok(settings)
}
