//! Opening a connection of version 2, keys, frames that can't be read, and the drain.

use bytes::{BufMut, BytesMut};
use sluice_broker::Broker;
use sluice_model::Qos;
use sluice_protocol::binary::frame::put_header;
use sluice_protocol::binary::v2::{
    FrameType, Hello, PublishHead, ServerFrame, SettleHead, Source, put_auth, put_ping,
};
use sluice_server::Config;

use super::client::{Client, put_publish};
use super::{acknowledged, hears_settled};
use crate::client::Client as Client1;
use crate::keys::key;
use crate::local::{broker, start, stop};
use crate::running::{Running, config, config_with_keys, start_on};

const TWO: (&str, &str) = ("key-number-one", "key-number-two");

async fn with_keys(data: &std::path::Path) -> Running<Broker> {
    let broker = broker(data);
    start_on(config_with_keys(&[TWO.0, TWO.1]), broker.clone(), broker).await
}

fn put_frame(out: &mut BytesMut, frame: FrameType, id: u64, payload: &[u8]) {
    put_header(out, frame, id, payload.len()).unwrap();
    out.put_slice(payload);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_hello_that_is_understood_decides_the_version() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path()).await;
    let mut client = Client::connect(server.addr).await;
    // All at once: the third is the first that is understood.
    let hello = Hello { frame_max: 0, name: "late" };
    client
        .says(|out| {
            put_frame(out, FrameType::Hello, 1, &[0, 3, 9]);
            put_frame(out, FrameType::Hello, 2, &[0, 2, 0]);
            put_frame(out, FrameType::Ping, 3, &[]);
            put_frame(out, FrameType::Hello, 4, &[0, 1]);
            hello.put(out, 5).unwrap();
            hello.put(out, 6).unwrap();
        })
        .await;
    let heard = client.hears().await;
    let nack = ServerFrame::Nack { code: 426, text: "unsupported protocol version" };
    assert_eq!((heard.read(), heard.id()), (nack, 1));
    client.hears_error(2, 400, "invalid HELLO: frame_max ends early").await;
    client.hears_error(3, 401, "unauthenticated").await;
    let heard = client.hears().await;
    assert_eq!((heard.read(), heard.id()), (nack, 4));
    let heard = client.hears().await;
    let ServerFrame::Welcome(welcome) = heard.read() else { panic!("{:?}", heard.read()) };
    assert_eq!((welcome.frame_max, welcome.message_max), (16 << 20, 1 << 20));
    assert_eq!((welcome.batch_max, welcome.in_flight_max, welcome.auth), (1_000, 65_536, false));
    client.hears_error(6, 400, "HELLO already performed").await;
    client.fences().await;

    let mut first = Client1::greeted(server.addr).await;
    first.fences().await;
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_lets_in_and_nothing_is_served_before() {
    let data = tempfile::tempdir().unwrap();
    let server = with_keys(data.path()).await;
    let mut client = Client::greeted(server.addr).await;
    client.publishes(7, &PublishHead::at_least_once("demo"), &[b"early"]).await;
    client.hears_error(7, 401, "unauthenticated").await;
    client.says(|out| put_auth(out, 8, "wrong").unwrap()).await;
    client.hears_error(8, 401, "invalid API key").await;
    client.says(|out| put_auth(out, 9, TWO.1).unwrap()).await;
    client.hears_ok(9).await;
    client.says(|out| put_auth(out, 10, TWO.1).unwrap()).await;
    client.hears_error(10, 400, "already authenticated").await;
    client.fences().await;

    let mut long = Client::greeted(server.addr).await;
    long.says(|out| put_frame(out, FrameType::Publish, 1, &[0; 2_000])).await;
    long.hears_error(0, 413, "frame too large").await;
    assert!(long.hears_or_end().await.is_none());
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[rustfmt::skip]
async fn a_malformed_payload_is_refused_and_the_connection_lives() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path()).await;
    let mut client = Client::greeted(server.addr).await;
    let cases: [(FrameType, &[u8], u16, &str); 16] = [
        (FrameType::Auth,      &[0],                        400, "invalid AUTH: key ends early"),
        (FrameType::Ping,      &[0],                        400, "invalid PING: 1 bytes follow its last field"),
        (FrameType::Publish,   &[],                         400, "invalid PUBLISH: flags ends early"),
        (FrameType::Publish,   &[0, 0, 1, b'a', 0, 0],      400, "invalid PUBLISH: count is out of range"),
        (FrameType::Publish,   &[0, 0, 1, b' ', 0, 1, 0],   422, "the name has white space or a control character"),
        (FrameType::Publish,   &[1, 0, 1, b'a', 0, 1, 4, 0], 400, "invalid PUBLISH: payload of entry 0 ends early"),
        (FrameType::Subscribe, &[1, 0],                     400, "invalid SUBSCRIBE: name has no meaning here"),
        (FrameType::Consume,   &[1],                        400, "invalid CONSUME: queue ends early"),
        (FrameType::Cancel,    &[0; 7],                     400, "invalid CANCEL: consumer ends early"),
        (FrameType::Cancel,    &[0; 8],                     404, "there is no such consumer"),
        (FrameType::Credit,    &[0; 12],                    404, "there is no such consumer"),
        (FrameType::Receive,   &[0; 12],                    400, "invalid RECEIVE: max is out of range"),
        (FrameType::Settle,    &[0, 9],                     400, "invalid SETTLE: outcome has no meaning here"),
        (FrameType::Extend,    &[2],                        400, "invalid EXTEND: flags has no meaning here"),
        (FrameType::Control,   &[1, 0xff],                  400, "invalid CONTROL: verb is not UTF-8"),
        (FrameType::Deliver,   &[],                         400, "DELIVER is not for this side to send"),
    ];
    for (frame, payload, status, text) in cases {
        client.says(|out| put_frame(out, frame, 7, payload)).await;
        let heard = client.hears().await;
        assert_eq!((heard.error(), heard.id()), ((status, text.to_owned()), 7), "{frame}");
        client.fences().await;
    }
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_frame_is_refused_behind_what_was_due_and_closes() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path()).await;
    let cases: [(&[u8], u64, &str); 3] = [
        (&[0, 0, 0, 8], 0, "invalid frame length"),
        (&[0xff; 4], 0, "invalid frame length"),
        (&[0, 0, 0, 9, 0x31, 0, 0, 0, 0, 0, 0, 0, 9], 9, "unknown frame type"),
    ];
    for (bytes, id, text) in cases {
        let mut client = Client::greeted(server.addr).await;
        let mut all = BytesMut::new();
        put_ping(&mut all, 1);
        all.extend_from_slice(bytes);
        client.says_bytes(&all).await;
        assert_eq!(client.hears().await.read(), ServerFrame::Pong);
        client.hears_error(id, 400, text).await;
        assert!(client.hears_or_end().await.is_none());
    }
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_may_come_byte_by_byte() {
    let data = tempfile::tempdir().unwrap();
    let server = with_keys(data.path()).await;
    let mut all = BytesMut::new();
    Hello { frame_max: 0, name: "slow" }.put(&mut all, 1).unwrap();
    put_auth(&mut all, 2, TWO.0).unwrap();
    put_publish(&mut all, 3, &PublishHead::at_least_once("demo"), &[b"one", b"two"]);
    put_ping(&mut all, 4);
    let mut slow = Client::connect(server.addr).await;
    slow.stream.set_nodelay(true).unwrap();
    for byte in &all {
        slow.says_bytes(&[*byte]).await;
    }
    assert!(matches!(slow.hears().await.read(), ServerFrame::Welcome(_)));
    slow.hears_ok(2).await;
    let heard = slow.hears().await;
    assert_eq!((heard.read(), heard.id()), (ServerFrame::Confirm(None), 3));
    assert_eq!(slow.hears().await.read(), ServerFrame::Pong);
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_leaves_time_to_settle_and_takes_nothing_new() {
    let data = tempfile::tempdir().unwrap();
    let mut server = start(data.path()).await;
    let mut client = Client::greeted(server.addr).await;
    client.subscribes(Qos::AtLeastOnce, "all", "demo", Some(1)).await;
    let mut publisher = Client::greeted(server.addr).await;
    publisher.publishes(1, &PublishHead::at_least_once("demo"), &[b"held", b"later"]).await;
    assert!(matches!(publisher.hears().await.read(), ServerFrame::Confirm(Some(_))));
    assert_eq!(client.gets(1).await[0].payload, &b"held"[..]);

    server.shut_down();
    let heard = client.hears().await;
    assert_eq!((heard.read(), heard.id()), (ServerFrame::Going("the broker drains"), 0));
    client.publishes(5, &PublishHead::at_least_once("demo"), &[b"new"]).await;
    client.hears_error(5, 503, "shutting down").await;
    client.receives(6, Source::Queue("jobs"), 1, 0).await;
    client.hears_error(6, 503, "shutting down").await;
    client.fences().await;
    client.settles(7, acknowledged(), &[(1, 1)]).await;
    hears_settled(&mut client, 7).await;
    assert!(client.hears_or_end().await.is_none());
    // It held nothing.
    assert!(matches!(publisher.hears().await.read(), ServerFrame::Going(_)));
    assert!(publisher.hears_or_end().await.is_none());
    stop(server).await;

    let server = start(data.path()).await;
    let mut client = Client::greeted(server.addr).await;
    client.subscribes(Qos::AtLeastOnce, "all", "demo", Some(10)).await;
    let got = client.gets(1).await;
    assert_eq!((got.len(), &got[0].payload[..]), (1, &b"later"[..]));
    client.settles(8, SettleHead::ACK, &[(1, 1)]).await;
    client.fences().await;
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_gone_ends_its_connections() {
    let data = tempfile::tempdir().unwrap();
    let broker = broker(data.path());
    let config = Config { keys: Some(vec![key("a", &["secret"], &["all"])]), ..config() };
    let server = start_on(config, broker.clone(), broker).await;
    let mut client = Client::with_key(server.addr, "secret").await;
    client.subscribes(Qos::AtMostOnce, "", "demo", Some(10)).await;
    server.ring.replace(Vec::new()).unwrap();
    assert!(client.hears_or_end().await.is_none());
    stop(server).await;
}
