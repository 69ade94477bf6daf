//! The actions of the JSON form.

use std::time::Duration;

use bytes::Bytes;
use sluice_model::{Code, LeaseId, Message, QueueName, Refusal, Topic, TopicPattern};

use super::ask::{Ask, Secret, WAIT_MAX, Want};
use super::form::Form;
use super::object::Object;
use super::{Asked, bytes, keys, limits};
use crate::Token;
use crate::json::fields::{Fields, bad, invalid, missing, unknown_name};
use crate::json::value::{Json, shortened};
use crate::json::{level, outcome, with_payload};

/// An action, the names of its fields beside `action` and `id`, and how it is read.
struct Action {
    name: &'static str,
    fields: &'static [&'static str],
    read: fn(&mut Fields, &Object<'_>) -> Result<Ask, Refusal>,
}

/// Fields that may hold any JSON, and are kept as they were written.
const ANY: [&str; 3] = ["id", "value", "payload"];

#[rustfmt::skip]
const ACTIONS: [Action; 30] = [
    Action { name: "PING",        fields: &[],                                 read: |_, _| Ok(Ask::Ping) },
    // Its fields are whatever there is.
    Action { name: "ECHO",        fields: &[],                                 read: |_, _| Ok(Ask::Echo(Bytes::new())) },
    Action { name: "AUTH",        fields: &["key"],                            read: auth },
    Action { name: "SET",         fields: &["namespace", "key", "value", "ttl_ms", "if_absent", "if_revision", "dedupe_id"], read: keys::set },
    Action { name: "GET",         fields: &["namespace", "key", "entry"],      read: |fields, _| keys::get(fields) },
    Action { name: "DEL",         fields: &["namespace", "key", "if_revision"], read: |fields, _| keys::delete(fields) },
    Action { name: "EXISTS",      fields: &["namespace", "key"],               read: |fields, _| keys::exists(fields, Want::There) },
    Action { name: "INCR",        fields: &["namespace", "key", "by", "dedupe_id"], read: |fields, _| keys::increment(fields) },
    Action { name: "KEYS",        fields: &["namespace", "key", "prefix", "after", "limit"], read: |fields, _| keys::scan(fields, Want::Names) },
    Action { name: "SCAN",        fields: &["namespace", "key", "prefix", "after", "limit"], read: |fields, _| keys::scan(fields, Want::Entries) },
    Action { name: "TTL",         fields: &["namespace", "key"],               read: |fields, _| keys::exists(fields, Want::Ttl) },
    Action { name: "WATCH",       fields: &["namespace", "key", "prefix", "from"], read: |fields, _| keys::watch(fields) },
    Action { name: "UNWATCH",     fields: &["namespace", "key", "prefix"],     read: |fields, _| keys::unwatch(fields) },
    Action { name: "PUBLISH",     fields: &["topic", "payload", "headers", "ttl_ms", "delay_ms", "deliver_at", "priority", "group", "keys", "cost", "dedupe_id", "level"], read: publish },
    Action { name: "SUBSCRIBE",   fields: &["topic"],                          read: |fields, _| Ok(Ask::Subscribe(pattern(fields)?)) },
    Action { name: "UNSUBSCRIBE", fields: &["topic"],                          read: |fields, _| Ok(Ask::Unsubscribe(pattern(fields)?)) },
    Action { name: "ENQUEUE",     fields: &["queue", "payload", "headers", "ttl_ms", "delay_ms", "deliver_at", "priority", "group", "keys", "cost", "dedupe_id", "level"], read: enqueue },
    Action { name: "DEQUEUE",     fields: &["queue", "wait_ms", "lease_ms"],   read: dequeue },
    Action { name: "ACK",         fields: &["lease"],                          read: |fields, _| Ok(Ask::ack(lease(fields)?)) },
    Action { name: "NACK",        fields: &["lease", "outcome", "delay_ms", "note", "retry_after_ms", "key"], read: |fields, _| Ok(Ask::nack(lease(fields)?, outcome(fields)?)) },
    Action { name: "EXTEND",      fields: &["lease", "by_ms"],                 read: extend },
    Action { name: "EXPLAIN",     fields: &["queue", "message", "group", "key"], read: |fields, _| limits::of_queue(fields, false) },
    Action { name: "WEIGH",       fields: &["queue", "group", "weight"],       read: |fields, _| limits::of_queue(fields, true) },
    Action { name: "PAUSE",       fields: &["queue", "key", "for_ms", "reason"], read: |fields, _| limits::action("limit.pause", fields) },
    Action { name: "RESUME",      fields: &["queue", "key"],                   read: |fields, _| limits::action("limit.resume", fields) },
    Action { name: "LIMIT",       fields: &["name", "scope", "queue", "key", "rate", "per_ms", "burst", "window", "concurrency", "mode", "max_wait_ms"], read: |fields, _| limits::action("limit.put", fields) },
    Action { name: "LIMITS",      fields: &["name", "after", "limit"],         read: |fields, _| limits::action("limit.list", fields) },
    Action { name: "UNLIMIT",     fields: &["name", "queue", "key"],           read: |fields, _| limits::action("limit.delete", fields) },
    Action { name: "TOPKEYS",     fields: &["name", "limit"],                  read: |fields, _| limits::action("limit.top", fields) },
    Action { name: "STATS",       fields: &["queue"],                          read: |fields, _| Ok(fields.queue("queue")?.map_or(Ask::Stats, Ask::queue_stats)) },
];

/// Every action with the names of its fields, beside `action` and `id`.
pub fn actions() -> impl ExactSizeIterator<Item = (&'static str, &'static [&'static str])> {
    ACTIONS.iter().map(|action| (action.name, action.fields))
}

/// Reads a line that begins with `{`.
pub(super) fn read(line: &str) -> Asked {
    let object = match Object::read(line) {
        Ok(object) => object,
        Err(refusal) => return Asked { form: Form::Json { id: None }, ask: Err(refusal) },
    };
    let id = object.raw("id").map(Into::into);
    let ask = action(&object).and_then(|action| match action.name {
        "ECHO" => Ok(Ask::Echo(bytes(line))),
        _ => (action.read)(&mut fields(&object, action)?, &object),
    });
    Asked { form: Form::Json { id }, ask }
}

fn action(object: &Object<'_>) -> Result<&'static Action, Refusal> {
    if object.raw("action").is_none() {
        return Err(missing("action"));
    }
    let Some(name) = object.text("action") else {
        return Err(bad("action is not a string".to_owned()));
    };
    let known = ACTIONS.iter().find(|action| action.name.eq_ignore_ascii_case(&name));
    known.ok_or_else(|| {
        // Names that are near are looked for in small letters.
        let names = ACTIONS.each_ref().map(|action| action.name.to_ascii_lowercase());
        let names = names.each_ref().map(String::as_str);
        bad(unknown_name("action", &name.to_ascii_lowercase(), &names))
    })
}

/// The fields, all of them known, but for those that may be anything.
fn fields(object: &Object<'_>, action: &Action) -> Result<Fields, Refusal> {
    let mut fields = Vec::new();
    for (name, raw) in object.fields()? {
        if name == "action" || name == "id" {
            continue;
        }
        if !action.fields.contains(&name.as_str()) {
            return Err(bad(unknown_name("field", name, action.fields)));
        }
        if !ANY.contains(&name.as_str()) {
            let value = Json::read(raw.as_bytes());
            let value = value.map_err(|refusal| bad(format!("{name}: {}", refusal.message)))?;
            fields.push((name.clone(), value));
        }
    }
    Ok(Fields::known(fields))
}

fn auth(fields: &mut Fields, _: &Object<'_>) -> Result<Ask, Refusal> {
    let key = fields.text("key")?.ok_or_else(|| missing("key"))?;
    Ok(Ask::Auth(Secret(key.into())))
}

fn queue(fields: &mut Fields) -> Result<QueueName, Refusal> {
    fields.queue("queue")?.ok_or_else(|| missing("queue"))
}

fn pattern(fields: &mut Fields) -> Result<TopicPattern, Refusal> {
    let topic = fields.text("topic")?.ok_or_else(|| missing("topic"))?;
    TopicPattern::new(&topic).map_err(|error| invalid(format!("topic: {error}")))
}

fn publish(fields: &mut Fields, object: &Object<'_>) -> Result<Ask, Refusal> {
    let topic = fields.text("topic")?.ok_or_else(|| missing("topic"))?;
    let topic = Topic::new(&topic).map_err(|error| invalid(format!("topic: {error}")))?;
    let level = level(fields)?;
    Ok(Ask::publish(topic, message(fields, object)?, level))
}

fn enqueue(fields: &mut Fields, object: &Object<'_>) -> Result<Ask, Refusal> {
    let (queue, level) = (queue(fields)?, level(fields)?);
    Ok(Ask::enqueue(queue, message(fields, object)?, level))
}

/// A string is the payload's text, `{"base64": ...}` its bytes.
fn message(fields: &mut Fields, object: &Object<'_>) -> Result<Message, Refusal> {
    let raw = object.raw("payload").ok_or_else(|| missing("payload"))?;
    let payload = match (serde_json::from_str::<String>(raw), keys::base64("payload", raw)?) {
        (Ok(text), _) => Bytes::from(text),
        (Err(_), Some(bytes)) => bytes,
        (Err(_), None) => {
            return Err(bad("payload is not a string or {\"base64\": ...}".to_owned()));
        }
    };
    with_payload(fields, payload)
}

fn dequeue(fields: &mut Fields, _: &Object<'_>) -> Result<Ask, Refusal> {
    let longest = u64::try_from(WAIT_MAX.as_millis()).unwrap_or(u64::MAX);
    let wait = fields.whole("wait_ms", 0..=longest)?.map(Duration::from_millis);
    let lease = fields.whole("lease_ms", 1..=43_200_000)?.map(Duration::from_millis);
    Ok(Ask::dequeue(queue(fields)?, wait, lease))
}

fn lease(fields: &mut Fields) -> Result<LeaseId, Refusal> {
    let text = fields.text("lease")?.ok_or_else(|| missing("lease"))?;
    let token: Result<Token, _> = text.parse();
    token.map(|Token(lease)| lease).map_err(|_| {
        let text = format!("lease {:?}: it has 64 hexadecimal digits", shortened(&text));
        Refusal::new(Code::Invalid, text)
    })
}

fn extend(fields: &mut Fields, _: &Object<'_>) -> Result<Ask, Refusal> {
    let by = fields.whole("by_ms", 1..=43_200_000)?.ok_or_else(|| missing("by_ms"))?;
    Ok(Ask::extend(lease(fields)?, Duration::from_millis(by)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::MESSAGE_FIELDS;

    #[test]
    fn what_a_message_may_have_is_the_same_behind_every_door() {
        for (name, fields) in actions().filter(|(name, _)| ["PUBLISH", "ENQUEUE"].contains(name)) {
            let beside: Vec<_> = fields.iter().skip(2).collect();
            assert_eq!(beside, MESSAGE_FIELDS.iter().collect::<Vec<_>>(), "{name}");
        }
    }
}
