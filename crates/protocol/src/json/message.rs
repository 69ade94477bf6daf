//! Messages that are looked at.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sluice_model::{Carried, Lane, MessageInfo, Timestamp};

/// Longest payload that is shown; of a longer one only the length is told.
pub const PAYLOAD_SHOWN_MAX: usize = 4 << 20;

/// The answer to `queue.browse`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Browsed {
    /// In the order of their places.
    pub messages: Vec<Message>,
    /// If there may be more: the `after` of the next page, also of an empty one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// One message's full state. States, reasons and changes are strings, so that a client reads also
/// what a newer broker says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Message {
    /// Its identity, as [`sluice_model::MessageId`] is written.
    pub id: String,
    /// Its place in the queue.
    pub seq: u64,
    /// Where it is in its life, as [`sluice_model::State`] is written.
    pub state: Cow<'static, str>,
    /// When it was published.
    pub enqueued_at: u64,
    /// Hidden until then, while it is delayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<u64>,
    /// Gone from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// When its lease ends, while it is leased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_at: Option<u64>,
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
    /// Its bytes in the log, all included.
    pub bytes: u64,
    /// How often it was leased.
    pub acquires: u32,
    /// How often an attempt failed.
    pub failures: u32,
    /// How often it was given back untried.
    pub releases: u32,
    /// How often it was put back from the dead set.
    pub redriven: u32,
    /// What its last consumer said about a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Why it is dead, as [`sluice_model::DeadReason`] is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_reason: Option<Cow<'static, str>>,
    /// Since when it is dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_at: Option<u64>,
    /// What happened to it last, as [`sluice_model::Transition`] is written.
    pub last_change: Cow<'static, str>,
    /// When that was.
    pub last_change_at: u64,
}

/// The answer to `queue.peek`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Peeked {
    /// The message's state.
    #[serde(flatten)]
    pub message: Message,
    /// The topic that it was published to, or the queue.
    pub topic: String,
    /// Who published it, as the broker knows.
    pub sender: String,
    /// Pairs of name and value, in the order given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// The payload's length.
    pub payload_bytes: u64,
    /// The payload, where it is text: UTF-8 without control characters but tabs and line ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// The payload in Base64, where it is not. Neither is there for one that is longer than
    /// [`PAYLOAD_SHOWN_MAX`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
}

impl From<&MessageInfo> for Message {
    fn from(info: &MessageInfo) -> Self {
        let plain = Lane::default();
        let Lane { priority, group, keys, cost } = info.lane.as_deref().unwrap_or(&plain);
        let at = |time: Option<Timestamp>| time.map(Timestamp::as_millis);
        Self {
            id: info.id.to_string(),
            seq: info.seq.0,
            state: info.state.name().into(),
            enqueued_at: info.enqueued_at.as_millis(),
            ready_at: at(info.ready_at),
            expires_at: at(info.expires_at),
            deadline_at: at(info.deadline),
            priority: *priority,
            group: group.as_deref().map(ToOwned::to_owned),
            keys: keys.iter().map(ToString::to_string).collect(),
            cost: *cost,
            bytes: info.bytes,
            acquires: info.acquires,
            failures: info.failures,
            releases: info.releases,
            redriven: info.redriven,
            last_error: info.last_error.as_deref().map(ToOwned::to_owned),
            dead_reason: info.dead.map(|(reason, _)| reason.name().into()),
            dead_at: info.dead.map(|(_, at)| at.as_millis()),
            last_change: info.last_change.0.name().into(),
            last_change_at: info.last_change.1.as_millis(),
        }
    }
}

impl From<&sluice_model::Peeked> for Peeked {
    fn from(peeked: &sluice_model::Peeked) -> Self {
        let Carried { topic, sender, headers, payload, .. } = &peeked.carried;
        let shown = (payload.len() <= PAYLOAD_SHOWN_MAX).then_some(&payload[..]);
        let as_text = shown.and_then(|bytes| std::str::from_utf8(bytes).ok());
        let as_text = as_text.filter(|text| text.chars().all(is_text));
        Self {
            message: (&peeked.info).into(),
            topic: text(topic),
            sender: text(sender),
            headers: headers.iter().map(|(name, value)| (text(name), text(value))).collect(),
            payload_bytes: payload.len() as u64,
            payload: as_text.map(ToOwned::to_owned),
            payload_base64: match as_text {
                Some(_) => None,
                None => shown.map(|bytes| BASE64_STANDARD.encode(bytes)),
            },
        }
    }
}

fn is_text(c: char) -> bool {
    !c.is_control() || matches!(c, '\t' | '\n' | '\r')
}

/// What was checked when it was published.
fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
