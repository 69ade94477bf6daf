//! The first second of a connection where TLS is configured.
//!
//! ```text
//! first byte 0x16 --> handshake --in time--> TLS
//!    | else                '--else--> alert, closed, counted by reason
//!    '--> plain
//! ```

use std::io;

use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::rustls::Error;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use super::Tls;
use crate::counters::{Counter, Counters};
use crate::doors::{Ended, Notices, Shared, linger, until};

/// The first byte of every handshake.
const HANDSHAKE: u8 = 0x16;

/// At which port a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    Tcp,
    Http,
}

/// How a client begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    Tls,
    Plain,
}

/// Waits for the first byte and leaves it where it is. One that comes too late is counted as the
/// deadline says.
///
/// # Errors
/// None came in time, or the connection ended.
pub(crate) async fn look(
    stream: &TcpStream,
    deadline: Option<(Instant, &Counter)>,
    notices: &mut Notices,
) -> Result<Arrival, Ended> {
    let mut first = [0];
    tokio::select! {
        biased;
        peeked = stream.peek(&mut first) => match peeked {
            Ok(0) => Err(Ended::ByClient),
            Ok(_) if first == [HANDSHAKE] => Ok(Arrival::Tls),
            Ok(_) => Ok(Arrival::Plain),
            Err(_) => Err(Ended::Broken),
        },
        () = notices.drain() => Err(Ended::Drained { idle: true }),
        late = late(deadline) => {
            late.one();
            Err(Ended::HandshakeFailed)
        }
    }
}

/// Waits until the deadline and says what it counts as.
async fn late(deadline: Option<(Instant, &Counter)>) -> &Counter {
    match deadline {
        Some((deadline, counter)) => {
            tokio::time::sleep_until(deadline).await;
            counter
        }
        None => std::future::pending().await,
    }
}

/// Makes a TLS connection of one that begins like one.
///
/// # Errors
/// It came to nothing; the client was told why where that is possible.
pub(crate) async fn shake_hands(
    stream: TcpStream,
    port: Port,
    tls: &Tls,
    shared: &Shared,
    deadline: Instant,
    notices: &mut Notices,
) -> Result<TlsStream<TcpStream>, Ended> {
    let identity = tls.0.load_full();
    let acceptor = match port {
        Port::Tcp => &identity.tcp,
        Port::Http => &identity.http,
    };
    let counters = &shared.counters;
    tokio::select! {
        biased;
        outcome = acceptor.accept(stream).into_fallible() => match outcome {
            Ok(secured) => {
                counters.tls_handshakes.one();
                Ok(secured)
            }
            Err((error, stream)) => {
                reason(&error, counters).one();
                debug!(%error, "the handshake failed");
                // Or the alert would be thrown away.
                linger(stream).await;
                Err(Ended::HandshakeFailed)
            }
        },
        () = notices.drain() => Err(Ended::Drained { idle: true }),
        () = until(Some(deadline)) => {
            counters.tls_timeouts.one();
            Err(Ended::HandshakeFailed)
        }
    }
}

/// What a failed handshake counts as.
fn reason<'a>(error: &io::Error, counters: &'a Counters) -> &'a Counter {
    let error = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
    match error {
        None => &counters.tls_broken,
        Some(Error::NoCertificatesPresented) => &counters.tls_no_client_certificate,
        Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => {
            &counters.tls_incompatible
        }
        Some(Error::InvalidCertificate(_)) => &counters.tls_bad_client_certificate,
        Some(Error::AlertReceived(_)) => &counters.tls_refused_by_client,
        Some(_) => &counters.tls_malformed,
    }
}
