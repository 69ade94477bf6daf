//! Drives one connection: hyper between the socket's wrapper and the service.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::debug;

use super::door::HttpDoor;
use super::exchange::Exchange;
use super::io::HttpIo;
use super::service::Service;
use crate::doors::{Ended, Notices, Peer, Shared, linger};

/// How much more hyper may have read and not understood than a head may have: ours is the bound
/// that is met first.
const BEYOND_HEAD: usize = 16 << 10;

/// Serves a client until one side ends it. `local` is the address that it came to.
pub(crate) async fn serve<S>(
    stream: S,
    local: IpAddr,
    peer: Peer,
    door: &Arc<HttpDoor>,
    shared: &Arc<Shared>,
    mut notices: Notices,
) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    shared.counters.http_connections.one();
    let _open = shared.requests.connection(door.name());
    let http = &shared.config.http;
    let exchange = Arc::new(Exchange::new(Arc::clone(shared), peer));
    let io = HttpIo::new(stream, Arc::clone(shared), Arc::clone(&exchange));
    let service = Service {
        door: Arc::clone(door),
        shared: Arc::clone(shared),
        exchange: Arc::clone(&exchange),
        peer,
        local,
        notices: Arc::new(notices.clone()),
    };
    let mut connection = http1::Builder::new()
        .max_buf_size(http.head_max + BEYOND_HEAD)
        .max_headers(http.headers_max)
        .serve_connection(TokioIo::new(io), service);
    let mut drained = notices.now().draining;
    if drained {
        Pin::new(&mut connection).graceful_shutdown();
    }
    let outcome = loop {
        tokio::select! {
            biased;
            outcome = poll_fn(|context| connection.poll_without_shutdown(context)) => break outcome,
            () = notices.drain(), if !drained => {
                drained = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    let stream = connection.into_parts().io.into_inner().into_stream();
    // Ends the session: what was not written is given back.
    drop(exchange);
    let ended = match outcome {
        Ok(()) if drained => Ended::Drained { idle: true },
        Ok(()) => Ended::ByClient,
        Err(error) => {
            debug!(%error, "connection broke");
            Ended::Broken
        }
    };
    linger(stream).await;
    ended
}
