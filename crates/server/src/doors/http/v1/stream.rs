//! What is published to topics, as server-sent events: at most once, for as long as it is listened.
//!
//! ```text
//! id: ...        event: message   data: the message in JSON
//!                event: gap       data: {"messages": N}: so many were lost, they came too fast
//! :                               now and then where there is nothing to say
//! ```

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::{BufMut, Bytes, BytesMut};
use http_body::Frame;
use hyper::Method;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use sluice_model::{
    Answer, BlockDelivery, Code, Command, Delivery, NameError, Qos, Receive, Refusal, Source,
    Subscribe, TopicPattern, WatchEvent,
};
use sluice_protocol::json::{Delivered, KeyChange, Payload};
use tokio::time::timeout;

use super::publish::unexpected;
use super::schema;
use crate::admission::ParkedPermit;
use crate::doors::http::caller::Caller;
use crate::doors::http::extract::At;
use crate::doors::http::refusal::{Outcome, Refused};

/// Where nothing is published, something is said so often: who is gone is found by it.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Messages that are taken at a time.
const TAKEN_MAX: u32 = 64;

/// Listen to topics
///
/// Server-sent events: `message` with a message in JSON, `gap` with how many were lost because they
/// came faster than they were taken. At most once, from now on; who must not lose anything makes a
/// subscription.
#[utoipa::path(
    get, path = "/v1/topics/{name}/stream", tag = "topics", params(schema::InPath),
    responses((status = 200, description = "Events", body = schema::Event, content_type = "text/event-stream"))
)]
pub(super) async fn stream(
    caller: Caller,
    method: Method,
    At(name): At<String>,
) -> Outcome<Response> {
    if method == Method::HEAD {
        return Err(Refused::new(Code::MethodNotAllowed, "only GET listens"));
    }
    let pattern = TopicPattern::new(&name)
        .map_err(|error: NameError| Refused::new(Code::Invalid, format!("name: {error}")))?;
    let parked = caller.exchange.park()?;
    // A session of its own: what it has not sent ends with it.
    let caller = caller.aside();
    let subscribe = Subscribe::unnamed(pattern, Qos::AtMostOnce);
    let Answer::Subscribed { subscription } = caller.ask(Command::Subscribe(subscribe)).await?
    else {
        return Err(unexpected().into());
    };
    caller.exchange.done();
    Ok(Events::new(caller, Source::Subscription(subscription), parked).into_response())
}

type Next = Pin<Box<dyn Future<Output = Option<Bytes>> + Send>>;

/// The events, as the body of an answer. It ends with the server or the key.
pub(super) struct Events {
    caller: Arc<Caller>,
    from: Source,
    next: Option<Next>,
    /// Counts it among those who wait.
    _parked: Option<ParkedPermit>,
}

impl Events {
    pub(super) fn new(caller: Caller, from: Source, parked: Option<ParkedPermit>) -> Self {
        Self { caller: Arc::new(caller), from, next: None, _parked: parked }
    }

    /// The answer that they are the body of.
    pub(super) fn into_response(self) -> Response {
        let mut response = Response::new(Body::new(self));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Self { caller, from, next, .. } = self.get_mut();
        let future = next.get_or_insert_with(|| {
            // hyper asks for more once it has room: what it had before counts as sent.
            caller.exchange.done();
            Box::pin(events(Arc::clone(caller), from.clone()))
        });
        let events = std::task::ready!(future.as_mut().poll(context));
        *next = None;
        Poll::Ready(events.map(|events| Ok(Frame::data(events))))
    }
}

/// Waits for the next events; none at the end.
async fn events(caller: Arc<Caller>, from: Source) -> Option<Bytes> {
    let wait = Some(SILENCE_MAX);
    let receive = Receive { max: TAKEN_MAX, wait, gaps: true, ..Receive::one(from) };
    // A broker that is short of time must not keep the silence longer.
    let answers = timeout(2 * SILENCE_MAX, caller.exchange.listen(receive, &caller.notices)).await;
    let answers = match answers {
        Ok(Ok(answers)) => answers,
        Ok(Err(Refusal { .. })) | Err(_) => return None,
    };
    let mut text = BytesMut::new();
    for answer in &answers {
        match answer {
            Answer::Delivered(delivery) => message(&mut text, delivery),
            Answer::DeliveredBlock(block) => block_of(&mut text, block),
            Answer::Lost { messages } => {
                text.put_slice(
                    format!("event: gap\ndata: {{\"messages\":{messages}}}\n\n").as_bytes(),
                );
            }
            Answer::Changes { events, .. } => {
                events.iter().for_each(|event| change(&mut text, event))
            }
            _ => {}
        }
    }
    if text.is_empty() {
        if caller.notices.now().draining {
            return None;
        }
        text.put_slice(b":\n\n");
    }
    Some(text.freeze())
}

fn message(text: &mut BytesMut, delivery: &Delivery) {
    put(text, &Delivered::from(delivery));
}

fn block_of(text: &mut BytesMut, block: &BlockDelivery) {
    let told = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let mut one = Delivered {
        topic: told(&block.topic),
        sender: told(&block.sender),
        published_at: block.published_at.as_millis(),
        priority: sluice_model::PRIORITY_DEFAULT,
        cost: 1,
        ..Delivered::default()
    };
    for payload in block.messages.shared() {
        one.payload = Payload::from(&payload);
        put(text, &one);
    }
}

/// A change has its number for an id, by which a client that lost the connection resumes.
fn change(text: &mut BytesMut, event: &WatchEvent) {
    let change = KeyChange::from(event);
    if !matches!(event, WatchEvent::Gap { .. }) {
        text.put_slice(format!("id: {}\n", change.revision).as_bytes());
    }
    let (name, data) = (&change.event, change.to_text());
    text.put_slice(format!("event: {name}\ndata: {data}\n\n").as_bytes());
}

fn put(text: &mut BytesMut, message: &Delivered) {
    // JSON on one line, so it is one line of data.
    text.put_slice(b"event: message\ndata: ");
    text.put_slice(message.to_text().as_bytes());
    text.put_slice(b"\n\n");
}
