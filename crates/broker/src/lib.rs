//! The one async API behind every door.
//!
//! Doors hold a [`Broker`] and open a [`Session`] a client; a [`Backend`] does the work.

mod access;
mod backend;
mod backup;
mod broker;
mod error;
pub mod local;
mod memory;
mod owned;
mod provide;
mod request_limits;
mod session;
mod stats;

pub use access::Directory;
pub use backend::{Backend, Capabilities, ClosedBy, Link};
pub use backup::{BackupDone, BackupState, BackupStatus};
pub use broker::Broker;
pub use error::BrokerError;
pub use memory::{Memory, Pressure};
pub use owned::LimitsOwned;
pub use request_limits::RequestLimits;
pub use session::Session;
pub use sluice_wal::SyncTimes;
pub use stats::{Recovery, Stats};
