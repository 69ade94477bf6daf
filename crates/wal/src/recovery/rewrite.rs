//! Writes anew what is whole but not proven safe.

use std::collections::VecDeque;

use crate::disk::{Disk, DiskFile};
use crate::error::WalError;
use crate::format::{
    Cut, FRAME_HEADER, FrameHeader, Position, SEGMENT_HEADER, Seed, SegmentHeader, Sequence,
    segment_name,
};
use crate::history::{Window, damaged, seed_at};
use crate::store::{Origin, Store};

use super::{Made, Scanned, SharedReserve, Unproven};

/// Most bytes of frames that a start gathers out of almost empty segments.
const GATHER_MAX: u64 = 1 << 20;

impl<D: Disk> Scanned<D> {
    /// Takes the last segments as a whole for unproven, as long as there is little in them: a start
    /// after the other, each of which begins a segment, would fill the disk with almost empty ones.
    /// What a checkpoint or an image refers to by its place stays where it is.
    pub(super) fn gather_short_segments(&mut self) -> Result<(), WalError> {
        let segment_bytes = self.config.segment_bytes;
        let space = self.disk.space().map_err(WalError::io("measure", "the disk"))?;
        let bytes_max = match space {
            // There may be nothing but the reserve for this start and those after it.
            Some(space) if space.free < 2 * segment_bytes => segment_bytes / 8 * 7,
            _ => GATHER_MAX.min(segment_bytes / 4),
        };
        let fixed = self.checkpoints.positions().map(|position| position.segment).max();
        let mut bytes = 0;
        let mut from = None;
        for (number, stretch) in self.replayed.iter().rev() {
            bytes += stretch.bytes;
            if bytes > bytes_max || fixed.is_some_and(|fixed| *number <= fixed) {
                break;
            }
            from = Some(Position { segment: *number, offset: SEGMENT_HEADER, next: stretch.first });
        }
        // What is unproven lies in the last segment that holds any frame; nothing of it may be left.
        let unproven = self.unproven.front().map(|frame| frame.segment);
        let Some(from) = from.filter(|from| unproven.is_none_or(|first| from.segment <= first))
        else {
            return Ok(());
        };
        let mut frames = VecDeque::new();
        let end = self.history.walk(from, |frame| {
            if frame.header.count > 0 {
                let (segment, offset, header) = (frame.segment, frame.offset, frame.header);
                frames.push_back(Unproven { segment, offset, header });
            }
            Ok(())
        })?;
        if end.position != self.end.position {
            let (file, offset) = (segment_name(end.position.segment), end.position.offset);
            let what = "a frame that reads differently each time";
            return Err(damaged(&file, offset.into(), end.position.next, what));
        }
        self.unproven = frames;
        self.gathered = Some(from);
        Ok(())
    }

    /// What the unproven frames hold; together they fit one segment.
    pub(super) fn unproven_payloads(&self) -> Result<Vec<Vec<u8>>, WalError> {
        let mut window = Window::default();
        let mut payloads = Vec::new();
        for frame in &self.unproven {
            let Unproven { segment, offset, header } = *frame;
            let file = segment_name(segment);
            let Some(entry) = self.history.segments.get(&segment) else {
                return Err(damaged(&file, offset.into(), header.first, "a missing segment"));
            };
            let len = header.len as usize;
            let bytes = window.read(entry, u64::from(offset) + FRAME_HEADER as u64, len)?;
            // What is read a second time is checked a second time: it gets a new checksum next.
            let payload = bytes.get(..len).filter(|payload| {
                seed_at(&entry.header, offset).payload_crc(payload) == header.payload_crc
            });
            let Some(payload) = payload else {
                let what = "a frame that reads differently each time";
                return Err(damaged(&file, offset.into(), header.first, what));
            };
            payloads.push(payload.to_vec());
        }
        Ok(payloads)
    }

    /// Writes the whole frames that nothing proves safe into a new segment: their bytes may have
    /// come from a page cache that a failed sync had marked clean.
    pub(super) fn rewrite(
        &mut self,
        recovery: u32,
        time_ms: u64,
        payloads: &[Vec<u8>],
        reserve: &SharedReserve<D>,
    ) -> Result<Made<D>, WalError> {
        let newest = self.history.segments.keys().next_back().copied().unwrap_or_default();
        let number = newest + 1;
        let end = self.end.position;
        let first = self.unproven.front().map(|first| {
            let Unproven { segment, offset, header } = *first;
            Position { segment, offset, next: header.first }
        });
        let Position { segment, offset, next } = self.gathered.or(first).unwrap_or(end);
        let cut = self.history.first_cut(Cut { segment, offset, next });
        let maker =
            Store::new(self.disk.clone(), self.config.clone(), self.log_id, recovery, newest)
                .with_reserve(reserve.clone());
        let mut offset = SEGMENT_HEADER;
        let mut chain = 0;
        let made = maker.make(number, Some(cut), self.last(), Origin::Recovery, |file| {
            for (frame, payload) in self.unproven.iter().zip(payloads) {
                let seed = Seed { log_id: self.log_id, recovery, segment: number, offset };
                let header = FrameHeader {
                    previous: chain,
                    durable: Sequence(cut.next.0 - 1),
                    time_ms: time_ms.max(frame.header.time_ms),
                    payload_crc: seed.payload_crc(payload),
                    ..frame.header
                };
                let (bytes, checksum) = header.encode(seed);
                let name = segment_name(number);
                file.write_at(offset.into(), &bytes).map_err(WalError::io("write", &*name))?;
                let at = u64::from(offset) + FRAME_HEADER as u64;
                file.write_at(at, payload).map_err(WalError::io("write", &*name))?;
                chain = checksum;
                offset += FRAME_HEADER as u32 + frame.header.len;
            }
            Ok(())
        })?;
        let (log_id, safe) = (self.log_id, self.last());
        let header = SegmentHeader { log_id, segment: number, recovery, cut: Some(cut), safe };
        let len = self.config.segment_bytes.max(offset.into());
        self.history.add(header, made.file, len);
        let store = self.store(recovery, number).with_reserve(reserve.clone());
        Ok((store, Position { segment: number, offset, next: end.next }, chain))
    }
}
