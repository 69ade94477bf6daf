//! Codes that only a broker in trouble gives, over a real socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::json;
use sluice_broker::local::{Entropy, LocalBackend, LocalConfig};
use sluice_broker::{Broker, Memory};
use sluice_model::Timestamp;
use sluice_server::ServerError;
use sluice_wal::{Faults, SimulatedDisk};

use super::client::Http;
use super::queues::take;
use super::{Place, config};
use crate::fake::Fake;
use crate::running::{Running, start_on};

/// A server whose log is on a disk that does what a test wants.
pub(crate) async fn on(disk: &SimulatedDisk) -> Running<Broker> {
    let mut local = LocalConfig { replay_max: 64 << 10, ..LocalConfig::default() };
    local.wal.segment_bytes = 64 << 10;
    local.wal.record_max = 16 << 10;
    local.wal.frame_bytes = 8 << 10;
    local.wal.settlements_reserve = 128 << 10;
    local.engine.queue.max_message_bytes = 8 << 10;
    local.engine.unnamed.max_message_bytes = 8 << 10;
    let (now, entropy) = (Timestamp::from_millis(1), Entropy { log_id: 1, seed: 1 });
    let backend = LocalBackend::open(disk.clone(), &local, now, entropy, true).unwrap().0;
    let broker = Broker::new(backend);
    start_on(config(), broker.clone(), broker).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_sync_fails_may_have_happened() {
    let disk = SimulatedDisk::with_faults(1);
    let server = on(&disk).await;
    let mut client = Http::connect(server.http).await;
    assert_eq!(client.ask("POST", "/enqueue", b"safe").await.status, 202);
    disk.set_faults(Faults { sync: u32::MAX, ..Faults::default() });
    let heard = client.ask("POST", "/enqueue", b"in doubt").await;
    heard.refuses(500, "indeterminate", "the log has failed");
    let (outcome, _) = server.ended().await;
    assert!(matches!(outcome, Err(ServerError::Broker(_))), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_messages_and_lets_those_there_go() {
    let disk = SimulatedDisk::with_faults(1);
    disk.set_capacity(Some(8 << 20));
    let server = on(&disk).await;
    let mut client = Http::connect(server.http).await;
    assert_eq!(client.ask("POST", "/enqueue", b"before").await.status, 202);
    assert_eq!(client.get("/readyz").await.status, 200);
    disk.fill(0);
    let told = loop {
        let heard = client.get("/readyz?verbose").await;
        if heard.status == 503 {
            break heard;
        }
    };
    assert!(told.text().contains("disk: failed: "), "{}", told.text());
    client.ask("POST", "/enqueue", b"no").await.refuses(507, "no_space", "free space");
    assert_eq!(client.get("/dequeue").await.body, b"before");
    disk.free();
    while client.get("/readyz").await.status != 200 {}
    assert_eq!(client.ask("POST", "/enqueue", b"after").await.status, 202);
    crate::local::stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_of_memory_it_is_overloaded_and_not_ready() {
    let (fake, used) = (Fake::new(), Arc::new(AtomicU64::new(0)));
    let told = Arc::clone(&used);
    let memory = Memory::new(100, move || told.load(Relaxed));
    let broker = Broker::new(fake.clone()).with_memory(memory);
    let server = start_on(config(), broker, fake).await;
    let mut client = Http::connect(server.http).await;
    assert_eq!(client.get("/readyz").await.text(), "ok");
    used.store(85, Relaxed);
    let heard = client.ask("POST", "/v1/topics/x/messages/raw", b"no").await;
    heard.refuses(503, "overloaded", "short of memory");
    assert!(heard.header("retry-after").is_some());
    let heard = client.get("/readyz?verbose").await;
    assert_eq!(heard.status, 503);
    assert!(heard.text().contains("memory: failed: "), "{}", heard.text());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_another_has_now_is_lost() {
    let place = Place::new().await;
    let mut client = place.client().await;
    client.ask("PUT", "/v1/queues/mail", b"").await.ok();
    let body = json!({"messages": [{"payload": "x"}]});
    client.post("/v1/queues/mail/messages", body).await.ok();
    let first = take(&mut client, "/v1/queues/mail/receive", json!({})).await;
    let old = json!({"tokens": [first[0]["token"]]});
    let release = json!({"tokens": [first[0]["token"]], "outcome": "released"});
    client.post("/v1/nack", release).await.ok();
    let second = take(&mut client, "/v1/queues/mail/receive", json!({})).await;
    for path in ["/v1/ack", "/v1/nack", "/v1/extend"] {
        let mut request = old.clone();
        if path == "/v1/extend" {
            request["by_ms"] = 1_000.into();
        }
        let heard = client.post(path, request).await.ok();
        let error = &heard["results"][0]["error"];
        assert_eq!((&error["code"], &error["status"]), (&json!("lease_lost"), &json!(409)));
    }
    let good = json!({"tokens": [second[0]["token"]]});
    assert_eq!(client.post("/v1/ack", good).await.ok()["results"][0]["ok"], true);
    place.stop().await;
}
