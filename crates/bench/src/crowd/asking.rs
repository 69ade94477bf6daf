//! A connection to the HTTP door that asks one thing at a time.

use std::io;
use std::net::SocketAddr;

use bytes::{Buf, BytesMut};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::wire::{line, unexpected};

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// The connection is of no more use.
    pub(super) closes: bool,
}

impl Answer {
    /// Its body as JSON.
    pub(super) fn json(&self) -> io::Result<Value> {
        serde_json::from_slice(&self.body).map_err(|_| unexpected("no JSON", &self.body))
    }
}

/// A request as bytes.
pub(super) fn request(method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// One connection.
#[derive(Debug)]
pub(super) struct Asking {
    stream: TcpStream,
    input: BytesMut,
}

impl Asking {
    pub(super) async fn connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, input: BytesMut::new() })
    }

    /// Asks and hears the answer.
    pub(super) async fn ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.say(request).await?;
        self.hear().await
    }

    /// Sends some bytes.
    pub(super) async fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The next answer.
    pub(super) async fn hear(&mut self) -> io::Result<Answer> {
        let head = loop {
            match Head::of(&self.input)? {
                Some(head) => break head,
                None => self.read().await?,
            }
        };
        self.input.advance(head.bytes);
        while self.input.len() < head.body {
            self.read().await?;
        }
        let body = self.input.get(..head.body).unwrap_or_default().to_vec();
        self.input.advance(head.body);
        Ok(Answer { status: head.status, body, closes: head.closes })
    }

    /// Whether the other side ends it without a further byte.
    pub(super) async fn ends(&mut self) -> bool {
        self.input.is_empty() && !matches!(self.stream.read_buf(&mut self.input).await, Ok(1..))
    }

    async fn read(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.input).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// The head of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Its own bytes, and those of the body behind it.
    pub(super) bytes: usize,
    pub(super) body: usize,
    pub(super) status: u16,
    /// The connection is of no more use behind the answer.
    pub(super) closes: bool,
}

impl Head {
    /// Reads what stands in front; none while its end has not come.
    pub(super) fn of(input: &[u8]) -> io::Result<Option<Self>> {
        let (mut head, mut at) = (Self { bytes: 0, body: 0, status: 0, closes: false }, 0);
        while let Some((text, bytes)) = line(&input[at..]) {
            if at == 0 {
                let status = text.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
                let status = status.and_then(|digits| digits.parse().ok());
                head.status = status.ok_or_else(|| unexpected("no head of an answer", text))?;
            } else if let Some(length) = value(text, "content-length") {
                head.body = length.parse().map_err(|_| unexpected("no length", text))?;
            } else if let Some(how) = value(text, "connection") {
                head.closes = how.eq_ignore_ascii_case("close");
            }
            at += bytes;
            if text.is_empty() {
                return Ok(Some(Self { bytes: at, ..head }));
            }
        }
        Ok(None)
    }
}

/// The value of a header, if the line is that one.
fn value<'a>(line: &'a [u8], name: &str) -> Option<&'a str> {
    let (known, value) = line.split_at_checked(name.len())?;
    let value = value.strip_prefix(b":").filter(|_| known.eq_ignore_ascii_case(name.as_bytes()))?;
    std::str::from_utf8(value).ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn answers_are_told_apart_and_the_end_is_seen() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut asking = Asking::connect(addr).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let two = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}\
            HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        server.write_all(two).await.unwrap();
        let first = asking.ask(&request("GET", "/", b"")).await.unwrap();
        assert_eq!((first.status, first.closes), (200, false));
        assert_eq!(first.json().unwrap(), serde_json::json!({}));
        let second = asking.hear().await.unwrap();
        assert_eq!((second.status, second.closes), (503, true));
        drop(server);
        assert!(asking.ends().await);
    }
}
