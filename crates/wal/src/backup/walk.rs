//! The whole frames of one segment, one after the other, each continuing the one before.

use crate::backup::Gap;
use crate::disk::DiskFile;
use crate::error::WalError;
use crate::format::{FILLER, FRAME_HEADER, FrameHeader, FrameKind, SEGMENT_HEADER, Sequence};
use crate::history::{Entry, Window, headers_from, seed_at};

/// How far one has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    /// Where the next frame would begin.
    pub(crate) offset: u32,
    /// The record that it would begin with, once a frame was seen.
    pub(crate) next: Option<Sequence>,
    /// The first record of the segment.
    pub(crate) first: Option<Sequence>,
    chain: Option<u32>,
}

impl Walk {
    pub(crate) fn new() -> Self {
        Self { offset: SEGMENT_HEADER, next: None, first: None, chain: None }
    }

    /// The next frame, header and payload together, if there is a whole one.
    pub(crate) fn frame<'w, F: DiskFile>(
        &mut self,
        entry: &Entry<F>,
        window: &'w mut Window,
    ) -> Result<Option<(FrameHeader, &'w [u8])>, WalError> {
        let Some((header, checksum)) = self.header(entry, window)? else { return Ok(None) };
        let whole = FRAME_HEADER + header.len as usize;
        let bytes = window.read(entry, self.offset.into(), whole)?;
        let seed = seed_at(&entry.header, self.offset);
        let Some(bytes) = bytes.get(..whole) else { return Ok(None) };
        if seed.payload_crc(&bytes[FRAME_HEADER..]) != header.payload_crc {
            return Ok(None);
        }
        self.pass(&header, checksum);
        Ok(Some((header, bytes)))
    }

    /// Passes over the next frame, looking at its header alone. False if there is none.
    pub(crate) fn skip<F: DiskFile>(
        &mut self,
        entry: &Entry<F>,
        window: &mut Window,
    ) -> Result<bool, WalError> {
        let Some((header, checksum)) = self.header(entry, window)? else { return Ok(false) };
        self.pass(&header, checksum);
        Ok(true)
    }

    /// Where the next frame begins behind something that is none, with its first record; none if
    /// there is no other one in the segment.
    pub(crate) fn resume<F: DiskFile>(
        &self,
        entry: &Entry<F>,
    ) -> Result<Option<(u32, Sequence)>, WalError> {
        let mut found = None;
        headers_from(entry, self.offset + 1, |offset, header| {
            let goes_on = self.next.is_none_or(|next| next <= header.first);
            found = goes_on.then_some((offset, header.first));
            goes_on
        })?;
        Ok(found)
    }

    /// Goes on behind something that is no frame.
    pub(crate) fn jump(&mut self, offset: u32, next: Sequence) {
        (self.offset, self.next, self.chain) = (offset, Some(next), None);
        self.first = self.first.or(self.next);
    }

    /// A frame that stands for what is lost in a gap at this place: as long as that if a frame comes
    /// behind it. Goes on behind it; none if the gap is too short for a frame.
    pub(crate) fn fill<F: DiskFile>(&mut self, entry: &Entry<F>, gap: &Gap) -> Option<Vec<u8>> {
        let is_last = u64::from(gap.end) >= entry.limit;
        let len = (gap.end - gap.offset).checked_sub(FRAME_HEADER as u32);
        let len = if is_last { 0 } else { len? };
        let seed = seed_at(&entry.header, self.offset);
        let payload = vec![FILLER; len as usize];
        let header = FrameHeader {
            kind: FrameKind::Lost,
            len,
            count: u32::try_from(gap.records()).ok()?,
            first: gap.first.unwrap_or(gap.next),
            durable: Sequence(0),
            time_ms: 0,
            previous: self.chain.unwrap_or_default(),
            payload_crc: seed.payload_crc(&payload),
        };
        let (bytes, checksum) = header.encode(seed);
        self.pass(&header, checksum);
        Some([&bytes[..], &payload].concat())
    }

    fn header<F: DiskFile>(
        &self,
        entry: &Entry<F>,
        window: &mut Window,
    ) -> Result<Option<(FrameHeader, u32)>, WalError> {
        let seed = seed_at(&entry.header, self.offset);
        let bytes = window.read(entry, self.offset.into(), FRAME_HEADER)?;
        let Some((header, checksum)) = FrameHeader::decode(bytes, seed) else { return Ok(None) };
        let continues = self.next.is_none_or(|next| next == header.first)
            && self.chain.is_none_or(|chain| chain == header.previous);
        let end = u64::from(self.offset) + FRAME_HEADER as u64 + u64::from(header.len);
        Ok((continues && end <= entry.limit).then_some((header, checksum)))
    }

    fn pass(&mut self, header: &FrameHeader, checksum: u32) {
        // A segment is at most 2 GiB, so offsets fit 32 bits.
        self.offset += FRAME_HEADER as u32 + header.len;
        self.first = self.first.or(Some(header.first));
        self.next = Some(header.next());
        // What comes behind lost records continues them, not what stands for them.
        self.chain = (header.kind != FrameKind::Lost).then_some(checksum);
    }
}
