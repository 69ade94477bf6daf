//! Makes a backup beside a log that serves, in bounded steps.
//!
//! ```text
//! begin --> measure, one segment a step --> image --> segments --> manifest, rename --> done
//!            '-- too little room: refused      '-- damaged: skipped, if nobody needs it
//! ```
//!
//! Every byte that is copied is checked on its way: a backup of something damaged is none. But what
//! is damaged under the checkpoint may hold nothing that a message needs; whoever knows what records
//! mean says so, and a frame that stands for lost records takes its place. A step writes about 1 MiB and syncs it, so that commits never wait behind what a backup has piled up.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::backup::manifest::{BackupManifest, MANIFEST};
use crate::backup::out::OutFile;
use crate::backup::shelf::{PARTIAL, Shelf};
use crate::backup::walk::Walk;
use crate::backup::{BackupError, Gap, manifest::Listed};
use crate::checkpoint::{ChunkKey, FOLDER, Held, ImageCopy};
use crate::disk::{Disk, DiskFile};
use crate::error::WalError;
use crate::format::{
    FORMAT_MAJOR, FRAME_HEADER, HeaderError, Position, SEGMENT_HEADER, SegmentHeader, Sequence,
    segment_name,
};
use crate::history::{Entry, Window, damaged, is_zero};
use crate::log::Mark;
use crate::store::Segment;

/// Bytes that a step writes, about.
const STEP: usize = 1 << 20;
/// Bytes behind the frames of a segment that a step looks through.
const LOOK: usize = 8 << 20;

/// How far a backup is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupStep {
    /// Call again.
    More,
    /// A part of the log under the checkpoint is damaged. If nothing in it is needed, call
    /// [`Backup::skip`] and go on; otherwise there is no backup.
    Damaged(Gap),
    /// It is whole and safe.
    Done(BackupManifest),
}

/// A backup that is being made. Dropped before it is done it leaves only what the next one removes.
#[derive(Debug)]
pub struct Backup<D: Disk> {
    shelf: D,
    name: String,
    log_id: u64,
    created_ms: u64,
    position: Position,
    /// Where replay starts from the checkpoint: from there on every record has to be there.
    covered: Position,
    /// Those that are not measured yet, and those that are with where their frames end.
    unmeasured: VecDeque<Arc<Segment<D::File>>>,
    segments: VecDeque<(Arc<Segment<D::File>>, u32)>,
    /// Keeps the checkpoint readable.
    held: Held<D>,
    image: Option<(ImageCopy<D>, OutFile<D::File>)>,
    copying: Option<SegmentCopy<D::File>>,
    /// The record that the next segment begins with.
    next: Option<Sequence>,
    /// What was found damaged and is to be skipped, and what was.
    gap: Option<Gap>,
    skipped: Vec<Gap>,
    files: Vec<Listed>,
    /// As little as this stays free, or an eighth of the disk where that is less.
    disk_low: u64,
    total: u64,
    done: u64,
    buffer: Vec<u8>,
}

/// One segment on its way.
#[derive(Debug)]
struct SegmentCopy<F> {
    /// Keeps it from being removed.
    _segment: Arc<Segment<F>>,
    entry: Entry<F>,
    /// Records before a cut that made the rest of it void.
    cut_at: Option<Sequence>,
    out: OutFile<F>,
    window: Window,
    walk: Walk,
    /// The frames are copied, and behind them zeros were found up to here.
    looked: Option<u64>,
}

impl<D: Disk> Backup<D> {
    /// Begins a backup of the log that `mark` and `held` are of, in the directory of `shelf`; what
    /// another one left unfinished there is removed. The log is safe up to the mark, and the
    /// checkpoint is not behind it. `time_ms` is the clock; what is made leaves `disk_low` bytes
    /// free, or an eighth of the disk.
    ///
    /// # Errors
    /// The disk refused.
    ///
    /// # Panics
    /// If the checkpoint is behind the mark.
    pub fn begin(
        shelf: D,
        mut mark: Mark<D>,
        held: Held<D>,
        time_ms: u64,
        disk_low: u64,
    ) -> Result<Self, BackupError> {
        let position = mark.position();
        let covered = held.position();
        assert!(covered.next <= position.next, "a checkpoint holds nothing that comes later");
        mark.pin_begun();
        let names = Shelf::new(shelf.clone());
        names.remove_partial()?;
        let name = names.free_name(time_ms, position.next.0 - 1)?;
        let total = held.bytes();
        let log_id = held.log_id();
        let image = held.clone().copy();
        let out = OutFile::create(&shelf, &format!("{name}{PARTIAL}"), &image.image_path())?;
        Ok(Self {
            shelf,
            name,
            log_id,
            created_ms: time_ms,
            position,
            covered,
            unmeasured: mark.segments.into(),
            segments: VecDeque::new(),
            held,
            image: Some((image, out)),
            copying: None,
            next: None,
            gap: None,
            skipped: Vec::new(),
            files: Vec::new(),
            disk_low,
            total,
            done: 0,
            buffer: Vec::new(),
        })
    }

    /// What it is going to be called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes copied, and bytes in all as far as is known.
    pub fn progress(&self) -> (u64, u64) {
        (self.done, self.total)
    }

    /// Visits every chunk of its checkpoint, in the order of the keys.
    ///
    /// # Errors
    /// The disk refused, or `visit` did.
    pub fn images<E: From<WalError>>(
        &self,
        visit: impl FnMut(&ChunkKey, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.held.for_each(visit)
    }

    /// Leaves out what the last step found damaged; the manifest names it.
    ///
    /// # Errors
    /// The disk refused, or what is damaged has no place for a frame.
    pub fn skip(&mut self) -> Result<(), BackupError> {
        if let Some(gap) = self.gap.take() {
            self.fill(&gap)?;
            self.skipped.push(gap);
        }
        Ok(())
    }

    /// Does a bounded part of it. Blocks the thread.
    ///
    /// # Errors
    /// The disk refused, there is too little room, or something in the log is damaged. It can't go
    /// on then.
    pub fn step(&mut self) -> Result<BackupStep, BackupError> {
        if let Some(gap) = &self.gap {
            return Err(broken(gap).into());
        }
        if let Some(segment) = self.unmeasured.pop_front() {
            self.measure(segment)?;
            if self.unmeasured.is_empty() {
                self.check_room()?;
            }
        } else if let Some(image) = self.image.take() {
            self.copy_image(image)?;
        } else if let Some(copying) = self.copying.take() {
            self.copy_frames(copying)?;
            if let Some(gap) = self.gap {
                return Ok(BackupStep::Damaged(gap));
            }
        } else if let Some((segment, end)) = self.segments.pop_front() {
            self.copying = Some(self.begin_segment(segment, end)?);
        } else {
            return Ok(BackupStep::Done(self.finish()?));
        }
        Ok(BackupStep::More)
    }

    /// Finds where the frames of a segment end, by their headers alone.
    fn measure(&mut self, segment: Arc<Segment<D::File>>) -> Result<(), WalError> {
        let entry = self.entry(&segment)?;
        let (mut walk, mut window) = (Walk::new(), Window::default());
        loop {
            while walk.skip(&entry, &mut window)? {}
            // What is damaged is looked at when its turn comes.
            let begun = u64::from(walk.offset);
            let clean =
                begun >= entry.limit || is_zero(window.read(&entry, begun, FRAME_HEADER)?);
            match walk.resume(&entry)?.filter(|_| !clean) {
                Some((offset, next)) => walk.jump(offset, next),
                None => break,
            }
        }
        self.total += u64::from(walk.offset);
        self.segments.push_back((segment, walk.offset));
        Ok(())
    }

    fn check_room(&self) -> Result<(), BackupError> {
        let space = self.shelf.space().map_err(WalError::io("measure", "the room for a backup"))?;
        let Some(space) = space else { return Ok(()) };
        let kept = space.low_mark(self.disk_low);
        if space.free.saturating_sub(kept) >= self.total {
            return Ok(());
        }
        Err(BackupError::Space { needed: self.total, free: space.free, kept })
    }

    /// A segment as far as it belongs to the backup.
    fn entry(&self, segment: &Segment<D::File>) -> Result<Entry<D::File>, WalError> {
        let name = segment_name(segment.number);
        let len = segment.file.size().map_err(WalError::io("measure", &*name))?;
        let mut bytes = [0; SEGMENT_HEADER as usize];
        let read = segment.file.read_at(0, &mut bytes).map_err(WalError::io("read", &*name))?;
        let header = match SegmentHeader::decode(&bytes[..read]) {
            Ok(header) if header.segment == segment.number => header,
            Err(HeaderError::Version(found)) => {
                return Err(WalError::Version { file: name, found, known: FORMAT_MAJOR });
            }
            _ => return Err(damaged(&name, 0, Sequence(0), "a damaged segment header")),
        };
        let here = self.position.segment == segment.number;
        let end = if here { self.position.offset.into() } else { len };
        let limit = segment.limit.min(end).min(len);
        Ok(Entry { header, file: Arc::clone(&segment.file), len, limit })
    }

    fn begin_segment(
        &mut self,
        segment: Arc<Segment<D::File>>,
        end: u32,
    ) -> Result<SegmentCopy<D::File>, WalError> {
        let entry = self.entry(&segment)?;
        let mut out = self.create(&segment_name(segment.number))?;
        out.reserve(end.into())?;
        out.write(&entry.header.encode())?;
        self.done += u64::from(SEGMENT_HEADER);
        // What a cut made void may be anything.
        let cut_at = self.cut_of(&segment);
        let (window, walk) = (Window::default(), Walk::new());
        Ok(SegmentCopy { _segment: segment, entry, cut_at, out, window, walk, looked: None })
    }

    /// The record at which a later segment goes on, if it cut this one.
    fn cut_of(&self, segment: &Segment<D::File>) -> Option<Sequence> {
        let cuts = self.segments.iter().filter_map(|(later, _)| later.cut);
        cuts.filter(|cut| cut.segment == segment.number).map(|cut| cut.next).min()
    }

    fn create(&self, path: &str) -> Result<OutFile<D::File>, WalError> {
        OutFile::create(&self.shelf, &format!("{}{PARTIAL}", self.name), path)
    }

    fn copy_image(&mut self, image: (ImageCopy<D>, OutFile<D::File>)) -> Result<(), WalError> {
        let (mut image, mut out) = image;
        self.buffer.clear();
        image.read(&mut self.buffer, STEP)?;
        if !self.buffer.is_empty() {
            out.write(&self.buffer)?;
            out.sync()?;
            self.done += self.buffer.len() as u64;
            self.image = Some((image, out));
            return Ok(());
        }
        self.files.push(out.finish()?);
        let mut out = self.create(&image.manifest_path())?;
        out.write(&image.manifest())?;
        self.files.push(out.finish()?);
        Ok(())
    }

    /// Copies the next frames of a segment, or looks at what is behind them.
    fn copy_frames(&mut self, mut copying: SegmentCopy<D::File>) -> Result<(), WalError> {
        let SegmentCopy { entry, out, window, walk, looked, .. } = &mut copying;
        if looked.is_none() {
            self.buffer.clear();
            while self.buffer.len() < STEP
                && let Some((_, frame)) = walk.frame(entry, window)?
            {
                self.buffer.extend_from_slice(frame);
            }
            if !self.buffer.is_empty() {
                out.write(&self.buffer)?;
                out.sync()?;
                self.done += self.buffer.len() as u64;
                self.copying = Some(copying);
                return Ok(());
            }
        }
        let from = copying.looked.unwrap_or(copying.walk.offset.into());
        let SegmentCopy { entry, window, looked, .. } = &mut copying;
        if from < entry.limit {
            let left = usize::try_from(entry.limit - from).unwrap_or(LOOK).min(LOOK);
            let bytes = window.read(entry, from, left)?;
            let bytes = &bytes[..bytes.len().min(left)];
            if is_zero(bytes) {
                *looked = Some(from + left as u64);
                self.copying = Some(copying);
                return Ok(());
            }
            return self.find_gap(copying);
        }
        self.continue_at(&copying)?;
        self.files.push(copying.out.finish()?);
        Ok(())
    }

    /// Measures what is no frame. If it is under the checkpoint, it may be skipped.
    fn find_gap(&mut self, copying: SegmentCopy<D::File>) -> Result<(), WalError> {
        let SegmentCopy { entry, cut_at, walk, .. } = &copying;
        let (end, next) = match walk.resume(entry)? {
            Some(found) => found,
            None => {
                let end = u32::try_from(entry.limit).unwrap_or(u32::MAX);
                (end, cut_at.map_or_else(|| self.goes_on_at(), Ok)?)
            }
        };
        let (segment, offset, first) = (entry.header.segment, walk.offset, walk.next);
        let gap = Gap { segment, offset, end, first, next };
        self.copying = Some(copying);
        match gap.next <= self.covered.next {
            _ if gap.is_empty() => self.fill(&gap),
            true => {
                self.gap = Some(gap);
                Ok(())
            }
            false => Err(broken(&gap)),
        }
    }

    /// The first record behind the segment that is being copied.
    fn goes_on_at(&self) -> Result<Sequence, WalError> {
        for (segment, _) in &self.segments {
            let (mut walk, entry) = (Walk::new(), self.entry(segment)?);
            walk.skip(&entry, &mut Window::default())?;
            if let Some(first) = walk.first {
                return Ok(first);
            }
        }
        Ok(self.position.next)
    }

    /// Writes a frame that stands for lost records in the place of what is damaged.
    fn fill(&mut self, gap: &Gap) -> Result<(), WalError> {
        let Some(SegmentCopy { entry, out, walk, looked, .. }) = &mut self.copying else {
            return Ok(());
        };
        let frame = walk.fill(entry, gap).ok_or_else(|| broken(gap))?;
        out.write(&frame)?;
        walk.jump(walk.offset, gap.next);
        // Behind the last one there is nothing to be copied.
        *looked = (u64::from(gap.end) >= entry.limit).then_some(entry.limit);
        Ok(())
    }

    /// Checks that a segment whose frames are copied goes on where the one before ended, and ends
    /// where it was cut.
    fn continue_at(&mut self, copying: &SegmentCopy<D::File>) -> Result<(), WalError> {
        let SegmentCopy { entry, cut_at, walk, .. } = copying;
        let number = entry.header.segment;
        let missing = |sequence: Sequence| {
            let what = "a damaged or missing frame";
            Err(damaged(&segment_name(number), walk.offset.into(), sequence, what))
        };
        let (Some(first), Some(next)) = (walk.first, walk.next) else { return Ok(()) };
        // Segments before the checkpoint may be gone.
        let dense = number > self.covered.segment;
        match self.next {
            Some(expected) if first < expected || dense && first != expected => {
                return missing(expected);
            }
            _ => {}
        }
        if cut_at.is_some_and(|cut| cut != next) && number >= self.covered.segment {
            return missing(next);
        }
        self.next = Some(next);
        Ok(())
    }

    /// Says what the backup holds, and gives it its name.
    fn finish(&mut self) -> Result<BackupManifest, WalError> {
        let next = self.next.unwrap_or(self.covered.next).max(self.covered.next);
        if next != self.position.next {
            let Position { segment, offset, .. } = self.position;
            let what = "a damaged or missing frame";
            return Err(damaged(&segment_name(segment), offset.into(), next, what));
        }
        let manifest = BackupManifest {
            name: self.name.clone(),
            log_id: self.log_id,
            created_ms: self.created_ms,
            position: self.position,
            skipped: std::mem::take(&mut self.skipped),
            files: std::mem::take(&mut self.files),
        };
        let mut out = self.create(MANIFEST)?;
        out.write(manifest.encode().as_bytes())?;
        out.finish()?;
        let partial = format!("{}{PARTIAL}", self.name);
        for folder in [&*format!("{partial}/{FOLDER}"), &*partial] {
            self.shelf.sync_folder(folder).map_err(WalError::io("sync", folder))?;
        }
        let rename = self.shelf.rename_folder(&partial, &self.name);
        rename.map_err(WalError::io("rename", &*partial))?;
        self.shelf.sync_folder("").map_err(WalError::io("sync the folder of", &*self.name))?;
        Ok(manifest)
    }
}

/// A backup that can't do without what is damaged.
fn broken(gap: &Gap) -> WalError {
    let name = segment_name(gap.segment);
    damaged(&name, gap.offset.into(), gap.first.unwrap_or_default(), "a damaged frame")
}
