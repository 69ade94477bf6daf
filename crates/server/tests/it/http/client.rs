//! A client of the HTTP door that says exactly what a test wants said.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::running::PATIENCE;

/// An answer.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Heard {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Fails the test unless it is a success; its JSON.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }

    /// Fails the test unless it is this error, in the one shape, with these words in its reason.
    #[track_caller]
    pub(crate) fn refuses(&self, status: u16, code: &str, words: &str) {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        let error = &self.json()["error"];
        assert_eq!((&error["code"], &error["status"]), (&code.into(), &status.into()));
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(words), "no {words:?} in {message:?}");
        assert_eq!(self.header("content-type"), Some("application/json"));
    }
}

/// A connection to the HTTP door.
pub(crate) struct Http<S = TcpStream> {
    pub(crate) stream: S,
    addr: SocketAddr,
    /// Read and not understood.
    rest: Vec<u8>,
    key: Option<String>,
}

impl Http {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream, addr)
    }

    pub(crate) async fn with_key(addr: SocketAddr, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..Self::connect(addr).await }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Http<S> {
    /// One over a stream that is open.
    pub(crate) fn over(stream: S, addr: SocketAddr) -> Self {
        Self { stream, addr, rest: Vec::new(), key: None }
    }

    /// A request as bytes.
    pub(crate) fn request(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
        let key = self.key.as_ref().map(|key| format!("Authorization: Bearer {key}\r\n"));
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{}{headers}Content-Length: {}\r\n\r\n",
            self.addr,
            key.unwrap_or_default(),
            body.len()
        );
        [head.as_bytes(), body].concat()
    }

    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Asks and hears the answer.
    pub(crate) async fn ask(&mut self, method: &str, path: &str, body: &[u8]) -> Heard {
        self.ask_with(method, path, "", body).await
    }

    pub(crate) async fn ask_with(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> Heard {
        let request = self.request(method, path, headers, body);
        self.say(&request).await;
        match method {
            "HEAD" => self.hears_head().await,
            _ => self.hears().await,
        }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Heard {
        self.ask("GET", path, b"").await
    }

    /// Posts JSON.
    pub(crate) async fn post(&mut self, path: &str, body: Value) -> Heard {
        let json = "Content-Type: application/json\r\n";
        self.ask_with("POST", path, json, body.to_string().as_bytes()).await
    }

    /// Reads more; whether there was any.
    pub(crate) async fn read(&mut self) -> bool {
        let mut buffer = vec![0; 64 << 10];
        let reading = timeout(PATIENCE, self.stream.read(&mut buffer));
        match reading.await.expect("something comes") {
            Ok(0) | Err(_) => false,
            Ok(read) => {
                self.rest.extend_from_slice(&buffer[..read]);
                true
            }
        }
    }

    /// The next answer.
    pub(crate) async fn hears(&mut self) -> Heard {
        let mut heard = self.hears_head().await;
        if let Some(length) = heard.header("content-length") {
            let length = length.parse().unwrap();
            heard.body = self.bytes(length).await;
        } else if heard.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk().await {
                heard.body.extend(chunk);
            }
        }
        heard
    }

    pub(crate) async fn hears_head(&mut self) -> Heard {
        let head = loop {
            if let Some(end) = self.rest.windows(4).position(|four| four == b"\r\n\r\n") {
                break self.rest.drain(..end + 4).collect::<Vec<u8>>();
            }
            assert!(self.read().await, "the answer breaks off: {:?}", self.rest);
        };
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        });
        Heard { status, headers: headers.collect(), body: Vec::new() }
    }

    /// The next chunk of a body; none at its end.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = loop {
            if let Some(end) = self.rest.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.rest.drain(..end + 2).collect();
                let line = String::from_utf8(line).unwrap();
                break usize::from_str_radix(line.trim(), 16).unwrap();
            }
            assert!(self.read().await, "a chunk breaks off");
        };
        let chunk = self.bytes(size).await;
        self.bytes(2).await;
        (size > 0).then_some(chunk)
    }

    async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.rest.len() < count {
            assert!(self.read().await, "the body breaks off");
        }
        self.rest.drain(..count).collect()
    }

    /// Fails the test unless the connection ends without a further byte.
    pub(crate) async fn hears_the_end(&mut self) {
        let more = self.read().await;
        assert!(!more && self.rest.is_empty(), "{:?}", String::from_utf8_lossy(&self.rest));
    }
}
