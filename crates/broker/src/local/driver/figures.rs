//! What a driver tells of itself.

use std::time::Duration;

use sluice_model::{QueueKind, QueueName, SurveyPart, Timestamp};
use sluice_wal::Disk;

use super::Driver;
use crate::Stats;

impl<D: Disk> Driver<D> {
    /// Messages lost so far because a queue was full or a subscriber too slow.
    pub(crate) fn dropped(&self) -> u64 {
        let counted = self.engine.stats();
        counted.dropped + counted.gaps
    }

    /// Counters and gauges as they stand.
    pub fn stats(&self) -> Stats {
        let counted = self.engine.stats();
        let mut stats = Stats {
            published: counted.published,
            delivered: counted.delivered,
            acked: counted.acked,
            nacked_failed: counted.nacked_failed,
            nacked_released: counted.nacked_released,
            nacked_rejected: counted.nacked_rejected,
            nacked_throttled: counted.nacked_throttled,
            leases_expired: counted.leases_expired,
            leases_lost: counted.leases_lost,
            leases_withdrawn: counted.leases_withdrawn,
            unroutable: counted.unroutable,
            dropped: self.dropped(),
            gaps: counted.gaps,
            expired: counted.expired,
            dead: counted.dead,
            dead_by: counted.dead_by,
            refused: counted.refused,
            // Counted in front of every backend.
            forbidden: 0,
            refused_memory: 0,
            refused_dedupe: counted.refused_dedupe,
            subscriptions: self.engine.subscriptions() as u64,
            durable_subscriptions: self.engine.durable_subscriptions() as u64,
            topics: self.engine.topics() as u64,
            queues: self.engine.plain_queues() as u64,
            dedupe_ids: self.engine.dedupe_ids(),
            keys: self.engine.keys(),
            key_bytes: self.engine.key_bytes(),
            key_revision: self.engine.key_revision(),
            watches: self.engine.watches() as u64,
            watch_history: self.engine.watch_history().0,
            watch_history_bytes: self.engine.watch_history().1,
            watch_events: counted.watch_events,
            watch_gaps: counted.watch_gaps,
            sessions: self.engine.sessions() as u64,
            queued: self.engine.queued(),
            commits: self.commits,
            sync_times: self.log.sync_times(),
            records: self.log.last().0,
            log_bytes: self.log.written_bytes(),
            recovery: self.recovery,
            checkpoints: self.checkpoints,
            image_bytes: self.image_bytes,
            moved_bytes: self.moved_bytes,
            file_bytes: self.log.file_bytes(),
            live_bytes: self.engine.live_bytes(),
            replay_bytes: self.replay.distance(self.log.appended_bytes()),
            replay_bytes_max: self.replay.longest(),
            replay_bound: self.replay.bound(),
            checkpoints_fail: self.replay.is_failing(),
            log_failed: self.failure.is_some(),
            replay_waits: self.replay.waits(),
            clearing_waits: self.replay.clearing_waits(),
            ..Stats::default()
        };
        self.room.tell(self.log.runway(), &mut stats);
        stats
    }

    /// How long ago the newest checkpoint of this run was published.
    pub(crate) fn checkpoint_age(&self, now: Timestamp) -> Option<Duration> {
        self.imaged_at.map(|at| now.since(at))
    }

    /// A part of the figures of all queues of one kind, those behind `after`.
    pub fn survey(
        &mut self,
        now: Timestamp,
        kind: QueueKind,
        after: Option<&QueueName>,
    ) -> SurveyPart {
        self.engine.survey(now, kind, after)
    }
}
