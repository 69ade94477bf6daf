//! Background work, in bounded steps: checkpoints, moving bodies out of sparse segments, retiring
//! empty ones, preparing the next.
//!
//! A thread calls [`Housekeeper::step`] again and again, or a simulator does at random. It holds
//! the driver only for moments, through [`Access`]; all I/O happens outside.

use std::collections::VecDeque;
use std::time::Duration;

use sluice_engine::{Piece, Record, Target};
use sluice_model::Timestamp;
use sluice_wal::{
    CheckpointWriter, Checkpoints, Disk, Maintenance, Pinned, Reader, Sequence, Step, WalError,
};

use crate::local::driver::{Driver, Input};

/// Bytes of image that one step encodes.
const ENCODE_STEP: u64 = 1 << 20;
/// Bytes of bodies that one turn moves.
const MOVE_STEP: usize = 256 << 10;

/// Bytes a second that the log may grow by while segments are still zeroed beforehand: above it the
/// zeros would take from the commits more than they save them.
const ZERO_BELOW: u64 = 32 << 20;

/// A way to the driver that the caller shares with others.
pub trait Access<D: Disk> {
    /// Does something with the driver, now and for a moment.
    fn with<R>(&mut self, work: impl FnOnce(&mut Driver<D>, Timestamp) -> R) -> R;
}

/// When checkpoints are made and segments cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upkeep {
    /// Most bytes of records that a start has to replay.
    pub replay_max: u64,
    /// A checkpoint is made at least so often, if there was anything since the last.
    pub checkpoint_interval: Duration,
    /// Bytes of a segment file.
    pub segment_bytes: u64,
}

enum Job<D: Disk> {
    /// Writes the pieces of an image.
    Encode { pieces: VecDeque<Piece>, writer: CheckpointWriter<D>, empty: Vec<u32> },
    /// Waits until the log is safe up to the image's moment.
    Publish { writer: CheckpointWriter<D>, empty: Vec<u32> },
    /// Copies the live bodies of a segment to the end of the log.
    Clear { segment: Pinned<D>, offset: u32 },
}

/// Does the background work of one driver.
pub struct Housekeeper<D: Disk> {
    upkeep: Upkeep,
    checkpoints: Checkpoints<D>,
    maintenance: Maintenance<D>,
    reader: Reader<D>,
    job: Option<Job<D>>,
    /// Bytes that had been appended when the last image was taken, and when that was.
    imaged_bytes: u64,
    imaged_at: Timestamp,
    last_image_bytes: u64,
    /// Segments that were empty at the images of the kept generations, oldest first.
    empty: VecDeque<Vec<u32>>,
    buffer: Vec<u8>,
    /// How far the log had grown when it was last looked at, when that was, and whether it grew
    /// slowly then.
    seen_bytes: u64,
    seen_at: Timestamp,
    slow: bool,
    /// An image was taken and lost: the next one holds everything.
    lost_image: bool,
}

impl<D: Disk> Housekeeper<D> {
    /// The background work of `driver`, whose log these checkpoints belong to.
    pub fn new(driver: &Driver<D>, checkpoints: Checkpoints<D>, upkeep: Upkeep) -> Self {
        Self {
            upkeep,
            checkpoints,
            maintenance: driver.log.maintenance(),
            reader: driver.log.reader(),
            job: None,
            imaged_bytes: 0,
            imaged_at: Timestamp::EPOCH,
            last_image_bytes: 0,
            empty: VecDeque::new(),
            buffer: Vec::new(),
            seen_bytes: 0,
            seen_at: Timestamp::EPOCH,
            slow: true,
            lost_image: false,
        }
    }

    /// Bytes written for checkpoints since the start.
    pub fn checkpoint_bytes(&self) -> u64 {
        self.checkpoints.written_bytes()
    }

    /// Does a bounded part of what there is to do.
    ///
    /// # Errors
    /// The disk refused. What was begun is given up and tried again later; the log goes on.
    pub fn step(&mut self, access: &mut impl Access<D>) -> Result<Step, WalError> {
        if self.job.is_none() {
            self.job = self.next_job(access)?;
        }
        let outcome = match self.job.take() {
            None => {
                let zero = self.disk_has_time(access);
                return self.maintenance.step(zero);
            }
            Some(Job::Clear { segment, offset }) => return self.clear(access, segment, offset),
            Some(Job::Encode { pieces, writer, empty }) => self.encode(pieces, writer, empty),
            Some(Job::Publish { writer, empty }) => self.publish(access, writer, empty),
        };
        self.lost_image |= outcome.is_err();
        outcome
    }

    /// Whether the log grows slowly enough to leave the disk to zeros.
    fn disk_has_time(&mut self, access: &mut impl Access<D>) -> bool {
        let (bytes, now) = access.with(|driver, now| (driver.log.appended_bytes(), now));
        let (since, millis) = (bytes - self.seen_bytes, now.since(self.seen_at).as_millis());
        // Too short a time says nothing; the last answer stands.
        if millis >= 10 {
            self.slow = u128::from(since) * 1000 < u128::from(ZERO_BELOW) * millis;
            (self.seen_bytes, self.seen_at) = (bytes, now);
        }
        self.slow
    }

    /// Makes a checkpoint now, whatever is due, and publishes it if the log is safe that far.
    ///
    /// # Errors
    /// The disk refused; the checkpoints before stand.
    pub fn checkpoint(&mut self, access: &mut impl Access<D>) -> Result<(), WalError> {
        while !matches!(self.job, None | Some(Job::Clear { .. })) {
            if self.step(access)? == Step::Idle {
                return Ok(());
            }
        }
        self.job = Some(self.begin_checkpoint(access)?);
        while self.job.is_some() {
            if self.step(access)? == Step::Idle {
                return Ok(());
            }
        }
        Ok(())
    }

    fn next_job(&mut self, access: &mut impl Access<D>) -> Result<Option<Job<D>>, WalError> {
        let upkeep = self.upkeep;
        let (imaged_bytes, imaged_at) = (self.imaged_bytes, self.imaged_at);
        let lowest = upkeep.replay_max / 4;
        let trigger = (3 * self.last_image_bytes).clamp(lowest, upkeep.replay_max / 2);
        let (due, sparse) = access.with(|driver, now| {
            let since = driver.log.appended_bytes() - imaged_bytes;
            let overdue = since > 0 && now.since(imaged_at) >= upkeep.checkpoint_interval;
            let sparse = driver.sparse_segment(upkeep.segment_bytes);
            (since >= trigger || overdue, sparse)
        });
        if due {
            return self.begin_checkpoint(access).map(Some);
        }
        let segment = sparse.and_then(|segment| self.reader.pin(segment));
        Ok(segment.map(|segment| Job::Clear { segment, offset: Pinned::<D>::START }))
    }

    fn begin_checkpoint(&mut self, access: &mut impl Access<D>) -> Result<Job<D>, WalError> {
        let lost_image = std::mem::replace(&mut self.lost_image, true);
        let ((pieces, position, empty), bytes, now) = access.with(|driver, now| {
            if lost_image {
                driver.engine.forget_image();
            }
            (driver.take_image(), driver.log.appended_bytes(), now)
        });
        let mut writer = self.checkpoints.begin(position)?;
        if lost_image {
            writer.clear();
        }
        self.lost_image = false;
        (self.imaged_bytes, self.imaged_at) = (bytes, now);
        Ok(Job::Encode { pieces: pieces.into(), writer, empty })
    }

    fn encode(
        &mut self,
        mut pieces: VecDeque<Piece>,
        mut writer: CheckpointWriter<D>,
        empty: Vec<u32>,
    ) -> Result<Step, WalError> {
        let begun = writer.bytes();
        while writer.bytes() - begun < ENCODE_STEP {
            let Some(piece) = pieces.pop_front() else {
                self.job = Some(Job::Publish { writer, empty });
                return Ok(Step::More);
            };
            self.buffer.clear();
            if piece.encode(&mut self.buffer) {
                writer.put(piece.key(), &self.buffer)?;
            } else {
                writer.remove(&piece.key());
            }
        }
        self.job = Some(Job::Encode { pieces, writer, empty });
        Ok(Step::More)
    }

    fn publish(
        &mut self,
        access: &mut impl Access<D>,
        writer: CheckpointWriter<D>,
        empty: Vec<u32>,
    ) -> Result<Step, WalError> {
        let last = Sequence(writer.position().next.0 - 1);
        let (synced, now) = access.with(|driver, now| (driver.log.synced(), now));
        if synced < last {
            // The driver has been told that somebody waits for it.
            self.job = Some(Job::Publish { writer, empty });
            return Ok(Step::Idle);
        }
        self.last_image_bytes = writer.bytes();
        self.checkpoints.publish(writer, synced, now.as_millis())?;
        self.empty.push_back(empty);
        if self.empty.len() > 2 {
            self.empty.pop_front();
        }
        if let (Some(covered), 2) = (self.checkpoints.covered_by_both(), self.empty.len()) {
            let empty = self.empty.front().cloned().unwrap_or_default();
            access.with(|driver, _| {
                for segment in empty.into_iter().filter(|segment| *segment < covered.segment) {
                    driver.log.retire(segment);
                }
            });
        }
        Ok(Step::More)
    }

    /// Moves a bounded part of a segment's live bodies.
    fn clear(
        &mut self,
        access: &mut impl Access<D>,
        segment: Pinned<D>,
        mut offset: u32,
    ) -> Result<Step, WalError> {
        let mut found: Vec<(Vec<Target>, u64, Vec<u8>)> = Vec::new();
        let mut bytes = 0;
        let mut more = true;
        while more && bytes < MOVE_STEP {
            let next = segment.bodies(offset, |sequence, head, body| {
                if let Ok(Record::Published { targets, .. } | Record::Moved { targets, .. }) =
                    Record::decode(head)
                {
                    bytes += body.len();
                    found.push((targets.into_owned(), sequence.0, body.to_vec()));
                }
            });
            match next {
                Ok(Some(next)) => offset = next,
                // What can't be read can't be moved; its readers find that out by themselves.
                Ok(None) | Err(_) => more = false,
            }
        }
        access.with(|driver, now| {
            for (targets, from, body) in &found {
                let moved = driver.turn(now, Input::Move { targets, from: *from, body });
                if moved.is_err() {
                    break;
                }
            }
        });
        if more {
            self.job = Some(Job::Clear { segment, offset });
        }
        Ok(Step::More)
    }
}
