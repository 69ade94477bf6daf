//! Where what is pushed goes: to the handle of a consumer, or of a watch.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use sluice_model::WatchEvent;
use tokio::sync::mpsc;

use super::delivered::Delivered;
use crate::error::Error;

/// What goes to a consumer: messages of one frame, or why there will be no more.
pub(crate) type Push = Result<Vec<Delivered>, Error>;

/// What goes to a watch: changes of one frame, or why there will be no more.
pub(crate) type Told = Result<Changes, Error>;

/// The changes of a frame, and by which connection it came.
#[derive(Debug)]
pub(crate) struct Changes {
    pub(crate) epoch: u64,
    pub(crate) events: Vec<WatchEvent>,
}

/// The handle's end of it.
pub(crate) enum Sink {
    Messages {
        to: mpsc::UnboundedSender<Push>,
        /// Messages that were lost before they could be pushed.
        gaps: Arc<AtomicU64>,
    },
    Changes(mpsc::UnboundedSender<Told>),
}

impl Sink {
    /// Hands messages over; those that nobody takes come back.
    pub(super) fn hand(&self, messages: Vec<Delivered>) -> Result<(), Vec<Delivered>> {
        let Self::Messages { to, .. } = self else { return Err(messages) };
        match to.send(Ok(messages)) {
            Err(mpsc::error::SendError(Ok(messages))) => Err(messages),
            _ => Ok(()),
        }
    }

    /// Tells changes; whether anybody hears of them.
    pub(super) fn tell(&self, changes: Changes) -> bool {
        matches!(self, Self::Changes(to) if to.send(Ok(changes)).is_ok())
    }

    /// Says why there will be no more.
    pub(super) fn end(&self, why: Error) {
        match self {
            Self::Messages { to, .. } => drop(to.send(Err(why))),
            Self::Changes(to) => drop(to.send(Err(why))),
        }
    }
}
