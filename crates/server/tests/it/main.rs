//! The server over real sockets, on free ports, with a small broker in memory.
#![expect(clippy::unwrap_used, reason = "a test says by it what must hold")]

mod access;
mod admin;
mod client;
mod doors;
mod entrance;
mod fake;
mod faults;
mod hostile;
mod http;
mod keys;
mod lifecycle;
mod limit_scenarios;
mod local;
mod memory;
mod running;
mod scenarios;
mod stalled;
mod tls;
mod version1;
mod version2;
