//! The words of the text form.
//!
//! A word is followed by its arguments, each behind one blank; the last one of `ECHO`, `ENQUEUE`,
//! `PUBLISH` and `SET` is the rest of the line as it is, blanks included. What `ENQUEUE` and `PUBLISH` say
//! of a message stands before where it goes (`message.rs`).

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use sluice_model::{
    Code, Condition, Key, KvRequest, Outcome, QueueName, Refusal, Topic, TopicPattern, Value,
    ValueKind,
};

use super::ask::{Ask, Secret, WAIT_MAX, Want};
use super::{bytes, keys, limits, message};
use crate::Token;
use crate::json::fields::invalid;
use crate::json::value::shortened;

/// A word, what comes behind it, and how that is read.
struct Word {
    name: &'static str,
    arguments: &'static str,
    read: fn(&mut Arguments<'_>) -> Result<Ask, Refusal>,
}

#[rustfmt::skip]
const WORDS: [Word; 34] = [
    Word { name: "PING",        arguments: "",                          read: |_| Ok(Ask::Ping) },
    Word { name: "ECHO",        arguments: "text",                      read: |words| Ok(Ask::Echo(words.tail_or_empty())) },
    Word { name: "AUTH",        arguments: "key",                       read: |words| Ok(Ask::Auth(Secret(words.all()?.into()))) },
    Word { name: "HELP",        arguments: "",                          read: |_| Ok(Ask::Help) },
    Word { name: "INFO",        arguments: "",                          read: |_| Ok(Ask::Info) },
    Word { name: "STATS",       arguments: "queue",                     read: |words| Ok(Ask::queue_stats(words.named()?)) },
    Word { name: "QUIT",        arguments: "",                          read: |_| Ok(Ask::Quit) },
    Word { name: "SHUTDOWN",    arguments: "",                          read: |_| Ok(Ask::Shutdown) },
    Word { name: "ENQUEUE",     arguments: "[name=value ...] queue payload", read: enqueue },
    Word { name: "DEQUEUE",     arguments: "queue [wait_ms]",           read: dequeue },
    Word { name: "ACK",         arguments: "lease",                     read: |words| Ok(Ask::ack(words.lease()?)) },
    Word { name: "NACK",        arguments: "lease [delay_ms]",          read: nack },
    Word { name: "THROTTLE",    arguments: "lease [retry_after_ms [key]]", read: limits::throttle },
    Word { name: "EXTEND",      arguments: "lease by_ms",               read: extend },
    Word { name: "EXPLAIN",     arguments: "queue [id]",                read: limits::explain },
    Word { name: "PAUSE",       arguments: "queue [for_ms [reason]]",   read: |words| limits::pause(words, false) },
    Word { name: "PAUSEKEY",    arguments: "queue key [for_ms [reason]]", read: |words| limits::pause(words, true) },
    Word { name: "RESUME",      arguments: "queue",                     read: |words| limits::resume(words, false) },
    Word { name: "RESUMEKEY",   arguments: "queue key",                 read: |words| limits::resume(words, true) },
    Word { name: "LIMIT",       arguments: "name scope [queue [key]] terms", read: limits::set },
    Word { name: "LIMITS",      arguments: "[name]",                    read: limits::list },
    Word { name: "UNLIMIT",     arguments: "name [queue [key]]",        read: limits::delete },
    Word { name: "SET",         arguments: "key value",                 read: set },
    Word { name: "GET",         arguments: "key",                       read: |words| Ok(Ask::kv(KvRequest::Get { key: words.key()? }, Want::Value)) },
    Word { name: "DEL",         arguments: "key",                       read: delete },
    Word { name: "EXISTS",      arguments: "key",                       read: |words| Ok(Ask::kv(KvRequest::Exists { key: words.key()? }, Want::There)) },
    Word { name: "TTL",         arguments: "key",                       read: |words| Ok(Ask::kv(KvRequest::Exists { key: words.key()? }, Want::Ttl)) },
    Word { name: "INCR",        arguments: "key [by]",                  read: increment },
    Word { name: "KEYS",        arguments: "[prefix [after]]",          read: names },
    Word { name: "WATCH",       arguments: "key",                       read: |words| Ok(Ask::Watch { keys: words.keys()?, from: None }) },
    Word { name: "UNWATCH",     arguments: "key",                       read: |words| Ok(Ask::Unwatch(words.keys()?)) },
    Word { name: "PUBLISH",     arguments: "[name=value ...] topic payload", read: publish },
    Word { name: "SUBSCRIBE",   arguments: "pattern",                   read: |words| Ok(Ask::Subscribe(words.named::<TopicPattern>()?)) },
    Word { name: "UNSUBSCRIBE", arguments: "pattern",                   read: |words| Ok(Ask::Unsubscribe(words.named::<TopicPattern>()?)) },
];

/// What HELP says: every word with what comes behind it, on one line.
pub fn help() -> String {
    let told = words().map(|(name, arguments)| format!("{name} {arguments}"));
    told.map(|told| told.trim_end().to_owned()).collect::<Vec<_>>().join(" | ")
}

/// Every word with what comes behind it.
pub fn words() -> impl ExactSizeIterator<Item = (&'static str, &'static str)> {
    WORDS.iter().map(|word| (word.name, word.arguments))
}

/// Reads a line of text, of which `shared` has the bytes if they may be held on to.
pub(super) fn read(line: &str, shared: Option<&Bytes>) -> Result<Ask, Refusal> {
    let (first, rest) = cut(line);
    let Some(word) = WORDS.iter().find(|word| word.name.eq_ignore_ascii_case(first)) else {
        return Err(Refusal::new(Code::BadRequest, "unknown command"));
    };
    let mut arguments = Arguments { word, rest, shared };
    let ask = (word.read)(&mut arguments)?;
    // A blank at the end is nobody's.
    match arguments.rest.map(str::trim_ascii) {
        None | Some("") => Ok(ask),
        // As unknown as the whole line: `PING me` is no PING.
        Some(_) if word.arguments.is_empty() => {
            Err(Refusal::new(Code::BadRequest, "unknown command"))
        }
        Some(_) => Err(word.usage()),
    }
}

impl Word {
    fn usage(&self) -> Refusal {
        let text = format!("usage: {} {}", self.name, self.arguments);
        Refusal::new(Code::BadRequest, text)
    }
}

/// Cuts a text behind the blanks that it begins with: up to the next blank, and behind that one.
fn cut(text: &str) -> (&str, Option<&str>) {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let begin = text.bytes().position(|byte| !is_blank(&byte)).unwrap_or(text.len());
    let (_, text) = text.split_at(begin);
    match text.bytes().position(|byte| is_blank(&byte)) {
        Some(end) => {
            let (first, rest) = text.split_at(end);
            (first, rest.get(1..))
        }
        None => (text, None),
    }
}

/// What comes behind a word and was not taken yet.
pub(super) struct Arguments<'a> {
    word: &'static Word,
    rest: Option<&'a str>,
    shared: Option<&'a Bytes>,
}

impl<'a> Arguments<'a> {
    /// The next one, without the blanks before it.
    pub(super) fn next(&mut self) -> Option<&'a str> {
        let (next, rest) = cut(self.rest.take()?);
        self.rest = rest;
        (!next.is_empty()).then_some(next)
    }

    /// The next one if it is `name=value`.
    pub(super) fn next_field(&mut self) -> Option<(&'a str, &'a str)> {
        let before = self.rest;
        let field = self.next().and_then(|word| word.split_once('='));
        if field.is_none() {
            self.rest = before;
        }
        field
    }

    /// One that must be there.
    pub(super) fn one(&mut self) -> Result<&'a str, Refusal> {
        self.next().ok_or_else(|| self.word.usage())
    }

    /// The rest of the line without blanks around it, which must be there.
    pub(super) fn all(&mut self) -> Result<&'a str, Refusal> {
        let all = self.rest.take().unwrap_or_default().trim_ascii();
        if all.is_empty() { Err(self.word.usage()) } else { Ok(all) }
    }

    /// The rest of the line as it is, which must be there, if only as a blank.
    fn tail(&mut self) -> Result<Bytes, Refusal> {
        self.rest.take().map(bytes).ok_or_else(|| self.word.usage())
    }

    /// The same, as a part of the line where that may be held on to.
    fn shared_tail(&mut self) -> Result<Bytes, Refusal> {
        match self.shared {
            None => self.tail(),
            Some(line) => {
                let tail = self.rest.take().ok_or_else(|| self.word.usage())?;
                Ok(line.slice_ref(tail.as_bytes()))
            }
        }
    }

    pub(super) fn tail_or_empty(&mut self) -> Bytes {
        self.rest.take().map(bytes).unwrap_or_default()
    }

    pub(super) fn named<T: FromStr<Err: Display>>(&mut self) -> Result<T, Refusal> {
        self.one()?.parse().map_err(|error: T::Err| invalid(error.to_string()))
    }

    fn key(&mut self) -> Result<Key, Refusal> {
        Key::new(self.one()?).map_err(|error| invalid(error.to_string()))
    }

    /// A key, or all below a prefix that ends with `^`.
    fn keys(&mut self) -> Result<sluice_model::Keys, Refusal> {
        keys::named(self.one()?, false).map_err(|error| invalid(error.to_string()))
    }

    pub(super) fn lease(&mut self) -> Result<sluice_model::LeaseId, Refusal> {
        let text = self.one()?;
        let lease: Result<Token, _> = text.parse();
        lease
            .map(|Token(lease)| lease)
            .map_err(|_| invalid("a lease has 64 hexadecimal digits".into()))
    }

    fn number<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, Refusal> {
        let Some(text) = self.next() else { return Ok(None) };
        let number = text.parse();
        number.map(Some).map_err(|_| {
            Refusal::new(
                Code::BadRequest,
                format!("{name} = {:?} is not a whole number", shortened(text)),
            )
        })
    }

    pub(super) fn millis(&mut self, name: &str) -> Result<Option<Duration>, Refusal> {
        Ok(self.number(name)?.map(Duration::from_millis))
    }
}

fn enqueue(words: &mut Arguments<'_>) -> Result<Ask, Refusal> {
    let (mut message, level) = message::said(words)?;
    let queue: QueueName = words.named()?;
    message.payload = words.tail()?;
    Ok(Ask::enqueue(queue, message, level))
}

fn publish(words: &mut Arguments<'_>) -> Result<Ask, Refusal> {
    let (mut message, level) = message::said(words)?;
    let topic: Topic = words.named()?;
    message.payload = words.tail()?;
    Ok(Ask::publish(topic, message, level))
}

fn dequeue(words: &mut Arguments<'_>) -> Result<Ask, Refusal> {
    let queue = words.named()?;
    let wait = words.millis("wait_ms")?;
    if wait.is_some_and(|wait| wait > WAIT_MAX) {
        return Err(invalid(format!("wait_ms is more than {}", WAIT_MAX.as_millis())));
    }
    Ok(Ask::dequeue(queue, wait, None))
}

fn nack(words: &mut Arguments<'_>) -> Result<Ask, Refusal> {
    let lease = words.lease()?;
    let delay = words.millis("delay_ms")?;
    Ok(Ask::nack(lease, Outcome::Failed { delay, note: None }))
}

fn extend(words: &mut Arguments<'_>) -> Result<Ask, Refusal> {
    let lease = words.lease()?;
    let by = words.millis("by_ms")?.ok_or_else(|| words.word.usage())?;
    Ok(Ask::extend(lease, by))
}

fn set(words: &mut Arguments<'_>) -> Result<Ask, Refusal> {
    let key = words.key()?;
    let value = Value { kind: ValueKind::Text, bytes: words.shared_tail()? };
    let (ttl, condition, dedupe_id) = (None, Condition::Always, None);
    Ok(Ask::kv(KvRequest::Set { key, value, ttl, condition, dedupe_id }, Want::Written))
}

fn delete(words: &mut Arguments<'_>) -> Result<Ask, Refusal> {
    let (key, condition) = (words.key()?, Condition::Always);
    Ok(Ask::kv(KvRequest::Delete { key, condition }, Want::Deleted))
}

fn increment(words: &mut Arguments<'_>) -> Result<Ask, Refusal> {
    let key = words.key()?;
    let by = words.number("by")?.unwrap_or(1);
    Ok(Ask::kv(KvRequest::Increment { key, by, dedupe_id: None }, Want::Number))
}

fn names(words: &mut Arguments<'_>) -> Result<Ask, Refusal> {
    let prefix = words.next().unwrap_or_default();
    let keys = keys::named(prefix, true).map_err(|error| invalid(error.to_string()))?;
    let after = words.next().map(Key::new).transpose();
    let after = after.map_err(|error| invalid(format!("after: {error}")))?;
    let limit = crate::json::PAGE_DEFAULT;
    Ok(Ask::kv(KvRequest::Scan { keys, after, limit, values: false }, Want::Names))
}
