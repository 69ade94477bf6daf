//! The admin door: a Unix socket in the data directory, for commands on the same machine.
//!
//! Whoever can open the socket owns the broker's files, so it asks for no key: the directory is
//! 0700, the socket 0600, and a peer of another user is closed. A request is one line of JSON, so
//! is its answer, in order. See `docs/protocol/admin.md`.
//!
//! ```text
//! socket.rs --a connection--> connection.rs --a line--> request.rs --> Broker
//! ```

mod connection;
mod request;
mod socket;

pub use socket::SocketPath;
pub(crate) use socket::{AdminListener, bind, serve};
