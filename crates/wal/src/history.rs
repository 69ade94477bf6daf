//! What the segment files on disk say happened, before anything is changed.
//!
//! Segments stand in the order of their numbers. One that a recovery began names a cut: all bytes
//! of earlier segments from there on are void for ever and no evidence of anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::error::WalError;
use crate::format::{
    Cut, Damage, FORMAT_MAJOR, FRAME_HEADER, FrameHeader, HeaderError, Position, SEGMENT_HEADER,
    Seed, SegmentHeader, Sequence, has_frame_magic, segment_name, segment_number,
};
use crate::headers::Headless;

/// Bytes read at a time.
const WINDOW: usize = 1 << 20;

/// One segment file.
#[derive(Debug)]
pub(crate) struct Entry<F> {
    pub(crate) header: SegmentHeader,
    pub(crate) file: Arc<F>,
    pub(crate) len: u64,
    /// Bytes from here on are void.
    pub(crate) limit: u64,
}

/// All segment files of a directory.
#[derive(Debug)]
pub(crate) struct History<D: Disk> {
    pub(crate) segments: BTreeMap<u32, Entry<D::File>>,
}

/// Segments with sound headers, and those without.
type Sound<D> = (History<D>, Vec<Headless<<D as Disk>::File>>);

/// A frame that was found whole.
pub(crate) struct FrameView<'a> {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    pub(crate) header: FrameHeader,
    pub(crate) payload: &'a [u8],
}

impl FrameView<'_> {
    /// Bytes of header and payload.
    pub(crate) fn whole_len(&self) -> u64 {
        (FRAME_HEADER + self.payload.len()) as u64
    }
}

/// Where a walk over the frames ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// Behind the last whole frame.
    pub(crate) position: Position,
    /// The checksum that a next frame would continue, unless no frame was seen.
    pub(crate) chain: Option<u32>,
}

impl<D: Disk> History<D> {
    /// Reads the headers of all segments.
    ///
    /// # Errors
    /// A header is damaged, or of a later version.
    pub(crate) fn read(disk: &D) -> Result<Self, WalError> {
        let (history, headless) = Self::read_what_is_sound(disk)?;
        match headless.first() {
            Some(Headless { number, .. }) => {
                let name = segment_name(*number);
                Err(damaged(&name, 0, Sequence(0), "a damaged segment header"))
            }
            None => Ok(history),
        }
    }

    /// As [`History::read`], with the segments whose headers are damaged apart.
    pub(crate) fn read_what_is_sound(disk: &D) -> Result<Sound<D>, WalError> {
        let mut headless = Vec::new();
        let mut segments = BTreeMap::new();
        for name in disk.list("").map_err(WalError::io("list", "the data directory"))? {
            let Some(number) = segment_number(&name) else { continue };
            let file = disk.open(&name).map_err(WalError::io("open", &*name))?;
            let len = file.size().map_err(WalError::io("measure", &*name))?;
            let mut bytes = [0; SEGMENT_HEADER as usize];
            let read = file.read_at(0, &mut bytes).map_err(WalError::io("read", &*name))?;
            let header = match SegmentHeader::decode(&bytes[..read]) {
                Ok(header) if header.segment == number => header,
                Err(HeaderError::Version(found)) => {
                    return Err(WalError::Version { file: name, found, known: FORMAT_MAJOR });
                }
                _ => {
                    headless.push(Headless { number, file, len });
                    continue;
                }
            };
            segments.insert(number, Entry { header, file, len, limit: len });
        }
        let mut history = Self { segments };
        history.apply_cuts();
        Ok((history, headless))
    }

    /// Adds a segment that was made since.
    pub(crate) fn add(&mut self, header: SegmentHeader, file: Arc<D::File>, len: u64) {
        self.segments.insert(header.segment, Entry { header, file, len, limit: len });
        self.apply_cuts();
    }

    fn apply_cuts(&mut self) {
        let cuts: Vec<_> = self
            .segments
            .values()
            .filter_map(|entry| Some((entry.header.segment, entry.header.cut?)))
            .collect();
        for (by, cut) in cuts {
            for (number, entry) in self.segments.range_mut(..by) {
                let limit = match number.cmp(&cut.segment) {
                    std::cmp::Ordering::Less => continue,
                    std::cmp::Ordering::Equal => u64::from(cut.offset),
                    std::cmp::Ordering::Greater => 0,
                };
                entry.limit = entry.limit.min(limit);
            }
        }
    }

    pub(crate) fn log_id(&self) -> Option<u64> {
        self.segments.values().next().map(|entry| entry.header.log_id)
    }

    pub(crate) fn recovery(&self) -> u32 {
        self.segments.values().map(|entry| entry.header.recovery).max().unwrap_or_default()
    }

    /// Segments that hold nothing but what a later cut has made void.
    pub(crate) fn is_void(entry: &Entry<D::File>) -> bool {
        entry.limit <= SEGMENT_HEADER.into()
    }

    /// Where a cut has to be so that no earlier one is needed: one at the very start of a segment
    /// that a recovery began leaves nothing of that segment, so it takes that recovery's cut over.
    pub(crate) fn first_cut(&self, mut cut: Cut) -> Cut {
        while cut.offset == SEGMENT_HEADER
            && let Some(entry) = self.segments.get(&cut.segment)
            && let Some(earlier) = entry.header.cut
        {
            cut = earlier;
        }
        cut
    }

    /// The next segment after `number` that is not void.
    fn after(&self, number: u32) -> Option<&Entry<D::File>> {
        self.segments
            .range(number + 1..)
            .map(|(_, entry)| entry)
            .find(|entry| !Self::is_void(entry))
    }

    /// Visits whole frames from `start` on, in order, each continuing the one before.
    ///
    /// # Errors
    /// The disk refused, or `visit` did.
    pub(crate) fn walk(
        &self,
        start: Position,
        mut visit: impl FnMut(FrameView<'_>) -> Result<(), WalError>,
    ) -> Result<End, WalError> {
        let mut end = End { position: start, chain: None };
        loop {
            self.walk_segment(&mut end, &mut visit)?;
            let position = end.position;
            let Some(next) = self.after(position.segment) else { return Ok(end) };
            match next.header.cut {
                // A recovery began this segment: it goes on where that one cut.
                Some(cut) if cut.next == position.next => {
                    end.chain = None;
                }
                Some(_) => return Ok(end),
                None => {
                    let seed = seed_at(&next.header, SEGMENT_HEADER);
                    let mut window = Window::default();
                    let first = read_frame(next, seed, &mut window, position.next, end.chain)?;
                    if first.is_none() {
                        if self.ends_at(position)? && extent(next, SEGMENT_HEADER)?.is_some() {
                            // What was begun there is where the log ends, however it looks.
                            end.position.segment = next.header.segment;
                            end.position.offset = SEGMENT_HEADER;
                        }
                        return Ok(end);
                    }
                }
            }
            end.position.segment = next.header.segment;
            end.position.offset = SEGMENT_HEADER;
        }
    }

    /// Whether nothing was written to its segment behind `position`.
    fn ends_at(&self, position: Position) -> Result<bool, WalError> {
        match self.segments.get(&position.segment) {
            Some(entry) => Ok(extent(entry, position.offset)?.is_none()),
            None => Ok(false),
        }
    }

    /// As [`History::walk`], but not beyond the segment of `start`.
    pub(crate) fn walk_within(
        &self,
        start: Position,
        mut visit: impl FnMut(FrameView<'_>) -> Result<(), WalError>,
    ) -> Result<End, WalError> {
        let mut end = End { position: start, chain: None };
        self.walk_segment(&mut end, &mut visit)?;
        Ok(end)
    }

    fn walk_segment(
        &self,
        end: &mut End,
        visit: &mut impl FnMut(FrameView<'_>) -> Result<(), WalError>,
    ) -> Result<(), WalError> {
        let Some(entry) = self.segments.get(&end.position.segment) else { return Ok(()) };
        if Self::is_void(entry) {
            // Its file may be gone by now.
            return Ok(());
        }
        let mut window = Window::default();
        loop {
            let Position { segment, offset, next } = end.position;
            let seed = seed_at(&entry.header, offset);
            let Some((header, checksum)) = read_frame(entry, seed, &mut window, next, end.chain)?
            else {
                return Ok(());
            };
            let payload = window.payload(offset, header.len);
            let frame = FrameView { segment, offset, header, payload };
            end.position.offset = offset + frame.whole_len() as u32;
            end.position.next = header.next();
            end.chain = Some(checksum);
            visit(frame)?;
        }
    }

    /// Whether anything was written to a segment after `number` that no cut made void.
    pub(crate) fn is_begun_after(&self, number: u32) -> Result<bool, WalError> {
        for entry in self.segments.range(number + 1..).map(|(_, entry)| entry) {
            if entry.header.cut.is_none() && extent(entry, SEGMENT_HEADER)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The highest record that anything valid at or behind `from` shows to have been safe.
    pub(crate) fn evidence_after(&self, from: Position) -> Result<Sequence, WalError> {
        let mut durable = Sequence(0);
        for (number, entry) in self.segments.range(from.segment..) {
            if Self::is_void(entry) {
                continue;
            }
            durable = durable.max(entry.header.safe);
            if let Some(cut) = entry.header.cut
                && *number > from.segment
            {
                // Whoever cut there had everything before.
                durable = durable.max(Sequence(cut.next.0.saturating_sub(1)));
            }
            let start = if *number == from.segment { from.offset } else { SEGMENT_HEADER };
            headers_from(entry, start, |_, header| {
                durable = durable.max(header.durable);
                false
            })?;
        }
        Ok(durable)
    }
}

/// Visits every valid frame header of a segment from `start` on, whatever lies between them, until
/// `visit` has found what it looks for.
pub(crate) fn headers_from<F: DiskFile>(
    entry: &Entry<F>,
    start: u32,
    mut visit: impl FnMut(u32, &FrameHeader) -> bool,
) -> Result<(), WalError> {
    let mut at = u64::from(start);
    let mut window = Window::default();
    while at < entry.limit {
        let bytes = window.read(entry, at, WINDOW)?;
        if bytes.is_empty() {
            break;
        }
        let len = bytes.len() as u64;
        for found in magics(bytes) {
            // A segment is at most 2 GiB, so offsets fit 32 bits.
            let offset = (at + found as u64) as u32;
            let header = FrameHeader::decode(&bytes[found..], seed_at(&entry.header, offset));
            if header.is_some_and(|(header, _)| visit(offset, &header)) {
                return Ok(());
            }
        }
        // The next window overlaps, so that no header falls between two.
        at += if len > FRAME_HEADER as u64 { len - FRAME_HEADER as u64 + 1 } else { len };
    }
    Ok(())
}

/// Places in `bytes` where a frame could begin; passes over zeros quickly.
pub(crate) fn magics(bytes: &[u8]) -> impl Iterator<Item = usize> {
    const BLOCK: usize = 512;
    let blocks = bytes.chunks(BLOCK).enumerate().filter(|(_, block)| !is_zero(block));
    blocks.flat_map(move |(number, block)| {
        (number * BLOCK..number * BLOCK + block.len()).filter(|at| has_frame_magic(&bytes[*at..]))
    })
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // Without a branch a byte, which the compiler makes vector instructions of.
    bytes.chunks(64).all(|part| part.iter().fold(0, |all, byte| all | byte) == 0)
}

pub(crate) fn seed_at(header: &SegmentHeader, offset: u32) -> Seed {
    Seed { log_id: header.log_id, recovery: header.recovery, segment: header.segment, offset }
}

pub(crate) fn damaged(file: &str, offset: u64, sequence: Sequence, what: &'static str) -> WalError {
    let file = file.to_owned();
    WalError::Corrupt(Damage { file, offset, sequence, last: None, durable: sequence, what })
}

/// Where the last byte that is not zero ends, behind `from`; none where all is zero.
pub(crate) fn extent<F: DiskFile>(entry: &Entry<F>, from: u32) -> Result<Option<u64>, WalError> {
    let mut window = Window::default();
    let mut at = u64::from(from);
    let mut end = None;
    while at < entry.limit {
        let bytes = window.read(entry, at, 1 << 20)?;
        if bytes.is_empty() {
            break;
        }
        if !is_zero(bytes) {
            let last = bytes.iter().rposition(|byte| *byte != 0).unwrap_or_default();
            end = Some(at + last as u64 + 1);
        }
        at += bytes.len() as u64;
    }
    Ok(end)
}

/// The frame at the seed's place, if it is whole, has the expected first record and continues
/// `chain`. Its payload is in the window then.
fn read_frame<F: DiskFile>(
    entry: &Entry<F>,
    seed: Seed,
    window: &mut Window,
    next: Sequence,
    chain: Option<u32>,
) -> Result<Option<(FrameHeader, u32)>, WalError> {
    let bytes = window.read(entry, seed.offset.into(), FRAME_HEADER)?;
    let Some((header, checksum)) = FrameHeader::decode(bytes, seed) else { return Ok(None) };
    let continues = header.first == next && chain.is_none_or(|chain| chain == header.previous);
    let end = u64::from(seed.offset) + FRAME_HEADER as u64 + u64::from(header.len);
    if !continues || end > entry.limit {
        return Ok(None);
    }
    let whole = FRAME_HEADER + header.len as usize;
    let bytes = window.read(entry, seed.offset.into(), whole)?;
    let payload = bytes.get(FRAME_HEADER..whole);
    let intact = payload.is_some_and(|payload| seed.payload_crc(payload) == header.payload_crc);
    Ok(intact.then_some((header, checksum)))
}

/// A part of one segment's bytes in memory, read ahead.
#[derive(Debug, Default)]
pub(crate) struct Window {
    segment: u32,
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// At least `len` bytes from `offset` on, or what there is before the segment's limit. May
    /// give more.
    pub(crate) fn read<F: DiskFile>(
        &mut self,
        entry: &Entry<F>,
        offset: u64,
        len: usize,
    ) -> Result<&[u8], WalError> {
        let end = offset.saturating_add(len as u64).min(entry.limit);
        let have = self.start..self.start + self.bytes.len() as u64;
        let same = self.segment == entry.header.segment;
        if !(same && have.start <= offset && end <= have.end) {
            let wanted = (len.max(WINDOW) as u64).min(entry.limit.saturating_sub(offset));
            self.bytes.resize(wanted as usize, 0);
            self.segment = entry.header.segment;
            self.start = offset;
            let name = segment_name(self.segment);
            let read = entry.file.read_at(offset, &mut self.bytes);
            let read = read.map_err(WalError::io("read", name))?;
            self.bytes.truncate(read);
        }
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        Ok(self.bytes.get(from..).unwrap_or_default())
    }

    /// The payload of a frame that [`read_frame`] found at `offset`.
    fn payload(&self, offset: u32, len: u32) -> &[u8] {
        let from = (u64::from(offset) - self.start) as usize + FRAME_HEADER;
        &self.bytes[from..from + len as usize]
    }
}
