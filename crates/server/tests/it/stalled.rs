//! Observers that take nothing: what is held for one is bounded, at every door that pushes; it is told
//! of its gap, and whoever writes never waits for it.
//!
//! What a stalled one was handed is counted by the broker's metrics. The kernel says how much of it lies in the
//! sockets; the rest is what the process holds for it.

use std::fs;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use sluice_broker::Broker;
use sluice_model::Qos;
use sluice_protocol::binary::v2::{Hello, PublishHead, SubscribeRef, WatchRef};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::http::client::Http;
use crate::http::config;
use crate::http::openmetrics::Page;
use crate::local::{broker_with, stop};
use crate::running::{PATIENCE, Running, start_on};
use crate::version2::client::Client;

/// Bytes of a value or a message.
const LARGE: usize = 32 << 10;
/// So many are written while nobody takes any.
const COUNT: usize = 600;
/// The broker remembers so many bytes of changes, and of messages for a subscriber.
const REMEMBERED: usize = 1 << 20;
/// What may be on its way out of a connection, and as much again for what is being written, in the
/// units of a door that tells it as text.
const HELD_MAX: usize = 2 << 20;

/// What a door is asked for pushes, and how it tells of a gap.
struct Observer {
    door: &'static str,
    opening: Vec<u8>,
    gap: &'static [u8],
}

/// The same asked for at every door: in words, in JSON, over HTTP, and in a frame, with what tells of a
/// gap there.
fn observers(
    words: &str,
    json: &str,
    path: &str,
    frame: impl FnOnce(&mut BytesMut),
    gap: &'static [u8],
) -> [Observer; 4] {
    let get = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut frames = BytesMut::new();
    Hello { frame_max: 0, name: "stalled" }.put(&mut frames, 1).unwrap();
    frame(&mut frames);
    [
        Observer { door: "text", opening: format!("{words}\n").into(), gap: b"*gap" },
        Observer { door: "JSON", opening: format!("{json}\n").into(), gap: b"\"event\":\"gap\"" },
        Observer { door: "HTTP", opening: get.into(), gap: b"event: gap" },
        Observer { door: "binary", opening: frames.to_vec(), gap },
    ]
}

fn watchers() -> [Observer; 4] {
    let watch = WatchRef { keys: "k", below: false, from: None, credit: 1_000_000 };
    let (json, path) = (r#"{"action":"WATCH","key":"k"}"#, "/v1/watch?key=k");
    // Event 4 and the first bytes of its revision.
    let gap = &[4, 0, 0, 0, 0, 0, 0];
    observers("WATCH k", json, path, |out| watch.put(out, 2).unwrap(), gap)
}

fn subscribers() -> [Observer; 4] {
    let (qos, settings) = (Qos::AtMostOnce, Default::default());
    let (name, pattern, credit) = ("", "a", 1_000_000);
    let subscribe = SubscribeRef { qos, push: true, name, pattern, credit, lease_ms: 0, settings };
    let (json, path) = (r#"{"action":"SUBSCRIBE","topic":"a"}"#, "/v1/topics/a/stream");
    // The type of GAP, and the consumer.
    let gap = &[0x96, 0, 0, 0, 0, 0, 0, 0, 1];
    observers("SUBSCRIBE a", json, path, |out| subscribe.put(out, 2, &[]).unwrap(), gap)
}

async fn start(data: &std::path::Path) -> Running<Broker> {
    let broker = broker_with(data, |local| {
        local.engine.watch_history_bytes = REMEMBERED as u64;
        local.engine.subscriber_buffer_bytes = REMEMBERED;
    });
    let mut config = config();
    config.write_timeout = 10 * PATIENCE;
    config.http.response_timeout = 10 * PATIENCE;
    start_on(config, broker.clone(), broker).await
}

/// A connection whose kernel takes little for it, and that has asked for pushes.
async fn stall(server: &Running<Broker>, observer: &Observer) -> TcpStream {
    let addr = if observer.door == "HTTP" { server.http } else { server.addr };
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    let mut stream = socket.connect(addr).await.unwrap();
    stream.write_all(&observer.opening).await.unwrap();
    stream
}

async fn metric(server: &Running<Broker>, name: &str) -> usize {
    let accept = "Accept: application/openmetrics-text; version=1.0.0\r\n";
    let mut client = Http::connect(server.metrics).await;
    let page = client.ask_with("GET", "/metrics", accept, b"").await;
    Page::read(page.text()).value(name) as usize
}

/// Bytes of a connection in both sockets' buffers, as the kernel tells.
fn in_kernel(stream: &TcpStream) -> usize {
    let ends = [stream.local_addr().unwrap(), stream.peer_addr().unwrap()];
    let hex = |addr: SocketAddr| format!("{:04X}", addr.port());
    let [own, peer] = ends.map(hex);
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let mut bytes = 0;
    for line in table.lines().skip(1) {
        let fields: Vec<_> = line.split_whitespace().collect();
        let port = |at: usize| fields[at].rsplit(':').next().unwrap();
        if [port(1), port(2)] == [&own, &peer] || [port(1), port(2)] == [&peer, &own] {
            let (out, taken) = fields[4].split_once(':').unwrap();
            bytes += usize::from_str_radix(out, 16).unwrap();
            bytes += usize::from_str_radix(taken, 16).unwrap();
        }
    }
    bytes
}

/// What is written comes to its end while nobody takes any of it, and little is held.
async fn is_bounded(
    server: &Running<Broker>,
    observer: &Observer,
    stream: &TcpStream,
    told: &str,
    before: usize,
) {
    let told = metric(server, told).await - before;
    let held = (told * LARGE).saturating_sub(in_kernel(stream));
    assert!(told < COUNT / 2, "{}: {told} were handed over", observer.door);
    assert!(held <= HELD_MAX, "{}: {held} bytes are held of {told}", observer.door);
}

/// Takes all that was kept for it, the last of which ends so; it is told of what was not.
async fn takes_the_rest(mut stream: TcpStream, observer: &Observer, last: &[u8]) {
    let (mut tail, mut told_of_gap) = (Vec::new(), false);
    let mut buffer = vec![0; 256 << 10];
    let contains = |all: &[u8], part: &[u8]| all.windows(part.len()).any(|bytes| bytes == part);
    while !contains(&tail, last) {
        tail.drain(..tail.len().saturating_sub(64));
        let read = timeout(PATIENCE, stream.read(&mut buffer)).await.expect(observer.door).unwrap();
        assert!(read > 0, "{}: closed", observer.door);
        tail.extend_from_slice(&buffer[..read]);
        told_of_gap |= contains(&tail, observer.gap);
    }
    assert!(told_of_gap, "{}: no word of the gap", observer.door);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_watcher_holds_at_most_its_bound_behind_any_door() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path()).await;
    let mut writer = Client::greeted(server.addr).await;
    let body = |value: &str| format!(r#"{{"key":"k","value":"{value}"}}"#);
    let large = body(&"x".repeat(LARGE));
    for observer in watchers() {
        let before = metric(&server, "sluice_kv_watch_events_total").await;
        let gaps = metric(&server, "sluice_kv_watch_gaps_total").await;
        let stream = stall(&server, &observer).await;
        while server.fake.stats().watches == 0 {
            tokio::task::yield_now().await;
        }
        for _ in 0..COUNT {
            writer.controls("kv.set", &large).await;
        }
        is_bounded(&server, &observer, &stream, "sluice_kv_watch_events_total", before).await;
        let remembered = metric(&server, "sluice_kv_history_bytes").await;
        assert!(remembered <= REMEMBERED + 2 * LARGE, "{remembered}");
        writer.controls("kv.set", &body("the last")).await;
        takes_the_rest(stream, &observer, b"the last").await;
        assert!(metric(&server, "sluice_kv_watch_gaps_total").await > gaps);
        while server.fake.stats().watches > 0 {
            tokio::task::yield_now().await;
        }
    }
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_subscriber_holds_at_most_its_bound_behind_any_door() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path()).await;
    let mut publisher = Client::greeted(server.addr).await;
    let large = Bytes::from(vec![b'x'; LARGE]);
    for observer in subscribers() {
        let before = metric(&server, "sluice_messages_delivered_total").await;
        let lost = metric(&server, "sluice_messages_gaps_total").await;
        let stream = stall(&server, &observer).await;
        while server.fake.stats().subscriptions == 0 {
            tokio::task::yield_now().await;
        }
        let head = PublishHead::at_most_once("a");
        for id in 0..COUNT as u64 {
            publisher.publishes(id, &head, &[&large]).await;
        }
        publisher.fences().await;
        is_bounded(&server, &observer, &stream, "sluice_messages_delivered_total", before).await;
        assert!(metric(&server, "sluice_messages_gaps_total").await > lost);
        publisher.publishes(1, &head, &[b"the last"]).await;
        publisher.fences().await;
        takes_the_rest(stream, &observer, b"the last").await;
        while server.fake.stats().subscriptions > 0 {
            tokio::task::yield_now().await;
        }
    }
    stop(server).await;
}
