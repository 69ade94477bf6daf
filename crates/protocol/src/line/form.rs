//! What is said to a line: in text or in JSON, as it was asked.

use bytes::Bytes;
use serde_json::{Value, json};
use sluice_model::{Answer, Carried, Code, Delivery, Key, KvAnswer, Refusal, Timestamp};

use super::ask::Want;
use super::limits;
use super::shown::{self, is_showable};
use crate::Token;
use crate::json::{self, Delivered};

/// What PING is answered with.
pub const PONG: &str = "PONG";
/// What says that something was done and there is no more to say.
pub const OK: &str = "OK";
/// What QUIT and SHUTDOWN are answered with.
pub const BYE: &str = "BYE";
/// What a text client is told of what text can't show.
const USE_JSON: &str = "ERR use JSON";

/// The form of a request and of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// Text.
    Text,
    /// JSON.
    Json {
        /// The request's id as it was written.
        id: Option<Box<str>>,
    },
}

/// What is said to a line, without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// This.
    Line(Bytes),
    /// This, and that it could not be shown: what was taken has to go back.
    Unshowable(Bytes),
}

impl Form {
    /// Whether it is JSON.
    pub const fn is_json(&self) -> bool {
        matches!(self, Self::Json { .. })
    }

    /// Bytes that an answer has beside what it tells.
    pub fn overhead(&self) -> usize {
        match self {
            Self::Text => 0,
            Self::Json { id } => id.as_ref().map_or(0, |id| id.len()),
        }
    }

    /// A word.
    pub fn word(&self, word: &str) -> String {
        match self {
            Self::Text => word.to_owned(),
            Self::Json { .. } => self.result(&json!(word).to_string()),
        }
    }

    /// Success in JSON; in text, where only the words are told, this one.
    pub fn done(&self, word: &str, result: &Value) -> String {
        match self {
            Self::Text => word.to_owned(),
            Self::Json { .. } => self.result(&result.to_string()),
        }
    }

    /// What was refused.
    pub fn refused(&self, refusal: &Refusal) -> String {
        match self {
            Self::Text => refused_text(refusal),
            Self::Json { .. } => self.closed(json::refused(refusal)),
        }
    }

    /// A result that is JSON already.
    fn result(&self, result: &str) -> String {
        self.closed(format!("{{\"result\":{result}}}"))
    }

    /// An object with the id of the request as its last field.
    fn closed(&self, mut object: String) -> String {
        if let Self::Json { id: Some(id) } = self {
            object.pop();
            object.push_str(",\"id\":");
            object.push_str(id);
            object.push('}');
        }
        object
    }

    /// What an answer of the broker means to whom it concerns.
    pub fn answer(&self, want: Want, answer: &Answer, now: Timestamp) -> Said {
        match (want, answer) {
            // It is no error not to be there, where that was the question.
            (Want::There, Answer::Refused(refusal)) if refusal.code == Code::NotFound => {
                Said::Line(self.done("0", &json!(false)).into())
            }
            (_, Answer::Refused(refusal)) => Said::Line(self.refused(refusal).into()),
            _ => match self {
                Self::Text => text(want, answer, now),
                Self::Json { .. } if let Some(next) = next_in(want, answer, now) => {
                    let object = format!("{{\"result\":null,\"next_eligible_ms\":{next}}}");
                    Said::Line(self.closed(object).into())
                }
                Self::Json { .. } => Said::Line(self.result(&result(want, answer, now)).into()),
            },
        }
    }
}

/// A refusal in one short line.
fn refused_text(refusal: &Refusal) -> String {
    let retry = refusal.retry_after.map(|after| after.as_millis());
    let text = match (refusal.code, retry) {
        (Code::RateLimited, Some(millis)) => format!("ERR rate limited, retry after {millis} ms"),
        (Code::RateLimited, None) => format!("ERR rate limited: {}", refusal.message),
        (_, Some(millis)) => format!("ERR {}, retry after {millis} ms", refusal.message),
        (_, None) => format!("ERR {}", refusal.message),
    };
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Text that can be told as text, as an answer of its own.
fn plain(bytes: Bytes) -> Said {
    // Clients know a push by its first byte.
    match is_showable(&bytes) && !bytes.starts_with(b"*") {
        true => Said::Line(bytes),
        false => unshowable(),
    }
}

fn unshowable() -> Said {
    Said::Unshowable(Bytes::from_static(USE_JSON.as_bytes()))
}

fn done() -> Said {
    Said::Line(Bytes::from_static(OK.as_bytes()))
}

fn text(want: Want, answer: &Answer, now: Timestamp) -> Said {
    let line = match (want, answer) {
        (Want::Enqueued, Answer::Published(published)) => format!("{OK} {}", published.id),
        (Want::Published, Answer::Published(published)) => format!("{OK} {}", published.matched),
        (Want::Message, Answer::Delivered(delivery)) => match leased(delivery) {
            Some(line) => line,
            None => return unshowable(),
        },
        (Want::Message, _) => match next_in(want, answer, now) {
            Some(next) => format!("EMPTY {next}"),
            None => "EMPTY".to_owned(),
        },
        (_, Answer::Limit(answer)) => return plain(limits::text(answer).into()),
        (Want::Queue, Answer::Stats(stats)) => {
            let counts = &stats.counts;
            format!(
                "ready={} delayed={} leased={} dead={} published={} acked={}",
                counts.ready,
                counts.delayed,
                counts.leased,
                counts.dead,
                stats.published,
                stats.acked
            )
        }
        (_, Answer::Kv(answer)) => match (want, answer) {
            (_, KvAnswer::Value(entry)) => return plain(entry.value.bytes.clone()),
            (Want::Ttl, KvAnswer::There { expires_at: Some(at), .. }) => left(*at, now).to_string(),
            (Want::Ttl, KvAnswer::There { expires_at: None, .. }) => "NEVER".to_owned(),
            (_, KvAnswer::There { .. }) => "1".to_owned(),
            (_, KvAnswer::Incremented { value, .. }) => value.to_string(),
            (_, KvAnswer::Scanned { entries, next }) => {
                let names = entries.iter().map(|entry| entry.key.as_str());
                // No key is a `^` alone.
                let more = next.iter().map(|_| "^");
                names.chain(more).collect::<Vec<_>>().join(" ")
            }
            _ => return done(),
        },
        _ => return done(),
    };
    Said::Line(line.into())
}

/// A message on one line, if text can show it: id, lease, payload.
fn leased(delivery: &Delivery) -> Option<String> {
    let Carried { id, payload, .. } = &delivery.carried;
    let lease = Token(delivery.lease?);
    let payload = std::str::from_utf8(payload).ok().filter(|_| is_showable(payload))?;
    Some(format!("{id} {lease} {payload}"))
}

/// In how many milliseconds there will be a message where there is none, if that is known.
fn next_in(want: Want, answer: &Answer, now: Timestamp) -> Option<u64> {
    match (want, answer) {
        (Want::Message, Answer::Empty { next: Some(at) }) => Some(left(*at, now)),
        _ => None,
    }
}

/// Milliseconds until then.
fn left(at: Timestamp, now: Timestamp) -> u64 {
    at.as_millis().saturating_sub(now.as_millis())
}

fn result(want: Want, answer: &Answer, now: Timestamp) -> String {
    let result = match (want, answer) {
        (Want::Enqueued | Want::Published, Answer::Published(published)) => {
            return json::answer::text(&json::Taken::from(published));
        }
        (Want::Message, Answer::Delivered(delivery)) => return message(delivery),
        (Want::Message, Answer::Empty { .. } | Answer::Unreadable { .. }) => Value::Null,
        (Want::Settled, Answer::Settled { already }) => json!({"already": already}),
        (Want::Extended, Answer::Extended { deadline }) => {
            json!({"deadline_at": deadline.as_millis()})
        }
        (Want::Queue, Answer::Stats(_)) | (_, Answer::Limit(_)) => return json::answer(answer),
        (_, Answer::Kv(answer)) => return of_keys(want, answer, now),
        _ => json!(OK),
    };
    result.to_string()
}

/// A message that is leased: what is called a token where no connection holds it is its lease here.
fn message(delivery: &Delivery) -> String {
    #[derive(serde::Serialize)]
    struct Leased {
        lease: Option<String>,
        #[serde(flatten)]
        message: Delivered,
    }
    let mut message = Delivered::from(delivery);
    message.payload = json::kv::shown(&delivery.carried.payload);
    let lease = message.token.take();
    json::answer::text(&Leased { lease, message })
}

fn of_keys(want: Want, answer: &KvAnswer, now: Timestamp) -> String {
    let result = match answer {
        KvAnswer::Written { revision, duplicate: false } => json!({"revision": revision.0}),
        KvAnswer::Written { revision, duplicate } => {
            json!({"revision": revision.0, "duplicate": duplicate})
        }
        KvAnswer::Value(entry) if want == Want::Entry => return shown::entry(entry, &[]),
        KvAnswer::Value(entry) => return shown::value(&entry.value),
        KvAnswer::There { expires_at, .. } if want == Want::Ttl => {
            expires_at.map_or(Value::Null, |at| json!(left(at, now)))
        }
        KvAnswer::There { .. } => json!(true),
        KvAnswer::Incremented { value, revision, duplicate: false } => {
            json!({"value": value, "revision": revision.0})
        }
        KvAnswer::Incremented { value, revision, duplicate } => {
            json!({"value": value, "revision": revision.0, "duplicate": duplicate})
        }
        KvAnswer::Scanned { entries, next } => {
            let next = next.as_ref().map(Key::as_str);
            let parts: Vec<_> = match want {
                Want::Names => entries.iter().map(|entry| json!(entry.key.as_str()).to_string()),
                _ => return scanned(entries, next),
            }
            .collect();
            return page("keys", &parts, next);
        }
        KvAnswer::Watching { revision, .. } => json!({"revision": revision.0}),
        KvAnswer::Unwatched => json!(OK),
    };
    result.to_string()
}

fn scanned(entries: &[sluice_model::Entry], next: Option<&str>) -> String {
    let parts: Vec<_> = entries.iter().map(|entry| shown::entry(entry, &[])).collect();
    page("entries", &parts, next)
}

fn page(name: &str, parts: &[String], next: Option<&str>) -> String {
    let next = next.map(|next| format!(",\"next\":{}", json!(next))).unwrap_or_default();
    format!("{{\"{name}\":[{}]{next}}}", parts.join(","))
}
