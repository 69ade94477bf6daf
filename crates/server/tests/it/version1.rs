//! Version 1 over a socket, when everybody behaves.

use bytes::{Bytes, BytesMut};
use sluice_broker::ClosedBy;
use sluice_protocol::FrameType::{Ack, Auth, Hello, Ping, Poll, Publish, Subscribe};
use tokio::io::AsyncWriteExt;

use crate::client::{Client, ack, auth, frame, hello, poll, publish, subscribe};
use crate::fake::{FULL_TOPIC, Fake};
use crate::running::{config, config_with_keys, start, start_with};

#[tokio::test]
async fn a_client_publishes_polls_and_acknowledges() {
    let server = start(config_with_keys(&["dev-key-1"])).await;
    let mut client = Client::with_key(server.addr, "dev-key-1").await;
    let id = client.subscribes("demo", 1).await;
    client.publishes("demo", 1, b"hello from client").await;
    client.say(Poll, 5, poll(id)).await;
    let (tag, delivery) = client.hears_delivery().await;
    assert_eq!((delivery.topic.as_str(), delivery.qos), ("demo", 1));
    assert_eq!(delivery.message, &b"hello from client"[..]);
    client.say(Ack, tag, ack(id)).await;
    client.fences().await;
    client.say(Ack, tag, ack(id)).await;
    client.fences().await;
    client.say(Poll, 7, poll(id)).await;
    client.fences().await;
    let counters = server.stop().await;
    assert_eq!((counters.refusals, counters.binary_connections), (0, 1));
}

#[tokio::test]
async fn everything_may_be_sent_at_once_and_cut_anywhere() {
    let server = start(config_with_keys(&["key"])).await;
    // The fake broker gives its first subscription the number 2.
    let all = [
        frame(Hello, 1, hello()),
        frame(Auth, 2, auth("key")),
        frame(Subscribe, 3, subscribe("demo", 1)),
        frame(Publish, 4, publish("demo", 1, b"one")),
        frame(Poll, 5, poll(2)),
        frame(Publish, 4, publish("", 1, b"")),
        frame(Ping, 6, Bytes::new()),
    ]
    .concat();
    let mut first = Client::connect(server.addr).await;
    first.say_bytes(&all).await;
    first.hears_ack(1, 0).await;
    first.hears_ack(2, 0).await;
    first.hears_ack(3, 2).await;
    assert_eq!(first.hears_delivery().await.1.message, &b"one"[..]);
    first.hears_nack(4, 400, "empty topic").await;
    first.hears_pong(6).await;

    let mut slow = Client::connect(server.addr).await;
    slow.stream.set_nodelay(true).unwrap();
    for byte in &all {
        slow.say_bytes(&[*byte]).await;
    }
    slow.hears_ack(1, 0).await;
    slow.hears_ack(2, 0).await;
    assert_eq!(slow.hears().await.unwrap().correlation_id, 3);
    slow.hears_nack(5, 404, "unknown subscription").await;
    slow.hears_nack(4, 400, "empty topic").await;
    slow.hears_pong(6).await;
    server.stop().await;
}

#[tokio::test]
async fn a_pong_waits_for_what_came_before_it() {
    let server = start(config()).await;
    let mut client = Client::greeted(server.addr).await;
    server.fake.hold(true);
    client.publishes(FULL_TOPIC, 1, b"x").await;
    client.say(Poll, 5, poll(0)).await;
    client.say(Ping, 6, Bytes::new()).await;
    server.fake.submitted(3).await;
    let mut byte = [0];
    let waiting = client.stream.try_read(&mut byte).unwrap_err();
    assert_eq!(waiting.kind(), std::io::ErrorKind::WouldBlock);
    server.fake.hold(false);
    client.hears_nack(4, 429, "queue full").await;
    client.hears_nack(5, 400, "subscription_id must be non-zero").await;
    client.hears_pong(6).await;
    server.stop().await;
}

#[tokio::test]
async fn messages_of_every_size_come_back_whole() {
    let server = start(config()).await;
    let mut client = Client::greeted(server.addr).await;
    let id = client.subscribes("demo", 1).await;
    for bytes in [0, 1, 4_095, 4_096, 4_097, 65_535, 65_536, 200_000, 1024 * 1024] {
        let message: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
        client.publishes("demo", 1, &message).await;
        client.say(Poll, 5, poll(id)).await;
        let (tag, delivery) = client.hears_delivery().await;
        assert!(delivery.message == message, "{bytes} bytes");
        client.say(Ack, tag, ack(id)).await;
    }
    client.publishes("demo", 1, &vec![0; 1024 * 1024 + 1]).await;
    client.hears_nack(4, 413, "message too large").await;
    client.publishes("demo", 1, &vec![0; 3 * 1024 * 1024]).await;
    client.hears_nack(4, 413, "message too large").await;
    client.fences().await;
    server.stop().await;
}

#[tokio::test]
async fn what_comes_after_publishes_that_had_to_wait_is_read_once_they_are_taken() {
    let fake = Fake::new();
    let server = start_with(config(), fake.clone()).await;
    let mut client = Client::greeted(server.addr).await;
    fake.put_off(true);
    client.publishes("demo", 1, b"waits").await;
    fake.has_put_off().await;
    let mut later = frame(Publish, 5, publish("demo", 1, b"later")).to_vec();
    later.extend_from_slice(&frame(Ping, 6, Bytes::new()));
    client.say_bytes(&later).await;
    // A publish is taken without a reply: nothing but its own progress tells the door to read on.
    fake.put_off(false);
    client.hears_pong(6).await;
    server.stop().await;
}

#[tokio::test]
async fn more_is_answered_than_the_output_holds_at_once() {
    let server = start_with(config(), Fake::with_room(3_000)).await;
    let mut client = Client::greeted(server.addr).await;
    let id = client.subscribes("demo", 0).await;
    let mut all = BytesMut::new();
    for number in 0..2_000u64 {
        all.extend_from_slice(&frame(Publish, 4, publish("demo", 0, &number.to_be_bytes())));
        all.extend_from_slice(&frame(Poll, number, poll(id)));
        all.extend_from_slice(&frame(Poll, 9, poll(0)));
    }
    let (mut stream_in, stream_out) = client.stream.into_split();
    let writing = tokio::spawn(async move {
        let mut stream_out = stream_out;
        stream_out.write_all(&all).await.unwrap();
        stream_out
    });
    let mut buffer = BytesMut::new();
    let mut heard = Vec::new();
    while heard.len() < 4_000 {
        match sluice_protocol::try_decode_frame(&mut buffer).unwrap() {
            Some(frame) => heard.push(frame),
            None => {
                let read = tokio::io::AsyncReadExt::read_buf(&mut stream_in, &mut buffer);
                assert_ne!(read.await.unwrap(), 0);
            }
        }
    }
    for (number, pair) in heard.chunks(2).enumerate() {
        assert_eq!(pair[0].correlation_id, number as u64);
        assert_eq!(pair[1].correlation_id, 9);
    }
    drop((stream_in, writing.await.unwrap()));
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_closes_its_sending_half_still_gets_its_answers() {
    let server = start(config()).await;
    let mut client = Client::connect(server.addr).await;
    server.fake.hold(true);
    let all = [
        frame(Hello, 1, hello()),
        frame(Publish, 2, publish(FULL_TOPIC, 1, b"")),
        frame(Publish, 3, publish("demo", 1, b"")),
    ];
    client.say_bytes(&all.concat()).await;
    client.stream.shutdown().await.unwrap();
    server.fake.submitted(3).await;
    server.fake.hold(false);
    client.hears_ack(1, 0).await;
    client.hears_nack(2, 429, "queue full").await;
    client.hears_the_end().await;
    assert_eq!(server.fake.closed(1).await[0].1, ClosedBy::Client);
    server.stop().await;
}

#[tokio::test]
async fn who_comes_back_gets_what_it_had_not_acknowledged() {
    let server = start(config()).await;
    let mut client = Client::greeted(server.addr).await;
    let id = client.subscribes("demo", 1).await;
    client.publishes("demo", 1, b"one").await;
    client.publishes("demo", 1, b"two").await;
    client.say(Poll, 5, poll(id)).await;
    client.say(Poll, 5, poll(id)).await;
    let (one, _) = client.hears_delivery().await;
    client.hears_delivery().await;
    client.say(Ack, one, ack(id)).await;
    client.fences().await;
    drop(client);
    assert_eq!(server.fake.closed(1).await[0].1, ClosedBy::Client);

    let mut again = Client::greeted(server.addr).await;
    let id = again.subscribes("demo", 1).await;
    again.say(Poll, 5, poll(id)).await;
    let (tag, delivery) = again.hears_delivery().await;
    assert_eq!(delivery.message, &b"two"[..]);
    again.say(Ack, one, ack(id)).await;
    again.hears_nack(one, 404, "unknown subscription or delivery tag").await;
    again.say(Ack, tag, ack(id)).await;
    again.say(Poll, 5, poll(id)).await;
    again.fences().await;
    server.stop().await;
}
