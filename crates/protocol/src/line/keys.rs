//! Keys and what is done with them, as JSON names them.
//!
//! `namespace` and `key` are joined by `^`; answers and pushes name keys whole.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use sluice_model::{Key, Keys, KvRequest, NameError, Refusal, Revision, Value, ValueKind};

use super::ask::{Ask, Want};
use super::bytes;
use super::object::Object;
use crate::json::fields::{Fields, bad, invalid, missing};
use crate::json::kv;

/// One key, or all below a prefix: one that ends with `^`, or if that is said.
pub(super) fn named(name: &str, prefix: bool) -> Result<Keys, NameError> {
    match prefix || name.ends_with('^') {
        true => Keys::below(name),
        false => Key::new(name).map(Keys::One),
    }
}

pub(super) fn set(fields: &mut Fields, object: &Object<'_>) -> Result<Ask, Refusal> {
    let value = value(object.raw("value").ok_or_else(|| missing("value"))?)?;
    let condition = kv::condition(fields)?;
    let (key, ttl, dedupe_id) = (key(fields)?, fields.millis("ttl_ms")?, kv::dedupe_id(fields)?);
    Ok(Ask::kv(KvRequest::Set { key, value, ttl, condition, dedupe_id }, Want::Written))
}

pub(super) fn get(fields: &mut Fields) -> Result<Ask, Refusal> {
    let want = match fields.flag("entry")?.unwrap_or_default() {
        true => Want::Entry,
        false => Want::Value,
    };
    Ok(Ask::kv(KvRequest::Get { key: key(fields)? }, want))
}

pub(super) fn delete(fields: &mut Fields) -> Result<Ask, Refusal> {
    let condition = kv::condition(fields)?;
    Ok(Ask::kv(KvRequest::Delete { key: key(fields)?, condition }, Want::Deleted))
}

pub(super) fn exists(fields: &mut Fields, want: Want) -> Result<Ask, Refusal> {
    Ok(Ask::kv(KvRequest::Exists { key: key(fields)? }, want))
}

pub(super) fn increment(fields: &mut Fields) -> Result<Ask, Refusal> {
    let by = kv::by(fields)?;
    let (key, dedupe_id) = (key(fields)?, kv::dedupe_id(fields)?);
    Ok(Ask::kv(KvRequest::Increment { key, by, dedupe_id }, Want::Number))
}

pub(super) fn scan(fields: &mut Fields, want: Want) -> Result<Ask, Refusal> {
    let keys = keys(fields)?;
    let (after, limit) = kv::page(fields)?;
    let values = want == Want::Entries;
    Ok(Ask::kv(KvRequest::Scan { keys, after, limit, values }, want))
}

pub(super) fn watch(fields: &mut Fields) -> Result<Ask, Refusal> {
    let from = revision(fields, "from")?;
    Ok(Ask::Watch { keys: watched(fields)?, from })
}

pub(super) fn unwatch(fields: &mut Fields) -> Result<Ask, Refusal> {
    Ok(Ask::Unwatch(watched(fields)?))
}

/// As [`keys`], of which something must be said.
fn watched(fields: &mut Fields) -> Result<Keys, Refusal> {
    match fields.has("key") || fields.has("namespace") {
        true => keys(fields),
        false => Err(missing("key")),
    }
}

/// The namespace and the `^` behind it; nothing for the global one.
fn namespace(fields: &mut Fields) -> Result<String, Refusal> {
    let Some(namespace) = fields.text("namespace")? else { return Ok(String::new()) };
    Key::new(&namespace).map_err(|error| invalid(format!("namespace: {error}")))?;
    Ok(namespace + "^")
}

fn key(fields: &mut Fields) -> Result<Key, Refusal> {
    let name = fields.text("key")?.ok_or_else(|| missing("key"))?;
    Key::new(&name).map_err(|error| invalid(format!("key: {error}")))?;
    let whole = namespace(fields)? + &name;
    Key::new(&whole).map_err(|error| invalid(format!("namespace and key: {error}")))
}

fn keys(fields: &mut Fields) -> Result<Keys, Refusal> {
    let name = fields.text("key")?;
    let prefix = fields.flag("prefix")?;
    let all = name.is_none();
    let whole = namespace(fields)? + &name.unwrap_or_default();
    if prefix == Some(false) && (all || whole.ends_with('^')) {
        return Err(invalid("prefix is false, and the key is all of a namespace".to_owned()));
    }
    let keys = named(&whole, all || prefix.unwrap_or_default());
    keys.map_err(|error| invalid(format!("key: {error}")))
}

fn revision(fields: &mut Fields, name: &str) -> Result<Option<Revision>, Refusal> {
    Ok(fields.whole(name, 0..=u64::MAX)?.map(Revision))
}

/// A string is text, `{"base64": ...}` bytes, anything else JSON as it was written.
fn value(raw: &str) -> Result<Value, Refusal> {
    let (kind, bytes) = match raw.bytes().next() {
        Some(b'"') => match serde_json::from_str::<String>(raw) {
            Ok(text) => (ValueKind::Text, Bytes::from(text)),
            Err(error) => return Err(bad(format!("value: {error}"))),
        },
        _ => match base64("value", raw)? {
            Some(bytes) => (ValueKind::Bytes, bytes),
            None => (ValueKind::Json, bytes(raw)),
        },
    };
    Ok(Value { kind, bytes })
}

/// The bytes of `{"base64": "..."}`, if it is that.
pub(super) fn base64(name: &str, raw: &str) -> Result<Option<Bytes>, Refusal> {
    if !raw.starts_with('{') {
        return Ok(None);
    }
    let object = Object::read(raw)?;
    if object.raw("base64").is_none() {
        return Ok(None);
    }
    let Some(text) = object.text("base64").filter(|_| object.len() == 1) else {
        let text = "with base64 it has a string of it, and nothing else";
        return Err(bad(format!("{name}: {text}")));
    };
    let bytes = BASE64_STANDARD.decode(text);
    bytes.map(|bytes| Some(bytes.into())).map_err(|error| invalid(format!("{name}: {error}")))
}
