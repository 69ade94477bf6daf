//! The rules of the broker as a state machine: topics, subscriptions, and queues under them.
//!
//! Nothing here reads a clock, a socket, a file or a random number: time comes in as an argument,
//! chance as a seed, and what must survive goes out to a [`Journal`].

mod apply;
mod apply_many;
mod config;
mod content;
mod deadlines;
mod dedupe;
mod effects;
mod ending;
mod engine;
mod fetch;
mod grant;
mod image;
mod imaging;
mod journal;
mod kv;
mod limits;
mod look;
mod names;
mod publish;
mod queue;
mod queues;
mod random;
mod receive;
mod receive_resident;
mod record;
mod redrive;
mod release;
mod replies;
mod restore;
mod run_set;
mod scarce;
mod session;
mod settle;
mod settle_many;
mod stats;
mod stir;
mod subscribe;
mod survey;
mod topic;
mod usage;
mod work;

pub use config::{Config, ConfigError, OnExpire, Order, Overflow, QueueConfig};
pub use content::{Content, read_content};
pub use effects::{Body, Effect, Effects, Handover, Place, Ticket};
pub use engine::{Engine, Ran};
pub use image::{Key, Loader, Piece};
pub use journal::{BodyRef, Journal, Need, Progress, Sequence};
pub use record::{
    AckedRun, Cause, DedupeMark, DedupeScope, KeyMark, PacedRedrive, Record, RecordError, Removal,
    Run, Target,
};
pub use release::EndedBy;
pub use stats::Stats;
pub use topic::Owner;
