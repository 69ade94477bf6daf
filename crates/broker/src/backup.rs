//! What is known of the broker's backups.

use std::time::Duration;

use sluice_model::Code;

/// The newest backup that was asked for since the broker started, and how it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupStatus {
    /// The how-manieth since the start, from 1; 0 while there was none.
    pub number: u64,
    /// How it stands.
    pub state: BackupState,
}

/// How a backup stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum BackupState {
    /// None was asked for.
    #[default]
    Never,
    /// It is being made.
    Running {
        /// Bytes copied.
        done: u64,
        /// Bytes in all, as far as is known.
        total: u64,
    },
    /// It is whole and safe.
    Done(BackupDone),
    /// It could not be made; the broker goes on.
    Failed {
        /// What kind of failure.
        code: Code,
        /// Why.
        reason: String,
    },
}

/// A backup that is whole and safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupDone {
    /// What the broker called it.
    pub name: String,
    /// Bytes of its files.
    pub bytes: u64,
    /// The last record in it.
    pub last: u64,
    /// How long it took.
    pub took: Duration,
    /// Parts of the log that can't be read and that no message needs: not in it.
    pub skipped: Vec<String>,
    /// Older ones that made room for it.
    pub removed: Vec<String>,
}
