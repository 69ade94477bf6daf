//! What the broker counts, process-wide; counters never go down while it runs.

use std::time::Duration;

/// A snapshot of the broker's counters and gauges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Messages accepted from publishers.
    pub published: u64,
    /// Messages handed to consumers, redeliveries included.
    pub delivered: u64,
    /// Deliveries settled by an ack.
    pub acked: u64,
    /// Publishes that matched no subscription.
    pub unroutable: u64,
    /// Messages dropped to make room, by queues and by buffers of subscribers.
    pub dropped: u64,
    /// Messages that ran out of time.
    pub expired: u64,
    /// Messages moved to a dead set.
    pub dead: u64,
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
    /// Open sessions.
    pub sessions: u64,
    /// Messages in queues, in every state but settled.
    pub queued: u64,
    /// Commits of the log.
    pub commits: u64,
    /// Records appended to the log.
    pub records: u64,
    /// Bytes of frames that the log has written.
    pub log_bytes: u64,
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
    /// The longest time that it was held for moving bodies.
    pub longest_move: Duration,
}
