//! Who gets messages, how many, and what becomes of them.

use std::time::Duration;

use sluice_model::Qos;
use sluice_protocol::binary::v2::{
    Cancel, ConsumeRef, LeaseSet, PublishHead, ReceiveRef, RefusedLease, ServerFrame, SettleHead,
    Settlement, Source, TagRange, put_extend,
};
use sluice_server::Config;

use super::client::{Client, messages};
use super::{acknowledged, hears_settled, payloads};
use crate::local::{broker, start, stop};
use crate::running::{config, start_on};

const TO_JOBS: PublishHead<'_> =
    PublishHead { to_queue: true, ..PublishHead::at_least_once("jobs") };

/// A client that has made the queue and put these messages into it.
async fn with_jobs(addr: std::net::SocketAddr, all: &[&[u8]]) -> Client {
    let mut client = Client::greeted(addr).await;
    client.controls("queue.declare", r#"{"name":"jobs"}"#).await;
    if !all.is_empty() {
        client.publishes(1, &TO_JOBS, all).await;
        assert!(matches!(client.hears().await.read(), ServerFrame::Confirm(_)));
    }
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_is_pushed_than_there_is_credit_for() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path()).await;
    let all: Vec<Vec<u8>> = (0..10).map(|at| vec![at]).collect();
    let all: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
    let mut client = with_jobs(server.addr, &all).await;
    let consumer = client.consumes("jobs", 3).await;
    assert_eq!(payloads(&client.gets(3).await), all[..3]);
    client.fences().await;
    client.settles(2, acknowledged(), &[(1, 3)]).await;
    hears_settled(&mut client, 2).await;
    client.gives_credit(consumer, 2).await;
    assert_eq!(payloads(&client.gets(2).await), all[3..5]);
    client.fences().await;
    client.gives_credit(consumer, 100).await;
    assert_eq!(payloads(&client.gets(5).await), all[5..]);
    client.publishes(3, &TO_JOBS, &[b"late"]).await;
    let mut late = Vec::new();
    while late.is_empty() {
        let heard = client.hears().await;
        if !matches!(heard.read(), ServerFrame::Confirm(_)) {
            late = messages(&heard);
        }
    }
    assert_eq!(payloads(&late), ["late"]);
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_at_the_bound_goes_on_when_a_lease_ends_though_its_client_says_nothing() {
    let data = tempfile::tempdir().unwrap();
    let broker = broker(data.path());
    let config = Config { max_in_flight: 1, ..config() };
    let server = start_on(config, broker.clone(), broker).await;
    let mut client = with_jobs(server.addr, &[b"first", b"second"]).await;
    let consume = ConsumeRef { queue: "jobs", credit: 10, lease_ms: 50 };
    client.says(|out| consume.put(out, 7).unwrap()).await;
    assert!(matches!(client.hears().await.read(), ServerFrame::Consuming(_)));
    assert_eq!(payloads(&client.gets(2).await).len(), 2);
    // The first had to be forgotten for the second: who settles it is told, once.
    client.settles(8, SettleHead::ACK, &[(1, 1)]).await;
    let heard = client.hears().await;
    let ServerFrame::Settled(settled) = heard.read() else { panic!("{:?}", heard.read()) };
    let (tag, status, code) = (1, 409, "lease_lost");
    let lost: Vec<_> = settled.refused().collect();
    assert_eq!((lost, heard.id()), (vec![RefusedLease::Tag { tag, status, code }], 8));
    client.settles(9, SettleHead { report: true, ..SettleHead::ACK }, &[(1, 1)]).await;
    hears_settled(&mut client, 9).await;
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_cancelled_is_not_pushed_to_and_its_deliveries_may_be_settled() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path()).await;
    let mut client = with_jobs(server.addr, &[b"one"]).await;
    let consumer = client.consumes("jobs", 10).await;
    assert_eq!(client.gets(1).await[0].tag, 1);
    client.says(|out| Cancel { consumer }.put(out, 2)).await;
    client.hears_ok(2).await;
    client.publishes(3, &TO_JOBS, &[b"two"]).await;
    assert!(matches!(client.hears().await.read(), ServerFrame::Confirm(_)));
    client.fences().await;
    client.settles(4, acknowledged(), &[(1, 1)]).await;
    hears_settled(&mut client, 4).await;
    client.says(|out| Cancel { consumer }.put(out, 5)).await;
    client.hears_error(5, 404, "there is no such consumer").await;
    client.receives(6, Source::Queue("jobs"), 10, 0).await;
    assert_eq!(payloads(&client.gets(1).await), ["two"]);
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_whose_queue_is_gone_is_told_so() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path()).await;
    let mut client = with_jobs(server.addr, &[]).await;
    client.consumes("jobs", 10).await;
    client.fences().await;
    client
        .says(|out| {
            let delete = sluice_protocol::binary::v2::ControlRef {
                verb: "queue.delete",
                json: r#"{"name":"jobs"}"#,
            };
            delete.put(out, 7).unwrap();
        })
        .await;
    let mut ended = None;
    let mut deleted = false;
    while ended.is_none() || !deleted {
        let heard = client.hears().await;
        match heard.read() {
            ServerFrame::Result(_) => deleted = true,
            _ => ended = Some((heard.error().0, heard.id())),
        }
    }
    assert_eq!(ended, Some((404, 4)), "the id of the CONSUME");
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_connection_held_comes_again() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path()).await;
    let mut client = with_jobs(server.addr, &[b"one", b"two", b"three"]).await;
    client.consumes("jobs", 2).await;
    assert_eq!(client.gets(2).await.len(), 2);
    client.settles(2, acknowledged(), &[(2, 2)]).await;
    hears_settled(&mut client, 2).await;
    drop(client);

    let mut again = Client::greeted(server.addr).await;
    again.consumes("jobs", 10).await;
    let got = again.gets(2).await;
    let mut seen: Vec<_> = got.iter().map(|got| (&got.payload[..], got.redelivered)).collect();
    seen.sort_unstable();
    assert_eq!(seen, [(&b"one"[..], true), (b"three", false)]);
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_may_have_holes_and_outcomes_are_kept_apart() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path()).await;
    let mut client = with_jobs(server.addr, &[b"1", b"2", b"3", b"4", b"5", b"6"]).await;
    client.receives(2, Source::Queue("jobs"), 6, 0).await;
    assert_eq!(client.gets(6).await.len(), 6);
    client.settles(3, acknowledged(), &[(2, 3)]).await;
    hears_settled(&mut client, 3).await;
    let released = SettleHead { outcome: Settlement::Released, ..acknowledged() };
    client.settles(4, released, &[(5, 5)]).await;
    hears_settled(&mut client, 4).await;
    let ranges = [TagRange { first: 1, last: 4 }, TagRange { first: 6, last: 6 }];
    client.says(|out| put_extend(out, 5, true, 60_000, LeaseSet::Tags(&ranges)).unwrap()).await;
    let heard = client.hears().await;
    let ServerFrame::Settled(extended) = heard.read() else { panic!("{:?}", heard.read()) };
    assert!(extended.count() == 0 && extended.deadline.as_millis() > 0);
    client.settles(6, acknowledged(), &[(1, 4), (6, 6)]).await;
    hears_settled(&mut client, 6).await;
    client.receives(7, Source::Queue("jobs"), 6, 0).await;
    let got = client.gets(1).await;
    assert_eq!((payloads(&got), got[0].tag), (vec!["5".into()], 7));
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_settles_on_any_connection() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path()).await;
    let mut client = with_jobs(server.addr, &[b"one", b"two"]).await;
    let from = Source::Queue("jobs");
    let receive = ReceiveRef { max: 2, wait_ms: 0, lease_ms: 60_000, unbound: true, from };
    client.says(|out| receive.put(out, 2).unwrap()).await;
    let got = client.gets(2).await;
    let tokens: Vec<_> = got.iter().map(|got| got.token.unwrap()).collect();
    drop(client);

    let mut other = Client::greeted(server.addr).await;
    let leases = LeaseSet::Tokens(&tokens);
    other.says(|out| SettleHead::ACK.put(out, 3, leases).unwrap()).await;
    other.fences().await;
    let mut forged = tokens[0];
    forged.secret ^= 1;
    let leases = [tokens[0], forged];
    other.says(|out| SettleHead::ACK.put(out, 4, LeaseSet::Tokens(&leases)).unwrap()).await;
    let heard = other.hears().await;
    let ServerFrame::Settled(settled) = heard.read() else { panic!("{:?}", heard.read()) };
    assert_eq!(settled.count(), 1, "the forged one");
    other.finds_nothing(from).await;
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receive_that_waits_is_answered_when_there_is_something() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path()).await;
    let mut client = with_jobs(server.addr, &[]).await;
    client.receives(2, Source::Queue("jobs"), 5, 15_000).await;
    client.receives(3, Source::Queue("jobs"), 5, 1).await;
    let heard = client.hears().await;
    assert_eq!((heard.read(), heard.id()), (ServerFrame::Empty(u32::MAX), 3));
    client.fences().await;
    let mut publisher = Client::greeted(server.addr).await;
    publisher.publishes(1, &TO_JOBS, &[b"one", b"two"]).await;
    let got = client.gets(2).await;
    assert!(got.iter().all(|got| got.id == 2 && !got.pushed));
    client.settles(4, SettleHead::ACK, &[(1, 2)]).await;

    let later =
        sluice_model::Extras { delay: Some(Duration::from_secs(3_600)), ..Default::default() };
    let all = [(&b"later"[..], Some(&later))];
    client.says(|out| super::client::put_publish_with(out, 5, &TO_JOBS, &all)).await;
    assert!(matches!(client.hears().await.read(), ServerFrame::Confirm(_)));
    client.receives(6, Source::Queue("jobs"), 5, 0).await;
    let heard = client.hears().await;
    let ServerFrame::Empty(next_ms) = heard.read() else { panic!("{:?}", heard.read()) };
    assert!((3_000_000..=3_600_000).contains(&next_ms), "{next_ms}");
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_is_not_pushed_to_is_received_from() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path()).await;
    let mut client = Client::greeted(server.addr).await;
    let durable = client.subscribes(Qos::AtLeastOnce, "all", "demo", None).await;
    let fast = client.subscribes(Qos::AtMostOnce, "", "demo", None).await;
    client.publishes(1, &PublishHead::at_least_once("demo"), &[b"one", b"two"]).await;
    assert!(matches!(client.hears().await.read(), ServerFrame::Confirm(_)));
    for (consumer, leased) in [(durable, true), (fast, false)] {
        client.receives(2, Source::Consumer(consumer), 10, 0).await;
        let got = client.gets(2).await;
        assert_eq!(payloads(&got), ["one", "two"]);
        assert!(got.iter().all(|got| (got.tag > 0) == leased));
        assert!(!got.last().unwrap().more);
    }
    client.finds_nothing(Source::Consumer(fast)).await;
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_consumers_do_not_keep_the_room_from_large_messages_and_settlements() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path()).await;
    let long = vec![7; 1 << 20];
    let mut client = with_jobs(server.addr, &[]).await;
    for _ in 0..100 {
        client.consumes("jobs", 1).await;
    }
    let mut publisher = Client::greeted(server.addr).await;
    for id in 0..3 {
        publisher.publishes(id, &TO_JOBS, &[&long]).await;
        let heard = publisher.hears().await;
        assert!(matches!(heard.read(), ServerFrame::Confirm(_)), "{:?}", heard.read());
    }
    let got = client.gets(3).await;
    assert!(got.iter().all(|got| got.payload == long));
    client.settles(9, acknowledged(), &[(1, 3)]).await;
    hears_settled(&mut client, 9).await;
    stop(server).await;
}
