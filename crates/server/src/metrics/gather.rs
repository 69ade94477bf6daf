//! Fills the table: what the broker, the doors and the system say, by metric.

use std::time::Duration;

use sluice_broker::{BackupState, Stats};
use sluice_model::{DeadReason, StateCounts};
use tokio::runtime::Handle;

use super::family::Family;
use super::process::Process;
use super::queues::{OTHERS, Shown, Sum};
use super::samples::Samples;
use crate::counters::CountersSnapshot;
use crate::doors::{Shared, readiness};
use crate::limits;
use crate::requests::{DoorName, Outcome};
use crate::tls::Tls;

/// All samples.
pub(super) fn all(shared: &Shared, queues: Shown) -> Samples {
    let stats = shared.broker.stats();
    let counters = shared.counters.snapshot();
    let mut out = Samples::default();
    out.labelled(Family::Build, &[("version", env!("CARGO_PKG_VERSION"))], 1);
    out.time(Family::Uptime, &[], shared.begun.uptime());
    let is_ready = readiness::checks(shared, &stats).iter().all(|check| check.fault.is_none());
    out.switch(Family::Ready, is_ready);
    out.switch(Family::Insecure, shared.config.is_exposed());
    by_queue(&queues, &mut out);
    messages(&stats, &mut out);
    doors(shared, &counters, &stats, &mut out);
    log(&stats, &mut out);
    recovery(&stats, &mut out);
    checkpoints(&stats, &mut out);
    disk(&stats, &mut out);
    backups(shared, &mut out);
    process(shared, &mut out);
    out
}

fn by_state(counts: StateCounts) -> [(&'static str, u64); 4] {
    let StateCounts { ready, delayed, leased, dead } = counts;
    [("ready", ready), ("delayed", delayed), ("leased", leased), ("dead", dead)]
}

fn by_queue(shown: &Shown, out: &mut Samples) {
    let mut one = |queue: &str, messages, bytes, oldest: [Option<Duration>; 2]| {
        for (state, count) in by_state(messages) {
            out.labelled(Family::QueueMessages, &[("queue", queue), ("state", state)], count);
        }
        for (state, count) in by_state(bytes) {
            out.labelled(Family::QueueBytes, &[("queue", queue), ("state", state)], count);
        }
        for (state, age) in ["ready", "leased"].into_iter().zip(oldest) {
            if let Some(age) = age {
                out.time(Family::QueueOldest, &[("queue", queue), ("state", state)], age);
            }
        }
    };
    for queue in &shown.queues {
        let oldest = [queue.oldest_ready, queue.oldest_leased];
        one(queue.name.as_str(), queue.messages, queue.bytes, oldest);
    }
    if shown.folded > 0 {
        let Sum { messages, bytes, oldest_ready, oldest_leased } = shown.others;
        one(OTHERS, messages, bytes, [oldest_ready, oldest_leased]);
    }
    out.number(Family::QueuesFolded, shown.folded);
    for (state, count) in by_state(shown.all.messages) {
        out.labelled(Family::Messages, &[("state", state)], count);
    }
    for (state, count) in by_state(shown.all.bytes) {
        out.labelled(Family::MessageBytes, &[("state", state)], count);
    }
}

fn messages(stats: &Stats, out: &mut Samples) {
    let kinds = [("queue", stats.queues), ("subscription", stats.durable_subscriptions)];
    labelled(out, Family::Queues, "kind", &kinds);
    let at_most_once = stats.subscriptions.saturating_sub(stats.durable_subscriptions);
    let qos = [("0", at_most_once), ("1", stats.durable_subscriptions)];
    labelled(out, Family::Subscriptions, "qos", &qos);
    let nacked = [
        ("failed", stats.nacked_failed),
        ("released", stats.nacked_released),
        ("rejected", stats.nacked_rejected),
        ("throttled", stats.nacked_throttled),
    ];
    labelled(out, Family::Nacked, "kind", &nacked);
    let ended = [
        ("expired", stats.leases_expired),
        ("lost", stats.leases_lost),
        ("withdrawn", stats.leases_withdrawn),
    ];
    labelled(out, Family::LeasesEnded, "reason", &ended);
    for (reason, count) in DeadReason::ALL.iter().zip(stats.dead_by) {
        out.labelled(Family::Dead, &[("reason", reason.name())], count);
    }
    let refused = [
        ("forbidden", stats.forbidden),
        ("memory", stats.refused_memory),
        ("dedupe", stats.refused_dedupe),
        ("disk", stats.refused_space),
    ];
    labelled(out, Family::Refused, "reason", &refused);
    let plain = [
        (Family::Topics, stats.topics),
        (Family::DedupeIds, stats.dedupe_ids),
        (Family::Keys, stats.keys),
        (Family::KeyBytes, stats.key_bytes),
        (Family::Watches, stats.watches),
        (Family::WatchHistory, stats.watch_history),
        (Family::WatchHistoryBytes, stats.watch_history_bytes),
        (Family::WatchEvents, stats.watch_events),
        (Family::WatchGaps, stats.watch_gaps),
        (Family::Published, stats.published),
        (Family::Delivered, stats.delivered),
        (Family::Acked, stats.acked),
        (Family::Expired, stats.expired),
        (Family::Dropped, stats.dropped.saturating_sub(stats.gaps)),
        (Family::Gaps, stats.gaps),
        (Family::Unroutable, stats.unroutable),
        (Family::Sessions, stats.sessions),
    ];
    numbers(out, &plain);
}

fn doors(shared: &Shared, counters: &CountersSnapshot, stats: &Stats, out: &mut Samples) {
    for door in DoorName::ALL {
        let name = ("door", door.name());
        for outcome in Outcome::ALL {
            // These are answered in front of whatever counts requests.
            let before = match (door, outcome) {
                (DoorName::Http, Outcome::Timeout) => counters.http_heads_too_slow,
                (DoorName::Http, Outcome::Error) => {
                    counters.http_malformed + counters.http_heads_too_large
                }
                _ => 0,
            };
            let count = before + shared.requests.count(*door, *outcome);
            out.labelled(Family::Requests, &[name, ("outcome", outcome.name())], count);
        }
        let (opened, open) = shared.requests.connections(*door);
        out.labelled(Family::ConnectionsOpened, &[name], opened);
        out.labelled(Family::Connections, &[name], open);
    }
    let rejected = [
        ("connections", counters.rejected_connections),
        ("address", counters.rejected_address),
        ("rate", counters.rejected_rate),
        ("memory", counters.rejected_memory),
        ("principal", counters.rejected_principal),
        ("first_byte", counters.rejected_first_byte),
        ("tls", counters.rejected_tls),
        ("http", counters.rejected_http),
        ("early_frame", counters.rejected_early_frame),
        ("admin", counters.rejected_admin),
    ];
    labelled(out, Family::ConnectionsRejected, "reason", &rejected);
    let closed = [
        ("first_frame_timeout", counters.first_frame_timeouts),
        ("idle_timeout", counters.idle_timeouts),
        ("write_timeout", counters.write_timeouts + counters.http_write_timeouts),
        ("head_timeout", counters.http_heads_too_slow),
        ("body_timeout", counters.http_bodies_too_slow),
        ("malformed", counters.http_malformed + counters.decode_errors),
        ("head_too_large", counters.http_heads_too_large),
        ("revoked", counters.revoked),
    ];
    labelled(out, Family::ConnectionsClosed, "reason", &closed);
    let plain = [
        (Family::AcceptFailures, counters.accept_failures),
        (Family::AuthFailures, counters.auth_failures),
        (Family::KeyReloads, counters.key_reloads),
        (Family::Panics, counters.panics),
        (Family::LongTurns, stats.long_turns),
    ];
    numbers(out, &plain);
    if let Some(ends) = shared.tls.as_ref().and_then(Tls::not_after) {
        out.time(Family::CertificateEnds, &[], ends);
    }
    out.time(Family::LongestTurn, &[], stats.longest_turn);
    out.time(Family::LongestSurvey, &[], stats.longest_survey);
}

fn log(stats: &Stats, out: &mut Samples) {
    out.durations(Family::LogSync, stats.sync_times);
    out.switch(Family::LogFailed, stats.log_failed);
    let plain = [
        (Family::LogRecords, stats.records),
        (Family::LogBytes, stats.log_bytes),
        (Family::LogCommits, stats.commits),
        (Family::LogFileBytes, stats.file_bytes),
        (Family::LogLiveBytes, stats.live_bytes),
        (Family::LogMovedBytes, stats.moved_bytes),
    ];
    numbers(out, &plain);
}

fn recovery(stats: &Stats, out: &mut Samples) {
    let recovery = &stats.recovery;
    out.time(Family::RecoveryDuration, &[], recovery.took);
    out.switch(Family::RecoveryClean, recovery.clean);
    let plain = [
        (Family::RecoveryRecords, recovery.records),
        (Family::RecoveryBytes, recovery.bytes),
        (Family::RecoveryTorn, recovery.torn_bytes),
        (Family::RecoveryRewritten, recovery.rewritten),
        (Family::RecoveryDamaged, recovery.damaged_checkpoints),
    ];
    numbers(out, &plain);
}

fn checkpoints(stats: &Stats, out: &mut Samples) {
    let plain = [
        (Family::Replay, stats.replay_bytes),
        (Family::ReplayMost, stats.replay_bytes_max),
        (Family::ReplayMax, stats.replay_bound),
        (Family::ReplayWaits, stats.replay_waits),
        (Family::ClearingWaits, stats.clearing_waits),
        (Family::Checkpoints, stats.checkpoints),
        (Family::CheckpointBytes, stats.image_bytes),
    ];
    numbers(out, &plain);
    out.switch(Family::CheckpointsFail, stats.checkpoints_fail);
    if let Some(age) = stats.checkpoint_age {
        out.time(Family::CheckpointAge, &[], age);
    }
}

fn disk(stats: &Stats, out: &mut Samples) {
    out.switch(Family::DiskLow, stats.disk_is_low);
    let plain = [
        (Family::DiskLowTimes, stats.disk_low_times),
        (Family::DiskReserve, stats.reserve_bytes),
        (Family::SettlementsLeft, stats.settlements_left),
    ];
    numbers(out, &plain);
    if stats.disk_free > 0 || stats.disk_is_low {
        out.number(Family::DiskFree, stats.disk_free);
    }
}

fn backups(shared: &Shared, out: &mut Samples) {
    let status = shared.broker.backup_status();
    out.number(Family::Backups, status.number);
    out.switch(Family::BackupFailed, matches!(status.state, BackupState::Failed { .. }));
}

fn process(shared: &Shared, out: &mut Samples) {
    let (used, max) = shared.broker.memory().usage();
    out.number(Family::MemoryUsed, used);
    out.number(Family::MemoryMax, max);
    out.number(Family::Tasks, Handle::current().metrics().num_alive_tasks() as u64);
    if let Some(open) = limits::open_descriptors() {
        out.number(Family::OpenFds, open);
    }
    out.number(Family::MaxFds, limits::descriptor_limit());
    let Some(process) = Process::read() else { return };
    out.number(Family::ResidentMemory, process.resident_bytes);
    out.number(Family::VirtualMemory, process.virtual_bytes);
    out.time(Family::CpuSeconds, &[], process.cpu);
    if let Some(started) = process.started {
        out.time(Family::StartTime, &[], started);
    }
}

fn numbers(out: &mut Samples, samples: &[(Family, u64)]) {
    for (family, value) in samples {
        out.number(*family, *value);
    }
}

fn labelled(out: &mut Samples, family: Family, label: &'static str, samples: &[(&str, u64)]) {
    for (value, count) in samples {
        out.labelled(family, &[(label, value)], *count);
    }
}
