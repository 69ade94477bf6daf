//! Queues: ordered messages, each for one consumer.

mod counts;
pub(crate) mod dead_set;
pub(crate) mod order;
mod parked;
#[expect(clippy::module_inception, reason = "the noun of the folder is the noun of the file")]
mod queue;
pub(crate) mod slots;
pub(crate) mod work;

pub(crate) use counts::{Counters, Counts};
pub(crate) use parked::{Parked, Waiting};
pub(crate) use queue::{Identity, Queue, Returned, is_waiting};
