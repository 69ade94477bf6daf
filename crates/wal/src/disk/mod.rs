//! What the log needs of a disk: files in one directory and in its subdirectories, written at
//! offsets, synced, renamed.
//!
//! Paths are relative to the log's directory, with `/` between folder and name. An implementation
//! is a handle: a clone works on the same files.

use std::fmt;
use std::io;
use std::sync::Arc;

/// Bytes of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub total: u64,
    /// What this process may still take.
    pub free: u64,
}

impl Space {
    /// The disk is low with fewer free bytes than this: `disk_low`, but at most an eighth of it.
    pub fn low_mark(&self, disk_low: u64) -> u64 {
        disk_low.min(self.total / 8)
    }
}

/// A directory of files.
pub trait Disk: Clone + Send + Sync + fmt::Debug + 'static {
    /// An open file; reading and writing it needs no exclusive access.
    type File: DiskFile;

    /// Takes the directory for this process, and keeps it until every clone is dropped. Makes it
    /// (0700) when it is not there.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when another process has it; [`Disk::holder`] names that.
    fn lock(&self) -> io::Result<()>;

    /// The pid of the process that has the directory, as far as is known.
    fn holder(&self) -> Option<u32>;

    /// Names of the files in `folder` (empty for the directory itself), sorted. A folder that is
    /// not there holds nothing.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// Makes a file (0600) and opens it for reading and writing; empties one that is there. Makes
    /// its folder (0700) when that is not there.
    fn create(&self, path: &str) -> io::Result<Arc<Self::File>>;

    /// Opens a file that is there for reading and writing.
    fn open(&self, path: &str) -> io::Result<Arc<Self::File>>;

    /// Gives a file another name, in one step; replaces one that has it. Makes the folder (0700)
    /// when it is not there. Where the folders differ, syncing the new one makes it safe.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Makes names made, changed and removed in `folder` safe.
    fn sync_folder(&self, folder: &str) -> io::Result<()>;

    /// Names of the folders in the directory itself, sorted.
    fn folders(&self) -> io::Result<Vec<String>>;

    /// Gives a folder of the directory itself another name there, in one step. There is none of
    /// that name, or an empty one, which it replaces.
    fn rename_folder(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a folder of which all files are removed.
    fn remove_folder(&self, folder: &str) -> io::Result<()>;

    /// How much room there is; none where it has no bound. Cheap enough to ask often.
    fn space(&self) -> io::Result<Option<Space>>;

    /// Why overwriting blocks that were written before may need new space on this file system,
    /// so that "disk full" could come at any write; none where it does not.
    fn copies_on_write(&self) -> io::Result<Option<&'static str>>;
}

/// One open file.
pub trait DiskFile: Send + Sync + fmt::Debug + 'static {
    /// Fills `buffer` from `offset` on; gives how many bytes there were before the file's end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was written safe (`fdatasync`).
    fn sync(&self) -> io::Result<()>;

    /// Reserves space up to `len` bytes and makes the file that long; what was never written
    /// reads as zeros.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Makes the file shorter, and gives the space behind back.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// The file's length in bytes.
    fn size(&self) -> io::Result<u64>;
}

mod file;
mod simulated;

pub use file::{FileDisk, OsFile};
pub use simulated::{FaultCounters, Faults, MemoryDisk, SimulatedDisk, SimulatedFile, Snapshot};
