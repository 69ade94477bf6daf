//! The fields of a JSON object as they were written, so that values come back digit by digit.
//!
//! The object is known to be JSON before it is cut, so cutting only has to find where strings and
//! brackets end.

use serde::Deserialize as _;
use serde::de::IgnoredAny;
use sluice_model::Refusal;

use crate::json::DEPTH_MAX;
use crate::json::fields::bad;
use crate::json::value::shortened;

/// The fields of an object, in their order: names, and values as they were written.
#[derive(Debug)]
pub(super) struct Object<'a>(Vec<(String, &'a str)>);

impl<'a> Object<'a> {
    /// Cuts `text`, which is an object and nothing else, blanks around it aside.
    pub(super) fn read(text: &'a str) -> Result<Self, Refusal> {
        if depth(text) > usize::from(DEPTH_MAX) {
            return Err(bad(format!("the JSON is deeper than {DEPTH_MAX}")));
        }
        let mut reader = serde_json::Deserializer::from_str(text);
        let checked = IgnoredAny::deserialize(&mut reader).and_then(|_| reader.end());
        checked.map_err(|error| bad(format!("the JSON is wrong: {error}")))?;
        let mut fields = Vec::new();
        let mut rest = text.trim_ascii().strip_prefix('{').unwrap_or_default().trim_ascii_start();
        while rest.starts_with('"') {
            let (name, after) = rest.split_at(value_end(rest));
            let name = serde_json::from_str(name)
                .map_err(|error| bad(format!("the name of a field is wrong: {error}")))?;
            let after = after.trim_ascii_start().strip_prefix(':').unwrap_or_default();
            let after = after.trim_ascii_start();
            let (value, after) = after.split_at(value_end(after));
            fields.push((name, value));
            let after = after.trim_ascii_start();
            rest = after.strip_prefix(',').unwrap_or_default().trim_ascii_start();
        }
        Ok(Self(fields))
    }

    /// The field's value as it was written; the first of several.
    pub(super) fn raw(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| *value)
    }

    /// The field's value, if it is a string.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.raw(name)?).ok()
    }

    /// How many fields there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// All fields, if none is there twice.
    pub(super) fn fields(&self) -> Result<&[(String, &'a str)], Refusal> {
        let mut names: Vec<_> = self.0.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        let twice = names.windows(2).find_map(|pair| match pair {
            [one, other] if one == other => Some(*one),
            _ => None,
        });
        match twice {
            Some(name) => Err(bad(format!("the field {:?} is there twice", shortened(name)))),
            None => Ok(&self.0),
        }
    }
}

/// Where the value ends with which valid JSON begins.
fn value_end(text: &str) -> usize {
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    quoted = false;
                    if depth == 0 {
                        return at + 1;
                    }
                }
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

/// How many objects and arrays are in one another at most, strings aside.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// A JSON text on one line: line ends and tabs can only stand between its parts.
pub(super) fn one_line(text: &str) -> String {
    let blank = |c: char| if c.is_ascii_control() { ' ' } else { c };
    text.trim_ascii().chars().map(blank).collect()
}

/// Whether these bytes are one JSON text.
pub(super) fn is_json(bytes: &[u8]) -> bool {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let checked = IgnoredAny::deserialize(&mut reader).and_then(|_| reader.end());
    checked.is_ok() && std::str::from_utf8(bytes).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<(String, &str)> {
        Object::read(text).unwrap().fields().unwrap().to_vec()
    }

    #[test]
    fn values_come_back_as_they_were_written() {
        let text =
            r#" { "a" : 1.10 ,"b":"x\"}," , "c":{"d":[1,"]"]},"\u0065":[ ],"f":-1e400,"g":null}"#;
        let fields = cut(text);
        let values: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let expected = [
            ("a", "1.10"),
            ("b", r#""x\"},""#),
            ("c", r#"{"d":[1,"]"]}"#),
            ("e", "[ ]"),
            ("f", "-1e400"),
            ("g", "null"),
        ];
        assert_eq!(values, expected);
        assert!(cut("{}").is_empty() && cut("{ } ").is_empty());
    }

    #[test]
    fn what_is_no_object_or_too_deep_is_refused() {
        let deep = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(Object::read(&deep(31)).is_ok());
        for bad in ["{", "{]", "{\"a\"}", "{\"a\":1,}", "{} {}", &deep(32), "{\"a\":\"\u{1}\"}"] {
            assert!(Object::read(bad).is_err(), "{bad}");
        }
        let twice = Object::read(r#"{"a":1,"b":2,"a":3}"#).unwrap();
        assert_eq!(twice.fields().unwrap_err().message, "the field \"a\" is there twice");
        // Brackets in a string are none.
        assert!(Object::read(&format!("{{\"a\":\"{}\"}}", "[".repeat(100))).is_ok());
    }
}
