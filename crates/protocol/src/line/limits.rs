//! Limits, pauses and reasons, by words and by actions, and how text tells them.
//!
//! In text a limit is its name, its scope, what it matches, and its terms, as in
//! `stripe key > tenant:* 5/s burst 2`: it is told as it is set.

use sluice_model::{
    Explained, KeyPattern, Limit, LimitAnswer, LimitMatch, LimitRequest, LimitScope, LimitTerms,
    MessageId, Outcome, Pausable, QueueName, QueuePattern, Refusal, Throttled,
};

use super::ask::Ask;
use super::text::Arguments;
use crate::json::explain::explained;
use crate::json::fields::{Fields, invalid, missing};
use crate::json::limit::{asked_in, weighed};
use crate::json::{PAGE_MAX, Reason};

/// What stands between limits on one line.
const BETWEEN: &str = " | ";
/// What stands behind limits where there are more: no limit is one word.
const MORE: &str = "MORE";

/// `LIMIT name scope [queue [key]] terms`.
pub(super) fn set(words: &mut Arguments<'_>) -> Result<Ask, Refusal> {
    let name = words.one()?;
    let scope: LimitScope = words.named()?;
    let matches = match scope {
        LimitScope::Queue => LimitMatch { queue: words.named()?, key: None },
        LimitScope::Key => LimitMatch { queue: words.named()?, key: Some(words.named()?) },
        LimitScope::Client | LimitScope::Global => {
            LimitMatch { queue: QueuePattern::all(), key: None }
        }
    };
    let refused = |error: sluice_model::LimitError| invalid(error.to_string());
    let terms: LimitTerms = words.all()?.parse().map_err(refused)?;
    let limit = Limit::new(name, scope, matches, terms).map_err(refused)?;
    Ok(Ask::limits(LimitRequest::Put(Box::new(limit))))
}

/// `LIMITS [name]`.
pub(super) fn list(words: &mut Arguments<'_>) -> Result<Ask, Refusal> {
    let name = words.next().map(Into::into);
    Ok(Ask::limits(LimitRequest::List { name, after: None, limit: PAGE_MAX }))
}

/// `UNLIMIT name [queue [key]]`.
pub(super) fn delete(words: &mut Arguments<'_>) -> Result<Ask, Refusal> {
    let name = words.one()?.into();
    let refused = |error: sluice_model::LimitError| invalid(error.to_string());
    let queue = words.next().map(QueuePattern::new).transpose().map_err(refused)?;
    let key = words.next().map(KeyPattern::new).transpose().map_err(refused)?;
    let matches = queue.map(|queue| LimitMatch { queue, key });
    Ok(Ask::limits(LimitRequest::Delete { name, matches }))
}

/// `PAUSE queue [for_ms [reason]]`, `PAUSEKEY queue key [for_ms [reason]]`.
pub(super) fn pause(words: &mut Arguments<'_>, of_key: bool) -> Result<Ask, Refusal> {
    let what = pausable(words, of_key)?;
    let period = words.millis("for_ms")?;
    let reason = words.tail_or_empty();
    let reason = std::str::from_utf8(&reason).unwrap_or_default().trim();
    let reason = (!reason.is_empty()).then(|| reason.into());
    Ok(Ask::limits(LimitRequest::Pause { what, period, reason }))
}

/// `RESUME queue`, `RESUMEKEY queue key`.
pub(super) fn resume(words: &mut Arguments<'_>, of_key: bool) -> Result<Ask, Refusal> {
    Ok(Ask::limits(LimitRequest::Resume { what: pausable(words, of_key)? }))
}

fn pausable(words: &mut Arguments<'_>, of_key: bool) -> Result<Pausable, Refusal> {
    let queue: QueueName = words.named()?;
    Ok(match of_key {
        true => Pausable::Key { queue, key: words.one()?.into() },
        false => Pausable::Queue(queue),
    })
}

/// `EXPLAIN queue [id]`.
pub(super) fn explain(words: &mut Arguments<'_>) -> Result<Ask, Refusal> {
    let queue = words.named()?;
    let id = words.next().map(str::parse::<MessageId>).transpose();
    let id = id.map_err(|error| invalid(error.to_string()))?;
    let what = id.map_or(Explained::Queue, Explained::Message);
    Ok(Ask::limits(LimitRequest::Explain { queue, what }))
}

/// `THROTTLE lease [retry_after_ms [key]]`.
pub(super) fn throttle(words: &mut Arguments<'_>) -> Result<Ask, Refusal> {
    let lease = words.lease()?;
    let retry_after = words.millis("retry_after_ms")?;
    let key = words.next().map(Into::into);
    Ok(Ask::nack(lease, Outcome::Throttled(Throttled { retry_after, key })))
}

/// An action whose fields are those of a verb.
pub(super) fn action(verb: &str, fields: &mut Fields) -> Result<Ask, Refusal> {
    asked_in(verb, fields).map(Ask::limits)
}

/// EXPLAIN and WEIGH, where `queue` names the queue.
pub(super) fn of_queue(fields: &mut Fields, weighs: bool) -> Result<Ask, Refusal> {
    let queue = fields.queue("queue")?.ok_or_else(|| missing("queue"))?;
    Ok(Ask::limits(match weighs {
        true => weighed(queue, fields)?,
        false => {
            // `id` is the request's own.
            let what = match fields.text("message")? {
                None => explained(fields)?,
                Some(_) if fields.has("group") || fields.has("key") => {
                    return Err(invalid("with message neither group nor key may be".to_owned()));
                }
                Some(id) => {
                    let id: Result<MessageId, _> = id.parse();
                    Explained::Message(id.map_err(|error| invalid(format!("message: {error}")))?)
                }
            };
            LimitRequest::Explain { queue, what }
        }
    }))
}

/// An answer on one line; times are from the moment of the answer.
pub(super) fn text(answer: &LimitAnswer) -> String {
    let joined = |parts: Vec<String>, none: &str| match parts.is_empty() {
        true => none.to_owned(),
        false => parts.join(BETWEEN),
    };
    match answer {
        LimitAnswer::List { limits, more } => {
            let more = more.then(|| MORE.to_owned());
            joined(limits.iter().map(limit_text).chain(more).collect(), "NONE")
        }
        LimitAnswer::Deleted(limits) => format!("{} {limits}", super::OK),
        LimitAnswer::Explained { reasons, at } => {
            let told = |reason| Reason::of(reason, *at).text;
            joined(reasons.iter().map(told).collect(), "DELIVERABLE")
        }
        LimitAnswer::TopKeys(keys) => {
            let key = |key: &sluice_model::KeyFigures| {
                format!("{} holders={} lanes={}", key.key, key.holders, key.lanes)
            };
            joined(keys.iter().map(key).collect(), "NONE")
        }
        LimitAnswer::Put { .. }
        | LimitAnswer::Paused(_)
        | LimitAnswer::Resumed(_)
        | LimitAnswer::Weighed => super::OK.to_owned(),
    }
}

/// A limit as `LIMIT` takes it.
fn limit_text(limit: &Limit) -> String {
    let (name, scope, terms) = (limit.name(), limit.scope(), limit.terms());
    let LimitMatch { queue, key } = limit.matches();
    match (scope.is_for_requests(), key) {
        (true, _) => format!("{name} {scope} {terms}"),
        (false, None) => format!("{name} {scope} {queue} {terms}"),
        (false, Some(key)) => format!("{name} {scope} {queue} {key} {terms}"),
    }
}
