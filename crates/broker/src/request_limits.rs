//! The limits of requests that a backend keeps, for the doors that ask them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use sluice_model::Limit;

/// Limits with scope client or global, as they are in force. Looking whether they have changed costs
/// a load.
#[derive(Debug, Default)]
pub struct RequestLimits {
    version: AtomicU64,
    limits: Mutex<Arc<[Limit]>>,
}

impl RequestLimits {
    /// Counts the changes.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The limits, and a version that is not newer than they are.
    pub fn now(&self) -> (u64, Arc<[Limit]>) {
        let version = self.version();
        (version, Arc::clone(&self.limits.lock()))
    }

    /// From now on these are in force.
    pub fn replace(&self, limits: impl IntoIterator<Item = Limit>) {
        let new: Arc<[Limit]> = limits.into_iter().collect();
        let mut limits = self.limits.lock();
        if *limits != new {
            *limits = new;
            self.version.fetch_add(1, Ordering::Release);
        }
    }
}
