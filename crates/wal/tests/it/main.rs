//! The log on real files.
#![expect(clippy::unwrap_used, reason = "a test that can't set itself up has failed")]

mod backup;
mod damage;
mod errors;
mod files;
mod full;
mod marks;
mod names;
mod owner;
mod reads;
mod repair;
mod shared_sync;
mod starts;
mod torn_frames;
mod versions;
