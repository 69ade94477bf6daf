//! Version 2 from the socket to the log and back, with the broker that is shipped.

pub(crate) mod client;
mod consuming;
mod opening;
mod publishing;
mod watching;

use bytes::{Bytes, BytesMut};
use sluice_model::{Level, Qos};
use sluice_protocol::binary::v2::{Cancel, PublishHead, ServerFrame, SettleHead};

use client::{Client, Got, messages, put_publish};

use crate::local::{start, stop};

pub(crate) fn payloads(got: &[Got]) -> Vec<Bytes> {
    got.iter().map(|got| got.payload.clone()).collect()
}

pub(crate) fn acknowledged() -> SettleHead<'static> {
    SettleHead { report: true, ..SettleHead::ACK }
}

/// Hears that all of a SETTLE is done.
pub(crate) async fn hears_settled(client: &mut Client, id: u64) {
    let heard = client.hears().await;
    let ServerFrame::Settled(settled) = heard.read() else { panic!("{:?}", heard.read()) };
    assert_eq!((settled.count(), heard.id()), (0, id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_is_confirmed_pushed_and_settled() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path()).await;
    let mut client = Client::greeted(server.addr).await;
    let consumer = client.subscribes(Qos::AtLeastOnce, "all", "orders.>", Some(10)).await;
    client.publishes(7, &PublishHead::at_least_once("orders.eu"), &[b"one", b"two"]).await;
    let (mut got, mut confirmed) = (Vec::new(), None);
    while got.len() < 2 || confirmed.is_none() {
        let heard = client.hears().await;
        match heard.read() {
            ServerFrame::Confirm(level) => confirmed = Some((heard.id(), level)),
            _ => got.extend(messages(&heard)),
        }
    }
    assert_eq!(confirmed, Some((7, Some(Level::Sync))));
    assert_eq!(payloads(&got), [&b"one"[..], b"two"]);
    assert_eq!(got.iter().map(|got| got.tag).collect::<Vec<_>>(), [1, 2]);
    assert!(got.iter().all(|got| got.id == consumer && got.pushed && got.topic == "orders.eu"));
    client.settles(8, acknowledged(), &[(1, 2)]).await;
    hears_settled(&mut client, 8).await;
    // Once more: they were settled before.
    client.settles(9, acknowledged(), &[(1, 2)]).await;
    hears_settled(&mut client, 9).await;
    client.settles(10, acknowledged(), &[(2, 3)]).await;
    client.hears_error(10, 404, "tags 2 to 3 were not all given out by this connection").await;
    client.fences().await;
    client.says(|out| Cancel { consumer }.put(out, 11)).await;
    client.hears_ok(11).await;
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_frames_in_one_pipeline_are_confirmed_by_a_few() {
    const COUNT: u64 = 10_000;
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path()).await;
    let mut consumer = Client::greeted(server.addr).await;
    consumer.subscribes(Qos::AtLeastOnce, "all", "demo", Some(1_000_000)).await;
    let mut client = Client::greeted(server.addr).await;
    let mut all = BytesMut::new();
    for number in 1..=COUNT {
        let payload = number.to_be_bytes();
        put_publish(&mut all, number, &PublishHead::at_least_once("demo"), &[&payload]);
    }
    client.says_bytes(&all).await;
    let (mut last, mut frames) = (0, 0);
    while last < COUNT {
        let heard = client.hears().await;
        assert_eq!(heard.read(), ServerFrame::Confirm(Some(Level::Sync)));
        assert!(heard.id() > last, "confirms go forward");
        (last, frames) = (heard.id(), frames + 1);
    }
    assert!(frames < COUNT / 10, "{frames} frames");

    let mut expected = 1..=COUNT;
    let mut tag = 0;
    while !expected.is_empty() {
        let got = consumer.gets(1).await;
        let first = tag + 1;
        for got in &got {
            tag += 1;
            assert_eq!(
                (got.tag, &got.payload[..]),
                (tag, &expected.next().unwrap().to_be_bytes()[..])
            );
        }
        consumer.settles(1, SettleHead::ACK, &[(first, tag)]).await;
    }
    consumer.fences().await;
    stop(server).await;
}
