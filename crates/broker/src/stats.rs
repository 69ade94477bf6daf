//! What the broker counts, process-wide; counters never go down while it runs.

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
}
