//! One line client as a state machine: bytes in, bytes out; no socket, no clock.

use bytes::BytesMut;
use sluice_protocol::line::text::{LINE_TOO_LONG, PONG, TextCommand, TextError, looks_like_http};
use sluice_protocol::line::{Line, LineDecoder};

use crate::doors::Output;

/// Bytes of a first line that are enough to know a method of HTTP.
const FIRST_BYTES: usize = 16;

/// What a session needs before it can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    /// More bytes.
    Bytes,
    /// The output to be sent first.
    Room,
    /// To be closed at once: a browser speaks.
    Close,
}

/// What a session has counted since it was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) lines: u64,
    pub(crate) refusals: u64,
}

/// One client of the line door.
pub(crate) struct Session {
    decoder: LineDecoder,
    out_max: usize,
    first: bool,
    tally: Tally,
}

impl Session {
    pub(crate) fn new(line_max: usize, out_max: usize) -> Self {
        let decoder = LineDecoder::new(line_max);
        Self { decoder, out_max, first: true, tally: Tally::default() }
    }

    pub(crate) fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// Whether a whole line has come.
    pub(crate) fn has_begun(&self) -> bool {
        !self.first
    }

    /// Answers lines from the front of `input` until something else is wanted.
    pub(crate) fn receive(&mut self, input: &mut BytesMut, output: &mut Output) -> Wants {
        while output.unsent() < self.out_max {
            let mut begin = [0; FIRST_BYTES];
            if self.first {
                begin.iter_mut().zip(input.iter()).for_each(|(to, from)| *to = *from);
            }
            let Some(line) = self.decoder.decode(input) else { return Wants::Bytes };
            if std::mem::take(&mut self.first) {
                let http = match &line {
                    Line::Whole(line) => looks_like_http(line, true),
                    Line::TooLong => looks_like_http(&begin, false),
                };
                if http {
                    return Wants::Close;
                }
            }
            self.answer(&line, output);
        }
        Wants::Room
    }

    fn answer(&mut self, line: &Line, output: &mut Output) {
        self.tally.lines += 1;
        let answer = match line {
            Line::Whole(line) => TextCommand::parse(line).map_err(TextError::answer),
            Line::TooLong => Err(LINE_TOO_LONG),
        };
        let text = match answer {
            Ok(TextCommand::Ping) => PONG,
            Err(text) => {
                self.tally.refusals += 1;
                text
            }
        };
        output.write(|out| {
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"\n");
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converse(input: &[u8], step: usize, out_max: usize) -> (String, Wants) {
        let mut session = Session::new(20, out_max);
        let (mut buffer, mut output) = (BytesMut::new(), Output::default());
        let mut wants = Wants::Bytes;
        for part in input.chunks(step) {
            buffer.extend_from_slice(part);
            wants = session.receive(&mut buffer, &mut output);
            if wants != Wants::Bytes {
                break;
            }
        }
        let (slices, count) = output.slices();
        let said = slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
        (String::from_utf8(said).unwrap(), wants)
    }

    #[test]
    #[rustfmt::skip]
    fn each_line_gets_one_answer() {
        let cases: [(&[u8], &str, Wants); 8] = [
            (b"PING\n",                            "PONG\n",                                Wants::Bytes),
            (b"ping\r\nFLY\nPING\n",               "PONG\nERR unknown command\nPONG\n",     Wants::Bytes),
            (b"\n",                                "ERR unknown command\n",                 Wants::Bytes),
            (b"\xff\nPING\n",                      "ERR invalid UTF-8\nPONG\n",             Wants::Bytes),
            (b"aaaaaaaaaaaaaaaaaaaaaaaaaa\nPING\n", "ERR line too long\nPONG\n",            Wants::Bytes),
            (b"GET / HTTP/1.1\nPING\n",            "",                                      Wants::Close),
            (b"POST /aaaaaaaaaaaaaaaaaaaaaaaa",    "",                                      Wants::Close),
            (b"PING\nGET / HTTP/1.1\n",            "PONG\nERR unknown command\n",           Wants::Bytes),
        ];
        for (input, said, wants) in cases {
            for step in 1..=input.len() {
                assert_eq!(converse(input, step, 1_000), (said.to_owned(), wants), "{input:?} by {step}");
            }
        }
    }

    #[test]
    fn nothing_more_is_answered_than_may_wait() {
        let (said, wants) = converse(&b"PING\n".repeat(10), 50, 12);
        assert_eq!((said.as_str(), wants), ("PONG\nPONG\nPONG\n", Wants::Room));
    }
}
