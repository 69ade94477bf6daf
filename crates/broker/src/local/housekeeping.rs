//! Background work, in bounded steps: checkpoints, moving bodies out of sparse segments, retiring
//! empty ones, preparing the next.
//!
//! A thread calls [`Housekeeper::step`] again and again, or a simulator does at random. It holds
//! the driver only for moments, through [`Access`]; all I/O happens outside.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use sluice_engine::Piece;
use sluice_model::Timestamp;
use sluice_wal::{
    CheckpointWriter, Checkpoints, Disk, Maintenance, Pinned, Plan, Prepare, Reader, Refill,
    Sequence, Step, WalError,
};

use crate::local::backup::{BackupDesk, Backups};
use crate::local::clearing::{Clearing, Found};
use crate::local::driver::Driver;

/// Bytes of image that one step encodes.
const ENCODE_STEP: u64 = 1 << 20;
/// Most bytes of a segment that one step clears.
const CLEAR_STEP: u64 = 2 << 20;
/// The log writes so many times what images write.
const IMAGE_SHARE: u64 = 3;

/// With so many segments of files above twice what lives in them nothing rests that gives some
/// back, and publishes are held to its pace. It is one less than allowed: a segment begun counts as
/// a whole one.
const CROWDED: u64 = 3;
/// While files are crowded publishes may grow the log by this part of what a step clears: even
/// segments half of which lives are then cleared and gone before the newest one is full.
const PACE_PART: u64 = 8;

/// Bytes a second that the log may grow by while segments are still zeroed beforehand: above it the
/// zeros would take from the commits more than they save them.
const ZERO_BELOW: u64 = 32 << 20;

/// How often the disk is asked for its free space.
const LOOK: Duration = Duration::from_millis(200);
/// How long after a checkpoint another one is made to free segments of a disk that is low, and one
/// is tried again that found no space.
const CHECKPOINT_PAUSE: Duration = Duration::from_secs(1);

/// A way to the driver that the caller shares with others.
pub trait Access<D: Disk> {
    /// Does something with the driver, now and for a moment.
    fn with<R>(&mut self, work: impl FnOnce(&mut Driver<D>, Timestamp) -> R) -> R;
}

/// When checkpoints are made and segments cleared.
///
/// Images stay below a third of the log while an image of what changes in half of `replay_max`
/// takes at most a sixth of it: about 700 queues that each get a message while more than a few
/// wait in them, by default. The log
/// stays below twice the live bytes and four segments while `replay_max` is at most half a
/// segment, because a segment goes two checkpoints after it was emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upkeep {
    /// Most bytes of records that a start has to replay.
    pub replay_max: u64,
    /// A checkpoint is made at least so often, if there was anything since the last.
    pub checkpoint_interval: Duration,
    /// Bytes of a segment file.
    pub segment_bytes: u64,
    /// A backup leaves so many bytes free where it goes, or an eighth of that disk.
    pub disk_low: u64,
}

/// When [`Housekeeper::step`] has something to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// Nothing is left for a while.
    Later,
    /// A checkpoint waits for the next sync of the log.
    AfterSync,
    /// There is more.
    Soon,
}

impl From<Step> for NextStep {
    fn from(step: Step) -> Self {
        match step {
            Step::Idle => Self::Later,
            Step::More => Self::Soon,
        }
    }
}

/// A checkpoint on its way: its pieces are taken and written, then it waits until the log is safe up
/// to its moment.
struct Image<D: Disk> {
    /// Those that were taken and not written.
    pieces: VecDeque<Piece>,
    /// The engine has more of them.
    more: bool,
    writer: CheckpointWriter<D>,
    /// Segments that held nothing alive at its moment.
    empty: Vec<u32>,
    /// Bytes that had been appended at its moment.
    appended: u64,
}

/// Does the background work of one driver.
pub struct Housekeeper<D: Disk> {
    upkeep: Upkeep,
    checkpoints: Checkpoints<D>,
    maintenance: Maintenance<D>,
    reader: Reader<D>,
    image: Option<Image<D>>,
    imaging: bool,
    backups: Backups<D>,
    clearing: Option<Clearing<D>>,
    /// The files are about to outgrow their bound.
    crowded: bool,
    /// Publishes are allowed only so far until the next step.
    paced: bool,
    found: Found,
    /// Segments that were read through and not emptied: something in them can't be read.
    passed: BTreeSet<u32>,
    /// Bytes that had been appended when the last image was taken, and when that was.
    imaged_bytes: u64,
    imaged_at: Timestamp,
    /// What the last checkpoint took, with its manifest and what it moved.
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
    /// When the disk was last asked for its space, and what came of it.
    looked_at: Option<Timestamp>,
    low: bool,
    /// No checkpoint before: the last one found no space.
    image_from: Option<Timestamp>,
}

impl<D: Disk> Housekeeper<D> {
    /// The background work of `driver`, whose log these checkpoints belong to. `empty` are the
    /// segments in which nothing lived at the newest of them.
    pub fn new(
        driver: &Driver<D>,
        checkpoints: Checkpoints<D>,
        empty: Option<Vec<u32>>,
        upkeep: Upkeep,
    ) -> Self {
        Self {
            upkeep,
            checkpoints,
            maintenance: driver.log.maintenance(),
            reader: driver.log.reader(),
            image: None,
            imaging: false,
            backups: Backups::new(upkeep.disk_low),
            clearing: None,
            crowded: false,
            paced: false,
            found: Found::default(),
            passed: BTreeSet::new(),
            imaged_bytes: 0,
            imaged_at: Timestamp::EPOCH,
            last_image_bytes: 0,
            empty: empty.into_iter().collect(),
            buffer: Vec::new(),
            seen_bytes: 0,
            seen_at: Timestamp::EPOCH,
            slow: true,
            lost_image: false,
            looked_at: None,
            low: false,
            image_from: None,
        }
    }

    /// Sets aside what there is space for, and tells the driver how much room there is.
    pub(crate) fn set_aside(
        &mut self,
        driver: &mut Driver<D>,
        now: Timestamp,
    ) -> Result<(), WalError> {
        loop {
            let refill = self.maintenance.refill(self.plan())?;
            if refill != Refill::Stepped {
                driver.disk_seen(now, self.maintenance.space()?, refill == Refill::Whole);
                self.looked_at = Some(now);
                self.low = driver.room.is_low();
                return Ok(());
            }
        }
    }

    /// What the reserve is sized by: between two checkpoints an image grows by less than half of
    /// what may be replayed. Powers of two, so that its files are not made anew all the time.
    fn plan(&self) -> Plan {
        let (image, manifest) = self.checkpoints.whole_bytes();
        let image = image + image / 4 + self.upkeep.replay_max / 2;
        // A chunk of the image takes 40 bytes of records at least, and a bit of the manifest's that
        // its pack's place makes a few of.
        let manifest = 2 * manifest + (4 << 10) + self.upkeep.replay_max / 256;
        Plan {
            image_bytes: image.next_power_of_two(),
            manifest_bytes: manifest.next_power_of_two(),
        }
    }

    /// Asks the disk for its free space if it is time, and sets aside what is missing. True if
    /// there is more to set aside now.
    fn look(&mut self, access: &mut impl Access<D>) -> Result<bool, WalError> {
        let (now, waited_for) = access.with(|driver, now| (now, driver.replay.is_waited_for()));
        // What is set aside takes time that those who wait for a checkpoint do not have.
        if waited_for || self.looked_at.is_some_and(|at| now.since(at) < LOOK) {
            return Ok(false);
        }
        let refill = self.maintenance.refill(self.plan())?;
        let space = self.maintenance.space()?;
        if refill == Refill::Stepped {
            return Ok(true);
        }
        self.looked_at = Some(now);
        let low = access.with(|driver, now| {
            driver.disk_seen(now, space, refill == Refill::Whole);
            driver.room.is_low()
        });
        if std::mem::replace(&mut self.low, low) && !low {
            self.image_from = None;
        }
        Ok(false)
    }

    /// Bytes written for checkpoints since the start.
    pub fn checkpoint_bytes(&self) -> u64 {
        self.checkpoints.written_bytes()
    }

    /// Whether the last step was about a checkpoint.
    pub fn is_imaging(&self) -> bool {
        self.imaging
    }

    /// Whether there is no time to rest: publishes may wait for a checkpoint, or the files are about
    /// to outgrow their bound.
    pub fn is_pressed(&self) -> bool {
        self.imaging || self.crowded
    }

    /// Where backups are asked for.
    pub fn backup_desk(&self) -> Arc<BackupDesk<D>> {
        Arc::clone(&self.backups.desk)
    }

    /// Whether the last step was about a backup.
    pub fn is_copying(&self) -> bool {
        !self.imaging && self.backups.had_turn()
    }

    /// Does a bounded part of what there is to do. Checkpoints go first: publishes may wait for
    /// them.
    ///
    /// # Errors
    /// The disk refused, for another reason than that it is full. What was begun is given up and
    /// tried again later; the log goes on.
    pub fn step(&mut self, access: &mut impl Access<D>) -> Result<NextStep, WalError> {
        let outcome = match self.look(access) {
            Ok(false) => self.work(access),
            looked => looked.map(|_| NextStep::Soon),
        };
        match outcome {
            Ok(NextStep::Soon) if self.crowded => {
                self.pace(access, Some(self.clear_step() / PACE_PART));
            }
            // Those who are held wait for the sync as well.
            Ok(NextStep::AfterSync) if self.crowded => {}
            // Nobody waits for a step that does not come.
            _ => self.pace(access, None),
        }
        match outcome {
            Err(error) if error.is_no_space() => {
                tracing::debug!(%error, "no space for background work");
                access.with(|driver, now| driver.met_full(now));
                self.low = true;
                Ok(NextStep::Later)
            }
            other => other,
        }
    }

    /// Lets publishes append so many bytes until the next step; without a bound with none.
    fn pace(&mut self, access: &mut impl Access<D>, allowed: Option<u64>) {
        if self.paced || allowed.is_some() {
            self.paced = allowed.is_some();
            access.with(|driver, _| driver.allow(allowed));
        }
    }

    fn work(&mut self, access: &mut impl Access<D>) -> Result<NextStep, WalError> {
        self.imaging = self.image.is_some() || self.checkpoint_is_due(access);
        if self.imaging {
            let outcome = self.image_step(access);
            if let Err(error) = &outcome {
                self.lost_image = true;
                let full = error.is_no_space();
                let now = access.with(|driver, now| {
                    // Whoever waits is told why.
                    if full {
                        driver.met_full(now);
                    }
                    driver.replay.fail();
                    now
                });
                self.image_from = full.then(|| now.after(CHECKPOINT_PAUSE));
            }
            return outcome;
        }
        if self.backups.step(access, &mut self.checkpoints) {
            return Ok(NextStep::Soon);
        }
        let outcome = self.keep_in_order(access)?;
        Ok(if self.backups.is_busy() { NextStep::Soon } else { outcome })
    }

    /// Looks after the segments.
    fn keep_in_order(&mut self, access: &mut impl Access<D>) -> Result<NextStep, WalError> {
        // Removing what is empty and preparing what is next cost little, and clearing looks at
        // how large the log is.
        let moves = access.with(|driver, _| driver.room.moves());
        let space = if self.crowded { Prepare::Nothing } else { Prepare::Space };
        if self.clearing.is_none() || !moves {
            if self.maintenance.step(space)? == Step::More {
                return Ok(NextStep::Soon);
            }
            if moves {
                self.clearing = self.next_clearing(access);
            }
        }
        match self.clearing.take_if(|_| moves) {
            Some(clearing) => Ok(self.clear(access, clearing)),
            None => {
                // A log that is busy goes on into space that is only reserved.
                let zeros = !self.crowded && self.disk_has_time(access);
                let prepare = if zeros { Prepare::Zeros } else { space };
                self.maintenance.step(prepare).map(NextStep::from)
            }
        }
    }

    fn image_step(&mut self, access: &mut impl Access<D>) -> Result<NextStep, WalError> {
        let image = match self.image.take() {
            Some(image) => image,
            None => self.begin_checkpoint(access)?,
        };
        if image.more || !image.pieces.is_empty() {
            return self.encode(access, image);
        }
        self.publish(access, image)
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
        // One that has begun holds less than what is there now.
        for _ in 0..1 + u32::from(self.image.is_some()) {
            loop {
                if self.image_step(access)? == NextStep::AfterSync {
                    return Ok(());
                }
                if self.image.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Whether it is time: the log has written three times what the last image took, and either
    /// enough for an image that pays or nothing for long; or replay comes near its bound; or the disk
    /// is low or the files are about to outgrow their bound, and segments can go once checkpoints
    /// cover what emptied them. Notes whether they are.
    fn checkpoint_is_due(&mut self, access: &mut impl Access<D>) -> bool {
        let checkpoint_interval = self.upkeep.checkpoint_interval;
        let low = self.low;
        let crowded_at = CROWDED * self.upkeep.segment_bytes;
        let (appended, pressing, crowded, frees, now) = access.with(|driver, now| {
            let appended = driver.log.appended_bytes();
            let crowded = driver.surplus_bytes() > crowded_at;
            let frees = (low || crowded) && driver.has_empty_segment();
            (appended, driver.replay.is_pressing(appended), crowded, frees, now)
        });
        self.crowded = crowded;
        if self.image_from.is_some_and(|from| now < from) {
            return false;
        }
        let since = appended - self.imaged_bytes;
        let affordable = since >= IMAGE_SHARE * self.last_image_bytes;
        let rested = now.since(self.imaged_at) >= CHECKPOINT_PAUSE;
        let frees = frees && (low && rested || crowded && affordable);
        let overdue = since > 0 && now.since(self.imaged_at) >= checkpoint_interval;
        // A backup needs one to begin with.
        let missing = self.backups.is_busy() && self.checkpoints.position().is_none();
        missing || pressing || frees || affordable && (since >= self.enough() || overdue)
    }

    /// Bytes of the log for which an image pays.
    fn enough(&self) -> u64 {
        self.upkeep.replay_max.min(self.upkeep.segment_bytes) / 4
    }

    /// How many bytes appended call for the next checkpoint, if time does not.
    pub(crate) fn checkpoint_at(&self, driver: &Driver<D>) -> u64 {
        let pays = self.imaged_bytes + self.enough().max(IMAGE_SHARE * self.last_image_bytes);
        pays.min(driver.replay.pressing_at())
    }

    fn next_clearing(&self, access: &mut impl Access<D>) -> Option<Clearing<D>> {
        let segment_bytes = self.upkeep.segment_bytes;
        let number = access.with(|driver, _| driver.sparse_segment(segment_bytes, &self.passed))?;
        let segment = self.reader.pin(number)?;
        Some(Clearing { number, segment, offset: Pinned::<D>::START })
    }

    fn begin_checkpoint(&mut self, access: &mut impl Access<D>) -> Result<Image<D>, WalError> {
        let lost_image = std::mem::replace(&mut self.lost_image, true);
        let ((pieces, position, empty), appended, now) = access.with(|driver, now| {
            if lost_image {
                driver.engine.forget_image();
            }
            (driver.begin_image(), driver.log.appended_bytes(), now)
        });
        let writer = match lost_image {
            true => self.checkpoints.begin_anew(position)?,
            false => self.checkpoints.begin(position)?,
        };
        if writer.is_reserved() {
            // Nobody waits until that is written to be told that there is no room.
            access.with(|driver, now| driver.met_full(now));
            self.low = true;
        }
        self.lost_image = false;
        (self.imaged_bytes, self.imaged_at) = (appended, now);
        Ok(Image { pieces: pieces.into(), more: true, writer, empty, appended })
    }

    /// Takes the next slice of an image and writes a bounded part of what was taken. An image of few
    /// queues is one step: publishes may wait for it.
    fn encode(
        &mut self,
        access: &mut impl Access<D>,
        mut image: Image<D>,
    ) -> Result<NextStep, WalError> {
        if image.more {
            let mut slice = Vec::new();
            image.more = access.with(|driver, _| driver.engine.image_slice(&mut slice));
            image.pieces.extend(slice);
        }
        let begun = image.writer.bytes();
        while image.writer.bytes() - begun < ENCODE_STEP {
            let Some(piece) = image.pieces.pop_front() else { break };
            self.buffer.clear();
            if piece.encode(&mut self.buffer) {
                image.writer.put(piece.key(), &self.buffer)?;
            } else {
                image.writer.remove(&piece.key());
            }
        }
        self.image = Some(image);
        Ok(NextStep::Soon)
    }

    fn publish(
        &mut self,
        access: &mut impl Access<D>,
        image: Image<D>,
    ) -> Result<NextStep, WalError> {
        let last = Sequence(image.writer.position().next.0 - 1);
        let (synced, now) = access.with(|driver, now| (driver.log.synced(), now));
        if synced < last {
            // The driver has been told that somebody waits for it.
            self.image = Some(image);
            return Ok(NextStep::AfterSync);
        }
        let Image { writer, empty, appended, .. } = image;
        let before = self.checkpoints.written_bytes();
        self.checkpoints.publish(writer, synced, now.as_millis())?;
        self.last_image_bytes = self.checkpoints.written_bytes() - before;
        self.empty.push_back(empty);
        if self.empty.len() > 2 {
            self.empty.pop_front();
        }
        let retired: Vec<u32> = match (self.checkpoints.covered_by_both(), self.empty.len()) {
            (Some(covered), 2) => {
                let empty = self.empty.front().cloned().unwrap_or_default();
                empty.into_iter().filter(|segment| *segment < covered.segment).collect()
            }
            _ => Vec::new(),
        };
        for segment in &retired {
            self.passed.remove(segment);
        }
        let bytes = self.last_image_bytes;
        access.with(|driver, now| {
            driver.image_published(now, appended, bytes);
            for segment in retired {
                driver.log.retire(segment);
            }
        });
        Ok(NextStep::Soon)
    }

    /// Bytes of a segment that one step clears.
    fn clear_step(&self) -> u64 {
        // Copies are records to replay, too.
        (self.upkeep.replay_max / 16).min(CLEAR_STEP)
    }

    /// Moves the live bodies of a bounded part of a segment.
    fn clear(&mut self, access: &mut impl Access<D>, mut clearing: Clearing<D>) -> NextStep {
        let next = self.found.read(&clearing.segment, clearing.offset, self.clear_step());
        let mut left = &self.found.bodies[..];
        while !left.is_empty() {
            left = access.with(|driver, now| self.found.move_some(left, driver, now));
        }
        match next {
            Some(next) => {
                clearing.offset = next;
                self.clearing = Some(clearing);
            }
            None => {
                self.passed.insert(clearing.number);
            }
        }
        NextStep::Soon
    }
}
