//! Why the log could not be opened, read or written.

use std::io;
use std::sync::Arc;

use thiserror::Error;

use crate::format::Damage;

/// Why the log could not be opened, read or written.
#[derive(Clone, Debug, Error)]
pub enum WalError {
    /// Another process has the directory.
    #[error("the data directory is in use by process {}", .holder.map_or("unknown".to_owned(), |pid| pid.to_string()))]
    Locked {
        /// Its pid, as far as is known.
        holder: Option<u32>,
    },
    /// A file was written by a later, incompatible version; nothing was touched.
    #[error("{file} has format version {found}, this program reads up to {known}")]
    Version {
        /// The file.
        file: String,
        /// Its major version.
        found: u16,
        /// The highest that is known.
        known: u16,
    },
    /// Overwriting needs new space on this file system, so a full disk could break a promise.
    #[error(
        "the data directory is on {kind}, which copies on write; allow it with --allow-unsafe-fs"
    )]
    UnsafeFs {
        /// The file system.
        kind: &'static str,
    },
    /// Something that was acknowledged is damaged.
    #[error("the log is corrupt: {0}")]
    Corrupt(Damage),
    /// An earlier write or sync failed, so the log accepts no more.
    #[error("an earlier write or sync failed, so the log accepts no more")]
    Poisoned,
    /// The disk refused.
    #[error("could not {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: String,
        /// What the disk said.
        source: Arc<io::Error>,
    },
}

impl WalError {
    /// Whether the disk is full. What was tried has not happened; it may be tried again.
    pub fn is_no_space(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        let Self::Io { source, .. } = self else { return false };
        matches!(source.kind(), StorageFull | QuotaExceeded)
    }

    /// There is no space for a file.
    pub(crate) fn no_space(path: impl Into<String>) -> Self {
        Self::io("allocate", path)(io::ErrorKind::StorageFull.into())
    }

    /// Puts what was tried beside what the disk said.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<String>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source: Arc::new(source) }
    }
}
