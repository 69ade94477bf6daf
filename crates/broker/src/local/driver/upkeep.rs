//! What the housekeeper asks of a driver and tells it: images, what of the log can go, and what the
//! disk has.

use std::collections::BTreeSet;

use sluice_engine::{Engine, Piece};
use sluice_model::Timestamp;
use sluice_wal::{Disk, Log, Mark, Position, Space};

use super::Driver;
use crate::local::room::Shift;

impl<D: Disk> Driver<D> {
    /// Begins an image of what changed since the last one, and says where replay starts from it. The
    /// segments that hold nothing alive at this moment come third.
    pub(crate) fn begin_image(&mut self) -> (Vec<Piece>, Position, Vec<u32>) {
        let position = self.log.position();
        // Whoever publishes the image waits for this.
        self.sync_to = position.next.0 - 1;
        let empty = empty_segments(&self.engine, &self.log, position);
        (self.engine.begin_image(), position, empty)
    }

    /// The place behind everything so far, for a backup, which waits until the log is safe that
    /// far.
    pub(crate) fn mark(&mut self) -> Mark<D> {
        self.sync_all();
        self.log.mark()
    }

    /// The image of the moment when so many bytes had been appended is published. It took `bytes`.
    pub(crate) fn image_published(&mut self, now: Timestamp, appended: u64, bytes: u64) {
        self.checkpoints += 1;
        self.imaged_at = Some(now);
        self.replay.cover(appended);
        self.image_bytes += bytes;
    }

    /// Lets publishes append so many more bytes until this is called again; without a bound with
    /// none.
    pub(crate) fn allow(&mut self, bytes: Option<u64>) {
        let appended = self.log.appended_bytes();
        self.replay.allow(bytes.map(|bytes| appended + bytes));
    }

    /// The segment that is best cleared, if the log is so large beside what lives in it that one
    /// has to be: it stays below twice the live bytes and four segments. Those in `passed` were
    /// read through and keep what could not be read.
    pub(crate) fn sparse_segment(&self, segment_bytes: u64, passed: &BTreeSet<u32>) -> Option<u32> {
        // Two less than allowed: clearing takes time, and its segment goes two checkpoints later.
        let surplus = self.surplus_bytes();
        if surplus <= 2 * segment_bytes {
            return None;
        }
        let mut segments = self.log.segments();
        segments.pop();
        let lives =
            segments.into_iter().map(|segment| (self.engine.live_bytes_of(segment), segment));
        let (empty, lives): (Vec<_>, Vec<_>) = lives.partition(|(live, _)| *live == 0);
        // What is empty goes anyway.
        if surplus <= (2 + empty.len() as u64) * segment_bytes {
            return None;
        }
        let sparse =
            |(live, segment): &(u64, u32)| *live < segment_bytes / 2 && !passed.contains(segment);
        lives.into_iter().filter(sparse).min().map(|(_, segment)| segment)
    }

    /// Bytes of files above twice what lives in them.
    pub(crate) fn surplus_bytes(&self) -> u64 {
        self.log.file_bytes().saturating_sub(2 * self.engine.live_bytes())
    }

    /// Whether a segment could go but for the checkpoints.
    pub(crate) fn has_empty_segment(&self) -> bool {
        let segments = self.log.segments();
        let sealed = segments.split_last().map_or(&[][..], |(_, sealed)| sealed);
        sealed.iter().any(|segment| self.engine.live_bytes_of(*segment) == 0)
    }

    /// Notes what the disk has, and whether all of the reserve is there.
    pub(crate) fn disk_seen(&mut self, now: Timestamp, space: Option<Space>, whole: bool) {
        match self.room.seen(now, space, whole, self.log.reserve()) {
            // Whoever waits is refused now.
            Some(Shift::Begun) => self.replay.wake_all(),
            Some(Shift::Ended) => self.replay.hope(),
            None => {}
        }
    }

    /// Notes that something found no space on the disk.
    pub(crate) fn met_full(&mut self, now: Timestamp) {
        if self.room.full(now, self.log.reserve()) {
            self.replay.wake_all();
        }
    }
}

/// The segments before `at` in which nothing lives.
pub(crate) fn empty_segments<D: Disk>(engine: &Engine, log: &Log<D>, at: Position) -> Vec<u32> {
    let empty = |segment: &u32| *segment < at.segment && engine.live_bytes_of(*segment) == 0;
    log.segments().into_iter().filter(empty).collect()
}
