//! The real binary: processes, signals, exit codes.
#![expect(clippy::unwrap_used, reason = "a test says by it what must hold")]

mod backup;
mod bench;
mod chaos;
mod fetch;
mod fetch_queue;
mod grow;
mod http;
mod keys;
mod kills;
mod kv;
mod lifecycle;
mod limits;
mod line;
#[path = "../../../broker/tests/it/linear.rs"]
mod linear;
mod messages;
mod offline;
mod overload;
mod queues;
mod refusals;
mod reload;
mod repair;
mod settings;
mod setup;
mod supervisor;
mod tls;
