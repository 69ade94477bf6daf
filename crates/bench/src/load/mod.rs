//! Loads: what a client does to a target, the same for all of them, and what it sees.

pub mod confirm;
pub mod consume;
mod content;
mod error;
mod exchange;
mod inflow;
pub mod keys;
mod outflow;
pub mod paced;
pub mod pass;
mod tally;
mod template;

pub use consume::{Consumer, Taken};
pub use error::LoadError;
pub use exchange::{Answer, Exchange};
pub use inflow::{Fixed, Framed, Front, Inflow};
pub use keys::KEYS;
pub use outflow::{Batch, Outflow};
pub use tally::Tally;
pub use template::{Form, Message, Pack, Template};

use hdrhistogram::Histogram;

/// A histogram of nanoseconds up to a minute, exact to three digits.
pub(crate) fn nanoseconds() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3)
        .expect("these bounds are in order and 3 is a possible precision")
}
