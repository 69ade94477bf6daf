//! What can be asked: the table of verbs, and how the body of each is read.

use sluice_model::{
    Command, DeadReason, Filter, Purge, QueueKind, QueueName, QueueRequest, Redrive, Refusal,
    State, SubscriptionName, Timestamp,
};

use super::fields::{Fields, bad, invalid, missing, unknown_name};
use super::kv::kv_request;
use super::limit::{LIMIT_VERBS, limit_request};
use super::setting;

/// Longest body of a request.
pub const BODY_BYTES_MAX: usize = 64 << 10;
/// Entries of a page that names no limit.
pub const PAGE_DEFAULT: u16 = 100;
/// Most entries of a page, and most ids of a request.
pub const PAGE_MAX: u16 = 1_000;

/// Reads anything that can be asked of queues, limits and keys, of which some fields were given as
/// text: in a path or a query.
///
/// # Errors
/// As [`request`].
pub fn command(verb: &str, given: &[(&str, &str)], body: &[u8]) -> Result<Command, Refusal> {
    if verb.starts_with("kv.") {
        return kv_request(verb, given, body).map(Command::Kv);
    }
    if verb.starts_with("limit.") || LIMIT_VERBS.iter().any(|(known, _)| *known == verb) {
        return limit_request(verb, given, body).map(|request| Command::Limit(Box::new(request)));
    }
    request_with(verb, given, body).map(|request| Command::Queue(Box::new(request)))
}

/// Something that can be asked.
struct Verb {
    name: &'static str,
    /// The names of its fields.
    fields: &'static [&'static str],
    read: fn(&mut Fields) -> Result<QueueRequest, Refusal>,
}

#[rustfmt::skip]
const VERBS: [Verb; 14] = [
    Verb { name: "queue.declare",       fields: &["name", "settings"],           read: |fields| declare(fields, false) },
    Verb { name: "queue.update",        fields: &["name", "settings"],           read: |fields| declare(fields, true) },
    Verb { name: "queue.list",          fields: &["after", "limit"],             read: |fields| list(fields, QueueKind::Plain) },
    Verb { name: "queue.stats",         fields: &["name"],                       read: stats },
    Verb { name: "queue.purge",         fields: &["name", "waiting", "leased", "dead"], read: purge },
    Verb { name: "queue.delete",        fields: &["name", "force"],              read: delete },
    Verb { name: "queue.browse",        fields: &["name", "state", "group", "key", "age_min_ms", "reason", "after", "limit"], read: browse },
    Verb { name: "queue.peek",          fields: &["name", "id"],                 read: peek },
    Verb { name: "queue.remove",        fields: &["name", "id", "force"],        read: remove },
    Verb { name: "queue.cancel",        fields: &["name", "id"],                 read: cancel },
    Verb { name: "queue.reschedule",    fields: &["name", "id", "at_ms"],        read: reschedule },
    Verb { name: "queue.redrive",       fields: &["name", "ids", "reason", "age_min_ms", "per_second"], read: redrive },
    Verb { name: "subscription.list",   fields: &["after", "limit"],             read: |fields| list(fields, QueueKind::Subscription) },
    Verb { name: "subscription.delete", fields: &["name", "force"],              read: delete_subscription },
];

/// Every verb with the names of its fields.
pub fn verbs() -> impl ExactSizeIterator<Item = (&'static str, &'static [&'static str])> {
    VERBS.iter().map(|verb| (verb.name, verb.fields))
}

/// Reads what is asked. An empty body stands for an object without fields.
///
/// # Errors
/// `too_large`, `bad_request` for what can't be read, or `invalid` for a value that is none of
/// those possible; they name the field.
pub fn request(verb: &str, body: &[u8]) -> Result<QueueRequest, Refusal> {
    request_with(verb, &[], body)
}

/// Reads what is asked, of which some fields were given as text: in a path or a query.
///
/// # Errors
/// As [`request`].
pub fn request_with(
    verb: &str,
    given: &[(&str, &str)],
    body: &[u8],
) -> Result<QueueRequest, Refusal> {
    if body.len() > BODY_BYTES_MAX {
        let text =
            format!("the request has {} bytes, at most {BODY_BYTES_MAX} are allowed", body.len());
        return Err(Refusal::new(sluice_model::Code::TooLarge, text));
    }
    let Some(known) = VERBS.iter().find(|known| known.name == verb) else {
        let names = VERBS.map(|verb| verb.name);
        return Err(bad(unknown_name("verb", verb, &names)));
    };
    (known.read)(&mut Fields::read_with(given, body, known.fields)?)
}

fn name(fields: &mut Fields) -> Result<QueueName, Refusal> {
    fields.queue("name")?.ok_or_else(|| missing("name"))
}

fn force(fields: &mut Fields) -> Result<bool, Refusal> {
    Ok(fields.flag("force")?.unwrap_or_default())
}

/// How many entries a page is to have.
pub(super) fn page_limit(fields: &mut Fields) -> Result<u16, Refusal> {
    let limit = fields.whole("limit", 1..=PAGE_MAX.into())?;
    Ok(limit.and_then(|limit| limit.try_into().ok()).unwrap_or(PAGE_DEFAULT))
}

fn reason(fields: &mut Fields) -> Result<Option<DeadReason>, Refusal> {
    fields.word("reason", DeadReason::ALL, DeadReason::name)
}

fn declare(fields: &mut Fields, update: bool) -> Result<QueueRequest, Refusal> {
    let settings = setting::taken(fields.take("settings"))?;
    Ok(QueueRequest::Declare { name: name(fields)?, settings, update })
}

fn list(fields: &mut Fields, kind: QueueKind) -> Result<QueueRequest, Refusal> {
    Ok(QueueRequest::List { kind, after: fields.queue("after")?, limit: page_limit(fields)? })
}

fn stats(fields: &mut Fields) -> Result<QueueRequest, Refusal> {
    Ok(QueueRequest::Stats { name: name(fields)? })
}

/// What waits, if nothing else is said: whoever names the dead does not mean the living.
fn purge(fields: &mut Fields) -> Result<QueueRequest, Refusal> {
    let [waiting, leased, dead] =
        [fields.flag("waiting")?, fields.flag("leased")?, fields.flag("dead")?];
    let silent = waiting.or(leased).or(dead).is_none();
    let what = Purge {
        waiting: waiting.unwrap_or(silent),
        leased: leased.unwrap_or_default(),
        dead: dead.unwrap_or_default(),
    };
    if !(what.waiting || what.leased || what.dead) {
        return Err(invalid("none of waiting, leased and dead is true".to_owned()));
    }
    Ok(QueueRequest::Purge { name: name(fields)?, what })
}

fn delete(fields: &mut Fields) -> Result<QueueRequest, Refusal> {
    Ok(QueueRequest::Delete { name: name(fields)?, force: force(fields)? })
}

fn delete_subscription(fields: &mut Fields) -> Result<QueueRequest, Refusal> {
    let text = fields.text("name")?.ok_or_else(|| missing("name"))?;
    let name = SubscriptionName::new(&text).map_err(|error| invalid(format!("name: {error}")))?;
    let name = QueueName::of_subscription(&name);
    Ok(QueueRequest::Delete { name, force: force(fields)? })
}

fn browse(fields: &mut Fields) -> Result<QueueRequest, Refusal> {
    let filter = Filter {
        state: fields.word("state", State::ALL, State::name)?,
        group: fields.key("group")?,
        key: fields.key("key")?,
        age_min: fields.millis("age_min_ms")?,
        reason: reason(fields)?,
    };
    let after = fields.whole("after", 0..=u64::MAX)?;
    Ok(QueueRequest::Browse { name: name(fields)?, filter, after, limit: page_limit(fields)? })
}

fn peek(fields: &mut Fields) -> Result<QueueRequest, Refusal> {
    Ok(QueueRequest::Peek { name: name(fields)?, id: fields.id()? })
}

fn remove(fields: &mut Fields) -> Result<QueueRequest, Refusal> {
    Ok(QueueRequest::Remove { name: name(fields)?, id: fields.id()?, force: force(fields)? })
}

fn cancel(fields: &mut Fields) -> Result<QueueRequest, Refusal> {
    Ok(QueueRequest::Cancel { name: name(fields)?, id: fields.id()? })
}

fn reschedule(fields: &mut Fields) -> Result<QueueRequest, Refusal> {
    let at = fields.whole("at_ms", 0..=u64::MAX)?.ok_or_else(|| missing("at_ms"))?;
    let at = Timestamp::from_millis(at);
    Ok(QueueRequest::Reschedule { name: name(fields)?, id: fields.id()?, at })
}

fn redrive(fields: &mut Fields) -> Result<QueueRequest, Refusal> {
    if fields.has("ids") && (fields.has("reason") || fields.has("age_min_ms")) {
        return Err(invalid("ids are given, so neither reason nor age_min_ms may be".to_owned()));
    }
    let which = match fields.ids("ids", PAGE_MAX.into())? {
        Some(ids) => Redrive::Ids(ids),
        None => {
            Redrive::Matching { reason: reason(fields)?, age_min: fields.millis("age_min_ms")? }
        }
    };
    let per_second = fields.whole("per_second", 1..=u32::MAX.into())?;
    let per_second = per_second.and_then(|per_second| per_second.try_into().ok());
    Ok(QueueRequest::Redrive { name: name(fields)?, which, per_second })
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
