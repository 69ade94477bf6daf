//! SIGHUP brings another certificate while many ask.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;

use rcgen::{CertifiedKey, KeyPair};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::asking::Asking;
use crate::reload::Followed;
use crate::setup::Place;
use crate::tls::{SETTINGS, certified, show};

const CLIENTS: usize = 8;
const SWAPS: usize = 6;
/// Requests that are answered between two swaps.
const BETWEEN: usize = 100;

/// A client that trusts all of these.
fn trusting(certificates: &[CertifiedKey<KeyPair>]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certified in certificates {
        roots.add(certified.cert.der().clone()).unwrap();
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

type Secured = StreamOwned<ClientConnection, TcpStream>;

fn connect(addr: SocketAddr, config: &Arc<ClientConfig>) -> Secured {
    let name = ServerName::try_from("localhost").unwrap();
    let tls = ClientConnection::new(Arc::clone(config), name).unwrap();
    StreamOwned::new(tls, TcpStream::connect(addr).unwrap())
}

/// Posts and takes messages: over one connection, or over a new one each time.
fn ask(
    addr: SocketAddr,
    config: &Arc<ClientConfig>,
    keeps: bool,
    over: &AtomicBool,
    answered: &AtomicUsize,
) {
    let mut kept = Asking::over(connect(addr, config));
    while !over.load(Relaxed) {
        let (status, _) = kept.ask("POST", "/enqueue", b"hello").unwrap();
        assert_eq!(status, 202);
        let (status, _) = kept.ask("GET", "/dequeue", b"").unwrap();
        assert_eq!(status, 200);
        answered.fetch_add(2, Relaxed);
        if !keeps {
            kept = Asking::over(connect(addr, config));
        }
    }
}

#[test]
fn no_request_fails_while_sighup_swaps_the_certificate() {
    let place = Place::new();
    let certificates = [certified(), certified()];
    show(&place, &certificates[0]);
    let mut broker = Followed::start(&place, SETTINGS);
    let addr = broker.http_addr();
    let config = trusting(&certificates);
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let (config, over, answered) = (&config, &over, &answered);
        let asking: Vec<_> = (0..CLIENTS)
            .map(|n| scope.spawn(move || ask(addr, config, n % 2 == 0, over, answered)))
            .collect();
        let more = || {
            let enough = answered.load(Relaxed) + BETWEEN;
            while answered.load(Relaxed) < enough && asking.iter().all(|one| !one.is_finished()) {
                thread::yield_now();
            }
        };
        for swap in 1..=SWAPS {
            more();
            show(&place, &certificates[swap % 2]);
            broker.hang_up();
            broker.until("certificate reloaded");
        }
        more();
        over.store(true, Relaxed);
    });
    // Who comes now is shown the last one.
    let mut last = connect(addr, &config);
    last.conn.complete_io(&mut last.sock).unwrap();
    let shown = last.conn.peer_certificates().unwrap();
    assert_eq!(shown[0], *certificates[SWAPS % 2].cert.der());
}
