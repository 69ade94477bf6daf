//! Taking messages, of a queue or a durable subscription, and waiting for them.

use axum::response::Response;
use bytes::Bytes;
use sluice_model::{
    Answer, Code, Command, NameError, Qos, QueueName, QueueSettings, Receive, Source, Subscribe,
    SubscriptionName,
};
use sluice_protocol::json::{self, Wanted};

use super::publish::unexpected;
use super::schema;
use crate::doors::http::caller::Caller;
use crate::doors::http::extract::{self, At, Json};
use crate::doors::http::refusal::{Outcome, Refused};

/// Take messages of a queue
///
/// Each under a lease that its token settles, from any connection, until its deadline. With
/// `wait_ms` the answer waits for the first one. What an answer carried that could not be written
/// comes again.
#[utoipa::path(
    post, path = "/v1/queues/{name}/receive", tag = "messages", params(schema::InPath),
    request_body = Option<schema::Receive>,
    responses((status = 200, description = "What there was", body = json::Received))
)]
pub(super) async fn from_queue(
    caller: Caller,
    At(name): At<String>,
    Json(body): Json,
) -> Outcome<Response> {
    let name = QueueName::new(&name).map_err(|error| misnamed(&error))?;
    let wanted = wanted(&caller, body)?;
    if wanted.pattern.is_some() {
        return Err(Refused::new(Code::Invalid, "pattern: only subscriptions have one"));
    }
    receive(&caller, Source::Queue(name), wanted).await
}

/// Take messages of a durable subscription
///
/// A key that may not do everything names the subscription's `pattern`, all of which it must be
/// allowed to subscribe to.
#[utoipa::path(
    post, path = "/v1/subscriptions/{name}/receive", tag = "topics", params(schema::InPath),
    request_body = Option<schema::Receive>,
    responses((status = 200, description = "What there was", body = json::Received))
)]
pub(super) async fn from_subscription(
    caller: Caller,
    At(name): At<String>,
    Json(body): Json,
) -> Outcome<Response> {
    let name = SubscriptionName::new(&name).map_err(|error| misnamed(&error))?;
    let mut wanted = wanted(&caller, body)?;
    let Some(pattern) = wanted.pattern.take() else {
        let queue = QueueName::of_subscription(&name);
        return receive(&caller, Source::Queue(queue), wanted).await;
    };
    let settings = QueueSettings::default();
    let subscribe = Subscribe { pattern, qos: Qos::AtLeastOnce, name: Some(name), settings };
    let Answer::Subscribed { subscription } = caller.ask(Command::Subscribe(subscribe)).await?
    else {
        return Err(unexpected().into());
    };
    let received = receive(&caller, Source::Subscription(subscription), wanted).await;
    // It listens no longer than it waits.
    caller.ask(Command::Unsubscribe { subscription }).await?;
    received
}

fn misnamed(error: &NameError) -> Refused {
    Refused::new(Code::Invalid, format!("name: {error}"))
}

/// Understands the body, and lets it go: it shares the buffer that the connection reads into, of
/// which there would be a second one for as long as the request waits.
fn wanted(caller: &Caller, body: Bytes) -> Outcome<Wanted> {
    let config = &caller.shared.config;
    let max = u32::try_from(config.batch_max).unwrap_or(u32::MAX);
    Ok(json::receive(&body, max, config.http.wait_max)?)
}

async fn receive(caller: &Caller, from: Source, wanted: Wanted) -> Outcome<Response> {
    let Wanted { max, wait, lease, .. } = wanted;
    let receive = Receive { max, lease, wait, bound: false, ..Receive::one(from) };
    let received = caller.receive(receive).await?;
    let now = caller.shared.broker.now();
    let shape = json::Received::new(&received.deliveries, received.next, now);
    Ok(extract::json(shape.to_text()))
}
