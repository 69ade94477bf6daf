//! Numbers that look random and follow from a seed.

pub use sluice_flow::Random;
