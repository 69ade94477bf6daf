//! Metrics as Prometheus gets them, from the listener for them and from the HTTP door.

use serde_json::{Value, json};
use tokio::time::timeout;

use super::client::{Heard, Http};
use super::openmetrics::Page;
use super::{Place, config};
use crate::client::Client;
use crate::running::PATIENCE;

const OPENMETRICS: &str = "Accept: application/openmetrics-text; version=1.0.0\r\n";

async fn heard(place: &Place, accept: &str) -> Heard {
    let mut watcher = Http::connect(place.server.metrics).await;
    watcher.ask_with("GET", "/metrics", accept, b"").await
}

async fn page(place: &Place) -> Page {
    let heard = heard(place, OPENMETRICS).await;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!((heard.status, heard.header("content-type")), (200, Some(kind)));
    Page::read(heard.text())
}

/// Waits until a page is as it should be.
async fn page_where(place: &Place, is_good: impl Fn(&Page) -> bool) -> Page {
    let asking = async {
        loop {
            let page = page(place).await;
            if is_good(&page) {
                return page;
            }
        }
    };
    timeout(PATIENCE, asking).await.expect("the page comes to say so")
}

/// Takes a message and nacks it so.
async fn nack(client: &mut Http, outcome: &str) {
    let taken = client.post("/v1/queues/jobs/receive", json!({})).await.ok();
    let token = &taken["messages"][0]["token"];
    let nacked = client.post("/v1/nack", json!({"tokens": [token], "outcome": outcome})).await.ok();
    assert_eq!(nacked["results"][0]["ok"], true, "{nacked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_is_counted_where_it_belongs() {
    let place = Place::new().await;
    let before = page(&place).await;
    let mut client = place.client().await;
    for _ in 0..3 {
        assert_eq!(client.ask("POST", "/enqueue", b"12345").await.status, 202);
    }
    assert_eq!(client.get("/dequeue").await.text(), "12345");
    client.ask("PUT", "/v1/queues/jobs", br#"{"settings": {"max_messages": 4}}"#).await.ok();
    let later = json!({"payload": "x", "delay_ms": 60_000});
    let messages =
        json!({"messages": [{"payload": "x"}, {"payload": "x"}, {"payload": "x"}, later]});
    client.post("/v1/queues/jobs/messages", messages.clone()).await.ok();
    client.post("/v1/queues/jobs/messages", messages).await.refuses(429, "queue_full", "");
    for outcome in ["failed", "released", "rejected"] {
        nack(&mut client, outcome).await;
    }
    client.post("/v1/queues/jobs/receive", json!({"lease_ms": 60_000})).await.ok();
    client.get("/nothing").await.refuses(404, "not_found", "");

    let moved = |page: &Page, name: &str| page.value(name) - before.value(name);
    let acked = |page: &Page| moved(page, "sluice_messages_acked_total") == 1.0;
    let after = page_where(&place, acked).await;
    for (name, by) in [
        ("sluice_messages_published_total", 7.0),
        ("sluice_messages_delivered_total", 5.0),
        ("sluice_messages_nacked_total{kind=\"failed\"}", 1.0),
        ("sluice_messages_nacked_total{kind=\"released\"}", 1.0),
        ("sluice_messages_nacked_total{kind=\"rejected\"}", 1.0),
        ("sluice_messages_dead_total{reason=\"rejected\"}", 1.0),
        ("sluice_messages_dead_total{reason=\"corrupt\"}", 0.0),
        ("sluice_requests_total{door=\"http\",outcome=\"rejected_full\"}", 1.0),
        ("sluice_requests_total{door=\"http\",outcome=\"error\"}", 1.0),
        ("sluice_requests_total{door=\"http\",outcome=\"processed\"}", 13.0),
        ("sluice_requests_total{door=\"binary\",outcome=\"processed\"}", 0.0),
        ("sluice_connections_opened_total{door=\"http\"}", 1.0),
    ] {
        assert_eq!(moved(&after, name), by, "{name}");
    }
    let of_jobs = |state| format!("sluice_queue_messages{{queue=\"jobs\",state=\"{state}\"}}");
    let by_state = ["ready", "delayed", "leased", "dead"].map(|state| after.value(&of_jobs(state)));
    assert_eq!(by_state.iter().sum::<f64>(), 4.0, "{by_state:?}");
    assert_eq!((by_state[2], by_state[3]), (1.0, 1.0), "{by_state:?}");
    let bytes = "sluice_queue_messages_bytes{queue=\"default\",state=\"ready\"}";
    assert!(after.value(bytes) >= 10.0);
    for (queue, state) in [("default", "ready"), ("jobs", "leased")] {
        let name = format!("sluice_queue_oldest_seconds{{queue=\"{queue}\",state=\"{state}\"}}");
        assert!((0.0..20.0).contains(&after.value(&name)), "{name}");
    }
    assert_eq!(after.of("sluice_queue_oldest_seconds").count(), 2 + usize::from(by_state[0] > 0.0));
    assert!(moved(&after, "sluice_log_sync_duration_seconds_count") >= 1.0);
    assert!(moved(&after, "sluice_log_records_total") >= 7.0);
    assert!(after.value("process_resident_memory_bytes") > 1e6);
    assert!(after.value("process_open_fds") > 5.0);
    assert_eq!(after.value("sluice_ready"), 1.0);
    for (name, value) in after.counters() {
        assert!(value >= before.value(name), "{name}");
    }
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_requests_are_counted_each_by_itself() {
    let place = Place::new().await;
    let mut client = place.client().await;
    for (name, scope, rate) in [("front", "client", "1/h"), ("all", "global", "1000/s")] {
        let limit = json!({"scope": scope, "rate": rate}).to_string();
        client.ask("PUT", &format!("/v1/limits/{name}"), limit.as_bytes()).await.ok();
    }
    client.get("/v1/queues").await.ok();
    for _ in 0..2 {
        let heard = client.get("/v1/queues").await;
        heard.refuses(429, "rate_limited", "too many requests");
        assert!(heard.header("retry-after").unwrap().parse::<u64>().unwrap() > 3_000);
    }
    let page = page(&place).await;
    let refused = |limit| page.value(&format!("sluice_limit_requests_refused_total{{{limit}}}"));
    assert_eq!(refused("limit=\"front\",scope=\"client\""), 2.0);
    assert_eq!(refused("limit=\"all\",scope=\"global\""), 0.0);
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_and_subscriptions_go_and_what_was_counted_stays() {
    let place = Place::new().await;
    let mut client = Client::greeted(place.server.addr).await;
    client.subscribes("orders.*", 1).await;
    client.subscribes("orders.*", 0).await;
    client.subscribes("mail", 0).await;
    client.publishes("nobody", 1, b"x").await;
    client.fences().await;
    let full = page(&place).await;
    for (name, value) in [
        ("sluice_topics", 2.0),
        ("sluice_subscriptions{qos=\"0\"}", 2.0),
        ("sluice_subscriptions{qos=\"1\"}", 1.0),
        ("sluice_queues{kind=\"subscription\"}", 1.0),
        ("sluice_messages_unroutable_total", 1.0),
        ("sluice_connections{door=\"binary\"}", 1.0),
        ("sluice_connections{door=\"metrics\"}", 1.0),
    ] {
        assert_eq!(full.value(name), value, "{name}");
    }
    let processed = "sluice_requests_total{door=\"binary\",outcome=\"processed\"}";
    assert!(full.value(processed) >= 5.0);
    drop(client);
    let gone = |page: &Page| page.value("sluice_connections{door=\"binary\"}") == 0.0;
    let empty = page_where(&place, gone).await;
    assert_eq!(empty.value("sluice_connections_opened_total{door=\"binary\"}"), 1.0);
    for (name, value) in empty.counters() {
        assert!(value >= full.value(name), "{name}");
    }
    let left = page_where(&place, |page| page.value("sluice_topics") == 1.0).await;
    assert_eq!(left.value("sluice_subscriptions{qos=\"0\"}"), 0.0);
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_beyond_the_bound_are_one() {
    let mut config = config();
    config.metrics.queues_max = 3;
    let place = Place::with(config).await;
    let mut client = place.client().await;
    for at in 0..600 {
        client.ask("PUT", &format!("/v1/queues/many.{at:03}"), b"").await.ok();
    }
    for name in ["many.000", "many.300", "many.599", "many.599"] {
        let messages = json!({"messages": [{"payload": "x"}]});
        client.post(&format!("/v1/queues/{name}/messages"), messages).await.ok();
    }
    let page = page(&place).await;
    let names = ["$other", "many.000", "many.001", "many.002"];
    for (name, ready) in names.into_iter().zip([3.0, 1.0, 0.0, 0.0]) {
        let sample = format!("sluice_queue_messages{{queue=\"{name}\",state=\"ready\"}}");
        assert_eq!(page.value(&sample), ready, "{name}");
    }
    assert_eq!(page.of("sluice_queue_messages").count(), names.len() * 4);
    assert_eq!(page.of("sluice_queue_oldest_seconds").count(), 2);
    assert_eq!(page.value("sluice_queues_folded"), 597.0);
    assert_eq!(page.value("sluice_queues{kind=\"queue\"}"), 600.0);
    assert_eq!(page.value("sluice_messages{state=\"ready\"}"), 4.0);
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_format_is_the_one_that_is_accepted() {
    let place = Place::new().await;
    let mut client = place.client().await;
    let json = client.get("/metrics").await;
    assert_eq!(json.header("content-type"), Some("application/json"));
    assert!(json.ok()["doors"].is_object());
    let anything = client.ask_with("GET", "/metrics", "Accept: */*\r\n", b"").await;
    assert!(anything.ok()["uptime_sec"].is_u64());
    let plain = client.ask_with("GET", "/metrics", "Accept: text/plain\r\n", b"").await;
    let kind = Some("text/plain; version=0.0.4; charset=utf-8");
    assert_eq!((plain.status, plain.header("content-type")), (200, kind));
    for expected in [
        "# TYPE sluice_messages_published_total counter\nsluice_messages_published_total 0",
        "# TYPE sluice_build_info gauge\nsluice_build_info{version=",
        "# TYPE sluice_uptime_seconds gauge\n",
    ] {
        assert!(plain.text().contains(expected), "{expected}: {}", plain.text());
    }
    assert!(!plain.text().contains("# UNIT") && !plain.text().contains("# EOF"));
    let open = client.ask_with("GET", "/metrics", OPENMETRICS, b"").await;
    let types = Page::read(open.text()).types;
    assert_eq!(types.get("sluice_log_sync_duration_seconds").unwrap(), "histogram");
    // Where Prometheus is expected, text needs not be asked for.
    assert_eq!(heard(&place, "").await.header("content-type"), kind);
    assert!(heard(&place, "Accept: application/json\r\n").await.ok()["doors"].is_object());
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_listener_for_metrics_has_the_same_guards_and_nothing_else() {
    let mut config = config();
    config.allowed_api_keys = vec!["root".into()];
    let place = Place::with(config).await;
    let mut nobody = Http::connect(place.server.metrics).await;
    nobody.get("/metrics").await.refuses(401, "unauthenticated", "a key is needed");
    for path in ["/health", "/livez", "/readyz"] {
        assert_eq!(nobody.get(path).await.status, 200, "{path}");
    }
    let mut root = Http::with_key(place.server.metrics, "root").await;
    assert_eq!(root.get("/metrics").await.status, 200);
    for (method, path) in
        [("POST", "/enqueue"), ("GET", "/dequeue"), ("GET", "/v1/queues"), ("POST", "/clear")]
    {
        root.ask(method, path, b"").await.refuses(404, "not_found", "nothing at this path");
    }
    root.ask("POST", "/metrics", b"").await.refuses(405, "method_not_allowed", "");
    let foreign = b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    root.say(foreign).await;
    root.hears().await.refuses(421, "misdirected", "");
    place.stop().await;
}

/// Whether a value is of the type that a part of a document names.
fn fits(value: &Value, schema: &Value) -> bool {
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.clone(),
        kind => vec![kind.clone()],
    };
    kinds.iter().filter_map(Value::as_str).any(|kind| match kind {
        "integer" => value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "object" => value
            .as_object()
            .is_some_and(|all| all.values().all(|one| fits(one, &schema["additionalProperties"]))),
        _ => false,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_figures_in_json_are_as_the_document_says() {
    let place = Place::with(config()).await;
    let mut client = place.client().await;
    let document = client.get("/v1/openapi.json").await.ok();
    let answers = &document["paths"]["/metrics"]["get"]["responses"]["200"]["content"];
    let of_answer = answers["application/json"]["schema"]["$ref"].as_str().unwrap();
    let schema = document.pointer(of_answer.trim_start_matches('#')).unwrap();
    let known = schema["properties"].as_object().unwrap();
    let figures = client.get("/metrics").await.ok();
    let figures = figures.as_object().unwrap();
    assert_eq!(figures.keys().collect::<Vec<_>>(), known.keys().collect::<Vec<_>>());
    for (name, value) in figures {
        assert!(fits(value, &known[name]), "{name}: {value}");
    }
    place.stop().await;
}
