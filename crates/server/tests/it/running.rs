//! A server on a free port, and a way to stop it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sluice_broker::Broker;
use sluice_server::{
    Certificates, Config, CountersSnapshot, HttpAddr, HttpConfig, Intake, KeyRing, MetricsConfig,
    Server, ServerError,
};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::fake::Fake;

/// More than any step of a test takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Running<B = Fake> {
    pub(crate) addr: SocketAddr,
    /// The HTTP door.
    pub(crate) http: SocketAddr,
    /// The listener for metrics.
    pub(crate) metrics: SocketAddr,
    /// The broker behind it.
    pub(crate) fake: B,
    pub(crate) ring: KeyRing,
    pub(crate) certificates: Certificates,
    pub(crate) intake: Arc<Intake>,
    stop: Option<oneshot::Sender<()>>,
    counters: Arc<sluice_server::Counters>,
    task: JoinHandle<Result<(), ServerError>>,
}

pub(crate) fn config() -> Config {
    let http = HttpConfig { addr: HttpAddr::Off, ..HttpConfig::default() };
    let addr = "127.0.0.1:0".parse().unwrap();
    let metrics = MetricsConfig { listens: true, addr, ..MetricsConfig::default() };
    Config { tcp_addr: addr, http, metrics, ..Config::default() }
}

pub(crate) fn config_with_keys(keys: &[&str]) -> Config {
    let allowed_api_keys = keys.iter().map(|key| (*key).into()).collect();
    Config { allowed_api_keys, ..config() }
}

pub(crate) async fn start(config: Config) -> Running {
    start_with(config, Fake::new()).await
}

pub(crate) async fn start_with(config: Config, fake: Fake) -> Running {
    start_on(config, Broker::new(fake.clone()), fake).await
}

pub(crate) async fn start_on<B>(config: Config, broker: Broker, fake: B) -> Running<B> {
    let server = Server::bind(config, broker).await.unwrap();
    let (addr, counters, ring) = (server.tcp_addr(), server.counters(), server.key_ring());
    let certificates = server.certificates();
    let http = server.http_addr().unwrap_or(addr);
    let metrics = server.metrics_addr().unwrap_or(addr);
    let intake = server.intake();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(server.run(async {
        // A dropped sender stops the server as well.
        let _ = stopped.await;
    }));
    let stop = Some(stop);
    Running { addr, http, metrics, fake, ring, certificates, intake, stop, counters, task }
}

impl<B> Running<B> {
    /// What it has counted so far.
    pub(crate) fn counters(&self) -> CountersSnapshot {
        self.counters.snapshot()
    }

    /// Begins the drain.
    pub(crate) fn shut_down(&mut self) {
        self.stop.take();
    }

    /// Waits until the server has stopped.
    pub(crate) async fn ended(self) -> (Result<(), ServerError>, CountersSnapshot) {
        let Self { task, counters, stop, .. } = self;
        let result = timeout(PATIENCE, task).await.expect("the server stops").unwrap();
        drop(stop);
        (result, counters.snapshot())
    }

    /// Stops the server and returns what it has counted.
    pub(crate) async fn stop(mut self) -> CountersSnapshot {
        self.shut_down();
        let (result, counters) = self.ended().await;
        result.unwrap();
        counters
    }
}
