//! Which requests begin, wait, and are refused, and how fast they may come.

use std::future::Future;
use std::time::{Duration, Instant};

use serde_json::json;
use sluice_server::{AdmissionConfig, Config, RateLimit};

use super::client::{Heard, Http};
use super::{Place, config};
use crate::running::{PATIENCE, Running, start};

/// The fake broker never answers this.
const FOREVER: &str = "/v1/topics/x/messages/raw";

fn admitting(admission: AdmissionConfig) -> Config {
    Config { admission, ..config() }
}

fn places(workers: usize, queue_size: usize, parked_max: usize) -> Config {
    admitting(AdmissionConfig { workers, queue_size, parked_max, ..AdmissionConfig::default() })
}

fn client_limit(limit: RateLimit) -> AdmissionConfig {
    AdmissionConfig { client: limit, ..AdmissionConfig::default() }
}

/// How many are at work, wait and are parked.
fn where_they_are<B>(server: &Running<B>) -> (usize, usize, usize) {
    let figures = server.intake.figures();
    (figures.working, figures.waiting, figures.parked)
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let all = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.unwrap_or_else(|_| panic!("{what}"));
}

async fn posts(client: &mut Http, path: &str) {
    let request = client.request("POST", path, "", b"hello");
    client.say(&request).await;
}

/// Asks until a limit refuses.
async fn until_limited<F: Future<Output = Heard>>(mut ask: impl FnMut() -> F) -> Heard {
    for _ in 0..10_000 {
        let heard = ask().await;
        if heard.status == 429 {
            return heard;
        }
        assert_eq!(heard.status, 204);
    }
    panic!("nothing is refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_all_at_work_and_the_queue_full_the_next_is_refused_with_its_body_unread() {
    let server = start(places(1, 1, 10)).await;
    let mut at_work = Http::connect(server.http).await;
    posts(&mut at_work, FOREVER).await;
    server.fake.submitted(1).await;
    let mut waits = Http::connect(server.http).await;
    posts(&mut waits, FOREVER).await;
    until("one waits", || where_they_are(&server) == (1, 1, 0)).await;
    for _ in 0..3 {
        let mut refused = Http::connect(server.http).await;
        let head = "POST /enqueue HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n";
        refused.say(head.as_bytes()).await;
        let heard = refused.hears().await;
        heard.refuses(503, "overloaded", "the queue in front of them is full");
        assert_eq!(heard.header("connection"), Some("close"));
        assert_eq!(heard.header("retry-after"), Some("1"));
        refused.hears_the_end().await;
    }
    // Whatever makes room or tells how things stand is served all the same.
    let mut exempt = Http::connect(server.http).await;
    for path in ["/health", "/livez", "/readyz", "/v1/openapi.json"] {
        assert_eq!(exempt.get(path).await.status, 200, "{path}");
    }
    for path in ["/v1/ack", "/v1/nack", "/v1/extend"] {
        exempt.post(path, json!({"tokens": ["x"]})).await.refuses(422, "invalid", "token");
    }
    for path in ["/metrics", "/v1/keys", "/v1/backups"] {
        assert_ne!(exempt.get(path).await.status, 503, "{path}");
    }
    // Who leaves makes room for who waits.
    drop(at_work);
    until("who waited is at work", || where_they_are(&server) == (1, 0, 0)).await;
    drop(waits);
    until("all are gone", || where_they_are(&server) == (0, 0, 0)).await;
    assert_eq!(server.stop().await.rejected_full, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_poll_a_stream_and_a_body_that_drips_give_their_place_to_others() {
    let place = Place::with(places(1, 1, 3)).await;
    let mut client = place.client().await;
    client.ask("PUT", "/v1/queues/mail", b"").await.ok();
    let wait = json!({"wait_ms": 60000}).to_string();
    let mut polling = place.client().await;
    let poll = polling.request("POST", "/v1/queues/mail/receive", "", wait.as_bytes());
    polling.say(&poll).await;
    until("one polls", || where_they_are(&place.server) == (0, 0, 1)).await;
    let mut listening = place.client().await;
    let listen = listening.request("GET", "/v1/topics/x/stream", "", b"");
    listening.say(&listen).await;
    assert_eq!(listening.hears_head().await.status, 200);
    let mut dripping = place.client().await;
    let head = "POST /enqueue HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhello";
    dripping.say(head.as_bytes()).await;
    until("all are parked", || where_they_are(&place.server) == (0, 0, 3)).await;

    assert_eq!(client.ask("POST", "/enqueue", b"hello").await.status, 202);
    let refused = client.post("/v1/queues/mail/receive", json!({"wait_ms": 60000})).await;
    refused.refuses(503, "overloaded", "too many requests wait for something");
    let queue = client.get("/v1/queues/mail").await.ok();
    assert_eq!(queue["waiting"], 1, "what was refused waits no more");
    let refused = client.get("/v1/topics/y/stream").await;
    refused.refuses(503, "overloaded", "too many requests wait for something");

    dripping.say(b" body").await;
    assert_eq!(dripping.hears().await.status, 202);
    client.post("/v1/queues/mail/messages", json!({"messages": [{"payload": "x"}]})).await.ok();
    assert_eq!(polling.hears().await.ok()["messages"][0]["payload"], "x");
    drop(listening);
    until("all are gone", || where_they_are(&place.server) == (0, 0, 0)).await;
    assert_eq!(place.stop().await.rejected_parked, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_ask_without_end_take_turns_and_none_is_refused() {
    let admission = AdmissionConfig { turns: 1, ..AdmissionConfig::default() };
    let place = Place::with(admitting(admission)).await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let mut client = place.client().await;
        clients.spawn(async move {
            for _ in 0..10 {
                assert_eq!(client.ask("POST", "/enqueue", b"hello").await.status, 202);
            }
        });
    }
    let mut consumer = place.client().await;
    for _ in 0..10 {
        consumer.post("/v1/ack", json!({"tokens": ["x"]})).await.refuses(422, "invalid", "token");
    }
    clients.join_all().await;
    // Who has closed waits for its turn to be read to the end.
    until("nobody waits", || place.server.intake.waiting_for_turns() == 0).await;
    let counters = place.stop().await;
    assert!(counters.http_turns_awaited > 0);
    assert_eq!((counters.http_enqueues, counters.rejected_full), (1_000, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_over_its_limit_is_told_when_to_come_again_and_others_go_on() {
    let limit = RateLimit { rate: 1, burst: 2, ..RateLimit::default() };
    let mut config = admitting(client_limit(limit));
    config.allowed_api_keys = vec!["one".into(), "two".into()];
    let place = Place::with(config).await;
    let addr = place.server.http;
    let client = &tokio::sync::Mutex::new(Http::with_key(addr, "one").await);
    let ask = || async move { client.lock().await.get("/dequeue").await };
    let heard = until_limited(ask).await;
    heard.refuses(429, "rate_limited", "too many requests");
    assert_eq!(heard.header("retry-after"), Some("1"));
    let after = heard.json()["error"]["retry_after_ms"].as_u64().unwrap();
    assert!((1..=1_000).contains(&after), "{after}");
    // The same connection is good for what is not limited.
    let mut client = client.lock().await;
    client.post("/v1/ack", json!({"tokens": ["x"]})).await.refuses(422, "invalid", "token");
    assert_eq!(client.get("/health").await.status, 200);
    let mut other = Http::with_key(addr, "two").await;
    assert_eq!(other.get("/dequeue").await.status, 204);
    let unlimited = AdmissionConfig::default();
    place.server.intake.change(&unlimited).unwrap();
    for _ in 0..20 {
        assert_eq!(client.get("/dequeue").await.status, 204);
    }
    let wrong = AdmissionConfig { workers: 0, ..unlimited };
    assert!(place.server.intake.change(&wrong).is_err());
    assert_eq!(place.stop().await.rate_limited, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_of_all_together_counts_every_client() {
    let global = RateLimit { rate: 1, burst: 3, ..RateLimit::default() };
    let place = Place::with(admitting(AdmissionConfig { global, ..Default::default() })).await;
    let addr = place.server.http;
    let ask = || async move { Http::connect(addr).await.get("/dequeue").await };
    until_limited(ask).await.refuses(429, "rate_limited", "too many requests");
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_counts_as_its_messages() {
    let global = RateLimit { rate: 1, burst: 1_000, ..RateLimit::default() };
    let place = Place::with(admitting(AdmissionConfig { global, ..Default::default() })).await;
    let mut client = Http::connect(place.server.http).await;
    let batch = json!({"messages": vec![json!({"payload": "x"}); 400]});
    let path = "/v1/topics/mail/messages";
    client.post(path, batch.clone()).await.ok();
    client.post(path, batch.clone()).await.ok();
    // As many as are left come through only if minutes have passed.
    client.post(path, batch).await.refuses(429, "rate_limited", "too many requests");
    assert_eq!(client.get("/dequeue").await.status, 204);
    assert_eq!(place.stop().await.rate_limited, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaky_bucket_delays_and_a_drain_ends_the_delay() {
    let delay_max = Duration::from_secs(100);
    let limit = RateLimit { rate: 50, burst: 1, delay_max, delayed_max: 100 };
    let mut place = Place::with(admitting(client_limit(limit))).await;
    let mut client = place.client().await;
    let began = Instant::now();
    for _ in 0..5 {
        assert_eq!(client.get("/dequeue").await.status, 204);
    }
    assert!(began.elapsed() >= Duration::from_millis(79), "{:?}", began.elapsed());
    // From now on it takes long, and no worker is kept for that.
    let slower = RateLimit { rate: 1, burst: 1, ..limit };
    let slower = AdmissionConfig { workers: 1, ..client_limit(slower) };
    place.server.intake.change(&slower).unwrap();
    let mut delayed = Vec::new();
    for _ in 0..30 {
        let mut client = place.client().await;
        let request = client.request("GET", "/dequeue", "", b"");
        client.say(&request).await;
        delayed.push(client);
    }
    until("they are delayed", || place.server.intake.figures().parked > 20).await;
    assert_eq!(client.get("/health").await.status, 200);
    place.server.shut_down();
    delayed.last_mut().unwrap().hears().await.refuses(503, "shutting_down", "draining");
    let counters = place.stop().await;
    assert!(counters.rate_delayed >= 24, "{counters:?}");
    assert_eq!(counters.rate_limited, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_request_that_drips_in_is_served_and_so_is_what_comes_behind_it() {
    let place = Place::with(config()).await;
    let mut client = place.client().await;
    let first = client.request("POST", "/enqueue", "", b"hello");
    let (last, rest) = first.split_last().unwrap();
    client.say(b"\r\n").await;
    for byte in rest {
        client.say(&[*byte]).await;
    }
    let second = client.request("GET", "/dequeue", "", b"");
    client.say(&[&[*last], &second[..]].concat()).await;
    assert_eq!(client.hears().await.status, 202);
    assert_eq!(client.hears().await.text(), "hello");
    // More than hyper reads at a time, all at once.
    let mut client = place.client().await;
    let large = vec![b'x'; 100_000];
    let request = client.request("POST", "/enqueue", "", &large);
    client.say(&request).await;
    assert_eq!(client.hears().await.status, 202);
    assert_eq!(client.get("/dequeue").await.body, large);
    place.stop().await;
}
