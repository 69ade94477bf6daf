//! The fields of a request, each taken by name and checked for what it must be.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use sluice_model::{Code, KEY_BYTES_MAX, MessageId, QueueName, Refusal, nearest};

use super::value::{Json, shortened};

/// The fields that were sent, all of them known.
pub(crate) struct Fields(BTreeMap<String, Json>);

impl Fields {
    /// Reads an object that has none but the known fields.
    pub(crate) fn read(body: &[u8], known: &[&str]) -> Result<Self, Refusal> {
        Self::of(Json::read(body)?, "the request", known)
    }

    /// Reads an object that has none but the known fields, and puts those beside it that were given
    /// as text: in a path, a query, or headers.
    pub(crate) fn read_with(
        given: &[(&str, &str)],
        body: &[u8],
        known: &[&str],
    ) -> Result<Self, Refusal> {
        let mut fields = Self::read(if body.is_empty() { b"{}" } else { body }, known)?;
        for (name, text) in given {
            if !known.contains(name) {
                return Err(bad(unknown_name("field", name, known)));
            }
            if fields.0.insert((*name).to_owned(), Json::Given((*text).to_owned())).is_some() {
                return Err(bad(format!("the field {name:?} is there twice")));
            }
        }
        Ok(fields)
    }

    /// The fields of an object that has none but the known ones.
    pub(crate) fn of(value: Json, what: &str, known: &[&str]) -> Result<Self, Refusal> {
        let fields = match value {
            Json::Object(fields) => fields,
            other => return Err(wrong(what, &other, "an object")),
        };
        match fields.keys().find(|name| !known.contains(&name.as_str())) {
            Some(unknown) => Err(bad(unknown_name("field", unknown, known))),
            None => Ok(Self(fields)),
        }
    }

    /// Fields that were found to be known, each once.
    pub(crate) fn known(fields: Vec<(String, Json)>) -> Self {
        Self(fields.into_iter().collect())
    }

    /// Whether the field is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Takes the field, if it is there.
    pub(crate) fn take(&mut self, name: &str) -> Option<Json> {
        self.0.remove(name)
    }

    /// A whole number in a range.
    pub(crate) fn whole(
        &mut self,
        name: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, Refusal> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = match &value {
            Json::Number(number) => number,
            Json::Given(text) => &text.parse().map_err(|_| {
                bad(format!("{name} = {:?} is not a whole number", shortened(text)))
            })?,
            other => return Err(wrong(name, other, "a whole number")),
        };
        let (min, max) = (range.start(), range.end());
        match number.as_u64() {
            Some(number) if range.contains(&number) => Ok(Some(number)),
            None if !number.is_i64() => {
                Err(bad(format!("{name} = {number} is not a whole number")))
            }
            _ => Err(invalid(format!("{name} = {number} is outside {min} .. {max}"))),
        }
    }

    /// A duration in milliseconds.
    pub(crate) fn millis(&mut self, name: &str) -> Result<Option<Duration>, Refusal> {
        Ok(self.whole(name, 0..=u64::MAX)?.map(Duration::from_millis))
    }

    /// True or false.
    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.take(name) {
            None => Ok(None),
            Some(Json::Flag(flag)) => Ok(Some(flag)),
            Some(Json::Given(text)) => match text.as_str() {
                "true" => Ok(Some(true)),
                "false" => Ok(Some(false)),
                other => Err(bad(format!("{name} = {:?} is not true or false", shortened(other)))),
            },
            Some(other) => Err(wrong(name, &other, "true or false")),
        }
    }

    /// A string.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        match self.take(name) {
            None => Ok(None),
            Some(Json::Text(text) | Json::Given(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(name, &other, "a string")),
        }
    }

    /// A string as long as a message's key or group may be.
    pub(crate) fn key(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        let text = self.text(name)?;
        match text.as_ref().map(String::len) {
            Some(bytes) if !(1..=KEY_BYTES_MAX).contains(&bytes) => {
                Err(invalid(format!("{name} has {bytes} bytes, it must have 1 to {KEY_BYTES_MAX}")))
            }
            _ => Ok(text),
        }
    }

    /// The name of a queue.
    pub(crate) fn queue(&mut self, name: &str) -> Result<Option<QueueName>, Refusal> {
        let text = self.text(name)?;
        text.map(|text| QueueName::new(&text).map_err(|error| invalid(format!("{name}: {error}"))))
            .transpose()
    }

    /// One of these words.
    pub(crate) fn word<T: Copy>(
        &mut self,
        name: &str,
        all: &[T],
        show: impl Fn(T) -> &'static str,
    ) -> Result<Option<T>, Refusal> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let found = all.iter().copied().find(|one| show(*one) == text);
        found.map(Some).ok_or_else(|| {
            let words: Vec<_> = all.iter().map(|one| show(*one)).collect();
            let (text, words) = (shortened(&text), words.join(", "));
            invalid(format!("{name} = {text:?} is not one of {words}"))
        })
    }

    /// A message's identity.
    pub(crate) fn id(&mut self) -> Result<MessageId, Refusal> {
        id_of("id", &self.needed("id")?)
    }

    /// Identities of messages, at most so many.
    pub(crate) fn ids(
        &mut self,
        name: &str,
        max: usize,
    ) -> Result<Option<Vec<MessageId>>, Refusal> {
        match self.take(name) {
            None => Ok(None),
            Some(Json::Array(ids)) if ids.len() > max => {
                Err(invalid(format!("{name} has {}, at most {max} are allowed", ids.len())))
            }
            Some(Json::Array(ids)) => {
                ids.iter().map(|id| id_of(name, id)).collect::<Result<_, _>>().map(Some)
            }
            Some(other) => Err(wrong(name, &other, "an array")),
        }
    }

    /// Strings as long as a message's keys may be.
    pub(crate) fn texts(&mut self, name: &str) -> Result<Vec<String>, Refusal> {
        let text = |value| match value {
            Json::Text(text) | Json::Given(text) => Ok(text),
            other => Err(wrong(name, &other, "an array of strings")),
        };
        match self.take(name) {
            None => Ok(Vec::new()),
            // Names and values in headers stand between commas.
            Some(Json::Given(texts)) => {
                Ok(texts.split(',').map(|text| text.trim().to_owned()).collect())
            }
            Some(Json::Array(texts)) => texts.into_iter().map(text).collect(),
            Some(other) => Err(wrong(name, &other, "an array of strings")),
        }
    }

    /// Takes a field that must be there.
    pub(crate) fn needed(&mut self, name: &str) -> Result<Json, Refusal> {
        self.take(name).ok_or_else(|| missing(name))
    }
}

fn id_of(name: &str, value: &Json) -> Result<MessageId, Refusal> {
    let (Json::Text(text) | Json::Given(text)) = value else {
        return Err(wrong(name, value, "the id of a message"));
    };
    text.parse().map_err(|error| invalid(format!("{name} = {:?}: {error}", shortened(text))))
}

/// The request can't be read.
pub(crate) fn bad(text: String) -> Refusal {
    Refusal::new(Code::BadRequest, text)
}

/// A value is none that is possible.
pub(crate) fn invalid(text: String) -> Refusal {
    Refusal::new(Code::Invalid, text)
}

/// A field that must be there is not.
pub(crate) fn missing(name: &str) -> Refusal {
    bad(format!("the field {name} is missing"))
}

/// A value is of another kind than it must be.
pub(crate) fn wrong(name: &str, found: &Json, expected: &str) -> Refusal {
    bad(format!("{name} is {}, not {expected}", found.kind()))
}

/// What is said about a name that nothing has.
pub(crate) fn unknown_name(what: &str, unknown: &str, known: &[&str]) -> String {
    let unknown = shortened(unknown);
    match nearest(unknown, known.iter().copied()) {
        Some(near) => format!("there is no {what} {unknown:?}; did you mean {near}?"),
        None => format!("there is no {what} {unknown:?}, only {}", known.join(", ")),
    }
}
