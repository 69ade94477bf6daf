//! The doors: one module each, and what they share.

pub(crate) mod binary;
pub(crate) mod line;
mod output;
mod wire;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sluice_broker::{Broker, ClosedBy};
use sluice_model::Principal;
use tokio::sync::watch;

use crate::auth::{FailureTable, Keys};
use crate::config::Config;
use crate::counters::Counters;
use crate::places::CapBy;

pub(crate) use output::Output;
pub(crate) use wire::{BufferPool, Fill, Wire, until};

/// What every connection of this process shares.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) broker: Broker,
    pub(crate) keys: Keys,
    pub(crate) failures: FailureTable,
    pub(crate) principals: Arc<CapBy<Principal>>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) pool: BufferPool,
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// The connection's number, which every log line about it shows.
    pub(crate) connection: u64,
    pub(crate) ip: IpAddr,
}

/// Tells a connection that the server drains.
#[derive(Clone)]
pub(crate) struct Drain(pub(crate) watch::Receiver<bool>);

impl Drain {
    /// Waits until it does. Cancel-safe.
    pub(crate) async fn begun(&mut self) {
        // Without a sender the server is gone, which is no different here.
        let _ = self.0.wait_for(|begun| *begun).await;
    }

    /// Whether it does: also for connections that never wait, because their client never stops
    /// sending.
    pub(crate) fn has_begun(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The client closed its end, and has its answers as far as it takes them.
    ByClient,
    /// The connection broke.
    Broken,
    /// The client's bytes were not what the door speaks, or it was refused for good.
    Refused,
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
    /// The broker can serve no more.
    BrokerFailed,
}

impl Ended {
    /// Whose end went away.
    pub(crate) const fn by(self) -> ClosedBy {
        match self {
            Self::ByClient | Self::Broken => ClosedBy::Client,
            Self::Refused
            | Self::FirstFrameTimeout
            | Self::IdleTimeout
            | Self::WriteTimeout
            | Self::Drained { .. }
            | Self::BrokerFailed => ClosedBy::Broker,
        }
    }

    /// Whether the client may not have read yet what was sent last.
    pub(crate) const fn answers_may_be_unread(self) -> bool {
        matches!(
            self,
            Self::Refused | Self::IdleTimeout | Self::Drained { idle: false } | Self::BrokerFailed
        )
    }
}

/// How long a connection that we end stays half open, so that the client gets what was sent last:
/// closing with bytes unread makes the kernel throw the answers away.
pub(crate) const LINGER: Duration = Duration::from_secs(1);
