//! Values, messages and changes as they are shown, in answers and in pushes.
//!
//! Text shows what is UTF-8 without control characters. JSON shows any text, but one of which it
//! would make more than two bytes of one, and whatever is no text, as `{"base64": ...}`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde_json::json;
use sluice_model::{Entry, Timestamp, Value, ValueKind, WatchEvent};

use super::object::{Object, is_json, one_line};
use crate::json;
use crate::json::kv;

/// Whether text can show these bytes: they are UTF-8 without control characters.
pub fn is_showable(bytes: &[u8]) -> bool {
    is_printable(bytes)
        || std::str::from_utf8(bytes).is_ok_and(|text| !text.chars().any(char::is_control))
}

/// Whether these are printable ASCII, which most are: told many bytes at a time.
fn is_printable(bytes: &[u8]) -> bool {
    let printable =
        |part: &[u8]| part.iter().fold(true, |so_far, byte| so_far & matches!(byte, b' '..=b'~'));
    bytes.chunks(64).all(printable)
}

/// A key's value, as JSON.
pub(super) fn value(value: &Value) -> String {
    let Value { kind, bytes } = value;
    let base64 = || json!({"base64": BASE64_STANDARD.encode(bytes)}).to_string();
    match kind {
        ValueKind::Bytes => base64(),
        ValueKind::Text => json::answer::text(&kv::shown(bytes)),
        ValueKind::Json if is_json(bytes) => {
            let text = one_line(&String::from_utf8_lossy(bytes));
            // It would be taken for bytes.
            let taken_for_bytes =
                Object::read(&text).is_ok_and(|object| object.raw("base64").is_some());
            if taken_for_bytes { base64() } else { text }
        }
        ValueKind::Json => base64(),
    }
}

/// A key with all that is known of it, behind other fields.
pub(super) fn entry(entry: &Entry, before: &[(&str, &str)]) -> String {
    let Entry { key, value: held, revision, expires_at } = entry;
    let mut text = String::from("{");
    for (name, word) in before {
        text += &format!("\"{name}\":\"{word}\",");
    }
    let (key, held) = (json!(key.as_str()), value(held));
    text += &format!("\"key\":{key},\"value\":{held},\"revision\":{}", revision.0);
    if let Some(at) = expires_at.map(Timestamp::as_millis) {
        text += &format!(",\"expires_at\":{at}");
    }
    text + "}"
}

/// What is pushed to a client.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// A message of a subscription.
    Message {
        /// Where it was published.
        topic: &'a [u8],
        /// Who published it, as the broker knows.
        sender: &'a [u8],
        /// When the broker took it.
        published_at: Timestamp,
        /// Pairs of strings.
        headers: &'a [(Bytes, Bytes)],
        /// Its bytes.
        payload: &'a Bytes,
    },
    /// Messages of a subscription are missing.
    Lost {
        /// Its pattern.
        pattern: &'a str,
        /// So many, all before those that follow.
        messages: u64,
    },
    /// What happened to a key.
    Change(&'a WatchEvent),
}

impl Event<'_> {
    /// The push in JSON.
    pub fn to_json(&self) -> String {
        match self {
            Self::Message { topic, sender, published_at, headers, payload } => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let mut push = json!({
                    "event": "message",
                    "topic": text(topic),
                    "payload": kv::shown(payload),
                    "sender": text(sender),
                    "published_at": published_at.as_millis(),
                });
                if !headers.is_empty() {
                    let pairs: Vec<_> =
                        headers.iter().map(|(name, value)| (text(name), text(value))).collect();
                    if let Some(fields) = push.as_object_mut() {
                        fields.insert("headers".to_owned(), json!(pairs));
                    }
                }
                push.to_string()
            }
            Self::Lost { pattern, messages } => {
                json!({"event": "gap", "topic": pattern, "messages": messages}).to_string()
            }
            Self::Change(WatchEvent::Put(entry)) => self::entry(entry, &[("event", "put")]),
            Self::Change(WatchEvent::Deleted { key, revision }) => {
                json!({"event": "del", "key": key.as_str(), "revision": revision.0}).to_string()
            }
            Self::Change(WatchEvent::Expired { key, revision }) => {
                json!({"event": "expire", "key": key.as_str(), "revision": revision.0}).to_string()
            }
            Self::Change(WatchEvent::Gap { resumed_at }) => {
                json!({"event": "gap", "revision": resumed_at.0}).to_string()
            }
        }
    }

    /// The push in text, which begins with `*` as no answer does.
    pub fn to_text(&self) -> String {
        match self {
            Self::Message { topic, payload, .. } => {
                let topic = String::from_utf8_lossy(topic);
                match std::str::from_utf8(payload).ok().filter(|_| is_showable(payload)) {
                    Some(payload) => format!("*message {topic} {payload}"),
                    None => format!("*unshown {topic} use JSON"),
                }
            }
            Self::Lost { pattern, messages } => format!("*gap {pattern} {messages}"),
            Self::Change(WatchEvent::Put(entry)) => {
                let (key, bytes) = (&entry.key, &entry.value.bytes);
                match std::str::from_utf8(bytes).ok().filter(|_| is_showable(bytes)) {
                    Some(value) => format!("*put {key} {value}"),
                    None => format!("*unshown {key} use JSON"),
                }
            }
            Self::Change(WatchEvent::Deleted { key, .. }) => format!("*del {key}"),
            Self::Change(WatchEvent::Expired { key, .. }) => format!("*expire {key}"),
            Self::Change(WatchEvent::Gap { resumed_at }) => format!("*gap {}", resumed_at.0),
        }
    }
}
