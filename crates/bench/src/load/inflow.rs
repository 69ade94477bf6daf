//! The subscriber's bytes: messages one behind the other, counted where they lie.

use std::io;

use super::tally::Tally;

/// Finds the messages in what arrived.
pub trait Inflow: Send {
    /// Counts the whole messages at the front of `input` and gives how many bytes they take. What
    /// the server wants to hear goes to `out`.
    ///
    /// # Errors
    /// The server sent what it must not.
    fn take(&mut self, input: &[u8], tally: &mut Tally, out: &mut Vec<u8>) -> io::Result<usize>;
}

/// What stands at the front of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// A message: where its bytes begin and end, and where its frame ends.
    Message(usize, usize, usize),
    /// Something else up to there, and its answer.
    Other(usize, &'static [u8]),
}

/// Messages in frames. A frame whose head is that of the one before is not parsed again: the head
/// says how long it is.
#[derive(Debug)]
pub struct Framed {
    parse: fn(&[u8]) -> io::Result<Option<Front>>,
    head: Vec<u8>,
    payload_end: usize,
    end: usize,
}

impl Framed {
    /// Frames that `parse` knows.
    pub fn new(parse: fn(&[u8]) -> io::Result<Option<Front>>) -> Self {
        Self { parse, head: Vec::new(), payload_end: 0, end: usize::MAX }
    }
}

impl Inflow for Framed {
    fn take(&mut self, input: &[u8], tally: &mut Tally, out: &mut Vec<u8>) -> io::Result<usize> {
        let mut at = 0;
        loop {
            let rest = &input[at..];
            if rest.len() >= self.end && rest.starts_with(&self.head) {
                tally.message(&rest[self.head.len()..self.payload_end]);
                at += self.end;
                continue;
            }
            match (self.parse)(rest)? {
                None => return Ok(at),
                Some(Front::Message(start, payload_end, end)) => {
                    tally.message(&rest[start..payload_end]);
                    self.head.clear();
                    self.head.extend_from_slice(&rest[..start]);
                    (self.payload_end, self.end) = (payload_end, end);
                    at += end;
                }
                Some(Front::Other(end, answer)) => {
                    out.extend_from_slice(answer);
                    at += end;
                }
            }
        }
    }
}

/// Messages of so many bytes without frames.
#[derive(Clone, Copy, Debug)]
pub struct Fixed(pub usize);

impl Inflow for Fixed {
    fn take(&mut self, input: &[u8], tally: &mut Tally, _: &mut Vec<u8>) -> io::Result<usize> {
        let messages = input.chunks_exact(self.0);
        let whole = input.len() - messages.remainder().len();
        for message in messages {
            tally.message(message);
        }
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Message;

    /// `L` and a digit, then so many bytes and a dot; or `?`.
    fn toy(input: &[u8]) -> io::Result<Option<Front>> {
        match input {
            [b'?', ..] => Ok(Some(Front::Other(1, b"!"))),
            [b'L', digit, rest @ ..] => {
                let bytes = usize::from(digit - b'0');
                let message = Front::Message(2, 2 + bytes, 3 + bytes);
                Ok((rest.len() > bytes).then_some(message))
            }
            [] | [_] => Ok(None),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    #[test]
    fn frames_are_found_wherever_the_input_is_cut() {
        let mut input = Vec::new();
        for number in 1..=5_u64 {
            input.extend_from_slice(b"L8");
            input.extend_from_slice(&number.to_le_bytes());
            input.push(b'.');
        }
        input.splice(22..22, *b"?");
        for cut in 0..input.len() {
            let mut framed = Framed::new(toy);
            let mut tally = Tally::of(Message { bytes: 8, content: false });
            let mut out = Vec::new();
            let taken = framed.take(&input[..cut], &mut tally, &mut out).unwrap();
            let rest = framed.take(&input[taken..], &mut tally, &mut out).unwrap();
            assert_eq!((taken + rest, tally.fault(5)), (input.len(), None), "cut at {cut}");
            assert_eq!(out, b"!");
        }
    }
}
