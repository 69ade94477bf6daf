//! A socket with the desk at which what was read from it is worked on.
//!
//! An idle connection holds neither: a desk, and a buffer to read into, are taken from pools when
//! the socket has something, and go back when everything has been understood and answered.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Desk, Ended, Socket};

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

/// A socket with the desk of its connection.
pub(crate) struct Wire {
    pub(crate) socket: Socket,
    desk: Option<Box<Desk>>,
    lean: bool,
}

impl Wire {
    /// One of a `lean` connection is read in small parts only.
    pub(crate) const fn new(socket: Socket, lean: bool) -> Self {
        Self { socket, desk: None, lean }
    }

    /// What its connection works with.
    pub(crate) fn desk(&mut self) -> &mut Desk {
        self.desk.get_or_insert_with(Desk::take)
    }

    /// Bytes that wait to be sent.
    pub(crate) fn unsent(&self) -> usize {
        self.desk.as_ref().map_or(0, |desk| desk.output.unsent())
    }

    /// Whether bytes were read that have not been understood.
    pub(crate) fn has_input(&self) -> bool {
        self.desk.as_ref().is_some_and(|desk| !desk.input.is_empty())
    }

    /// Whether requests wait to be handed in.
    pub(crate) fn has_requests(&self) -> bool {
        self.desk.as_ref().is_some_and(|desk| !desk.requests.is_empty())
    }

    /// Since when the client takes nothing of what waits to be sent.
    pub(crate) fn stalled_since(&self) -> Option<Instant> {
        self.desk.as_ref()?.stalled_since
    }

    /// Reads once, without waiting. An `early` read stays small.
    pub(crate) async fn fill(&mut self, pool: &BufferPool, early: bool) -> io::Result<Fill> {
        poll_fn(|context| Poll::Ready(self.fill_now(context, pool, early))).await
    }

    fn fill_now(
        &mut self,
        context: &mut Context<'_>,
        pool: &BufferPool,
        early: bool,
    ) -> io::Result<Fill> {
        let small = early || self.lean;
        let Self { socket, desk, .. } = self;
        let desk = desk.get_or_insert_with(Desk::take);
        make_space(&mut desk.input, pool, small);
        let before = desk.input.len();
        let fill = socket.read(context, &mut desk.input)?;
        if fill == Fill::Bytes {
            desk.last_read = desk.input.len() - before;
        }
        Ok(fill)
    }

    /// Gives up the desk and the buffers as far as nothing lies there.
    pub(crate) fn release(&mut self, pool: &BufferPool) {
        let Some(mut desk) = self.desk.take() else { return };
        if desk.input.len() <= LEFTOVER_MAX && desk.input.capacity() > 0 {
            // An empty one allocates nothing.
            let leftover = BytesMut::from(&*desk.input);
            pool.give(std::mem::replace(&mut desk.input, leftover));
        }
        if desk.is_clear() {
            return desk.give();
        }
        if desk.has_no_work() {
            // Only a part of a frame stays.
            let input = std::mem::take(&mut desk.input);
            let last_read = desk.last_read;
            desk.give();
            desk = Box::new(Desk { input, last_read, ..Desk::default() });
        }
        self.desk = Some(desk);
    }

    /// Sends as much as the socket takes now, and says whether it took any.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        let Self { socket, desk, .. } = self;
        let desk = desk.get_or_insert_with(Desk::take);
        let progress = socket.flush(&mut desk.output)?;
        if desk.output.unsent() == 0 {
            desk.stalled_since = None;
        } else if progress || desk.stalled_since.is_none() {
            desk.stalled_since = Some(Instant::now());
        }
        Ok(progress)
    }

    /// Ends the connection, so that the client gets what was sent last if it may not have read it.
    /// On the heap: no connection is to keep room for it from its beginning.
    pub(crate) fn end(self, ended: Ended) -> Pin<Box<impl Future<Output = ()>>> {
        Box::pin(async move {
            match ended.answers_may_be_unread() {
                true => self.socket.linger().await,
                false => self.close(),
            }
        })
    }

    /// Ends the connection at once.
    pub(crate) fn close(self) {
        self.socket.close();
    }
}

fn make_space(input: &mut BytesMut, pool: &BufferPool, small: bool) {
    if input.capacity() - input.len() >= SPACE_MIN {
        return;
    }
    if small {
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

/// Waits until `deadline`, for ever where there is none.
pub(crate) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
