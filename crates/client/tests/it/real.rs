//! The broker that is shipped, on a directory of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sluice_broker::Broker;
use sluice_broker::local::{Entropy, LocalBackend, LocalConfig};
use sluice_chaos::{Plan, Proxy, Tally};
use sluice_client::{Client, Options, Timestamp};
use sluice_server::{Config, Counters, Server};
use sluice_wal::FileDisk;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::fake::{PATIENCE, options};

/// A broker that serves.
pub(crate) struct Real {
    pub(crate) addr: SocketAddr,
    pub(crate) counters: Arc<Counters>,
    broker: Broker,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), sluice_server::ServerError>>,
}

fn broker(data: &Path) -> Broker {
    let mut local = LocalConfig::default();
    local.wal.segment_bytes = 4 << 20;
    local.wal.record_max = 2 << 20;
    // What a lost connection held comes again soon.
    local.engine.lost_grace = Duration::from_millis(20);
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let wall = Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap());
    let entropy = Entropy { log_id: 1, seed: 1 };
    let disk = FileDisk::new(data);
    Broker::new(LocalBackend::open(disk, &local, wall, entropy, true).unwrap().0)
}

impl Real {
    /// On a free port.
    pub(crate) async fn start(data: &Path) -> Self {
        Self::start_at(data, "127.0.0.1:0".parse().unwrap()).await
    }

    pub(crate) async fn start_at(data: &Path, tcp_addr: SocketAddr) -> Self {
        let broker = broker(data);
        let config = Config { tcp_addr, ..Config::default() };
        let server = Server::bind(config, broker.clone()).await.unwrap();
        let (addr, counters) = (server.tcp_addr(), server.counters());
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server.run(async {
            // A dropped sender stops the server as well.
            let _ = stopped.await;
        }));
        Self { addr, counters, broker, stop, task }
    }

    /// Drains and ends.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
        self.broker.stop().unwrap();
    }

    pub(crate) async fn client(&self) -> Client {
        self.client_with(options()).await
    }

    pub(crate) async fn client_with(&self, options: Options) -> Client {
        Client::connect(self.addr.to_string(), options).await.unwrap()
    }
}

/// A directory, and a broker on it.
pub(crate) async fn start() -> (TempDir, Real) {
    let data = tempfile::tempdir().unwrap();
    let real = Real::start(data.path()).await;
    (data, real)
}

/// A way to the broker that does harm.
pub(crate) struct Way {
    task: JoinHandle<Tally>,
    stop: oneshot::Sender<()>,
}

impl Way {
    /// Closes what is open.
    pub(crate) async fn stop(self) -> Tally {
        drop(self.stop);
        timeout(PATIENCE, self.task).await.unwrap().unwrap()
    }
}

/// A way to the broker that does harm, and where it begins.
pub(crate) async fn proxy(broker: SocketAddr, plan: Plan) -> (String, Way) {
    let proxy = Proxy::bind("127.0.0.1:0", &broker.to_string(), plan).await.unwrap();
    let addr = proxy.addr().to_string();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(async {
        let stopped = async {
            // A dropped sender stops it as well.
            let _ = stopped.await;
        };
        proxy.run(None, stopped).await.unwrap()
    });
    (addr, Way { task, stop })
}

/// A client of a way that does harm: its first connections may be lost before they are greeted.
pub(crate) async fn connect(addr: &str, options: Options) -> Client {
    loop {
        if let Ok(client) = Client::connect(addr, options.clone()).await {
            return client;
        }
    }
}
