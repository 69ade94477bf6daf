//! Messages on their way out.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sluice_model::{Carried, Delivery, Lane, Refusal, Timestamp, TopicPattern};

use super::fields::{Fields, invalid};
use crate::Token;

/// What a receive may say.
pub const RECEIVE_FIELDS: [&str; 4] = ["max", "wait_ms", "lease_ms", "pattern"];

/// What a receive wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// At most so many messages.
    pub max: u32,
    /// How long to wait for the first one.
    pub wait: Option<Duration>,
    /// Time to settle each; none for the queue's.
    pub lease: Option<Duration>,
    /// What the subscription listens to, for who is allowed no more.
    pub pattern: Option<TopicPattern>,
}

/// The answer to a receive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Received {
    /// What there was.
    pub messages: Vec<Delivered>,
    /// In how many milliseconds there will be something, if that is known and nothing came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_eligible_ms: Option<u64>,
}

/// What a message carries: text where it is UTF-8, else Base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum Payload {
    /// As it is.
    Text(String),
    /// Bytes.
    Bytes {
        /// In Base64.
        base64: String,
    },
}

impl Default for Payload {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl From<&Bytes> for Payload {
    fn from(bytes: &Bytes) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Bytes { base64: BASE64_STANDARD.encode(bytes) },
        }
    }
}

/// A message on its way to a consumer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Delivered {
    /// What settles it; not there for one at most once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Its identity; not there for one at most once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The topic that it was published to, or the queue.
    pub topic: String,
    /// Who published it, as the broker knows.
    pub sender: String,
    /// When the broker took it.
    pub published_at: u64,
    /// When the lease ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_at: Option<u64>,
    /// The how-manieth lease of the message this is, from 1; 0 at most once.
    pub attempt: u32,
    /// How often an attempt failed.
    pub failures: u32,
    /// It may have been delivered before.
    pub redelivered: bool,
    /// 0 to 9, 9 first.
    pub priority: u8,
    /// What order and fairness refer to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// What limits refer to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// What it counts for in limits and fairness.
    pub cost: u16,
    /// Pairs of name and value, in the order given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// Its bytes.
    pub payload: Payload,
}

impl From<&Delivery> for Delivered {
    fn from(delivery: &Delivery) -> Self {
        let plain = Lane::default();
        let Lane { priority, group, keys, cost } = delivery.lane.as_deref().unwrap_or(&plain);
        let Carried { id, published_at, topic, sender, headers, payload } = &delivery.carried;
        let lease = delivery.lease;
        Self {
            token: lease.map(|lease| Token(lease).to_string()),
            id: lease.map(|_| id.to_string()),
            topic: text(topic),
            sender: text(sender),
            published_at: published_at.as_millis(),
            deadline_at: lease.map(|_| delivery.deadline.as_millis()),
            attempt: if lease.is_some() { delivery.attempt } else { 0 },
            failures: delivery.failures,
            redelivered: delivery.redelivered,
            priority: *priority,
            group: group.as_deref().map(ToOwned::to_owned),
            keys: keys.iter().map(ToString::to_string).collect(),
            cost: *cost,
            headers: headers.iter().map(|(name, value)| (text(name), text(value))).collect(),
            payload: payload.into(),
        }
    }
}

impl Received {
    /// What there was, as of `now`.
    pub fn new(deliveries: &[Delivery], next: Option<Timestamp>, now: Timestamp) -> Self {
        let millis = |at: Timestamp| at.as_millis().saturating_sub(now.as_millis());
        let messages = deliveries.iter().map(Delivered::from).collect();
        Self { messages, next_eligible_ms: next.map(millis) }
    }

    /// The answer as it is sent.
    pub fn to_text(&self) -> String {
        super::answer::text(self)
    }
}

impl Delivered {
    /// The message as it is sent where it stands alone.
    pub fn to_text(&self) -> String {
        super::answer::text(self)
    }
}

/// What was checked when it was published.
fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Reads what a receive wants: at most `max` messages, and to wait for at most `wait_max`.
///
/// # Errors
/// `bad_request` for what can't be read, or `invalid` for a value that is none of those possible;
/// they name the field.
pub fn receive(body: &[u8], max: u32, wait_max: Duration) -> Result<Wanted, Refusal> {
    let mut fields = Fields::read_with(&[], body, &RECEIVE_FIELDS)?;
    let max = fields.whole("max", 1..=max.into())?.and_then(|max| max.try_into().ok());
    let longest = u64::try_from(wait_max.as_millis()).unwrap_or(u64::MAX);
    let wait = fields.whole("wait_ms", 0..=longest)?.map(Duration::from_millis);
    let lease = fields.whole("lease_ms", 1..=43_200_000)?.map(Duration::from_millis);
    let pattern = fields.text("pattern")?.map(|text| TopicPattern::new(&text)).transpose();
    let pattern = pattern.map_err(|error| invalid(format!("pattern: {error}")))?;
    Ok(Wanted { max: max.unwrap_or(1), wait: wait.filter(|wait| !wait.is_zero()), lease, pattern })
}
