//! What ends leases or makes them longer, and what became of each; and how subscriptions are made.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sluice_model::{
    LeaseId, NOTE_BYTES_MAX, Outcome, QueueSettings, Refusal, Settlement, Throttled, TopicPattern,
};

use super::answer::Refused;
use super::fields::{Fields, bad, invalid, missing};
use super::setting;
use super::value::{Json, shortened};
use crate::Token;

/// What `ack`, `nack` and `extend` may say.
pub const SETTLE_FIELDS: [(&str, &[&str]); 3] = [
    ("ack", &["tokens"]),
    ("nack", &["tokens", "outcome", "delay_ms", "note", "retry_after_ms", "key"]),
    ("extend", &["tokens", "by_ms"]),
];

/// What became of leases, in the order in which they were named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SettledEach {
    /// In their order.
    pub results: Vec<Settled>,
    /// The earliest of the new deadlines, after an extend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_at: Option<u64>,
}

/// What became of a lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Settled {
    /// Which.
    pub token: String,
    /// It is as asked.
    pub ok: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Refused>,
}

/// Reads what is to become of leases, of which there are 1 to `max`: `what` is `ack`, `nack` or
/// `extend`.
///
/// # Errors
/// `bad_request` for what can't be read, or `invalid` for a value that is none of those possible;
/// they name the field.
pub fn settle(what: &str, body: &[u8], max: usize) -> Result<(Vec<LeaseId>, Settlement), Refusal> {
    let known = SETTLE_FIELDS.iter().find(|(name, _)| *name == what).map(|(_, fields)| *fields);
    let mut fields = Fields::read_with(&[], body, known.unwrap_or_default())?;
    let tokens = match fields.needed("tokens")? {
        Json::Array(tokens) => tokens,
        other => return Err(super::fields::wrong("tokens", &other, "an array")),
    };
    if !(1..=max).contains(&tokens.len()) {
        let text = format!("tokens has {} items, it must have 1 to {max}", tokens.len());
        return Err(invalid(text));
    }
    let leases = tokens.iter().map(lease).collect::<Result<_, _>>()?;
    let how = match what {
        "nack" => Settlement::Nack(outcome(&mut fields)?),
        "extend" => {
            let by = fields.whole("by_ms", 1..=43_200_000)?.ok_or_else(|| missing("by_ms"))?;
            Settlement::Extend(Duration::from_millis(by))
        }
        _ => Settlement::Ack,
    };
    Ok((leases, how))
}

fn lease(token: &Json) -> Result<LeaseId, Refusal> {
    let Json::Text(text) = token else {
        return Err(bad(format!("a token is {}, not a string", token.kind())));
    };
    let token: Result<Token, _> = text.parse();
    token
        .map(|Token(lease)| lease)
        .map_err(|error| invalid(format!("token {:?}: {error}", shortened(text))))
}

/// How a delivery is given back.
pub(crate) fn outcome(fields: &mut Fields) -> Result<Outcome, Refusal> {
    const WORDS: [&str; 4] = ["failed", "released", "rejected", "throttled"];
    let word = fields.word("outcome", &WORDS, |word| word)?.unwrap_or("failed");
    let means_nothing: &[&str] = match word {
        "failed" => &["retry_after_ms", "key"],
        "released" => &["note", "retry_after_ms", "key"],
        "rejected" => &["delay_ms", "retry_after_ms", "key"],
        _ => &["delay_ms", "note"],
    };
    if let Some(field) = means_nothing.iter().find(|field| fields.has(field)) {
        return Err(invalid(format!("{field}: what is {word} has none")));
    }
    let delay = fields.millis("delay_ms")?;
    let note: Option<Box<str>> = fields.text("note")?.map(|note| cut(note).into());
    Ok(match word {
        "released" => Outcome::Released { delay },
        "rejected" => Outcome::Rejected { note },
        "throttled" => {
            let retry_after = fields.millis("retry_after_ms")?;
            let key = fields.key("key")?.map(Into::into);
            Outcome::Throttled(Throttled { retry_after, key })
        }
        _ => Outcome::Failed { delay, note },
    })
}

/// What is past the bound is cut off.
fn cut(mut note: String) -> String {
    note.truncate(note.floor_char_boundary(NOTE_BYTES_MAX));
    note
}

/// What became of leases, as it is sent.
pub fn settled(leases: &[LeaseId], refused: &[(u32, Refusal)], deadline_at: Option<u64>) -> String {
    let results = leases.iter().zip(0..).map(|(lease, at)| {
        let error = refused.iter().find(|(place, _)| *place == at);
        let error = error.map(|(_, refusal)| super::Failure::from(refusal).error);
        Settled { token: Token(*lease).to_string(), ok: error.is_none(), error }
    });
    super::answer::text(&SettledEach { results: results.collect(), deadline_at })
}

/// Reads how a durable subscription is made: `{"pattern": ..., "settings": ...}`.
///
/// # Errors
/// As [`settle`].
pub fn subscribe(body: &[u8]) -> Result<(TopicPattern, QueueSettings), Refusal> {
    let mut fields = Fields::read_with(&[], body, &["pattern", "settings"])?;
    let settings = setting::taken(fields.take("settings"))?;
    let pattern = fields.text("pattern")?.ok_or_else(|| missing("pattern"))?;
    let pattern = TopicPattern::new(&pattern);
    Ok((pattern.map_err(|error| invalid(format!("pattern: {error}")))?, settings))
}
