//! One group commit: the only place where records meet the disk.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;

use crate::disk::{Disk, DiskFile};
use crate::error::WalError;
use crate::format::{FRAME_HEADER, FrameHeader, FrameKind, Seed, Sequence, segment_name};
use crate::store::{Segment, Store};
use crate::sync_times::SyncTimes;

/// A frame that has a place but no header yet.
#[derive(Debug)]
pub(crate) struct PendingFrame {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    pub(crate) first: Sequence,
    pub(crate) count: u32,
    /// Room for the header, then the records.
    pub(crate) bytes: BytesMut,
}

/// Records on their way to the disk. Run it without any lock; there is one at a time.
#[derive(Debug)]
#[must_use = "records that are not committed are lost"]
pub struct Commit<D: Disk> {
    pub(crate) store: Arc<Store<D>>,
    pub(crate) active: Arc<Segment<D::File>>,
    pub(crate) frames: Vec<PendingFrame>,
    pub(crate) kind: FrameKind,
    pub(crate) sync: bool,
    pub(crate) time_ms: u64,
    pub(crate) chain: u32,
    pub(crate) written: Sequence,
    pub(crate) synced: Sequence,
    pub(crate) appended: u64,
    /// Of all syncs before this commit.
    pub(crate) sync_times: SyncTimes,
}

/// The outcome of a commit, for [`crate::Log::finish`].
#[derive(Debug)]
#[must_use = "the log does not go on before it has its commit's outcome"]
pub struct Committed<D: Disk> {
    pub(crate) result: Result<Outcome<D>, WalError>,
}

#[derive(Debug)]
pub(crate) struct Outcome<D: Disk> {
    pub(crate) active: Arc<Segment<D::File>>,
    pub(crate) chain: u32,
    pub(crate) frames: Vec<PendingFrame>,
    /// Of these nothing was written, for want of space for their segment.
    pub(crate) left: Vec<PendingFrame>,
    pub(crate) written: Sequence,
    pub(crate) synced: Sequence,
    pub(crate) appended: u64,
    pub(crate) sync_times: SyncTimes,
}

impl<D: Disk> Commit<D> {
    /// Writes and, if asked, syncs. Blocks the thread.
    pub fn run(self) -> Committed<D> {
        Committed { result: self.write() }
    }

    /// Whether it waits for the disk and not only for the kernel.
    pub fn syncs(&self) -> bool {
        self.sync
    }

    fn write(self) -> Result<Outcome<D>, WalError> {
        let Self { store, mut active, mut frames, mut chain, mut written, mut synced, .. } = self;
        let mut sync_times = self.sync_times;
        let mut sync = |active: &Segment<D::File>| {
            let began = Instant::now();
            let outcome = active.sync();
            sync_times.note(began.elapsed());
            outcome
        };
        let mut left = Vec::new();
        for at in 0..frames.len() {
            let frame = &mut frames[at];
            if frame.segment != active.number {
                // All of a segment is safe before the first frame of the next is written.
                sync(&active)?;
                synced = written;
                active = match store.begin(frame.segment) {
                    Ok(next) => next,
                    Err(error) if error.is_no_space() => {
                        // Not a byte of them has met the disk: they can wait for space.
                        left = frames.split_off(at);
                        break;
                    }
                    Err(error) => return Err(error),
                };
            }
            let seed = Seed {
                log_id: store.log_id,
                recovery: active.recovery,
                segment: frame.segment,
                offset: frame.offset,
            };
            let (room, payload) = frame.bytes.split_at_mut(FRAME_HEADER);
            let header = FrameHeader {
                kind: self.kind,
                // Frames are bounded by the segment's size.
                len: payload.len() as u32,
                count: frame.count,
                first: frame.first,
                durable: synced,
                time_ms: self.time_ms,
                previous: chain,
                payload_crc: seed.payload_crc(payload),
            };
            let (bytes, checksum) = header.encode(seed);
            room.copy_from_slice(&bytes);
            chain = checksum;
            let outcome = active.file.write_at(frame.offset.into(), &frame.bytes);
            // The name is only made where it is told.
            outcome.map_err(|error| WalError::io("write", segment_name(frame.segment))(error))?;
            written = Sequence(header.next().0 - 1);
        }
        if self.sync {
            sync(&active)?;
            synced = written;
        }
        let appended = self.appended;
        Ok(Outcome { active, chain, frames, left, written, synced, appended, sync_times })
    }
}
