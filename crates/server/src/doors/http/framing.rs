//! Watches the bytes of a connection on their way to hyper: where requests begin and end.
//!
//! ```text
//! between --a byte--> head --empty line, nothing wrong with it--> body of a length --'
//!    ^                                                      '--> chunks ------------'
//!    '------------------------------ all of it was seen -----------------------------'
//! ```
//!
//! What two servers could read in two ways (RFC 9112, section 11.2) ends the connection, be it what
//! a lenient parser would mend: a length beside a transfer coding, lengths twice, line feeds alone,
//! folded lines, blanks before a colon. hyper sees no byte of such a request's end.

use memchr::{memchr, memchr_iter};

use super::chunks::Chunks;

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It can be read in more than one way, or in none; the reason.
    Malformed(&'static str),
    /// The head is longer than its bound.
    HeadTooLarge,
    /// The head has more lines than their bound.
    TooManyHeaders,
}

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Length(u64),
    Chunked,
}

#[derive(Debug)]
enum State {
    /// No byte of the next request has come.
    Between,
    Head,
    Body(u64),
    Chunked(Chunks),
}

/// The requests of one connection, as far as they have come.
#[derive(Debug)]
pub(super) struct Framing {
    state: State,
    /// What has come of a head that is not whole.
    head: Vec<u8>,
    head_max: usize,
    headers_max: usize,
}

impl Framing {
    pub(super) fn new(head_max: usize, headers_max: usize) -> Self {
        Self { state: State::Between, head: Vec::new(), head_max, headers_max }
    }

    /// A head has begun and not ended.
    pub(super) fn is_in_head(&self) -> bool {
        matches!(self.state, State::Head)
    }

    /// A head has ended, and its body has not.
    pub(super) fn is_in_body(&self) -> bool {
        matches!(self.state, State::Body(_) | State::Chunked(_))
    }

    /// Looks at what came next. Returns how much of it hyper may see; all, or what comes before
    /// something wrong.
    pub(super) fn observe(&mut self, bytes: &[u8]) -> (usize, Option<Fault>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let before = bytes.len() - rest.len();
            match self.step(rest) {
                Ok(taken) => rest = rest.get(taken..).unwrap_or_default(),
                Err(fault) => return (before, Some(fault)),
            }
        }
        (bytes.len(), None)
    }

    /// Takes some of the bytes, of which there are any, and returns how many.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        match &mut self.state {
            State::Between => {
                // Blank lines before a request are passed over, as everybody does.
                let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
                if blank < bytes.len() {
                    self.state = State::Head;
                }
                Ok(blank)
            }
            State::Head => self.step_head(bytes),
            State::Body(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                if *left == 0 {
                    self.state = State::Between;
                }
                Ok(taken)
            }
            State::Chunked(chunks) => {
                let (taken, done) = chunks.observe(bytes).map_err(Fault::Malformed)?;
                if done {
                    self.state = State::Between;
                }
                Ok(taken)
            }
        }
    }

    fn step_head(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        // Nearly always all of it comes at once and nothing is kept.
        if self.head.is_empty() {
            if let Some(end) = end_of_head(bytes, 0) {
                let head = bytes.get(..end).unwrap_or_default();
                self.finish(head)?;
                return Ok(end);
            }
            self.keep(bytes)?;
            return Ok(bytes.len());
        }
        let had = self.head.len();
        self.keep(bytes)?;
        let Some(end) = end_of_head(&self.head, had.saturating_sub(3)) else {
            return Ok(bytes.len());
        };
        let mut head = std::mem::take(&mut self.head);
        head.truncate(end);
        self.finish(&head)?;
        Ok(end - had)
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        // A line feed that ends a head for lenient parsers must not reach one.
        if self.head.len() + bytes.len() > self.head_max && end_of_head(bytes, 0).is_none() {
            return Err(Fault::HeadTooLarge);
        }
        let mut before = self.head.last().copied();
        for byte in bytes {
            if *byte == b'\n' && before != Some(b'\r') {
                return Err(Fault::Malformed("a line ends with a line feed alone"));
            }
            before = Some(*byte);
        }
        self.head.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(&mut self, head: &[u8]) -> Result<(), Fault> {
        if head.len() > self.head_max {
            return Err(Fault::HeadTooLarge);
        }
        self.state = match check(head, self.headers_max)? {
            Body::Length(0) => State::Between,
            Body::Length(length) => State::Body(length),
            Body::Chunked => State::Chunked(Chunks::default()),
        };
        Ok(())
    }
}

/// Where a head ends, its empty line included, looking from `from` on.
fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    let tail = bytes.get(from..)?;
    let is_end = |end: &usize| tail.get(..*end).is_some_and(|head| head.ends_with(b"\r\n\r\n"));
    memchr_iter(b'\n', tail).map(|at| at + 1).find(is_end).map(|end| from + end)
}

/// What lies between the line feeds of a head.
fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(head);
    std::iter::from_fn(move || {
        let all = rest?;
        let end = memchr(b'\n', all).unwrap_or(all.len());
        rest = all.get(end + 1..);
        all.get(..end)
    })
}

/// Reads as much of a head as decides where the request ends.
fn check(head: &[u8], headers_max: usize) -> Result<Body, Fault> {
    let malformed = |reason| Err(Fault::Malformed(reason));
    // What is left ends each line with a carriage return, the last one too.
    let head = head.strip_suffix(b"\n\r\n").unwrap_or(head);
    let mut lines = lines(head);
    let request = lines.next().unwrap_or_default();
    let request = line(request)?;
    let is_old = request.ends_with(b"HTTP/1.0");
    if !is_old && !request.ends_with(b"HTTP/1.1") {
        return malformed("the request line does not end with HTTP/1.1");
    }
    if request.iter().filter(|byte| **byte == b' ').count() != 2 {
        return malformed("the request line has not two blanks");
    }
    let (mut length, mut coded, mut hosts, mut count) = (None, false, 0, 0);
    for header in lines {
        count += 1;
        if count > headers_max {
            return Err(Fault::TooManyHeaders);
        }
        let header = line(header)?;
        let Some(colon) = memchr(b':', header) else {
            return malformed("a header has no colon");
        };
        let (name, value) = header.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            if length.replace(digits(value)?).is_some() {
                return malformed("there are two lengths");
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if coded || !value.eq_ignore_ascii_case(b"chunked") {
                return malformed("a transfer coding is not chunked alone");
            }
            coded = true;
        } else if name.eq_ignore_ascii_case(b"host") {
            hosts += 1;
        } else if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return malformed("the name of a header is none, or a line is folded");
        }
    }
    match (coded, length) {
        _ if hosts > 1 || hosts == 0 && !is_old => malformed("there is not one host"),
        (true, Some(_)) => malformed("there are a length and a transfer coding"),
        (true, None) if is_old => malformed("HTTP/1.0 has no transfer codings"),
        (true, None) => Ok(Body::Chunked),
        (false, length) => Ok(Body::Length(length.unwrap_or(0))),
    }
}

/// A line without its carriage return, if it has that and no other control characters.
fn line(line: &[u8]) -> Result<&[u8], Fault> {
    let Some(line) = line.strip_suffix(b"\r") else {
        return Err(Fault::Malformed("a line ends with a line feed alone"));
    };
    let is_control = |byte: u8| (byte < b' ') & (byte != b'\t') | (byte == 127);
    // To the end, whatever comes first: so many bytes are looked at by one instruction.
    match line.iter().fold(false, |found, byte| found | is_control(*byte)) {
        true => Err(Fault::Malformed("the head has control characters")),
        false => Ok(line),
    }
}

fn digits(value: &[u8]) -> Result<u64, Fault> {
    let number = std::str::from_utf8(value).ok();
    let number = number.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let wrong = Fault::Malformed("the length is not a number");
    number.and_then(|text| text.parse().ok()).ok_or(wrong)
}

/// A character of a header's name, from RFC 9110, section 5.6.2.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
