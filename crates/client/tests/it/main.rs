//! The client against brokers: a scripted one, whose every answer is said here, and the one that is
//! shipped.
#![expect(clippy::unwrap_used, reason = "a test says by it what must hold")]

mod against_broker;
mod chaos;
mod consuming;
mod cuts;
mod fake;
mod greeting;
mod keys;
mod limits;
mod publishing;
mod real;
mod requests;
