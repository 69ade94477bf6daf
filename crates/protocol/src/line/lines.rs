//! Lines: a stream is cut into them, each of bounded length.
//!
//! ```text
//!            byte                    longest line + 1
//! reading ----------> reading ----------------------------> skipping --- \n ---> reading
//!            \n: a line              one TooLong
//! ```

use bytes::{Buf, Bytes, BytesMut};

/// What the decoder found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A line without its end (`\n`, or `\r\n`).
    Whole(Bytes),
    /// A line is longer than allowed; told once, its rest is skipped.
    TooLong,
}

/// Cuts a stream into lines.
#[derive(Clone, Debug)]
pub struct LineDecoder {
    bytes_max: usize,
    /// Bytes at the front of the buffer that are known to hold no line end.
    scanned: usize,
    skipping: bool,
}

impl LineDecoder {
    /// A decoder of lines of at most `bytes_max` bytes, their end not counted.
    pub const fn new(bytes_max: usize) -> Self {
        Self { bytes_max, scanned: 0, skipping: false }
    }

    /// Allows lines of so many bytes from now on.
    pub const fn allow(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// Takes the next line from `buffer`; `None` until there is one. Between calls the buffer may
    /// only grow at its end. It never needs to hold more than the longest line and its end.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Option<Line> {
        loop {
            let unseen = buffer.get(self.scanned..).unwrap_or_default();
            let end = memchr::memchr(b'\n', unseen).map(|at| at + self.scanned);
            match end {
                Some(end) if self.skipping => {
                    buffer.advance(end + 1);
                    self.restart();
                }
                Some(end) => {
                    let mut line = buffer.split_to(end);
                    buffer.advance(1);
                    self.restart();
                    if line.last() == Some(&b'\r') {
                        line.truncate(end - 1);
                    }
                    let fits = line.len() <= self.bytes_max;
                    return Some(if fits { Line::Whole(line.freeze()) } else { Line::TooLong });
                }
                None if self.skipping => {
                    buffer.clear();
                    return None;
                }
                // One byte more than the longest line may still be the `\r` of its end.
                None if buffer.len() > self.bytes_max.saturating_add(1) => {
                    buffer.clear();
                    self.scanned = 0;
                    self.skipping = true;
                    return Some(Line::TooLong);
                }
                None => {
                    self.scanned = buffer.len();
                    return None;
                }
            }
        }
    }

    fn restart(&mut self) {
        self.scanned = 0;
        self.skipping = false;
    }
}

/// Whether a connection's first line is the request line of HTTP (or could be, where the line is
/// too long to tell), so that a browser can be kept from speaking to this door.
pub fn looks_like_http(first_line: &[u8], whole: bool) -> bool {
    const METHODS: [&str; 9] =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    let text = String::from_utf8_lossy(first_line);
    let Some((word, rest)) = text.split_once(' ') else { return false };
    if !whole {
        return METHODS.contains(&word);
    }
    rest.rsplit(' ').next().is_some_and(|last| last.starts_with("HTTP/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_in_steps(input: &[u8], step: usize, bytes_max: usize) -> Vec<Line> {
        let mut decoder = LineDecoder::new(bytes_max);
        let (mut buffer, mut lines) = (BytesMut::new(), Vec::new());
        for part in input.chunks(step) {
            buffer.extend_from_slice(part);
            while let Some(line) = decoder.decode(&mut buffer) {
                lines.push(line);
            }
            assert!(buffer.len() <= bytes_max + 1, "{} bytes are held", buffer.len());
        }
        lines
    }

    #[test]
    #[rustfmt::skip]
    fn lines_are_cut_the_same_however_the_bytes_arrive() {
        let whole = |text: &'static str| Line::Whole(Bytes::from_static(text.as_bytes()));
        let cases: [(&str, Vec<Line>); 8] = [
            ("PING\nPING\n",           vec![whole("PING"), whole("PING")]),
            ("PING\r\n\n",             vec![whole("PING"), whole("")]),
            ("12345678\n",             vec![whole("12345678")]),
            ("12345678\r\nx\n",        vec![whole("12345678"), whole("x")]),
            ("123456789\nx\n",         vec![Line::TooLong, whole("x")]),
            ("1234567890123456\nx\n",  vec![Line::TooLong, whole("x")]),
            ("123456789\r\nx\n",       vec![Line::TooLong, whole("x")]),
            ("1234",                   vec![]),
        ];
        for (input, expected) in cases {
            for step in 1..=input.len() {
                assert_eq!(decode_in_steps(input.as_bytes(), step, 8), expected, "{input:?} by {step}");
            }
        }
    }

    #[test]
    #[rustfmt::skip]
    fn request_lines_of_http_are_told_from_ours() {
        let cases: [(&str, bool, bool); 7] = [
            ("GET / HTTP/1.1",          true,  true),
            ("POST /enqueue HTTP/1.0",  true,  true),
            ("PRI * HTTP/2.0",          true,  true),
            ("GET key",                 true,  false),
            ("PING",                    true,  false),
            ("POST /aaaaaaaa",          false, true),
            ("ENQUEUE q aaaaaaa",       false, false),
        ];
        for (line, whole, expected) in cases {
            assert_eq!(looks_like_http(line.as_bytes(), whole), expected, "{line}");
        }
    }
}
