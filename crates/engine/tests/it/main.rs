//! The engine by itself: a list for a log, a clock moved by hand, and a crash wherever one likes.
#![expect(clippy::unwrap_used, reason = "a test says by it what must hold")]

mod bounds;
mod commits;
mod crashes;
mod images;
mod random;
mod rig;
mod subscriptions;
mod transitions;
