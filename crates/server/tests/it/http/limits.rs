//! Limits, pauses and explain under `/v1`.

use serde_json::json;

use super::Place;
use super::queues::take;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_set_listed_changed_and_taken_away() {
    let place = Place::new().await;
    let mut client = place.client().await;
    let put = |body: serde_json::Value| body.to_string();
    let stripe = put(json!({"key": "stripe:*", "rate": "5/s", "burst": 2}));
    let path = "/v1/limits/stripe";
    assert_eq!(client.ask("PUT", path, stripe.as_bytes()).await.ok(), json!({}));
    let other = put(json!({"key": "stripe:*", "window": {"max": 9, "length_ms": 1000}}));
    let replaced = client.ask("PUT", path, other.as_bytes()).await.ok();
    assert_eq!(replaced["replaced"]["rate"], "5/s");
    let calls = put(json!({"queue": "calls.>", "concurrency": 3}));
    client.ask("PUT", "/v1/limits/calls", calls.as_bytes()).await.ok();
    let page = client.get("/v1/limits?limit=1").await.ok();
    assert_eq!(page["limits"][0]["queue"], "calls.>");
    let next = page["next"].as_str().unwrap().replace(' ', "%20").replace('>', "%3E");
    let rest = client.get(&format!("/v1/limits?after={next}")).await.ok();
    assert_eq!(rest["limits"][0]["window"], "9/s");
    assert_eq!(client.get("/v1/limits/stripe/keys").await.ok(), json!({"keys": []}));
    let tie = put(json!({"queue": "calls.*", "concurrency": 1}));
    let tied = client.ask("PUT", "/v1/limits/calls", tie.as_bytes()).await;
    tied.refuses(422, "invalid", "as specific as queue calls.>");
    let none = client.ask("PUT", "/v1/limits/calls", b"{}").await;
    none.refuses(422, "invalid", "none of rate, window and concurrency");
    let gone = client.ask("DELETE", "/v1/limits/stripe?key=stripe:*", b"").await.ok();
    assert_eq!(gone, json!({"limits": 1}));
    assert_eq!(client.ask("DELETE", path, b"").await.ok(), json!({"limits": 0}));
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_queue_hands_out_nothing_and_says_why() {
    let place = Place::new().await;
    let mut client = place.client().await;
    client.ask("PUT", "/v1/queues/calls", b"").await.ok();
    let body = json!({"messages": [{"payload": "x", "keys": ["tenant:7"], "group": "eu"}]});
    let taken = client.post("/v1/queues/calls/messages", body).await.ok();
    let pause = json!({"for_ms": 60_000, "reason": "deploy"});
    let paused = client.post("/v1/queues/calls/pause", pause).await.ok();
    assert_eq!(paused["reason"], "deploy");
    let heard = client.post("/v1/queues/calls/receive", json!({})).await.ok();
    assert!(heard["next_eligible_ms"].as_u64().unwrap() > 50_000, "{heard}");
    let id = taken["messages"][0]["id"].as_str().unwrap();
    for path in [
        "/v1/queues/calls/explain".to_owned(),
        "/v1/queues/calls/explain?group=eu".to_owned(),
        "/v1/queues/calls/explain?key=tenant:7".to_owned(),
        format!("/v1/queues/calls/messages/{id}/explain"),
    ] {
        let why = client.get(&path).await.ok();
        assert_eq!(why["deliverable"], false, "{path} {why}");
        assert_eq!(why["reasons"][0]["why"], "deploy", "{path} {why}");
    }
    let resume = client.post("/v1/queues/calls/resume", json!({})).await.ok();
    assert_eq!(resume, json!({"was_paused": true}));
    let taken = take(&mut client, "/v1/queues/calls/receive", json!({})).await;
    assert_eq!(taken.len(), 1);
    let weight = json!({"group": "eu", "weight": 3});
    assert_eq!(client.post("/v1/queues/calls/weigh", weight).await.ok(), json!({}));
    client.get("/v1/queues/nowhere/explain").await.refuses(404, "not_found", "no such queue");
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_throttled_goes_back_uncounted_and_pauses_its_key() {
    let place = Place::new().await;
    let mut client = place.client().await;
    client.ask("PUT", "/v1/queues/calls", b"").await.ok();
    let body = json!({"messages": [{"payload": "x", "keys": ["tenant:7", "b"]}]});
    client.post("/v1/queues/calls/messages", body).await.ok();
    let taken = take(&mut client, "/v1/queues/calls/receive", json!({})).await;
    let tokens = json!([taken[0]["token"]]);
    let wrong = json!({"tokens": tokens, "outcome": "throttled", "delay_ms": 5});
    client.post("/v1/nack", wrong).await.refuses(422, "invalid", "delay_ms");
    let nack = json!({"tokens": tokens, "outcome": "throttled", "retry_after_ms": 60_000});
    assert_eq!(client.post("/v1/nack", nack).await.ok()["results"][0]["ok"], true);
    let id = taken[0]["id"].as_str().unwrap();
    let info = client.get(&format!("/v1/queues/calls/messages/{id}")).await.ok();
    assert_eq!((&info["state"], &info["failures"]), (&json!("ready"), &json!(0)));
    assert_eq!(info["last_change"], "throttled");
    let resume = json!({"key": "tenant:7"});
    let resumed = client.post("/v1/queues/calls/resume", resume).await.ok();
    assert_eq!(resumed, json!({"was_paused": true}));
    place.stop().await;
}
