//! The TCP port behind TLS: the same doors, and answers that count as sent when they are.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use bytes::Bytes;
use sluice_protocol::FrameType::{Ping, Publish};
use sluice_server::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Secured, shake};
use crate::client::{Client, ack, frame, poll, publish};
use crate::running::PATIENCE;

#[tokio::test]
async fn inside_tls_the_first_byte_tells_the_door() {
    let place = Secured::new().await;
    let mut line = shake(place.server.addr, place.client()).await.unwrap();
    line.write_all(b"PING\n").await.unwrap();
    let mut said = [0; 5];
    timeout(PATIENCE, line.read_exact(&mut said)).await.unwrap().unwrap();
    assert_eq!(&said, b"PONG\n");
    for strange in [0x16, 0xff] {
        let mut stream = shake(place.server.addr, place.client()).await.unwrap();
        stream.write_all(&[strange]).await.unwrap();
        let mut said = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("the server closes");
        assert_eq!(said, b"");
    }
    // On this machine one may do without.
    Client::greeted(place.server.addr).await.fences().await;
    drop(line);
    let counters = place.stop().await;
    let doors = (counters.line_connections, counters.binary_connections, counters.tls_handshakes);
    assert_eq!(doors, (1, 1, 3));
    assert_eq!((counters.rejected_tls, counters.rejected_first_byte), (1, 1));
}

/// An address of this machine that is not loopback. Asking for the way to somewhere sends nothing.
fn address_for_others() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").ok()?;
    let ip = socket.local_addr().unwrap().ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

#[tokio::test]
async fn who_is_not_on_this_machine_does_not_do_without_tls() {
    // Where there is no such address nobody can come from one either.
    let Some(ip) = address_for_others() else { return };
    let place = Secured::with(|config, _| {
        config.tcp_addr = "0.0.0.0:0".parse().unwrap();
        config.insecure_no_auth = true;
    })
    .await;
    let addr = SocketAddr::new(ip, place.server.addr.port());
    for plain in [&b"PING\n"[..], &[0, 0, 0, 9, 7, 0, 0, 0, 0, 0, 0, 0, 1], b"GET / HTTP/1.1\r\n"] {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(plain).await.unwrap();
        let mut said = Vec::new();
        // Closed with bytes unread, so perhaps by a reset.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("the server closes");
        assert_eq!(said, b"");
    }
    let mut secured = shake(addr, place.client()).await.unwrap();
    secured.write_all(b"PING\n").await.unwrap();
    let mut said = [0; 5];
    timeout(PATIENCE, secured.read_exact(&mut said)).await.unwrap().unwrap();
    assert_eq!(&said, b"PONG\n");
    drop(secured);
    let counters = place.stop().await;
    assert_eq!((counters.rejected_plaintext, counters.line_connections), (3, 1));
}

#[tokio::test]
async fn messages_of_every_size_come_back_whole() {
    let place = Secured::new().await;
    let stream = shake(place.server.addr, place.client()).await.unwrap();
    let mut client = Client::over(stream).greets().await;
    let id = client.subscribes("demo", 1).await;
    for bytes in [0, 1, 4_096, 16_384, 16_385, 100_000, 1 << 20] {
        let sent: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
        client.publishes("demo", 1, &sent).await;
        client.fences().await;
        client.say(sluice_protocol::FrameType::Poll, 5, poll(id)).await;
        let (tag, got) = client.hears_delivery().await;
        assert!(got.message == sent, "{bytes} bytes");
        client.say(sluice_protocol::FrameType::Ack, tag, ack(id)).await;
        client.fences().await;
    }
    place.stop().await;
}

#[tokio::test]
async fn a_burst_in_one_write_is_all_understood_and_all_answered() {
    let place = Secured::new().await;
    let stream = shake(place.server.addr, place.client()).await.unwrap();
    let mut client = Client::over(stream).greets().await;
    // More than what one read takes, and more answers than sockets hold while nobody reads them.
    let count = 60_000_u64;
    let burst: Vec<u8> = (0..count).flat_map(|id| frame(Ping, id, Bytes::new())).collect();
    let (mut from, mut to) = tokio::io::split(client.stream);
    let writing = tokio::spawn(async move {
        to.write_all(&burst).await.unwrap();
        to
    });
    let to = timeout(PATIENCE, writing).await.expect("the server reads").unwrap();
    let expected: Vec<u8> = (0..count)
        .flat_map(|id| frame(sluice_protocol::FrameType::Pong, id, Bytes::new()))
        .collect();
    let mut heard = vec![0; expected.len()];
    timeout(PATIENCE, from.read_exact(&mut heard)).await.expect("all is answered").unwrap();
    assert!(heard == expected);
    client = Client::over(from.unsplit(to));
    client.fences().await;
    drop(client);
    place.stop().await;
}

#[tokio::test]
async fn a_client_that_takes_no_answers_is_cut() {
    let patience = std::time::Duration::from_millis(200);
    let change = |config: &mut Config, _: &_| config.write_timeout = patience;
    let place = Secured::with(change).await;
    let stream = shake(place.server.addr, place.client()).await.unwrap();
    let mut client = Client::over(stream).greets().await;
    let id = client.subscribes("demo", 1).await;
    let large = vec![b'x'; 1 << 19];
    for _ in 0..32 {
        client.publishes("demo", 1, &large).await;
        client.fences().await;
    }
    for _ in 0..32 {
        client.say(sluice_protocol::FrameType::Poll, 5, poll(id)).await;
    }
    place.counts("write_timeouts", 1).await;
    drop(client);
    place.stop().await;
}

#[tokio::test]
async fn a_drain_answers_what_was_sent_and_says_goodbye() {
    let mut place = Secured::new().await;
    let stream = shake(place.server.addr, place.client()).await.unwrap();
    let mut busy = Client::over(stream).greets().await;
    let mut idle = shake(place.server.addr, place.client()).await.unwrap();
    let silent = TcpStream::connect(place.server.addr).await.unwrap();
    let mut bytes = frame(Publish, 3, publish("demo", 1, b"x"));
    bytes.extend_from_slice(&frame(Ping, 7, Bytes::new()));
    busy.say_bytes(&bytes).await;
    busy.hears_pong(7).await;
    place.server.shut_down();
    busy.hears_the_end().await;
    // Without a goodbye this would be an error.
    let mut said = Vec::new();
    timeout(PATIENCE, idle.read_to_end(&mut said)).await.unwrap().unwrap();
    assert_eq!(said, b"");
    drop(silent);
    place.stop().await;
}
