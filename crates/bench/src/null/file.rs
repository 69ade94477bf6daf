//! The file that a null server appends to.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A file that is written front to back, and over again when it is prepared.
#[derive(Debug)]
pub struct LogFile {
    file: File,
    at: u64,
    /// Bytes written beforehand; none for a file that grows.
    prepared: Option<u64>,
    sync: bool,
}

impl LogFile {
    /// A file of `bytes` that were all written once, so that a sync need not journal; it is used
    /// round and round. Without `sync` nothing waits for the disk.
    ///
    /// # Errors
    /// The file could not be made.
    pub fn prepared(path: &Path, bytes: u64, sync: bool) -> io::Result<Self> {
        let mut log = Self::growing(path, sync)?;
        let zeros = vec![0; 1 << 20];
        let mut left = bytes;
        while left > 0 {
            let step = left.min(zeros.len() as u64);
            log.file.write_all(&zeros[..step as usize])?;
            left -= step;
        }
        log.file.sync_all()?;
        log.prepared = Some(bytes);
        Ok(log)
    }

    /// A file that begins empty and grows.
    ///
    /// # Errors
    /// The file could not be made.
    pub fn growing(path: &Path, sync: bool) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
        Ok(Self { file, at: 0, prepared: None, sync })
    }

    /// Appends and, if the level asks for it, waits for the disk.
    pub(crate) fn commit(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.prepared.is_some_and(|end| self.at + bytes.len() as u64 > end) {
            self.at = 0;
        }
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        if self.sync { self.file.sync_data() } else { Ok(()) }
    }
}
