//! What the handles of a client and its connection's task share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Mutex as Turn, MutexGuard as Turned, Notify, oneshot, watch};

use crate::core::Core;
use crate::core::requests::{Answer, Ask, Reply};
use crate::error::Error;
use crate::options::Options;

/// The core, and who waits for it.
pub(crate) struct Shared {
    core: Mutex<Core>,
    /// For the writer: there is something to send.
    pub(crate) work: Notify,
    /// For publishers: there may be room in the window.
    pub(crate) room: Notify,
    /// Publishers that wait for it, one of whom has the turn.
    queued: AtomicUsize,
    turn: Turn<()>,
    /// The connection's task has ended.
    pub(crate) ended: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn new(core: Core) -> Arc<Self> {
        Arc::new(Self {
            core: Mutex::new(core),
            work: Notify::new(),
            room: Notify::new(),
            queued: AtomicUsize::new(0),
            turn: Turn::new(()),
            ended: watch::Sender::new(false),
        })
    }

    /// For as long as it takes to change something, never across an await.
    pub(crate) fn core(&self) -> MutexGuard<'_, Core> {
        // A panic under it would be a bug of ours; the others are better served by what is left.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something, and wakes the writer if it waits.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Core) -> T) -> T {
        let (changed, wake) = {
            let mut core = self.core();
            let changed = change(&mut core);
            (changed, core.take_wake())
        };
        if wake {
            self.work.notify_one();
        }
        changed
    }

    /// Hands something in that `hand_in` gives back while the window has no room for it. Who waits
    /// does so in the order in which they came: what is large gets its room too, though small things
    /// would fit again and again before it.
    pub(crate) async fn when_there_is_room<T, R>(
        &self,
        thing: T,
        hand_in: impl Fn(&mut Core, T) -> Result<Result<R, T>, Error>,
    ) -> Result<R, Error> {
        let mut thing = thing;
        // Without waiting, most often.
        if self.queued.load(Ordering::Relaxed) == 0 {
            match self.change(|core| hand_in(core, thing))? {
                Ok(handed_in) => return Ok(handed_in),
                Err(back) => thing = back,
            }
        }
        let _turn = self.next_turn().await;
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // What is released from here on is heard.
            room.as_mut().enable();
            match self.change(|core| hand_in(core, thing))? {
                Ok(handed_in) => return Ok(handed_in),
                Err(back) => thing = back,
            }
            room.await;
        }
    }

    async fn next_turn(&self) -> (Queued<'_>, Turned<'_, ()>) {
        self.queued.fetch_add(1, Ordering::Relaxed);
        let queued = Queued(&self.queued);
        (queued, self.turn.lock().await)
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask(&self, ask: Ask) -> Result<Answer, Error> {
        let (reply, answer) = oneshot::channel();
        self.change(|core| core.ask(ask, Reply(Some(reply))));
        answer.await.unwrap_or(Err(Error::Closed))
    }
}

/// A publisher that waits for room, until it is dropped.
struct Queued<'a>(&'a AtomicUsize);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All handles of a client together: when the last one goes, the connection may end.
pub(crate) struct Handles {
    pub(crate) shared: Arc<Shared>,
    pub(crate) options: Options,
}

impl Drop for Handles {
    fn drop(&mut self) {
        self.shared.core().finish();
        self.shared.work.notify_one();
    }
}
