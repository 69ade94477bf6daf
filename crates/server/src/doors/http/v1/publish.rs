//! Handing messages in: many in JSON, all or none, or one as the body itself.

use std::borrow::Cow;

use axum::response::Response;
use hyper::HeaderMap;
use hyper::header::CONTENT_TYPE;
use sluice_model::{
    Answer, Code, Command, Confirm, Destination, Level, Message, NameError, Publish, PublishBatch,
    Published, Qos, QueueName, Refusal, Topic,
};
use sluice_protocol::json;

use super::schema;
use crate::doors::http::body::Incoming;
use crate::doors::http::caller::Caller;
use crate::doors::http::extract::{self, At, Json};
use crate::doors::http::refusal::{Outcome, Refused};

/// What the headers of a raw message begin with.
const PREFIX: &str = "sluice-";
/// And those that become headers of the message.
const HEADER: &str = "header-";

/// Hand messages in to a queue
///
/// 1 to 1000, all of them or none. The answer comes when they are as safe as the queue promises.
#[utoipa::path(
    post, path = "/v1/queues/{name}/messages", tag = "messages", params(schema::InPath),
    request_body = schema::Messages,
    responses((status = 200, description = "They are safe", body = json::TakenAll))
)]
pub(super) async fn to_queue(
    caller: Caller,
    At(name): At<String>,
    Json(body): Json,
) -> Outcome<Response> {
    batch(&caller, queue(&name)?, &body).await
}

/// Hand messages in to every subscription that matches a topic
///
/// 1 to 1000, all of them or none.
#[utoipa::path(
    post, path = "/v1/topics/{name}/messages", tag = "topics", params(schema::InPath),
    request_body = schema::Messages,
    responses((status = 200, description = "They are safe", body = json::TakenAll))
)]
pub(super) async fn to_topic(
    caller: Caller,
    At(name): At<String>,
    Json(body): Json,
) -> Outcome<Response> {
    batch(&caller, topic(&name)?, &body).await
}

/// Hand the body in to a queue, as it is
///
/// What else there is to say of the message stands in headers; `Content-Type` is kept with it, and
/// `Sluice-Header-NAME` becomes a header NAME.
#[utoipa::path(
    post, path = "/v1/queues/{name}/messages/raw", tag = "messages",
    params(schema::InPath, schema::MessageHeaders),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, description = "It is safe", body = json::TakenAll))
)]
pub(super) async fn raw_to_queue(
    caller: Caller,
    At(name): At<String>,
    headers: HeaderMap,
    body: Incoming,
) -> Outcome<Response> {
    raw(&caller, queue(&name)?, &headers, body).await
}

/// Hand the body in to every subscription that matches a topic, as it is
#[utoipa::path(
    post, path = "/v1/topics/{name}/messages/raw", tag = "topics",
    params(schema::InPath, schema::MessageHeaders),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, description = "It is safe", body = json::TakenAll))
)]
pub(super) async fn raw_to_topic(
    caller: Caller,
    At(name): At<String>,
    headers: HeaderMap,
    body: Incoming,
) -> Outcome<Response> {
    raw(&caller, topic(&name)?, &headers, body).await
}

fn queue(name: &str) -> Outcome<Destination> {
    QueueName::new(name).map(Destination::Queue).map_err(|error| misnamed(&error))
}

fn topic(name: &str) -> Outcome<Destination> {
    Topic::new(name).map(Destination::Topic).map_err(|error| misnamed(&error))
}

fn misnamed(error: &NameError) -> Refused {
    Refused::new(Code::Invalid, format!("name: {error}"))
}

async fn batch(caller: &Caller, to: Destination, body: &[u8]) -> Outcome<Response> {
    let config = &caller.shared.config;
    let json::Messages { messages, level } = json::messages(body, config.batch_max)?;
    let longest = config.max_message_bytes;
    if messages.iter().any(|message| message.payload.len() > longest) {
        let text = format!("a message is longer than {longest} bytes");
        return Err(Refused::new(Code::TooLarge, text));
    }
    caller.count(messages.len().saturating_sub(1))?;
    let messages = messages.into_iter().map(|message| (to.clone(), message)).collect();
    let batch = Box::new(PublishBatch { messages, level });
    match caller.ask(Command::PublishBatch(batch)).await? {
        Answer::PublishedBatch(published) => Ok(taken(&published)),
        _ => Err(unexpected().into()),
    }
}

async fn raw(
    caller: &Caller,
    to: Destination,
    headers: &HeaderMap,
    body: Incoming,
) -> Outcome<Response> {
    let payload = caller.read(body, caller.shared.config.max_message_bytes).await?;
    let (mut given, mut own, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    for (name, value) in headers {
        let text = || {
            let text = std::str::from_utf8(value.as_bytes()).ok();
            text.ok_or_else(|| Refused::new(Code::BadRequest, format!("{name} is not UTF-8")))
        };
        if let Some(field) = name.as_str().strip_prefix(PREFIX) {
            match field.strip_prefix(HEADER) {
                Some(header) => own.push((header.to_owned(), text()?.to_owned())),
                // One that may have commas in it.
                None if field == "key" => keys.push(text()?),
                None => given.push((Cow::from(field.replace('-', "_")), text()?)),
            }
        } else if *name == CONTENT_TYPE {
            own.push((CONTENT_TYPE.as_str().to_owned(), text()?.to_owned()));
        }
    }
    let given: Vec<(&str, &str)> = given.iter().map(|(name, text)| (&**name, *text)).collect();
    let (mut message, level) = json::message(&given, own, payload)?;
    json::add_keys(&mut message, &keys)?;
    one(caller, to, message, level).await
}

async fn one(
    caller: &Caller,
    to: Destination,
    message: Message,
    level: Option<Level>,
) -> Outcome<Response> {
    let qos = Qos::AtLeastOnce;
    let publish = Publish { to, qos, level, message, confirm: Confirm::Always };
    match caller.ask(Command::Publish(publish)).await? {
        Answer::Published(published) => Ok(taken(&[published])),
        _ => Err(unexpected().into()),
    }
}

fn taken(published: &[Published]) -> Response {
    extract::json(json::taken(published))
}

/// An answer that no request of this kind has.
pub(super) fn unexpected() -> Refusal {
    debug_assert!(false, "an answer to another kind of request");
    Refusal::new(Code::Internal, "the answer is to another kind of request")
}
