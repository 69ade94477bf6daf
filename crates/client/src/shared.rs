//! What the handles of a client and its connection's task share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot, watch};

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
    /// The connection's task has ended.
    pub(crate) ended: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn new(core: Core) -> Arc<Self> {
        Arc::new(Self {
            core: Mutex::new(core),
            work: Notify::new(),
            room: Notify::new(),
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

    /// Asks, and waits for the answer.
    pub(crate) async fn ask(&self, ask: Ask) -> Result<Answer, Error> {
        let (reply, answer) = oneshot::channel();
        self.change(|core| core.ask(ask, Reply(Some(reply))));
        answer.await.unwrap_or(Err(Error::Closed))
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
