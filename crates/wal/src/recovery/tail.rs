//! Judges what comes after the last whole frame: the log's end, a torn tail, or corruption.

use crate::disk::{Disk, DiskFile};
use crate::error::WalError;
use crate::format::{Damage, FRAME_HEADER, FrameHeader, Position, SECTOR, Sequence, segment_name};
use crate::history::{Entry, Window, extent, is_zero, seed_at};

use super::{Scanned, Torn};

impl<D: Disk> Scanned<D> {
    /// Decides between the log's end, a torn tail and corruption.
    pub(super) fn judge_tail(&mut self, durable: Sequence) -> Result<(), WalError> {
        let at = self.end.position;
        let mut durable = durable.max(self.history.evidence_after(at)?);
        if self.history.is_begun_after(at.segment)? {
            // Nothing is written to a segment before all of the one before it is safe.
            durable = durable.max(at.next);
        }
        let Some(entry) = self.history.segments.get(&at.segment) else {
            return Err(self.refusal(at, durable, "a missing segment")?);
        };
        if durable >= at.next {
            return Err(self.refusal(at, durable, "a damaged or missing frame")?);
        }
        let Some(damage) = extent(entry, at.offset)? else { return Ok(()) };
        self.clean = false;
        if !looks_torn(entry, at.offset, damage)? {
            return Err(self.refusal(at, durable, "a damaged frame")?);
        }
        self.torn = Some(Torn { segment: at.segment, start: at.offset.into(), end: damage });
        Ok(())
    }

    /// Says where a start has to be refused, and how far the damage goes.
    fn refusal(
        &self,
        at: Position,
        durable: Sequence,
        what: &'static str,
    ) -> Result<WalError, WalError> {
        let behind = self.history.intact_after(at)?;
        let next = match behind.first() {
            Some(frame) => Some(frame.header.first),
            None => self.history.header_at(at)?.map(|header| header.next()),
        };
        let proven = Some(durable).filter(|durable| *durable >= at.next);
        let last = next.map(|next| Sequence(next.0 - 1)).or(proven);
        let (file, offset, sequence) = (segment_name(at.segment), at.offset.into(), at.next);
        Ok(WalError::Corrupt(Damage { file, offset, sequence, last, durable, what }))
    }
}

/// Whether the frame at `from`, in damage that goes to `end`, can be a write that a crash cut
/// short: a sector of it was never written, or nothing was from some byte in it on.
///
/// Only its own sectors count. A crash leaves each old, which is zero from here on, or new; were
/// all new the frame would be whole, so zeros further behind say nothing about it.
fn looks_torn<F: DiskFile>(entry: &Entry<F>, from: u32, end: u64) -> Result<bool, WalError> {
    let mut window = Window::default();
    let seed = seed_at(&entry.header, from);
    let bytes = window.read(entry, from.into(), FRAME_HEADER)?;
    // Whatever was written there, a whole header was meant to be.
    let len = FrameHeader::decode(bytes, seed).map_or(0, |(header, _)| u64::from(header.len));
    let frame_end = u64::from(from) + FRAME_HEADER as u64 + len;
    if end < frame_end {
        // A limit, a quota or a full disk ends a write at any byte, not only between sectors.
        return Ok(true);
    }
    let mut at = u64::from(from);
    while at < frame_end {
        let next = (at / SECTOR + 1) * SECTOR;
        let part = (next - at) as usize;
        let bytes = window.read(entry, at, part)?;
        if is_zero(&bytes[..part.min(bytes.len())]) {
            return Ok(true);
        }
        at = next;
    }
    Ok(false)
}
