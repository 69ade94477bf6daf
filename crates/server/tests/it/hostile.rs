//! Clients that mean harm, or don't know better.

use std::time::Duration;

use bytes::Bytes;
use sluice_broker::ClosedBy;
use sluice_protocol::FrameType::{Hello, Ping, Poll, Publish};
use sluice_server::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::client::{Client, frame, hello, poll, publish};
use crate::doors::converse;
use crate::running::{PATIENCE, config, config_with_keys, start};

/// The same numbers every time; enough to look like noise.
fn noise(mut seed: u64, bytes: usize) -> Vec<u8> {
    let next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_connections_of_garbage_leave_the_server_well() {
    let server = start(Config { first_frame_timeout: Duration::from_secs(1), ..config() }).await;
    let mut good = Client::greeted(server.addr).await;
    let mut tasks = tokio::task::JoinSet::new();
    for seed in 0..1_000u64 {
        let addr = server.addr;
        tasks.spawn(async move {
            let mut bytes = noise(seed, 200);
            // Every door gets its share, and those behind a HELLO too.
            match seed % 4 {
                0 => bytes[0] = 0,
                1 => bytes[0] = b'x',
                2 => drop(bytes.splice(0..0, frame(Hello, 1, hello()))),
                _ => {}
            }
            converse(addr, &bytes).await;
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    good.fences().await;
    let counters = server.stop().await;
    assert_eq!((counters.accepted, counters.panics), (1_001, 0));
    assert!(counters.rejected_first_byte > 50, "{counters:?}");
    assert!(counters.decode_errors > 100, "{counters:?}");
}

#[tokio::test]
async fn an_announced_length_that_is_too_large_ends_the_connection() {
    let server = start(config()).await;
    for length in [0u32, 8, 16 * 1024 * 1024 + 1, u32::MAX] {
        let mut client = Client::greeted(server.addr).await;
        client.say(Ping, 2, Bytes::new()).await;
        client.say_bytes(&length.to_be_bytes()).await;
        client.hears_pong(2).await;
        client.hears_nack(0, 400, "invalid frame length").await;
        client.hears_the_end().await;
    }
    assert!(server.fake.closed(4).await.iter().all(|(_, by)| *by == ClosedBy::Broker));
    let mut unready = Client::connect(server.addr).await;
    unready.say_bytes(&[0, 0, 0x04, 0x01]).await;
    unready.hears_nack(0, 413, "frame too large").await;
    unready.hears_the_end().await;
    let counters = server.stop().await;
    assert_eq!((counters.decode_errors, counters.rejected_early_frame), (4, 1));
}

#[tokio::test]
async fn the_last_nack_arrives_although_more_was_sent_than_is_read() {
    let server = start(config()).await;
    let mut client = Client::greeted(server.addr).await;
    let mut bytes = vec![0; 4];
    bytes.extend(noise(1, 100_000));
    client.say_bytes(&bytes).await;
    client.hears_nack(0, 400, "invalid frame length").await;
    client.hears_the_end().await;
    server.stop().await;
}

#[tokio::test]
#[rustfmt::skip]
async fn who_does_not_authenticate_in_time_is_closed() {
    let timeout = Duration::from_millis(50);
    let server = start(Config { first_frame_timeout: timeout, ..config_with_keys(&["key"]) }).await;
    let slow: [&[u8]; 5] = [b"", b"\0", b"\0\0\0\x0b\x01", &frame(Hello, 1, hello()), b"PIN"];
    for bytes in slow {
        let mut client = Client::connect(server.addr).await;
        client.say_bytes(bytes).await;
        while client.hears().await.is_some() {}
    }
    assert_eq!(server.stop().await.first_frame_timeouts, slow.len() as u64);
}

/// Sends `bytes` over and over and takes all answers until the server closes.
async fn flood(addr: std::net::SocketAddr, bytes: Vec<u8>, begun: oneshot::Sender<()>) {
    let (mut from, mut to) = TcpStream::connect(addr).await.unwrap().into_split();
    let writing = tokio::spawn(async move { while to.write_all(&bytes).await.is_ok() {} });
    let mut answers = vec![0; 64 * 1024];
    let mut begun = Some(begun);
    while from.read(&mut answers).await.is_ok_and(|read| read > 0) {
        // Whoever waited for it may have gone on without.
        begun.take().map(|begun| begun.send(()));
    }
    drop(from);
    writing.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_stops_sending_outruns_neither_time_nor_a_drain() {
    let pings = frame(Ping, 2, Bytes::new()).repeat(1_000);
    let first_frame_timeout = Duration::from_millis(100);
    let server = start(Config { first_frame_timeout, ..config_with_keys(&["key"]) }).await;
    let (begun, _) = oneshot::channel();
    timeout(PATIENCE, flood(server.addr, pings.clone(), begun)).await.expect("it is closed");
    assert_eq!(server.stop().await.first_frame_timeouts, 1);

    for bytes in [[&frame(Hello, 1, hello())[..], &pings].concat(), b"PING\n".repeat(1_000)] {
        let server = start(config()).await;
        let (begun, has_begun) = oneshot::channel();
        let flooding = tokio::spawn(flood(server.addr, bytes, begun));
        has_begun.await.unwrap();
        server.stop().await;
        timeout(PATIENCE, flooding).await.expect("it is closed").unwrap();
    }
}

#[tokio::test]
async fn a_connection_that_says_nothing_at_all_is_closed_in_the_end() {
    let server = start(Config { idle_timeout: Duration::from_millis(50), ..config() }).await;
    Client::connect(server.addr).await.hears_the_end().await;
    let mut line = Client::connect(server.addr).await;
    line.say_bytes(b"P").await;
    line.hears_the_end().await;
    // A binary client may be silent: it polls when it wants to.
    let mut binary = Client::greeted(server.addr).await;
    Client::connect(server.addr).await.hears_the_end().await;
    binary.fences().await;
    assert_eq!(server.stop().await.idle_timeouts, 3);
}

#[tokio::test]
async fn who_takes_no_answers_is_closed() {
    let server = start(Config { write_timeout: Duration::from_millis(100), ..config() }).await;
    let mut client = Client::greeted(server.addr).await;
    let id = client.subscribes("demo", 1).await;
    let mut all = frame(Publish, 4, publish("demo", 1, &vec![0; 1024 * 1024]));
    all.extend_from_slice(&frame(Poll, 5, poll(id)));
    for _ in 0..32 {
        // The server may close before all is sent.
        let _ = timeout(PATIENCE, client.stream.write_all(&all)).await.expect("reads or closes");
    }
    let closed = server.fake.closed(1).await;
    assert_eq!(closed[0].1, ClosedBy::Broker);
    assert_eq!(server.stop().await.write_timeouts, 1);
}
