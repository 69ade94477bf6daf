//! The log's bounds.

use thiserror::Error;

/// The log's bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes of a segment file; 64 KiB to 2 GiB.
    pub segment_bytes: u64,
    /// A frame that has grown past this is closed; a record is never split.
    pub frame_bytes: usize,
    /// Largest record, in bytes; at most half a segment.
    pub record_max: usize,
    /// Bytes of recently written frames that are kept in memory for readers.
    pub resident_bytes: usize,
    /// Bytes of the reserve that are for settlements while the disk is full; rounded up to whole
    /// segments, fewer on a small disk.
    pub settlements_reserve: u64,
    /// Run on file systems that copy on write, where a full disk can break a promise.
    pub allow_unsafe_fs: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            frame_bytes: 1 << 20,
            record_max: 16 << 20,
            resident_bytes: 2 << 20,
            settlements_reserve: 64 << 20,
            allow_unsafe_fs: false,
        }
    }
}

/// A bound that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{name} = {value} is outside {range}")]
pub struct ConfigError {
    /// The setting.
    pub name: &'static str,
    /// What it was set to.
    pub value: u64,
    /// What is allowed.
    pub range: &'static str,
}

impl Config {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the first setting that is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = |name, value, holds: bool, range| {
            if holds { Ok(()) } else { Err(ConfigError { name, value, range }) }
        };
        let segment = self.segment_bytes;
        let sizes = (64 << 10)..=(2 << 30);
        let settlements = self.settlements_reserve;
        let holds = ((64 << 10)..=(16 << 30)).contains(&settlements);
        check("settlements_reserve", settlements, holds, "64 KiB .. 16 GiB")?;
        check("segment_bytes", segment, sizes.contains(&segment), "64 KiB .. 2 GiB")?;
        let record = self.record_max as u64;
        check("record_max", record, (1..=segment / 2).contains(&record), "1 .. segment_bytes / 2")
    }
}
