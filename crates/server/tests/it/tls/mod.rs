//! TLS over real sockets, with certificates made for each test.

mod binary;
mod certificates;
mod handshakes;
mod http;

use std::net::SocketAddr;
use std::sync::Arc;

use rustls_pki_types::ServerName;
use sluice_broker::Broker;
use sluice_server::Config;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{ClientConfig, SupportedProtocolVersion, version};

use crate::http::config;
use crate::local;
use crate::running::{PATIENCE, Running, start_on};
pub(crate) use certificates::{Authority, Files};

/// A server with TLS, and who vouches for its certificate.
pub(crate) struct Secured {
    pub(crate) authority: Authority,
    pub(crate) files: Files,
    pub(crate) server: Running<Broker>,
}

impl Secured {
    pub(crate) async fn new() -> Self {
        Self::with(|_, _| ()).await
    }

    /// One whose settings are changed beforehand.
    pub(crate) async fn with(change: impl FnOnce(&mut Config, &Files)) -> Self {
        let (authority, files) = (Authority::new("authority"), Files::new());
        files.show(&authority.vouches_for("localhost"));
        let mut config = Config { tls: files.config(), ..config() };
        change(&mut config, &files);
        let broker = local::broker(&files.dir.path().join("log"));
        let server = start_on(config, broker.clone(), broker).await;
        Self { authority, files, server }
    }

    /// A client's settings that trust the authority and show nothing.
    pub(crate) fn client(&self) -> ClientConfig {
        client(&self.authority, &[&version::TLS13, &version::TLS12])
    }

    /// Waits until the counter stands there.
    pub(crate) async fn counts(&self, name: &str, value: u64) {
        let counted = async {
            let now = |(known, _): &(&str, u64)| *known == name;
            while self.server.counters().iter().find(now).unwrap().1 != value {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, counted).await.unwrap_or_else(|_| panic!("{:?}", self.server.counters()));
    }

    pub(crate) async fn stop(self) -> sluice_server::CountersSnapshot {
        let broker = self.server.fake.clone();
        let counters = self.server.stop().await;
        broker.stop().unwrap();
        counters
    }
}

/// A client's settings that trust `authority`.
pub(crate) fn client(
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    ClientConfig::builder_with_provider(certificates::provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(authority.roots())
        .with_no_client_auth()
}

/// The handshake of a client that means `localhost`.
pub(crate) async fn shake(
    addr: SocketAddr,
    config: ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}
