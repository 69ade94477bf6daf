//! Clients that mean harm, or do it.

use std::time::Duration;

use super::{Place, config};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_be_read_in_two_ways_is_refused_and_the_connection_ends() {
    let place = Place::new().await;
    #[rustfmt::skip]
    let forms = [
        "POST /enqueue HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /enqueue HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "POST /enqueue HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "POST /enqueue HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1, 1\r\n\r\nx",
        "POST /enqueue HTTP/1.1\r\nHost: localhost\r\nContent-Length: +1\r\n\r\nx",
        "POST /enqueue HTTP/1.1\r\nHost: localhost\r\nContent-Length : 1\r\n\r\nx",
        "POST /enqueue HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST /enqueue HTTP/1.1\r\nHost: localhost\r\nX: y\r\n z\r\nContent-Length: 0\r\n\r\n",
        "POST /enqueue HTTP/1.1\nHost: localhost\nContent-Length: 0\n\n",
        "GET /health HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        "GET /health HTTP/1.1\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: localhost\r\nX: \0\r\n\r\n",
        "GET /health HTTP/3.0\r\nHost: localhost\r\n\r\n",
        "G\u{c0}T /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "\r\n\r\nhello\r\n\r\n",
    ];
    for form in forms {
        let mut client = place.client().await;
        client.say(form.as_bytes()).await;
        let heard = client.hears().await;
        heard.refuses(400, "bad_request", "");
        client.hears_the_end().await;
    }
    // The one before is answered first.
    let mut client = place.client().await;
    let good = client.request("GET", "/health", "", b"");
    client.say(&[&good[..], forms[0].as_bytes()].concat()).await;
    assert_eq!(client.hears().await.text(), "ok");
    client.hears().await.refuses(400, "bad_request", "a length and a transfer coding");
    client.hears_the_end().await;
    assert_eq!(place.client().await.get("/dequeue").await.status, 204, "nothing got through");
    let counters = place.stop().await;
    assert_eq!(counters.http_malformed, forms.len() as u64 + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_that_are_malformed_end_the_request() {
    let place = Place::new().await;
    for chunks in ["5\nhello\r\n0\r\n\r\n", "5\r\nhelloX0\r\n\r\n", "x\r\n", "-1\r\n"] {
        let mut client = place.client().await;
        let head =
            "POST /enqueue HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.say(&[head, chunks].concat().into_bytes()).await;
        client.hears().await.refuses(400, "bad_request", "malformed");
    }
    assert_eq!(place.client().await.get("/dequeue").await.status, 204, "nothing got through");
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_are_too_large_are_refused() {
    let place = Place::new().await;
    let long = format!("X: {}\r\n", "y".repeat(17 << 10));
    let many = "X: y\r\n".repeat(100);
    for headers in [long, many] {
        let mut client = place.client().await;
        let heard = client.ask_with("GET", "/health", &headers, b"").await;
        heard.refuses(413, "too_large", "the head of the request");
    }
    assert_eq!(place.stop().await.http_heads_too_large, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_drips_is_answered_408() {
    let mut config = config();
    config.http.head_timeout = Duration::from_millis(200);
    let place = Place::with(config).await;
    let mut silent = place.client().await;
    let mut half = place.client().await;
    half.say(b"GET /health HTTP/1.1\r\nHost: loc").await;
    let mut second = place.client().await;
    assert_eq!(second.get("/health").await.status, 200);
    second.say(b"G").await;
    for client in [&mut silent, &mut half, &mut second] {
        client.hears().await.refuses(408, "timeout", "did not come in time");
        client.hears_the_end().await;
    }
    assert_eq!(place.stop().await.http_heads_too_slow, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_drips_is_answered_408() {
    let mut config = config();
    config.http.body_grace = Duration::from_millis(200);
    let place = Place::with(config).await;
    let mut client = place.client().await;
    let head = "POST /enqueue HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc";
    client.say(head.as_bytes()).await;
    client.hears().await.refuses(408, "timeout", "did not come in time");
    client.hears_the_end().await;
    assert_eq!(place.stop().await.http_bodies_too_slow, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_asks_nothing_more_is_closed_without_a_word() {
    let mut config = config();
    config.http.idle_timeout = Duration::from_millis(200);
    let place = Place::with(config).await;
    let mut client = place.client().await;
    assert_eq!(client.get("/health").await.status, 200);
    client.hears_the_end().await;
    assert_eq!(place.stop().await.idle_timeouts, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_hosts_and_pages_are_refused() {
    let mut config = config();
    config.http.allowed_hosts = vec!["broker.example.org".to_owned()];
    let place = Place::with(config).await;
    for (host, good) in [
        ("localhost", true),
        ("broker.example.org:80", true),
        ("evil.example", false),
        ("localhost.evil.example", false),
    ] {
        let mut client = place.client().await;
        let head = format!("GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n");
        client.say(head.as_bytes()).await;
        let heard = client.hears().await;
        match good {
            true => assert_eq!(heard.status, 200),
            false => heard.refuses(421, "misdirected", "not this one"),
        }
    }
    let mut client = place.client().await;
    client.say(b"GET http://evil.example/health HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    client.hears().await.refuses(421, "misdirected", "not this one");
    let mut client = place.client().await;
    for headers in ["Origin: http://evil.example\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
        for (method, path) in [("POST", "/enqueue"), ("GET", "/dequeue"), ("POST", "/clear")] {
            let heard = client.ask_with(method, path, headers, b"").await;
            heard.refuses(403, "forbidden", "other sites");
        }
        assert_eq!(client.ask_with("GET", "/health", headers, b"").await.status, 200);
    }
    let own = format!("Origin: http://{}\r\nSec-Fetch-Site: same-origin\r\n", place.server.http);
    assert_eq!(client.ask_with("POST", "/enqueue", &own, b"").await.status, 202);
    let counters = place.stop().await;
    assert_eq!((counters.http_foreign_hosts, counters.http_foreign_origins), (3, 6));
}
