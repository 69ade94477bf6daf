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
            if inner.parcels.is_empty() {
                // One by itself has room for no others.
                inner.parcels.reserve_exact(parcels.len());
            }
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

    /// Whether somebody is at it just now.
    pub(crate) fn is_busy(&self) -> bool {
        self.inner.is_locked()
    }

    /// Takes all replies. The room for one is kept: who is told of one thing after another needs no
    /// other, and where thousands are, to give it back and take it again is most of what that costs.
    pub(crate) fn take(&self) -> impl Iterator<Item = Parcel> + use<> {
        let mut inner = self.inner.lock();
        let (one, many) = match inner.parcels.capacity() {
            0..=1 => (inner.parcels.pop(), Vec::new()),
            _ => (None, std::mem::take(&mut inner.parcels)),
        };
        one.into_iter().chain(many)
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

#[cfg(test)]
mod tests {
    use sluice_model::Answer;

    use super::*;

    #[test]
    fn replies_are_taken_in_order_and_room_is_kept_for_one() {
        let mailbox = Mailbox::default();
        for tags in [&[1][..], &[2], &[3, 4, 5], &[], &[6], &[7, 8]] {
            for part in tags.chunks(2) {
                mailbox.put(part.iter().map(|tag| Parcel::answer(*tag, Answer::Fenced)));
            }
            assert_eq!(mailbox.take().map(|parcel| parcel.tag).collect::<Vec<_>>(), tags);
            assert!(mailbox.inner.lock().parcels.capacity() <= 1);
        }
    }
}
