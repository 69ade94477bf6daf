//! Where what is pushed goes: to the handle of a consumer, or of a watch.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use sluice_model::{Qos, WatchEvent};
use tokio::sync::mpsc;

use super::delivered::Delivered;
use crate::error::Error;

/// What goes to a handle: what a frame brought, or why there will be no more.
pub(crate) type Push<T> = Result<Frame<T>, Error>;

/// What a frame brought.
#[derive(Debug)]
pub(crate) struct Frame<T> {
    /// By which connection it came.
    pub(crate) epoch: u64,
    /// It needs no settling: its credit is due once it was handed out.
    pub(crate) is_settled: bool,
    pub(crate) things: Vec<T>,
}

/// The handle's end of it.
pub(crate) enum Sink {
    Messages {
        to: mpsc::UnboundedSender<Push<Delivered>>,
        /// Messages that were lost before they could be pushed.
        gaps: Arc<AtomicU64>,
    },
    Changes(mpsc::UnboundedSender<Push<WatchEvent>>),
}

impl Sink {
    /// Hands the messages of a frame over; those that nobody takes come back.
    pub(super) fn hand(&self, messages: Vec<Delivered>) -> Result<(), Vec<Delivered>> {
        let Self::Messages { to, .. } = self else { return Err(messages) };
        let Some(first) = messages.first() else { return Ok(()) };
        let (epoch, is_settled) = (first.epoch, first.qos == Qos::AtMostOnce);
        match to.send(Ok(Frame { epoch, is_settled, things: messages })) {
            Err(mpsc::error::SendError(Ok(frame))) => Err(frame.things),
            _ => Ok(()),
        }
    }

    /// Tells the changes of a frame; whether anybody hears of them.
    pub(super) fn tell(&self, epoch: u64, changes: Vec<WatchEvent>) -> bool {
        let frame = Frame { epoch, is_settled: true, things: changes };
        matches!(self, Self::Changes(to) if to.send(Ok(frame)).is_ok())
    }

    /// Says why there will be no more.
    pub(super) fn end(&self, why: Error) {
        match self {
            Self::Messages { to, .. } => drop(to.send(Err(why))),
            Self::Changes(to) => drop(to.send(Err(why))),
        }
    }
}
