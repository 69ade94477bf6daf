//! Queues: ordered messages, each for one consumer.

#[expect(clippy::module_inception, reason = "the noun of the folder is the noun of the file")]
mod queue;
pub(crate) mod slots;

pub(crate) use queue::{Counters, Parked, Queue};
