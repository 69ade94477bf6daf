//! From the files on disk to a log that goes on.
//!
//! ```text
//! Log::scan      reads only: which frames are whole, which are proven safe, what is damaged
//!   Scanned::open      sets a torn tail aside; writes what is whole but not proven anew into a
//!                      new segment, whose sync is the commit point
//!     Opened           images, then records to replay, then the log
//! ```
//!
//! The first frame that is not whole is *corruption* if anything valid shows that it was safe, or
//! if nothing about it looks like a write that a crash cut short; then the start is refused.
//! Otherwise it is a *torn tail*: it is copied to `quarantine/` and counted. Recovery deletes
//! nothing, and a crash in any of its steps changes nothing.

mod open;
mod quarantine;
mod replay;
mod rewrite;
mod scan;
mod tail;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::checkpoint::Checkpoints;
use crate::config::Config;
use crate::disk::Disk;
use crate::format::{
    Damage, FrameHeader, Position, SEGMENT_HEADER, SegmentHeader, Sequence, segment_name,
};
use crate::history::{End, History};
use crate::reserve::Reserve;
use crate::store::Store;

pub use open::Opened;
pub use replay::Replayed;
pub(crate) use replay::{replay, replay_frame};
pub(crate) use scan::lock;

/// What a start found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The run before ended in order, or there was none.
    pub clean: bool,
    /// Bytes of a torn tail that were set aside.
    pub torn_bytes: u64,
    /// Where they are now.
    pub quarantined: Vec<String>,
    /// Records that were whole but not proven safe, and were written anew.
    pub rewritten: u64,
    /// Checkpoints that could not be used.
    pub damaged_checkpoints: u32,
    /// The number of this start; seeds the frames of the segments that it begins.
    pub recovery: u32,
}

/// What is on disk, looked at and not changed.
#[derive(Debug)]
pub struct Scanned<D: Disk> {
    disk: D,
    config: Config,
    log_id: u64,
    history: History<D>,
    checkpoints: Checkpoints<D>,
    damaged_checkpoints: u32,
    end: End,
    clean: bool,
    torn: Option<Torn>,
    unproven: VecDeque<Unproven>,
    /// Where the segments begin that are taken for unproven as a whole.
    gathered: Option<Position>,
    /// What replay reads of each segment.
    replayed: BTreeMap<u32, Stretch>,
    last_time_ms: u64,
}

/// The frames of one segment that replay reads.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    /// The number of the first record in it or behind it.
    first: Sequence,
    bytes: u64,
}

/// A log, the first damage to its frames, and headers to replace damaged ones.
pub(crate) type Surveyed<D> = (Scanned<D>, Option<Damage>, Vec<SegmentHeader>);

/// A reserve, where the disk has a bound.
type SharedReserve<D> = Option<Arc<Reserve<D>>>;

/// The files of a log that is ready to go on, where it goes on, and the checksum to continue.
type Made<D> = (Store<D>, Position, u32);

/// A tail that a crash cut short.
#[derive(Clone, Copy, Debug)]
struct Torn {
    segment: u32,
    start: u64,
    end: u64,
}

/// A whole frame that nothing proves safe.
#[derive(Clone, Copy, Debug)]
struct Unproven {
    segment: u32,
    offset: u32,
    header: FrameHeader,
}

impl<D: Disk> Scanned<D> {
    /// The owner's clock at the last commit; 0 for a log that is new.
    pub fn last_time_ms(&self) -> u64 {
        self.last_time_ms
    }

    /// Whether there was a log at all.
    pub fn is_new(&self) -> bool {
        self.history.segments.is_empty()
    }

    /// Whether the run before ended in order.
    pub fn is_clean(&self) -> bool {
        self.clean
    }

    /// Bytes of a torn tail.
    pub fn torn_bytes(&self) -> u64 {
        self.torn.map_or(0, |torn| torn.end - torn.start)
    }

    /// Where a torn tail begins.
    pub(crate) fn torn_at(&self) -> Option<(String, u64)> {
        self.torn.map(|torn| (segment_name(torn.segment), torn.start))
    }

    /// Records that are whole but not proven safe.
    pub fn unproven(&self) -> u64 {
        self.unproven.iter().map(|frame| u64::from(frame.header.count)).sum()
    }

    /// The number of the last record that is kept.
    pub fn last(&self) -> Sequence {
        Sequence(self.end.position.next.0.saturating_sub(1))
    }

    pub(crate) fn disk(&self) -> &D {
        &self.disk
    }

    pub(crate) fn log_id(&self) -> u64 {
        self.log_id
    }

    pub(crate) fn history(&self) -> &History<D> {
        &self.history
    }

    /// Behind the last whole frame.
    pub(crate) fn end(&self) -> Position {
        self.end.position
    }

    pub(crate) fn checkpoints(&self) -> &Checkpoints<D> {
        &self.checkpoints
    }

    pub(crate) fn damaged_checkpoints(&self) -> u32 {
        self.damaged_checkpoints
    }

    /// Where replay starts.
    pub(crate) fn start(&self) -> Position {
        let first = self.history.segments.keys().next().copied().unwrap_or(1);
        let beginning = Position { segment: first, offset: SEGMENT_HEADER, next: Sequence(1) };
        self.checkpoints.position().unwrap_or(beginning)
    }
}
