//! The protocol crate from outside: fixed bytes, any bytes, and a client's calls.

#![expect(clippy::unwrap_used, reason = "a test says by it what must hold")]

mod any_bytes;
mod client;
mod json;
mod vectors;
