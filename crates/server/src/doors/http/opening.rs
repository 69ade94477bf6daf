//! A connection until its first request has come, which is when hyper gets it.
//!
//! hyper takes several times the memory of a connection that has asked nothing yet, and most of the
//! time that it costs to refuse one. So who is silent or sends bytes one by one costs little, and so does
//! who comes when the room in front of the workers is full.

use std::io;

use bytes::BytesMut;
use sluice_model::Code;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::door::HttpDoor;
use super::io::HttpIo;
use crate::doors::{Notices, Shared};
use crate::requests::Outcome;

/// Room for a head at first: nearly all are shorter.
const HEAD: usize = 512;

/// What came of it.
pub(super) enum Opened {
    /// A request, which hyper reads next.
    Request,
    /// It ended before, or was told something and ended.
    Ended,
    /// The server drains.
    Drained,
}

/// Waits for the first head, and refuses right away what could not even wait to be served.
pub(super) async fn open<S: AsyncRead + AsyncWrite + Unpin>(
    io: &mut HttpIo<S>,
    door: &HttpDoor,
    shared: &Shared,
    notices: &mut Notices,
) -> io::Result<Opened> {
    let mut head = BytesMut::with_capacity(HEAD);
    while head.is_empty() || io.is_in_head() {
        let read = tokio::select! {
            biased;
            read = io.read_buf(&mut head) => read?,
            () = notices.drain() => return Ok(Opened::Drained),
        };
        if read == 0 {
            return Ok(Opened::Ended);
        }
        // Blank lines in front of a request are none.
        if !io.is_in_head() && head.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            head.clear();
        }
    }
    if path(&head).is_some_and(|path| !door.is_exempt(path))
        && let Some(refusal) = shared.intake.turns_away(&shared.counters)
    {
        count(refusal.code, door, shared);
        io.refuse(&refusal).await;
        return Ok(Opened::Ended);
    }
    if path(&head).is_some_and(|path| !door.is_exempt(path)) {
        tokio::select! {
            biased;
            () = io.turn() => {}
            () = notices.drain() => {}
        }
    }
    io.read_first(head.freeze());
    Ok(Opened::Request)
}

/// As the service counts those that it refuses.
fn count(code: Code, door: &HttpDoor, shared: &Shared) {
    shared.counters.http_requests.one();
    shared.counters.http_refusals.one();
    shared.requests.one(door.name(), Some(Outcome::of(code)));
}

/// The path that a request asks for; none where that is hyper's to say, or its answer has no body.
fn path(head: &[u8]) -> Option<&str> {
    let line = head.split(|byte| *byte == b'\r').find(|line| !line.trim_ascii().is_empty())?;
    let mut words = std::str::from_utf8(line).ok()?.trim_start().split(' ');
    let (method, target) = (words.next()?, words.next()?);
    if method == "HEAD" || !target.starts_with('/') {
        return None;
    }
    target.split(['?', '#']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_request_is_told_before_it_is_parsed() {
        let cases = [
            ("GET /dequeue HTTP/1.1\r\nHost: a\r\n\r\n", Some("/dequeue")),
            ("\r\n\r\nPOST /v1/ack?a=/b HTTP/1.1\r\n", Some("/v1/ack")),
            ("GET / HTTP/1.1\r\n", Some("/")),
            ("HEAD /dequeue HTTP/1.1\r\n", None),
            ("GET http://a/dequeue HTTP/1.1\r\n", None),
            ("OPTIONS * HTTP/1.1\r\n", None),
            ("GET\r\n\r\n", None),
            ("\r\n", None),
        ];
        for (head, expected) in cases {
            assert_eq!(path(head.as_bytes()), expected, "{head:?}");
        }
        assert_eq!(path(b"GET /\xff HTTP/1.1\r\n"), None);
    }
}
