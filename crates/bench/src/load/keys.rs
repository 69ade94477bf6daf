//! Keys that a load sets and reads, and how their values are known again.
//!
//! Request `number` is about key `number` modulo [`KEYS`], and a value begins with the number of the
//! request that set it: whoever reads a key knows one of its values by its last digits.

use std::io;

use super::template::{Form, Message, Template};
use crate::wire::{decimal, unexpected};

/// So many keys there are.
pub const KEYS: u64 = 10_000;
/// A key, before it is numbered.
pub const KEY: &[u8] = b"bench:0000";
/// Digits of a key that are its number: those of [`KEYS`] less one.
const KEY_DIGITS: usize = 4;
/// Digits of a value that are the number of its request.
const NUMBER_DIGITS: usize = 20;

/// A value, before it is numbered.
pub fn blank(message: Message) -> Vec<u8> {
    let mut value = vec![b'0'; NUMBER_DIGITS];
    value.resize(message.bytes.max(NUMBER_DIGITS), b'x');
    value
}

/// A request that has [`KEY`] at `key_at`, and a value at `value_at` if it sets one.
pub fn request(frame: Vec<u8>, key_at: usize, value_at: Option<usize>) -> Template {
    let digits_at = key_at + KEY.len() - KEY_DIGITS;
    let template = Template::bare(frame).numbered(digits_at, Form::Decimal(KEY_DIGITS));
    match value_at {
        Some(at) => template.numbered(at, Form::Decimal(NUMBER_DIGITS)),
        None => template,
    }
}

/// Whether this is a value of the key that request `number` is about.
///
/// # Errors
/// It is not.
pub fn check(number: u64, value: &[u8]) -> io::Result<()> {
    let digits = value.get(..NUMBER_DIGITS).and_then(decimal::parse);
    match digits {
        Some(set_by) if set_by % KEYS == number % KEYS => Ok(()),
        _ => Err(unexpected("no value of that key", value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_known_by_the_key_that_it_was_set_for() {
        let message = Message { bytes: 32, content: false };
        let frame = [b"SET ", KEY, b" ", &blank(message)].concat();
        let template = request(frame, 4, Some(4 + KEY.len() + 1));
        let mut out = Vec::new();
        template.put(123_456, &mut out);
        assert_eq!(out, b"SET bench:3456 00000000000000123456xxxxxxxxxxxx");
        let value = &out[15..];
        assert!(check(123_456, value).is_ok() && check(3_456, value).is_ok());
        assert!(check(123_457, value).is_err());
        assert!(check(3_456, b"short").is_err());
    }
}
