//! What happens with every request, whatever it asks for.
//!
//! ```text
//! trace id -> host -> origin -> key -> handler -> trace id, counted -> the answer's end is watched
//! ```

use std::convert::Infallible;
use std::future::{Future, ready};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use hyper::Request;
use hyper::http::request::Parts;
use sluice_model::{Code, Principal, Refusal};
use tracing::{Level, debug};

use super::body::{Answered, Incoming};
use super::caller::Caller;
use super::door::HttpDoor;
use super::exchange::Exchange;
use super::refusal::Refused;
use super::{guard, trace};
use crate::doors::{Notices, Peer, Shared};

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
        let (exchange, shared) = (Arc::clone(&self.exchange), Arc::clone(&self.shared));
        let asked = tracing::enabled!(Level::DEBUG)
            .then(|| (parts.method.clone(), parts.uri.path().to_owned()));
        // In boxes of their own, small ones: each request has these, and moves what is in them.
        let answer = match caller {
            Ok(caller) => self.door.answer(Request::from_parts(parts, body), caller),
            Err(refusal) => Box::pin(ready(Refused(refusal).into_response())),
        };
        Box::pin(async move {
            let mut response = answer.await;
            let status = response.status();
            if status.is_client_error() || status.is_server_error() {
                shared.counters.http_refusals.one();
                if let Some((method, path)) = asked {
                    let status = status.as_u16();
                    debug!(%method, path, status, trace = ?trace, "refused");
                }
            }
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
            return Err(Refusal::new(Code::ShuttingDown, "the broker is draining"));
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

/// The body of a request as handlers of the router take it.
pub(super) fn incoming(body: hyper::body::Incoming) -> Incoming {
    Incoming::new(body)
}
