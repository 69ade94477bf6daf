//! Start, drain and stop of the doors.
//!
//! ```text
//! bind --run--> serving --shutdown--> draining --all closed, or drain_timeout--> stopped
//!                  '--the broker failed--> draining, briefly --> Err
//! ```

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sluice_broker::{Broker, BrokerError};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument, debug, debug_span, error, info, warn};

use crate::admission::Intake;
use crate::auth::{KeyRing, Keys};
use crate::brake::Brake;
use crate::config::{Admin, Config, ConfigError, is_loopback};
use crate::counters::Counters;
use crate::doors::admin::{self, AdminListener};
use crate::doors::http::HttpDoor;
use crate::doors::{Board, Notices, Peer, Shared};
use crate::limits::raise_descriptor_limit;
use crate::listener::{self, Listener, Pace, Places};
use crate::log::server_fault;
use crate::places::{Cap, CapBy};
use crate::tls::{Certificates, Tls, TlsError};

/// Descriptors kept for the log, the other listeners and the rest of the process.
const DESCRIPTORS_KEPT: usize = 256;
/// Connections let in while memory is short, so that consumers can make room.
const LEAN_CONNECTIONS: usize = 256;
/// Connections for metrics.
const WATCHERS: usize = 64;
/// How long the replies of a broker that has failed may take to leave.
const FAILURE_DRAIN: Duration = Duration::from_millis(300);

/// Why the doors could not open, or had to close.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The settings are out of range or unsafe.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The certificate can't be served with.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address can't be listened on.
    #[error("could not listen on {addr}")]
    Bind {
        /// The address asked for.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The broker can serve no more.
    #[error("the broker failed: {0}")]
    Broker(#[from] BrokerError),
}

/// The caps that a new connection must pass.
pub(crate) struct Caps {
    pub(crate) connections: Arc<Cap>,
    pub(crate) addresses: Arc<CapBy<IpAddr>>,
    /// Those that are let in while memory is short.
    pub(crate) lean: Arc<Cap>,
    /// Those that come for metrics, which are wanted most when all other places are taken.
    pub(crate) watchers: Arc<Cap>,
}

/// The doors, bound and not yet open: connections wait until [`Server::run`].
pub struct Server {
    tcp: Listener,
    http: Option<Listener>,
    metrics: Option<Listener>,
    admin: Option<(AdminListener, PathBuf)>,
    caps: Caps,
    shared: Arc<Shared>,
    board: Arc<Board>,
}

impl Server {
    /// Checks `config` and binds the listener. Raises the limit on descriptors to the hard one.
    ///
    /// # Errors
    /// The settings are invalid or unsafe, the certificate can't be served with, or the address
    /// can't be listened on.
    pub async fn bind(config: Config, broker: Broker) -> Result<Self, ServerError> {
        config.validate()?;
        let keys = Keys::load(&config)?;
        let tls = Tls::load(&config.tls)?;
        let tcp = Listener::bind(config.tcp_addr)?;
        let http = match config.http_listener() {
            None => None,
            Some((addr, reason)) => {
                if let Some(reason) = reason {
                    warn!(%addr, %reason, "the HTTP door is open to this machine alone");
                }
                Some(Listener::bind(addr)?)
            }
        };
        let metrics = match config.metrics.listens {
            true => Some(Listener::bind(config.metrics.addr)?),
            false => None,
        };
        let admin = config.admin.as_ref().and_then(open_admin_door);
        let room = raise_descriptor_limit().saturating_sub(DESCRIPTORS_KEPT).max(1);
        let connections_max = match config.connections_max {
            0 => room,
            given => given,
        };
        if connections_max > room {
            warn!(connections_max, room, "connections_max is more than there are descriptors for");
        }
        for listener in [Some(&tcp), http.as_ref(), metrics.as_ref()].into_iter().flatten() {
            warn_if_exposed(&config, listener.addr());
        }
        let caps = Caps {
            connections: Cap::new(connections_max),
            addresses: CapBy::new(config.per_address_max),
            lean: Cap::new(LEAN_CONNECTIONS),
            watchers: Cap::new(WATCHERS),
        };
        let shared = Arc::new(Shared::new(config, broker, keys, tls)?);
        let board = Arc::new(Board::default());
        let http_addr = http.as_ref().map(Listener::addr);
        let metrics_addr = metrics.as_ref().map(Listener::addr);
        let open = shared.config.is_open();
        let tls = shared.tls.is_some();
        info!(
            tcp_addr = %tcp.addr(), ?http_addr, ?metrics_addr, connections_max, open, tls,
            "doors bound"
        );
        Ok(Self { tcp, http, metrics, admin, caps, shared, board })
    }

    /// Where the binary and the line door listen.
    pub fn tcp_addr(&self) -> SocketAddr {
        self.tcp.addr()
    }

    /// Where the HTTP door listens, if it does.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(Listener::addr)
    }

    /// Where metrics are served, if they have a listener.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(Listener::addr)
    }

    /// The doors' counters, which stay readable after the server has stopped.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.shared.counters)
    }

    /// A handle with which the keys can be replaced while the server runs.
    pub fn key_ring(&self) -> KeyRing {
        KeyRing::new(Arc::clone(&self.shared), Arc::clone(&self.board))
    }

    /// A handle with which the certificate can be replaced while the server runs.
    pub fn certificates(&self) -> Certificates {
        Certificates(Arc::clone(&self.shared))
    }

    /// The limits of requests, which can change while the server runs.
    pub fn intake(&self) -> Arc<Intake> {
        Arc::clone(&self.shared.intake)
    }

    /// Serves until `shutdown` is ready or a client that may asks for it, then drains: takes no new
    /// connection and no new work, lets replies in flight leave, and closes what is left after
    /// `drain_timeout`. Stopping the broker is the caller's next step.
    ///
    /// # Errors
    /// The broker failed.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServerError> {
        let Self { tcp, http, metrics, admin, caps, shared, board } = self;
        let heard = Notices::new(Arc::clone(&board));
        let mut tasks = JoinSet::new();
        // Apart from connections: it has no part in how many of these there may be.
        let mut admins = JoinSet::new();
        if let Some((admin, backups)) = admin {
            admins.spawn(admin::serve(admin, backups, Arc::clone(&shared), heard.clone()));
        }
        let ring = KeyRing::new(Arc::clone(&shared), Arc::clone(&board));
        let doors = Doors { caps: &caps, shared: &shared, notices: &heard, ring };
        let listeners = Listeners { tcp, http, metrics };
        let failure = doors.serve(&listeners, &mut tasks, shutdown).await.err();
        drop(listeners);

        let patience = if failure.is_some() { FAILURE_DRAIN } else { shared.config.drain_timeout };
        info!(connections = caps.connections.taken(), "draining");
        shared.intake.turns().end();
        board.tell_draining();
        if timeout_at(Instant::now() + patience, finish(&mut tasks)).await.is_err() {
            warn!(connections = tasks.len(), "connections closed before they were drained");
            tasks.shutdown().await;
        }
        admins.shutdown().await;
        shared.counters.snapshot().log();
        failure.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// Opens the admin door. A file system without sockets is no reason not to serve.
fn open_admin_door(config: &Admin) -> Option<(AdminListener, PathBuf)> {
    let Admin { socket, backups } = config;
    match admin::bind(socket) {
        Ok(listener) => Some((listener, backups.clone())),
        Err(error) => {
            warn!(%error, socket = %socket.display(), "there is no admin socket");
            None
        }
    }
}

/// Where connections come.
struct Listeners {
    tcp: Listener,
    http: Option<Listener>,
    metrics: Option<Listener>,
}

/// By which of them a connection has come.
#[derive(Clone, Copy)]
enum Way {
    Tcp,
    Http,
    Metrics,
}

/// What every accepted connection needs.
struct Doors<'a> {
    caps: &'a Caps,
    shared: &'a Arc<Shared>,
    notices: &'a Notices,
    ring: KeyRing,
}

impl Doors<'_> {
    /// Accepts until `shutdown` is ready.
    async fn serve(
        &self,
        listeners: &Listeners,
        tasks: &mut JoinSet<()>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), BrokerError> {
        let Self { caps, shared, notices, ring } = self;
        let config = &shared.config;
        let pace = || Pace::new(config.accept_rate, config.accept_burst, Instant::now());
        let (mut tcp_pace, mut http_pace) = (pace(), pace());
        let door = Arc::new(HttpDoor::new(ring.clone()));
        let watching = Arc::new(HttpDoor::for_metrics(ring.clone()));
        let Listeners { tcp, http, metrics } = listeners;
        let mut brake = Brake::new(Instant::now());
        let mut last_id = 0u64;
        let mut shutdown = std::pin::pin!(shutdown);
        let mut failure = std::pin::pin!(shared.broker.failure());
        loop {
            let (stream, peer, way) = tokio::select! {
                () = &mut shutdown => return Ok(()),
                () = shared.stop_asked.notified() => return Ok(()),
                failure = &mut failure => {
                    server_fault("the broker has failed", &failure.to_string());
                    return Err(failure);
                }
                Some(_) = tasks.join_next() => continue,
                (stream, peer) = tcp.accept(shared) => (stream, peer, Way::Tcp),
                (stream, peer) = accept_braked(http.as_ref(), &brake, shared) => {
                    brake.count(Instant::now());
                    (stream, peer, Way::Http)
                }
                (stream, peer) = accept_if(metrics.as_ref(), shared) => (stream, peer, Way::Metrics),
            };
            shared.counters.accepted.one();
            last_id += 1;
            let (door, places) = match way {
                Way::Tcp => {
                    let pace = tcp_pace.as_mut();
                    (None, listener::take_places(peer.ip(), pace, caps, shared))
                }
                Way::Http => {
                    let pace = http_pace.as_mut();
                    (Some(&door), listener::take_places(peer.ip(), pace, caps, shared))
                }
                Way::Metrics => (Some(&watching), listener::take_place_to_watch(caps, shared)),
            };
            if let Some(places) = places {
                let door = door.map(Arc::clone);
                let (shared, notices) = (Arc::clone(shared), (*notices).clone());
                let accepted = Accepted { id: last_id, stream, peer, places, door };
                tasks.spawn(accepted.serve(shared, notices));
            }
        }
    }
}

async fn accept_if(listener: Option<&Listener>, shared: &Shared) -> (TcpStream, SocketAddr) {
    match listener {
        Some(listener) => listener.accept(shared).await,
        None => std::future::pending().await,
    }
}

/// The same, slowly while many requests wait already.
async fn accept_braked(
    listener: Option<&Listener>,
    brake: &Brake,
    shared: &Shared,
) -> (TcpStream, SocketAddr) {
    brake.wait(&shared.intake).await;
    accept_if(listener, shared).await
}

async fn finish(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}

/// A connection that was let in.
struct Accepted {
    id: u64,
    stream: TcpStream,
    peer: SocketAddr,
    places: Places,
    /// The HTTP door, if it came there.
    door: Option<Arc<HttpDoor>>,
}

impl Accepted {
    /// Serves it to its end. What is returned is all that its task holds beside what serves it.
    fn serve(self, shared: Arc<Shared>, notices: Notices) -> impl Future<Output = ()> + Send {
        let Self { id, stream, peer, places, door } = self;
        let span = debug_span!("connection", id, %peer);
        let peer = Peer { connection: id, ip: peer.ip().to_canonical(), lean: places.lean };
        let counters = Arc::clone(&shared.counters);
        let arriving = match door {
            None => listener::arrive(stream, peer, shared, notices),
            Some(door) => {
                let served = listener::serve_http(stream, peer, door, shared, notices);
                Box::pin(async move { Err(served.await) })
            }
        };
        let served = async move {
            let _watch = PanicWatch { id, counters: &counters };
            // The box with the beginning is gone before the other one is waited for.
            let serving = arriving.await;
            let ended = match serving {
                Ok(serving) => serving.await,
                Err(ended) => ended,
            };
            debug!(?ended, "connection closed");
            drop(places);
        };
        served.instrument(span)
    }
}

/// Counts a panic that ends its connection; others go on.
struct PanicWatch<'a> {
    id: u64,
    counters: &'a Counters,
}

impl Drop for PanicWatch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.counters.panics.one();
            error!(fault = "server", connection = self.id, "a panic ended a connection");
        }
    }
}

fn warn_if_exposed(config: &Config, addr: SocketAddr) {
    match (is_loopback(addr.ip()), config.is_open()) {
        (true, true) => info!("no keys are configured: everyone on this machine is let in"),
        (true, false) => {}
        (false, true) => warn!(
            %addr,
            "INSECURE: no keys are configured and other machines can reach this listener"
        ),
        (false, false) if config.tls.is_on() => {}
        (false, false) => warn!(
            %addr,
            "INSECURE: keys and messages cross the network in the clear"
        ),
    }
}
