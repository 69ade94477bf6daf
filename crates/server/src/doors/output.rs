//! What waits to be sent on a connection.
//!
//! ```text
//! sent | segments: whole buffers, large messages | tail: frames being written
//! ```
//!
//! Small pieces are copied behind one another; a large message is a segment of its own, so its
//! bytes go from where the broker keeps them to the socket. Marks remember which replies end where,
//! because their room is the broker's again once they are sent.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// A message up to this is copied: a copy costs less than a segment.
pub(crate) const COPY_MAX: usize = 4 * 1024;
/// Segments handed to one write.
pub(crate) const SLICES_MAX: usize = 64;
/// A tail that has grown larger than this is not kept.
const TAIL_KEPT_MAX: usize = 128 * 1024;
/// Marks that are kept room for.
const MARKS_KEPT_MAX: usize = 1_024;

/// What waits to be sent on a connection.
#[derive(Debug, Default)]
pub(crate) struct Output {
    segments: VecDeque<Bytes>,
    tail: BytesMut,
    unsent: usize,
    /// Bytes sent since the connection began.
    sent: u64,
    /// Where replies end, counted as `sent` is, and their weight.
    marks: VecDeque<(u64, usize)>,
}

impl Output {
    /// Lets `write` append to what is sent next.
    pub(crate) fn write<T>(&mut self, write: impl FnOnce(&mut BytesMut) -> T) -> T {
        let before = self.tail.len();
        let result = write(&mut self.tail);
        self.unsent += self.tail.len().saturating_sub(before);
        result
    }

    /// Appends bytes, without a copy where that pays.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        if bytes.len() <= COPY_MAX {
            self.write(|tail| tail.extend_from_slice(&bytes));
            return;
        }
        self.unsent += bytes.len();
        self.close_tail();
        self.segments.push_back(bytes);
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.segments.push_back(self.tail.split().freeze());
        }
    }

    /// Notes that a reply of this weight ends here.
    pub(crate) fn mark(&mut self, weight: usize) {
        let end = self.sent + self.unsent as u64;
        match self.marks.back_mut() {
            Some((last, sum)) if *last == end => *sum += weight,
            _ => self.marks.push_back((end, weight)),
        }
    }

    /// Bytes that wait.
    pub(crate) fn unsent(&self) -> usize {
        self.unsent
    }

    /// The bytes that wait, from the front, as far as one write takes them.
    pub(crate) fn slices(&self) -> ([IoSlice<'_>; SLICES_MAX], usize) {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let parts = self.segments.iter().map(|segment| &**segment).chain([&*self.tail]);
        let mut count = 0;
        for (slice, part) in slices.iter_mut().zip(parts.filter(|part| !part.is_empty())) {
            *slice = IoSlice::new(part);
            count += 1;
        }
        (slices, count)
    }

    /// Drops the first `count` bytes: they are sent.
    pub(crate) fn advance(&mut self, count: usize) {
        self.sent += count as u64;
        self.unsent = self.unsent.saturating_sub(count);
        let mut left = count;
        while left > 0 {
            let Some(front) = self.segments.front_mut() else {
                self.tail.advance(left.min(self.tail.len()));
                return;
            };
            let now = left.min(front.len());
            front.advance(now);
            left -= now;
            if front.is_empty() {
                self.segments.pop_front();
            }
        }
    }

    /// The weight of the replies that have been sent since this was last asked.
    pub(crate) fn take_sent_weight(&mut self) -> usize {
        let mut weight = 0;
        while let Some((_, sent)) = self.marks.pop_front_if(|(end, _)| *end <= self.sent) {
            weight += sent;
        }
        weight
    }

    /// Whether nothing waits, no reply to be told of either.
    pub(crate) fn is_empty(&self) -> bool {
        self.unsent == 0 && self.marks.is_empty()
    }

    /// Keeps room for what comes next, but not more than that mostly takes; nothing may wait.
    pub(crate) fn release(&mut self) {
        debug_assert_eq!(self.unsent, 0, "what waits would be lost");
        self.tail.clear();
        if self.tail.try_reclaim(TAIL_KEPT_MAX + 1) {
            self.tail = BytesMut::new();
        }
        self.segments.shrink_to(SLICES_MAX);
        self.marks.shrink_to(MARKS_KEPT_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(output: &Output) -> Vec<u8> {
        let (slices, count) = output.slices();
        slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect()
    }

    #[test]
    fn pieces_leave_in_order_however_they_were_appended() {
        let large = Bytes::from(vec![b'x'; COPY_MAX + 1]);
        let mut output = Output::default();
        output.write(|tail| tail.extend_from_slice(b"head"));
        output.push(large.clone());
        output.push(Bytes::from_static(b"small"));
        let expected = [b"head", &large[..], b"small"].concat();
        assert_eq!(output.unsent(), expected.len());
        for step in [1, 3, COPY_MAX, expected.len()] {
            assert_eq!(waiting(&output), expected[expected.len() - output.unsent()..]);
            output.advance(step.min(output.unsent()));
        }
        assert_eq!((output.unsent(), waiting(&output).len()), (0, 0));
        output.release();
    }

    #[test]
    fn room_comes_back_when_a_reply_is_sent_to_its_end() {
        let mut output = Output::default();
        output.mark(1);
        output.mark(2);
        assert_eq!(output.take_sent_weight(), 3, "a reply without bytes is sent at once");
        output.write(|tail| tail.extend_from_slice(b"12345"));
        output.mark(10);
        output.write(|tail| tail.extend_from_slice(b"678"));
        output.mark(20);
        output.advance(4);
        assert_eq!(output.take_sent_weight(), 0);
        output.advance(1);
        assert_eq!(output.take_sent_weight(), 10);
        output.advance(3);
        assert_eq!(output.take_sent_weight(), 20);
    }
}
