//! Backups: a copy of a log that serves, at one position, and what is made of it elsewhere.
//!
//! ```text
//! Log::mark ---.
//!              '-- Backup::step, step, ... --> NAME.partial/ --synced, renamed--> NAME/
//! Checkpoints::hold                                                                 |
//!              .------------------------------- Verified::read ---------------------'
//!              '-- Verified::restore --> .DIR.restoring/ --synced, renamed--> DIR/, another log
//! ```
//!
//! A backup has the layout of a data directory and a manifest beside it: one checkpoint, the
//! segments that were in use, each up to its last whole frame, and of the last one what is before
//! the position. It is made of copies, so that nothing that happens to the log's files later
//! touches it.
//!
//! Files are named in the manifest with their lengths and SHA-256, which stands beside the CRC32C
//! of every frame, body and chunk: a backup leaves the machine, and there `sha256sum` can check it
//! without us, and whoever keeps the one line that seals the manifest knows of every later change.

mod copy;
mod gap;
mod manifest;
mod name;
mod out;
mod restore;
mod shelf;
mod verify;
mod walk;

use thiserror::Error;

use crate::error::WalError;

pub use copy::{Backup, BackupStep};
pub use gap::Gap;
pub use manifest::{BackupManifest, MANIFEST};
pub use restore::NewLife;
pub use shelf::Shelf;
pub use verify::Verified;

/// Why a backup could not be made, or nothing could be made of one.
#[derive(Clone, Debug, Error)]
pub enum BackupError {
    /// A file of the backup is not what it was.
    #[error("the backup is damaged: {file} {what}")]
    Damaged {
        /// Which file of it.
        file: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// There is no whole backup there.
    #[error("there is no whole backup: the file {MANIFEST} is missing")]
    None,
    /// It was made by a later, incompatible version.
    #[error("the backup has format version {found}, this program reads up to {known}")]
    Version {
        /// Its version.
        found: u16,
        /// The highest that is known.
        known: u16,
    },
    /// There is too little room for it.
    #[error("{needed} bytes are needed, and {free} are free of which {kept} have to stay free")]
    Space {
        /// What it takes, at most.
        needed: u64,
        /// What there is.
        free: u64,
        /// What has to be left.
        kept: u64,
    },
    /// The log or the disk refused.
    #[error(transparent)]
    Log(#[from] WalError),
}

impl BackupError {
    /// Whether the disk is full, or would be.
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::Space { .. } => true,
            Self::Log(error) => error.is_no_space(),
            Self::Damaged { .. } | Self::None | Self::Version { .. } => false,
        }
    }
}

/// A file of a backup that is not what it was.
pub(crate) fn damaged(file: &str, what: &'static str) -> BackupError {
    BackupError::Damaged { file: file.to_owned(), what }
}
