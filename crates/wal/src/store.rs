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

use parking_lot::Mutex;

use crate::config::Config;
use crate::disk::{Disk, DiskFile};
use crate::error::WalError;
use crate::format::{Cut, SEGMENT_HEADER, SegmentHeader, Sequence, segment_name};

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
        Self { disk, config, log_id, recovery, making: Mutex::new(()), files: Mutex::new(files) }
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
        let segment = Arc::new(self.make(number, None, Sequence(0), |_| Ok(()))?);
        let mut files = self.files.lock();
        files.open.insert(number, Arc::clone(&segment));
        files.newest = number;
        Ok(segment)
    }

    fn begin_spare(&self, number: u32) -> Option<Arc<Segment<D::File>>> {
        let mut files = self.files.lock();
        let segment = files.spare.take_if(|spare| spare.segment.number == number)?.segment;
        files.open.insert(number, Arc::clone(&segment));
        files.newest = number;
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
        fill: impl FnOnce(&D::File) -> Result<(), WalError>,
    ) -> Result<Segment<D::File>, WalError> {
        let name = segment_name(number);
        let temporary = format!("{name}.tmp");
        let file = self.disk.create(&temporary).map_err(WalError::io("create", &*temporary))?;
        file.allocate(self.config.segment_bytes).map_err(WalError::io("allocate", &*temporary))?;
        let recovery = self.recovery;
        let header = SegmentHeader { log_id: self.log_id, segment: number, recovery, cut, safe };
        file.write_at(0, &header.encode()).map_err(WalError::io("write", &*temporary))?;
        fill(&file)?;
        file.sync().map_err(WalError::io("sync", &*temporary))?;
        self.disk.rename(&temporary, &name).map_err(WalError::io("rename", &*temporary))?;
        self.disk.sync_folder("").map_err(WalError::io("sync the folder of", &*name))?;
        Ok(Segment::new(&header, file, u64::MAX))
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
    /// one, or, if `zero` says so, writes zeros to a part of it.
    pub(crate) fn step(&self, zero: bool) -> Result<Step, WalError> {
        if let Some(segment) = self.take_retired() {
            return self.remove_or_keep(segment).map(|()| Step::More);
        }
        if self.files.lock().spare.is_none() {
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
            let segment = Arc::new(self.make(number, None, Sequence(0), |_| Ok(()))?);
            let zeroed = SEGMENT_HEADER.into();
            self.files.lock().spare = Some(Spare { segment, zeroed });
            return Ok(Step::More);
        }
        if zero { self.zero() } else { Ok(Step::Idle) }
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
            self.files.lock().spare.take_if(|spare| Arc::ptr_eq(&spare.segment, &segment));
            return Err(error);
        }
        Ok(Step::More)
    }

    /// Takes a retired segment that nobody reads and whose cut nothing needs.
    fn take_retired(&self) -> Option<Arc<Segment<D::File>>> {
        let mut files = self.files.lock();
        let at = files.retired.iter().position(|number| {
            files.open.get(number).is_none_or(|segment| {
                Arc::strong_count(segment) == 1 && !is_cut_needed(&files.open, segment)
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
        self.disk.remove(&name).map_err(WalError::io("remove", name))
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

/// Whether a segment before this one holds bytes that nothing else makes void.
fn is_cut_needed<F>(open: &BTreeMap<u32, Arc<Segment<F>>>, segment: &Segment<F>) -> bool {
    let Some(cut) = segment.cut else { return false };
    let covers = |other: Cut| (other.segment, other.offset) <= (cut.segment, cut.offset);
    open.range(cut.segment..segment.number).next().is_some()
        && !open.range(segment.number + 1..).any(|(_, later)| later.cut.is_some_and(covers))
}
