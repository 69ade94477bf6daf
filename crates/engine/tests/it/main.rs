//! The engine by itself: a list for a log, a clock moved by hand, and a crash wherever one likes.
#![expect(clippy::unwrap_used, reason = "a test says by it what must hold")]

mod blocks;
mod bounds;
mod commits;
mod crashes;
mod dead_set;
mod dedupe;
mod dice;
mod eligible;
mod fetch;
mod flow;
mod images;
mod kv;
mod kv_random;
mod lanes;
mod limits;
mod many;
mod model;
mod pace;
mod queues;
mod random;
mod rig;
mod slices;
mod subscriptions;
mod survey;
mod table;
mod transitions;
mod waits;
mod watches;
