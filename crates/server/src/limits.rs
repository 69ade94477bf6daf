//! Descriptors of this process: how many there may be, and how many there are.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Below this many descriptors a warning is due.
const DESCRIPTORS_FEW: u64 = 10_000;

/// Raises the limit on descriptors to the hard one and returns it.
pub(crate) fn raise_descriptor_limit() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let mut limit = current;
    if current != maximum {
        match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
            Ok(()) => limit = maximum,
            Err(error) => warn!(%error, "the limit on descriptors could not be raised"),
        }
    }
    let limit = limit.unwrap_or(u64::MAX);
    if limit < DESCRIPTORS_FEW {
        warn!(limit, "few descriptors: raise the hard limit (ulimit -Hn) for more connections");
    }
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// How many descriptors there may be.
pub(crate) fn descriptor_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many there are; none where the system doesn't tell.
pub(crate) fn open_descriptors() -> Option<u64> {
    let open = std::fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    // Looking takes one.
    Some(open.saturating_sub(1))
}
