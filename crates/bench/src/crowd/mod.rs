//! More clients than a broker can serve, or wants to: too many posts, bytes that drip, polls that
//! wait. Beside them somebody well-behaved, who should not notice.

mod acks;
mod asking;
mod background;
pub mod overload;
mod posts;
pub mod slow;
mod socket;
pub mod watchers;

use std::io;

use rustix::thread::{CpuSet, sched_setaffinity};
use thiserror::Error;
use tokio::runtime::{Builder, Runtime};

use crate::process::StartError;

pub use acks::Acked;
pub use posts::Posted;

/// Why a run ended early.
#[derive(Debug, Error)]
pub enum CrowdError {
    /// The broker did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A connection, a file or the process failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A client panicked.
    #[error(transparent)]
    Client(#[from] tokio::task::JoinError),
    /// The broker was not what it has to be.
    #[error("{0}")]
    Other(&'static str),
}

/// Clients that are served by one thread.
fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Has this thread, and what it starts from now on, run on that processor alone. Whether there is one.
fn on_processor(number: usize) -> bool {
    let mut set = CpuSet::new();
    set.set(number);
    sched_setaffinity(None, &set).is_ok()
}
