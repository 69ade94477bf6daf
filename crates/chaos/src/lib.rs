//! Trouble on purpose: a proxy that harms connections, and damage to a copy of a log.
//!
//! Everything follows from a seed. What happens to a connection is decided by [`Link`], which has
//! neither socket nor clock; [`Proxy`] gives it both. Neither knows what the bytes mean.

mod damage;
mod link;
mod plan;
mod proxy;
mod relay;
mod tally;
mod way;

pub use damage::{Damage, DamageKind, Extent, damage};
pub use link::{Action, Link, Side};
pub use plan::{Fault, Harm, Plan};
pub use proxy::Proxy;
pub use tally::Tally;
