//! `POST /persist` and `POST /load`: the queue `default` as a file, and back.
//!
//! ```text
//! persist: browse, peek --bodies--> NAME.new --synced, renamed--> NAME
//! load:    NAME --all of it checked--> handed in behind what is there --> what was there removed
//! ```
//!
//! A file is a JSON array of bodies in Base64, in the order of their places. Each step is a small
//! request like any client's, so other doors go on; files are read and written by threads that may
//! wait. What comes and goes meanwhile may be in a snapshot or not.

use std::path::PathBuf;
use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use serde_json::json;
use sluice_broker::Pressure;
use sluice_model::{
    Action, Answer, Code, Command, Destination, Filter, Message, MessageId, PublishBatch,
    QueueRequest, Refusal, Resource, State,
};

use super::enqueue::provide;
use super::file::{Bounds, Reader, Writer, check_name};
use crate::doors::http::caller::Caller;
use crate::doors::http::extract::{self, Fields};
use crate::doors::http::refusal::{Outcome, Refused};
use crate::doors::http::{HttpConfig, door};

/// Messages looked at, handed in or removed at a time.
const STEP: u16 = 500;
/// Bytes handed in at a time.
const STEP_BYTES: usize = 4 << 20;

/// Write the messages of the queue `default` to a file
///
/// It is kept under `snapshots` in the data directory; those in the dead set are not in it.
#[utoipa::path(
    post, path = "/persist", tag = "simple",
    params(("file" = String, Query, description = "A bare name: letters, digits, `_`, `.` and `-`")),
    responses((status = 200, description = "It is on the disk",
        body = std::collections::BTreeMap<String, u64>, content_type = "application/json"))
)]
pub(super) async fn persist(caller: Caller, fields: Fields) -> Outcome<Response> {
    let (path, bounds) = place(&caller, &fields)?;
    let aside = caller.aside();
    let mut writer = blocking(move || Writer::begin(path, bounds)).await?;
    let mut after = None;
    loop {
        let (ids, next) = page(&aside, after).await?;
        let look = |id| command(QueueRequest::Peek { name: door::default_queue(), id });
        for id in ids {
            // One at a time: each may be as large as a connection's output.
            let answers = aside.exchange.ask_each(vec![look(id)]).await?;
            aside.exchange.done();
            // One that is not there any more was taken meanwhile.
            if let Some(Answer::Peeked(peeked)) = answers.into_iter().next() {
                writer.push(&peeked.carried.payload)?;
            }
            if writer.is_large() {
                writer = blocking(move || writer.write()).await?;
            }
        }
        match next {
            None => break,
            next => after = next,
        }
    }
    let messages = blocking(move || writer.finish()).await?;
    Ok(extract::json(json!({ "messages": messages }).to_string()))
}

/// Replace the messages of the queue `default` by those of a file
///
/// Everything in the file is checked first; then all of it is there, or nothing has changed.
#[utoipa::path(
    post, path = "/load", tag = "simple",
    params(("file" = String, Query, description = "A bare name: letters, digits, `_`, `.` and `-`")),
    responses((status = 200, description = "They are there",
        body = std::collections::BTreeMap<String, u64>, content_type = "application/json"))
)]
pub(super) async fn load(caller: Caller, fields: Fields) -> Outcome<Response> {
    let (path, bounds) = place(&caller, &fields)?;
    let bodies = blocking(move || Reader::read(&path, bounds)).await?;
    let aside = caller.aside();
    let mut old = Vec::new();
    let mut after = None;
    loop {
        let (ids, next) = page(&aside, after).await?;
        old.extend(ids);
        match next {
            None => break,
            next => after = next,
        }
    }
    let count = bodies.len();
    // For a moment both are there.
    widen(&caller, 2).await?;
    let outcome = replace(&aside, bodies, old).await;
    widen(&caller, 1).await?;
    outcome?;
    Ok(extract::json(json!({ "messages": count }).to_string()))
}

/// Where the file is that a request names, if it may be used.
fn place(caller: &Caller, fields: &Fields) -> Outcome<(PathBuf, Bounds)> {
    let Some(name) = fields.only("file")? else {
        return Err(Refused::new(Code::BadRequest, "the field file is missing"));
    };
    check_name(name)?;
    let queue = door::default_queue();
    caller.may(Action::Admin, Resource::Name(queue.as_str()))?;
    let http = &caller.shared.config.http;
    let Some(folder) = &http.snapshots else {
        return Err(Refused::new(Code::Invalid, "this broker has no directory for snapshots"));
    };
    let stats = caller.shared.broker.stats();
    if stats.disk_is_low {
        let text = "the disk has less free than disk_low";
        return Err(again(Refusal::new(Code::NoSpace, text)));
    }
    if caller.shared.broker.memory().pressure() >= Pressure::High {
        return Err(again(Refusal::new(Code::Overloaded, "the broker is short of memory")));
    }
    Ok((folder.join(name), Bounds::of(http)))
}

fn again(refusal: Refusal) -> Refused {
    Refused(Refusal { retry_after: Some(Duration::from_secs(1)), ..refusal })
}

/// Lets the queue hold so many times what it may.
async fn widen(caller: &Caller, times: u64) -> Outcome<()> {
    let settings = door::default_settings(&caller.shared.config.http, times)?;
    Ok(caller.shared.broker.provide(door::default_queue(), settings).await?)
}

/// Hands `bodies` in and removes `old` then; if they can't all be handed in, none stays.
async fn replace(aside: &Caller, bodies: Vec<Bytes>, old: Vec<MessageId>) -> Outcome<()> {
    let mut new = Vec::new();
    for messages in batches(bodies) {
        let batch = Box::new(PublishBatch { messages, level: None });
        let asked = aside.ask(Command::PublishBatch(batch)).await;
        aside.exchange.done();
        match asked {
            Ok(Answer::PublishedBatch(published)) => {
                new.extend(published.iter().map(|published| published.id));
            }
            Ok(_) => return Err(Refused::new(Code::Internal, "an answer to something else")),
            Err(refusal) => {
                remove(aside, new).await?;
                return Err(refusal.into());
            }
        }
    }
    remove(aside, old).await
}

/// Messages for the queue in batches of their greatest size.
fn batches(bodies: Vec<Bytes>) -> Vec<Vec<(Destination, Message)>> {
    let mut batches: Vec<Vec<(Destination, Message)>> = Vec::new();
    let mut room = (0, 0);
    for body in bodies {
        if batches.is_empty() || room.0 == 0 || room.1 < body.len() {
            batches.push(Vec::new());
            room = (STEP, STEP_BYTES);
        }
        room = (room.0 - 1, room.1.saturating_sub(body.len()));
        if let Some(batch) = batches.last_mut() {
            batch.push((Destination::Queue(door::default_queue()), Message::plain(body)));
        }
    }
    batches
}

/// Removes messages; those that are gone already don't matter.
async fn remove(aside: &Caller, ids: Vec<MessageId>) -> Outcome<()> {
    for some in ids.chunks(STEP.into()) {
        let name = door::default_queue;
        let remove =
            |id: &MessageId| command(QueueRequest::Remove { name: name(), id: *id, force: true });
        aside.exchange.ask_each(some.iter().map(remove).collect()).await?;
        aside.exchange.done();
    }
    Ok(())
}

/// The next messages in the order of their places, and where to go on.
async fn page(aside: &Caller, after: Option<u64>) -> Outcome<(Vec<MessageId>, Option<u64>)> {
    let (name, filter) = (door::default_queue(), Filter::default());
    let browse = QueueRequest::Browse { name, filter, after, limit: STEP };
    let answer = match aside.ask_queue(browse).await {
        Err(Refusal { code: Code::NotFound, .. }) => {
            provide(aside).await?;
            Answer::Browsed { messages: Vec::new(), next: None }
        }
        answer => answer?,
    };
    aside.exchange.done();
    let Answer::Browsed { messages, next } = answer else {
        return Err(Refused::new(Code::Internal, "an answer to something else"));
    };
    let alive = messages.iter().filter(|message| message.state != State::Dead);
    Ok((alive.map(|message| message.id).collect(), next))
}

fn command(request: QueueRequest) -> Command {
    Command::Queue(Box::new(request))
}

/// Works with a file on a thread that may wait for it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Outcome<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(Refused::new(Code::Internal, "the file can't be worked with")),
    }
}

impl Bounds {
    /// The bounds of what the queue `default` may hold.
    fn of(http: &HttpConfig) -> Self {
        Self {
            files: http.snapshots_max,
            file_bytes: http.snapshot_max_bytes,
            messages: usize::try_from(http.default_max_messages).unwrap_or(usize::MAX),
            bytes: http.default_max_bytes,
            body: http.max_body,
        }
    }
}
