//! The doors: one module each, and what they share.

pub(crate) mod admin;
pub(crate) mod backups;
pub(crate) mod binary;
mod desk;
pub(crate) mod http;
pub(crate) mod line;
mod link;
mod notices;
mod output;
pub(crate) mod readiness;
mod socket;
mod visitor;
mod waiting;
mod wire;

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use sluice_broker::{Broker, ClosedBy};
use sluice_model::Principal;
use tokio::time::Instant;
use tracing::debug;

use crate::admission::Intake;
use crate::auth::{FailureTable, Keys};
use crate::config::{Config, ConfigError};
use crate::counters::Counters;
use crate::places::CapBy;
use crate::requests::Requests;
use crate::tls::Tls;

pub use admin::SocketPath;
pub(crate) use desk::Desk;
pub use http::{HttpAddr, HttpAddrError, HttpConfig, KeyStore, KeyStoreError, StoredKey};
pub(crate) use link::Link;
pub(crate) use notices::{Board, Notices};
pub(crate) use output::{COPY_MAX, Output};
pub(crate) use socket::{Socket, linger};
pub(crate) use visitor::Visitor;
pub(crate) use waiting::{Waiting, Woken};
pub(crate) use wire::{BufferPool, Fill, Wire, until};

/// What every connection of this process shares.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) broker: Broker,
    /// None where TLS is not configured.
    pub(crate) tls: Option<Tls>,
    keys: RwLock<Arc<Keys>>,
    pub(crate) failures: FailureTable,
    pub(crate) principals: Arc<CapBy<Principal>>,
    pub(crate) counters: Arc<Counters>,
    /// Of sessions of the binary door.
    pub(crate) limits: Arc<binary::Limits>,
    pub(crate) requests: Arc<Requests>,
    /// Lets one look at all queues at a time.
    pub(crate) scrape: tokio::sync::Mutex<()>,
    pub(crate) intake: Arc<Intake>,
    pub(crate) begun: http::Begun,
    pub(crate) pool: BufferPool,
    /// A client that may has asked for the end.
    pub(crate) stop_asked: tokio::sync::Notify,
}

impl Shared {
    /// What the connections of a server share, of which `keys` are let in at first.
    ///
    /// # Errors
    /// A limit in the settings can't be kept.
    pub(crate) fn new(
        config: Config,
        broker: Broker,
        keys: Keys,
        tls: Option<Tls>,
    ) -> Result<Self, ConfigError> {
        broker.set_directory(keys.directory());
        Ok(Self {
            principals: CapBy::new(config.per_principal_max),
            intake: Arc::new(Intake::new(&config.admission, broker.request_limits())?),
            limits: Arc::new(binary::Limits::of(&config)),
            config,
            broker,
            tls,
            keys: RwLock::new(Arc::new(keys)),
            failures: FailureTable::new(),
            counters: Arc::new(Counters::default()),
            requests: Arc::default(),
            scrape: tokio::sync::Mutex::default(),
            begun: http::Begun::default(),
            pool: BufferPool::default(),
            stop_asked: tokio::sync::Notify::new(),
        })
    }

    /// The keys in force.
    pub(crate) fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read())
    }

    pub(crate) fn set_keys(&self, keys: Keys) {
        *self.keys.write() = Arc::new(keys);
    }
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// The connection's number, which every log line about it shows.
    pub(crate) connection: u64,
    pub(crate) ip: IpAddr,
    /// It gets small buffers only.
    pub(crate) lean: bool,
}

/// A connection of the TCP port of which it is known who is to serve it.
pub(crate) struct Arrived {
    pub(crate) wire: Wire,
    pub(crate) peer: Peer,
    pub(crate) shared: Arc<Shared>,
    /// Until when it is to be ready, if keys are configured.
    pub(crate) ready_by: Option<Instant>,
    pub(crate) notices: Notices,
}

/// A connection that is served. On the heap: its task is as large as the largest part of it.
pub(crate) type Serving = Pin<Box<dyn Future<Output = Ended> + Send>>;

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The client closed its end, and has its answers as far as it takes them.
    ByClient,
    /// The connection broke.
    Broken,
    /// The client's bytes were not what the door speaks, or it was refused for good.
    Refused,
    /// There is no TLS connection with it.
    HandshakeFailed,
    /// Nobody authenticated in time.
    FirstFrameTimeout,
    /// Nothing was said for too long.
    IdleTimeout,
    /// No answers were taken for too long.
    WriteTimeout,
    /// The server drains.
    Drained {
        /// Nothing was in flight.
        idle: bool,
    },
    /// Its key is gone, or no longer covers what it listens to.
    Revoked,
    /// The broker can serve no more.
    BrokerFailed,
}

impl Ended {
    /// What came of serving a client: an error says that the connection broke.
    pub(crate) fn of(served: io::Result<Self>) -> Self {
        served.unwrap_or_else(|error| Self::broken(&error))
    }

    /// The connection broke, which those who look closely are told.
    pub(crate) fn broken(error: &dyn std::error::Error) -> Self {
        debug!(fault = "client", %error, "connection broke");
        Self::Broken
    }

    /// Whose end went away.
    pub(crate) const fn by(self) -> ClosedBy {
        match self {
            Self::ByClient | Self::Broken => ClosedBy::Client,
            Self::Refused
            | Self::HandshakeFailed
            | Self::FirstFrameTimeout
            | Self::IdleTimeout
            | Self::WriteTimeout
            | Self::Drained { .. }
            | Self::Revoked
            | Self::BrokerFailed => ClosedBy::Broker,
        }
    }

    /// Whether the client may not have read yet what was sent last.
    pub(crate) const fn answers_may_be_unread(self) -> bool {
        matches!(
            self,
            Self::Refused
                | Self::IdleTimeout
                | Self::Drained { idle: false }
                | Self::Revoked
                | Self::BrokerFailed
        )
    }
}

/// How long a connection that we end stays half open, so that the client gets what was sent last:
/// closing with bytes unread makes the kernel throw the answers away.
pub(crate) const LINGER: Duration = Duration::from_secs(1);
