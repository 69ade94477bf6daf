//! Messages as commands print them.

use std::io::{self, Write};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use sluice_client::Delivery;

use crate::failure::Failure;

/// What is printed of each message.
pub(crate) enum Shape {
    /// The payload and a line end.
    Payload,
    /// One JSON object a line.
    Json,
    /// A text with fields in it.
    Format(Vec<Part>),
}

/// A part of a format.
pub(crate) enum Part {
    Text(String),
    Field(Field),
}

/// Something of a message.
#[derive(Clone, Copy)]
pub(crate) enum Field {
    Payload,
    Topic,
    Id,
    Sender,
    Time,
    Headers,
}

const FIELDS: [(&str, Field); 6] = [
    ("payload", Field::Payload),
    ("topic", Field::Topic),
    ("id", Field::Id),
    ("sender", Field::Sender),
    ("time", Field::Time),
    ("headers", Field::Headers),
];

impl Shape {
    /// Reads a format; `\n` and `\t` in it are a line end and a tab.
    pub(crate) fn format(text: &str) -> Result<Self, Failure> {
        let text = text.replace("\\n", "\n").replace("\\t", "\t");
        let mut parts = Vec::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            parts.push(Part::Text(before.to_owned()));
            let (name, after) = after
                .split_once('}')
                .ok_or_else(|| Failure::usage("--format has a { without a }"))?;
            let (_, field) = FIELDS.iter().find(|(known, _)| *known == name).ok_or_else(|| {
                let known = FIELDS.map(|(name, _)| name).join(", ");
                Failure::usage(format!("--format has no field {name}; there are {known}"))
            })?;
            parts.push(Part::Field(*field));
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self::Format(parts))
    }

    /// Writes a message, and a line end.
    pub(crate) fn write(&self, out: &mut impl Write, message: &Delivery) -> io::Result<()> {
        match self {
            Self::Payload => out.write_all(message.payload())?,
            Self::Json => write!(out, "{}", to_json(message))?,
            Self::Format(parts) => {
                for part in parts {
                    match part {
                        Part::Text(text) => out.write_all(text.as_bytes())?,
                        Part::Field(field) => field.write(out, message)?,
                    }
                }
            }
        }
        out.write_all(b"\n")
    }
}

impl Field {
    fn write(self, out: &mut impl Write, message: &Delivery) -> io::Result<()> {
        match self {
            Self::Payload => out.write_all(message.payload()),
            Self::Topic => out.write_all(message.topic().as_bytes()),
            Self::Id => match message.id() {
                Some(id) => write!(out, "{id}"),
                None => out.write_all(b"-"),
            },
            Self::Sender => out.write_all(message.sender().as_bytes()),
            Self::Time => write!(out, "{}", message.published_at().as_millis()),
            Self::Headers => {
                let headers = message.headers().iter();
                let pairs: Vec<_> =
                    headers.map(|(name, value)| format!("{name}={value}")).collect();
                out.write_all(pairs.join(" ").as_bytes())
            }
        }
    }
}

/// A message as an object; what it does not have is left out.
pub(crate) fn to_json(message: &Delivery) -> Value {
    let payload = match std::str::from_utf8(message.payload()) {
        Ok(text) => json!(text),
        Err(_) => json!({ "base64": BASE64_STANDARD.encode(message.payload()) }),
    };
    let mut object = json!({
        "topic": message.topic(),
        "payload": payload,
        "sender": message.sender(),
        "published_at": message.published_at().as_millis(),
    });
    if let Some(id) = message.id() {
        object["id"] = json!(id.to_string());
        object["attempt"] = json!(message.attempt());
        object["failures"] = json!(message.failures());
        object["redelivered"] = json!(message.is_redelivered());
        object["deadline_at"] = json!(message.deadline().map(|at| at.as_millis()));
    }
    if !message.headers().is_empty() {
        object["headers"] = json!(message.headers());
    }
    if let Some(token) = message.token() {
        object["token"] = json!(token.to_string());
    }
    object
}
