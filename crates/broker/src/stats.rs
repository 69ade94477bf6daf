//! What the broker counts, process-wide; counters never go down while it runs.

use std::time::Duration;

use sluice_model::DeadReason;
use sluice_wal::SyncTimes;

/// A snapshot of the broker's counters and gauges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Messages accepted from publishers.
    pub published: u64,
    /// Messages handed to consumers, redeliveries included.
    pub delivered: u64,
    /// Deliveries settled by an ack.
    pub acked: u64,
    /// Deliveries that their consumers say have failed.
    pub nacked_failed: u64,
    /// Deliveries that their consumers gave back untried.
    pub nacked_released: u64,
    /// Deliveries that their consumers rejected for good.
    pub nacked_rejected: u64,
    /// Deliveries that their consumers gave back because their key wants a pause.
    pub nacked_throttled: u64,
    /// Leases whose time passed.
    pub leases_expired: u64,
    /// Leases whose connection was lost and did not come back.
    pub leases_lost: u64,
    /// Leases that the broker took back, which counts against no message.
    pub leases_withdrawn: u64,
    /// Publishes that matched no subscription.
    pub unroutable: u64,
    /// Messages dropped to make room, by queues and by buffers of subscribers.
    pub dropped: u64,
    /// Of these, messages that subscribers at most once lost because they were too slow.
    pub gaps: u64,
    /// Messages that ran out of time.
    pub expired: u64,
    /// Messages moved to a dead set.
    pub dead: u64,
    /// The same by the reason, in the order of [`DeadReason::ALL`].
    pub dead_by: [u64; DeadReason::ALL.len()],
    /// Requests refused.
    pub refused: u64,
    /// Of these, and of what doors asked beside requests, refused for want of a grant.
    pub forbidden: u64,
    /// Of these, publishes refused because memory is short.
    pub refused_memory: u64,
    /// Of these, publishes refused because their dedupe id found no room.
    pub refused_dedupe: u64,
    /// Live subscriptions.
    pub subscriptions: u64,
    /// Of these, those at least once.
    pub durable_subscriptions: u64,
    /// Patterns of topics that somebody listens to.
    pub topics: u64,
    /// Queues that are no subscription's.
    pub queues: u64,
    /// Dedupe ids that are remembered.
    pub dedupe_ids: u64,
    /// Keys that have a value.
    pub keys: u64,
    /// Bytes of these with their values.
    pub key_bytes: u64,
    /// The number of the last change of a key.
    pub key_revision: u64,
    /// Watches of keys.
    pub watches: u64,
    /// Changes of keys that are remembered for watches.
    pub watch_history: u64,
    /// Bytes of these.
    pub watch_history_bytes: u64,
    /// Changes that watches were told.
    pub watch_events: u64,
    /// Times that a watch was told that changes are missing.
    pub watch_gaps: u64,
    /// Open sessions.
    pub sessions: u64,
    /// Messages in queues, in every state but settled.
    pub queued: u64,
    /// The log has failed: the broker serves no more.
    pub log_failed: bool,
    /// Commits of the log.
    pub commits: u64,
    /// How long the syncs of commits took.
    pub sync_times: SyncTimes,
    /// Records appended to the log since it was made.
    pub records: u64,
    /// Bytes of frames that the log has written.
    pub log_bytes: u64,
    /// What the start found.
    pub recovery: Recovery,
    /// Checkpoints that were published.
    pub checkpoints: u64,
    /// How long ago the newest of these was.
    pub checkpoint_age: Option<Duration>,
    /// Bytes that checkpoints have written.
    pub image_bytes: u64,
    /// Bytes of records that copied bodies out of sparse segments.
    pub moved_bytes: u64,
    /// Bytes of all segment files.
    pub file_bytes: u64,
    /// Bytes of records in the log whose messages are not settled.
    pub live_bytes: u64,
    /// Bytes of records that a start would replay now.
    pub replay_bytes: u64,
    /// The most that they have been.
    pub replay_bytes_max: u64,
    /// Checkpoints fail, so publishes that would have to wait for one are refused.
    pub checkpoints_fail: bool,
    /// The most that they may be.
    pub replay_bound: u64,
    /// How often publishes of a session waited for a checkpoint, so that they stay bounded.
    pub replay_waits: u64,
    /// How often they waited for segments to be cleared, so that the files stay bounded.
    pub clearing_waits: u64,
    /// Bytes that are free on the disk of the log; 0 where it has no bound.
    pub disk_free: u64,
    /// So little is free that publishes are refused.
    pub disk_is_low: bool,
    /// How often that has begun.
    pub disk_low_times: u64,
    /// Requests refused because the disk is full or nearly so.
    pub refused_space: u64,
    /// Bytes set aside for a full disk.
    pub reserve_bytes: u64,
    /// Bytes that settlements could still write if nothing were free.
    pub settlements_left: u64,
    /// The longest time that the engine was held for one batch of requests or one commit.
    pub longest_turn: Duration,
    /// How often that took more than 2 ms.
    pub long_turns: u64,
    /// The longest time that the engine was held for an image.
    pub longest_image: Duration,
    /// The longest time that it was held for a part of a survey of queues.
    pub longest_survey: Duration,
    /// The longest time that it was held for moving bodies.
    pub longest_move: Duration,
}

/// What a start found in the log, and how long that took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The run before ended in order, or there was none.
    pub clean: bool,
    /// From the first look at the disk until messages could be served.
    pub took: Duration,
    /// Records that were replayed.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of a torn tail that were set aside.
    pub torn_bytes: u64,
    /// Records that were whole but not proven safe, and were written anew.
    pub rewritten: u64,
    /// Checkpoints that could not be used.
    pub damaged_checkpoints: u64,
}
