//! What text says of a message: `name=value` each, between the word and where the message goes.
//!
//! `ENQUEUE key=tenant:7 priority=9 mail a letter`. Names and values are those of a raw message over
//! HTTP; a `key` may stand there as often as a message may have keys. A queue or topic with a `=` in
//! its name is one for JSON.

use bytes::Bytes;
use sluice_model::{Level, Message, Refusal};

use super::text::Arguments;
use crate::json;

/// A key by itself, which may have a comma.
const KEY: &str = "key";

/// Takes all that is said of a message before the next argument: the message without its payload, and
/// the least level that its publisher accepts.
pub(super) fn said(words: &mut Arguments<'_>) -> Result<(Message, Option<Level>), Refusal> {
    let (mut fields, mut keys) = (Vec::new(), Vec::new());
    while let Some((name, value)) = words.next_field() {
        match name {
            KEY => keys.push(value),
            _ => fields.push((name, value)),
        }
    }
    if fields.is_empty() && keys.is_empty() {
        return Ok((Message::default(), None));
    }
    let (mut message, level) = json::message(&fields, Vec::new(), Bytes::new())?;
    json::add_keys(&mut message, &keys)?;
    Ok((message, level))
}
