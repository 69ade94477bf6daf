//! Limits of clients and of all together, at the binary door.

use std::time::Duration;

use bytes::Bytes;
use sluice_model::Qos;
use sluice_protocol::FrameType::{Ack, Nack, Ping, Poll, Publish};
use sluice_protocol::binary::v2::{PublishHead, ServerFrame};
use sluice_server::{AdmissionConfig, Config, RateLimit};

use crate::client::{Client, ack, poll, publish};
use crate::http::client::Http;
use crate::local;
use crate::running::{config, start, start_on};
use crate::version2;

const LIMIT: RateLimit =
    RateLimit { rate: 1, burst: 10, delay_max: Duration::ZERO, delayed_max: 0 };
/// More than a limit lets through in any time that a test takes.
const MANY: u64 = 10_000;

fn of_each_client(client: RateLimit) -> Config {
    Config { admission: AdmissionConfig { client, ..AdmissionConfig::default() }, ..config() }
}

/// Publishes over version 1 until a limit refuses, and gives the number of that publish.
async fn publishes_too_much(client: &mut Client) -> u64 {
    for number in 100..100 + MANY {
        client.say(Publish, number, publish("demo", 1, b"x")).await;
        client.say(Ping, number, Bytes::new()).await;
        let heard = client.hears().await.unwrap();
        if heard.msg_type == Nack {
            client.hears_pong(number).await;
            let nack = sluice_protocol::NackPayload::decode(&heard.payload).unwrap();
            assert_eq!(nack.code, 429, "{}", nack.message);
            return heard.correlation_id;
        }
    }
    panic!("nothing is refused");
}

#[tokio::test]
async fn a_client_of_version_1_over_its_limit_is_refused_and_may_still_acknowledge() {
    let server = start(of_each_client(LIMIT)).await;
    let mut client = Client::greeted(server.addr).await;
    let id = client.subscribes("demo", 1).await;
    client.publishes("demo", 1, b"one").await;
    client.say(Poll, 5, poll(id)).await;
    let (tag, _) = client.hears_delivery().await;
    let refused = publishes_too_much(&mut client).await;
    assert!(refused >= 100 + 7, "{refused}: ten may come at once");
    client.say(Ack, tag, ack(id)).await;
    client.fences().await;
    let counters = server.stop().await;
    assert_eq!((counters.rate_limited, counters.refusals), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_version_2_over_its_limit_is_told_when_to_come_again() {
    let data = tempfile::tempdir().unwrap();
    // A door that could not keep others waiting refuses what HTTP would delay.
    let delay_max = Duration::from_secs(100);
    let config = of_each_client(RateLimit { delay_max, delayed_max: 10, ..LIMIT });
    let broker = local::broker(&data.path().join("log"));
    let server = start_on(config, broker.clone(), broker).await;
    let mut consumer = version2::client::Client::greeted(server.addr).await;
    consumer.subscribes(Qos::AtLeastOnce, "all", "demo", Some(1)).await;
    let mut client = version2::client::Client::greeted(server.addr).await;
    let demo = PublishHead::at_least_once("demo");
    let mut number = 0;
    let after = loop {
        number += 1;
        client.publishes(number, &demo, &[b"x", b"y"]).await;
        let heard = client.hears().await;
        match heard.read() {
            ServerFrame::Confirm(_) => assert!(number < MANY, "nothing is refused"),
            ServerFrame::Error(error) => {
                assert_eq!((error.status, error.code, heard.id()), (429, "rate_limited", number));
                break error.retry_after.expect("it says when to come again");
            }
            other => panic!("{other:?}"),
        }
    };
    // Ten may come at once; so many more come only where seconds pass meanwhile.
    assert!((4..20).contains(&number), "{number}: a frame counts as its two messages");
    assert!(after <= Duration::from_secs(1) && !after.is_zero(), "{after:?}");
    // What makes room is not limited.
    assert_eq!(consumer.gets(1).await.len(), 1);
    consumer.settles(8, version2::acknowledged(), &[(1, 1)]).await;
    version2::hears_settled(&mut consumer, 8).await;
    let unlimited = AdmissionConfig::default();
    server.intake.change(&unlimited).unwrap();
    client.controls("queue.list", "{}").await;
    local::stop(server).await;
}

#[tokio::test]
async fn the_limit_of_all_counts_every_door() {
    let admission = AdmissionConfig { global: LIMIT, ..AdmissionConfig::default() };
    let mut config = Config { admission, ..config() };
    config.http.addr = sluice_server::HttpAddr::At("127.0.0.1:0".parse().unwrap());
    let server = start(config).await;
    let mut client = Client::greeted(server.addr).await;
    publishes_too_much(&mut client).await;
    let mut limited = 0;
    for _ in 0..3 {
        let mut other = Http::connect(server.http).await;
        limited += u32::from(other.get("/dequeue").await.status == 429);
    }
    assert!(limited > 0, "what the one door took is not there for the other");
    server.stop().await;
}
