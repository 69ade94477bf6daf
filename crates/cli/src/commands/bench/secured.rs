//! TLS between the loads and a broker: they talk in the clear with a port of this process, which
//! passes everything on.
//!
//! So every figure has the work of both sides' TLS in it, and one hop over loopback more.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;

use sluice_client::Tls;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};

use crate::failure::Failure;

/// Bytes that are passed on at a time.
const PASSED: usize = 64 << 10;

/// Opens the port, once it is known that the broker can be reached by TLS. It is there as long as the
/// process.
pub(super) fn pass_on(tls: Tls, server: String) -> Result<SocketAddr, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::other)?;
    let (listener, addr) = runtime.block_on(async {
        drop(tls.open(&server).await?);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(Failure::other)?;
        let addr = listener.local_addr().map_err(Failure::other)?;
        Ok::<_, Failure>((listener, addr))
    })?;
    let passing = async move {
        while let Ok((near, _)) = listener.accept().await {
            tokio::spawn(pass(near, tls.clone(), server.clone()));
        }
    };
    thread::Builder::new()
        .name("tls".to_owned())
        .spawn(move || runtime.block_on(passing))
        .map_err(Failure::other)?;
    Ok(addr)
}

/// Passes one connection on until a side ends it, which the other side hears of.
async fn pass(mut near: TcpStream, tls: Tls, server: String) {
    let Ok(mut far) = tls.open(&server).await else { return };
    let _ = near.set_nodelay(true);
    let _ = copy_bidirectional_with_sizes(&mut near, &mut far, PASSED, PASSED).await;
}
