//! The table of metrics. What is shown, the table in `docs/operations.md` and the check of names
//! in alert rules are made from it.

/// What a metric does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It goes up and down.
    Gauge,
    /// It goes up, from 0 at the start of the process.
    Counter,
    /// It counts durations by their length.
    Histogram,
    /// Its labels are what it says.
    Info,
}

/// What a metric is measured in; part of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Things.
    None,
    Bytes,
    Seconds,
}

macro_rules! families {
    ($($(#[doc = $help:literal])+ $variant:ident = $kind:ident $base:literal $unit:ident [$($label:literal),*];)+) => {
        /// One metric with all its labels.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Family { $($variant,)+ }

        impl Family {
            /// Every metric, in the order in which they are shown.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// What it does.
            pub(crate) const fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind,)+ }
            }

            /// Its name but for unit and suffix.
            pub(crate) const fn base(self) -> &'static str {
                match self { $(Self::$variant => $base,)+ }
            }

            /// What it is measured in.
            pub(crate) const fn unit(self) -> Unit {
                match self { $(Self::$variant => Unit::$unit,)+ }
            }

            /// What it means.
            pub(crate) const fn help(self) -> &'static str {
                match self { $(Self::$variant => concat!($($help),+).trim_ascii(),)+ }
            }

            /// The names of its labels.
            #[cfg(test)]
            pub(crate) const fn labels(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &[$($label),*],)+ }
            }
        }
    };
}

families! {
    /// The build that runs
    Build = Info "sluice_build" None ["version"];
    /// Time since the process started to serve
    Uptime = Gauge "sluice_uptime" Seconds [];
    /// 1 if the broker takes messages: what `/readyz` says
    Ready = Gauge "sluice_ready" None [];
    /// 1 if others than this machine can reach a listener without keys or without TLS
    Insecure = Gauge "sluice_insecure" None [];

    /// Queues, and durable subscriptions, which have one each
    Queues = Gauge "sluice_queues" None ["kind"];
    /// Queues beyond `metrics_queues_max`, which are shown as one, `$other`
    QueuesFolded = Gauge "sluice_queues_folded" None [];
    /// Messages of a queue by state
    QueueMessages = Gauge "sluice_queue_messages" None ["queue", "state"];
    /// Bytes of the messages of a queue by state
    QueueBytes = Gauge "sluice_queue_messages" Bytes ["queue", "state"];
    /// Time since the oldest message that is ready, or is out with a consumer, was published or
    /// handed out; absent where there is none
    QueueOldest = Gauge "sluice_queue_oldest" Seconds ["queue", "state"];
    /// Messages of all queues by state
    Messages = Gauge "sluice_messages" None ["state"];
    /// Bytes of the messages of all queues by state
    MessageBytes = Gauge "sluice_messages" Bytes ["state"];
    /// Patterns of topics that somebody listens to
    Topics = Gauge "sluice_topics" None [];
    /// Subscriptions: `0` at most once, `1` at least once
    Subscriptions = Gauge "sluice_subscriptions" None ["qos"];
    /// Dedupe ids that are remembered
    DedupeIds = Gauge "sluice_dedupe_ids" None [];
    /// Keys that have a value
    Keys = Gauge "sluice_kv_keys" None [];
    /// Bytes of keys with their values
    KeyBytes = Gauge "sluice_kv_keys" Bytes [];
    /// Watches of keys
    Watches = Gauge "sluice_kv_watches" None [];
    /// Changes of keys that are remembered for watches
    WatchHistory = Gauge "sluice_kv_history" None [];
    /// Bytes of the changes of keys that are remembered for watches
    WatchHistoryBytes = Gauge "sluice_kv_history" Bytes [];
    /// Changes of keys that watches were told, each watch counted
    WatchEvents = Counter "sluice_kv_watch_events" None [];
    /// Times that a watch was told that changes were forgotten before it took them
    WatchGaps = Counter "sluice_kv_watch_gaps" None [];

    /// Messages taken from publishers
    Published = Counter "sluice_messages_published" None [];
    /// Messages handed to consumers, each time counted
    Delivered = Counter "sluice_messages_delivered" None [];
    /// Deliveries that were acknowledged
    Acked = Counter "sluice_messages_acked" None [];
    /// Deliveries that were given back, by what the consumer said
    Nacked = Counter "sluice_messages_nacked" None ["kind"];
    /// Leases that ended though no consumer said so: their time passed, their connection was lost,
    /// the broker took them back
    LeasesEnded = Counter "sluice_leases_ended" None ["reason"];
    /// Messages that went to a dead set
    Dead = Counter "sluice_messages_dead" None ["reason"];
    /// Messages that ran out of time
    Expired = Counter "sluice_messages_expired" None [];
    /// Messages dropped by queues to make room
    Dropped = Counter "sluice_messages_dropped" None [];
    /// Messages that subscribers at most once lost because they were too slow
    Gaps = Counter "sluice_messages_gaps" None [];
    /// Publishes at least once that nobody listens to
    Unroutable = Counter "sluice_messages_unroutable" None [];
    /// Requests that the broker refused for want of a grant, memory, room for dedupe ids, or disk
    Refused = Counter "sluice_requests_refused" None ["reason"];

    /// Requests by door and what came of them
    Requests = Counter "sluice_requests" None ["door", "outcome"];
    /// Lanes (messages of one priority, group and set of keys) that wait for a limit; those beyond 100
    /// names, and for pauses without a limit, are shown as `$other`
    LimitLanes = Gauge "sluice_limit_lanes_parked" None ["limit"];
    /// How long lanes have waited for a limit, all together
    LimitThrottled = Counter "sluice_limit_throttled" Seconds ["limit"];
    /// Requests that a limit of clients or of all refused; of more than 100 limits the others are
    /// shown as one, `$other`
    LimitRefused = Counter "sluice_limit_requests_refused" None ["limit", "scope"];
    /// Requests that such a limit made wait
    LimitDelayed = Counter "sluice_limit_requests_delayed" None ["limit", "scope"];
    /// Connections that are open
    Connections = Gauge "sluice_connections" None ["door"];
    /// Connections that were opened
    ConnectionsOpened = Counter "sluice_connections_opened" None ["door"];
    /// Connections closed at once
    ConnectionsRejected = Counter "sluice_connections_rejected" None ["reason"];
    /// Connections that the broker closed later, or requests that it cut short
    ConnectionsClosed = Counter "sluice_connections_closed" None ["reason"];
    /// Accepts that failed and were tried again
    AcceptFailures = Counter "sluice_accept_failures" None [];
    /// Wrong keys that were shown
    AuthFailures = Counter "sluice_auth_failures" None [];
    /// When the certificate that is shown ends, since 1970; absent without TLS
    CertificateEnds = Gauge "sluice_tls_certificate_not_after" Seconds [];
    /// Times that the keys were replaced
    KeyReloads = Counter "sluice_key_reloads" None [];
    /// Connections ended by a panic
    Panics = Counter "sluice_panics" None [];
    /// Sessions that clients have with the broker
    Sessions = Gauge "sluice_sessions" None [];

    /// Records appended to the log
    LogRecords = Counter "sluice_log_records" None [];
    /// Bytes of frames that commits have written
    LogBytes = Counter "sluice_log_written" Bytes [];
    /// Commits of the log
    LogCommits = Counter "sluice_log_commits" None [];
    /// How long syncs of commits took
    LogSync = Histogram "sluice_log_sync_duration" Seconds [];
    /// 1 if a write or sync of the log failed: the process ends with code 4
    LogFailed = Gauge "sluice_log_failed" None [];
    /// Bytes of all log files
    LogFileBytes = Gauge "sluice_log_files" Bytes [];
    /// Bytes of records in the log whose messages are not settled
    LogLiveBytes = Gauge "sluice_log_live" Bytes [];
    /// Bytes of bodies that were copied out of sparse log files
    LogMovedBytes = Counter "sluice_log_moved" Bytes [];
    /// The longest time that requests of one read, or one commit, kept all others waiting
    LongestTurn = Gauge "sluice_turn_longest" Seconds [];
    /// Times that it was more than 2 ms
    LongTurns = Counter "sluice_turns_long" None [];

    /// The longest time that a part of a scrape kept all others waiting
    LongestSurvey = Gauge "sluice_survey_longest" Seconds [];

    /// How long the start took, from the first look at the disk
    RecoveryDuration = Gauge "sluice_recovery_duration" Seconds [];
    /// Records that the start replayed
    RecoveryRecords = Gauge "sluice_recovery_replayed_records" None [];
    /// Bytes that the start replayed
    RecoveryBytes = Gauge "sluice_recovery_replayed" Bytes [];
    /// Bytes of a torn tail that the start set aside
    RecoveryTorn = Gauge "sluice_recovery_torn" Bytes [];
    /// Records that were whole but not proven safe, and that the start wrote anew
    RecoveryRewritten = Gauge "sluice_recovery_rewritten_records" None [];
    /// Checkpoints that the start could not use
    RecoveryDamaged = Gauge "sluice_recovery_damaged_checkpoints" None [];
    /// 1 if the run before ended in order, or there was none
    RecoveryClean = Gauge "sluice_recovery_clean" None [];

    /// Bytes that a start would replay now
    Replay = Gauge "sluice_replay" Bytes [];
    /// The most that they have been
    ReplayMost = Gauge "sluice_replay_most" Bytes [];
    /// The most that they may be: `replay_max`
    ReplayMax = Gauge "sluice_replay_max" Bytes [];
    /// Times that publishes of a session waited for a checkpoint
    ReplayWaits = Counter "sluice_replay_waits" None [];
    /// Times that publishes of a session waited for log files to be cleared
    ClearingWaits = Counter "sluice_clearing_waits" None [];
    /// Checkpoints that were published
    Checkpoints = Counter "sluice_checkpoints" None [];
    /// Bytes that checkpoints have written
    CheckpointBytes = Counter "sluice_checkpoints_written" Bytes [];
    /// Time since the newest checkpoint of this run; absent before it
    CheckpointAge = Gauge "sluice_checkpoint_age" Seconds [];
    /// 1 if the last checkpoint failed: publishes that would have to wait for one are refused
    CheckpointsFail = Gauge "sluice_checkpoints_fail" None [];

    /// Bytes free on the disk of the log; absent where it has no bound
    DiskFree = Gauge "sluice_disk_free" Bytes [];
    /// 1 if so little is free that publishes are refused
    DiskLow = Gauge "sluice_disk_low" None [];
    /// Times that this has begun
    DiskLowTimes = Counter "sluice_disk_low_periods" None [];
    /// Bytes set aside for a full disk
    DiskReserve = Gauge "sluice_disk_reserve" Bytes [];
    /// Bytes that settlements could still write if nothing were free
    SettlementsLeft = Gauge "sluice_disk_settlements_left" Bytes [];
    /// Backups that were asked for
    Backups = Counter "sluice_backups" None [];
    /// 1 if the newest of these failed
    BackupFailed = Gauge "sluice_backup_failed" None [];

    /// Bytes of memory in use by the process's heap
    MemoryUsed = Gauge "sluice_memory_used" Bytes [];
    /// Bytes of memory near which publishes, then connections are refused: `memory_max`
    MemoryMax = Gauge "sluice_memory_max" Bytes [];
    /// Tasks of the runtime that are alive
    Tasks = Gauge "sluice_tasks" None [];
    /// Descriptors that are open
    OpenFds = Gauge "process_open_fds" None [];
    /// Descriptors that may be open
    MaxFds = Gauge "process_max_fds" None [];
    /// Bytes of memory that the process has in RAM
    ResidentMemory = Gauge "process_resident_memory" Bytes [];
    /// Bytes of memory that the process has mapped
    VirtualMemory = Gauge "process_virtual_memory" Bytes [];
    /// Time that the process has had a processor
    CpuSeconds = Counter "process_cpu" Seconds [];
    /// When the process started, since 1970
    StartTime = Gauge "process_start_time" Seconds [];
}

impl Unit {
    /// What it adds to a name.
    pub(crate) const fn word(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Bytes => Some("bytes"),
            Self::Seconds => Some("seconds"),
        }
    }
}

impl Family {
    /// Its name in OpenMetrics.
    pub(crate) fn name(self) -> String {
        match self.unit().word() {
            Some(unit) => format!("{}_{unit}", self.base()),
            None => self.base().to_owned(),
        }
    }

    /// What its samples are called.
    pub(crate) fn sample_name(self) -> String {
        match self.kind() {
            Kind::Counter => self.name() + "_total",
            Kind::Info => self.name() + "_info",
            Kind::Gauge | Kind::Histogram => self.name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_in_base_units() {
        for (at, family) in Family::ALL.iter().enumerate() {
            let name = family.name();
            assert!(Family::ALL[..at].iter().all(|other| other.name() != name), "{name}");
            assert!(name.starts_with("sluice_") || name.starts_with("process_"), "{name}");
            let good = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(name.chars().all(good), "{name}");
            for word in ["_total", "_ms", "_us", "_kb", "_info"] {
                assert!(!family.base().ends_with(word), "{name}");
            }
            assert!(!family.help().is_empty() && !family.help().ends_with('.'), "{name}");
        }
    }
}
