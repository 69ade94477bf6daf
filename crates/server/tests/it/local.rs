//! Version 1 from the socket to the log and back, with the broker that is shipped.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use sluice_broker::Broker;
use sluice_broker::local::{Entropy, LocalBackend, LocalConfig};
use sluice_model::Timestamp;
use sluice_protocol::FrameType::{Ack, Ping, Poll, Publish};
use sluice_wal::FileDisk;
use tokio::time::timeout;

use crate::client::{Client, ack, frame, poll, publish};
use crate::running::{PATIENCE, Running, config, config_with_keys, start_on};

pub(crate) fn broker(data: &Path) -> Broker {
    broker_with(data, |_| ())
}

/// One whose settings were changed so.
pub(crate) fn broker_with(data: &Path, change: impl FnOnce(&mut LocalConfig)) -> Broker {
    let mut local = LocalConfig::default();
    local.wal.segment_bytes = 4 << 20;
    local.wal.record_max = 2 << 20;
    change(&mut local);
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let wall = Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap());
    let entropy = Entropy { log_id: 1, seed: 1 };
    let disk = FileDisk::new(data);
    Broker::new(LocalBackend::open(disk, &local, wall, entropy, true).unwrap().0)
}

pub(crate) async fn stop(server: Running<Broker>) {
    let broker = server.fake.clone();
    server.stop().await;
    broker.stop().unwrap();
}

pub(crate) async fn start(data: &Path) -> Running<Broker> {
    let broker = broker(data);
    start_on(config(), broker.clone(), broker).await
}

/// Polls until there is a message.
async fn next(client: &mut Client, id: u64) -> (u64, Bytes) {
    let asking = async {
        loop {
            client
                .say_bytes(&[frame(Poll, 5, poll(id)), frame(Ping, 6, Bytes::new())].concat())
                .await;
            let heard = client.hears().await.expect("an answer");
            if heard.msg_type == Publish {
                client.hears_pong(6).await;
                let publish = sluice_protocol::PublishPayload::decode(&heard.payload).unwrap();
                return (heard.correlation_id, publish.message);
            }
        }
    };
    timeout(PATIENCE, asking).await.expect("a message comes")
}

async fn finds_nothing(client: &mut Client, id: u64) {
    client.say(Poll, 5, poll(id)).await;
    client.fences().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_behind_a_publish_finds_the_message() {
    let data = tempfile::tempdir().unwrap();
    let broker = broker(data.path());
    let server = start_on(config_with_keys(&["dev-key-1"]), broker.clone(), broker).await;
    let mut client = Client::with_key(server.addr, "dev-key-1").await;
    let id = client.subscribes("demo", 1).await;
    client.publishes("demo", 1, b"hello from client").await;
    client.say(Poll, 5, poll(id)).await;
    let (tag, delivery) = client.hears_delivery().await;
    assert_eq!((delivery.topic.as_str(), delivery.qos), ("demo", 1));
    assert_eq!(delivery.message, &b"hello from client"[..]);
    client.say(Ack, tag, ack(id)).await;
    client.say(Ack, tag, ack(id)).await;
    finds_nothing(&mut client, id).await;
    client.say(Ack, tag + 1, ack(id)).await;
    client.hears_nack(tag + 1, 404, "unknown subscription or delivery tag").await;
    client.say(Poll, 8, poll(id + 1)).await;
    client.hears_nack(8, 404, "unknown subscription").await;
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patterns_and_levels_reach_each_subscription_its_way() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path()).await;
    let mut client = Client::greeted(server.addr).await;
    let (all, once) =
        (client.subscribes("orders.>", 1).await, client.subscribes("orders.*", 0).await);
    client.publishes("orders.eu", 1, b"both").await;
    client.publishes("orders.eu.late", 1, b"one").await;
    client.say(Poll, 77, poll(once)).await;
    let (id, delivery) = client.hears_delivery().await;
    assert_eq!((id, delivery.qos, &delivery.message[..]), (77, 0, &b"both"[..]));
    finds_nothing(&mut client, once).await;
    let (first, message) = next(&mut client, all).await;
    assert_eq!(message, &b"both"[..]);
    let (second, message) = next(&mut client, all).await;
    assert_eq!(message, &b"one"[..]);
    assert_ne!(first, second);
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_messages_in_one_pipeline_come_once_and_in_order() {
    const COUNT: u32 = 10_000;
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path()).await;
    let mut consumer = Client::greeted(server.addr).await;
    let id = consumer.subscribes("demo", 1).await;
    let mut publisher = Client::greeted(server.addr).await;
    let mut all = BytesMut::new();
    for number in 0..COUNT {
        all.extend_from_slice(&frame(Publish, 4, publish("demo", 1, &number.to_be_bytes())));
    }
    publisher.say_bytes(&all).await;
    publisher.fences().await;

    let mut expected = 0..COUNT;
    while !expected.is_empty() {
        let window = expected.len().min(100);
        let polls = frame(Poll, 5, poll(id)).repeat(window);
        consumer.say_bytes(&polls).await;
        for _ in 0..window {
            let (tag, delivery) = consumer.hears_delivery().await;
            assert_eq!(delivery.message, &expected.next().unwrap().to_be_bytes()[..]);
            consumer.say(Ack, tag, ack(id)).await;
        }
    }
    finds_nothing(&mut consumer, id).await;
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_after_a_restart_gets_what_it_had_not_acknowledged() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path()).await;
    let mut client = Client::greeted(server.addr).await;
    let id = client.subscribes("demo", 1).await;
    for message in [b"one", b"two", b"six"] {
        client.publishes("demo", 1, message).await;
    }
    let (one, _) = next(&mut client, id).await;
    let (two, _) = next(&mut client, id).await;
    client.say(Ack, one, ack(id)).await;
    client.fences().await;
    stop(server).await;

    let server = start(data.path()).await;
    let mut client = Client::greeted(server.addr).await;
    let id = client.subscribes("demo", 1).await;
    client.say(Ack, two, ack(id)).await;
    client.hears_nack(two, 404, "unknown subscription or delivery tag").await;
    let (tag, message) = next(&mut client, id).await;
    assert_eq!(message, &b"two"[..]);
    client.say(Ack, tag, ack(id)).await;
    let (tag, message) = next(&mut client, id).await;
    assert_eq!(message, &b"six"[..]);
    client.say(Ack, tag, ack(id)).await;
    finds_nothing(&mut client, id).await;
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_is_taken_over_when_its_connection_is_gone() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path()).await;
    let mut first = Client::greeted(server.addr).await;
    let id = first.subscribes("demo", 1).await;
    first.publishes("demo", 1, b"kept").await;
    next(&mut first, id).await;
    drop(first);

    let gone = async {
        while server.fake.stats().sessions > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, gone).await.expect("the server notices");

    let mut again = Client::greeted(server.addr).await;
    let id = again.subscribes("demo", 1).await;
    assert_eq!(next(&mut again, id).await.1, &b"kept"[..]);
    stop(server).await;
}
