//! What a connection waits for when it has nothing to do.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::task::coop::has_budget_remaining;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Link, Notices, Wire};

/// What has come of what was waited for.
pub(crate) enum Woken {
    Time,
    Readable,
    Replies,
    Writable,
    News,
}

/// What a connection waits for, beside replies.
///
/// It is polled by hand, and its timer made only where there is a time: the futures for it would be
/// most of what an idle connection takes.
pub(crate) struct Waiting {
    timer: Option<Pin<Box<Sleep>>>,
    reads: bool,
    writes: bool,
    /// How many times the keys had been replaced when that was last looked at.
    keys_seen: u64,
    drain: bool,
}

impl Waiting {
    /// For the socket to be readable, if `reads`; for keys other than those of `keys_seen`; for the
    /// server to drain, if `drain`; until `until`.
    pub(crate) fn new(reads: bool, keys_seen: u64, drain: bool, until: Option<Instant>) -> Self {
        let timer = until.map(|at| Box::pin(sleep_until(at)));
        Self { timer, reads, writes: false, keys_seen, drain }
    }

    /// Waits, also for the socket to be writable if something is to be sent; says whether it had to
    /// be waited for. Cancel-safe.
    pub(crate) fn wait<'a>(
        mut self,
        wire: &'a Wire,
        link: &'a mut Link,
        notices: &'a mut Notices,
    ) -> impl Future<Output = (io::Result<Woken>, bool)> + use<'a> {
        self.writes = wire.unsent() > 0;
        let mut waited = false;
        poll_fn(move |context| {
            let polled = self.poll(context, waited, wire, link, notices);
            waited |= polled.is_pending();
            polled.map(|woken| (woken, waited))
        })
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
        woken: bool,
        wire: &Wire,
        link: &mut Link,
        notices: &mut Notices,
    ) -> Poll<io::Result<Woken>> {
        // Where there are always replies no other part of it would let other tasks run.
        if !has_budget_remaining() {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        // Time first: a client that never stops sending must not outrun it.
        if let Some(timer) = &mut self.timer
            && timer.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Ok(Woken::Time));
        }
        // It is these mostly that wake who waits; before it waits again what was read comes first.
        if woken && link.poll_replies(context).is_ready() {
            return Poll::Ready(Ok(Woken::Replies));
        }
        if self.reads
            && let Poll::Ready(readable) = wire.socket.poll_readable(context)
        {
            return Poll::Ready(readable.map(|()| Woken::Readable));
        }
        if !woken && link.poll_replies(context).is_ready() {
            return Poll::Ready(Ok(Woken::Replies));
        }
        if self.writes
            && let Poll::Ready(writable) = wire.socket.poll_writable(context)
        {
            return Poll::Ready(writable.map(|()| Woken::Writable));
        }
        ready!(notices.poll_news(context, self.keys_seen, self.drain));
        Poll::Ready(Ok(Woken::News))
    }
}
