//! Bodies read back from any thread, verified every time.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use thiserror::Error;

use crate::disk::{Disk, DiskFile};
use crate::format::{
    BODY_CHECKSUM, BodyRef, FRAME_HEADER, FrameHeader, Records, SEGMENT_HEADER, Seed, Sequence,
    body_crc, u32_at,
};
use crate::store::{Segment, Store};

/// Why a body could not be read back.
#[derive(Debug, Error)]
pub enum ReadError {
    /// Its segment is gone, because the body was moved or is no longer needed.
    #[error("segment {0} is gone")]
    Gone(u32),
    /// What lies there is not the body.
    #[error("the body of record {sequence} at byte {offset} of segment {segment} is damaged")]
    Damaged {
        /// The record.
        sequence: Sequence,
        /// The log file.
        segment: u32,
        /// Bytes from its start.
        offset: u32,
    },
    /// The disk refused.
    #[error("could not read segment {segment}: {source}")]
    Io {
        /// The log file.
        segment: u32,
        /// What the disk said.
        source: std::io::Error,
    },
}

/// Reads bodies. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader<D: Disk> {
    store: Arc<Store<D>>,
}

/// Keeps a segment readable, whatever becomes of it.
#[derive(Clone, Debug)]
pub struct Pinned<D: Disk> {
    segment: Arc<Segment<D::File>>,
    log_id: u64,
}

impl<D: Disk> Reader<D> {
    pub(crate) fn new(store: Arc<Store<D>>) -> Self {
        Self { store }
    }

    /// Keeps a segment readable for as long as the answer lives.
    pub fn pin(&self, segment: u32) -> Option<Pinned<D>> {
        let segment = self.store.pin(segment)?;
        Some(Pinned { segment, log_id: self.store.log_id })
    }

    /// Reads the body at `at` of record `sequence`. Blocks the thread.
    ///
    /// # Errors
    /// The body can't be read or is damaged.
    pub fn read(&self, at: BodyRef, sequence: Sequence) -> Result<Bytes, ReadError> {
        self.pin(at.segment).ok_or(ReadError::Gone(at.segment))?.read(at, sequence)
    }
}

impl<D: Disk> Pinned<D> {
    /// Where the first frame is.
    pub const START: u32 = SEGMENT_HEADER;

    /// Visits the records with a body of the frame at `offset`, and gives where the next frame
    /// begins; none behind the last whole frame. Blocks the thread.
    ///
    /// # Errors
    /// The disk refused.
    pub fn bodies(
        &self,
        offset: u32,
        mut visit: impl FnMut(Sequence, &[u8], &[u8]),
    ) -> Result<Option<u32>, ReadError> {
        let segment = self.segment.number;
        let io = |source| ReadError::Io { segment, source };
        let mut head = [0; FRAME_HEADER];
        let read = self.segment.file.read_at(offset.into(), &mut head).map_err(io)?;
        let recovery = self.segment.recovery;
        let seed = Seed { log_id: self.log_id, recovery, segment, offset };
        let Some((header, _)) = FrameHeader::decode(&head[..read], seed) else { return Ok(None) };
        let start = u64::from(offset) + FRAME_HEADER as u64;
        if start + u64::from(header.len) > self.segment.limit {
            return Ok(None);
        }
        let mut payload = vec![0; header.len as usize];
        let read = self.segment.file.read_at(start, &mut payload).map_err(io)?;
        if read < payload.len() || seed.payload_crc(&payload) != header.payload_crc {
            return Ok(None);
        }
        let mut sequence = header.first;
        for record in Records::new(&payload) {
            if !record.body.is_empty() {
                visit(sequence, record.head, record.body);
            }
            sequence = Sequence(sequence.0 + 1);
        }
        Ok(Some(offset + FRAME_HEADER as u32 + header.len))
    }

    /// Reads the body at `at` of record `sequence`. Blocks the thread.
    ///
    /// # Errors
    /// The body can't be read or is damaged.
    pub fn read(&self, at: BodyRef, sequence: Sequence) -> Result<Bytes, ReadError> {
        let len = BODY_CHECKSUM + at.len as usize;
        let mut buffer = BytesMut::zeroed(len);
        let io = |source| ReadError::Io { segment: at.segment, source };
        let read = self.segment.file.read_at(at.offset.into(), &mut buffer).map_err(io)?;
        let damaged = ReadError::Damaged { sequence, segment: at.segment, offset: at.offset };
        if read < len {
            return Err(damaged);
        }
        let checksum = u32_at(&buffer, 0);
        let body = buffer.freeze().slice(BODY_CHECKSUM..);
        if body_crc(self.log_id, sequence, &[&body]) != checksum {
            return Err(damaged);
        }
        Ok(body)
    }
}
