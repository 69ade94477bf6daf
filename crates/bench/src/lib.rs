//! Load for brokers, and the limits of the machine to hold their figures against.

pub mod v1;
