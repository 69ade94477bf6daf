//! The socket between hyper and the client: deadlines, and what must not reach either.
//!
//! ```text
//! client --bytes--> framing watches --> hyper        a fault, a head too late: we answer and end
//! client <--bytes-- progress watched <-- hyper       no progress for too long: we end
//! ```
//!
//! hyper ends slow heads without a word, and answers what it can't parse without a body: both are
//! answered here, by the same shape as every error.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use sluice_model::{Code, Refusal};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::exchange::Exchange;
use super::framing::{Fault, Framing};
use super::refusal;
use crate::admission::MyTurn;
use crate::doors::Shared;

/// A socket as hyper sees it.
pub(super) struct HttpIo<S> {
    stream: S,
    shared: Arc<Shared>,
    exchange: Arc<Exchange>,
    framing: Framing,
    /// When the part of a request began that has not ended.
    part_began: Option<Instant>,
    /// Bytes of it since.
    part_bytes: u64,
    /// When the connection opened, or the last answer was written.
    quiet_since: Instant,
    /// It has sent no request yet.
    is_new: bool,
    stalled_since: Option<Instant>,
    /// What comes next of a body can't be told from what comes behind it.
    body_is_broken: bool,
    /// What is written before the end, and why it ends.
    farewell: Option<(Bytes, io::ErrorKind)>,
    /// What has been read, and watched, and hyper has not.
    first: Bytes,
    turn: MyTurn,
    timer: Timer,
}

impl<S: AsyncRead + AsyncWrite + Unpin> HttpIo<S> {
    pub(super) fn new(stream: S, shared: Arc<Shared>, exchange: Arc<Exchange>) -> Self {
        let http = &shared.config.http;
        let framing = Framing::new(http.head_max, http.headers_max);
        let turn = MyTurn::new(Arc::clone(shared.intake.turns()));
        Self {
            stream,
            shared,
            exchange,
            framing,
            part_began: None,
            part_bytes: 0,
            quiet_since: Instant::now(),
            is_new: true,
            stalled_since: None,
            body_is_broken: false,
            farewell: None,
            first: Bytes::new(),
            turn,
            timer: Timer::default(),
        }
    }

    /// A head has begun and not ended, nor can it be seen already that there is something wrong with it.
    pub(super) fn is_in_head(&self) -> bool {
        self.framing.is_in_head() && self.farewell.is_none()
    }

    /// Has hyper read first what has been read here already.
    pub(super) fn read_first(&mut self, bytes: Bytes) {
        self.first = bytes;
    }

    /// Waits until it is this connection's turn.
    pub(super) async fn turn(&mut self) {
        poll_fn(|context| self.poll_turn(context)).await;
    }

    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Self { shared, exchange, turn, .. } = self;
        let waited = turn.waits();
        let polled = turn.poll(|| exchange.client(), context);
        if turn.waits() && !waited {
            shared.counters.http_turns_awaited.one();
        }
        polled
    }

    /// Nothing is asked, so that what comes next may wait.
    fn waits_for_turns(&self) -> bool {
        let is_asked = self.is_new || self.framing.is_in_head() || self.framing.is_in_body();
        !is_asked && !self.exchange.is_vital() && !self.exchange.is_open()
    }

    /// Answers with a refusal, and nothing else any more.
    pub(super) async fn refuse(&mut self, refusal: &Refusal) {
        self.end_with(refusal, io::ErrorKind::ConnectionAborted);
        poll_fn(|context| self.poll_farewell(context)).await;
    }

    pub(super) fn into_stream(self) -> S {
        self.stream
    }

    /// Notes how far the request has come.
    fn watch(&mut self, bytes: &[u8]) -> (usize, Option<Fault>) {
        let was_in_part = self.framing.is_in_head() || self.framing.is_in_body();
        let was_in_head = self.framing.is_in_head();
        let seen = self.framing.observe(bytes);
        let is_in_head = self.framing.is_in_head();
        if !is_in_head && !self.framing.is_in_body() {
            self.part_began = None;
        } else if !was_in_part || was_in_head != is_in_head {
            self.part_began = Some(Instant::now());
            self.part_bytes = 0;
        } else {
            self.part_bytes += bytes.len() as u64;
        }
        self.is_new &= is_in_head;
        seen
    }

    /// Ends the connection with an answer, once nothing of an earlier one is under way.
    fn end_with(&mut self, refusal: &Refusal, why: io::ErrorKind) {
        self.farewell.get_or_insert_with(|| (refusal::whole(refusal), why));
    }

    fn end_for(&mut self, fault: Fault) {
        let counters = &self.shared.counters;
        let refusal = match fault {
            Fault::Malformed(reason) => {
                counters.http_malformed.one();
                Refusal::new(Code::BadRequest, reason)
            }
            Fault::HeadTooLarge | Fault::TooManyHeaders => {
                counters.http_heads_too_large.one();
                Refusal::new(Code::TooLarge, "the head of the request is too large")
            }
        };
        self.end_with(&refusal, io::ErrorKind::InvalidData);
    }

    /// Writes the last answer and says that it is over.
    fn poll_farewell(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let Some((bytes, why)) = &mut self.farewell else { return Poll::Pending };
        let why = *why;
        while !bytes.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(context, bytes)) {
                Ok(0) | Err(_) => break,
                Ok(written) => bytes.advance(written),
            }
        }
        Poll::Ready(why.into())
    }

    /// By when something has to come; none while the client waits for us.
    fn deadline(&self) -> Option<Instant> {
        let http = &self.shared.config.http;
        match self.part_began {
            Some(began) if self.framing.is_in_body() => {
                // So much has come that it may take so long.
                let due = self.part_bytes as f64 / http.body_rate_min.max(1) as f64;
                Some(began + http.body_grace + Duration::from_secs_f64(due))
            }
            _ if self.exchange.is_open() => None,
            Some(began) => Some(began + http.head_timeout),
            None if self.is_new => Some(self.quiet_since + http.head_timeout),
            None => Some(self.quiet_since + http.idle_timeout),
        }
    }

    /// Nothing has come: whether it should have by now.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(deadline) = self.deadline() else { return Poll::Pending };
        ready!(self.timer.poll(deadline, context));
        let counters = &self.shared.counters;
        if self.framing.is_in_body() {
            counters.http_bodies_too_slow.one();
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if self.is_new || self.framing.is_in_head() {
            counters.http_heads_too_slow.one();
            let text = "the head of the request did not come in time";
            self.end_with(&Refusal::new(Code::Timeout, text), io::ErrorKind::TimedOut);
            return self.poll_farewell(context).map(Err);
        }
        counters.idle_timeouts.one();
        // As if the client had closed: nothing is under way.
        Poll::Ready(Ok(()))
    }

    /// A write has ended so: whether it takes too long.
    fn poll_stalled<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled_since = None;
            return written;
        }
        let since = *self.stalled_since.get_or_insert_with(Instant::now);
        ready!(self.timer.poll(since + self.shared.config.http.response_timeout, context));
        self.shared.counters.http_write_timeouts.one();
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// hyper writes though nobody asked us: it answers what it could not parse. Ours goes instead.
    fn poll_parse_error(
        &mut self,
        bytes: &[u8],
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.farewell.is_none() {
            // 431 and 414, in its words.
            let too_large = bytes.get(9..12).is_some_and(|status| status != b"400");
            self.end_for(match too_large {
                true => Fault::HeadTooLarge,
                false => Fault::Malformed("the request can't be read"),
            });
        }
        ready!(self.poll_farewell(context));
        Poll::Ready(Ok(bytes.len()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for HttpIo<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let io = self.get_mut();
        if !io.first.is_empty() {
            let now = io.first.split_to(io.first.len().min(buffer.remaining()));
            buffer.put_slice(&now);
            return Poll::Ready(Ok(()));
        }
        if io.farewell.is_some() {
            // What was asked before is answered first; the flush of that wakes us.
            return match io.exchange.is_open() {
                true => Poll::Pending,
                false => io.poll_farewell(context).map(Err),
            };
        }
        if io.body_is_broken {
            // Whoever reads the body answers.
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        let takes_turns = io.waits_for_turns();
        if takes_turns {
            ready!(io.poll_turn(context));
        }
        let before = buffer.filled().len();
        if Pin::new(&mut io.stream).poll_read(context, buffer)?.is_pending() {
            if takes_turns {
                io.turn.rest();
            }
            return io.poll_late(context);
        }
        if takes_turns {
            io.turn.use_it();
        }
        let new = buffer.filled().get(before..).unwrap_or_default();
        let (good, fault) = io.watch(new);
        if fault.is_some() && io.framing.is_in_body() {
            io.shared.counters.http_malformed.one();
            io.body_is_broken = true;
            buffer.set_filled(before + good);
            if good == 0 {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
        } else if let Some(fault) = fault {
            io.end_for(fault);
            buffer.set_filled(before + good);
            if good == 0 {
                return match io.exchange.is_open() {
                    true => Poll::Pending,
                    false => io.poll_farewell(context).map(Err),
                };
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for HttpIo<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let io = self.get_mut();
        if !io.exchange.is_open() {
            return io.poll_parse_error(bytes, context);
        }
        let written = Pin::new(&mut io.stream).poll_write(context, bytes);
        io.poll_stalled(written, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let io = self.get_mut();
        if !io.exchange.is_open() {
            let first = slices.iter().find(|slice| !slice.is_empty());
            return io.poll_parse_error(first.map_or(&[], |slice| slice), context);
        }
        let stream = Pin::new(&mut io.stream);
        let written = match slices {
            // A head without a body, as most answers are: the simpler call costs the kernel less.
            [only] => stream.poll_write(context, only),
            _ => stream.poll_write_vectored(context, slices),
        };
        io.poll_stalled(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when it has nothing left to write: the kernel has every answer.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let io = self.get_mut();
        let flushed = Pin::new(&mut io.stream).poll_flush(context);
        ready!(io.poll_stalled(flushed, context))?;
        if io.exchange.flushed() {
            io.quiet_since = Instant::now();
            // A request that waits behind the answer may go on, and so may a farewell.
            if io.farewell.is_some() || io.exchange.is_open() {
                context.waker().wake_by_ref();
            } else if let Some(deadline) = io.deadline() {
                // hyper has read already and found nothing: it is to look again then.
                let _ = io.timer.poll(deadline, context);
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// One timer for all deadlines. It is not set anew when one moves away, only when it fires early.
#[derive(Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Ready when the deadline has passed; otherwise it wakes then, or earlier.
    fn poll(&mut self, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(context).is_ready() {
            if sleep.deadline() >= deadline || Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}
