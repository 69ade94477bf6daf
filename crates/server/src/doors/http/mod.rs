//! The HTTP door: HTTP/1.1 over hyper, on a listener of its own.
//!
//! ```text
//! connection.rs: socket <-> io.rs (deadlines, framing.rs) <-> opening.rs, then hyper <-> service.rs
//! service.rs:    trace id, host, origin, key -> door.rs -> simple/, v1/ -> caller.rs
//! exchange.rs:   the connection's session with the broker; what was written of its answers
//! ```
//!
//! `docs/protocol/http.md` describes it. What is asked of queues, and what comes back, is
//! `sluice_protocol::json`, as behind every door. Everything that a request needs is done by the
//! task of its connection; nothing is handed to another.

mod body;
mod caller;
mod chunks;
mod config;
mod connection;
mod door;
mod exchange;
mod extract;
mod framing;
mod guard;
mod io;
mod keys;
mod opening;
mod refusal;
mod service;
mod simple;
mod trace;
mod v1;

pub use config::{HttpAddr, HttpAddrError, HttpConfig};
pub(crate) use connection::serve;
pub(crate) use door::{Begun, HttpDoor};
pub use keys::{KeyStore, KeyStoreError, StoredKey};
pub(crate) use refusal::speaks_tls;
