//! Accepts connections, caps them, and finds each its door by its first byte.
//!
//! ```text
//! accept --over a cap, too fast--> closed, counted
//!   |--> TLS configured, first byte 0x16: handshake --> the same again inside
//!   '--> first byte: 0x00 0x01 binary | tab, line end, blank, printable: line | else closed, counted
//! ```

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;
use sluice_broker::Pressure;
use sluice_flow::peer_group;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use tracing::warn;

use crate::config::is_loopback;
use crate::counters::{Counter, Counters};
use crate::doors::http::HttpDoor;
use crate::doors::{
    Arrived, Ended, Fill, Notices, Peer, Serving, Shared, Socket, Wire, binary, http, line, linger,
    until,
};
use crate::places::{Place, PlaceBy};
use crate::server::{Caps, ServerError};
use crate::tls::{self, Arrival, Port, Tls, TlsSocket};

/// Connections that the kernel completes before we accept them.
const BACKLOG: u32 = 4_096;
/// The pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A silent peer is asked after [`KEEPALIVE_IDLE`] and then every [`KEEPALIVE_INTERVAL`]; a peer
/// that is gone is known after 5 + 3 * 3 = 14 seconds.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);
const KEEPALIVE_PROBES: u32 = 3;
/// Keepalive asks only while nothing is on its way; what is and stays unconfirmed ends a
/// connection after this.
const UNCONFIRMED_MAX: Duration = Duration::from_secs(15);

/// A listening socket.
pub(crate) struct Listener {
    socket: TcpListener,
    addr: SocketAddr,
}

impl Listener {
    /// Opens it.
    ///
    /// # Errors
    /// The address can't be listened on.
    pub(crate) fn bind(addr: SocketAddr) -> Result<Self, ServerError> {
        let listening = |source| ServerError::Bind { addr, source };
        let socket = Self::listen(addr).map_err(listening)?;
        let addr = socket.local_addr().map_err(listening)?;
        Ok(Self { socket, addr })
    }

    fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
        let socket = match addr {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        if let Err(error) = set_options(&socket) {
            // It serves all the same, a little slower and with peers that are gone for longer.
            warn!(%error, "socket options could not be set");
        }
        socket.bind(addr)?;
        socket.listen(BACKLOG)
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Waits for the next connection. An accept that fails is counted and tried again. Cancel-safe.
    pub(crate) async fn accept(&self, shared: &Shared) -> (TcpStream, SocketAddr) {
        loop {
            match self.socket.accept().await {
                Ok(accepted) => return accepted,
                Err(error) => {
                    shared.counters.accept_failures.one();
                    // The peer's fault says nothing about the next one.
                    let peers_fault = matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted
                            | io::ErrorKind::ConnectionReset
                            | io::ErrorKind::Interrupted
                    );
                    if !peers_fault {
                        warn!(%error, "accept failed, trying again");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
    }
}

/// How fast connections may come: `rate` a second, `burst` at once.
pub(crate) struct Pace {
    period: Duration,
    tolerance: Duration,
    /// When the connections so far would have come at exactly the rate.
    due: Instant,
}

impl Pace {
    pub(crate) fn new(rate: u32, burst: u32, now: Instant) -> Option<Self> {
        let period = Duration::from_secs(1).checked_div(rate)?;
        Some(Self { period, tolerance: period * burst.max(1), due: now })
    }

    pub(crate) fn admits(&mut self, now: Instant) -> bool {
        let due = self.due.max(now) + self.period;
        let admitted = due <= now + self.tolerance;
        if admitted {
            self.due = due;
        }
        admitted
    }
}

/// The places that an open connection takes.
pub(crate) struct Places {
    /// It was let in when memory was short, and gets small buffers.
    pub(crate) lean: bool,
    _lean: Option<Place>,
    _in_all: Place,
    /// On the heap: connections from this machine need no room for it.
    _by_address: Option<Box<PlaceBy<IpAddr>>>,
}

/// Takes the places that a connection from `peer` needs, or counts why it may not have them.
pub(crate) fn take_places(
    peer: IpAddr,
    pace: Option<&mut Pace>,
    caps: &Caps,
    shared: &Shared,
) -> Option<Places> {
    let counters = &shared.counters;
    if pace.is_some_and(|pace| !pace.admits(Instant::now())) {
        counters.rejected_rate.one();
        return None;
    }
    let lean = shared.broker.memory().pressure() == Pressure::Critical;
    let lean_place = if lean { caps.lean.take() } else { None };
    if lean && lean_place.is_none() {
        counters.rejected_memory.one();
        return None;
    }
    let Some(in_all) = caps.connections.take() else {
        counters.rejected_connections.one();
        return None;
    };
    if is_loopback(peer) {
        return Some(Places { lean, _lean: lean_place, _in_all: in_all, _by_address: None });
    }
    let by_address = caps.addresses.take(peer_group(peer)).map(Box::new);
    if by_address.is_none() {
        counters.rejected_address.one();
        return None;
    }
    Some(Places { lean, _lean: lean_place, _in_all: in_all, _by_address: by_address })
}

/// Takes the place of a connection for metrics, or counts that there is none.
pub(crate) fn take_place_to_watch(caps: &Caps, shared: &Shared) -> Option<Places> {
    let lean = shared.broker.memory().pressure() == Pressure::Critical;
    let in_all = caps.watchers.take();
    if in_all.is_none() {
        shared.counters.rejected_connections.one();
    }
    Some(Places { lean, _lean: None, _in_all: in_all?, _by_address: None })
}

/// Which door a connection's first byte asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Binary,
    Line,
    Tls,
    None,
}

const fn door_of(first: u8) -> Door {
    match first {
        0x00 | 0x01 => Door::Binary,
        0x16 => Door::Tls,
        0x09 | 0x0a | 0x0d | 0x20..=0x7e => Door::Line,
        _ => Door::None,
    }
}

/// A connection of the TCP port that has not shown which door it wants. On the heap, apart from what
/// serves it then: nothing that only beginnings need is kept until the end.
pub(crate) type Arriving = Pin<Box<dyn Future<Output = Result<Serving, Ended>> + Send>>;

/// Waits for a connection's first byte, and finds its door.
pub(crate) fn arrive(
    stream: TcpStream,
    peer: Peer,
    shared: Arc<Shared>,
    mut notices: Notices,
) -> Arriving {
    Box::pin(async move {
        let socket = socket(stream, peer, &shared, &mut notices).await?;
        let mut wire = Wire::new(socket, peer.lean);
        let config = &shared.config;
        let ready_by =
            (!shared.keys().is_open()).then(|| Instant::now() + config.first_frame_timeout);
        let first = first_byte(&mut wire, &shared, ready_by, &mut notices).await;
        match first.and_then(|first| door(first, &shared.counters)) {
            Ok(serve) => Ok(serve(Arrived { wire, peer, shared, ready_by, notices })),
            Err(ended) => {
                wire.close();
                Err(ended)
            }
        }
    })
}

/// Who serves a connection that begins so; what comes for no door here is counted.
fn door(first: u8, counters: &Counters) -> Result<fn(Arrived) -> Serving, Ended> {
    match door_of(first) {
        Door::Binary => return Ok(binary::serve),
        Door::Line => return Ok(line::serve),
        Door::Tls => counters.rejected_tls.one(),
        Door::None => counters.rejected_first_byte.one(),
    }
    Err(Ended::Refused)
}

/// What a connection turns out to be where TLS is configured: on this machine it may do without.
async fn socket(
    stream: TcpStream,
    peer: Peer,
    shared: &Shared,
    notices: &mut Notices,
) -> Result<Socket, Ended> {
    let Some(tls) = &shared.tls else { return Ok(Socket::Plain(stream)) };
    let began = Instant::now();
    let deadline = began + shared.config.tls.handshake_timeout;
    let may_be_plain = is_loopback(peer.ip);
    // Who may do without has a while before its first byte.
    let first_by = match may_be_plain {
        true => idle_by(began, shared),
        false => Some((deadline, &shared.counters.tls_timeouts)),
    };
    match tls::look(&stream, first_by, notices).await? {
        Arrival::Tls => {
            let deadline = match may_be_plain {
                true => Instant::now() + shared.config.tls.handshake_timeout,
                false => deadline,
            };
            let shaken = tls::shake_hands(stream, Port::Tcp, tls, shared, deadline, notices);
            // On the heap: TLS would make every connection as much larger.
            let secured = Box::pin(shaken).await?;
            Ok(Socket::Tls(Box::new(TlsSocket::new(secured))))
        }
        Arrival::Plain if may_be_plain => Ok(Socket::Plain(stream)),
        Arrival::Plain => {
            shared.counters.rejected_plaintext.one();
            linger(stream).await;
            Err(Ended::HandshakeFailed)
        }
    }
}

/// Serves one connection of the HTTP door.
pub(crate) async fn serve_http(
    stream: TcpStream,
    peer: Peer,
    door: Arc<HttpDoor>,
    shared: Arc<Shared>,
    mut notices: Notices,
) -> Ended {
    let Ok(local) = stream.local_addr() else { return Ended::Broken };
    let local = local.ip().to_canonical();
    match &shared.tls {
        None => http::serve(stream, local, peer, &door, &shared, notices).await,
        Some(tls) => match secure_http(stream, tls, &shared, &mut notices).await {
            Ok(secured) => {
                Box::pin(http::serve(secured, local, peer, &door, &shared, notices)).await
            }
            Err(ended) => ended,
        },
    }
}

/// TLS for the HTTP door, which has no other way in.
async fn secure_http(
    mut stream: TcpStream,
    tls: &Tls,
    shared: &Shared,
    notices: &mut Notices,
) -> Result<TlsStream<TcpStream>, Ended> {
    let deadline = Instant::now() + shared.config.tls.handshake_timeout;
    let late = Some((deadline, &shared.counters.tls_timeouts));
    match tls::look(&stream, late, notices).await? {
        Arrival::Tls => {
            Box::pin(tls::shake_hands(stream, Port::Http, tls, shared, deadline, notices)).await
        }
        Arrival::Plain => {
            shared.counters.rejected_plaintext.one();
            // Fresh sockets take so little; who is gone is not told.
            let _ = stream.write_all(&http::speaks_tls()).await;
            linger(stream).await;
            Err(Ended::HandshakeFailed)
        }
    }
}

/// Until when a connection that has not sent a byte may be silent, and what counts it then.
fn idle_by(began: Instant, shared: &Shared) -> Option<(Instant, &Counter)> {
    let (config, counters) = (&shared.config, &shared.counters);
    let idle = (!config.idle_timeout.is_zero())
        .then_some((began + config.idle_timeout, &counters.idle_timeouts));
    let ready = (!shared.keys().is_open())
        .then_some((began + config.first_frame_timeout, &counters.first_frame_timeouts));
    ready.into_iter().chain(idle).min_by_key(|(deadline, _)| *deadline)
}

/// Reads what comes first.
async fn first_byte(
    wire: &mut Wire,
    shared: &Shared,
    ready_by: Option<Instant>,
    notices: &mut Notices,
) -> Result<u8, Ended> {
    let idle = shared.config.idle_timeout;
    let idle_by = (!idle.is_zero()).then(|| Instant::now() + idle);
    loop {
        tokio::select! {
            biased;
            readable = wire.socket.readable() => readable.map_err(|_| Ended::Broken)?,
            () = notices.drain() => return Err(Ended::Drained { idle: true }),
            () = until(ready_by), if ready_by.is_some() => {
                shared.counters.first_frame_timeouts.one();
                return Err(Ended::FirstFrameTimeout);
            }
            () = until(idle_by), if idle_by.is_some() => {
                shared.counters.idle_timeouts.one();
                return Err(Ended::IdleTimeout);
            }
        }
        match wire.fill(&shared.pool, true).await.map_err(|_| Ended::Broken)? {
            Fill::End => return Err(Ended::ByClient),
            Fill::Nothing => {}
            Fill::Bytes => {
                if let Some(first) = wire.desk().input.first().copied() {
                    return Ok(first);
                }
            }
        }
    }
}

/// Makes small answers leave at once, and peers that are gone be found. Connections have the options
/// of the listener that they come to: set there, they cost no connection a call.
fn set_options(listening: &TcpSocket) -> io::Result<()> {
    listening.set_nodelay(true)?;
    sockopt::set_socket_keepalive(listening, true)?;
    sockopt::set_tcp_keepidle(listening, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(listening, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(listening, KEEPALIVE_PROBES)?;
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(listening, UNCONFIRMED_MAX.as_millis() as u32)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_tells_the_door() {
        for first in 0..=u8::MAX {
            let expected = match first {
                0 | 1 => Door::Binary,
                0x16 => Door::Tls,
                b'\t' | b'\n' | b'\r' | b' '..=b'~' => Door::Line,
                _ => Door::None,
            };
            assert_eq!(door_of(first), expected, "{first:#04x}");
        }
    }

    #[tokio::test]
    async fn a_connection_has_the_options_of_its_listener() {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let client = TcpStream::connect(listener.addr()).await.unwrap();
        let (stream, _) = listener.socket.accept().await.unwrap();
        assert!(stream.nodelay().unwrap() && !client.nodelay().unwrap());
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&stream).unwrap(), KEEPALIVE_IDLE);
        assert_eq!(sockopt::tcp_keepintvl(&stream).unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(sockopt::tcp_keepcnt(&stream).unwrap(), KEEPALIVE_PROBES);
        #[cfg(target_os = "linux")]
        assert_eq!(
            u128::from(sockopt::tcp_user_timeout(&stream).unwrap()),
            UNCONFIRMED_MAX.as_millis()
        );
    }

    #[test]
    fn connections_come_at_their_rate_after_a_burst() {
        let start = Instant::now();
        assert!(Pace::new(0, 5, start).is_none());
        let mut pace = Pace::new(10, 3, start).unwrap();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let admitted: Vec<_> =
            [0, 0, 0, 0, 100, 100, 1_000, 1_000, 1_000, 1_000].map(|ms| pace.admits(at(ms))).into();
        let expected = [true, true, true, false, true, false, true, true, true, false];
        assert_eq!(admitted, expected);
    }
}
