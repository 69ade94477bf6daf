//! Keys and values: a value is the body itself, what else there is to say of it stands in the query
//! or in headers; and what happens to keys, as server-sent events.
//!
//! ```text
//! id: 7          event: put       data: the change in JSON
//! id: 8          event: del       data: ...
//! id: 9          event: expire    data: ...
//!                event: gap       data: {"event": "gap", "revision": N}: none from N on is missing
//! :                               now and then where nothing changes
//! ```

use axum::response::{IntoResponse, Response};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method};
use sluice_model::{
    Answer, Code, Command, Entry, KvAnswer, KvRequest, Revision, Source, Value, ValueKind,
};
use sluice_protocol::json;

use super::publish::unexpected;
use super::schema;
use super::stream::Events;
use crate::doors::http::body::Incoming;
use crate::doors::http::caller::Caller;
use crate::doors::http::extract::{self, At, Fields, Json};
use crate::doors::http::refusal::{Outcome, Refused};

const REVISION: HeaderName = HeaderName::from_static("sluice-revision");
const EXPIRES_AT: HeaderName = HeaderName::from_static("sluice-expires-at");
/// What a client that lost its events heard last.
const LAST_EVENT_ID: &str = "last-event-id";

/// Read keys in their order
///
/// Those that begin with `prefix`; all of them without it.
#[utoipa::path(
    get, path = "/v1/kv", tag = "keys and values", params(schema::ScanOf),
    responses((status = 200, description = "A page of them", body = json::KeyPage))
)]
pub(super) async fn scan(caller: Caller, fields: Fields) -> Outcome<Response> {
    let request = json::kv_request("kv.scan", &fields.with(&[]), b"")?;
    Ok(extract::json(json::kv_answer(&ask(&caller, request).await?)))
}

/// Read a key
///
/// The body is the value, the content type its kind.
#[utoipa::path(
    get, path = "/v1/kv/{key}", tag = "keys and values", params(schema::NameOfKey),
    responses((
        status = 200, description = "Its value",
        content(
            (Vec<u8> = "application/octet-stream"), (String = "text/plain"),
            (json::Value = "application/json")
        ),
        headers(("Sluice-Revision" = u64), ("Sluice-Expires-At" = u64))
    ))
)]
pub(super) async fn get(caller: Caller, At(key): At<String>) -> Outcome<Response> {
    let request = json::kv_request("kv.get", &[("key", &key)], b"")?;
    let KvAnswer::Value(Entry { value, revision, expires_at, .. }) = ask(&caller, request).await?
    else {
        return Err(unexpected().into());
    };
    let kind = match value.kind {
        ValueKind::Json => "application/json",
        ValueKind::Text => "text/plain; charset=utf-8",
        ValueKind::Bytes => "application/octet-stream",
    };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(REVISION, revision.0.into());
    if let Some(at) = expires_at {
        headers.insert(EXPIRES_AT, at.as_millis().into());
    }
    Ok((headers, value.bytes).into_response())
}

/// Give a key a value
///
/// The body is the value. Its kind is what the content type says: JSON, which is checked, text in
/// UTF-8, or bytes.
#[utoipa::path(
    put, path = "/v1/kv/{key}", tag = "keys and values", params(schema::NameOfKey, schema::SetOf),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, description = "It is safe", body = json::KeyWritten))
)]
pub(super) async fn put(
    caller: Caller,
    At(key): At<String>,
    fields: Fields,
    headers: HeaderMap,
    body: Incoming,
) -> Outcome<Response> {
    let bytes = caller.read(body, caller.shared.config.max_message_bytes).await?;
    let value = Value { kind: kind_of(&headers), bytes };
    let request = json::kv_set(&fields.with(&[("key", &key)]), value)?;
    Ok(extract::json(json::kv_answer(&ask(&caller, request).await?)))
}

/// Remove a key
#[utoipa::path(
    delete, path = "/v1/kv/{key}", tag = "keys and values",
    params(schema::NameOfKey, schema::DeleteOf),
    responses((status = 200, description = "It is gone", body = json::KeyWritten))
)]
pub(super) async fn delete(
    caller: Caller,
    At(key): At<String>,
    fields: Fields,
) -> Outcome<Response> {
    let request = json::kv_request("kv.delete", &fields.with(&[("key", &key)]), b"")?;
    Ok(extract::json(json::kv_answer(&ask(&caller, request).await?)))
}

/// Add to a number
///
/// A key that is not there counts as 0.
#[utoipa::path(
    post, path = "/v1/kv/{key}/increment", tag = "keys and values", params(schema::NameOfKey),
    request_body = Option<schema::Increment>,
    responses((status = 200, description = "It is safe", body = json::Incremented))
)]
pub(super) async fn increment(
    caller: Caller,
    At(key): At<String>,
    Json(body): Json,
) -> Outcome<Response> {
    let request = json::kv_request("kv.increment", &[("key", &key)], &body)?;
    Ok(extract::json(json::kv_answer(&ask(&caller, request).await?)))
}

/// Watch keys
///
/// Server-sent events: `put`, `del` and `expire` with the change in JSON, in the order of
/// revisions, which are their ids; `gap` where changes were forgotten before they were taken. `from`, or `Last-Event-ID`,
/// resumes a watch.
#[utoipa::path(
    get, path = "/v1/watch", tag = "keys and values", params(schema::WatchOf),
    responses((status = 200, description = "Events", body = schema::Event, content_type = "text/event-stream"))
)]
pub(super) async fn watch(
    caller: Caller,
    method: Method,
    fields: Fields,
    headers: HeaderMap,
) -> Outcome<Response> {
    if method == Method::HEAD {
        return Err(Refused::new(Code::MethodNotAllowed, "only GET watches"));
    }
    let (keys, from) = json::kv_watch(&fields.with(&[]), b"")?;
    let from = last_heard(&headers)?.or(from);
    let parked = caller.exchange.park()?;
    // A session of its own: the watch ends with it.
    let caller = caller.aside();
    let request = KvRequest::Watch { keys, from };
    let KvAnswer::Watching { watch, .. } = ask(&caller, request).await? else {
        return Err(unexpected().into());
    };
    caller.exchange.done();
    Ok(Events::new(caller, Source::Watch(watch), parked).into_response())
}

/// The change after the last one that the client heard before.
fn last_heard(headers: &HeaderMap) -> Outcome<Option<Revision>> {
    let Some(id) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let number = id.to_str().ok().and_then(|id| id.parse::<u64>().ok());
    let wrong = || Refused::new(Code::BadRequest, "Last-Event-ID is not the id of a change");
    number.map(|last| Some(Revision(last.saturating_add(1)))).ok_or_else(wrong)
}

async fn ask(caller: &Caller, request: KvRequest) -> Outcome<KvAnswer> {
    match caller.ask(Command::Kv(request)).await? {
        Answer::Kv(answer) => Ok(answer),
        _ => Err(unexpected().into()),
    }
}

/// What the content type says of a value.
fn kind_of(headers: &HeaderMap) -> ValueKind {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match &*kind {
        "application/json" => ValueKind::Json,
        kind if kind.ends_with("+json") => ValueKind::Json,
        kind if kind.starts_with("text/") => ValueKind::Text,
        _ => ValueKind::Bytes,
    }
}
