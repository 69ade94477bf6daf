//! The HTTP door over real sockets, with the broker that is shipped.

mod access;
mod admission;
pub(crate) mod client;
pub(crate) mod codes;
mod drain;
mod hostile;
mod kv;
mod limits;
mod metrics;
pub(crate) mod openmetrics;
mod queues;
mod simple;
mod snapshots;
mod topics;

use sluice_broker::Broker;
use sluice_server::{Config, CountersSnapshot, HttpAddr};
use tempfile::TempDir;

use crate::local;
use crate::running::{self, Running, start_on};
use client::Http;

/// The settings of a server with an HTTP door.
pub(crate) fn config() -> Config {
    let mut config = running::config();
    config.http.addr = HttpAddr::At("127.0.0.1:0".parse().unwrap());
    config
}

/// A server with a directory of its own.
pub(crate) struct Place {
    pub(crate) data: TempDir,
    pub(crate) server: Running<Broker>,
}

impl Place {
    pub(crate) async fn new() -> Self {
        Self::with(config()).await
    }

    pub(crate) async fn with(mut config: Config) -> Self {
        let data = tempfile::tempdir().unwrap();
        let broker = local::broker(&data.path().join("log"));
        config.http.snapshots = Some(data.path().join("snapshots"));
        Self { server: start_on(config, broker.clone(), broker).await, data }
    }

    pub(crate) async fn client(&self) -> Http {
        Http::connect(self.server.http).await
    }

    /// Stops it and returns what it has counted.
    pub(crate) async fn stop(self) -> CountersSnapshot {
        let broker = self.server.fake.clone();
        let counters = self.server.stop().await;
        broker.stop().unwrap();
        counters
    }
}
