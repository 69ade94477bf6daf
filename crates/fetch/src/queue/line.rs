//! Workers that wait for something to do, the one that came first in front.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

/// Who waits. What is dropped on its way to somebody who has gone is dropped.
pub(crate) struct Line<T> {
    /// None once it is closed.
    waiting: Mutex<Option<VecDeque<oneshot::Sender<T>>>>,
    /// Each tells one who hears it.
    came: Notify,
    ended: Notify,
}

impl<T> Line<T> {
    /// With nobody in it.
    pub(crate) fn new() -> Self {
        let waiting = Mutex::new(Some(VecDeque::new()));
        Self { waiting, came: Notify::new(), ended: Notify::new() }
    }

    /// Waits for its turn; none when the line is closed. Cancel-safe.
    pub(crate) async fn take(&self) -> Option<T> {
        let (give, given) = oneshot::channel();
        self.waiting.lock().as_mut()?.push_back(give);
        self.came.notify_one();
        given.await.ok()
    }

    /// Waits until somebody is there, and says how many are; none when the line is closed.
    pub(crate) async fn wanted(&self) -> Option<usize> {
        loop {
            let waiting = self.waiting.lock().as_ref()?.len();
            if waiting > 0 {
                return Some(waiting);
            }
            self.came.notified().await;
        }
    }

    /// Waits until the line is closed.
    pub(crate) async fn closed(&self) {
        while self.waiting.lock().is_some() {
            self.ended.notified().await;
        }
    }

    /// Gives the first one who is still there something.
    pub(crate) fn give(&self, mut thing: T) {
        loop {
            let next = self.waiting.lock().as_mut().and_then(VecDeque::pop_front);
            let Some(next) = next else { return };
            match next.send(thing) {
                Ok(()) => return,
                Err(back) => thing = back,
            }
        }
    }

    /// Sends everybody home.
    pub(crate) fn close(&self) {
        self.waiting.lock().take();
        self.came.notify_one();
        self.ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn who_came_first_is_first_and_who_has_gone_is_passed_over() {
        let line = Line::new();
        let (mut closed, mut wanted) = (pin!(line.closed()), pin!(line.wanted()));
        assert_eq!(poll(closed.as_mut()), Poll::Pending);
        assert_eq!(poll(wanted.as_mut()), Poll::Pending);
        let mut gone = Box::pin(line.take());
        let (mut first, mut second) = (pin!(line.take()), pin!(line.take()));
        assert_eq!(poll(gone.as_mut()), Poll::Pending);
        assert_eq!(poll(first.as_mut()), Poll::Pending);
        assert_eq!(poll(second.as_mut()), Poll::Pending);
        assert_eq!(poll(wanted.as_mut()), Poll::Ready(Some(3)));
        drop(gone);
        line.give(1);
        assert_eq!(poll(first.as_mut()), Poll::Ready(Some(1)));
        assert_eq!(poll(second.as_mut()), Poll::Pending);
        line.close();
        assert_eq!(poll(second.as_mut()), Poll::Ready(None));
        assert_eq!(poll(pin!(line.take())), Poll::Ready(None));
        assert_eq!(poll(pin!(line.wanted())), Poll::Ready(None));
        assert_eq!(poll(closed), Poll::Ready(()));
    }

    #[test]
    fn what_is_on_its_way_to_somebody_who_goes_is_dropped() {
        let (line, thing) = (Line::new(), Arc::new(()));
        let mut take = Box::pin(line.take());
        assert!(poll(take.as_mut()).is_pending());
        line.give(Arc::clone(&thing));
        assert_eq!(Arc::strong_count(&thing), 2);
        drop(take);
        assert_eq!(Arc::strong_count(&thing), 1);
        line.give(Arc::clone(&thing));
        assert_eq!(Arc::strong_count(&thing), 1);
    }
}
