//! The protocol crate from outside: fixed bytes, any bytes, and a client's calls.

#![expect(clippy::unwrap_used, reason = "a test says by it what must hold")]

mod any_bytes;
mod client;
mod exercise;
mod json;
mod line;
mod v2_any_bytes;
mod v2_round_trips;
mod v2_vectors;
mod vectors;
mod walk;
