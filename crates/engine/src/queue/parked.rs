//! Receives that wait for a message.

use std::time::Duration;

use sluice_model::{SessionId, SubscriptionId, Timestamp};

use crate::effects::Place;

/// A receive that found nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parked {
    pub(crate) session: SessionId,
    pub(crate) tag: u64,
    /// Where its answer goes.
    pub(crate) place: Place,
    pub(crate) subscription: Option<SubscriptionId>,
    pub(crate) max: u16,
    pub(crate) lease: Option<Duration>,
    pub(crate) bound: bool,
    /// What is kept for its answer of the session's bound on outgoing bytes.
    pub(crate) weight: usize,
    /// How long it waits; none if only until the messages that are there are committed.
    pub(crate) until: Option<Timestamp>,
}
