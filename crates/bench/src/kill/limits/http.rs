//! A blocking client of the HTTP door that speaks JSON, over a connection that is kept.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;
use thiserror::Error;

use crate::process::Broker;

/// A broker that says nothing for so long has failed.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Why there is no answer of use.
#[derive(Debug, Error)]
pub(super) enum HttpError {
    /// The connection ended.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The answer is no 200.
    #[error("{0}")]
    Refused(String),
}

pub(super) struct Http(BufReader<TcpStream>);

impl Http {
    pub(super) fn connect(broker: &Broker) -> io::Result<Self> {
        let addr = broker.http_addr().ok_or_else(|| io::Error::other("no HTTP door"))?;
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Asks, and waits for the answer; a body that is null is none.
    pub(super) fn ask(
        &mut self,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Result<Value, HttpError> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}");
        self.0.get_mut().write_all(format!("{head}\r\n\r\n{body}").as_bytes())?;
        let status = self.line()?;
        let mut length = 0;
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(bytes) = line.strip_prefix("content-length:") {
                length = bytes.trim().parse().map_err(io::Error::other)?;
            }
        }
        let mut answer = vec![0; length];
        self.0.read_exact(&mut answer)?;
        if !status.starts_with("HTTP/1.1 200 ") {
            let answer = String::from_utf8_lossy(&answer);
            return Err(HttpError::Refused(format!("{method} {path}: {status} {answer}")));
        }
        Ok(serde_json::from_slice(&answer).map_err(io::Error::other)?)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}
