//! Headers of segments that are damaged, told from what is around them.
//!
//! A header says which recovery its frames belong to and what that recovery cut. The frames
//! themselves show the first, since it seeds their checksums, and the sequences the second.

use std::io;
use std::sync::Arc;

use crate::checkpoint::log_id_of_manifests;
use crate::disk::{Disk, DiskFile};
use crate::error::WalError;
use crate::format::{
    Cut, FrameHeader, Position, SEGMENT_HEADER, SegmentHeader, Sequence, segment_name,
};
use crate::history::{Entry, History, Window, damaged, magics, seed_at};

/// Recoveries that are tried; a broker that was started more often is not told from damage.
const RECOVERIES_MAX: u32 = 100_000;
/// Places of a segment that are tried with every recovery.
const PLACES_MAX: usize = 64;

/// A segment without a sound header.
#[derive(Debug)]
pub(crate) struct Headless<F> {
    pub(crate) number: u32,
    pub(crate) file: Arc<F>,
    pub(crate) len: u64,
}

/// The first frame that was found in a segment, under which recovery.
struct First {
    recovery: u32,
    offset: u32,
    sequence: Sequence,
}

impl<D: Disk> History<D> {
    /// As [`History::read`], but tells damaged headers from what is around them, and gives those.
    pub(crate) fn read_headless(disk: &D) -> Result<(Self, Vec<SegmentHeader>), WalError> {
        let (mut history, headless) = Self::read_what_is_sound(disk)?;
        let mut told = Vec::new();
        for Headless { number, file, len } in headless {
            let unknown = || damaged(&segment_name(number), 0, Sequence(0), "a damaged header");
            let log_id = match history.log_id() {
                Some(log_id) => log_id,
                None => log_id_of_manifests(disk)?.ok_or_else(unknown)?,
            };
            let before = history.segments.range(..number).next_back();
            let before = before.map(|(_, entry)| entry.header.recovery);
            let plain = SegmentHeader {
                log_id,
                segment: number,
                recovery: before.unwrap_or_default(),
                cut: None,
                safe: Sequence(0),
            };
            let entry = Entry { header: plain, file: Arc::clone(&file), len, limit: len };
            let highest = history.recovery().max(plain.recovery).saturating_add(1);
            let mut header = plain;
            // Where nothing can be told from its frames there are none that could be kept.
            if let Some(first) = find_first(&entry, highest)? {
                header.recovery = first.recovery;
                if before.is_some_and(|before| first.recovery > before) {
                    header.cut = Some(history.cut_before(number, &first)?.ok_or_else(unknown)?);
                }
            }
            history.add(header, file, len);
            told.push(header);
        }
        Ok((history, told))
    }

    /// Where the recovery that wrote a segment cut: where its first record belongs.
    fn cut_before(&self, number: u32, first: &First) -> Result<Option<Cut>, WalError> {
        if first.offset != SEGMENT_HEADER {
            // Its first frames can't be read, so nobody knows what they took the place of.
            return Ok(None);
        }
        if self.segments.range(..number).next().is_none() {
            // It took the place of all there was before, wherever that ended.
            let segment = number.saturating_sub(1);
            return Ok(Some(Cut { segment, offset: SEGMENT_HEADER, next: first.sequence }));
        }
        for entry in self.segments.range(..number).map(|(_, entry)| entry) {
            let Some(start) = crate::inspect::first_position(entry)? else { continue };
            let mut found = (start.next == first.sequence).then_some(start);
            let end = self.walk_within(start, |frame| {
                if found.is_none() && frame.header.first == first.sequence {
                    let (segment, offset) = (frame.segment, frame.offset);
                    found = Some(Position { segment, offset, next: first.sequence });
                }
                Ok(())
            })?;
            let end = Some(end.position).filter(|end| end.next == first.sequence);
            if let Some(Position { segment, offset, next }) = found.or(end) {
                return Ok(Some(Cut { segment, offset, next }));
            }
        }
        Ok(None)
    }
}

/// The first frame of a segment whose recovery is not known.
fn find_first<F: DiskFile>(entry: &Entry<F>, highest: u32) -> Result<Option<First>, WalError> {
    let mut window = Window::default();
    let mut at = u64::from(SEGMENT_HEADER);
    let mut tried = 0;
    while at < entry.limit {
        let bytes = window.read(entry, at, 1)?;
        if bytes.is_empty() {
            break;
        }
        for ahead in magics(bytes) {
            // A segment is at most 2 GiB, so offsets fit 32 bits.
            let offset = (at + ahead as u64) as u32;
            for recovery in 0..=highest.min(RECOVERIES_MAX) {
                let seed = seed_at(&SegmentHeader { recovery, ..entry.header }, offset);
                if let Some((header, _)) = FrameHeader::decode(&bytes[ahead..], seed) {
                    return Ok(Some(First { recovery, offset, sequence: header.first }));
                }
            }
            tried += 1;
            if tried >= PLACES_MAX {
                return Ok(None);
            }
        }
        at += bytes.len() as u64;
    }
    Ok(None)
}

/// Gives a segment a new header: a whole copy takes its place in one step.
pub(crate) fn replace<D: Disk>(disk: &D, header: &SegmentHeader) -> Result<(), WalError> {
    let name = segment_name(header.segment);
    let temporary = format!("{name}.tmp");
    let to = copy(disk, &name, &temporary)?;
    to.write_at(0, &header.encode()).map_err(WalError::io("write", &*temporary))?;
    to.sync().map_err(WalError::io("sync", &*temporary))?;
    disk.rename(&temporary, &name).map_err(WalError::io("rename", &*temporary))?;
    disk.sync_folder("").map_err(WalError::io("sync the folder of", name))
}

/// Copies a file, and leaves it to the caller to sync it.
pub(crate) fn copy<D: Disk>(disk: &D, from: &str, to: &str) -> Result<Arc<D::File>, WalError> {
    let source = disk.open(from).map_err(WalError::io("open", from))?;
    let target = disk.create(to).map_err(WalError::io("create", to))?;
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        let read: io::Result<usize> = source.read_at(at, &mut buffer);
        let read = read.map_err(WalError::io("read", from))?;
        if read == 0 {
            return Ok(target);
        }
        target.write_at(at, &buffer[..read]).map_err(WalError::io("write", to))?;
        at += read as u64;
    }
}
