//! Bodies: of requests, read up to a bound; of answers, watched for their end.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::BoxError;
use bytes::{BufMut, Bytes, BytesMut};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use sluice_model::{Code, Refusal};

use super::exchange::Exchange;

/// Up to here a body is copied out of the buffer that hyper reads into, so that hyper can go on with
/// that one: making another, of 8 KiB, costs more, the more so the more connections there are.
const COPIED_MAX: usize = 1 << 10;

/// The body of a request, wherever it is read.
pub(super) type Incoming = axum::body::Body;

/// Reads a body that may be so long. One that says that it is longer is not begun with.
///
/// # Errors
/// `too_large`; `timeout` for one that came too slowly, or `bad_request` for one that broke off.
pub(super) async fn read<B>(mut body: B, max: usize) -> Result<Bytes, Refusal>
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    let hint = body.size_hint();
    if hint.lower() > max as u64 {
        return Err(too_large(max));
    }
    let Some(first) = next(&mut body).await? else { return Ok(Bytes::new()) };
    if first.len() > max {
        return Err(too_large(max));
    }
    // Nearly always that was all of it, and nothing long is copied.
    if body.is_end_stream() || hint.exact() == Some(first.len() as u64) {
        return Ok(if first.len() <= COPIED_MAX { Bytes::copy_from_slice(&first) } else { first });
    }
    // Grows with what has come, never with what was announced.
    let mut all = BytesMut::from(first);
    while let Some(part) = next(&mut body).await? {
        if all.len() + part.len() > max {
            return Err(too_large(max));
        }
        all.put_slice(&part);
    }
    Ok(all.freeze())
}

async fn next<B>(body: &mut B) -> Result<Option<Bytes>, Refusal>
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(&*error.into()))?;
        // Trailers say nothing to us.
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// Why a body can't be read on: the socket's wrapper says it by the kind of its error.
fn broken(mut error: &(dyn Error + 'static)) -> Refusal {
    loop {
        if let Some(error) = error.downcast_ref::<io::Error>()
            && error.kind() == io::ErrorKind::TimedOut
        {
            return Refusal::new(Code::Timeout, "the body did not come in time");
        }
        match error.source() {
            Some(source) => error = source,
            None => return Refusal::new(Code::BadRequest, "the body is malformed or broke off"),
        }
    }
}

fn too_large(max: usize) -> Refusal {
    Refusal::new(Code::TooLarge, format!("the body is longer than {max} bytes"))
}

/// The body of an answer, which tells the exchange when hyper has all of it.
pub(super) struct Answered {
    body: axum::body::Body,
    exchange: Option<Arc<Exchange>>,
}

impl Answered {
    pub(super) fn new(body: axum::body::Body, exchange: Arc<Exchange>) -> Self {
        let mut answered = Self { body, exchange: Some(exchange) };
        // hyper never asks an empty one for anything.
        if answered.body.is_end_stream() {
            answered.end();
        }
        answered
    }

    fn end(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            exchange.handed();
        }
    }
}

impl http_body::Body for Answered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let answered = self.get_mut();
        let frame = ready!(Pin::new(&mut answered.body).poll_frame(context));
        let is_whole = !matches!(frame, Some(Err(_)));
        if is_whole && (frame.is_none() || answered.body.is_end_stream()) {
            answered.end();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
