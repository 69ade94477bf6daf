//! How much, how fast and how soon again: arithmetic without I/O and without a clock.

mod backoff;

pub use backoff::{Backoff, BackoffError};
