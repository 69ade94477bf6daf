//! The HTTP door behind TLS.

use tokio::task::JoinSet;

use super::{Secured, shake};
use crate::http::client::Http;
use crate::http::openmetrics::Page;

#[tokio::test]
async fn what_was_put_comes_back_over_one_connection() {
    let place = Secured::new().await;
    let stream = shake(place.server.http, place.client()).await.unwrap();
    let mut http = Http::over(stream, place.server.http);
    for bytes in [0, 1, 16_384, 100_000] {
        let body: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
        assert_eq!(http.ask("POST", "/enqueue", &body).await.status, 202);
        let got = http.get("/dequeue").await;
        assert_eq!(got.status, 200);
        assert!(got.body == body, "{bytes} bytes");
    }
    assert_eq!(http.get("/dequeue").await.status, 204);
    // What was dequeued is acknowledged: it left through TLS.
    let length = http.get("/metrics").await.json();
    assert_eq!(length["queue_length"], 0, "{length}");
    drop(http);
    place.stop().await;
}

#[tokio::test]
async fn metrics_say_when_the_certificate_ends_that_is_shown_now() {
    let place = Secured::new().await;
    let stream = shake(place.server.http, place.client()).await.unwrap();
    let mut http = Http::over(stream, place.server.http);
    let mut ends = async || {
        let accept = "Accept: application/openmetrics-text; version=1.0.0\r\n";
        let page = http.ask_with("GET", "/metrics", accept, b"").await;
        Page::read(page.text()).value("sluice_tls_certificate_not_after_seconds")
    };
    assert!(ends().await > 4e9, "long after now");
    place.files.show(&place.authority.vouched_for("localhost"));
    place.server.certificates.reload().unwrap();
    assert_eq!(ends().await, 978_307_200.0, "the first second of 2001");
    place.stop().await;
}

#[tokio::test]
async fn a_certificate_is_replaced_under_load_without_a_failed_request() {
    let place = Secured::new().await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut clients = JoinSet::new();
    for kept in [true, true, false, false] {
        let (addr, config, stopped) = (place.server.http, place.client(), stopped.clone());
        clients.spawn(async move {
            let connect = || async {
                // Both certificates are the authority's: which one it is shows below.
                let stream = shake(addr, config.clone()).await.unwrap();
                Http::over(stream, addr)
            };
            let (mut http, mut asked) = (connect().await, 0);
            while !*stopped.borrow() {
                if !kept {
                    http = connect().await;
                }
                assert_eq!(http.ask("POST", "/enqueue", b"x").await.status, 202);
                asked += 1;
            }
            asked
        });
    }
    let mut shown = place.authority.vouches_for("localhost");
    for _ in 0..20 {
        shown = place.authority.vouches_for("localhost");
        place.files.show(&shown);
        place.server.certificates.reload().unwrap();
        // Shown at once to who comes now.
        let stream = shake(place.server.http, place.client()).await.unwrap();
        assert_eq!(stream.get_ref().1.peer_certificates().unwrap(), [shown.cert_der.clone()]);
    }
    // A broken file keeps the one before.
    place.files.write("key.pem", "no key");
    let error = place.server.certificates.reload().unwrap_err();
    assert!(error.to_string().contains("key.pem holds no private key"), "{error}");
    let stream = shake(place.server.addr, place.client()).await.unwrap();
    assert_eq!(stream.get_ref().1.peer_certificates().unwrap(), [shown.cert_der]);
    stop.send_replace(true);
    let asked: u64 = clients.join_all().await.into_iter().sum();
    drop(stream);
    let counters = place.stop().await;
    assert_eq!(counters.certificate_reloads, 20);
    assert_eq!(counters.http_enqueues, asked);
}
