//! The client against brokers: a scripted one, whose every answer is said here.
#![expect(clippy::unwrap_used, reason = "a test says by it what must hold")]

mod consuming;
mod fake;
mod greeting;
mod publishing;
mod requests;
