//! What happened in schedules, and what of it must have happened at least once.

use std::fmt;

use sluice_wal::FaultCounters;

/// One delivery of so many at least has its place compared.
const COMPARED_ONE_IN: u64 = 6;

/// What happened in one schedule or many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Schedules in which the broker died, but for their ends.
    pub crashed: u64,
    /// Requests of clients.
    pub operations: u64,
    /// Messages that were confirmed.
    pub confirmed: u64,
    /// Deliveries.
    pub delivered: u64,
    /// Of these, marked as redelivered.
    pub redelivered: u64,
    /// Of the others, with an earlier one of the same publisher whose place was compared.
    pub compared: u64,
    /// Publishes at most once.
    pub fleeting_published: u64,
    /// Of these, handed to durable subscriptions.
    pub fleeting_delivered: u64,
    /// Messages handed to subscribers at most once.
    pub copies: u64,
    /// Deliveries to a consumer of a shared subscription after one to another.
    pub shared: u64,
    /// Of these, with a late ack of the other one that overtook it; rare.
    pub overtaken: u64,
    /// Bodies that could be read at the second attempt only.
    pub read_again: u64,
    /// Bodies that could not be read.
    pub unreadable: u64,
    /// Phases without trouble.
    pub calm_phases: u64,
    /// Times that publishes waited for a checkpoint.
    pub replay_waits: u64,
    /// Times that the broker found the disk low.
    pub disk_low: u64,
    /// Requests that it refused for that.
    pub refused_space: u64,
    /// Bytes of bodies moved out of sparse segments.
    pub moved_bytes: u64,
    /// Acks that were confirmed.
    pub acked: u64,
    /// Starts of the broker.
    pub starts: u64,
    /// Starts after a torn tail.
    pub torn_tails: u64,
    /// Records that were written anew by a start.
    pub rewritten: u64,
    /// Starts during which the process died.
    pub died_starting: u64,
    /// Logs that failed while serving.
    pub poisoned: u64,
    /// Checkpoints' bytes.
    pub checkpoint_bytes: u64,
    /// Logs with a flipped bit that a start refused.
    pub flips_refused: u64,
    /// Logs with a flipped bit that a start counted, or that lost nothing.
    pub flips_survived: u64,
    /// Batches that a queue took.
    pub queue_batches: u64,
    /// Publishes that were tried again and known.
    pub queue_duplicates: u64,
    /// Messages of a queue that were deleted one by one.
    pub queue_removed: u64,
    /// Messages that purges deleted.
    pub queue_purged: u64,
    /// Messages that were put back from a dead set.
    pub queue_redriven: u64,
    /// Messages that came back by a redrive at a pace that went on after a crash.
    pub queue_resumed: u64,
    /// Acks under a lease whose connection or broker went before.
    pub queue_outlived: u64,
    /// Deliveries compared with an earlier one of the same message.
    pub queue_exclusive: u64,
    /// First deliveries compared with one of a higher priority.
    pub queue_ranked: u64,
    /// First deliveries compared with one of the same priority.
    pub queue_ordered: u64,
    /// First deliveries compared with a receive that found nothing.
    pub queue_empties: u64,
    /// First deliveries compared with a purge.
    pub queue_left: u64,
    /// Blocks that were stored whole.
    pub blocks_whole: u64,
    /// Blocks that were parted, because some of them found no room.
    pub blocks_parted: u64,
    /// First deliveries compared with the one before or after of the same block.
    pub block_ordered: u64,
    /// Messages that came in blocks.
    pub block_copies: u64,
    /// Messages that subscribers at most once were told that they lost.
    pub lost: u64,
    /// Times that all that reached such a subscriber was counted: it came or was lost.
    pub accounts: u64,
    /// Of these, with something lost.
    pub accounts_lost: u64,
    /// Times that many leases were settled or extended at once.
    pub settled_many: u64,
    /// Of these leases, refused.
    pub settled_refused: u64,
    /// Of these, extended.
    pub extended: u64,
    /// Receives that waited for what was to be pushed.
    pub pushes: u64,
    /// Messages that came by them.
    pub pushed: u64,
    /// Of these receives, withdrawn.
    pub withdrawn: u64,
    /// Of these, waited for the client to take what was on its way to it.
    pub push_starved: u64,
    /// Bodies that were read with others at once.
    pub read_together: u64,
    /// Writes of keys that were confirmed.
    pub key_writes: u64,
    /// Values of keys that were read.
    pub key_reads: u64,
    /// Writes whose condition did not hold.
    pub key_conflicts: u64,
    /// Additions that were known from before.
    pub key_duplicates: u64,
    /// Changes that watches told.
    pub key_events: u64,
    /// Of these, that a key's time was over.
    pub key_expiries: u64,
    /// Times that a watch told that changes are missing.
    pub key_gaps: u64,
    /// Answers about keys that were held against the states they can have come from.
    pub key_checked: u64,
    /// Leases of queues under limits.
    pub limit_grants: u64,
    /// Limits that were set or changed.
    pub limit_changes: u64,
    /// Limits that were taken away.
    pub limit_deletes: u64,
    /// Pauses by hand.
    pub limit_pauses: u64,
    /// Messages that were given back as throttled.
    pub limit_throttled: u64,
    /// Times that all limits were compared with those that were confirmed.
    pub limit_lists: u64,
    /// Moments at which all was quiet and what waited was looked at.
    pub limit_probes: u64,
    /// Messages that were found to wait then.
    pub limit_waits: u64,
    /// Of these, the reasons were held against those there are.
    pub limit_explained: u64,
    /// Times at which there will be a message that were held against when it may go.
    pub limit_next: u64,
    /// Grants compared with messages of a higher priority.
    pub limit_ranked: u64,
    /// Grants compared with what another group of the priority got.
    pub limit_turned: u64,
    /// Grants compared with a message before in the same group.
    pub limit_followed: u64,
    /// Backups that were asked for.
    pub backups_begun: u64,
    /// Of these, became whole.
    pub backups_completed: u64,
    /// Failed, and the broker went on.
    pub backups_failed: u64,
    /// Ended with the broker.
    pub backups_cut: u64,
    /// Backups that another life began with.
    pub backups_restored: u64,
    /// Deliveries in such a life.
    pub backup_deliveries: u64,
    /// Of these, with an earlier one whose place was compared.
    pub backup_compared: u64,
    /// Leases of the old life that the new one refused.
    pub old_leases_refused: u64,
    /// Leases of the old life by which a message of the backup was acked.
    pub old_leases_taken: u64,
    /// What the disk did wrong.
    pub disk: FaultCounters,
}

/// What a schedule came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What happened.
    pub counters: Counters,
    /// A hash over everything that happened, in order.
    pub trace: u64,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The schedule; run it again with `cargo xtask sim --seed N`.
    pub seed: u64,
    /// After so many steps.
    pub step: u64,
    /// Which promise.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {} step {}: {}", self.seed, self.step, self.what)
    }
}

impl std::error::Error for Violation {}

impl Counters {
    /// Adds what happened in another schedule.
    pub fn add(&mut self, other: &Self) {
        // Too rare to be in the table of what every run has to meet.
        self.overtaken += other.overtaken;
        for (mine, (_, theirs)) in self.fields_mut().into_iter().zip(other.fields()) {
            *mine += theirs;
        }
    }

    /// Whether the order of so many deliveries was compared that it says something: of those that
    /// are marked as redelivered, it can't be.
    pub fn compares_enough(&self) -> bool {
        self.compared >= self.delivered / COMPARED_ONE_IN
    }

    /// A kind of trouble that never came up, if there is one: a run that never met it proves
    /// nothing about it.
    pub fn never_hit(&self) -> Option<&'static str> {
        self.fields().into_iter().find(|(_, count)| *count == 0).map(|(name, _)| name)
    }
}

/// Lists the counters once, for adding and for finding those that were never hit.
macro_rules! fields {
    ($($($field:ident).+,)+) => {
        impl Counters {
            fn fields(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($($field).+), self.$($field).+),)+]
            }

            fn fields_mut(&mut self) -> Vec<&mut u64> {
                vec![$(&mut self.$($field).+,)+]
            }
        }
    };
}

fields! {
    crashed,
    operations,
    confirmed,
    delivered,
    redelivered,
    compared,
    fleeting_published,
    fleeting_delivered,
    copies,
    shared,
    read_again,
    unreadable,
    calm_phases,
    replay_waits,
    disk_low,
    refused_space,
    moved_bytes,
    acked,
    starts,
    torn_tails,
    rewritten,
    died_starting,
    poisoned,
    checkpoint_bytes,
    flips_refused,
    flips_survived,
    queue_batches,
    queue_duplicates,
    queue_removed,
    queue_purged,
    queue_redriven,
    queue_resumed,
    queue_outlived,
    queue_exclusive,
    queue_ranked,
    queue_ordered,
    queue_empties,
    queue_left,
    blocks_whole,
    blocks_parted,
    block_ordered,
    block_copies,
    lost,
    accounts,
    accounts_lost,
    settled_many,
    settled_refused,
    extended,
    pushes,
    pushed,
    withdrawn,
    push_starved,
    read_together,
    key_writes,
    key_reads,
    key_conflicts,
    key_duplicates,
    key_events,
    key_expiries,
    key_gaps,
    key_checked,
    limit_grants,
    limit_changes,
    limit_deletes,
    limit_pauses,
    limit_throttled,
    limit_lists,
    limit_probes,
    limit_waits,
    limit_explained,
    limit_next,
    limit_ranked,
    limit_turned,
    limit_followed,
    backups_begun,
    backups_completed,
    backups_failed,
    backups_cut,
    backups_restored,
    backup_deliveries,
    backup_compared,
    old_leases_refused,
    old_leases_taken,
    disk.power_crashes,
    disk.process_crashes,
    disk.sectors_lost,
    disk.sectors_kept,
    disk.names_lost,
    disk.failed_syncs,
    disk.failed_writes,
    disk.failed_reads,
    disk.no_space,
    disk.hogged,
    disk.bit_flips,
    disk.cut_operations,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_a_whole_or_a_restored_backup_has_met_too_little() {
        let mut all = Counters::default();
        all.fields_mut().into_iter().for_each(|count| *count = 1);
        assert_eq!(all.never_hit(), None);
        let none = Counters { backups_completed: 0, ..all };
        assert_eq!(none.never_hit(), Some("backups_completed"));
        let none = Counters { backups_restored: 0, ..all };
        assert_eq!(none.never_hit(), Some("backups_restored"));
    }
}
