//! The peers' protocols, as bytes: enough of each to load it, parsed where the bytes lie.
//!
//! Every parser takes what has arrived and gives what stands at its front and how many bytes that
//! is, or nothing while it is not all there.

pub mod beanstalk;
mod conn;
pub mod decimal;
pub mod http;
pub mod mqtt;
pub mod nats;
pub mod resp;

pub use conn::Conn;

use std::io;

/// What a parser finds at the front of its input.
pub type Parsed<T> = io::Result<Option<(T, usize)>>;

/// The peer sent what its protocol does not have there.
pub(crate) fn unexpected(what: &str, bytes: &[u8]) -> io::Error {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(120)]);
    io::Error::new(io::ErrorKind::InvalidData, format!("{what}: `{}`", shown.escape_debug()))
}

/// A line without its CRLF, and its bytes with it.
pub(crate) fn line(input: &[u8]) -> Option<(&[u8], usize)> {
    let end = input.iter().position(|byte| *byte == b'\n')?;
    let text = &input[..end];
    Some((text.strip_suffix(b"\r").unwrap_or(text), end + 1))
}

/// A body of `bytes` and the CRLF behind it.
pub(crate) fn body(input: &[u8], at: usize, bytes: usize) -> Option<(&[u8], usize)> {
    let end = at.checked_add(bytes)?.checked_add(2)?;
    (input.len() >= end).then(|| (&input[at..at + bytes], end))
}
