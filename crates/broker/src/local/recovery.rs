//! From a disk to a driver that is ready to serve.

use std::time::Duration;

use sluice_engine::{Config as EngineConfig, Engine, Loader, Record, RecordError};
use sluice_model::Timestamp;
use sluice_wal::{
    Config as WalConfig, Disk, Log, Opened, RECORD_OVERHEAD, RecoveryReport, Scanned, WalError,
};
use thiserror::Error;

use crate::Recovery;
use crate::local::driver::upkeep::empty_segments;
use crate::local::driver::{Driver, Pace};
use crate::local::housekeeping::{Housekeeper, Upkeep};
use crate::local::journal::{LogJournal, body_ref};
use crate::local::replay::Replay;

/// How a local broker is set up.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalConfig {
    /// Rules of queues and subscriptions.
    pub engine: EngineConfig,
    /// Bounds of the log.
    pub wal: WalConfig,
    /// When the log is synced.
    pub pace: Pace,
    /// Most bytes of records that a start has to replay.
    pub replay_max: u64,
    /// A checkpoint is made at least so often, if there was anything since the last.
    pub checkpoint_interval: Duration,
    /// With fewer free bytes on the disk than this, or than an eighth of it, publishes are refused.
    pub disk_low: u64,
    /// A start refuses a clock that is further ahead of the log's last record.
    pub clock_ahead_max: Duration,
    /// Start whatever the clock says.
    pub accept_clock: bool,
}

impl Default for LocalConfig {
    fn default() -> Self {
        Self {
            engine: EngineConfig::default(),
            wal: WalConfig::default(),
            pace: Pace::default(),
            replay_max: 32 << 20,
            checkpoint_interval: Duration::from_secs(30),
            disk_low: 1 << 30,
            clock_ahead_max: Duration::from_secs(24 * 3600),
            accept_clock: false,
        }
    }
}

/// Why a start was refused.
#[derive(Debug, Error)]
pub enum StartError {
    /// The log can't be used.
    #[error(transparent)]
    Log(#[from] WalError),
    /// The disk is full, and nothing is left of the reserve.
    #[error(
        "the disk is full and the space set aside for that is used up; free some and start again"
    )]
    NoSpace,
    /// A record or an image was written by something else.
    #[error("record {sequence} can't be understood: {source}")]
    Record {
        /// The record; 0 for an image.
        sequence: u64,
        /// Why.
        source: RecordError,
    },
    /// The clock may be wrong, and everything could expire by it.
    #[error(
        "the clock is {} h ahead of the last record of the log; if it is right, start with --accept-clock",
        .ahead.as_secs() / 3600
    )]
    Clock {
        /// How far.
        ahead: Duration,
    },
}

/// What a start came to.
pub struct Started<D: Disk> {
    /// Ready to serve: its start is on disk.
    pub driver: Driver<D>,
    /// Its background work.
    pub housekeeper: Housekeeper<D>,
    /// What recovery found and did.
    pub report: RecoveryReport,
    /// The broker's time, which never goes back, of the moment at which the start began: what the
    /// clock gained since then comes on top.
    pub now: Timestamp,
}

/// Randomness for a start; the same gives the same run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entropy {
    /// The id of a log that is made here.
    pub log_id: u64,
    /// Decides all that chance decides in the engine.
    pub seed: u64,
}

/// Recovers what the disk holds and starts on it. `wall` is what the clock says.
///
/// # Errors
/// The disk is in use, damaged, or refuses; or the clock can't be right.
pub fn start<D: Disk>(
    disk: D,
    config: &LocalConfig,
    wall: Timestamp,
    entropy: Entropy,
) -> Result<Started<D>, StartError> {
    start_by(disk, config, || wall, entropy)
}

/// The same by a clock that goes on meanwhile: what was due during a long recovery is due at once,
/// and recovered leases have their time from readiness.
pub(crate) fn start_by<D: Disk>(
    disk: D,
    config: &LocalConfig,
    clock: impl Fn() -> Timestamp,
    entropy: Entropy,
) -> Result<Started<D>, StartError> {
    let wall = clock();
    let scanned = Log::scan(disk, config.wal.clone(), entropy.log_id)?;
    let began = check_clock(&scanned, config, wall)?;
    let opened = scanned.open(began.as_millis())?;
    let mut engine = config.engine.clone();
    // A record fits a frame, a batch shares one, and that fits a segment.
    engine.batch_bytes_max = engine.batch_bytes_max.min(config.wal.record_max);
    engine.stored_max = engine.stored_max.min(config.wal.record_max - RECORD_OVERHEAD);
    let mut loader = Loader::new(Engine::new(engine, entropy.seed));
    opened.images(|key, bytes| {
        loader.add(key, bytes).map_err(|source| StartError::Record { sequence: 0, source })
    })?;
    let mut engine = loader.finish();
    // What had died by then goes with the next checkpoint: a broker that always ends before it has
    // made two would never give anything back.
    let empty = opened.checkpoints.position().map(|at| empty_segments(&engine, &opened.log, at));
    let (records, replayed) = replay(&opened, &mut engine)?;
    let mut log = opened.log;
    let mut scratch = Vec::new();
    let now = began.after(clock().since(wall));
    engine.start(now, !opened.report.clean, &mut LogJournal::new(&mut log, &mut scratch));
    // Nothing is served before this start is safe: generations must not repeat.
    if let Some(commit) = log.take_commit(true, now.as_millis()) {
        log.finish(commit.run())?;
    }
    if log.is_stalled() {
        return Err(StartError::NoSpace);
    }
    let replay = Replay::new(config.replay_max, replayed);
    let mut driver = Driver::new(engine, log, config.pace, replay, config.disk_low);
    let report = &opened.report;
    driver.recovery = Recovery {
        clean: report.clean,
        took: clock().since(wall),
        records,
        bytes: replayed,
        torn_bytes: report.torn_bytes,
        rewritten: report.rewritten,
        damaged_checkpoints: report.damaged_checkpoints.into(),
    };
    driver.show_recovered(now);
    let upkeep = Upkeep {
        replay_max: config.replay_max,
        checkpoint_interval: config.checkpoint_interval,
        segment_bytes: config.wal.segment_bytes,
        disk_low: config.disk_low,
    };
    let mut housekeeper = Housekeeper::new(&driver, opened.checkpoints, empty, upkeep);
    housekeeper.set_aside(&mut driver, now)?;
    Ok(Started { driver, housekeeper, report: opened.report, now: began })
}

/// Replays what came after the checkpoint, and says how many records and bytes that were.
fn replay<D: Disk>(opened: &Opened<D>, engine: &mut Engine) -> Result<(u64, u64), StartError> {
    let mut misunderstood = None;
    let (mut records, mut bytes) = (0, 0);
    opened.replay(|record| {
        records += 1;
        bytes += (record.head.len() + RECORD_OVERHEAD) as u64 + u64::from(record.body.len);
        match Record::decode(record.head) {
            Ok(head) => engine.replay(&head, body_ref(record.sequence, record.body)),
            Err(source) if misunderstood.is_none() => {
                misunderstood = Some(StartError::Record { sequence: record.sequence.0, source });
            }
            Err(_) => {}
        }
        Ok(())
    })?;
    match misunderstood {
        Some(error) => Err(error),
        None => Ok((records, bytes)),
    }
}

/// The broker's time at a start: the clock's, but never before the log's last.
fn check_clock<D: Disk>(
    scanned: &Scanned<D>,
    config: &LocalConfig,
    wall: Timestamp,
) -> Result<Timestamp, StartError> {
    let last = Timestamp::from_millis(scanned.last_time_ms());
    let ahead = wall.since(last);
    if last != Timestamp::EPOCH && ahead > config.clock_ahead_max && !config.accept_clock {
        return Err(StartError::Clock { ahead });
    }
    Ok(wall.max(last))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use sluice_wal::MemoryDisk;

    use super::*;

    #[test]
    fn what_a_start_takes_is_not_lost_to_the_broker_s_time() {
        let (wall, second) = (Timestamp::from_millis(1_800_000_000_000), Duration::from_secs(1));
        let reads = Cell::new(0);
        let clock = || {
            reads.set(reads.get() + 1);
            wall.after(second * (reads.get() - 1))
        };
        let entropy = Entropy { log_id: 1, seed: 1 };
        let started = start_by(MemoryDisk::new(), &LocalConfig::default(), clock, entropy).unwrap();
        assert!(started.driver.recovery.took >= second, "{:?}", started.driver.recovery);
        assert_eq!(started.now, wall, "what the clock gained since comes on top");
    }
}
