//! A socket with what was read from it and what waits to be sent.
//!
//! An idle connection holds no buffer: one is taken from a pool when the socket has something, and
//! goes back when everything in it has been understood.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Output, Socket};

/// What one read may bring: what a read brings shares one commit, so a small one costs a sync more.
const READ_BYTES: usize = 256 * 1024;
/// What one read may bring on a connection that nobody has vouched for.
const EARLY_READ_BYTES: usize = 2 * 1024;
/// With less space than this left, a buffer is made larger before it is read into.
const SPACE_MIN: usize = 1_024;
/// A leftover up to this moves to a buffer of its own size, so that it holds no large one.
const LEFTOVER_MAX: usize = 4 * 1024;
/// Buffers kept for the next who needs one.
const POOLED_MAX: usize = 64;

/// Buffers that nobody uses just now.
#[derive(Default)]
pub(crate) struct BufferPool(Mutex<Vec<BytesMut>>);

impl BufferPool {
    fn take(&self) -> BytesMut {
        self.0.lock().pop().unwrap_or_else(|| BytesMut::with_capacity(READ_BYTES))
    }

    fn give(&self, mut buffer: BytesMut) {
        buffer.clear();
        // What still shares the memory (a message that is held on to) keeps it.
        let usable = buffer.try_reclaim(READ_BYTES) && buffer.capacity() <= 2 * READ_BYTES;
        let mut pool = self.0.lock();
        if usable && pool.len() < POOLED_MAX {
            pool.push(buffer);
        }
    }
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    Bytes,
    Nothing,
    End,
}

/// A socket with its buffers.
pub(crate) struct Wire {
    pub(crate) socket: Socket,
    pub(crate) input: BytesMut,
    pub(crate) output: Output,
    /// Bytes that the last read brought.
    pub(crate) last_read: usize,
    /// Since when the client takes nothing of what waits to be sent.
    pub(crate) stalled_since: Option<Instant>,
    lean: bool,
}

impl Wire {
    /// One of a `lean` connection is read in small parts only.
    pub(crate) fn new(socket: Socket, lean: bool) -> Self {
        Self {
            socket,
            input: BytesMut::new(),
            output: Output::default(),
            last_read: 0,
            stalled_since: None,
            lean,
        }
    }

    /// Reads once, without waiting. An `early` read stays small.
    pub(crate) async fn fill(&mut self, pool: &BufferPool, early: bool) -> io::Result<Fill> {
        self.make_space(pool, early || self.lean);
        let before = self.input.len();
        let fill = self.socket.read(&mut self.input).await?;
        if fill == Fill::Bytes {
            self.last_read = self.input.len() - before;
        }
        Ok(fill)
    }

    fn make_space(&mut self, pool: &BufferPool, early: bool) {
        let input = &mut self.input;
        if input.capacity() - input.len() >= SPACE_MIN {
            return;
        }
        if early {
            input.reserve(EARLY_READ_BYTES);
        } else if input.len() <= LEFTOVER_MAX {
            let mut larger = pool.take();
            larger.extend_from_slice(input);
            pool.give(std::mem::replace(input, larger));
        } else {
            // Doubles it: buffers grow with what has come, never with what was announced.
            input.reserve(input.len().max(READ_BYTES));
        }
    }

    /// Gives up the buffers as far as nothing is in them.
    pub(crate) fn release(&mut self, pool: &BufferPool) {
        if self.input.len() <= LEFTOVER_MAX && self.input.capacity() > 0 {
            // An empty one allocates nothing.
            let leftover = BytesMut::from(&*self.input);
            pool.give(std::mem::replace(&mut self.input, leftover));
        }
        if self.output.unsent() == 0 {
            self.output.release();
        }
    }

    /// Sends as much as the socket takes now, and says whether it took any.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        let progress = self.socket.flush(&mut self.output)?;
        if self.output.unsent() == 0 {
            self.stalled_since = None;
        } else if progress || self.stalled_since.is_none() {
            self.stalled_since = Some(Instant::now());
        }
        Ok(progress)
    }

    /// Ends the connection, so that the client gets what was sent last if it may not have read it.
    pub(crate) async fn end(self, unread: bool) {
        match unread {
            true => self.socket.linger().await,
            false => self.socket.close(),
        }
    }
}

/// Waits for `work`, which the caller has pinned so that no second copy of it is kept, and says
/// whether it had to be waited for.
pub(crate) async fn noting_wait<T>(mut work: Pin<&mut impl Future<Output = T>>) -> (T, bool) {
    let mut waited = false;
    let result = poll_fn(|context| {
        let polled = work.as_mut().poll(context);
        waited |= polled.is_pending();
        polled
    })
    .await;
    (result, waited)
}

/// Waits until `deadline`, for ever where there is none.
pub(crate) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
