//! Load for brokers, and the limits of the machine to hold their figures against.
//!
//! A figure means something only beside what the machine can do at all, so every workload runs in
//! turn against the broker and against a [null server](null) that does nothing but the transport
//! and the disk, with the same client, in the same run.

pub mod confirmed;
pub mod errors;
pub mod exchange;
pub mod flow;
pub mod kill;
pub mod machine;
pub mod null;
pub mod process;
pub mod random;
pub mod relayed;
pub mod report;
pub mod steady;
pub mod v1;
