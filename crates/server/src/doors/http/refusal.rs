//! The one shape of every error, from the one table of codes.

use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{HeaderMap, StatusCode};
use sluice_model::{Code, Refusal};
use sluice_protocol::json;

use crate::log::server_fault;

/// A refusal on its way to a client.
#[derive(Debug)]
pub(super) struct Refused(pub(super) Refusal);

/// What a handler gives.
pub(super) type Outcome<T> = Result<T, Refused>;

impl Refused {
    pub(super) fn new(code: Code, message: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self(Refusal::new(code, message))
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        if self.0.code == Code::Internal {
            server_fault("a request failed", &self.0.message);
        }
        let (status, headers) = head(&self.0);
        let mut response = (status, headers, json::refused(&self.0)).into_response();
        // Its status alone does not tell it from another of the same status.
        response.extensions_mut().insert(self.0.code);
        response
    }
}

/// The status that goes with a code.
pub(super) fn status(code: Code) -> StatusCode {
    StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn head(refusal: &Refusal) -> (StatusCode, HeaderMap) {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(seconds) = retry_after(refusal) {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    if refusal.code == Code::Unauthenticated {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    (status(refusal.code), headers)
}

/// Whole seconds, which is all that the header can say. Who is told to come again always gets some.
fn retry_after(refusal: &Refusal) -> Option<u64> {
    let comes_again = matches!(status(refusal.code).as_u16(), 429 | 503);
    match refusal.retry_after {
        Some(after) => Some(after.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX)),
        None => comes_again.then_some(1),
    }
}

/// What a client is told that speaks HTTP where only TLS is.
pub(crate) fn speaks_tls() -> Bytes {
    whole(&Refusal::new(Code::BadRequest, "this port speaks TLS: ask for https://"))
}

/// A whole answer as bytes, for where hyper has no say; the connection ends behind it.
pub(super) fn whole(refusal: &Refusal) -> Bytes {
    let (status, headers) = head(refusal);
    let body = json::refused(refusal);
    let mut bytes = BytesMut::new();
    bytes.put_slice(format!("HTTP/1.1 {status}\r\n").as_bytes());
    for (name, value) in &headers {
        bytes.put_slice(name.as_str().as_bytes());
        bytes.put_slice(b": ");
        bytes.put_slice(value.as_bytes());
        bytes.put_slice(b"\r\n");
    }
    let rest = format!("content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    bytes.put_slice(rest.as_bytes());
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_whole_answer_says_all_that_there_is_to_say() {
        let retry_after = Some(Duration::from_millis(1_001));
        let refusal = Refusal { retry_after, ..Refusal::new(Code::QueueFull, "the queue is full") };
        let text = String::from_utf8(whole(&refusal).to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{head}");
        assert!(head.contains("retry-after: 2\r\n"), "{head}");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
        assert_eq!(body, json::refused(&refusal));
    }

    #[test]
    fn every_code_has_the_status_of_the_table() {
        for code in Code::ALL {
            assert_eq!(status(*code).as_u16(), code.status());
        }
    }
}
