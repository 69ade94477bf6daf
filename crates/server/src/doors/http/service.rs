//! What happens with every request, whatever it asks for.
//!
//! ```text
//! trace id -> host -> origin -> key -> limits, a place -> handler -> trace id, counted -> the answer's end is watched
//! ```

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use hyper::Request;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::http::request::Parts;
use sluice_model::{Code, Principal, Refusal};
use tracing::{Level, debug};

use super::body::{Answered, Incoming};
use super::caller::Caller;
use super::door::HttpDoor;
use super::exchange::Exchange;
use super::refusal::Refused;
use super::{guard, trace};
use crate::admission::client_of;
use crate::doors::{Notices, Peer, Shared};
use crate::log::{self, Shown};
use crate::requests::Outcome;

/// What hyper asks for the answer to each request of one connection.
pub(super) struct Service {
    pub(super) door: Arc<HttpDoor>,
    pub(super) shared: Arc<Shared>,
    pub(super) exchange: Arc<Exchange>,
    pub(super) peer: Peer,
    pub(super) local: IpAddr,
    pub(super) notices: Arc<Notices>,
}

impl hyper::service::Service<Request<hyper::body::Incoming>> for Service {
    type Response = Response<Answered>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<hyper::body::Incoming>) -> Self::Future {
        self.exchange.begin();
        self.shared.counters.http_requests.one();
        let (parts, body) = request.into_parts();
        let trace = trace::id(&parts.headers);
        let caller = self.admit(&parts);
        let (door, exchange) = (Arc::clone(&self.door), Arc::clone(&self.exchange));
        let shared = Arc::clone(&self.shared);
        let asked = tracing::enabled!(Level::DEBUG)
            .then(|| (parts.method.clone(), parts.uri.path().to_owned()));
        Box::pin(async move {
            let mut response = match caller {
                Ok(caller) => enter(&door, Request::from_parts(parts, body), caller).await,
                Err(refusal) => Refused(refusal).into_response(),
            };
            let status = response.status();
            let mut refusal = None;
            if status.is_client_error() || status.is_server_error() {
                shared.counters.http_refusals.one();
                refusal = Some(match response.extensions().get::<Code>() {
                    Some(code) => Outcome::of(*code),
                    None => Outcome::of_status(status.as_u16()),
                });
                if let Some((method, path)) = asked {
                    let status = status.as_u16();
                    let (fault, path) = (log::fault(status), Shown(&path));
                    debug!(fault, %method, %path, status, trace = ?trace, "refused");
                }
            }
            shared.requests.one(door.name(), refusal);
            response.headers_mut().insert(trace::TRACE_ID, trace);
            Ok(response.map(|body| Answered::new(body, exchange)))
        })
    }
}

impl Service {
    /// Lets a request in, or says why not.
    fn admit(&self, parts: &Parts) -> Result<Caller, Refusal> {
        guard::check_host(parts, self.local, &self.shared)?;
        guard::check_origin(parts, &self.shared)?;
        let principal = match self.door.is_public(parts.uri.path()) {
            true => Principal::Anonymous,
            false => guard::authenticate(&parts.headers, self.peer, &self.shared)?,
        };
        if self.notices.now().draining && !self.door.is_public(parts.uri.path()) {
            return Err(draining());
        }
        Ok(Caller {
            shared: Arc::clone(&self.shared),
            exchange: Arc::clone(&self.exchange),
            principal,
            peer: self.peer,
            notices: Arc::clone(&self.notices),
            ring: self.door.ring(),
        })
    }
}

fn draining() -> Refusal {
    Refusal::new(Code::ShuttingDown, "the broker is draining")
}

/// Serves a request once it has a place, if it needs one.
async fn enter(
    door: &HttpDoor,
    request: Request<hyper::body::Incoming>,
    caller: Caller,
) -> Response {
    if door.is_exempt(request.uri().path()) {
        caller.exchange.set_vital();
        return door.answer(request, caller).await;
    }
    let Shared { intake, counters, .. } = &*caller.shared;
    let client = client_of(&caller.principal, caller.peer.ip);
    let drain = async { (*caller.notices).clone().drain().await };
    let passed = tokio::select! {
        biased;
        passed = intake.pass(&client, counters) => passed,
        () = drain => Err(draining()),
    };
    match passed {
        Ok(permit) => {
            let exchange = Arc::clone(&caller.exchange);
            let _seat = exchange.seat(permit);
            door.answer(request, caller).await
        }
        Err(refusal) => {
            let is_overload = refusal.code == Code::Overloaded;
            let mut response = Refused(refusal).into_response();
            if is_overload {
                // What the body may be is not worth reading, and whoever comes again may do so
                // elsewhere.
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    }
}

/// The body of a request as handlers of the router take it.
pub(super) fn incoming(body: hyper::body::Incoming) -> Incoming {
    Incoming::new(body)
}
