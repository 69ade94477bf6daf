//! JSON as it was sent: bounded in depth and width, and no field twice.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use sluice_model::{Code, Refusal};

/// Objects and arrays in one another, at most.
pub const DEPTH_MAX: u8 = 32;
/// Fields of an object, at most.
const FIELDS_MAX: usize = 64;
/// Letters of something unknown that a refusal repeats.
const REPEATED_MAX: usize = 64;

/// A value as it was sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Flag(bool),
    Number(Number),
    Text(String),
    /// Text that stands for whatever is wanted: from a path, a query or a header.
    Given(String),
    Array(Vec<Self>),
    Object(BTreeMap<String, Self>),
}

impl Json {
    /// Reads all of `bytes`.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let value = Depth(0).deserialize(&mut reader);
        let all = value.and_then(|value| reader.end().map(|()| value));
        all.map_err(|error| Refusal::new(Code::BadRequest, format!("the JSON is wrong: {error}")))
    }

    /// What it is, for somebody who expected something else.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Flag(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) | Self::Given(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

/// The beginning of what somebody wrote, as much as a refusal repeats.
pub(crate) fn shortened(text: &str) -> &str {
    let end = text.char_indices().nth(REPEATED_MAX).map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or(text)
}

/// Reads a value that lies so deep.
#[derive(Clone, Copy)]
struct Depth(u8);

impl Depth {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.0 < DEPTH_MAX {
            return Ok(Self(self.0 + 1));
        }
        Err(E::custom(format_args!("it is deeper than {DEPTH_MAX}")))
    }
}

impl<'de> DeserializeSeed<'de> for Depth {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Depth {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Json, E> {
        Ok(Json::Flag(flag))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Json, E> {
        let number = Number::from_f64(number).ok_or_else(|| E::custom("a number is too large"))?;
        Ok(Json::Number(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let inside = self.deeper()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inside)? {
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Json, A::Error> {
        let inside = self.deeper()?;
        let mut object = BTreeMap::new();
        while let Some(name) = fields.next_key::<String>()? {
            if object.len() == FIELDS_MAX {
                let text = format_args!("an object has more than {FIELDS_MAX} fields");
                return Err(A::Error::custom(text));
            }
            if object.contains_key(&name) {
                let text = format_args!("the field {:?} is there twice", shortened(&name));
                return Err(A::Error::custom(text));
            }
            object.insert(name, fields.next_value_seed(inside)?);
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let refusal = Json::read(text.as_bytes()).unwrap_err();
        assert_eq!(refusal.code, Code::BadRequest);
        refusal.message.into_owned()
    }

    #[test]
    fn depth_and_width_are_bounded_and_no_field_comes_twice() {
        let deep = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Json::read(deep(32).as_bytes()).is_ok());
        assert!(refused(&deep(33)).contains("deeper than 32"));
        assert!(refused(&"[".repeat(100_000)).contains("deeper than 32"));
        let objects = format!("{}1{}", r#"{"a":"#.repeat(33), "}".repeat(33));
        assert!(refused(&objects).contains("deeper than 32"));
        let wide = |fields: usize| {
            let fields: Vec<_> = (0..fields).map(|n| format!("\"{n}\":{n}")).collect();
            format!("{{{}}}", fields.join(","))
        };
        assert!(Json::read(wide(64).as_bytes()).is_ok());
        assert!(refused(&wide(65)).contains("more than 64 fields"));
        assert!(refused(r#"{"a": {"b": 1, "b": 1}}"#).contains("\"b\" is there twice"));
        assert!(refused("{} {}").contains("trailing"));
        assert!(refused("").contains("EOF"));
        assert!(refused("\"\u{7}\"").contains("control character"));
    }
}
