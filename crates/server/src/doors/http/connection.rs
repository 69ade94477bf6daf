//! Drives one connection: until its first request has come, then hyper between the socket's wrapper
//! and the service.

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::door::HttpDoor;
use super::exchange::Exchange;
use super::io::HttpIo;
use super::opening::{self, Opened};
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
    let exchange = Arc::new(Exchange::new(Arc::clone(shared), peer));
    let mut io = HttpIo::new(stream, Arc::clone(shared), Arc::clone(&exchange));
    let (ended, stream) = match opening::open(&mut io, door, shared, &mut notices).await {
        Ok(Opened::Request) => {
            let service = Service {
                door: Arc::clone(door),
                shared: Arc::clone(shared),
                exchange: Arc::clone(&exchange),
                peer,
                local,
                notices: Arc::new(notices.clone()),
            };
            // On the heap, because most of its size is not needed by who has asked nothing yet.
            Box::pin(drive(io, service, notices)).await
        }
        Ok(Opened::Ended) => (Ended::ByClient, io.into_stream()),
        Ok(Opened::Drained) => (Ended::Drained { idle: true }, io.into_stream()),
        Err(error) => (Ended::broken(&error), io.into_stream()),
    };
    // Ends the session: what was not written is given back.
    drop(exchange);
    linger(stream).await;
    ended
}

/// Has hyper serve requests until one side ends the connection.
async fn drive<S>(io: HttpIo<S>, service: Service, mut notices: Notices) -> (Ended, S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let http = &service.shared.config.http;
    let mut connection = http1::Builder::new()
        .max_buf_size(http.head_max + BEYOND_HEAD)
        .max_headers(http.headers_max)
        .serve_connection(TokioIo::new(io), service);
    // hyper is to take up the request that has come before it hears of a drain.
    let mut drained = false;
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
    let ended = match outcome {
        Ok(()) if drained => Ended::Drained { idle: true },
        Ok(()) => Ended::ByClient,
        Err(error) => Ended::broken(&error),
    };
    (ended, stream)
}
