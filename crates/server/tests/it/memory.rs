//! What is refused when memory is short, and what never is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use sluice_broker::{Broker, Memory};
use sluice_protocol::FrameType::{Ack, Poll, Publish};

use crate::client::{Client, ack, poll, publish};
use crate::fake::Fake;
use crate::running::{Running, config, start_on};

/// Connections that are let in while memory is short.
const LEAN: usize = 256;

/// A server that takes the second for the percentage of its memory in use.
async fn start() -> (Running, Arc<AtomicU64>) {
    let (fake, used) = (Fake::new(), Arc::new(AtomicU64::new(0)));
    let told = Arc::clone(&used);
    let memory = Memory::new(100, move || told.load(Relaxed));
    let broker = Broker::new(fake.clone()).with_memory(memory);
    (start_on(config(), broker, fake).await, used)
}

#[tokio::test]
async fn at_85_percent_publishes_are_refused_and_consumers_make_room() {
    let (server, used) = start().await;
    let mut client = Client::greeted(server.addr).await;
    let id = client.subscribes("demo", 1).await;
    client.publishes("demo", 1, b"before").await;
    client.fences().await;
    used.store(85, Relaxed);
    client.say(Publish, 7, publish("demo", 1, b"refused")).await;
    client.hears_nack(7, 503, "the broker is short of memory; retry after 1000 ms").await;
    client.say(Poll, 8, poll(id)).await;
    let (tag, delivery) = client.hears_delivery().await;
    assert_eq!(delivery.message, &b"before"[..]);
    client.say(Ack, tag, ack(id)).await;
    client.fences().await;
    Client::greeted(server.addr).await.fences().await;
    used.store(84, Relaxed);
    client.publishes("demo", 1, b"after").await;
    client.fences().await;
    assert_eq!(server.stop().await.rejected_memory, 0);
}

#[tokio::test]
async fn at_95_percent_a_few_connections_are_let_in_to_make_room() {
    let (server, used) = start().await;
    let mut before = Client::greeted(server.addr).await;
    let id = before.subscribes("demo", 1).await;
    before.publishes("demo", 1, b"message").await;
    before.fences().await;
    used.store(95, Relaxed);
    let mut few = Vec::with_capacity(LEAN);
    for _ in 0..LEAN {
        few.push(Client::greeted(server.addr).await);
    }
    Client::connect(server.addr).await.hears_the_end().await;
    before.say(Poll, 8, poll(id)).await;
    let (tag, _) = before.hears_delivery().await;
    before.say(Ack, tag, ack(id)).await;
    before.fences().await;
    let last = few.last_mut().unwrap();
    last.subscribes("demo", 1).await;
    last.say(Publish, 7, publish("demo", 1, &[0; 100_000])).await;
    last.hears_nack(7, 503, "the broker is short of memory; retry after 1000 ms").await;
    used.store(94, Relaxed);
    Client::greeted(server.addr).await.fences().await;
    assert_eq!(server.stop().await.rejected_memory, 1);
}
