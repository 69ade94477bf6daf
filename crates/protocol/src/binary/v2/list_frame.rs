//! A frame that is written entry by entry, up to a longest length.

use bytes::BytesMut;

use super::fields::{patch, patch_length, put_open_header};
use super::{EncodeError, FrameType};
use crate::binary::frame::{HEADER_BYTES, LENGTH_BYTES, LENGTH_MAX};

/// A frame whose payload begins with flags and has a count somewhere before its entries.
///
/// Dropped unfinished, it leaves nothing behind.
pub(super) struct ListFrame<'a> {
    pub(super) out: &'a mut BytesMut,
    start: usize,
    count_at: usize,
    count: u16,
    length_max: usize,
    finished: bool,
}

impl<'a> ListFrame<'a> {
    /// Begins a frame; `head` appends all of the payload that comes before the count, and what
    /// of it comes behind the count is appended by the caller.
    pub(super) fn begin(
        out: &'a mut BytesMut,
        frame: FrameType,
        id: u64,
        length_max: usize,
        head: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
    ) -> Result<Self, EncodeError> {
        let start = out.len();
        put_open_header(out, frame, id);
        let length_max = length_max.min(LENGTH_MAX);
        let mut list = Self { out, start, count_at: 0, count: 0, length_max, finished: false };
        head(list.out)?;
        list.count_at = list.out.len();
        list.out.extend_from_slice(&[0, 0]);
        patch_length(list.out, start, 0, length_max)?;
        Ok(list)
    }

    /// So many bytes fit, and one more entry can be counted.
    pub(super) fn fits(&self, bytes: usize) -> bool {
        let length = (self.out.len() - self.start - LENGTH_BYTES).saturating_add(bytes);
        length <= self.length_max && self.count < u16::MAX
    }

    /// How many bytes fit.
    pub(super) fn room(&self) -> usize {
        self.length_max.saturating_sub(self.out.len() - self.start - LENGTH_BYTES)
    }

    /// How many more entries can be counted.
    pub(super) fn countable(&self) -> u16 {
        u16::MAX - self.count
    }

    pub(super) fn counted(&mut self, entries: u16) {
        self.count = self.count.saturating_add(entries);
    }

    pub(super) const fn count(&self) -> u16 {
        self.count
    }

    /// Ends the frame, whose entries are there now, and says how many they are.
    pub(super) fn finish(mut self, flags: u8) -> u16 {
        let written = patch_length(self.out, self.start, 0, self.length_max);
        if written.is_ok() {
            patch(self.out, self.start + HEADER_BYTES, &[flags]);
            patch(self.out, self.count_at, &self.count.to_be_bytes());
            self.finished = true;
        }
        self.count
    }
}

impl Drop for ListFrame<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.out.truncate(self.start);
        }
    }
}
