//! `POST /enqueue`: hands a message in.

use std::sync::atomic::Ordering::Relaxed;

use axum::BoxError;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::header::CONTENT_TYPE;
use hyper::{HeaderMap, StatusCode};
use sluice_model::{Code, Command, Confirm, Destination, Extras, Message, Publish, Qos, Refusal};

use crate::doors::http::body::Incoming;
use crate::doors::http::caller::Caller;
use crate::doors::http::door;
use crate::doors::http::refusal::Outcome;

/// The type of a body that says nothing of itself.
pub(super) const PLAIN_TYPE: &str = "application/octet-stream";

/// Hand in a message
///
/// The body is the message, and its content type is kept. 202 means that it is as safe as the queue
/// `default` promises: on the disk, unless that was changed.
#[utoipa::path(
    post, path = "/enqueue", tag = "simple",
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 202, description = "The message is safe"))
)]
pub(super) async fn handle(
    caller: Caller,
    headers: HeaderMap,
    body: Incoming,
) -> Outcome<Response> {
    enqueue(&caller, extras(&headers), body).await
}

/// Hands in the message that `body` is, with what is kept of its head.
pub(in crate::doors::http) async fn enqueue<B>(
    caller: &Caller,
    extras: Option<Box<Extras>>,
    body: B,
) -> Outcome<Response>
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    let payload = caller.read(body, caller.shared.config.http.max_body).await?;
    let message = Message { payload, extras };
    // What is rarely done has a box of its own, so that the future stays small.
    if !caller.shared.begun.provided.load(Relaxed) {
        Box::pin(provide(caller)).await?;
    }
    let asked = caller.ask(publish(message.clone())).await;
    if asked.as_ref().is_err_and(|refusal| refusal.code == Code::NotFound) {
        // Somebody has deleted the queue, which is made by its first message.
        Box::pin(async {
            provide(caller).await?;
            caller.ask(publish(message)).await
        })
        .await?;
    } else {
        asked?;
    }
    caller.shared.counters.http_enqueues.one();
    Ok(StatusCode::ACCEPTED.into_response())
}

fn publish(message: Message) -> Command {
    Command::Publish(Publish {
        to: Destination::Queue(door::default_queue()),
        qos: Qos::AtLeastOnce,
        level: None,
        message,
        confirm: Confirm::Always,
    })
}

/// Makes the queue `default`, or gives it its bounds.
pub(super) async fn provide(caller: &Caller) -> Result<(), Refusal> {
    let settings = door::default_settings(&caller.shared.config.http, 1)?;
    caller.shared.broker.provide(door::default_queue(), settings).await?;
    caller.shared.begun.provided.store(true, Relaxed);
    Ok(())
}

/// What is kept of the headers: the type, where it says something.
pub(in crate::doors::http) fn extras(headers: &HeaderMap) -> Option<Box<Extras>> {
    let kind = headers.get(CONTENT_TYPE)?.to_str().ok().filter(|kind| *kind != PLAIN_TYPE)?;
    let headers = vec![(CONTENT_TYPE.as_str().to_owned(), kind.to_owned())];
    Some(Box::new(Extras { headers, ..Extras::default() }))
}
