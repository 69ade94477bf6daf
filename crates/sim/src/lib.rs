//! The real driver on a simulated disk and clock, with publishers and consumers that crash.
//!
//! Everything that happens in a schedule comes from its seed: the same seed twice gives the same
//! trace, to the byte. An oracle knows what was promised and checks each delivery.

mod caller;
mod client;
mod counters;
mod history;
mod keeper;
mod oracle;
mod random;
mod roles;
mod worker;
mod world;

pub use counters::{Counters, Outcome, Violation};
pub use world::{Workload, run, run_only};
