//! Where records go, and what the engine learns about the place they got.

use crate::record::Record;

/// Dense number of a record in the log, from 1; 0 stands for "before all records".
pub type Sequence = u64;

/// Where a body lies in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BodyRef {
    /// The record that holds it; seeds its checksum.
    pub sequence: Sequence,
    /// The log file.
    pub segment: u32,
    /// Bytes from the start of that file.
    pub offset: u32,
    /// Bytes of the body.
    pub len: u32,
}

/// Takes records in order and gives each its place; a log in the broker, a list in a test.
///
/// Appending neither blocks nor fails: whether the log can take more is asked before a turn.
pub trait Journal {
    /// Appends one record. A record without a body gets a reference with a length of 0.
    fn append(&mut self, record: &Record<'_>) -> BodyRef;

    /// Sees to it that the next records, of so many bytes together at most, survive together or
    /// not at all.
    fn begin_batch(&mut self, bytes: usize);

    /// Ends what [`Journal::begin_batch`] began.
    fn end_batch(&mut self);
}

/// How far the log has got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Handed to the kernel up to this record: survives a crash of the process.
    pub written: Sequence,
    /// On the disk up to this record: survives a crash of the machine.
    pub synced: Sequence,
}

/// The progress that a reply waits for before it may leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// This record must have been handed to the kernel.
    pub written: Sequence,
    /// This record must be on the disk.
    pub synced: Sequence,
}

impl Need {
    /// Nothing to wait for.
    pub const NONE: Self = Self { written: 0, synced: 0 };

    /// Whether `progress` fulfils it.
    pub fn is_met(self, progress: Progress) -> bool {
        self.written <= progress.written && self.synced <= progress.synced
    }

    /// Raises this to cover `other` too.
    pub fn cover(&mut self, other: Self) {
        self.written = self.written.max(other.written);
        self.synced = self.synced.max(other.synced);
    }
}
