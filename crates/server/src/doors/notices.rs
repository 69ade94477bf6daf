//! What connections are told while they live: that the server drains, that its keys were replaced.
//!
//! ```text
//! board: a word --read by every connection, each time it goes round
//!        a list of who is woken when the word changes: a place of it is all that waiting takes
//! ```

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use slab::Slab;

/// The bit of the word that says that the server drains; those above count replacements of the keys.
const DRAINING: u64 = 1;
const ONE_REPLACEMENT: u64 = 2;

/// What connections are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Notice {
    /// The server drains.
    pub(crate) draining: bool,
    /// How many times the keys were replaced.
    pub(crate) keys: u64,
}

/// Where all connections of a server are told.
#[derive(Debug, Default)]
pub(crate) struct Board {
    word: AtomicU64,
    readers: Mutex<Slab<Waker>>,
}

impl Board {
    /// Tells that the server drains.
    pub(crate) fn tell_draining(&self) {
        self.word.fetch_or(DRAINING, Ordering::AcqRel);
        self.wake();
    }

    /// Tells that the keys were replaced.
    pub(crate) fn tell_keys(&self) {
        self.word.fetch_add(ONE_REPLACEMENT, Ordering::AcqRel);
        self.wake();
    }

    /// After the word: whoever takes a place later reads it again.
    fn wake(&self) {
        self.readers.lock().iter().for_each(|(_, waker)| waker.wake_by_ref());
    }
}

/// One reader of a [`Board`].
pub(crate) struct Notices {
    board: Arc<Board>,
    /// Its place among those that are woken, once it has one.
    place: Option<u32>,
    /// The task that is woken there; the waker in that place keeps the address from being another's.
    task: usize,
}

impl Notices {
    /// A reader that has waited for nothing yet.
    pub(crate) fn new(board: Arc<Board>) -> Self {
        Self { board, place: None, task: 0 }
    }

    /// What is so now: also for connections that never wait, because their client never stops
    /// sending.
    pub(crate) fn now(&self) -> Notice {
        let word = self.board.word.load(Ordering::Acquire);
        Notice { draining: word & DRAINING != 0, keys: word / ONE_REPLACEMENT }
    }

    /// Waits until the server drains. Cancel-safe.
    pub(crate) async fn drain(&mut self) {
        poll_fn(|context| self.poll(context, |notice| notice.draining)).await;
    }

    /// Waits until the keys are not those of `seen`, or until the server drains if that is news.
    /// Cancel-safe.
    pub(crate) async fn news(&mut self, seen: u64, drain: bool) {
        poll_fn(|context| self.poll_news(context, seen, drain)).await;
    }

    /// Ready when [`Notices::news`] is.
    pub(crate) fn poll_news(
        &mut self,
        context: &mut Context<'_>,
        seen: u64,
        drain: bool,
    ) -> Poll<()> {
        self.poll(context, |notice| notice.keys != seen || drain && notice.draining)
    }

    fn poll(&mut self, context: &mut Context<'_>, told: impl Fn(Notice) -> bool) -> Poll<()> {
        if told(self.now()) {
            return Poll::Ready(());
        }
        let task = context.waker().data().addr();
        if self.place.is_none() || self.task != task {
            self.leave();
            let place = self.board.readers.lock().insert(context.waker().clone());
            // There are no more readers than descriptors and requests in flight.
            self.place = u32::try_from(place).ok();
            self.task = task;
            if told(self.now()) {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    fn leave(&mut self) {
        if let Some(place) = self.place.take() {
            let waker = self.board.readers.lock().try_remove(place as usize);
            // Outside the lock: it may be the last that holds a task, with readers of its own.
            drop(waker);
        }
    }
}

/// Another reader of the same board.
impl Clone for Notices {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.board))
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn waits(notices: &mut Notices, woken: &Arc<Woken>, seen: u64, drain: bool) -> bool {
        let waker = Waker::from(Arc::clone(woken));
        notices.poll_news(&mut Context::from_waker(&waker), seen, drain).is_pending()
    }

    #[test]
    fn who_waits_is_woken_by_what_is_news_to_it() {
        let board = Arc::new(Board::default());
        let (mut notices, woken) = (Notices::new(Arc::clone(&board)), Arc::new(Woken::default()));
        assert!(waits(&mut notices, &woken, 0, true) && waits(&mut notices, &woken, 0, true));
        board.tell_keys();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(!waits(&mut notices, &woken, 0, true));
        assert!(waits(&mut notices, &woken, 1, true));
        board.tell_draining();
        assert_eq!(woken.0.load(Ordering::Relaxed), 2);
        assert_eq!(notices.now(), Notice { draining: true, keys: 1 });
        assert!(!waits(&mut notices, &woken, 1, true));
        assert!(waits(&mut notices, &woken, 1, false), "it knows that the server drains");
    }

    #[test]
    fn a_reader_has_one_place_which_the_task_that_polled_last_is_woken_by() {
        let board = Arc::new(Board::default());
        let mut notices = Notices::new(Arc::clone(&board));
        let (first, second) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
        assert!(waits(&mut notices, &first, 0, true) && waits(&mut notices, &second, 0, true));
        assert_eq!(board.readers.lock().len(), 1);
        board.tell_keys();
        let woken = [&first, &second].map(|woken| woken.0.load(Ordering::Relaxed));
        assert_eq!(woken, [0, 1]);
        drop(notices);
        assert!(board.readers.lock().is_empty());
    }
}
