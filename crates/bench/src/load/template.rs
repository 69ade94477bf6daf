//! A message in a target's frame, made once and then only numbered.

use std::ops::Range;

use super::content::{self, NUMBER};
use crate::wire::decimal;

/// What a load sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its bytes, at least 8.
    pub bytes: usize,
    /// Every byte follows from its number and is checked where it arrives.
    pub content: bool,
}

impl Message {
    /// Bytes of the smallest.
    pub const NUMBER: usize = NUMBER;

    /// Bytes to build a frame around.
    pub fn blank(self) -> Vec<u8> {
        vec![b'x'; self.bytes.max(NUMBER)]
    }
}

/// How a frame writes a number of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Eight bytes, big-endian.
    BigEndian,
    /// So many decimal digits.
    Decimal(usize),
}

/// A frame around one message.
#[derive(Clone, Debug)]
pub struct Template {
    frame: Vec<u8>,
    payload: Range<usize>,
    numbers: Vec<(usize, Form)>,
    content: bool,
}

impl Template {
    /// `frame` holds `message.blank()` from `at` on.
    pub fn new(frame: Vec<u8>, at: usize, message: Message) -> Self {
        let payload = at..at + message.bytes.max(NUMBER);
        debug_assert!(payload.end <= frame.len());
        Self { frame, payload, numbers: Vec::new(), content: message.content }
    }

    /// A frame that holds no message.
    pub fn bare(frame: Vec<u8>) -> Self {
        Self { frame, payload: 0..0, numbers: Vec::new(), content: false }
    }

    /// The frame ends with `tail` bytes behind the message.
    pub fn with_tail(frame: Vec<u8>, tail: usize, message: Message) -> Self {
        let at = frame.len() - tail - message.bytes.max(NUMBER);
        Self::new(frame, at, message)
    }

    /// The frame itself has the number too, at `at`.
    #[must_use]
    pub fn numbered(mut self, at: usize, form: Form) -> Self {
        self.numbers.push((at, form));
        self
    }

    /// Bytes of a frame.
    pub fn frame_bytes(&self) -> usize {
        self.frame.len()
    }

    /// Appends frame `number`.
    pub fn put(&self, number: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.frame);
        self.number(number, &mut out[start..]);
    }

    /// Makes a copy of the frame that of `number`.
    pub fn number(&self, number: u64, frame: &mut [u8]) {
        let payload = &mut frame[self.payload.clone()];
        if self.content {
            content::fill(number, payload);
        } else if !payload.is_empty() {
            payload[..NUMBER].copy_from_slice(&number.to_le_bytes());
        }
        for (at, form) in &self.numbers {
            match *form {
                Form::BigEndian => frame[*at..at + 8].copy_from_slice(&number.to_be_bytes()),
                Form::Decimal(digits) => decimal::fill(&mut frame[*at..at + digits], number),
            }
        }
    }
}

/// A frame that holds many messages and is named by the number of its last.
#[derive(Clone, Debug)]
pub struct Pack {
    /// Its head: a length u32 that counts what follows it, and somewhere an id u64 and a count u16,
    /// all big-endian.
    pub head: Vec<u8>,
    /// Where the id is.
    pub id_at: usize,
    /// Where the count is.
    pub count_at: usize,
    /// One message.
    pub message: Template,
    /// Most messages of a frame.
    pub max: u64,
}

impl Pack {
    /// Appends messages, so many from `first` on, in as few frames as they take.
    pub fn put(&self, first: u64, count: u64, out: &mut Vec<u8>) {
        let (mut next, end) = (first, first + count);
        while next < end {
            let count = self.max.min(end - next);
            let start = out.len();
            out.extend_from_slice(&self.head);
            self.head(next, count, &mut out[start..]);
            (next..next + count).for_each(|number| self.message.put(number, out));
            next += count;
        }
    }

    /// Makes a copy of the head that of a frame of so many messages.
    pub fn head(&self, first: u64, count: u64, head: &mut [u8]) {
        let length = self.head.len() - 4 + count as usize * self.message.frame_bytes();
        head[..4].copy_from_slice(&(length as u32).to_be_bytes());
        let last = first + count - 1;
        head[self.id_at..self.id_at + 8].copy_from_slice(&last.to_be_bytes());
        head[self.count_at..self.count_at + 2].copy_from_slice(&(count as u16).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_its_number_wherever_it_belongs() {
        let message = Message { bytes: 10, content: false };
        let frame = [b"........000", message.blank().as_slice(), b"\r\n"].concat();
        let template = Template::with_tail(frame, 2, message)
            .numbered(0, Form::BigEndian)
            .numbered(8, Form::Decimal(3));
        let mut out = b"before".to_vec();
        template.put(258, &mut out);
        assert_eq!(out, b"before\0\0\0\0\0\0\x01\x02258\x02\x01\0\0\0\0\0\0xx\r\n");
    }
}
