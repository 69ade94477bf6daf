//! The segments on disk: made, kept open, pinned by readers, removed.
//!
//! ```text
//! prepared (spare, zeroed bit by bit) --begun--> active --next begun--> sealed
//!                                                              |
//!                       removed <--unpinned-- retired <--owner-'
//! ```
//!
//! A segment is a file of its final length from the start: overwriting blocks that were written
//! once (zeros) commits about twice as fast as appending.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use parking_lot::Mutex;

use crate::config::Config;
use crate::disk::{Disk, DiskFile};
use crate::error::WalError;
use crate::format::{Cut, SEGMENT_HEADER, SegmentHeader, Sequence, segment_name};
use crate::reserve::{Plan, Refill, Reserve};

/// Bytes of zeros that one step of preparation writes.
const ZERO_STEP: usize = 1 << 20;

/// One file of the log. Whoever holds it can read it, even after it was removed.
#[derive(Debug)]
pub(crate) struct Segment<F> {
    pub(crate) number: u32,
    pub(crate) recovery: u32,
    pub(crate) file: Arc<F>,
    /// Bytes from here on are void; the largest number where nothing is.
    pub(crate) limit: u64,
    /// What it makes void in segments before it.
    pub(crate) cut: Option<Cut>,
    /// A sync has failed.
    failed: Mutex<bool>,
}

impl<F: DiskFile> Segment<F> {
    pub(crate) fn new(header: &SegmentHeader, file: Arc<F>, limit: u64) -> Self {
        let SegmentHeader { segment: number, recovery, cut, .. } = *header;
        Self { number, recovery, file, limit, cut, failed: Mutex::new(false) }
    }

    /// Makes what was written safe. Fails for good once it has failed: the kernel tells of a
    /// failure once, to whichever thread asks next, and that may be the one that writes zeros.
    pub(crate) fn sync(&self) -> Result<(), WalError> {
        let mut failed = self.failed.lock();
        let failure = match *failed {
            true => io::Error::other("an earlier sync failed"),
            false => match self.file.sync() {
                Ok(()) => return Ok(()),
                Err(error) => error,
            },
        };
        *failed = true;
        Err(WalError::io("sync", segment_name(self.number))(failure))
    }
}

/// The next segment, on its way to being ready.
#[derive(Debug)]
struct Spare<F> {
    segment: Arc<Segment<F>>,
    /// Bytes from the start that have been written once.
    zeroed: u64,
}

#[derive(Debug)]
struct Files<F> {
    open: BTreeMap<u32, Arc<Segment<F>>>,
    spare: Option<Spare<F>>,
    /// The number of the newest segment in use.
    newest: u32,
    retired: Vec<u32>,
}

/// The segments of one log. All its methods may be called from any thread.
#[derive(Debug)]
pub(crate) struct Store<D: Disk> {
    pub(crate) disk: D,
    pub(crate) config: Config,
    pub(crate) log_id: u64,
    /// Seeds frames of segments made from now on.
    pub(crate) recovery: u32,
    /// Held while a segment is made, so that no two threads make the same one.
    making: Mutex<()>,
    files: Mutex<Files<D::File>>,
    /// Space for when there is none; none where the disk has no bound.
    pub(crate) reserve: Option<Arc<Reserve<D>>>,
    /// The highest number of a segment that there is space for, whatever happens.
    assured: AtomicU32,
    /// A commit has met a full disk since somebody last asked.
    met_full: AtomicBool,
}

/// Where the space for a segment may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Only from what is free.
    Free,
    /// From the reserve if nothing is free.
    Reserve,
    /// Likewise, and from recovery's part first.
    Recovery,
}

/// How far the next segment is made ready before the log needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepare {
    /// Not at all.
    Nothing,
    /// Its space is reserved.
    Space,
    /// Its space is written once, a part a step: a disk that has the time for it now saves it when
    /// the log comes.
    Zeros,
}

/// Whether there is more background work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing to do until a segment is begun or retired.
    Idle,
    /// Call again.
    More,
}

impl<D: Disk> Store<D> {
    pub(crate) fn new(disk: D, config: Config, log_id: u64, recovery: u32, newest: u32) -> Self {
        let files = Files { open: BTreeMap::new(), spare: None, newest, retired: Vec::new() };
        Self {
            disk,
            config,
            log_id,
            recovery,
            making: Mutex::new(()),
            files: Mutex::new(files),
            reserve: None,
            assured: AtomicU32::new(u32::MAX),
            met_full: AtomicBool::new(false),
        }
    }

    /// Has it fall back on `reserve`.
    pub(crate) fn with_reserve(mut self, reserve: Option<Arc<Reserve<D>>>) -> Self {
        self.reserve = reserve;
        self.assure(&self.files.lock());
        self
    }

    /// Notes how far the log can go on whatever happens to the disk.
    fn assure(&self, files: &Files<D::File>) {
        let Some(reserve) = &self.reserve else { return };
        let assured = files.newest + u32::from(files.spare.is_some()) + reserve.segments();
        self.assured.store(assured, Ordering::Release);
    }

    /// The highest number of a segment that there is space for, whatever happens.
    pub(crate) fn assured(&self) -> u32 {
        self.assured.load(Ordering::Acquire)
    }

    /// Whether a commit has met a full disk since this was last asked.
    pub(crate) fn take_met_full(&self) -> bool {
        // A read alone costs those nothing who never meet one.
        self.met_full.load(Ordering::Acquire) && self.met_full.swap(false, Ordering::AcqRel)
    }

    /// Plans the reserve anew and does a step towards it.
    pub(crate) fn refill(&self, plan: Plan) -> Result<Refill, WalError> {
        let Some(reserve) = &self.reserve else { return Ok(Refill::Whole) };
        let space = self.disk.space().map_err(WalError::io("measure", "the disk"))?;
        let Some(space) = space else { return Ok(Refill::Whole) };
        reserve.plan(plan, space);
        let refilled = reserve.refill();
        self.assure(&self.files.lock());
        refilled
    }

    /// Adds a segment that is there.
    pub(crate) fn add(&self, segment: Segment<D::File>) {
        self.files.lock().open.insert(segment.number, Arc::new(segment));
    }

    /// The segment, for as long as the caller keeps it.
    pub(crate) fn pin(&self, number: u32) -> Option<Arc<Segment<D::File>>> {
        self.files.lock().open.get(&number).cloned()
    }

    /// Begins the segment after the newest: the spare, or one made on the spot.
    pub(crate) fn begin(&self, number: u32) -> Result<Arc<Segment<D::File>>, WalError> {
        if let Some(segment) = self.begin_spare(number) {
            return Ok(segment);
        }
        let _making = self.making.lock();
        // Another thread may just have finished making it.
        if let Some(segment) = self.begin_spare(number) {
            return Ok(segment);
        }
        let made = self.make(number, None, Sequence(0), Origin::Reserve, |_| Ok(()));
        if made.as_ref().is_err_and(WalError::is_no_space) {
            self.met_full.store(true, Ordering::Release);
        }
        let segment = Arc::new(made?);
        let mut files = self.files.lock();
        files.open.insert(number, Arc::clone(&segment));
        files.newest = number;
        self.assure(&files);
        Ok(segment)
    }

    fn begin_spare(&self, number: u32) -> Option<Arc<Segment<D::File>>> {
        let mut files = self.files.lock();
        let segment = files.spare.take_if(|spare| spare.segment.number == number)?.segment;
        files.open.insert(number, Arc::clone(&segment));
        files.newest = number;
        self.assure(&files);
        Some(segment)
    }

    /// Makes a segment: temporary file, header, space, what `fill` writes, sync, rename, sync of
    /// the folder. There is no such segment before the last step and a whole one after it; then
    /// records up to `safe` are safe.
    pub(crate) fn make(
        &self,
        number: u32,
        cut: Option<Cut>,
        safe: Sequence,
        from: Origin,
        fill: impl FnOnce(&D::File) -> Result<(), WalError>,
    ) -> Result<Segment<D::File>, WalError> {
        let name = segment_name(number);
        let temporary = format!("{name}.tmp");
        let file = self.find_space(&temporary, from)?;
        let recovery = self.recovery;
        let header = SegmentHeader { log_id: self.log_id, segment: number, recovery, cut, safe };
        file.write_at(0, &header.encode()).map_err(WalError::io("write", &*temporary))?;
        fill(&file)?;
        file.sync().map_err(WalError::io("sync", &*temporary))?;
        self.disk.rename(&temporary, &name).map_err(WalError::io("rename", &*temporary))?;
        self.disk.sync_folder("").map_err(WalError::io("sync the folder of", &*name))?;
        Ok(Segment::new(&header, file, u64::MAX))
    }

    /// A file of a segment's length that holds nothing: a new one, or one of the reserve's.
    fn find_space(&self, temporary: &str, from: Origin) -> Result<Arc<D::File>, WalError> {
        let full = match self.allocate(temporary) {
            Err(error) if error.is_no_space() => error,
            other => return other,
        };
        // Nothing that a refused allocation has got may be missing elsewhere.
        let _ = self.disk.remove(temporary);
        let _ = self.disk.sync_folder("");
        let Some(reserve) = self.reserve.as_ref().filter(|_| from != Origin::Free) else {
            return Err(full);
        };
        let found = reserve.take_segment(from == Origin::Recovery, temporary)?;
        self.met_full.store(true, Ordering::Release);
        self.assure(&self.files.lock());
        found.ok_or(full)
    }

    fn allocate(&self, temporary: &str) -> Result<Arc<D::File>, WalError> {
        let space = self.disk.space().map_err(WalError::io("measure", "the disk"))?;
        if space.is_some_and(|space| space.free < self.config.segment_bytes) {
            return Err(WalError::no_space(temporary));
        }
        let file = self.disk.create(temporary).map_err(WalError::io("create", temporary))?;
        let allocated = file.allocate(self.config.segment_bytes);
        allocated.map_err(WalError::io("allocate", temporary))?;
        Ok(file)
    }

    /// Notes that nothing in a segment is needed any more; once is enough.
    pub(crate) fn retire(&self, number: u32) {
        let mut files = self.files.lock();
        let known = files.open.contains_key(&number) && !files.retired.contains(&number);
        if number != files.newest && known {
            files.retired.push(number);
        }
    }

    /// Removes the retired segments that nothing needs. What can't be removed now is left to the
    /// background work.
    pub(crate) fn remove_void(&self) {
        while let Some(segment) = self.take_retired() {
            if self.remove_or_keep(segment).is_err() {
                return;
            }
        }
    }

    fn remove_or_keep(&self, segment: Arc<Segment<D::File>>) -> Result<(), WalError> {
        let removed = self.remove(&segment);
        if removed.is_err() {
            let mut files = self.files.lock();
            files.retired.push(segment.number);
            files.open.insert(segment.number, segment);
        }
        removed
    }

    /// Does a bounded part of the background work: removes one retired segment, makes the next
    /// one, or writes zeros to a part of it.
    pub(crate) fn step(&self, prepare: Prepare) -> Result<Step, WalError> {
        if let Some(segment) = self.take_retired() {
            return self.remove_or_keep(segment).map(|()| Step::More);
        }
        if prepare != Prepare::Nothing && self.files.lock().spare.is_none() {
            let _making = self.making.lock();
            // Only a holder of `making` begins a segment that is not the spare. Another thread
            // may just have made one: a second of that name would take the place of the first.
            let number = {
                let files = self.files.lock();
                if files.spare.is_some() {
                    return Ok(Step::More);
                }
                files.newest + 1
            };
            let segment = self.make(number, None, Sequence(0), Origin::Free, |_| Ok(()))?;
            let (segment, zeroed) = (Arc::new(segment), SEGMENT_HEADER.into());
            let mut files = self.files.lock();
            files.spare = Some(Spare { segment, zeroed });
            self.assure(&files);
            return Ok(Step::More);
        }
        if prepare == Prepare::Zeros { self.zero() } else { Ok(Step::Idle) }
    }

    /// Writes zeros to the next part of the spare.
    fn zero(&self) -> Result<Step, WalError> {
        let segment = {
            let mut files = self.files.lock();
            let Some(spare) = &mut files.spare else { return Ok(Step::More) };
            let left = self.config.segment_bytes.saturating_sub(spare.zeroed);
            if left == 0 {
                return Ok(Step::Idle);
            }
            let len = left.min(ZERO_STEP as u64) as usize;
            let zeros = vec![0; len];
            let name = segment_name(spare.segment.number);
            // Under the lock: once the log has taken the segment, not a byte may be zeroed.
            spare
                .segment
                .file
                .write_at(spare.zeroed, &zeros)
                .map_err(WalError::io("zero", name))?;
            spare.zeroed += len as u64;
            Arc::clone(&spare.segment)
        };
        // Synced as it goes, or the first commit in the segment would wait for all of it.
        if let Err(error) = segment.sync() {
            // While nobody has begun it another one can be made in its place.
            let mut files = self.files.lock();
            files.spare.take_if(|spare| Arc::ptr_eq(&spare.segment, &segment));
            self.assure(&files);
            return Err(error);
        }
        Ok(Step::More)
    }

    /// Takes a retired segment that nobody reads and whose cut nothing needs.
    fn take_retired(&self) -> Option<Arc<Segment<D::File>>> {
        let mut files = self.files.lock();
        let at = files.retired.iter().position(|number| {
            files.open.get(number).is_none_or(|segment| {
                Arc::strong_count(segment) == 1 && !files.needs_cut_of(segment)
            })
        })?;
        let number = files.retired.swap_remove(at);
        files.open.remove(&number)
    }

    fn remove(&self, segment: &Segment<D::File>) -> Result<(), WalError> {
        if segment.cut.is_some() {
            // What it has made void must be gone for good before it goes.
            self.disk.sync_folder("").map_err(WalError::io("sync", "the data directory"))?;
        }
        let name = segment_name(segment.number);
        self.disk.remove(&name).map_err(WalError::io("remove", &*name))?;
        if self.reserve.is_some() {
            // Only a removal that is safe is sure to have given its space back. That it is gone
            // stands whatever becomes of this.
            let _ = self.disk.sync_folder("");
        }
        Ok(())
    }

    /// Bytes of the files of the segments in use, the spare included.
    pub(crate) fn bytes(&self) -> u64 {
        let files = self.files.lock();
        let count = files.open.len() + usize::from(files.spare.is_some());
        count as u64 * self.config.segment_bytes
    }

    /// Numbers of the segments in use, oldest first.
    pub(crate) fn numbers(&self) -> Vec<u32> {
        let files = self.files.lock();
        files.open.keys().copied().filter(|number| !files.retired.contains(number)).collect()
    }
}

impl<F> Files<F> {
    /// Whether a segment before this one holds bytes that nothing else makes void. What is retired
    /// is read by nobody, not after a start either: replay begins behind it.
    fn needs_cut_of(&self, segment: &Segment<F>) -> bool {
        let Some(cut) = segment.cut else { return false };
        let covers = |other: Cut| (other.segment, other.offset) <= (cut.segment, cut.offset);
        let mut before = self.open.range(cut.segment..segment.number);
        let mut behind = self.open.range(segment.number + 1..);
        before.any(|(number, _)| !self.retired.contains(number))
            && !behind.any(|(_, later)| later.cut.is_some_and(covers))
    }
}
