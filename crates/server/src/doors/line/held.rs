//! The leases that a connection holds, as far as it was told.

use std::collections::BTreeMap;

use sluice_model::{LeaseId, Timestamp};

/// Leases and when each ends by itself.
#[derive(Debug, Default)]
pub(super) struct Held(BTreeMap<LeaseId, Timestamp>);

impl Held {
    /// It lives until then.
    pub(super) fn note(&mut self, lease: LeaseId, deadline: Timestamp) {
        self.0.insert(lease, deadline);
    }

    /// It is over.
    pub(super) fn forget(&mut self, lease: &LeaseId) {
        self.0.remove(lease);
    }

    /// The same of one whose new deadline is known, if it is one of these.
    pub(super) fn extend(&mut self, lease: &LeaseId, until: Timestamp) {
        if let Some(deadline) = self.0.get_mut(lease) {
            *deadline = until;
        }
    }

    /// Whether there are as many as may be, those aside whose time is over.
    pub(super) fn is_full(&mut self, max: usize, now: Timestamp) -> bool {
        if self.0.len() >= max {
            self.0.retain(|_, deadline| *deadline > now);
        }
        self.0.len() >= max
    }

    /// Whether any lives.
    pub(super) fn any(&self, now: Timestamp) -> bool {
        self.0.values().any(|deadline| *deadline > now)
    }
}
