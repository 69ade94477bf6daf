//! What can still be read at and behind damage.

use crate::disk::Disk;
use crate::error::WalError;
use crate::format::{
    BODY_CHECKSUM, FRAME_HEADER, FrameHeader, FrameKind, Position, Records, SEGMENT_HEADER,
    Sequence, body_crc, u32_at,
};
use crate::history::{History, Window, magics, seed_at};

/// A whole frame with records, behind damage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Intact {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    pub(crate) header: FrameHeader,
}

impl<D: Disk> History<D> {
    /// The whole frames with records behind `from`, in order. Whatever lies between them can't be
    /// read or holds no records.
    pub(crate) fn intact_after(&self, from: Position) -> Result<Vec<Intact>, WalError> {
        let mut found = Vec::new();
        let mut next = from.next;
        for (number, entry) in self.segments.range(from.segment..) {
            let here = *number == from.segment;
            let mut at = u64::from(if here { from.offset } else { SEGMENT_HEADER });
            let mut window = Window::default();
            while at < entry.limit {
                // It gives all that it has, so most frames cost no read.
                let bytes = window.read(entry, at, FRAME_HEADER)?;
                let Some(ahead) = magics(bytes).next() else {
                    // A magic may begin in the last bytes.
                    at += bytes.len().saturating_sub(3).max(1) as u64;
                    continue;
                };
                at += ahead as u64;
                // A segment is at most 2 GiB, so offsets fit 32 bits.
                let (segment, offset) = (*number, at as u32);
                let Some((header, whole)) = self.whole_frame(segment, offset, &mut window)? else {
                    at += 1;
                    continue;
                };
                at += whole;
                if header.kind == FrameKind::Records && header.count > 0 && header.first >= next {
                    next = header.next();
                    found.push(Intact { segment, offset, header });
                }
            }
        }
        Ok(found)
    }

    /// The frame at a place, if it is whole, with its length.
    fn whole_frame(
        &self,
        segment: u32,
        offset: u32,
        window: &mut Window,
    ) -> Result<Option<(FrameHeader, u64)>, WalError> {
        let Some(entry) = self.segments.get(&segment) else { return Ok(None) };
        let seed = seed_at(&entry.header, offset);
        let bytes = window.read(entry, offset.into(), FRAME_HEADER)?;
        let Some((header, _)) = FrameHeader::decode(bytes, seed) else { return Ok(None) };
        let whole = FRAME_HEADER as u64 + u64::from(header.len);
        if u64::from(offset) + whole > entry.limit {
            return Ok(None);
        }
        let bytes = window.read(entry, offset.into(), whole as usize)?;
        let payload = bytes.get(FRAME_HEADER..whole as usize);
        let sound = payload.is_some_and(|payload| seed.payload_crc(payload) == header.payload_crc);
        Ok(sound.then_some((header, whole)))
    }

    /// The header of a frame whose payload is damaged.
    pub(crate) fn header_at(&self, at: Position) -> Result<Option<FrameHeader>, WalError> {
        let Some(entry) = self.segments.get(&at.segment) else { return Ok(None) };
        let mut window = Window::default();
        let bytes = window.read(entry, at.offset.into(), FRAME_HEADER)?;
        let header = FrameHeader::decode(bytes, seed_at(&entry.header, at.offset));
        Ok(header.map(|(header, _)| header).filter(|header| header.first == at.next))
    }

    /// Visits those records of a damaged frame whose bodies verify. Of the others nothing is
    /// known: a record's head has no checksum but its frame's.
    pub(crate) fn salvage_at(
        &self,
        at: Position,
        mut visit: impl FnMut(Sequence, &[u8]),
    ) -> Result<(), WalError> {
        let (Some(header), Some(entry)) = (self.header_at(at)?, self.segments.get(&at.segment))
        else {
            return Ok(());
        };
        let mut window = Window::default();
        let from = u64::from(at.offset) + FRAME_HEADER as u64;
        let bytes = window.read(entry, from, header.len as usize)?;
        let payload = &bytes[..bytes.len().min(header.len as usize)];
        let mut sequence = header.first;
        for record in Records::new(payload).take(header.count as usize) {
            let checksum = payload.get(record.body_at..record.body_at + BODY_CHECKSUM);
            let sound = checksum.is_some_and(|checksum| {
                let stated = u32_at(checksum, 0);
                body_crc(entry.header.log_id, sequence, &[record.body]) == stated
            });
            if !record.body.is_empty() && sound {
                visit(sequence, record.head);
            }
            sequence = Sequence(sequence.0 + 1);
        }
        Ok(())
    }
}
