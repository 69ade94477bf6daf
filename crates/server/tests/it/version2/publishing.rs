//! PUBLISH and what it is answered by, CONTROL.

use sluice_model::{Extras, Level, MessageId, Qos};
use sluice_protocol::binary::v2::{PublishHead, Receipt, ReceiptRef, ServerFrame, Source};

use super::client::{Client, put_publish_with};
use super::payloads;
use crate::local::{start, stop};

const TO_JOBS: PublishHead<'_> =
    PublishHead { to_queue: true, ..PublishHead::at_least_once("jobs") };

fn ids(receipt: ReceiptRef<'_>) -> Vec<Result<(MessageId, bool), u16>> {
    receipt
        .iter()
        .map(|one| match one {
            Receipt::Published(published) => Ok((published.id, published.duplicate)),
            Receipt::Refused(error) => Err(error.status),
        })
        .collect()
}

fn extras(dedupe_id: &str) -> Extras {
    Extras { dedupe_id: Some(dedupe_id.to_owned()), ..Extras::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_is_declared_filled_and_looked_at() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path()).await;
    let mut client = Client::greeted(server.addr).await;
    client.publishes(1, &TO_JOBS, &[b"early"]).await;
    client.hears_error(1, 404, "there is no such queue").await;
    assert_eq!(client.controls("queue.declare", r#"{"name":"jobs"}"#).await, r#"{"created":true}"#);
    client.publishes(2, &TO_JOBS, &[b"one", b"two"]).await;
    let heard = client.hears().await;
    assert_eq!((heard.read(), heard.id()), (ServerFrame::Confirm(Some(Level::Sync)), 2));
    let browsed = client.controls("queue.browse", r#"{"name":"jobs"}"#).await;
    assert_eq!(browsed.matches("\"ready\"").count(), 2, "{browsed}");
    client.controls("queue.purge", r#"{"name":"jobs"}"#).await;
    client.finds_nothing(Source::Queue("jobs")).await;
    client
        .says(|out| {
            let control = sluice_protocol::binary::v2::ControlRef { verb: "queue.sing", json: "" };
            control.put(out, 8).unwrap();
        })
        .await;
    assert_eq!(client.hears().await.error().0, 400);
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_tell_each_message_and_confirms_pass_over_what_was_answered() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path()).await;
    let mut client = Client::greeted(server.addr).await;
    client.controls("queue.declare", r#"{"name":"jobs"}"#).await;
    let receipt = PublishHead { receipt: true, ..TO_JOBS };
    client.publishes(1, &receipt, &[b"a", b"b", b"c"]).await;
    let heard = client.hears().await;
    let ServerFrame::Receipt(told) = heard.read() else { panic!("{:?}", heard.read()) };
    let block = ids(told);
    assert_eq!((block.len(), heard.id()), (3, 1));
    assert!(block.windows(2).all(|two| two[0].unwrap().0 < two[1].unwrap().0));

    // The second is a duplicate of the first, the third can't be.
    let (good, bad) = (extras("same"), extras(""));
    let all: [(&[u8], _); 3] = [(b"d", Some(&good)), (b"d", Some(&good)), (b"f", Some(&bad))];
    client.says(|out| put_publish_with(out, 2, &TO_JOBS, &all)).await;
    let heard = client.hears().await;
    let ServerFrame::Receipt(told) = heard.read() else { panic!("{:?}", heard.read()) };
    let each = ids(told);
    assert_eq!(each[1], each[0].map(|(id, _)| (id, true)));
    assert_eq!(each[2], Err(422));

    // All or nothing: the bad one keeps the others out, and all are refused for its reason.
    let whole = PublishHead { whole: true, ..TO_JOBS };
    client.says(|out| put_publish_with(out, 3, &whole, &all)).await;
    assert_eq!(client.hears().await.error().0, 422);
    client
        .says(|out| put_publish_with(out, 4, &whole, &[(b"g", Some(&extras("g"))), (b"h", None)]))
        .await;
    let heard = client.hears().await;
    assert_eq!((heard.read(), heard.id()), (ServerFrame::Confirm(Some(Level::Sync)), 4));

    client.receives(5, Source::Queue("jobs"), 100, 0).await;
    let got = client.gets(6).await;
    assert_eq!(payloads(&got), [&b"a"[..], b"b", b"c", b"d", b"g", b"h"]);
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_refused_whole_and_at_most_once_by_one_error() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path()).await;
    let mut client = Client::greeted(server.addr).await;
    let long = vec![0; (1 << 20) + 1];
    client.publishes(1, &PublishHead::at_most_once("demo"), &[b"short", &long]).await;
    let text = "message 1 has 1048577 bytes, at most 1048576 are allowed";
    client.hears_error(1, 413, text).await;
    let many = vec![&b""[..]; 1_001];
    client.publishes(2, &PublishHead::at_least_once("demo"), &many).await;
    client.hears_error(2, 422, "a batch has 1 .. 1000 messages").await;
    let bad = extras("");
    let all = [(&b"x"[..], Some(&bad)); 3];
    client.says(|out| put_publish_with(out, 3, &PublishHead::at_most_once("demo"), &all)).await;
    assert_eq!(client.hears().await.error().0, 422);
    client.fences().await;
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_at_most_once_are_pushed_in_blocks_that_fit_the_client() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path()).await;
    let mut client = Client::with_frame_max(server.addr, 64 << 10).await;
    let consumer = client.subscribes(Qos::AtMostOnce, "", "demo", Some(100_000)).await;
    let mut publisher = Client::greeted(server.addr).await;
    let payloads: Vec<Vec<u8>> = (0..3_000_u32).map(|at| at.to_be_bytes().repeat(25)).collect();
    let all: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
    publisher.publishes(1, &PublishHead::at_most_once("demo"), &all).await;
    publisher.publishes(2, &PublishHead::at_most_once("demo"), &all[..1]).await;
    publisher.fences().await;
    let got = client.gets(all.len() + 1).await;
    assert!(got.iter().all(|got| got.id == consumer && got.pushed && got.tag == 0));
    let expected = all.iter().chain(&all[..1]);
    assert!(got.iter().map(|got| &got.payload[..]).eq(expected.copied()));

    // One that no frame of the client holds is lost to it.
    let long = vec![7; 65 << 10];
    publisher.publishes(3, &PublishHead::at_most_once("demo"), &[b"a", &long, b"b"]).await;
    let (mut got, mut lost) = (Vec::new(), 0);
    while got.len() < 2 || lost == 0 {
        let heard = client.hears().await;
        match heard.read() {
            ServerFrame::Gap(messages) => lost += messages,
            _ => got.extend(super::client::messages(&heard)),
        }
    }
    assert_eq!((super::payloads(&got), lost), (vec!["a".into(), "b".into()], 1));
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_is_too_slow_hears_how_much_it_lost() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path()).await;
    let mut client = Client::greeted(server.addr).await;
    let consumer = client.subscribes(Qos::AtMostOnce, "", "demo", Some(0)).await;
    let mut publisher = Client::greeted(server.addr).await;
    let long = vec![7; 100_000];
    for id in 0..200 {
        publisher.publishes(id, &PublishHead::at_most_once("demo"), &[&long]).await;
    }
    publisher.fences().await;
    client.gives_credit(consumer, 1_000).await;
    let heard = client.hears().await;
    let ServerFrame::Gap(lost) = heard.read() else { panic!("{:?}", heard.read()) };
    assert_eq!(heard.id(), consumer);
    let got = client.gets(200 - usize::try_from(lost).unwrap()).await;
    assert!(got.len() < 200);
    client.fences().await;
    stop(server).await;
}
