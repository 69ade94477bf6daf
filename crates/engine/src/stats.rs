//! What the engine counts.

use sluice_model::DeadReason;

use crate::record::Cause;

/// Counters since the start of the process; they never go down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Messages accepted.
    pub published: u64,
    /// Messages handed over, redeliveries included.
    pub delivered: u64,
    /// Deliveries settled by an ack.
    pub acked: u64,
    /// Of these, acks that came after the lease had ended.
    pub late_acks: u64,
    /// Leases that ended in a failure.
    pub failed: u64,
    /// Deliveries that their consumers say have failed.
    pub nacked_failed: u64,
    /// Deliveries that their consumers gave back untried.
    pub nacked_released: u64,
    /// Deliveries that their consumers gave back because their key wants a pause.
    pub nacked_throttled: u64,
    /// Deliveries that their consumers rejected for good.
    pub nacked_rejected: u64,
    /// Leases whose time passed.
    pub leases_expired: u64,
    /// Leases whose connection was lost and did not come back, counted as a failure.
    pub leases_lost: u64,
    /// Leases that the broker took back, which counts against no message.
    pub leases_withdrawn: u64,
    /// Publishes at least once that matched no subscription.
    pub unroutable: u64,
    /// Messages dropped by queues to make room.
    pub dropped: u64,
    /// Messages that subscribers at most once lost because they were too slow.
    pub gaps: u64,
    /// Messages that ran out of time.
    pub expired: u64,
    /// Messages parked in a dead set.
    pub dead: u64,
    /// The same by the reason, in the order of [`DeadReason::ALL`].
    pub dead_by: [u64; DeadReason::ALL.len()],
    /// Changes of keys that watches were told.
    pub watch_events: u64,
    /// Times that a watch was told of changes that were forgotten before it took them.
    pub watch_gaps: u64,
    /// Requests refused.
    pub refused: u64,
    /// Of these, publishes whose dedupe id found no room.
    pub refused_dedupe: u64,
}

impl Stats {
    /// A lease ended without an ack.
    pub(crate) fn lease_ended(&mut self, cause: Cause) {
        self.failed += u64::from(cause.is_failure());
        let by_cause = match cause {
            Cause::Failed => &mut self.nacked_failed,
            Cause::Released => &mut self.nacked_released,
            Cause::Throttled => &mut self.nacked_throttled,
            Cause::Expired => &mut self.leases_expired,
            Cause::Lost => &mut self.leases_lost,
            Cause::Withdrawn | Cause::TakenOver => &mut self.leases_withdrawn,
        };
        *by_cause += 1;
    }

    /// A message was parked in a dead set.
    pub(crate) fn died(&mut self, reason: DeadReason) {
        self.dead += 1;
        if let Some(by_reason) = self.dead_by.get_mut(reason as usize) {
            *by_reason += 1;
        }
    }
}
