//! The text protocol of NATS.
//!
//! ```text
//! PUB subject [reply] bytes CRLF payload CRLF
//! SUB subject sid CRLF
//! MSG subject sid [reply] bytes CRLF payload CRLF
//! HMSG subject sid [reply] header-bytes bytes CRLF header payload CRLF
//! ```

use std::io::Write;

use super::{Parsed, body, decimal, line, unexpected};

/// What a server says.
#[derive(Debug, PartialEq, Eq)]
pub enum Op<'a> {
    /// Who it is, as JSON.
    Info(&'a [u8]),
    /// It wants a PONG.
    Ping,
    /// The answer to a PING.
    Pong,
    /// The answer to anything, where a client asked for them.
    Ok,
    /// A message.
    Msg(Msg<'a>),
}

/// A message.
#[derive(Debug, PartialEq, Eq)]
pub struct Msg<'a> {
    /// Where it was published.
    pub subject: &'a [u8],
    /// Where an answer goes; empty for nowhere.
    pub reply: &'a [u8],
    /// Its header, `NATS/1.0` and on; empty without one.
    pub header: &'a [u8],
    /// Its bytes.
    pub payload: &'a [u8],
}

impl Msg<'_> {
    /// The status in its header, as 404 where there is no message.
    pub fn status(&self) -> Option<u64> {
        let rest = self.header.strip_prefix(b"NATS/1.0 ")?;
        decimal::parse(rest.get(..3)?)
    }
}

/// What stands at the front.
///
/// # Errors
/// It is an error that the server reports, or nothing that it may say.
pub fn op(input: &[u8]) -> Parsed<Op<'_>> {
    let Some((text, at)) = line(input) else { return Ok(None) };
    let found = match text {
        b"PING" => Op::Ping,
        b"PONG" => Op::Pong,
        b"+OK" => Op::Ok,
        _ if text.starts_with(b"INFO ") => Op::Info(&text[5..]),
        _ if text.starts_with(b"MSG ") => return message(input, &text[4..], at, false),
        _ if text.starts_with(b"HMSG ") => return message(input, &text[5..], at, true),
        _ => return Err(unexpected("NATS says", text)),
    };
    Ok(Some((found, at)))
}

fn message<'a>(input: &'a [u8], args: &'a [u8], at: usize, header: bool) -> Parsed<Op<'a>> {
    let wrong = || unexpected("no message of NATS", args);
    let mut words = [&args[..0]; 5];
    let mut count = 0;
    for word in args.split(|byte| *byte == b' ').filter(|word| !word.is_empty()) {
        *words.get_mut(count).ok_or_else(wrong)? = word;
        count += 1;
    }
    let numbers = if header { 2 } else { 1 };
    let reply = match count.checked_sub(2 + numbers) {
        Some(0) => &args[..0],
        Some(1) => words[2],
        _ => return Err(wrong()),
    };
    let bytes = decimal::parse(words[count - 1]).ok_or_else(wrong)? as usize;
    let header_bytes = match header {
        true => decimal::parse(words[count - 2]).ok_or_else(wrong)? as usize,
        false => 0,
    };
    let Some((all, end)) = body(input, at, bytes) else { return Ok(None) };
    let (header, payload) = all.split_at_checked(header_bytes).ok_or_else(wrong)?;
    Ok(Some((Op::Msg(Msg { subject: words[0], reply, header, payload }), end)))
}

/// Adds a PUB; `reply` may be empty.
pub fn publish(out: &mut Vec<u8>, subject: &[u8], reply: &[u8], payload: &[u8]) {
    out.extend_from_slice(b"PUB ");
    out.extend_from_slice(subject);
    out.push(b' ');
    if !reply.is_empty() {
        out.extend_from_slice(reply);
        out.push(b' ');
    }
    // Writing to a vector can't fail.
    let _ = write!(out, "{}\r\n", payload.len());
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

/// Adds a SUB.
pub fn subscribe(out: &mut Vec<u8>, subject: &[u8], sid: u64) {
    out.extend_from_slice(b"SUB ");
    out.extend_from_slice(subject);
    let _ = write!(out, " {sid}\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_may_have_a_reply_and_a_header() {
        let input = b"MSG a.b 7 5\r\nhello\r\nMSG a.b 7 in.1 2\r\n\r\n\r\nHMSG in 1 16 16\r\nNATS/1.0 404\r\n\r\n\r\n";
        let (first, bytes) = op(input).unwrap().unwrap();
        let plain = Msg { subject: b"a.b", reply: b"", header: b"", payload: b"hello" };
        assert_eq!((first, bytes), (Op::Msg(plain), 20));
        let (second, more) = op(&input[bytes..]).unwrap().unwrap();
        let replied = Msg { subject: b"a.b", reply: b"in.1", header: b"", payload: b"\r\n" };
        assert_eq!(second, Op::Msg(replied));
        let (third, last) = op(&input[bytes + more..]).unwrap().unwrap();
        let Op::Msg(status) = third else { panic!("{third:?}") };
        assert_eq!((status.status(), status.payload), (Some(404), &b""[..]));
        assert_eq!(bytes + more + last, input.len());
    }

    #[test]
    fn what_is_cut_is_not_there_yet() {
        let input = b"MSG a.b 7 in.1 5\r\nhello\r\n";
        for end in 0..input.len() {
            assert_eq!(op(&input[..end]).unwrap(), None, "{end}");
        }
    }

    #[test]
    fn what_no_server_says_is_an_error() {
        for text in
            ["-ERR 'x'\r\n", "MSG a\r\n", "MSG a 1 x\r\n", "HMSG a 1 9 4\r\nabcd\r\n", "\r\n"]
        {
            assert!(op(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_published_reads_as_a_message() {
        let mut out = Vec::new();
        publish(&mut out, b"a", b"r", b"xyz");
        subscribe(&mut out, b"a", 3);
        assert_eq!(out, b"PUB a r 3\r\nxyz\r\nSUB a 3\r\n");
    }
}
