//! The end of the HTTP door in order.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, timeout};

use super::queues::take;
use super::{Http, Place, config};
use crate::local;
use crate::running::{PATIENCE, start_on};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_ends_the_idle_at_once_and_lets_a_request_that_is_coming_be_answered() {
    let mut config = config();
    config.drain_timeout = PATIENCE;
    config.http.head_timeout = PATIENCE;
    let mut place = Place::with(config).await;
    let mut silent = place.client().await;
    let mut idle = place.client().await;
    assert_eq!(idle.get("/health").await.text(), "ok");
    let mut busy = place.client().await;
    let request = busy.request("POST", "/enqueue", "Expect: 100-continue\r\n", b"half, half");
    let (half, rest) = request.split_at(request.len() - 5);
    busy.say(half).await;
    // It is in the handler, which asks for the body.
    assert_eq!(busy.hears_head().await.status, 100);
    let began = Instant::now();
    place.server.shut_down();
    idle.hears_the_end().await;
    silent.hears_the_end().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    busy.say(rest).await;
    assert_eq!(busy.hears().await.status, 202);
    busy.hears_the_end().await;
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_live_on_through_a_drain_and_a_restart() {
    let place = Place::new().await;
    let mut client = place.client().await;
    client.ask("PUT", "/v1/queues/mail", b"").await.ok();
    let one = json!({"messages": [{"payload": "one"}]});
    client.post("/v1/queues/mail/messages", one).await.ok();
    let got = take(&mut client, "/v1/queues/mail/receive", json!({"lease_ms": 60000})).await;
    let Place { data, server } = place;
    local::stop(server).await;

    let broker = local::broker(&data.path().join("log"));
    let server = start_on(config(), broker.clone(), broker).await;
    let mut client = Http::connect(server.http).await;
    let again = take(&mut client, "/v1/queues/mail/receive", json!({})).await;
    assert_eq!(again, Vec::<serde_json::Value>::new(), "it is still leased");
    let acked = client.post("/v1/ack", json!({"tokens": [got[0]["token"]]})).await.ok();
    assert_eq!(acked["results"][0]["ok"], true, "{acked}");
    timeout(PATIENCE, local::stop(server)).await.expect("it stops");
}
