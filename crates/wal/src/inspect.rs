//! What the offline tools show: read only, without taking the directory.

use crate::checkpoint::Checkpoints;
use crate::config::Config;
use crate::disk::{Disk, DiskFile};
use crate::error::WalError;
use crate::format::{
    Cut, FrameHeader, FrameKind, Position, SEGMENT_HEADER, Sequence, segment_name,
};
use crate::history::{Entry, History, Window, damaged, extent, seed_at};
use crate::recovery::Scanned;

/// One segment file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Its file.
    pub file: String,
    /// Bytes of the file.
    pub len: u64,
    /// Bytes up to the end of its last whole frame.
    pub used: u64,
    /// Whole frames.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
    /// Records that a repair gave up.
    pub lost: u64,
    /// The first record, if there is one.
    pub first: Option<Sequence>,
    /// The last record, if there is one.
    pub last: Option<Sequence>,
    /// Where something lies behind the last whole frame that is no whole frame.
    pub damaged_at: Option<u64>,
    /// Bytes from here on were voided by a later recovery.
    pub void_from: Option<u64>,
    /// The recovery that its frames belong to.
    pub recovery: u32,
}

/// A log as it lies on disk.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The process that has the log open, if one is known to.
    pub holder: Option<u32>,
    /// Its files, oldest first.
    pub segments: Vec<SegmentSummary>,
    /// The last record that a start would keep.
    pub last: Sequence,
    /// The run before ended in order.
    pub clean: bool,
    /// Bytes of a tail that a crash cut short; a start would set them aside.
    pub torn_bytes: u64,
    /// Records that are whole but not proven safe; a start would write them anew.
    pub unproven: u64,
    /// Where a start would begin to replay.
    pub replay_from: Option<Position>,
    /// Checkpoints that can't be used.
    pub damaged_checkpoints: u32,
    /// Why a start would refuse, if it would.
    pub problem: Option<WalError>,
}

/// Reads a log as it lies on disk. Changes nothing and needs no lock; of a log that is in use it
/// gives a picture that may be torn.
///
/// # Errors
/// The disk refused, a file is of a later version, or a segment's header is damaged.
pub fn inspect<D: Disk>(disk: D) -> Result<Inspection, WalError> {
    let holder = disk.holder();
    let history = History::read(&disk)?;
    let places = continuations(&disk, &history);
    let mut segments = Vec::new();
    for entry in history.segments.values() {
        segments.push(summarize(&history, entry, &places)?);
    }
    let mut inspection = Inspection {
        holder,
        segments,
        last: Sequence(0),
        clean: false,
        torn_bytes: 0,
        unproven: 0,
        replay_from: None,
        damaged_checkpoints: 0,
        problem: None,
    };
    match Scanned::read(disk, Config::default(), 0) {
        Ok(scanned) => {
            inspection.last = scanned.last();
            inspection.clean = scanned.is_clean();
            inspection.torn_bytes = scanned.torn_bytes();
            inspection.unproven = scanned.unproven();
            inspection.replay_from = scanned.checkpoints().position();
            inspection.damaged_checkpoints = scanned.damaged_checkpoints();
            inspection.problem = damage_before_replay(&inspection, scanned.torn_at());
        }
        Err(error) => inspection.problem = Some(error),
    }
    Ok(inspection)
}

/// Damage that a start would not meet, because it replays only what is behind a checkpoint: the
/// bodies there are still needed. A torn tail is none; a start sets it aside.
fn damage_before_replay(
    inspection: &Inspection,
    torn_at: Option<(String, u64)>,
) -> Option<WalError> {
    let (segment, offset) = inspection.segments.iter().find_map(|segment| {
        let offset = segment.damaged_at?;
        let is_torn = torn_at.as_ref().is_some_and(|torn| *torn == (segment.file.clone(), offset));
        (!is_torn).then_some((segment, offset))
    })?;
    let sequence = Sequence(segment.last.map_or(0, |last| last.0) + 1);
    Some(damaged(&segment.file, offset, sequence, "a damaged frame"))
}

/// Where frames may go on although the one before is missing: a mark that never got to the disk
/// may lie before a checkpoint and before a cut, and holds no records.
fn continuations<D: Disk>(disk: &D, history: &History<D>) -> Vec<Position> {
    let cuts = history.segments.values().filter_map(|entry| entry.header.cut);
    let mut places: Vec<Position> =
        cuts.map(|Cut { segment, offset, next }| Position { segment, offset, next }).collect();
    // Without checkpoints it says what is wrong with them elsewhere.
    if let Some(log_id) = history.log_id()
        && let Ok((checkpoints, _)) = Checkpoints::open(disk.clone(), log_id)
    {
        places.extend(checkpoints.positions());
    }
    places
}

fn summarize<D: Disk>(
    history: &History<D>,
    entry: &Entry<D::File>,
    places: &[Position],
) -> Result<SegmentSummary, WalError> {
    let number = entry.header.segment;
    let mut summary = SegmentSummary {
        file: segment_name(number),
        len: entry.len,
        used: SEGMENT_HEADER.into(),
        frames: 0,
        records: 0,
        lost: 0,
        first: None,
        last: None,
        damaged_at: None,
        void_from: (entry.limit < entry.len).then_some(entry.limit),
        recovery: entry.header.recovery,
    };
    let mut at = first_position(entry)?;
    while let Some(start) = at {
        let end = history.walk_within(start, |frame| {
            summary.frames += 1;
            match frame.header.kind {
                FrameKind::Lost => summary.lost += u64::from(frame.header.count),
                _ => summary.records += u64::from(frame.header.count),
            }
            summary.used = u64::from(frame.offset) + frame.whole_len();
            if frame.header.count > 0 {
                summary.first = summary.first.or(Some(frame.header.first));
                summary.last = Some(Sequence(frame.header.next().0 - 1));
            }
            Ok(())
        })?;
        let goes_on = |place: &&Position| {
            let Position { segment, offset, next } = end.position;
            place.segment == segment && place.offset > offset && place.next == next
        };
        at = places.iter().find(goes_on).copied();
        if let Some(place) = at {
            summary.used = place.offset.into();
        }
    }
    let used = u32::try_from(summary.used).unwrap_or(u32::MAX);
    summary.damaged_at = extent(entry, used)?.map(|_| summary.used);
    Ok(summary)
}

/// Where the first frame of a segment begins, if there is a whole header.
pub(crate) fn first_position<F: DiskFile>(entry: &Entry<F>) -> Result<Option<Position>, WalError> {
    let mut window = Window::default();
    let bytes = window.read(entry, SEGMENT_HEADER.into(), 1 << 10)?;
    let seed = seed_at(&entry.header, SEGMENT_HEADER);
    let first = FrameHeader::decode(bytes, seed);
    let (segment, offset) = (entry.header.segment, SEGMENT_HEADER);
    Ok(first.map(|(first, _)| Position { segment, offset, next: first.first }))
}
