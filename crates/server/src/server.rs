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

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sluice_broker::{Broker, BrokerError};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument, debug_span, error, info, warn};

use crate::auth::{KeyRing, Keys};
use crate::config::{Admin, Config, ConfigError, is_loopback};
use crate::counters::Counters;
use crate::doors::admin::{self, AdminListener};
use crate::doors::{Notice, Notices, Peer, Shared};
use crate::listener::{self, Pace, Places};
use crate::places::{Cap, CapBy};

/// Descriptors kept for the log, the other listeners and the rest of the process.
const DESCRIPTORS_KEPT: usize = 256;
/// Below this many descriptors a warning is due.
const DESCRIPTORS_FEW: u64 = 10_000;
/// Connections let in while memory is short, so that consumers can make room.
const LEAN_CONNECTIONS: usize = 256;
/// How long the replies of a broker that has failed may take to leave.
const FAILURE_DRAIN: Duration = Duration::from_millis(300);

/// Why the doors could not open, or had to close.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The settings are out of range or unsafe.
    #[error(transparent)]
    Config(#[from] ConfigError),
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
}

/// The doors, bound and not yet open: connections wait until [`Server::run`].
pub struct Server {
    listener: TcpListener,
    tcp_addr: SocketAddr,
    admin: Option<(AdminListener, PathBuf)>,
    caps: Caps,
    shared: Arc<Shared>,
    notices: watch::Sender<Notice>,
}

impl Server {
    /// Checks `config` and binds the listener. Raises the limit on descriptors to the hard one.
    ///
    /// # Errors
    /// The settings are invalid or unsafe, or the address can't be listened on.
    pub async fn bind(config: Config, broker: Broker) -> Result<Self, ServerError> {
        config.validate()?;
        let keys = Keys::load(&config)?;
        let addr = config.tcp_addr;
        let listening = |source| ServerError::Bind { addr, source };
        let listener = listener::listen(addr).map_err(listening)?;
        let tcp_addr = listener.local_addr().map_err(listening)?;
        let admin = config.admin.as_ref().and_then(open_admin_door);
        let room = raise_descriptor_limit().saturating_sub(DESCRIPTORS_KEPT).max(1);
        let connections_max = match config.connections_max {
            0 => room,
            given => given,
        };
        if connections_max > room {
            warn!(connections_max, room, "connections_max is more than there are descriptors for");
        }
        warn_if_exposed(&config, tcp_addr);
        let caps = Caps {
            connections: Cap::new(connections_max),
            addresses: CapBy::new(config.per_address_max),
            lean: Cap::new(LEAN_CONNECTIONS),
        };
        let shared = Arc::new(Shared::new(config, broker, keys));
        let notices = watch::Sender::default();
        info!(%tcp_addr, connections_max, open = shared.config.is_open(), "doors bound");
        Ok(Self { listener, tcp_addr, admin, caps, shared, notices })
    }

    /// Where the binary and the line door listen.
    pub const fn tcp_addr(&self) -> SocketAddr {
        self.tcp_addr
    }

    /// The doors' counters, which stay readable after the server has stopped.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.shared.counters)
    }

    /// A handle with which the keys can be replaced while the server runs.
    pub fn key_ring(&self) -> KeyRing {
        KeyRing::new(Arc::clone(&self.shared), self.notices.clone())
    }

    /// Serves until `shutdown` is ready, then drains: takes no new connection and no new work, lets
    /// replies in flight leave, and closes what is left after `drain_timeout`. Stopping the broker
    /// is the caller's next step.
    ///
    /// # Errors
    /// The broker failed.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServerError> {
        let Self { listener, admin, caps, shared, notices, .. } = self;
        let heard = Notices(notices.subscribe());
        let mut tasks = JoinSet::new();
        // Apart from connections: it has no part in how many of these there may be.
        let mut admins = JoinSet::new();
        if let Some((admin, backups)) = admin {
            admins.spawn(admin::serve(admin, backups, Arc::clone(&shared), heard.clone()));
        }
        let failure = serve(&listener, &caps, &shared, &heard, &mut tasks, shutdown).await.err();
        drop(listener);

        let patience = if failure.is_some() { FAILURE_DRAIN } else { shared.config.drain_timeout };
        info!(connections = caps.connections.taken(), "draining");
        notices.send_modify(|notice| notice.draining = true);
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

async fn serve(
    listener: &TcpListener,
    caps: &Caps,
    shared: &Arc<Shared>,
    notices: &Notices,
    tasks: &mut JoinSet<()>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), BrokerError> {
    let config = &shared.config;
    let mut pace = Pace::new(config.accept_rate, config.accept_burst, Instant::now());
    let mut last_id = 0u64;
    let mut shutdown = std::pin::pin!(shutdown);
    let mut failure = std::pin::pin!(shared.broker.failure());
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            failure = &mut failure => return Err(failure),
            Some(_) = tasks.join_next() => {}
            (stream, peer) = listener::accept(listener, shared) => {
                shared.counters.accepted.one();
                last_id += 1;
                if let Some(places) = listener::take_places(peer.ip(), pace.as_mut(), caps, shared) {
                    let (shared, notices) = (Arc::clone(shared), notices.clone());
                    tasks.spawn(connection(last_id, stream, peer, places, shared, notices));
                }
            }
        }
    }
}

async fn finish(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}

async fn connection(
    id: u64,
    stream: TcpStream,
    peer: SocketAddr,
    places: Places,
    shared: Arc<Shared>,
    notices: Notices,
) {
    let span = debug_span!("connection", id, %peer);
    let _watch = PanicWatch { id, counters: &shared.counters };
    let peer = Peer { connection: id, ip: peer.ip().to_canonical(), lean: places.lean };
    listener::serve(stream, peer, &shared, notices).instrument(span).await;
    drop(places);
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
            error!(connection = self.id, "a panic ended a connection");
        }
    }
}

/// Raises the limit on descriptors to the hard one and returns it.
fn raise_descriptor_limit() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let mut limit = current;
    if current != maximum {
        match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
            Ok(()) => limit = maximum,
            Err(error) => warn!(%error, "the limit on descriptors could not be raised"),
        }
    }
    let limit = limit.unwrap_or(u64::MAX);
    if limit < DESCRIPTORS_FEW {
        warn!(limit, "few descriptors: raise the hard limit (ulimit -Hn) for more connections");
    }
    usize::try_from(limit).unwrap_or(usize::MAX)
}

fn warn_if_exposed(config: &Config, addr: SocketAddr) {
    match (is_loopback(addr.ip()), config.is_open()) {
        (true, true) => info!("no keys are configured: everyone on this machine is let in"),
        (true, false) => {}
        (false, true) => warn!(
            %addr,
            "INSECURE: no keys are configured and other machines can reach this listener"
        ),
        (false, false) => warn!(
            %addr,
            "INSECURE: keys and messages cross the network in the clear"
        ),
    }
}
