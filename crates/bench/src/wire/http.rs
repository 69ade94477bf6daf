//! HTTP/1.1: a message is posted, and 202 says that it was taken.

use std::io;

use super::{line, unexpected};
use crate::load::{Exchange, Message, Template};

/// A head that is longer is none.
const HEAD_MAX: usize = 4 << 10;
/// What a good answer begins with, and what its head has to hold: bytes of a body would be taken
/// for the next answer.
const ACCEPTED: &[u8] = b"HTTP/1.1 202 ";
const NO_BODY: &[u8] = b"content-length: 0";

/// Posts a message to `/enqueue`, over a connection that is kept.
pub fn enqueue(message: Message) -> Exchange {
    let body = message.blank();
    let mut frame = b"POST /enqueue HTTP/1.1\r\nhost: localhost\r\n".to_vec();
    frame.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    frame.extend_from_slice(&body);
    Exchange { request: Template::with_tail(frame, 0, message), answer: accepted, pack: None }
}

/// An answer that says that one message was taken.
fn accepted(_: u64, input: &[u8]) -> io::Result<Option<(usize, u64)>> {
    let (mut at, mut has_no_body) = (0, false);
    while let Some((text, bytes)) = line(&input[at..]) {
        at += bytes;
        has_no_body |= text == NO_BODY;
        if !text.is_empty() {
            continue;
        }
        return match has_no_body && input.starts_with(ACCEPTED) {
            true => Ok(Some((at, 1))),
            false => Err(unexpected("no 202 without a body", input)),
        };
    }
    match input.len() {
        ..HEAD_MAX => Ok(None),
        _ => Err(unexpected("no head of an answer", input)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_how_long_its_body_is() {
        let mut out = Vec::new();
        enqueue(Message { bytes: 24, content: false }).put(1, 1, &mut out);
        let head = b"POST /enqueue HTTP/1.1\r\nhost: localhost\r\ncontent-length: 24\r\n\r\n\x01\0";
        assert!(out.starts_with(head), "{out:?}");
        assert!(out.ends_with(b"xxxx"));
        assert_eq!(out.len(), head.len() + 22);
    }

    #[test]
    fn an_answer_counts_when_all_of_its_head_is_there_and_good() {
        let good = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\ndate: now\r\n\r\n";
        for cut in 0..good.len() {
            assert_eq!(accepted(1, &good[..cut]).unwrap(), None, "{cut}");
        }
        assert_eq!(accepted(1, &good.repeat(2)).unwrap(), Some((good.len(), 1)));
        for bad in [
            &b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n"[..],
            b"HTTP/1.1 202 Accepted\r\ncontent-length: 10\r\n\r\n",
            b"HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n",
            &[b'x'; HEAD_MAX],
        ] {
            assert!(accepted(1, bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
