//! The real binary: processes, signals, exit codes.
#![expect(clippy::unwrap_used, reason = "a test says by it what must hold")]

mod kills;
mod lifecycle;
mod messages;
mod offline;
mod refusals;
mod repair;
mod setup;
