//! When memory or descriptors run short.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use sluice_bench::process::Launch;
use sluice_bench::v1::{Client, ClientError};

use crate::setup::{Place, SLUICE};

const PATIENCE: Duration = Duration::from_secs(20);

fn connect(addr: SocketAddr) -> Result<Client, ClientError> {
    let client = Client::connect(addr, None)?;
    client.set_timeout(Some(PATIENCE))?;
    Ok(client)
}

#[test]
fn a_broker_short_of_memory_refuses_publishes_until_consumers_have_made_room() {
    let place = Place::new();
    let config = place.config("memory_max = 33554432\nsub_buffer_bytes = 67108864\n");
    let broker = place.launch().arg("--config").arg(config).start().unwrap();
    let mut slow = connect(broker.tcp_addr()).unwrap();
    let subscription = slow.subscribe("t", 0).unwrap();
    let mut publisher = connect(broker.tcp_addr()).unwrap();
    let message = vec![7; 1 << 19];
    let mut taken = 0;
    let refused = loop {
        publisher.publish("t", 0, &message).unwrap();
        match publisher.fence() {
            Ok(()) => taken += 1,
            Err(ClientError::Refused(nack)) => break nack,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(refused.code, 503);
    // 85 % of 32 MiB in messages of half a MiB, and some for everything else.
    assert!((40..=55).contains(&taken), "{taken}");
    publisher.await_pong().unwrap();
    let mut received = 0;
    while received < taken {
        received += slow.take(subscription, 8).unwrap().len();
    }
    publisher.publish("t", 0, &message).unwrap();
    publisher.fence().unwrap();
    assert!(broker.terminate().unwrap().success());
}

#[test]
fn a_broker_without_descriptors_goes_on_and_accepts_when_there_are_some() {
    let place = Place::new();
    let config = place.config("connections_max = 1000\n");
    let limited = place.path("limited");
    std::fs::write(&limited, format!("#!/bin/sh\nulimit -n 48\nexec {SLUICE} \"$@\"\n")).unwrap();
    assert!(Command::new("chmod").arg("700").arg(&limited).status().unwrap().success());
    let launch = Launch::new(&limited, &place.data(), &place.path("log"));
    let broker = launch.arg("--config").arg(config).start().unwrap();
    let mut first = connect(broker.tcp_addr()).unwrap();
    // The kernel completes them; the broker has no descriptor to take them all with.
    let crowd: Vec<TcpStream> =
        (0..100).map(|_| TcpStream::connect(broker.tcp_addr()).unwrap()).collect();
    let log = || std::fs::read_to_string(place.path("log")).unwrap();
    while !log().contains("accept failed") {
        first.fence().unwrap();
    }
    assert!(log().contains("few descriptors"));
    drop(crowd);
    connect(broker.tcp_addr()).unwrap().fence().unwrap();
    first.fence().unwrap();
    assert!(broker.terminate().unwrap().success());
}

/// Two consumers of one connection wait for a queue of which each could take all that the connection
/// may hold.
async fn leased_to_two_consumers(addr: String) -> serde_json::Value {
    let client = sluice_client::Client::connect(addr, Default::default()).await.unwrap();
    client.control("queue.declare", r#"{"name":"jobs"}"#).await.unwrap();
    let _first = client.consume("jobs", Default::default()).await.unwrap();
    let _second = client.consume("jobs", Default::default()).await.unwrap();
    client.flush().await.unwrap();
    client.to_queue("jobs").publish_batch(["x"; 10]).await.await.unwrap();
    client.flush().await.unwrap();
    let stats = client.control("queue.stats", r#"{"name":"jobs"}"#).await.unwrap();
    serde_json::from_str(&stats).unwrap()
}

#[test]
fn a_connection_holds_no_more_than_it_may_however_many_consumers_it_has() {
    let place = Place::new();
    let config = place.config("max_in_flight = 3\n");
    let broker = place.launch().arg("--config").arg(config).start().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stats = runtime.block_on(leased_to_two_consumers(broker.tcp_addr().to_string()));
    assert_eq!((&stats["counts"]["leased"], &stats["counts"]["ready"]), (&3.into(), &7.into()));
    // The same bound holds over version 1.
    let mut consumer = connect(broker.tcp_addr()).unwrap();
    let subscription = consumer.subscribe("t", 1).unwrap();
    for _ in 0..4 {
        consumer.publish("t", 1, b"x").unwrap();
    }
    consumer.fence().unwrap();
    match consumer.take(subscription, 4) {
        Err(ClientError::Refused(nack)) => assert_eq!(nack.code, 429),
        other => panic!("{other:?}"),
    }
    assert!(broker.terminate().unwrap().success());
}

/// Ten wrong keys from an address of its own, which are all looked at.
async fn guess(number: u32, broker: SocketAddr) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    let from = Ipv4Addr::from(0x7f10_0000 + number);
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    let stream = socket.connect(broker).await.unwrap().into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    let mut client = Client::over(stream).unwrap();
    client.set_timeout(Some(PATIENCE)).unwrap();
    for id in 0..10 {
        match client.authenticate(&format!("{number}.{id}")) {
            Err(ClientError::Refused(nack)) => assert_eq!(nack.code, 401),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_hundred_thousand_wrong_keys_leave_memory_as_it_was() {
    const ADDRESSES: u32 = 10_000;
    const GROWTH_MAX: u64 = 8 << 20;
    let place = Place::new();
    let config = place.config("allowed_api_keys = [\"right\"]\n");
    let broker = place.launch().arg("--config").arg(config).start().unwrap();
    let addr = broker.tcp_addr();
    let guess_all = |numbers: std::ops::Range<u32>| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        for number in numbers {
            runtime.block_on(guess(number, addr));
        }
    };
    guess_all(0..ADDRESSES / 10);
    let before = broker.resident_bytes().unwrap();
    guess_all(ADDRESSES / 10..ADDRESSES);
    let grown = broker.resident_bytes().unwrap().saturating_sub(before);
    assert!(grown < GROWTH_MAX, "{grown} bytes more");
    Client::connect(addr, Some("right")).unwrap().fence().unwrap();
    assert!(broker.terminate().unwrap().success());
}
