//! Load for brokers, and the limits of the machine to hold their figures against.
//!
//! A figure means something only beside what the machine can do at all and what others do, so every
//! [workload](workloads) runs in turn against Sluice, its peers, and a [null server](null) that does
//! nothing but the transport and the disk: the [targets]. The [load] is the same for all of them;
//! only the bytes on the [wire] differ.

pub mod child;
pub mod compare;
pub mod crowd;
pub mod errors;
pub mod grow;
pub mod kill;
pub mod load;
pub mod machine;
pub mod null;
pub mod process;
pub mod random;
pub mod steady;
pub mod targets;
pub mod usage;
pub mod v1;
pub mod wire;
pub mod workloads;
