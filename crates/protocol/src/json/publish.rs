//! Messages on their way in, and what became of them.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sluice_model::{
    COST_MAX, Extras, Lane, Level, Message, PRIORITY_DEFAULT, Published, Refusal, Timestamp,
    ValueKind,
};

use super::fields::{Fields, bad, invalid, wrong};
use super::value::Json;

/// What a message may have beside its payload.
pub const MESSAGE_FIELDS: [&str; 10] = [
    "headers",
    "ttl_ms",
    "delay_ms",
    "deliver_at",
    "priority",
    "group",
    "keys",
    "cost",
    "dedupe_id",
    "level",
];
/// What a message of a batch may have: `level` is the batch's.
const ITEM_FIELDS: [&str; 10] = [
    "payload",
    "headers",
    "ttl_ms",
    "delay_ms",
    "deliver_at",
    "priority",
    "group",
    "keys",
    "cost",
    "dedupe_id",
];

/// Messages that are handed in together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Messages {
    /// In their order.
    pub messages: Vec<Message>,
    /// The least level that the publisher accepts; none for whatever the queues have.
    pub level: Option<Level>,
}

/// What became of messages that were handed in together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TakenAll {
    /// In their order.
    pub messages: Vec<Taken>,
}

/// A message that was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Taken {
    /// Its identity from now on; the original's for a duplicate.
    pub id: String,
    /// How many queues and subscriptions it reached.
    pub matched: u32,
    /// The weakest level among the queues that took it; not there where none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// It had been published before, under the same dedupe id.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
}

impl From<&Published> for Taken {
    fn from(published: &Published) -> Self {
        let Published { id, matched, level, duplicate } = *published;
        let level = level.map(|level| level.name().to_owned());
        Self { id: id.to_string(), matched, level, duplicate }
    }
}

/// What became of messages, as it is sent.
pub fn taken(published: &[Published]) -> String {
    super::answer::text(&TakenAll { messages: published.iter().map(Taken::from).collect() })
}

/// Reads messages that are handed in together: `{"messages": [...], "level": ...}`, of which there
/// are 1 to `max`.
///
/// # Errors
/// `bad_request` for what can't be read, or `invalid` for a value that is none of those possible;
/// they name the field.
pub fn messages(body: &[u8], max: usize) -> Result<Messages, Refusal> {
    let mut fields = Fields::read(body, &["messages", "level"])?;
    let level = level(&mut fields)?;
    let items = match fields.needed("messages")? {
        Json::Array(items) => items,
        other => return Err(wrong("messages", &other, "an array")),
    };
    if !(1..=max).contains(&items.len()) {
        let text = format!("messages has {} items, it must have 1 to {max}", items.len());
        return Err(invalid(text));
    }
    let item = |(at, item)| {
        let mut fields = Fields::of(item, "a message", &ITEM_FIELDS)?;
        let payload = fields.needed("payload").and_then(|given| text_or_bytes("payload", given));
        let message = payload.and_then(|(_, payload)| with_payload(&mut fields, payload));
        message.map_err(|refusal: Refusal| {
            let message = format!("messages[{at}]: {}", refusal.message).into();
            Refusal { message, ..refusal }
        })
    };
    let messages = items.into_iter().enumerate().map(item).collect::<Result<_, Refusal>>()?;
    Ok(Messages { messages, level })
}

/// Reads what a message has beside its payload from texts that were given by name
/// ([`MESSAGE_FIELDS`]; keys stand between commas), and the level.
///
/// # Errors
/// As [`messages`].
pub fn message(
    given: &[(&str, &str)],
    headers: Vec<(String, String)>,
    payload: Bytes,
) -> Result<(Message, Option<Level>), Refusal> {
    let mut fields = Fields::read_with(given, b"", &MESSAGE_FIELDS)?;
    let level = level(&mut fields)?;
    let mut message = with_payload(&mut fields, payload)?;
    if !headers.is_empty() {
        let extras = message.extras.get_or_insert_default();
        extras.headers = headers;
        extras.validate().map_err(|error| invalid(error.to_string()))?;
    }
    Ok((message, level))
}

/// Gives a message further keys.
///
/// # Errors
/// `invalid`: there are too many of them, or one is none.
pub fn add_keys(message: &mut Message, keys: &[&str]) -> Result<(), Refusal> {
    if keys.is_empty() {
        return Ok(());
    }
    let extras = message.extras.get_or_insert_default();
    extras.lane.keys.extend(keys.iter().map(|key| Box::from(*key)));
    extras.validate().map_err(|error| invalid(error.to_string()))
}

/// The least level that a publisher accepts.
pub(crate) fn level(fields: &mut Fields) -> Result<Option<Level>, Refusal> {
    fields.word("level", &[Level::Memory, Level::Os, Level::Sync], Level::name)
}

/// Text, or bytes as `{"base64": "..."}`; which of the two it is.
pub(super) fn text_or_bytes(name: &str, value: Json) -> Result<(ValueKind, Bytes), Refusal> {
    match value {
        Json::Text(text) => Ok((ValueKind::Text, text.into())),
        object @ Json::Object(_) => {
            let fields = Fields::of(object, name, &["base64"]);
            let mut fields =
                fields.map_err(|refusal| bad(format!("{name}: {}", refusal.message)))?;
            let text =
                fields.text("base64")?.ok_or_else(|| bad(format!("{name} has no base64")))?;
            let bytes = BASE64_STANDARD.decode(text);
            let bytes = bytes.map_err(|error| invalid(format!("{name}: {error}")))?;
            Ok((ValueKind::Bytes, bytes.into()))
        }
        other => Err(wrong(name, &other, "a string or {\"base64\": ...}")),
    }
}

/// A message of this payload and what else is said of it.
pub(crate) fn with_payload(fields: &mut Fields, payload: Bytes) -> Result<Message, Refusal> {
    let lane = Lane {
        priority: small(fields, "priority")?.unwrap_or(PRIORITY_DEFAULT),
        group: fields.key("group")?.map(Into::into),
        keys: fields.texts("keys")?.into_iter().map(Into::into).collect(),
        cost: fields.whole("cost", 1..=COST_MAX.into())?.map_or(1, |cost| cost as u16),
    };
    let extras = Extras {
        headers: headers(fields)?,
        ttl: fields.millis("ttl_ms")?,
        delay: fields.millis("delay_ms")?.filter(|delay| *delay > Duration::ZERO),
        deliver_at: fields.whole("deliver_at", 0..=u64::MAX)?.map(Timestamp::from_millis),
        lane,
        dedupe_id: fields.key("dedupe_id")?,
    };
    if extras == Extras::default() {
        return Ok(Message::plain(payload));
    }
    extras.validate().map_err(|error| invalid(error.to_string()))?;
    Ok(Message { payload, extras: Some(Box::new(extras)) })
}

fn small(fields: &mut Fields, name: &str) -> Result<Option<u8>, Refusal> {
    let number = fields.whole(name, 0..=sluice_model::PRIORITY_MAX.into())?;
    Ok(number.and_then(|number| number.try_into().ok()))
}

/// Pairs in their order, or an object.
fn headers(fields: &mut Fields) -> Result<Vec<(String, String)>, Refusal> {
    let expected = "an object, or an array of pairs, of strings";
    let text = |value| match value {
        Json::Text(text) => Ok(text),
        other => Err(wrong("headers", &other, expected)),
    };
    match fields.take("headers") {
        None => Ok(Vec::new()),
        Some(Json::Object(all)) => {
            all.into_iter().map(|(name, value)| Ok((name, text(value)?))).collect()
        }
        Some(Json::Array(pairs)) => pairs
            .into_iter()
            .map(|pair| match pair {
                Json::Array(pair) => match <[Json; 2]>::try_from(pair) {
                    Ok([name, value]) => Ok((text(name)?, text(value)?)),
                    Err(_) => Err(bad(format!("headers is not {expected}"))),
                },
                other => Err(wrong("headers", &other, expected)),
            })
            .collect(),
        Some(other) => Err(wrong("headers", &other, expected)),
    }
}
