//! What a connection works with while it has something to do, and gives back when it has not.
//!
//! ```text
//! worker's pool --taken--> of a connection --nothing on it--> worker's pool, as warm as it was
//!   (at most DESKS_MAX)        '--part of a frame on it--> stays, as small as that
//! ```
//!
//! What lies here has grown to what a batch needs. Grown anew for each batch it would be a good part
//! of what the batch costs, most of it pages that the kernel has to clear; kept by every connection
//! it would be most of what an idle one takes.

use std::cell::RefCell;
use std::collections::VecDeque;

use bytes::BytesMut;
use sluice_model::Request;
use tokio::time::Instant;

use super::Output;

/// Desks that a worker keeps: those in use at a time are of connections that wait for the rest of a
/// frame or for room.
const DESKS_MAX: usize = 16;
/// Requests that a desk of a pool has room for.
const REQUESTS_MAX: usize = 1_024;

thread_local! {
    #[expect(clippy::vec_box, reason = "connections keep the box, so that only a pointer moves")]
    static DESKS: RefCell<Vec<Box<Desk>>> = const { RefCell::new(Vec::new()) };
}

/// What a connection works with.
#[derive(Default)]
pub(crate) struct Desk {
    /// What was read and not understood.
    pub(crate) input: BytesMut,
    /// What waits to be sent.
    pub(crate) output: Output,
    /// What was understood and not handed in.
    pub(crate) requests: VecDeque<Request>,
    /// Bytes that the last read brought.
    pub(crate) last_read: usize,
    /// Since when the client takes nothing of what waits to be sent.
    pub(crate) stalled_since: Option<Instant>,
}

impl Desk {
    /// One with nothing on it, warm if the worker has such.
    pub(crate) fn take() -> Box<Self> {
        DESKS.with_borrow_mut(Vec::pop).unwrap_or_default()
    }

    /// Gives it to who works next on this thread. Nothing may lie on it.
    pub(crate) fn give(mut self: Box<Self>) {
        debug_assert!(self.is_clear(), "what lies there would be lost");
        let Self { input, output, requests, .. } = &mut *self;
        *input = BytesMut::new();
        output.release();
        requests.shrink_to(REQUESTS_MAX);
        (self.last_read, self.stalled_since) = (0, None);
        DESKS.with_borrow_mut(|desks| {
            if desks.len() < DESKS_MAX {
                desks.push(self);
            }
        });
    }

    /// Whether nothing lies on it.
    pub(crate) fn is_clear(&self) -> bool {
        self.input.is_empty() && self.has_no_work()
    }

    /// Whether nothing lies on it but what was read and not understood.
    pub(crate) fn has_no_work(&self) -> bool {
        self.requests.is_empty() && self.output.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_works_next_gets_what_is_warm_and_a_worker_keeps_a_bounded_number() {
        let mut desk = Desk::take();
        desk.output.write(|tail| tail.extend_from_slice(&[1; 10_000]));
        desk.output.advance(10_000);
        desk.give();
        let mut desk = Desk::take();
        assert!(desk.is_clear() && desk.output.write(|tail| tail.try_reclaim(10_000)));
        let many: Vec<_> = (0..2 * DESKS_MAX).map(|_| Desk::take()).collect();
        many.into_iter().for_each(Desk::give);
        assert_eq!(DESKS.with_borrow(Vec::len), DESKS_MAX);
    }

    #[test]
    fn what_one_large_batch_took_is_not_kept() {
        let mut desk = Desk::take();
        desk.output.write(|tail| tail.extend_from_slice(&vec![1; 4 << 20]));
        desk.output.advance(4 << 20);
        desk.give();
        assert!(!Desk::take().output.write(|tail| tail.try_reclaim(1 << 20)));
    }
}
