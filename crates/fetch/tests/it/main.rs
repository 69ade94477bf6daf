//! Lists fetched from sites on loopback.
#![expect(clippy::unwrap_used, reason = "a test says by it what must hold")]

mod endings;
mod limits;
mod setup;
