//! What handshakes come to, and what each failure is counted as.

use std::time::Duration;

use sluice_server::{CountersSnapshot, TlsError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::{ClientConfig, version};

use super::certificates::{Authority, Certified, provider};
use super::{Secured, client, shake};
use crate::client::Client;
use crate::http::client::Http;
use crate::running::PATIENCE;

/// Fails the test unless the failures were these.
#[track_caller]
fn counted(counters: &CountersSnapshot, expected: &[(&str, u64)]) {
    let failures: Vec<_> = counters
        .iter()
        .filter(|(name, value)| {
            *value > 0 && (name.starts_with("tls_") || *name == "rejected_plaintext")
        })
        .collect();
    assert_eq!(failures, expected);
}

/// Waits until the other side ends the connection; what it says until then.
async fn end_of(stream: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut said = Vec::new();
    let reading = timeout(PATIENCE, stream.read_to_end(&mut said));
    reading.await.expect("the server closes").expect("it closes cleanly");
    said
}

#[tokio::test]
async fn both_versions_are_spoken_on_both_ports() {
    let place = Secured::new().await;
    for version in [&version::TLS13, &version::TLS12] {
        let config = client(&place.authority, &[version]);
        let stream = shake(place.server.addr, config.clone()).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
        Client::over(stream).greets().await.fences().await;
        let stream = shake(place.server.http, config).await.unwrap();
        let mut http = Http::over(stream, place.server.http);
        assert_eq!(http.get("/health").await.text(), "ok");
    }
    counted(&place.stop().await, &[("tls_handshakes", 4)]);
}

#[tokio::test]
async fn a_protocol_of_another_kind_ends_with_the_handshake() {
    let place = Secured::new().await;
    let offering = |protocol: &str| {
        let mut config = place.client();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        config
    };
    let stream = shake(place.server.http, offering("http/1.1")).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    shake(place.server.http, offering("h2")).await.unwrap_err();
    // A browser that was led to the TCP port.
    shake(place.server.addr, offering("http/1.1")).await.unwrap_err();
    let _open = shake(place.server.addr, offering("sluice")).await.unwrap();
    place.counts("tls_handshakes", 2).await;
    drop(stream);
    counted(&place.stop().await, &[("tls_handshakes", 2), ("tls_incompatible", 2)]);
}

#[tokio::test]
async fn a_client_that_is_silent_or_stops_midway_is_cut_in_time() {
    let patience = Duration::from_millis(100);
    let place = Secured::with(|config, _| config.tls.handshake_timeout = patience).await;
    let mut silent = TcpStream::connect(place.server.http).await.unwrap();
    assert_eq!(end_of(&mut silent).await, b"");
    for addr in [place.server.http, place.server.addr] {
        let mut midway = TcpStream::connect(addr).await.unwrap();
        // The head of a record that does not follow.
        midway.write_all(&[0x16, 3, 1, 2, 0]).await.unwrap();
        let mut said = Vec::new();
        // Closed with bytes unread, so perhaps by a reset.
        let _ = timeout(PATIENCE, midway.read_to_end(&mut said)).await.expect("the server closes");
        assert_eq!(said, b"");
    }
    counted(&place.stop().await, &[("tls_timeouts", 3)]);
}

#[tokio::test]
async fn a_plaintext_client_of_the_http_port_is_told_and_closed() {
    let place = Secured::new().await;
    let mut http = Http::connect(place.server.http).await;
    http.get("/health").await.refuses(400, "bad_request", "https");
    assert_eq!(end_of(&mut http.stream).await, b"");
    counted(&place.stop().await, &[("rejected_plaintext", 1)]);
}

#[tokio::test]
async fn what_is_no_handshake_is_answered_by_an_alert() {
    let place = Secured::new().await;
    for addr in [place.server.http, place.server.addr] {
        let mut garbage = TcpStream::connect(addr).await.unwrap();
        garbage.write_all(&[0x16, 3, 1, 0, 6, 1, 0, 0, 2, 0xff, 0xff]).await.unwrap();
        let alert = end_of(&mut garbage).await;
        assert_eq!(alert.first(), Some(&0x15), "{alert:?}");
        // Gone before it has said anything useful.
        let mut gone = TcpStream::connect(addr).await.unwrap();
        gone.write_all(&[0x16, 3, 1]).await.unwrap();
        gone.shutdown().await.unwrap();
        end_of(&mut gone).await;
    }
    counted(&place.stop().await, &[("tls_broken", 2), ("tls_malformed", 2)]);
}

#[tokio::test]
async fn a_client_that_does_not_trust_the_certificate_is_counted() {
    let place = Secured::new().await;
    let stranger = Authority::new("stranger");
    let error = shake(place.server.addr, client(&stranger, &[&version::TLS13])).await.unwrap_err();
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    place.counts("tls_refused_by_client", 1).await;
    counted(&place.stop().await, &[("tls_refused_by_client", 1)]);
}

/// A client's settings that trust the authority and show a certificate.
fn showing(place: &Secured, certified: &Certified) -> ClientConfig {
    let (chain, key) = certified.shown();
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .with_root_certificates(place.authority.roots())
        .with_client_auth_cert(chain, key)
        .unwrap()
}

#[tokio::test]
async fn where_clients_have_to_show_a_certificate_no_other_is_let_in() {
    let clients = Authority::new("clients");
    let pem = clients.pem();
    let place = Secured::with(|config, files| {
        files.write("clients.pem", &pem);
        config.tls.client_ca = files.path("clients.pem");
    })
    .await;
    let (good, late) = (clients.vouches_for("worker"), clients.vouched_for("worker"));
    let strange = Authority::new("stranger").vouches_for("worker");
    for addr in [place.server.addr, place.server.http] {
        let stream = shake(addr, showing(&place, &good)).await.unwrap();
        if addr == place.server.http {
            assert_eq!(Http::over(stream, addr).get("/health").await.text(), "ok");
        } else {
            Client::over(stream).greets().await.fences().await;
        }
        for refused in [place.client(), showing(&place, &late), showing(&place, &strange)] {
            // In TLS 1.3 the client is done first and hears of it at its first read.
            if let Ok(mut stream) = shake(addr, refused).await {
                let mut said = Vec::new();
                let heard = timeout(PATIENCE, stream.read_to_end(&mut said)).await.unwrap();
                let error = heard.unwrap_err().to_string();
                assert!(error.contains("alert"), "{error}");
            }
        }
    }
    let expected = [
        ("tls_handshakes", 2),
        ("tls_no_client_certificate", 2),
        ("tls_bad_client_certificate", 4),
    ];
    counted(&place.stop().await, &expected);
}

#[tokio::test]
async fn files_that_can_not_be_served_with_are_named() {
    let (authority, files) = (Authority::new("authority"), super::Files::new());
    let (one, other) = (authority.vouches_for("localhost"), authority.vouches_for("localhost"));
    files.show(&one);
    files.config().check().unwrap();

    let said = || files.config().check().unwrap_err();
    files.write("key.pem", &other.key);
    assert!(matches!(said(), TlsError::WrongKey { .. }), "{}", said());
    files.write("key.pem", &one.cert);
    assert!(
        said().to_string().ends_with("key.pem holds no private key without a passphrase in PEM")
    );
    files.write("key.pem", &one.key.replace("\n-----END", "!\n-----END"));
    assert!(matches!(said(), TlsError::Malformed { .. }), "{}", said());
    std::fs::remove_file(files.path("key.pem")).unwrap();
    assert!(matches!(said(), TlsError::Read { .. }), "{}", said());
    files.show(&one);
    files.write("cert.pem", "");
    assert!(said().to_string().ends_with("cert.pem holds no certificate in PEM"));
    files.show(&one);
    let mut config = files.config();
    config.client_ca = files.path("key.pem");
    let error = config.check().unwrap_err();
    assert!(error.to_string().ends_with("key.pem holds no certificate in PEM"), "{error}");
}
