//! Queues: ordered messages, each for one consumer.

mod check;
mod counts;
pub(crate) mod dead_set;
mod droppable;
mod laned;
pub(crate) mod lanes;
pub(crate) mod order;
mod parked;
#[expect(clippy::module_inception, reason = "the noun of the folder is the noun of the file")]
mod queue;
mod runs;
mod settled;
mod slot;
pub(crate) mod slots;
mod transitions;
pub(crate) mod work;

use sluice_model::State;

pub(crate) use counts::{Counters, Counts};
pub(crate) use droppable::Droppable;
use laned::{is_laned, lane_of};
pub(crate) use parked::{Parked, Waiting};
pub(crate) use queue::{Defined, Identity, Queue};
pub(crate) use runs::Runs;
pub(crate) use settled::Settled;
pub(crate) use transitions::Returned;

/// Whether nobody holds the message and it is not dead.
pub(crate) fn is_waiting(state: State) -> bool {
    matches!(state, State::Ready | State::Delayed)
}
