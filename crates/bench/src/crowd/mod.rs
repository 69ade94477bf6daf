//! More clients than a broker can serve, or wants to: too many posts, bytes that drip, polls that
//! wait. Beside them somebody well-behaved, who should not notice.

mod acks;
mod asking;
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

/// A priority by which a thread gets out of the way at once, and still a tenth of a processor that
/// others want too.
const LOW: i32 = 10;

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

/// Clients that nothing is measured of, served by a thread of low priority: in their place there
/// would be thousands of other machines, which take no processor from who is measured here.
fn in_background() -> io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all();
    builder.on_thread_start(|| {
        // A thread that may not run slower runs as it is.
        let _ = rustix::process::setpriority_process(None, LOW);
    });
    builder.build()
}

/// Has this thread, and what it starts from now on, run on that processor alone. Whether there is one.
fn on_processor(number: usize) -> bool {
    let mut set = CpuSet::new();
    set.set(number);
    sched_setaffinity(None, &set).is_ok()
}
