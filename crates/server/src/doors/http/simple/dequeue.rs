//! `GET /dequeue`: takes the next message, which is acknowledged when the kernel has all of it.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Method, StatusCode};
use sluice_model::{Code, Receive, Refusal, Source};

use super::enqueue::PLAIN_TYPE;
use crate::doors::http::caller::Caller;
use crate::doors::http::door;
use crate::doors::http::exchange::Received;
use crate::doors::http::refusal::{Outcome, Refused};

/// Take the next message
///
/// It is leased, written as the answer, and acknowledged when the last byte of it has left. One
/// whose answer can't be written comes again.
#[utoipa::path(
    get, path = "/dequeue", tag = "simple",
    responses(
        (status = 200, description = "A message, with the content type that it came with",
            body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 204, description = "There is none")
    )
)]
pub(super) async fn handle(caller: Caller, method: Method) -> Outcome<Response> {
    // The table of routes takes HEAD for GET, and the message would be gone.
    if method == Method::HEAD {
        return Err(Refused::new(Code::MethodNotAllowed, "only GET takes a message"));
    }
    dequeue(&caller).await
}

/// Takes the next message.
pub(in crate::doors::http) async fn dequeue(caller: &Caller) -> Outcome<Response> {
    let from = Source::Queue(door::default_queue());
    let receive = Receive { bound: false, ..Receive::one(from) };
    let counters = &caller.shared.counters;
    let received = match caller.receive(receive).await {
        Err(Refusal { code: Code::NotFound, .. }) => Received { deliveries: vec![], next: None },
        received => received?,
    };
    let Some(delivery) = received.deliveries.into_iter().next() else {
        counters.http_dequeues_empty.one();
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    counters.http_dequeues_ok.one();
    caller.ack_when_written(&delivery);
    let carried = delivery.carried;
    let mut headers = carried.headers.iter();
    let kind =
        headers.find(|(name, _)| name.eq_ignore_ascii_case(CONTENT_TYPE.as_str().as_bytes()));
    Ok(payload(kind.map(|(_, value)| value), carried.payload))
}

/// A payload as an answer. A browser that opens it neither guesses its type nor runs it.
pub(in crate::doors::http) fn payload(kind: Option<&Bytes>, payload: Bytes) -> Response {
    let kind = kind.and_then(|kind| HeaderValue::from_maybe_shared(kind.clone()).ok());
    let mut response = Response::new(Body::from(payload));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, kind.unwrap_or(HeaderValue::from_static(PLAIN_TYPE)));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    response
}
