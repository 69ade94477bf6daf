//! How much, how fast and how soon again: arithmetic without I/O and without a clock.

mod backoff;
mod random;

pub use backoff::{Backoff, BackoffError};
pub use random::Random;
