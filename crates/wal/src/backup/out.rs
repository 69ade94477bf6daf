//! A file on its way into a backup or a new data directory.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::backup::manifest::Listed;
use crate::disk::{Disk, DiskFile};
use crate::error::WalError;

/// A file that is written from its start to its end.
#[derive(Debug)]
pub(crate) struct OutFile<F> {
    file: Arc<F>,
    /// With its folder.
    at: String,
    /// Within the backup.
    path: String,
    len: u64,
    reserved: u64,
    hash: Sha256,
}

impl<F: DiskFile> OutFile<F> {
    pub(crate) fn create<D: Disk<File = F>>(
        disk: &D,
        folder: &str,
        path: &str,
    ) -> Result<Self, WalError> {
        let at = format!("{folder}/{path}");
        let file = disk.create(&at).map_err(WalError::io("create", &*at))?;
        Ok(Self { file, at, path: path.to_owned(), len: 0, reserved: 0, hash: Sha256::new() })
    }

    /// Reserves the room that it will take: it is missing now or never.
    pub(crate) fn reserve(&mut self, len: u64) -> Result<(), WalError> {
        self.reserved = len;
        self.file.allocate(len).map_err(WalError::io("allocate", &*self.at))
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), WalError> {
        self.file.write_at(self.len, bytes).map_err(WalError::io("write", &*self.at))?;
        self.len += bytes.len() as u64;
        self.hash.update(bytes);
        Ok(())
    }

    pub(crate) fn sync(&self) -> Result<(), WalError> {
        self.file.sync().map_err(WalError::io("sync", &*self.at))
    }

    /// Makes all of it safe, and gives what a manifest says about it.
    pub(crate) fn finish(self) -> Result<Listed, WalError> {
        if self.reserved > self.len {
            // What was damaged at its end was left out.
            self.file.truncate(self.len).map_err(WalError::io("shorten", &*self.at))?;
        }
        self.sync()?;
        Ok(Listed { path: self.path, len: self.len, sha256: self.hash.finalize().into() })
    }
}
