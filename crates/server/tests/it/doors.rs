//! Scenarios that are played through the doors byte for byte.

use std::net::SocketAddr;

use sluice_server::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::running::{PATIENCE, config, start};

/// Sends `bytes`, closes the sending half, and returns all that comes back.
pub(crate) async fn converse(addr: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let mut heard = Vec::new();
    let talk = async {
        // Who is closed at once may be reset while it still sends.
        if stream.write_all(bytes).await.is_ok() && stream.shutdown().await.is_ok() {
            let _ = stream.read_to_end(&mut heard).await;
        }
    };
    timeout(PATIENCE, talk).await.expect("the server closes");
    heard
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

#[tokio::test]
#[rustfmt::skip]
async fn each_door_answers_as_documented() {
    let server = start(Config { max_line_bytes: 64, ..config() }).await;
    let hello = "0000000b 01 0000000000000001 0001";
    let done = "00000011 05 0000000000000001 0000000000000000";
    let long = "x".repeat(1_000);
    let cases: [(&str, Vec<u8>, Vec<u8>); 12] = [
        ("ping",           b"PING\n".to_vec(),                   b"PONG\n".to_vec()),
        ("case and blanks", b" ping \r\n".to_vec(),              b"PONG\n".to_vec()),
        ("unknown",        b"FLY\nPING\n".to_vec(),              b"ERR unknown command\nPONG\n".to_vec()),
        ("no text",        b"a\xff\nPING\n".to_vec(),            b"ERR invalid UTF-8\nPONG\n".to_vec()),
        ("long line",      format!("{long}\nPING\n").into(),     b"ERR line too long\nPONG\n".to_vec()),
        ("http",           b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), b"".to_vec()),
        ("tls",            b"\x16\x03\x01".to_vec(),             b"".to_vec()),
        ("first byte",     b"\x80abc".to_vec(),                  b"".to_vec()),
        ("nothing",        b"".to_vec(),                         b"".to_vec()),
        ("hello",          bytes(hello),                         bytes(done)),
        ("ping, binary",   bytes(&format!("{hello} 00000009 07 0000000000000006")),
                           bytes(&format!("{done} 00000009 08 0000000000000006"))),
        ("not ready",      bytes("00000009 07 0000000000000006"),
                           bytes("0000001c 06 0000000000000006 0191 000f 756e61757468656e74696361746564")),
    ];
    for (name, said, expected) in cases {
        let heard = converse(server.addr, &said).await;
        assert_eq!(String::from_utf8_lossy(&heard), String::from_utf8_lossy(&expected), "{name}");
    }
    let counters = server.stop().await;
    assert_eq!((counters.rejected_http, counters.rejected_tls, counters.rejected_first_byte), (1, 1, 1));
    assert_eq!((counters.line_connections, counters.binary_connections), (6, 3));
    assert_eq!((counters.lines, counters.frames), (8, 4));
}

#[tokio::test]
async fn more_lines_are_answered_than_the_output_holds_at_once() {
    let server = start(Config { out_max_bytes: 1_024, ..config() }).await;
    let heard = converse(server.addr, &b"PING\n".repeat(20_000)).await;
    assert!(heard == b"PONG\n".repeat(20_000));
    server.stop().await;
}
