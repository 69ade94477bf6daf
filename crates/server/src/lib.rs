//! Sluice's doors: listeners, connections, and who may do what.
//!
//! ```text
//! listener --first byte--> doors/binary/connection -- session: bytes to requests --> Broker
//!                     '--> doors/line/connection   <- session: replies to bytes  <--
//! HTTP listener ------------> doors/http             requests of hyper             -->
//! admin socket -------------> doors/admin            lines of JSON                 -->
//! tls                         a handshake between a listener and its doors, where configured
//! ```
//!
//! A door's *session* is a state machine without socket or clock; its *connection* drives one
//! socket. [`Server`] starts the doors, drains them and stops.
#![warn(clippy::indexing_slicing)]

mod admission;
mod auth;
mod brake;
mod config;
mod counters;
mod doors;
mod limits;
mod listener;
mod log;
mod metrics;
mod places;
mod requests;
mod server;
mod tls;

pub use admission::{
    Admission, AdmissionConfig, Entering, Gate, Intake, ParkedPermit, Permit, RateLimit,
    RateLimited,
};
pub use auth::{ApiKey, KeyHash, KeyRing};
pub use config::{Admin, Config, ConfigError};
pub use counters::{Counters, CountersSnapshot};
pub use doors::{
    HttpAddr, HttpAddrError, HttpConfig, KeyStore, KeyStoreError, SocketPath, StoredKey,
};
pub use log::one_line;
pub use metrics::MetricsConfig;
pub use server::{Server, ServerError};
pub use tls::{Certificates, TlsConfig, TlsError};
