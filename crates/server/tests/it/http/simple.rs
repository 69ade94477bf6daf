//! The simple endpoints, as existing clients use them.

use super::{Place, config};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_come_out_in_the_order_in_which_they_went_in() {
    let place = Place::new().await;
    let mut client = place.client().await;
    assert_eq!(client.get("/dequeue").await.status, 204);
    for body in ["one", "two", ""] {
        let heard = client.ask("POST", "/enqueue", body.as_bytes()).await;
        assert_eq!((heard.status, heard.text()), (202, ""));
    }
    let other = &mut place.client().await;
    for body in ["one", "two", ""] {
        let heard = other.get("/dequeue").await;
        assert_eq!((heard.status, heard.text()), (200, body));
        assert_eq!(heard.header("content-type"), Some("application/octet-stream"));
        assert_eq!(heard.header("x-content-type-options"), Some("nosniff"));
    }
    assert_eq!(other.get("/dequeue").await.status, 204);
    let counters = place.stop().await;
    assert_eq!((counters.http_enqueues, counters.http_dequeues_ok), (3, 3));
    assert_eq!((counters.http_dequeues_empty, counters.http_connections), (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_keeps_its_content_type_and_all_its_bytes() {
    let place = Place::new().await;
    let mut client = place.client().await;
    let body: Vec<u8> = (0..128 << 10).map(|n| (n * 7 % 251) as u8).collect();
    let kind = "Content-Type: image/png\r\n";
    assert_eq!(client.ask_with("POST", "/enqueue", kind, &body).await.status, 202);
    let heard = client.get("/dequeue").await;
    assert_eq!(heard.header("content-type"), Some("image/png"));
    assert!(heard.body == body);
    let chunked = "POST /enqueue HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
        3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n";
    client.say(chunked.as_bytes()).await;
    assert_eq!(client.hears().await.status, 202);
    assert_eq!(client.get("/dequeue").await.text(), "abcde");
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_refused_with_its_body_unread() {
    let place = Place::new().await;
    let mut client = place.client().await;
    let head = "POST /enqueue HTTP/1.1\r\nHost: localhost\r\nContent-Length: 131073\r\n\r\n";
    client.say(head.as_bytes()).await;
    client.hears().await.refuses(413, "too_large", "longer than 131072 bytes");
    client.hears_the_end().await;
    let mut client = place.client().await;
    let head = "POST /enqueue HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = [b"10000\r\n", &[b'x'; 0x10000][..], b"\r\n"].concat();
    client.say(&[head.as_bytes(), &chunk, &chunk, &chunk].concat()).await;
    client.hears().await.refuses(413, "too_large", "longer than 131072 bytes");
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_says_when_to_come_again() {
    let mut config = config();
    config.http.default_max_messages = 2;
    let place = Place::with(config).await;
    let mut client = place.client().await;
    for _ in 0..2 {
        assert_eq!(client.ask("POST", "/enqueue", b"x").await.status, 202);
    }
    let full = client.ask("POST", "/enqueue", b"x").await;
    full.refuses(429, "queue_full", "full");
    assert_eq!(full.header("retry-after"), Some("1"));
    assert_eq!(client.get("/dequeue").await.status, 200);
    assert_eq!(client.ask("POST", "/enqueue", b"x").await.status, 202);
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_never_taken_gives_its_message_back() {
    let place = Place::new().await;
    let mut client = place.client().await;
    let body = vec![b'x'; 128 << 10];
    // More than the kernel keeps for a reader that reads nothing.
    const COUNT: usize = 200;
    for _ in 0..COUNT {
        assert_eq!(client.ask("POST", "/enqueue", &body).await.status, 202);
    }
    let mut deaf = place.client().await;
    let request = deaf.request("GET", "/dequeue", "", b"");
    deaf.say(&request.repeat(COUNT)).await;
    // Closed once an answer makes no progress for two seconds.
    while client.get("/health").await.status != 200 {}
    let taken = async {
        loop {
            let counters = place.server.counters();
            if counters.http_write_timeouts > 0 {
                return counters.http_dequeues_ok as usize;
            }
            tokio::task::yield_now().await;
        }
    };
    let given = tokio::time::timeout(crate::running::PATIENCE, taken).await.unwrap();
    let mut left = 0;
    loop {
        let heard = client.get("/dequeue").await;
        if heard.status == 204 {
            break;
        }
        assert_eq!(heard.body.len(), body.len());
        left += 1;
    }
    // The one that did not go through came back; those that did are gone.
    assert!(left > 0 && left <= COUNT, "{left} of {COUNT}");
    assert!(left + given > COUNT, "{left} of {COUNT} left, {given} given");
    drop(deaf);
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_id_is_taken_over_when_it_is_safe() {
    let place = Place::new().await;
    let mut client = place.client().await;
    let given = client.ask_with("GET", "/health", "X-Trace-Id: abc-123\r\n", b"").await;
    assert_eq!((given.status, given.text()), (200, "ok"));
    assert_eq!(given.header("x-trace-id"), Some("abc-123"));
    for unsafe_id in ["X-Trace-Id: a b\r\n", "X-Trace-Id: \"x\"\r\n", ""] {
        let made = client.ask_with("GET", "/health", unsafe_id, b"").await;
        let id = made.header("x-trace-id").unwrap();
        assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    }
    client.get("/nothing").await.refuses(404, "not_found", "nothing at this path");
    let wrong = client.get("/enqueue").await;
    wrong.refuses(405, "method_not_allowed", "other methods");
    assert_eq!(wrong.header("allow"), Some("POST"));
    assert_eq!(client.ask("HEAD", "/dequeue", b"").await.status, 405);
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clear_throws_everything_away_once_it_is_asked() {
    let place = Place::new().await;
    let mut client = place.client().await;
    for _ in 0..10 {
        assert_eq!(client.ask("POST", "/enqueue", b"x").await.status, 202);
    }
    assert_eq!(client.ask("POST", "/clear", b"").await.status, 200);
    assert_eq!(client.get("/dequeue").await.status, 204);
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_behind_one_another_are_answered_in_their_order() {
    let place = Place::new().await;
    let mut client = place.client().await;
    let mut all = Vec::new();
    for n in 0..20 {
        all.extend(client.request("POST", "/enqueue", "", format!("{n}").as_bytes()));
    }
    for _ in 0..20 {
        all.extend(client.request("GET", "/dequeue", "", b""));
    }
    client.say(&all).await;
    for _ in 0..20 {
        assert_eq!(client.hears().await.status, 202);
    }
    for n in 0..20 {
        assert_eq!(client.hears().await.text(), n.to_string());
    }
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_is_made_by_its_first_message_and_again_when_it_was_deleted() {
    let place = Place::new().await;
    let mut client = place.client().await;
    assert_eq!(client.get("/dequeue").await.status, 204);
    assert_eq!(client.get("/metrics").await.ok()["queue_length"], 0);
    assert_eq!(client.ask("POST", "/clear", b"").await.status, 200);
    assert_eq!(client.get("/v1/queues").await.ok(), serde_json::json!({"queues": []}));
    for _ in 0..2 {
        assert_eq!(client.ask("POST", "/enqueue", b"x").await.status, 202);
        let stats = client.get("/v1/queues/default").await.ok();
        let settings = &stats["settings"];
        assert_eq!(
            (&settings["max_messages"], &stats["counts"]["ready"]),
            (&50_000.into(), &1.into())
        );
        client.ask("DELETE", "/v1/queues/default?force=true", b"").await.ok();
    }
    place.stop().await;
}
