//! Limits of requests: kept here, asked at the doors.

use sluice_model::Limit;

use crate::engine::Engine;

impl Engine {
    /// Counts the changes of limits.
    pub fn limits_version(&self) -> u64 {
        self.limits.version
    }

    /// The limits that count requests, by name.
    pub fn request_limits(&self) -> impl Iterator<Item = &Limit> {
        let all = self.limits.set.iter().map(|(limit, _)| limit);
        all.filter(|limit| limit.scope().is_for_requests())
    }
}
