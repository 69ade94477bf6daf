//! A write-ahead log of opaque records; knows nothing of queues.
//!
//! Records are appended in memory, committed in groups, and read back by anyone. A record is safe
//! once a sync that covers it has succeeded; a failed one ends the log. Opening recovers: what is
//! damaged and was safe refuses the start, what was never safe is set aside and counted.

mod backup;
mod calendar;
mod checkpoint;
mod commit;
mod config;
mod disk;
mod error;
mod format;
mod headers;
mod history;
mod inspect;
mod log;
mod reader;
mod recovery;
mod repair;
mod reserve;
mod salvage;
mod store;
mod sync_policy;
mod sync_times;
mod versions;

pub use backup::{
    Backup, BackupError, BackupManifest, BackupStep, Gap, MANIFEST, NewLife, Shelf, Verified,
};
pub use calendar::Utc;
pub use checkpoint::{CheckpointWriter, Checkpoints, ChunkKey, Held};
pub use commit::{Commit, Committed};
pub use config::{Config, ConfigError};
pub use disk::{
    Disk, DiskFile, FaultCounters, Faults, FileDisk, MemoryDisk, OsFile, SimulatedDisk,
    SimulatedFile, Snapshot, Space,
};
pub use error::WalError;
pub use format::{BodyRef, Damage, FORMAT_MAJOR, FrameKind, Position, Sequence};
pub use inspect::{Inspection, SegmentSummary, inspect};
pub use log::{Log, Maintenance, Mark, RECORD_OVERHEAD, Stamp};
pub use reader::{Pinned, ReadError, Reader};
pub use recovery::{Opened, RecoveryReport, Replayed, Scanned};
pub use repair::{Lost, Repaired, Survey};
pub use reserve::{Plan, Refill, ReserveStatus};
pub use store::{Prepare, Step};
pub use sync_policy::{PolicyError, SyncPolicy};
pub use sync_times::SyncTimes;
