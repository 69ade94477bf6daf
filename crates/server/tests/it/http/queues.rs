//! Queues and messages under `/v1`.

use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Heard, Http};
use super::{Place, config};

/// The messages that a receive brought.
pub(super) fn messages(heard: &Heard) -> Vec<Value> {
    heard.ok()["messages"].as_array().unwrap().clone()
}

pub(super) async fn take(client: &mut Http, path: &str, body: Value) -> Vec<Value> {
    messages(&client.post(path, body).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_are_made_changed_listed_counted_and_ended() {
    let place = Place::new().await;
    let mut client = place.client().await;
    let settings = json!({"settings": {"lease_ms": 60000, "overflow": "dead"}}).to_string();
    let made = client.ask("PUT", "/v1/queues/mail", settings.as_bytes()).await;
    assert_eq!(made.ok(), json!({"created": true}));
    assert_eq!(client.ask("PUT", "/v1/queues/mail", b"").await.ok(), json!({"created": false}));
    let other = json!({"settings": {"lease_ms": 1000}}).to_string();
    let differs = client.ask("PUT", "/v1/queues/mail", other.as_bytes()).await.ok();
    assert_eq!(differs["differs"][0], json!({"setting": "lease_ms", "is": 60000, "asked": 1000}));
    client.ask("PATCH", "/v1/queues/mail", other.as_bytes()).await.ok();
    let stats = client.get("/v1/queues/mail").await.ok();
    assert_eq!((&stats["name"], &stats["settings"]["lease_ms"]), (&json!("mail"), &json!(1000)));
    client.ask("PUT", "/v1/queues/a.b", b"{}").await.ok();
    client.ask("PUT", "/v1/queues/c", b"").await.ok();
    let list = client.get("/v1/queues?limit=2").await.ok();
    let names: Vec<_> = list["queues"].as_array().unwrap().iter().map(|q| &q["name"]).collect();
    assert_eq!((names, &list["next"]), (vec![&json!("a.b"), &json!("c")], &json!("c")));
    let rest = client.get("/v1/queues?after=c").await.ok();
    assert_eq!(rest["queues"][0]["name"], "mail");
    client.ask("DELETE", "/v1/queues/mail", b"").await.ok();
    client.get("/v1/queues/mail").await.refuses(404, "not_found", "no such queue");
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_taken_under_leases_that_tokens_settle_on_any_connection() {
    let place = Place::new().await;
    let mut client = place.client().await;
    client.ask("PUT", "/v1/queues/mail", b"").await.ok();
    let batch = json!({"messages": [
        {"payload": "one", "headers": {"a": "b"}, "keys": ["stripe:7"], "group": "eu", "cost": 2},
        {"payload": {"base64": "/wA="}, "headers": [["x", "1"], ["x", "2"]]},
        {"payload": "first", "priority": 9},
    ]});
    let taken = client.post("/v1/queues/mail/messages", batch).await.ok();
    assert_eq!(taken["messages"].as_array().unwrap().len(), 3);
    assert_eq!(
        (&taken["messages"][0]["matched"], &taken["messages"][0]["level"]),
        (&json!(1), &json!("sync"))
    );
    let got = take(&mut client, "/v1/queues/mail/receive", json!({"max": 10})).await;
    let payloads: Vec<_> = got.iter().map(|message| message["payload"].clone()).collect();
    assert_eq!(payloads, [json!("first"), json!("one"), json!({"base64": "/wA="})]);
    assert_eq!((&got[1]["headers"], &got[1]["keys"]), (&json!([["a", "b"]]), &json!(["stripe:7"])));
    assert_eq!(
        (&got[1]["group"], &got[1]["cost"], &got[1]["attempt"]),
        (&json!("eu"), &json!(2), &json!(1))
    );
    assert_eq!(got[2]["headers"], json!([["x", "1"], ["x", "2"]]));
    assert_eq!((&got[0]["topic"], &got[0]["sender"]), (&json!("mail"), &json!("anonymous")));
    let token = |at: usize| got[at]["token"].as_str().unwrap();
    let other = &mut place.client().await;
    let unknown = token(0).replace(&token(0)[48..], "0123456789abcdef");
    let acked = other.post("/v1/ack", json!({"tokens": [token(0), unknown]})).await.ok();
    assert_eq!(acked["results"][0], json!({"token": token(0), "ok": true}));
    let lost = &acked["results"][1];
    assert_eq!((&lost["ok"], &lost["error"]["code"]), (&json!(false), &json!("not_found")));
    let extended =
        other.post("/v1/extend", json!({"tokens": [token(1)], "by_ms": 5000})).await.ok();
    assert!(extended["deadline_at"].is_u64() && extended["results"][0]["ok"] == true);
    let nack = json!({"tokens": [token(1)], "outcome": "rejected", "note": "no such account"});
    other.post("/v1/nack", nack).await.ok();
    other.post("/v1/nack", json!({"tokens": [token(2)], "outcome": "released"})).await.ok();
    let dead = other.get("/v1/queues/mail/messages?state=dead").await.ok();
    let dead = &dead["messages"][0];
    assert_eq!(
        (&dead["dead_reason"], &dead["last_error"]),
        (&json!("rejected"), &json!("no such account"))
    );
    let redriven = other.post("/v1/queues/mail/redrive", json!({"reason": "rejected"})).await.ok();
    assert_eq!(redriven, json!({"messages": 1, "goes_on": false}));
    assert_eq!(take(other, "/v1/queues/mail/receive", json!({"max": 10})).await.len(), 2);
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_raw_body_is_a_message_and_headers_say_the_rest() {
    let place = Place::new().await;
    let mut client = place.client().await;
    client.ask("PUT", "/v1/queues/mail", b"").await.ok();
    let headers = "Sluice-Priority: 9\r\nSluice-Keys: a, b\r\nSluice-Key: c,d\r\nSluice-Group: eu\r\nSluice-Cost: 3\r\n\
        Sluice-Ttl-Ms: 60000\r\nSluice-Delay-Ms: 30000\r\nSluice-Dedupe-Id: 7\r\nSluice-Level: os\r\n\
        Sluice-Header-Tenant: 12\r\nContent-Type: image/png\r\n";
    let path = "/v1/queues/mail/messages/raw";
    let taken = client.ask_with("POST", path, headers, b"\xff\0").await.ok();
    let id = taken["messages"][0]["id"].as_str().unwrap().to_owned();
    let again = client.ask_with("POST", path, headers, b"\xff\0").await.ok();
    assert_eq!(
        (&again["messages"][0]["duplicate"], &again["messages"][0]["id"]),
        (&json!(true), &json!(id))
    );
    client.ask_with("POST", path, headers, b"other").await.refuses(409, "conflict", "");
    let message = client.get(&format!("/v1/queues/mail/messages/{id}")).await.ok();
    assert_eq!((&message["state"], &message["priority"]), (&json!("delayed"), &json!(9)));
    assert_eq!((&message["keys"], &message["cost"]), (&json!(["a", "b", "c,d"]), &json!(3)));
    let kept = json!([["tenant", "12"], ["content-type", "image/png"]]);
    let mut headers: Vec<_> = message["headers"].as_array().unwrap().clone();
    headers.sort_by_key(|header| header[0] != "tenant");
    assert_eq!((json!(headers), &message["payload_base64"]), (kept, &json!("/wA=")));
    let path = format!("/v1/queues/mail/messages/{id}");
    let moved = client.post(&format!("{path}/reschedule"), json!({"at_ms": 0})).await.ok();
    assert_eq!(moved, json!({}));
    client.post(&format!("{path}/cancel"), json!({})).await.refuses(409, "conflict", "");
    let gone = client.ask("DELETE", &path, b"").await.ok();
    assert_eq!(gone, json!({"messages": 1}));
    client.get(&path).await.refuses(404, "not_found", "");
    let wrong = client
        .ask_with("POST", "/v1/queues/mail/messages/raw", "Sluice-Prioriti: 1\r\n", b"")
        .await;
    wrong.refuses(400, "bad_request", "did you mean priority?");
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receive_waits_until_there_is_something() {
    let place = Place::new().await;
    let (mut waiting, mut client) = (place.client().await, place.client().await);
    client.ask("PUT", "/v1/queues/mail", b"").await.ok();
    let nothing = client.post("/v1/queues/mail/receive", json!({})).await.ok();
    assert_eq!(nothing, json!({"messages": []}));
    let body = json!({"messages": [{"payload": "later", "delay_ms": 60000}]});
    client.post("/v1/queues/mail/messages", body).await.ok();
    let nothing = client.post("/v1/queues/mail/receive", json!({"wait_ms": 20})).await.ok();
    let next = nothing["next_eligible_ms"].as_u64().unwrap();
    assert!((50_000..=60_000).contains(&next), "{next}");
    let wait = json!({"wait_ms": 20000, "max": 3}).to_string();
    let request = waiting.request("POST", "/v1/queues/mail/receive", "", wait.as_bytes());
    waiting.say(&request).await;
    while client.get("/v1/queues/mail").await.ok()["waiting"] != 1 {}
    let body = json!({"messages": [{"payload": "now"}]});
    client.post("/v1/queues/mail/messages", body).await.ok();
    assert_eq!(messages(&waiting.hears().await)[0]["payload"], "now");
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_before_the_answer_gives_its_messages_back_uncounted() {
    let place = Place::new().await;
    let mut client = place.client().await;
    client.ask("PUT", "/v1/queues/mail", b"").await.ok();
    let mut gone = place.client().await;
    let wait = json!({"wait_ms": 60000}).to_string();
    let request = gone.request("POST", "/v1/queues/mail/receive", "", wait.as_bytes());
    gone.say(&request).await;
    while client.get("/v1/queues/mail").await.ok()["waiting"] != 1 {}
    drop(gone);
    while client.get("/v1/queues/mail").await.ok()["waiting"] != 0 {}
    let body = json!({"messages": [{"payload": "x"}]});
    let id = client.post("/v1/queues/mail/messages", body).await.ok()["messages"][0]["id"].clone();
    // Much more than the kernel keeps for a reader that reads nothing.
    let large = json!({"messages": vec![json!({"payload": "y".repeat(100_000)}); 10]});
    for _ in 0..20 {
        client.post("/v1/queues/mail/messages", large.clone()).await.ok();
    }
    let mut deaf = place.client().await;
    let all = json!({"max": 1, "lease_ms": 600_000}).to_string();
    let request = deaf.request("POST", "/v1/queues/mail/receive", "", all.as_bytes());
    deaf.say(&request.repeat(201)).await;
    while client.get("/v1/queues/mail").await.ok()["counts"]["leased"] == 0 {}
    drop(deaf);
    let path = format!("/v1/queues/mail/messages/{}", id.as_str().unwrap());
    let leased = async {
        loop {
            // What was written stays leased; what was not is back, and nothing counts against it.
            let all = client.get("/v1/queues/mail/messages?limit=1000").await.ok();
            let all = all["messages"].as_array().unwrap().clone();
            if all.iter().any(|m| m["acquires"] == 1 && m["state"] == "ready") {
                return all;
            }
        }
    };
    let all = tokio::time::timeout(crate::running::PATIENCE, leased).await.unwrap();
    assert!(all.iter().all(|m| m["failures"] == 0 && m["releases"] == 0));
    assert_eq!(client.get(&path).await.ok()["failures"], 0);
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_in_a_request_is_named() {
    let place = Place::new().await;
    let mut client = place.client().await;
    client.ask("PUT", "/v1/queues/mail", b"").await.ok();
    #[rustfmt::skip]
    let cases = [
        ("POST", "/v1/queues/mail/messages", "{", 400, "bad_request", "the JSON is wrong"),
        ("POST", "/v1/queues/mail/messages", "[]", 400, "bad_request", "the request is an array, not an object"),
        ("POST", "/v1/queues/mail/messages", "{}", 400, "bad_request", "the field messages is missing"),
        ("POST", "/v1/queues/mail/messages", r#"{"messages": []}"#, 422, "invalid", "it must have 1 to 1000"),
        ("POST", "/v1/queues/mail/messages", r#"{"messages": [{"payload": 1}]}"#, 400, "bad_request", "messages[0]: payload is a number"),
        ("POST", "/v1/queues/mail/messages", r#"{"messages": [{"payload": "", "prioriti": 1}]}"#, 400, "bad_request", "did you mean priority?"),
        ("POST", "/v1/queues/mail/messages", r#"{"messages": [{"payload": "", "priority": 10}]}"#, 422, "invalid", "messages[0]: priority = 10 is outside 0 .. 9"),
        ("POST", "/v1/queues/mail/messages", r#"{"messages": [{"payload": {"base64": "!"}}]}"#, 422, "invalid", "messages[0]: payload"),
        ("POST", "/v1/queues/mail/messages", r#"{"messages": [{"payload": "", "headers": {"a": 1}}]}"#, 400, "bad_request", "headers is a number"),
        ("POST", "/v1/queues/a..b/messages", r#"{"messages": [{"payload": ""}]}"#, 422, "invalid", "empty token"),
        ("POST", "/v1/queues/nobody/messages", r#"{"messages": [{"payload": ""}]}"#, 404, "not_found", "no such queue"),
        ("POST", "/v1/queues/mail/receive", r#"{"max": 0}"#, 422, "invalid", "max = 0 is outside 1 .. 1000"),
        ("POST", "/v1/queues/mail/receive", r#"{"max": "1"}"#, 400, "bad_request", "max is a string, not a whole number"),
        ("POST", "/v1/queues/mail/receive", r#"{"wait_ms": 300001}"#, 422, "invalid", "wait_ms = 300001"),
        ("POST", "/v1/queues/mail/receive", r#"{"pattern": "a"}"#, 422, "invalid", "pattern"),
        ("POST", "/v1/ack", r#"{"tokens": ["x"]}"#, 422, "invalid", "64 hexadecimal digits"),
        ("POST", "/v1/ack", r#"{"tokens": "x"}"#, 400, "bad_request", "tokens is a string, not an array"),
        ("POST", "/v1/nack", r#"{"tokens": ["x"], "outcome": "lost"}"#, 422, "invalid", "64 hexadecimal"),
        ("POST", "/v1/extend", r#"{"tokens": ["x"], "by_m": 1}"#, 400, "bad_request", "did you mean by_ms?"),
        ("GET", "/v1/queues?limit=x", "", 400, "bad_request", "limit = \"x\" is not a whole number"),
        ("GET", "/v1/queues?limit=0", "", 422, "invalid", "limit = 0 is outside 1 .. 1000"),
        ("GET", "/v1/queues?limits=1", "", 400, "bad_request", "did you mean limit?"),
        ("GET", "/v1/queues/mail/messages?state=asleep", "", 422, "invalid", "state = \"asleep\" is not one of"),
        ("GET", "/v1/queues/mail/messages/x", "", 422, "invalid", "id = \"x\""),
        ("DELETE", "/v1/queues/mail?force=1", "", 400, "bad_request", "force = \"1\" is not true or false"),
        ("PUT", "/v1/queues/mail", r#"{"settings": {"lease": 1}}"#, 400, "bad_request", "did you mean lease_ms?"),
        ("PUT", "/v1/queues/mail", r#"{"name": "other"}"#, 400, "bad_request", "is there twice"),
        ("POST", "/v1/topics/a.*/messages", r#"{"messages": [{"payload": ""}]}"#, 422, "invalid", "wildcard"),
        ("PUT", "/v1/subscriptions/s", "{}", 400, "bad_request", "the field pattern is missing"),
        ("POST", "/v1/subscriptions/s/receive", "{}", 404, "not_found", "no such queue"),
        ("GET", "/v1/nothing", "", 404, "not_found", "nothing at this path"),
        ("GET", "/v1/ack", "", 405, "method_not_allowed", "other methods"),
        ("PATCH", "/v1/keys", "", 405, "method_not_allowed", "other methods"),
        ("GET", "/v1/keys", "", 422, "invalid", "keeps no keys"),
        ("POST", "/v1/backups", "", 422, "invalid", "no place for backups"),
    ];
    for (method, path, body, status, code, words) in cases {
        let heard = client.ask(method, path, body.as_bytes()).await;
        heard.refuses(status, code, words);
    }
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_answers_those_who_wait_and_refuses_what_is_new() {
    let mut config = config();
    config.drain_timeout = Duration::from_secs(10);
    let mut place = Place::with(config).await;
    let (mut waiting, mut client) = (place.client().await, place.client().await);
    client.ask("PUT", "/v1/queues/mail", b"").await.ok();
    let wait = json!({"wait_ms": 60000}).to_string();
    let request = waiting.request("POST", "/v1/queues/mail/receive", "", wait.as_bytes());
    waiting.say(&request).await;
    while client.get("/v1/queues/mail").await.ok()["waiting"] != 1 {}
    place.server.shut_down();
    assert_eq!(waiting.hears().await.ok(), json!({"messages": []}));
    waiting.hears_the_end().await;
    client.hears_the_end().await;
    place.stop().await;
}
