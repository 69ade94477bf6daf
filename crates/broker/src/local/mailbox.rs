//! Where a session's replies wait for its door.

use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::local::outbox::Parcel;

/// Where a session's replies wait for its door.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    parcels: Vec<Parcel>,
    /// There is something to do though nothing may be here to take.
    nudged: bool,
    waker: Option<Waker>,
}

impl Mailbox {
    /// Adds replies and wakes the door, once for all of them.
    pub(crate) fn put(&self, parcels: impl ExactSizeIterator<Item = Parcel>) {
        let waker = {
            let mut inner = self.inner.lock();
            inner.parcels.extend(parcels);
            inner.waker.take()
        };
        // Outside the lock: the one that is woken takes them next.
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Wakes the door though no reply came: requests that it kept may be handed in again.
    pub(crate) fn nudge(&self) {
        let waker = {
            let mut inner = self.inner.lock();
            inner.nudged = true;
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Wakes nobody until somebody waits again.
    pub(crate) fn forget_waker(&self) {
        self.inner.lock().waker = None;
    }

    /// Whether there is no reply to take.
    pub(crate) fn is_empty(&self) -> bool {
        self.inner.lock().parcels.is_empty()
    }

    /// Takes all replies.
    pub(crate) fn take(&self) -> Vec<Parcel> {
        std::mem::take(&mut self.inner.lock().parcels)
    }

    /// Ready when there is something to take, or once after a nudge.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.inner.lock();
        if std::mem::take(&mut inner.nudged) || !inner.parcels.is_empty() {
            return Poll::Ready(());
        }
        match &mut inner.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}
