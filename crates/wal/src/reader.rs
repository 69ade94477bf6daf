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

/// Bodies that are read at once have gaps of at most so many bytes between them, and take no more
/// than so many together: what lies in between is read for nothing.
const GAP_MAX: u64 = 1 << 10;
const SPAN_MAX: u64 = 256 << 10;

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

    /// Reads bodies, those that lie close together at once. Blocks the thread.
    pub fn read_many(&self, bodies: &[(Sequence, BodyRef)]) -> Vec<Result<Bytes, ReadError>> {
        let mut all = Vec::with_capacity(bodies.len());
        let mut rest = bodies;
        while let Some((_, first)) = rest.first() {
            let (span, after) = rest.split_at(span_len(rest));
            match self.pin(first.segment) {
                Some(pinned) => pinned.read_span(span, &mut all),
                None => all.extend(span.iter().map(|(_, at)| Err(ReadError::Gone(at.segment)))),
            }
            rest = after;
        }
        all
    }
}

/// How many bodies from the front are read at once.
fn span_len(bodies: &[(Sequence, BodyRef)]) -> usize {
    let Some((_, first)) = bodies.first() else { return 0 };
    let mut end = end_of(*first);
    let close = |(_, at): &&(Sequence, BodyRef)| {
        let (offset, its_end) = (u64::from(at.offset), end_of(*at));
        let is_next = at.segment == first.segment && offset >= end && offset - end <= GAP_MAX;
        let fits = is_next && its_end - u64::from(first.offset) <= SPAN_MAX;
        end = if fits { its_end } else { end };
        fits
    };
    1 + bodies.iter().skip(1).take_while(close).count()
}

/// Where a body ends in its segment.
fn end_of(at: BodyRef) -> u64 {
    u64::from(at.offset) + BODY_CHECKSUM as u64 + u64::from(at.len)
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
        let mut buffer = BytesMut::zeroed(BODY_CHECKSUM + at.len as usize);
        let io = |source| ReadError::Io { segment: at.segment, source };
        let read = self.segment.file.read_at(at.offset.into(), &mut buffer).map_err(io)?;
        buffer.truncate(read);
        self.checked(&buffer.freeze(), at, sequence)
    }

    /// Reads bodies that lie behind one another, each with its own outcome.
    fn read_span(&self, span: &[(Sequence, BodyRef)], into: &mut Vec<Result<Bytes, ReadError>>) {
        let (Some((_, first)), Some((_, last))) = (span.first(), span.last()) else { return };
        let start = first.offset;
        // A span is bounded, and a single body by the record that holds it.
        let mut buffer = BytesMut::zeroed((end_of(*last) - u64::from(start)) as usize);
        let read = match self.segment.file.read_at(start.into(), &mut buffer) {
            Ok(read) => read,
            // Whatever is wrong with one of them, the others may be read by themselves.
            Err(_) if span.len() > 1 => {
                into.extend(span.iter().map(|(sequence, at)| self.read(*at, *sequence)));
                return;
            }
            Err(source) => {
                into.push(Err(ReadError::Io { segment: first.segment, source }));
                return;
            }
        };
        buffer.truncate(read);
        let bytes = buffer.freeze();
        into.extend(span.iter().map(|(sequence, at)| {
            let rest = bytes.get((at.offset - start) as usize..).unwrap_or_default();
            self.checked(&bytes.slice_ref(rest), *at, *sequence)
        }));
    }

    /// The body that `bytes` begin with.
    fn checked(&self, bytes: &Bytes, at: BodyRef, sequence: Sequence) -> Result<Bytes, ReadError> {
        let damaged = ReadError::Damaged { sequence, segment: at.segment, offset: at.offset };
        let end = BODY_CHECKSUM + at.len as usize;
        if bytes.len() < end {
            return Err(damaged);
        }
        let body = bytes.slice(BODY_CHECKSUM..end);
        match body_crc(self.log_id, sequence, &[&body]) == u32_at(bytes, 0) {
            true => Ok(body),
            false => Err(damaged),
        }
    }
}
