//! Drain, failure and panics.

use std::time::Duration;

use bytes::Bytes;
use sluice_broker::{BrokerError, ClosedBy};
use sluice_protocol::FrameType::{Ping, Publish};
use sluice_server::{Config, ServerError};
use tokio::net::TcpStream;

use crate::client::{Client, publish};
use crate::fake::PANIC_TOPIC;
use crate::running::{config, start};

#[tokio::test]
async fn a_drain_lets_replies_in_flight_leave_and_closes() {
    let mut server = start(config()).await;
    let mut idle = Client::greeted(server.addr).await;
    let mut silent = Client::connect(server.addr).await;
    let mut busy = Client::greeted(server.addr).await;
    busy.fences().await;
    server.fake.hold(true);
    busy.publishes("demo", 1, b"x").await;
    busy.say(Ping, 7, Bytes::new()).await;
    server.fake.submitted(3).await;
    server.shut_down();
    idle.hears_the_end().await;
    silent.hears_the_end().await;
    assert!(TcpStream::connect(server.addr).await.is_err(), "nobody new is let in");
    server.fake.hold(false);
    busy.hears_pong(7).await;
    busy.hears_the_end().await;
    assert_eq!(server.fake.closed(1).await[0].1, ClosedBy::Broker);
    let (result, counters) = server.ended().await;
    result.unwrap();
    assert_eq!(counters.accepted, 3);
}

#[tokio::test]
async fn new_work_that_a_drain_finds_is_refused() {
    let mut server = start(config()).await;
    let mut client = Client::greeted(server.addr).await;
    client.fences().await;
    server.fake.hold(true);
    client.say(Ping, 2, Bytes::new()).await;
    server.fake.submitted(2).await;
    // Both are there when the connection looks next: on this one thread it can't look in between.
    let frame = crate::client::frame(Publish, 3, publish("demo", 1, b""));
    assert_eq!(client.stream.try_write(&frame).unwrap(), frame.len());
    server.shut_down();
    server.fake.hold(false);
    client.hears_pong(2).await;
    // Which of the two the connection sees first is its choice; either way nothing hangs.
    if let Some(heard) = client.hears().await {
        assert_eq!(heard.correlation_id, 3);
        client.hears_the_end().await;
    }
    server.ended().await.0.unwrap();
}

#[tokio::test]
async fn a_drain_ends_when_its_time_is_up() {
    let mut server = start(Config { drain_timeout: Duration::from_millis(100), ..config() }).await;
    let mut client = Client::greeted(server.addr).await;
    server.fake.hold(true);
    client.say(Ping, 2, Bytes::new()).await;
    server.fake.submitted(1).await;
    server.shut_down();
    client.hears_the_end().await;
    assert_eq!(server.fake.closed(1).await[0].1, ClosedBy::Broker);
    server.ended().await.0.unwrap();
}

#[tokio::test]
async fn a_broker_that_fails_ends_the_server_with_its_reason() {
    let server = start(config()).await;
    let mut client = Client::greeted(server.addr).await;
    client.fences().await;
    server.fake.hold(true);
    client.say(Ping, 7, Bytes::new()).await;
    server.fake.submitted(2).await;
    server.fake.fail();
    client.hears_pong(7).await;
    client.hears_the_end().await;
    let (result, _) = server.ended().await;
    assert!(matches!(result, Err(ServerError::Broker(BrokerError::Disk(_)))));
}

#[tokio::test]
async fn a_panic_ends_its_connection_and_no_other() {
    let server = start(config()).await;
    let mut good = Client::greeted(server.addr).await;
    let mut bad = Client::greeted(server.addr).await;
    good.fences().await;
    bad.publishes(PANIC_TOPIC, 1, b"").await;
    bad.hears_the_end().await;
    assert_eq!(server.fake.closed(1).await[0].1, ClosedBy::Broker);
    good.fences().await;
    assert_eq!(server.stop().await.panics, 1);
}
