//! The rules of the broker as a state machine: topics, subscriptions, and queues under them.
//!
//! Nothing here reads a clock, a socket, a file or a random number: time comes in as an argument,
//! chance as a seed, and what must survive goes out to a [`Journal`].

mod apply;
mod config;
mod content;
mod deadlines;
mod effects;
mod engine;
mod image;
mod journal;
mod publish;
mod queue;
mod random;
mod record;
mod restore;
mod session;
mod settle;
mod stats;
mod subscribe;
mod topic;
mod usage;

pub use config::{Config, ConfigError, Level, OnExpire, Overflow, QueueConfig};
pub use content::{Content, Stored};
pub use effects::{Body, Effect, Effects, Handover, Place, Resident, Ticket};
pub use engine::{Engine, Ran};
pub use image::{Key, Loader, Piece};
pub use journal::{BodyRef, Journal, Need, Progress, Sequence};
pub use record::{Cause, DeadReason, Record, RecordError, Removal, Target};
pub use stats::Stats;
pub use subscribe::EndedBy;
pub use topic::Owner;
