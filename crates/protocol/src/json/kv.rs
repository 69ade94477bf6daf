//! Keys and values: what can be asked of them, and what comes back.
//!
//! A value is a string, or Base64 where it is none; `kind` says what its bytes are.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use sluice_model::{
    Condition, Entry, KV_SCAN_MAX, Key, Keys, KvAnswer, KvRequest, Refusal, Revision, Timestamp,
    Value, ValueError, ValueKind, WatchEvent,
};

use super::answer::text;
use super::fields::{Fields, bad, invalid, missing, unknown_name, wrong};
use super::publish::text_or_bytes;
use super::receive::Payload;
use super::request::PAGE_DEFAULT;
use super::value::Json;

/// The verbs, each with the names of its fields.
#[rustfmt::skip]
pub const KV_VERBS: [(&str, &[&str]); 6] = [
    ("kv.set",       &["key", "kind", "value", "ttl_ms", "if_absent", "if_revision", "dedupe_id"]),
    ("kv.get",       &["key"]),
    ("kv.exists",    &["key"]),
    ("kv.delete",    &["key", "if_revision"]),
    ("kv.increment", &["key", "by", "dedupe_id"]),
    ("kv.scan",      &["key", "prefix", "after", "limit", "values"]),
];

/// The verb that asks what happened to keys, or waits for it.
pub const KV_CHANGES: &str = "kv.changes";
/// As long as it waits at most, 1 h.
const WAIT_MAX_MS: u64 = 3_600_000;
/// Its fields.
pub const CHANGES_FIELDS: [&str; 5] = ["key", "prefix", "from", "max", "wait_ms"];

/// What a watch may say.
pub const WATCH_FIELDS: [&str; 3] = ["key", "prefix", "from"];

/// The answer to `kv.set` and `kv.delete`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct KeyWritten {
    /// The change's number: each is higher than all before it, over all keys.
    pub revision: u64,
    /// It had been written before, under the same dedupe id: nothing was changed.
    pub duplicate: bool,
}

/// The answer to `kv.increment`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Incremented {
    /// The number after the addition.
    pub value: i64,
    /// The change's number.
    pub revision: u64,
    /// It had been added before, under the same dedupe id: nothing was changed.
    pub duplicate: bool,
}

/// The answer to `kv.exists`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct KeyThere {
    /// The number of its last change.
    pub revision: u64,
    /// It is gone from then on; not there for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
}

/// A key that is there: the answer to `kv.get`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct KeyEntry {
    /// Its name.
    pub key: String,
    /// What its value is: `json`, `text` or `bytes`.
    pub kind: String,
    /// The value; in a page not there where none was asked for, or where it is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Payload>,
    /// The number of its last change.
    pub revision: u64,
    /// It is gone from then on; not there for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
}

/// The answer to `kv.scan`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct KeyPage {
    /// In their order.
    pub keys: Vec<KeyEntry>,
    /// Where to go on, if there are more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What a watch tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct KeyChange {
    /// `put`, `del`, `expire`, or `gap`: changes before `revision` were forgotten.
    pub event: String,
    /// Whose change it is; not there of a gap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What the value is: `json`, `text` or `bytes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The value of a `put`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Payload>,
    /// The change's number.
    pub revision: u64,
    /// The key is gone from then on; not there for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
}

/// The answer to `kv.changes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyChanges {
    /// In the order of their revisions.
    pub changes: Vec<KeyChange>,
    /// What to ask from next.
    pub next: u64,
}

impl KeyChanges {
    /// What came of a watch that looked at everything from before `next` on.
    pub fn new(events: &[WatchEvent], next: u64) -> Self {
        let changes: Vec<_> = events.iter().map(KeyChange::from).collect();
        let next = match changes.last() {
            Some(gap) if gap.key.is_none() => gap.revision,
            Some(last) => last.revision + 1,
            None => next,
        };
        Self { changes, next }
    }

    /// The answer as it is sent.
    pub fn to_text(&self) -> String {
        text(self)
    }
}

/// Which changes are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangesWanted {
    /// Of which keys.
    pub keys: Keys,
    /// From this one on; none for the next.
    pub from: Option<Revision>,
    /// At most so many.
    pub max: u32,
    /// How long to wait for the first one.
    pub wait: Option<Duration>,
}

impl From<&WatchEvent> for KeyChange {
    fn from(event: &WatchEvent) -> Self {
        let gone = |event: &str, key: &Key, revision: &Revision| Self {
            event: event.to_owned(),
            key: Some(key.to_string()),
            revision: revision.0,
            ..Self::default()
        };
        match event {
            WatchEvent::Put(entry) => {
                let KeyEntry { key, kind, value, revision, expires_at } = KeyEntry::of(entry, true);
                let (event, key, kind) = ("put".to_owned(), Some(key), Some(kind));
                Self { event, key, kind, value, revision, expires_at }
            }
            WatchEvent::Deleted { key, revision } => gone("del", key, revision),
            WatchEvent::Expired { key, revision } => gone("expire", key, revision),
            WatchEvent::Gap { resumed_at } => {
                Self { event: "gap".to_owned(), revision: resumed_at.0, ..Self::default() }
            }
        }
    }
}

impl KeyChange {
    /// The change as it is sent, on one line.
    pub fn to_text(&self) -> String {
        text(self)
    }
}

impl KeyEntry {
    fn of(entry: &Entry, with_value: bool) -> Self {
        let Entry { key, value, revision, expires_at } = entry;
        Self {
            key: key.to_string(),
            kind: value.kind.name().to_owned(),
            value: with_value.then(|| shown(&value.bytes)),
            revision: revision.0,
            expires_at: expires_at.map(Timestamp::as_millis),
        }
    }

    /// Its value's bytes.
    ///
    /// # Errors
    /// The Base64 is none.
    pub fn bytes(&self) -> Result<Vec<u8>, base64::DecodeError> {
        match &self.value {
            None => Ok(Vec::new()),
            Some(Payload::Text(text)) => Ok(text.clone().into_bytes()),
            Some(Payload::Bytes { base64 }) => BASE64_STANDARD.decode(base64),
        }
    }
}

/// Bytes as they are sent: as text only where JSON makes at most two bytes of one.
pub(crate) fn shown(bytes: &Bytes) -> Payload {
    let is_short = |byte: &u8| *byte >= 0x20 || matches!(byte, b'\t' | b'\n' | b'\r' | 8 | 12);
    match bytes.iter().all(is_short) {
        true => Payload::from(bytes),
        false => Payload::Bytes { base64: BASE64_STANDARD.encode(bytes) },
    }
}

/// Checks that a value is what its kind says.
///
/// # Errors
/// `invalid`: it is not.
pub fn check(value: &Value) -> Result<(), Refusal> {
    let is_it = match value.kind {
        ValueKind::Json => serde_json::from_slice::<IgnoredAny>(&value.bytes).is_ok(),
        ValueKind::Text => std::str::from_utf8(&value.bytes).is_ok(),
        ValueKind::Bytes => true,
    };
    let wrong = || invalid(ValueError::Content(value.kind.name()).to_string());
    is_it.then_some(()).ok_or_else(wrong)
}

/// Reads what is asked of keys, of which some fields were given as text: in a path or a query. An
/// empty body stands for an object without fields.
///
/// # Errors
/// `bad_request` for what can't be read, or `invalid` for a value that is none of those possible;
/// they name the field.
pub fn kv_request(verb: &str, given: &[(&str, &str)], body: &[u8]) -> Result<KvRequest, Refusal> {
    let Some((_, known)) = KV_VERBS.iter().find(|(known, _)| *known == verb) else {
        return Err(bad(unknown_name("verb", verb, &KV_VERBS.map(|(name, _)| name))));
    };
    let fields = &mut Fields::read_with(given, body, known)?;
    Ok(match verb {
        "kv.set" => {
            let value = value(fields)?;
            check(&value)?;
            set(fields, value)?
        }
        "kv.get" => KvRequest::Get { key: key(fields)? },
        "kv.exists" => KvRequest::Exists { key: key(fields)? },
        "kv.delete" => KvRequest::Delete { key: key(fields)?, condition: condition(fields)? },
        "kv.increment" => {
            let by = by(fields)?;
            KvRequest::Increment { key: key(fields)?, by, dedupe_id: dedupe_id(fields)? }
        }
        _ => {
            let keys = keys(fields)?;
            let (after, limit) = page(fields)?;
            let values = fields.flag("values")?.unwrap_or(true);
            KvRequest::Scan { keys, after, limit, values }
        }
    })
}

/// Reads a set whose value is there already and was checked.
///
/// # Errors
/// As [`kv_request`].
pub fn kv_set(given: &[(&str, &str)], value: Value) -> Result<KvRequest, Refusal> {
    check(&value)?;
    let known = ["key", "ttl_ms", "if_absent", "if_revision", "dedupe_id"];
    set(&mut Fields::read_with(given, b"", &known)?, value)
}

/// Reads which keys are watched, and from which change on.
///
/// # Errors
/// As [`kv_request`].
pub fn kv_watch(given: &[(&str, &str)], body: &[u8]) -> Result<(Keys, Option<Revision>), Refusal> {
    let fields = &mut Fields::read_with(given, body, &WATCH_FIELDS)?;
    let from = fields.whole("from", 0..=u64::MAX)?.map(Revision);
    Ok((keys(fields)?, from))
}

/// Reads which changes are asked for.
///
/// # Errors
/// As [`kv_request`].
pub fn kv_changes(body: &[u8]) -> Result<ChangesWanted, Refusal> {
    let fields = &mut Fields::read_with(&[], body, &CHANGES_FIELDS)?;
    let from = fields.whole("from", 0..=u64::MAX)?.map(Revision);
    let max = fields.whole("max", 1..=KV_SCAN_MAX.into())?.and_then(|max| max.try_into().ok());
    let wait = fields.whole("wait_ms", 0..=WAIT_MAX_MS)?.map(Duration::from_millis);
    let (max, wait) = (max.unwrap_or(PAGE_DEFAULT.into()), wait.filter(|wait| !wait.is_zero()));
    Ok(ChangesWanted { keys: keys(fields)?, from, max, wait })
}

pub(crate) fn set(fields: &mut Fields, value: Value) -> Result<KvRequest, Refusal> {
    let (key, ttl, condition) = (key(fields)?, fields.millis("ttl_ms")?, condition(fields)?);
    Ok(KvRequest::Set { key, value, ttl, condition, dedupe_id: dedupe_id(fields)? })
}

fn key(fields: &mut Fields) -> Result<Key, Refusal> {
    let name = fields.text("key")?.ok_or_else(|| missing("key"))?;
    Key::new(&name).map_err(|error| invalid(format!("key: {error}")))
}

/// One key, or all that begin with a prefix; all there are without either.
fn keys(fields: &mut Fields) -> Result<Keys, Refusal> {
    let prefix = fields.text("prefix")?;
    if fields.has("key") {
        return match prefix {
            Some(_) => Err(invalid("key and prefix are never both there".to_owned())),
            None => Ok(Keys::One(key(fields)?)),
        };
    }
    let prefix = prefix.unwrap_or_default();
    Keys::below(&prefix).map_err(|error| invalid(format!("prefix: {error}")))
}

/// Which page of keys is wanted: behind which key, and how many.
pub(crate) fn page(fields: &mut Fields) -> Result<(Option<Key>, u16), Refusal> {
    let after = fields.text("after")?.map(|after| Key::new(&after)).transpose();
    let after = after.map_err(|error| invalid(format!("after: {error}")))?;
    let limit = fields.whole("limit", 1..=KV_SCAN_MAX.into())?;
    Ok((after, limit.and_then(|limit| limit.try_into().ok()).unwrap_or(PAGE_DEFAULT)))
}

pub(crate) fn condition(fields: &mut Fields) -> Result<Condition, Refusal> {
    let absent = fields.flag("if_absent")?.unwrap_or_default();
    match fields.whole("if_revision", 0..=u64::MAX)? {
        Some(_) if absent => {
            Err(invalid("if_absent and if_revision are never both there".to_owned()))
        }
        Some(revision) => Ok(Condition::Revision(Revision(revision))),
        None if absent => Ok(Condition::Absent),
        None => Ok(Condition::Always),
    }
}

pub(crate) fn dedupe_id(fields: &mut Fields) -> Result<Option<Box<str>>, Refusal> {
    Ok(fields.key("dedupe_id")?.map(Into::into))
}

pub(crate) fn by(fields: &mut Fields) -> Result<i64, Refusal> {
    let whole = "a whole number of 64 bits";
    match fields.take("by") {
        None => Ok(1),
        Some(Json::Number(number)) => {
            number.as_i64().ok_or_else(|| invalid(format!("by = {number} is not {whole}")))
        }
        Some(Json::Given(text)) => {
            text.parse().map_err(|_| invalid(format!("by = {text:?} is not {whole}")))
        }
        Some(other) => Err(wrong("by", &other, "a number")),
    }
}

/// A string, or an object with Base64.
fn value(fields: &mut Fields) -> Result<Value, Refusal> {
    let kinds = [ValueKind::Json, ValueKind::Text, ValueKind::Bytes];
    let kind = fields.word("kind", &kinds, ValueKind::name)?;
    let (is, bytes) = text_or_bytes("value", fields.needed("value")?)?;
    Ok(Value { kind: kind.unwrap_or(is), bytes })
}

/// What came back, as it is sent, on one line.
pub fn kv_answer(answer: &KvAnswer) -> String {
    match answer {
        KvAnswer::Written { revision, duplicate } => {
            text(&KeyWritten { revision: revision.0, duplicate: *duplicate })
        }
        KvAnswer::Value(entry) => text(&KeyEntry::of(entry, true)),
        KvAnswer::There { revision, expires_at } => {
            let expires_at = expires_at.map(Timestamp::as_millis);
            text(&KeyThere { revision: revision.0, expires_at })
        }
        KvAnswer::Incremented { value, revision, duplicate } => {
            let (value, revision, duplicate) = (*value, revision.0, *duplicate);
            text(&Incremented { value, revision, duplicate })
        }
        KvAnswer::Scanned { entries, next } => {
            let of = |entry: &Entry| KeyEntry::of(entry, !entry.value.bytes.is_empty());
            let keys = entries.iter().map(of).collect();
            text(&KeyPage { keys, next: next.as_ref().map(Key::to_string) })
        }
        KvAnswer::Watching { revision, .. } => {
            text(&KeyWritten { revision: revision.0, duplicate: false })
        }
        KvAnswer::Unwatched => "{}".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_their_kind_says() {
        let of = |kind, bytes: &'static [u8]| check(&Value { kind, bytes: bytes.into() }).is_ok();
        assert!(of(ValueKind::Json, b"{\"a\": 1}") && of(ValueKind::Json, b"4"));
        assert!(
            !of(ValueKind::Json, b"{") && !of(ValueKind::Json, b"") && !of(ValueKind::Json, b"4 5")
        );
        assert!(of(ValueKind::Text, b"") && !of(ValueKind::Text, b"\xff"));
        assert!(of(ValueKind::Bytes, b"\xff"));
    }

    #[test]
    #[rustfmt::skip]
    fn what_can_not_be_asked_names_the_field() {
        let cases = [
            ("kv.set",       r#"{"key": "a"}"#,                                      "value is missing"),
            ("kv.set",       r#"{"value": "a"}"#,                                    "key is missing"),
            ("kv.set",       r#"{"key": "a b", "value": ""}"#,                       "key: "),
            ("kv.set",       r#"{"key": "a^", "value": ""}"#,                        "key: "),
            ("kv.set",       r#"{"key": "a", "value": 1}"#,                          "value is a number"),
            ("kv.set",       r#"{"key": "a", "value": "{", "kind": "json"}"#,        "no valid json"),
            ("kv.set",       r#"{"key": "a", "value": {"base64": "?"}}"#,            "value: "),
            ("kv.set",       r#"{"key": "a", "value": {"base64": "", "b": 1}}"#,     "value: "),
            ("kv.set",       r#"{"key": "a", "value": "", "if_absent": true, "if_revision": 1}"#, "never both"),
            ("kv.delete",    r#"{"key": "a", "if_absent": true}"#,                   "if_absent"),
            ("kv.increment", r#"{"key": "a", "by": 1.5}"#,                           "by = 1.5"),
            ("kv.scan",      r#"{"key": "a", "prefix": "b"}"#,                       "never both"),
            ("kv.scan",      r#"{"limit": 1001}"#,                                   "limit"),
            ("kv.scna",      "{}",                                                   "kv.scan"),
        ];
        for (verb, body, words) in cases {
            let refusal = kv_request(verb, &[], body.as_bytes()).unwrap_err();
            assert!(refusal.message.contains(words), "{verb} {body}: {}", refusal.message);
        }
    }

    #[test]
    fn a_value_is_text_only_where_json_makes_at_most_two_bytes_of_one() {
        let weight = |bytes: &'static [u8]| {
            let value = Value { kind: ValueKind::Text, bytes: bytes.into() };
            let key = Key::new("k").unwrap();
            let entry = Entry { key, value, revision: Revision(u64::MAX), expires_at: None };
            let sent = text(&KeyEntry::of(&entry, true)).len();
            assert!(sent <= entry.weight(), "{sent} of {}", entry.weight());
            shown(&entry.value.bytes)
        };
        assert_eq!(weight(b"a\"b\n"), Payload::Text("a\"b\n".to_owned()));
        assert!(matches!(weight(&[1; 300]), Payload::Bytes { .. }));
        assert!(matches!(weight(&[0xff; 300]), Payload::Bytes { .. }));
    }
}
