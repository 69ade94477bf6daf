//! Keys and values under `/v1`.

use serde_json::json;

use super::Place;
use super::client::{Heard, Http};

/// Sets a key to a body of that content type.
async fn put(client: &mut Http, path: &str, kind: &str, body: &[u8]) -> Heard {
    client.ask_with("PUT", path, &format!("Content-Type: {kind}\r\n"), body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_set_read_added_to_listed_and_removed() {
    let place = Place::new().await;
    let mut client = place.client().await;
    client.get("/v1/kv/motd").await.refuses(404, "not_found", "no such key");
    let set = put(&mut client, "/v1/kv/motd", "text/plain", "grüße".as_bytes()).await.ok();
    assert_eq!(set, json!({"revision": 1, "duplicate": false}));
    let got = client.get("/v1/kv/motd").await;
    assert_eq!((got.status, got.text()), (200, "grüße"));
    assert_eq!(got.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!((got.header("sluice-revision"), got.header("sluice-expires-at")), (Some("1"), None));
    // Raw and escaped names of keys are the same.
    put(&mut client, "/v1/kv/users%5Eeu%5E1", "application/json", b"{\"a\": 1.0}").await.ok();
    let got = client.get("/v1/kv/users^eu^1").await;
    assert_eq!(got.header("content-type"), Some("application/json"));
    assert_eq!(got.text(), "{\"a\": 1.0}", "as it was sent");
    put(&mut client, "/v1/kv/users%5Eeu%5E2?ttl_ms=60000", "image/png", b"\xff\x00").await.ok();
    let got = client.get("/v1/kv/users%5Eeu%5E2").await;
    assert_eq!(&got.body[..], b"\xff\x00");
    assert!(got.header("sluice-expires-at").is_some());
    let page = client.get("/v1/kv?prefix=users%5E&limit=1").await.ok();
    assert_eq!(page["keys"][0]["key"], "users^eu^1");
    assert_eq!(
        (&page["keys"][0]["kind"], &page["keys"][0]["value"]),
        (&json!("json"), &json!("{\"a\": 1.0}"))
    );
    assert_eq!(page["next"], "users^eu^1");
    let page = client.get("/v1/kv?prefix=users%5E&after=users%5Eeu%5E1").await.ok();
    assert_eq!(page["keys"][0]["value"], json!({"base64": "/wA="}));
    let names = client.get("/v1/kv?values=false").await.ok();
    assert_eq!(names["keys"].as_array().unwrap().len(), 3);
    assert_eq!(names["keys"][0].get("value"), None);
    let sum = client.post("/v1/kv/hits/increment", json!({"by": 5, "dedupe_id": "x"})).await.ok();
    assert_eq!(sum, json!({"value": 5, "revision": 4, "duplicate": false}));
    let again = client.post("/v1/kv/hits/increment", json!({"by": 5, "dedupe_id": "x"})).await.ok();
    assert_eq!(again, json!({"value": 5, "revision": 4, "duplicate": true}));
    let gone = client.ask("DELETE", "/v1/kv/motd", b"").await.ok();
    assert_eq!(gone["revision"], 5);
    client.ask("DELETE", "/v1/kv/motd", b"").await.refuses(404, "not_found", "no such key");
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_done_to_a_key_is_refused_and_says_why() {
    let place = Place::new().await;
    let mut client = place.client().await;
    put(&mut client, "/v1/kv/a?if_absent=true", "text/plain", b"1").await.ok();
    let put_a = async |client: &mut Http, query: &str, kind: &str, body: &[u8]| {
        put(client, &format!("/v1/kv/a{query}"), kind, body).await
    };
    put_a(&mut client, "?if_absent=true", "text/plain", b"2").await.refuses(
        409,
        "conflict",
        "revision is 1",
    );
    put_a(&mut client, "?if_revision=7", "text/plain", b"2").await.refuses(
        409,
        "conflict",
        "revision is 1",
    );
    put_a(&mut client, "?if_revision=1&if_absent=true", "text/plain", b"").await.refuses(
        422,
        "invalid",
        "never both",
    );
    put_a(&mut client, "?ttl_ms=0", "text/plain", b"").await.refuses(422, "invalid", "1 ms");
    put_a(&mut client, "?ttl=5", "text/plain", b"").await.refuses(400, "bad_request", "ttl_ms");
    put_a(&mut client, "", "application/json", b"{").await.refuses(422, "invalid", "json");
    put_a(&mut client, "", "text/plain", b"\xff").await.refuses(422, "invalid", "text");
    let large = vec![b'x'; (1 << 20) + 1];
    put_a(&mut client, "", "text/plain", &large).await.refuses(413, "too_large", "");
    let mut client = place.client().await;
    client.post("/v1/kv/a%5E/increment", json!({})).await.refuses(422, "invalid", "key:");
    put(&mut client, "/v1/kv/word", "text/plain", b"x").await.ok();
    client.post("/v1/kv/word/increment", json!({})).await.refuses(422, "invalid", "whole number");
    let delete = client.ask("DELETE", "/v1/kv/a?if_revision=9", b"").await;
    delete.refuses(409, "conflict", "revision is 1");
    client.get("/v1/watch?from=99").await.refuses(422, "invalid", "revision 2");
    place.stop().await;
}

/// The next event of a stream, silence left out.
async fn event(client: &mut Http) -> String {
    loop {
        let chunk = String::from_utf8(client.chunk().await.unwrap()).unwrap();
        if !chunk.starts_with(':') {
            return chunk;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_is_a_stream_of_events_that_resumes() {
    let place = Place::new().await;
    let (mut client, mut watcher) = (place.client().await, place.client().await);
    put(&mut client, "/v1/kv/n%5Ea", "text/plain", b"old").await.ok();
    let request = watcher.request("GET", "/v1/watch?prefix=n%5E", "", b"");
    watcher.say(&request).await;
    let head = watcher.hears_head().await;
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    put(&mut client, "/v1/kv/other", "text/plain", b"x").await.ok();
    put(&mut client, "/v1/kv/n%5Ea", "text/plain", b"new").await.ok();
    let put_event = event(&mut watcher).await;
    assert!(put_event.starts_with("id: 3\nevent: put\ndata: {"), "{put_event}");
    assert!(
        put_event.contains("\"key\":\"n^a\"") && put_event.contains("\"value\":\"new\""),
        "{put_event}"
    );
    client.ask("DELETE", "/v1/kv/n%5Ea", b"").await.ok();
    let del = event(&mut watcher).await;
    assert_eq!(
        del,
        "id: 4\nevent: del\ndata: {\"event\":\"del\",\"key\":\"n^a\",\"revision\":4}\n\n"
    );
    drop(watcher);
    let mut resumed = place.client().await;
    let request = resumed.request("GET", "/v1/watch?prefix=n%5E", "Last-Event-ID: 3\r\n", b"");
    resumed.say(&request).await;
    resumed.hears_head().await;
    assert_eq!(event(&mut resumed).await, del);
    place.stop().await;
}
