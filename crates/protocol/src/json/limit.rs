//! Limits, pauses, weights and reasons: what can be asked about them, and what comes back.
//!
//! A limit is written as it is read: what a list tells can be put again.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use sluice_model::{
    KeyFigures, KeyPattern, LIMIT_WAIT_MAX, Limit, LimitAnswer, LimitError, LimitMatch, LimitMode,
    LimitRequest, LimitScope, LimitTerms, NOTE_BYTES_MAX, Pausable, Paused, QueueName,
    QueuePattern, RateTerm, Refusal, Timestamp, WEIGHT_MAX, WindowTerm,
};

use super::answer::text;
use super::explain::{asked, explained, why_not};
use super::fields::{Fields, bad, invalid, missing, unknown_name, wrong};
use super::request::page_limit;
use super::value::Json;
use super::written::{Body, millis};

/// The verbs, each with the names of its fields.
#[rustfmt::skip]
pub const LIMIT_VERBS: [(&str, &[&str]); 8] = [
    ("limit.put",      &["name", "scope", "queue", "key", "rate", "per_ms", "burst", "window", "concurrency", "mode", "max_wait_ms"]),
    ("limit.list",     &["name", "after", "limit"]),
    ("limit.delete",   &["name", "queue", "key"]),
    ("limit.pause",    &["queue", "key", "for_ms", "reason"]),
    ("limit.resume",   &["queue", "key"]),
    ("limit.top",      &["name", "limit"]),
    ("queue.weigh",   &["name", "group", "weight"]),
    ("queue.explain", &["name", "id", "group", "key"]),
];

/// What a window that is an object has.
const WINDOW_FIELDS: [&str; 2] = ["max", "length_ms"];
/// The ways to deal with requests that come too fast.
const MODES: [&str; 2] = ["refuse", "delay"];

/// A limit as it is told, and as it can be put.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LimitShown {
    /// Its name, which limits of other matches may have too.
    pub name: String,
    /// What it counts: `queue`, `key`, `client` or `global`.
    pub scope: Cow<'static, str>,
    /// Which queues: a name or a pattern.
    pub queue: String,
    /// Which keys: one, or with a `*` at its end all that begin so; only with scope `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Tokens per period, as in `5/s`; a message takes its cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<String>,
    /// Most tokens that may be taken at once; not there for 1, which spreads them evenly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Most deliveries in any interval of a length, as in `100/1m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
    /// Most leases at once; 0 is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// `delay` where requests that come too fast wait; not there where they are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Cow<'static, str>>,
    /// How long they wait at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_wait_ms: Option<u64>,
}

/// The answer to `limit.put`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LimitPut {
    /// The one that it took the place of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<LimitShown>,
}

/// The answer to `limit.list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Limits {
    /// In the order of their names, then of what they match.
    pub limits: Vec<LimitShown>,
    /// If there are more: the `after` of the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The answer to `limit.delete`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LimitsDeleted {
    /// So many are gone.
    pub limits: u32,
}

/// The answer to `limit.pause`: the pause as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PauseShown {
    /// When it ends; not there where it has to be resumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_at: Option<u64>,
    /// Who made it; not there where a consumer was throttled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The answer to `limit.resume`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Resumed {
    /// It was paused.
    pub was_paused: bool,
}

/// The answer to `limit.top`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TopKeys {
    /// Those with most lanes waiting, then with most leases.
    pub keys: Vec<TopKey>,
}

/// How it stands with one key of a limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TopKey {
    /// Which key; with scope `queue`, which queue.
    pub key: String,
    /// Which queues the limit that counts for it matches.
    pub limit_queue: String,
    /// Which keys it matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_key: Option<String>,
    /// Messages that are leased.
    pub holders: u32,
    /// Lanes that wait for it: messages of one priority, group and set of keys.
    pub lanes: u32,
    /// Whole tokens that may be taken; not there without a rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u32>,
    /// Its pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<PauseShown>,
}

impl From<&Limit> for LimitShown {
    fn from(limit: &Limit) -> Self {
        let LimitTerms { rate, burst, window, concurrency, mode } = limit.terms();
        let wait = match mode {
            LimitMode::Refuse => None,
            LimitMode::Delay(wait) => Some(millis(*wait)),
        };
        Self {
            name: limit.name().to_owned(),
            scope: limit.scope().name().into(),
            queue: limit.matches().queue.to_string(),
            key: limit.matches().key.as_ref().map(KeyPattern::to_string),
            rate: rate.map(|rate| rate.to_string()),
            burst: *burst,
            window: window.map(|window| window.to_string()),
            concurrency: *concurrency,
            mode: wait.map(|_| MODES[1].into()),
            max_wait_ms: wait,
        }
    }
}

impl LimitShown {
    /// What it allows, on one line, as [`LimitTerms`] is written.
    pub fn terms(&self) -> String {
        let part = |name: &str, value: Option<String>| value.map(|value| format!("{name}{value}"));
        let number = |name, value: Option<u32>| part(name, value.map(|n| n.to_string()));
        let parts = [
            self.rate.clone(),
            number("burst ", self.burst),
            part("window ", self.window.clone()),
            number("concurrency ", self.concurrency),
            self.max_wait_ms.map(|wait| format!("delay {wait}ms")),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

impl From<&Paused> for PauseShown {
    fn from(paused: &Paused) -> Self {
        let Paused { until, by, reason } = paused;
        Self {
            until_at: until.map(Timestamp::as_millis),
            by: by.as_deref().map(ToOwned::to_owned),
            reason: reason.as_deref().map(ToOwned::to_owned),
        }
    }
}

impl From<&KeyFigures> for TopKey {
    fn from(figures: &KeyFigures) -> Self {
        let KeyFigures { matches, key, holders, lanes, tokens, paused } = figures;
        Self {
            key: key.to_string(),
            limit_queue: matches.queue.to_string(),
            limit_key: matches.key.as_ref().map(KeyPattern::to_string),
            holders: *holders,
            lanes: *lanes,
            tokens: *tokens,
            paused: paused.as_ref().map(PauseShown::from),
        }
    }
}

/// Reads what is asked of limits, of which some fields were given as text: in a path or a query. An
/// empty body stands for an object without fields.
///
/// # Errors
/// `bad_request` for what can't be read, or `invalid` for a value that is none of those possible;
/// they name the field.
pub fn limit_request(
    verb: &str,
    given: &[(&str, &str)],
    body: &[u8],
) -> Result<LimitRequest, Refusal> {
    let Some((_, known)) = LIMIT_VERBS.iter().find(|(known, _)| *known == verb) else {
        return Err(bad(unknown_name("verb", verb, &LIMIT_VERBS.map(|(name, _)| name))));
    };
    asked_in(verb, &mut Fields::read_with(given, body, known)?)
}

/// Reads what is asked from fields, all of which the verb knows.
pub(crate) fn asked_in(verb: &str, fields: &mut Fields) -> Result<LimitRequest, Refusal> {
    Ok(match verb {
        "limit.put" => LimitRequest::Put(Box::new(limit(fields)?)),
        "limit.list" => {
            let after = fields.text("after")?.map(|after| cursor(&after)).transpose()?;
            let name = fields.text("name")?.map(Into::into);
            LimitRequest::List { name, after, limit: page_limit(fields)? }
        }
        "limit.delete" => {
            let queue = queue_pattern(fields)?;
            let matches = match (queue, key_pattern(fields)?) {
                (None, None) => None,
                (queue, key) => {
                    Some(LimitMatch { queue: queue.unwrap_or_else(QueuePattern::all), key })
                }
            };
            LimitRequest::Delete { name: name(fields)?, matches }
        }
        "limit.pause" => {
            let period = fields.millis("for_ms")?;
            let reason = fields.text("reason")?.map(|mut reason| {
                reason.truncate(reason.floor_char_boundary(NOTE_BYTES_MAX));
                reason.into()
            });
            LimitRequest::Pause { what: pausable(fields)?, period, reason }
        }
        "limit.resume" => LimitRequest::Resume { what: pausable(fields)? },
        "queue.weigh" => {
            let queue = queue(fields, "name")?;
            weighed(queue, fields)?
        }
        "queue.explain" => {
            let queue = queue(fields, "name")?;
            LimitRequest::Explain { queue, what: explained(fields)? }
        }
        _ => LimitRequest::TopKeys { name: name(fields)?, limit: page_limit(fields)? },
    })
}

/// How many turns a group of the queue is to have.
pub(crate) fn weighed(queue: QueueName, fields: &mut Fields) -> Result<LimitRequest, Refusal> {
    let group = fields.key("group")?.ok_or_else(|| missing("group"))?.into();
    let weight = fields.whole("weight", 1..=WEIGHT_MAX.into())?;
    let weight = weight.and_then(|weight| weight.try_into().ok());
    Ok(LimitRequest::Weigh { queue, group, weight: weight.ok_or_else(|| missing("weight"))? })
}

fn name(fields: &mut Fields) -> Result<Box<str>, Refusal> {
    fields.text("name")?.map(Into::into).ok_or_else(|| missing("name"))
}

fn queue(fields: &mut Fields, name: &str) -> Result<QueueName, Refusal> {
    fields.queue(name)?.ok_or_else(|| missing(name))
}

fn pausable(fields: &mut Fields) -> Result<Pausable, Refusal> {
    let queue = queue(fields, "queue")?;
    Ok(match fields.key("key")? {
        Some(key) => Pausable::Key { queue, key: key.into() },
        None => Pausable::Queue(queue),
    })
}

fn queue_pattern(fields: &mut Fields) -> Result<Option<QueuePattern>, Refusal> {
    fields.text("queue")?.map(|text| QueuePattern::new(&text).map_err(refused)).transpose()
}

fn key_pattern(fields: &mut Fields) -> Result<Option<KeyPattern>, Refusal> {
    fields.text("key")?.map(|text| KeyPattern::new(&text).map_err(refused)).transpose()
}

fn limit(fields: &mut Fields) -> Result<Limit, Refusal> {
    let key = key_pattern(fields)?;
    let scope = fields.word("scope", LimitScope::ALL, LimitScope::name)?;
    // Who names a key means keys.
    let of_match = if key.is_some() { LimitScope::Key } else { LimitScope::Queue };
    let queue = queue_pattern(fields)?.unwrap_or_else(QueuePattern::all);
    let terms = LimitTerms {
        rate: rate(fields)?,
        burst: small(fields, "burst")?,
        window: window(fields)?,
        concurrency: small(fields, "concurrency")?,
        mode: mode(fields)?,
    };
    let scope = scope.unwrap_or(of_match);
    Limit::new(&name(fields)?, scope, LimitMatch { queue, key }, terms).map_err(refused)
}

fn small(fields: &mut Fields, name: &str) -> Result<Option<u32>, Refusal> {
    let number = fields.whole(name, 0..=u32::MAX.into())?;
    Ok(number.and_then(|number| number.try_into().ok()))
}

/// `"5/s"`, or a number for every `per_ms`, by default a second.
fn rate(fields: &mut Fields) -> Result<Option<RateTerm>, Refusal> {
    let per_ms = fields.whole("per_ms", 1..=u64::MAX)?;
    let text = match fields.take("rate") {
        None if per_ms.is_some() => return Err(missing("rate")),
        None => return Ok(None),
        Some(Json::Text(_)) if per_ms.is_some() => {
            return Err(invalid("per_ms is given, so rate is a number".to_owned()));
        }
        Some(Json::Text(text)) => text,
        Some(Json::Number(number)) => format!("{number}/{}ms", per_ms.unwrap_or(1_000)),
        Some(other) => return Err(wrong("rate", &other, "a string like \"5/s\", or a number")),
    };
    text.parse().map(Some).map_err(refused)
}

/// `"100/1m"`, or an object.
fn window(fields: &mut Fields) -> Result<Option<WindowTerm>, Refusal> {
    let window = match fields.take("window") {
        None => return Ok(None),
        Some(Json::Text(text)) => text.parse(),
        Some(object @ Json::Object(_)) => {
            let mut fields = Fields::of(object, "window", &WINDOW_FIELDS)?;
            let number = |fields: &mut Fields, name: &str| {
                fields.whole(name, 0..=u64::MAX)?.ok_or_else(|| missing(&format!("window.{name}")))
            };
            let (max, length_ms) = (number(&mut fields, "max")?, number(&mut fields, "length_ms")?);
            WindowTerm::new(u32::try_from(max).unwrap_or(u32::MAX), length_ms)
        }
        Some(other) => {
            return Err(wrong("window", &other, "a string like \"100/1m\", or an object"));
        }
    };
    window.map(Some).map_err(refused)
}

fn mode(fields: &mut Fields) -> Result<LimitMode, Refusal> {
    let longest = u64::try_from(LIMIT_WAIT_MAX.as_millis()).unwrap_or(u64::MAX);
    let wait = fields.whole("max_wait_ms", 1..=longest)?.map(std::time::Duration::from_millis);
    match (fields.word("mode", &MODES, |word| word)?, wait) {
        (Some("refuse"), Some(_)) => {
            Err(invalid("max_wait_ms is given, so mode is delay".to_owned()))
        }
        (None | Some("refuse"), None) => Ok(LimitMode::Refuse),
        (_, Some(wait)) => Ok(LimitMode::Delay(wait)),
        (Some(_), None) => Err(missing("max_wait_ms")),
    }
}

fn refused(error: LimitError) -> Refusal {
    invalid(error.to_string())
}

/// Where a page goes on: a name, a pattern of queues, and a pattern of keys if there is one.
fn told_cursor(limit: &Limit) -> String {
    place(limit.name(), limit.matches())
}

fn place(name: &str, LimitMatch { queue, key }: &LimitMatch) -> String {
    match key {
        Some(key) => format!("{name} {queue} {key}"),
        None => format!("{name} {queue}"),
    }
}

fn cursor(after: &str) -> Result<(Box<str>, LimitMatch), Refusal> {
    let mut parts = after.splitn(3, ' ');
    let (name, queue, key) = (parts.next(), parts.next(), parts.next());
    let unknown = || invalid("after is not the next of a page".to_owned());
    let queue = QueuePattern::new(queue.ok_or_else(unknown)?).map_err(|_| unknown())?;
    let key = key.map(KeyPattern::new).transpose().map_err(|_| unknown())?;
    Ok((name.unwrap_or_default().into(), LimitMatch { queue, key }))
}

/// What came back, as it is sent, on one line.
pub fn limit_answer(answer: &LimitAnswer) -> String {
    match answer {
        LimitAnswer::Put { replaced } => {
            text(&LimitPut { replaced: replaced.as_deref().map(LimitShown::from) })
        }
        LimitAnswer::List { limits, more } => text(&Limits {
            limits: limits.iter().map(LimitShown::from).collect(),
            next: limits.last().filter(|_| *more).map(told_cursor),
        }),
        LimitAnswer::Deleted(limits) => text(&LimitsDeleted { limits: *limits }),
        LimitAnswer::Paused(paused) => text(&PauseShown::from(paused)),
        LimitAnswer::Resumed(was_paused) => text(&Resumed { was_paused: *was_paused }),
        LimitAnswer::TopKeys(keys) => {
            text(&TopKeys { keys: keys.iter().map(TopKey::from).collect() })
        }
        LimitAnswer::Weighed => "{}".to_owned(),
        LimitAnswer::Explained { reasons, at } => why_not(reasons, *at),
    }
}

/// The verb and the body that [`limit_request`] reads as the same request.
pub fn limit_written(request: &LimitRequest) -> (&'static str, String) {
    let (verb, body) = match request {
        LimitRequest::Put(limit) => ("limit.put", Body::of_shape(&LimitShown::from(&**limit))),
        LimitRequest::List { name, after, limit } => {
            let after = after.as_ref().map(|(name, matches)| place(name, matches));
            let body = Body::default().maybe("name", name.as_deref());
            ("limit.list", body.maybe("after", after).with("limit", limit))
        }
        LimitRequest::Delete { name, matches } => {
            let body = Body::default().with("name", name);
            let queue = matches.as_ref().map(|matches| matches.queue.as_str());
            let key = matches.as_ref().and_then(|matches| matches.key.as_ref());
            ("limit.delete", body.maybe("queue", queue).maybe("key", key.map(KeyPattern::as_str)))
        }
        LimitRequest::Pause { what, period, reason } => {
            let body = of_pausable(what).maybe("for_ms", period.map(millis));
            ("limit.pause", body.maybe("reason", reason.as_deref()))
        }
        LimitRequest::Resume { what } => ("limit.resume", of_pausable(what)),
        LimitRequest::Weigh { queue, group, weight } => {
            let body = Body::default().with("name", queue.as_str());
            ("queue.weigh", body.with("group", group).with("weight", weight))
        }
        LimitRequest::Explain { queue, what } => {
            ("queue.explain", asked(Body::default().with("name", queue.as_str()), what))
        }
        LimitRequest::TopKeys { name, limit } => {
            ("limit.top", Body::default().with("name", name).with("limit", limit))
        }
    };
    (verb, body.text())
}

fn of_pausable(what: &Pausable) -> Body {
    match what {
        Pausable::Queue(queue) => Body::default().with("queue", queue.as_str()),
        Pausable::Key { queue, key } => {
            Body::default().with("queue", queue.as_str()).with("key", key)
        }
    }
}

#[cfg(test)]
#[path = "limit_tests.rs"]
mod tests;
