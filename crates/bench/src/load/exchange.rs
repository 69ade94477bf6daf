//! One request and its answer, as bytes, so that the same loop can drive different servers.

use std::io;

use super::template::{Pack, Template};

/// Reads answers from the front of `input`: their bytes, and how many requests these answer, of
/// which `number` is the oldest that has no answer yet; 0 requests for what is no answer and may
/// be passed over. None if there is nothing whole.
pub type Answer = fn(number: u64, input: &[u8]) -> io::Result<Option<(usize, u64)>>;

/// A request that is sent again and again, and the answer that confirms it.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The request.
    pub request: Template,
    /// What confirms it.
    pub answer: Answer,
    /// How many requests go into one frame, where a protocol has that.
    pub pack: Option<Pack>,
}

impl Exchange {
    /// Bytes of a request.
    pub fn request_bytes(&self) -> usize {
        self.request.frame_bytes()
    }

    /// Appends requests, so many from `first` on.
    pub fn put(&self, first: u64, count: u64, out: &mut Vec<u8>) {
        match &self.pack {
            Some(pack) => pack.put(first, count, out),
            None => (first..first + count).for_each(|number| self.request.put(number, out)),
        }
    }

    /// The same request to a server that answers one byte to each.
    #[must_use]
    pub fn answered_by_a_byte(self) -> Self {
        Self { answer: byte, pack: None, ..self }
    }
}

/// A null server's answers: any byte.
fn byte(_: u64, input: &[u8]) -> io::Result<Option<(usize, u64)>> {
    Ok((!input.is_empty()).then_some((1, 1)))
}
