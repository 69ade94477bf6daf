//! `POST /persist` and `POST /load`, and what is counted.

use super::{Place, config};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_is_written_and_comes_back_whole() {
    let place = Place::new().await;
    let mut client = place.client().await;
    for n in 0..1_200 {
        let body = format!("message {n}");
        assert_eq!(client.ask("POST", "/enqueue", body.as_bytes()).await.status, 202);
    }
    let written = client.ask("POST", "/persist?file=queue.json", b"").await.ok();
    assert_eq!(written["messages"], 1_200);
    let path = place.data.path().join("snapshots/queue.json");
    let kept: Vec<String> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!((kept.len(), &*kept[0]), (1_200, "bWVzc2FnZSAw"));
    for _ in 0..10 {
        assert_eq!(client.get("/dequeue").await.status, 200);
    }
    assert_eq!(client.ask("POST", "/enqueue", b"new").await.status, 202);
    let loaded = client.ask("POST", "/load?file=queue.json", b"").await.ok();
    assert_eq!(loaded["messages"], 1_200);
    for n in 0..1_200 {
        assert_eq!(client.get("/dequeue").await.text(), format!("message {n}"));
    }
    assert_eq!(client.get("/dequeue").await.status, 204, "what was there before is replaced");
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_loaded_whole_changes_nothing() {
    let mut config = config();
    config.http.default_max_messages = 3;
    let place = Place::with(config).await;
    let mut client = place.client().await;
    assert_eq!(client.ask("POST", "/enqueue", b"kept").await.status, 202);
    let folder = place.data.path().join("snapshots");
    std::fs::create_dir(&folder).unwrap();
    let files = [
        ("many", r#"["","","",""]"#, 422, "at most 3 messages"),
        ("broken", r#"["YQ==""#, 422, "EOF"),
        ("wrong", r#"["YQ==", 1]"#, 422, "no array of bodies"),
        ("none", "", 404, "could not open"),
    ];
    for (name, text, status, words) in files {
        if name != "none" {
            std::fs::write(folder.join(name), text).unwrap();
        }
        let code = if status == 404 { "not_found" } else { "invalid" };
        let heard = client.ask("POST", &format!("/load?file={name}"), b"").await;
        heard.refuses(status, code, words);
    }
    for name in ["", "..", "../x", "a/b", ".x", "%2e%2e%2fx", "a%00"] {
        for path in ["/load", "/persist"] {
            let heard = client.ask("POST", &format!("{path}?file={name}"), b"").await;
            heard.refuses(400, "bad_request", "a bare name");
        }
    }
    client.ask("POST", "/load", b"").await.refuses(400, "bad_request", "the field file is missing");
    // As many as there may be, though there is one already.
    std::fs::write(folder.join("full"), r#"["YQ==","Yg==","Yw=="]"#).unwrap();
    let loaded = client.ask("POST", "/load?file=full", b"").await.ok();
    assert_eq!(loaded["messages"], 3);
    client.ask("POST", "/enqueue", b"x").await.refuses(429, "queue_full", "");
    for expected in ["a", "b", "c"] {
        assert_eq!(client.get("/dequeue").await.text(), expected);
    }
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_begin_anew_when_the_queue_is_cleared() {
    let place = Place::new().await;
    let mut client = place.client().await;
    for _ in 0..3 {
        assert_eq!(client.ask("POST", "/enqueue", b"12345").await.status, 202);
    }
    client.get("/dequeue").await;
    let figures = client.get("/metrics").await.ok();
    assert_eq!((&figures["enqueues"], &figures["dequeues_ok"]), (&3.into(), &1.into()));
    assert_eq!(figures["queue_length"], 2);
    assert!(figures["queue_bytes"].as_u64().unwrap() >= 10);
    for name in ["uptime_sec", "dequeues_empty", "open_fds", "fd_limit", "tasks"] {
        assert!(figures[name].is_u64(), "{name}");
    }
    assert_eq!(client.ask("POST", "/clear", b"").await.status, 200);
    client.get("/dequeue").await;
    let figures = client.get("/metrics").await.ok();
    assert_eq!((&figures["enqueues"], &figures["dequeues_empty"]), (&0.into(), &1.into()));
    assert_eq!(
        (&figures["queue_length"], &figures["doors"]["http_enqueues"]),
        (&0.into(), &3.into())
    );
    let ready = client.get("/readyz?verbose").await;
    assert_eq!(ready.text(), "drain: ok\ndisk: ok\nmemory: ok\nready\n");
    place.stop().await;
}
