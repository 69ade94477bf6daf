//! Watches of keys by frames of their own.

use serde_json::json;
use sluice_model::{Revision, WatchEvent};
use sluice_protocol::binary::v2::{Cancel, FRAME_MAX_MIN, ServerFrame, WatchRef};
use sluice_server::Config;

use super::client::Client;
use crate::keys::key;
use crate::local::{broker, broker_with, start, stop};
use crate::running::{config, start_on};

/// All under `n^`, from now on.
const BELOW: WatchRef<'_> = WatchRef { keys: "n^", below: true, from: None, credit: 1_000 };

async fn set(client: &mut Client, key: &str, value: &str) -> u64 {
    let said = client.controls("kv.set", &json!({"key": key, "value": value}).to_string()).await;
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    said["revision"].as_u64().unwrap()
}

/// A change in short: what, of which key, and its revision.
fn short(event: &WatchEvent) -> String {
    match event {
        WatchEvent::Put(entry) => {
            let value = String::from_utf8_lossy(&entry.value.bytes).into_owned();
            format!("put {} {value} {}", entry.key, entry.revision.0)
        }
        WatchEvent::Deleted { key, revision } => format!("del {key} {}", revision.0),
        WatchEvent::Expired { key, revision } => format!("expire {key} {}", revision.0),
        WatchEvent::Gap { resumed_at } => format!("gap {}", resumed_at.0),
    }
}

fn all_short(events: &[WatchEvent]) -> Vec<String> {
    events.iter().map(short).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_pushed_in_order_and_resume_from_a_revision() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path()).await;
    let (mut watcher, mut writer) =
        (Client::greeted(server.addr).await, Client::greeted(server.addr).await);
    set(&mut writer, "n^a", "old").await;
    let watching = watcher.watches(BELOW).await;
    assert_eq!(watching.revision, Revision(1));
    set(&mut writer, "n^a", "new").await;
    set(&mut writer, "other", "x").await;
    writer.controls("kv.delete", r#"{"key":"n^a"}"#).await;
    writer.controls("kv.set", r#"{"key":"n^b","value":"x","ttl_ms":20}"#).await;
    let got = watcher.gets_changes(watching.consumer, 4).await;
    let told = ["put n^a new 2", "del n^a 4", "put n^b x 5", "expire n^b 6"];
    assert_eq!(all_short(&got), told);
    let WatchEvent::Put(entry) = &got[2] else { panic!("{got:?}") };
    assert!(entry.expires_at.is_some());
    drop(watcher);

    let mut again = Client::greeted(server.addr).await;
    let resumed = again.watches(WatchRef { from: Some(Revision(4)), ..BELOW }).await;
    let got = again.gets_changes(resumed.consumer, 3).await;
    assert_eq!(all_short(&got), told[1..]);
    // Other requests go on beside it, and a key alone is no namespace.
    let one = WatchRef { keys: "n^", below: false, ..BELOW };
    again.says(|out| one.put(out, 13).unwrap()).await;
    assert_eq!(again.hears().await.error().0, 422);
    let future = WatchRef { from: Some(Revision(99)), ..BELOW };
    again.says(|out| future.put(out, 13).unwrap()).await;
    assert_eq!(again.hears().await.error().0, 422);
    again.fences().await;
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_is_pushed_than_there_is_credit_for_and_nothing_behind_a_cancel() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path()).await;
    let (mut watcher, mut writer) =
        (Client::greeted(server.addr).await, Client::greeted(server.addr).await);
    let consumer = watcher.watches(WatchRef { credit: 2, ..BELOW }).await.consumer;
    for value in ["1", "2", "3", "4"] {
        set(&mut writer, "n^a", value).await;
    }
    let got = watcher.gets_changes(consumer, 2).await;
    assert_eq!(all_short(&got), ["put n^a 1 1", "put n^a 2 2"]);
    watcher.fences().await;
    watcher.gives_credit(consumer, 1).await;
    assert_eq!(all_short(&watcher.gets_changes(consumer, 1).await), ["put n^a 3 3"]);
    watcher.says(|out| Cancel { consumer }.put(out, 9)).await;
    watcher.hears_ok(9).await;
    watcher.gives_credit(consumer, 1).await;
    assert_eq!(watcher.hears().await.error().0, 404);
    assert_eq!(server.fake.stats().watches, 0);
    // One that waits for something is cancelled likewise.
    let consumer = watcher.watches(BELOW).await.consumer;
    watcher.says(|out| Cancel { consumer }.put(out, 9)).await;
    watcher.hears_ok(9).await;
    set(&mut writer, "n^a", "5").await;
    watcher.fences().await;
    assert_eq!(server.fake.stats().watches, 0);
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_forgotten_or_fits_no_frame_is_a_gap() {
    let data = tempfile::tempdir().unwrap();
    let broker = broker_with(data.path(), |local| local.engine.watch_history = 2);
    let server = start_on(config(), broker.clone(), broker).await;
    let mut writer = Client::greeted(server.addr).await;
    let mut watcher = Client::with_frame_max(server.addr, FRAME_MAX_MIN).await;
    let consumer = watcher.watches(WatchRef { credit: 0, ..BELOW }).await.consumer;
    for value in ["1", "2", "3", "4"] {
        set(&mut writer, "n^a", value).await;
    }
    watcher.gives_credit(consumer, 9).await;
    let got = watcher.gets_changes(consumer, 3).await;
    assert_eq!(all_short(&got), ["gap 3", "put n^a 3 3", "put n^a 4 4"]);
    // From then on nothing is missing: who lost the connection there resumes so.
    let early = WatchRef { from: Some(Revision(2)), ..BELOW };
    watcher.says(|out| early.put(out, 14).unwrap()).await;
    assert_eq!(watcher.hears().await.error().0, 410);
    set(&mut writer, "n^a", &"x".repeat(FRAME_MAX_MIN as usize)).await;
    set(&mut writer, "n^a", "short").await;
    let got = watcher.gets_changes(consumer, 2).await;
    assert_eq!(all_short(&got), ["gap 6", "put n^a short 6"]);
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_read_a_key_watches_it_neither() {
    let data = tempfile::tempdir().unwrap();
    let broker = broker(data.path());
    let with = |grants: &[&str]| vec![key("a", &["secret"], grants)];
    let keys = Some(with(&["kv_read:n^", "publish:>"]));
    let server = start_on(Config { keys, ..config() }, broker.clone(), broker).await;
    let mut client = Client::with_key(server.addr, "secret").await;
    for keys in ["", "m^", "n"] {
        client.says(|out| WatchRef { keys, ..BELOW }.put(out, 7).unwrap()).await;
        assert_eq!(client.hears().await.error().0, 403, "{keys:?}");
    }
    client.watches(BELOW).await;
    client.fences().await;
    server.ring.replace(with(&["publish:>"])).unwrap();
    assert!(client.hears_or_end().await.is_none(), "what it watches is no longer its to see");
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_pushes_no_more_changes() {
    let data = tempfile::tempdir().unwrap();
    let mut server = start(data.path()).await;
    let mut client = Client::greeted(server.addr).await;
    client.watches(BELOW).await;
    server.shut_down();
    assert!(matches!(client.hears().await.read(), ServerFrame::Going(_)));
    assert!(client.hears_or_end().await.is_none());
    stop(server).await;
}
