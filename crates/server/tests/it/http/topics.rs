//! Topics, durable subscriptions and streams.

use serde_json::{Value, json};

use super::Place;
use super::queues::take;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_durable_subscription_keeps_what_is_published_while_nobody_listens() {
    let place = Place::new().await;
    let mut client = place.client().await;
    let pattern = json!({"pattern": "orders.>"}).to_string();
    let path = "/v1/subscriptions/audit";
    client.ask("PUT", path, pattern.as_bytes()).await.ok();
    client.ask("PUT", path, pattern.as_bytes()).await.ok();
    let other = json!({"pattern": "other"}).to_string();
    client.ask("PUT", path, other.as_bytes()).await.refuses(409, "conflict", "");
    let body = json!({"messages": [{"payload": "a"}, {"payload": "b"}]});
    let taken = client.post("/v1/topics/orders.eu/messages", body.clone()).await.ok();
    assert_eq!(taken["messages"][1]["matched"], 1);
    let nobody = client.post("/v1/topics/nobody/messages", body).await.ok();
    assert_eq!(nobody["messages"][0]["matched"], 0);
    client.ask("POST", "/v1/topics/orders.us/messages/raw", b"c").await.ok();
    let list = client.get("/v1/subscriptions").await.ok();
    assert_eq!(
        (&list["queues"][0]["subscription"], &list["queues"][0]["pattern"]),
        (&json!("audit"), &json!("orders.>"))
    );
    let receive = "/v1/subscriptions/audit/receive";
    let got = take(&mut client, receive, json!({"max": 2})).await;
    assert_eq!((&got[0]["payload"], &got[1]["topic"]), (&json!("a"), &json!("orders.eu")));
    let rest = take(&mut client, receive, json!({"pattern": "orders.>", "wait_ms": 1000})).await;
    assert_eq!(rest[0]["payload"], "c");
    let tokens: Vec<&Value> = got.iter().chain(&rest).map(|message| &message["token"]).collect();
    let acked = client.post("/v1/ack", json!({"tokens": tokens})).await.ok();
    assert!(acked["results"].as_array().unwrap().iter().all(|one| one["ok"] == true), "{acked}");
    assert_eq!(client.get("/v1/subscriptions/audit").await.ok()["acked"], 3);
    client.ask("DELETE", "/v1/subscriptions/audit?force=true", b"").await.ok();
    client.get("/v1/subscriptions/audit").await.refuses(404, "not_found", "");
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_tells_what_is_published_until_it_is_closed() {
    let mut place = Place::new().await;
    let (mut listener, mut client) = (place.client().await, place.client().await);
    let request = listener.request("GET", "/v1/topics/orders.*/stream", "", b"");
    listener.say(&request).await;
    let head = listener.hears_head().await;
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    let body = json!({"messages": [{"payload": "line\nend"}, {"payload": {"base64": "/w=="}}]});
    client.post("/v1/topics/orders.eu/messages", body).await.ok();
    client.post("/v1/topics/other/messages", json!({"messages": [{"payload": "no"}]})).await.ok();
    let mut text = String::new();
    while text.matches("\n\n").count() < 2 {
        text += std::str::from_utf8(&listener.chunk().await.unwrap()).unwrap();
    }
    let events: Vec<Value> = text
        .trim_end()
        .split("\n\n")
        .map(|event| {
            let data = event.strip_prefix("event: message\ndata: ").unwrap();
            serde_json::from_str(data).unwrap()
        })
        .collect();
    assert_eq!(
        (&events[0]["payload"], &events[0]["topic"]),
        (&json!("line\nend"), &json!("orders.eu"))
    );
    assert_eq!((&events[1]["payload"], events[1].get("token")), (&json!({"base64": "/w=="}), None));
    let stats = place.server.fake.stats();
    assert_eq!(stats.subscriptions, 1);
    let mut second = place.client().await;
    let request = second.request("GET", "/v1/topics/x/stream", "", b"");
    second.say(&request).await;
    second.hears_head().await;
    drop(second);
    while place.server.fake.stats().subscriptions != 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.ask("HEAD", "/v1/topics/x/stream", b"").await.status, 405);
    place.server.shut_down();
    assert_eq!(listener.chunk().await, None, "a drain ends it in order");
    place.stop().await;
}
