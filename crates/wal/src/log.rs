//! The log as its owner sees it: append in memory, commit elsewhere, note the outcome.
//!
//! Where a record's body will lie is known when it is appended: a frame's place is decided when
//! it is begun, and a record that does not fit the segment begins the next one. So bodies can be
//! referred to before they are written, and one commit may hold several frames.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::commit::{Commit, Committed, Outcome, PendingFrame};
use crate::config::Config;
use crate::disk::{Disk, Space};
use crate::error::WalError;
use crate::format::{
    BODY_CHECKSUM, BodyRef, FRAME_HEADER, FrameKind, Position, RECORD_HEADER, SEGMENT_HEADER,
    Sequence, body_crc,
};
use crate::reader::Reader;
use crate::reserve::{Plan, Refill, ReserveStatus};
use crate::store::{Prepare, Segment, Step, Store};
use crate::sync_times::SyncTimes;

/// Bytes that the log adds to a record's head and body, at most.
pub const RECORD_OVERHEAD: usize = RECORD_HEADER + BODY_CHECKSUM;

/// What a record got: its number, and where its body lies if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The record's number.
    pub sequence: Sequence,
    /// The body's place; of length 0 without a body.
    pub body: BodyRef,
}

/// A write-ahead log of opaque records.
#[derive(Debug)]
pub struct Log<D: Disk> {
    store: Arc<Store<D>>,
    config: Config,
    /// The segment that the last commit ended in.
    active: Arc<Segment<D::File>>,
    frames: Frames,
    written: Sequence,
    synced: Sequence,
    /// Bytes appended since the log was opened, and of these how many commits have taken care of.
    appended: u64,
    settled: u64,
    /// Bytes of frames that commits have written since the log was opened.
    framed: u64,
    sync_times: SyncTimes,
    chain: u32,
    resident: Resident,
    committing: bool,
    /// The last commit found no space for all that it was to write.
    stalled: bool,
    poisoned: bool,
}

/// Frames that no commit has taken yet.
#[derive(Debug)]
struct Frames {
    segment: u32,
    /// Where the frame that is being filled begins.
    offset: u32,
    /// Its bytes, with room for its header.
    buffer: BytesMut,
    count: u32,
    /// The frame is not closed before the batch has ended.
    in_batch: bool,
    next: Sequence,
    closed: Vec<PendingFrame>,
    spare_buffer: Option<BytesMut>,
}

impl<D: Disk> Log<D> {
    /// A log that goes on at `position`, behind records that are all safe.
    pub(crate) fn at(
        store: Arc<Store<D>>,
        active: Arc<Segment<D::File>>,
        position: Position,
        chain: u32,
    ) -> Self {
        let config = store.config.clone();
        let last = Sequence(position.next.0 - 1);
        Self {
            frames: Frames {
                segment: position.segment,
                offset: position.offset,
                buffer: BytesMut::zeroed(FRAME_HEADER),
                count: 0,
                in_batch: false,
                next: position.next,
                closed: Vec::new(),
                spare_buffer: None,
            },
            written: last,
            synced: last,
            appended: 0,
            settled: 0,
            framed: 0,
            sync_times: SyncTimes::default(),
            chain,
            resident: Resident::new(config.resident_bytes),
            committing: false,
            stalled: false,
            poisoned: false,
            store,
            config,
            active,
        }
    }

    /// Appends a record in memory: `head` writes its head, `body` is put together from its parts.
    ///
    /// The caller has checked that the record is not larger than `record_max`.
    pub fn append(&mut self, head: impl FnOnce(&mut BytesMut), body: &[&[u8]]) -> Stamp {
        let body_len: usize = body.iter().map(|part| part.len()).sum();
        let frames = &mut self.frames;
        let start = frames.buffer.len();
        frames.buffer.put_u64_le(0);
        head(&mut frames.buffer);
        let head_len = frames.buffer.len() - start - RECORD_HEADER;
        let body_room = if body_len == 0 { 0 } else { BODY_CHECKSUM + body_len };
        let start = self.make_room(start, body_room);
        let frames = &mut self.frames;
        let sequence = frames.next;
        frames.next = Sequence(sequence.0 + 1);
        frames.count += 1;
        // Both lengths are bounded by `record_max`.
        frames.buffer[start..start + 4].copy_from_slice(&(head_len as u32).to_le_bytes());
        frames.buffer[start + 4..start + 8].copy_from_slice(&(body_len as u32).to_le_bytes());
        let offset = frames.offset + frames.buffer.len() as u32;
        let at = BodyRef { segment: frames.segment, offset, len: body_len as u32 };
        if body_len > 0 {
            frames.buffer.put_u32_le(body_crc(self.store.log_id, sequence, body));
            for part in body {
                frames.buffer.put_slice(part);
            }
        }
        let record_end = frames.buffer.len();
        self.appended += (record_end - start) as u64;
        if record_end > self.config.frame_bytes && !self.frames.in_batch {
            self.frames.close();
        }
        Stamp { sequence, body: if body_len > 0 { at } else { BodyRef::default() } }
    }

    /// Sees to it that the next records, of so many bytes together at most, share a frame: they
    /// survive together or not at all. The bytes count heads, bodies and [`RECORD_OVERHEAD`] a
    /// record; there may be so many that a segment holds nothing else.
    pub fn begin_batch(&mut self, bytes: usize) {
        let frames = &mut self.frames;
        let end = u64::from(frames.offset) + (frames.buffer.len() + bytes) as u64;
        if end + 2 * FRAME_HEADER as u64 > self.config.segment_bytes {
            frames.close();
            frames.segment += 1;
            frames.offset = SEGMENT_HEADER;
        }
        frames.in_batch = true;
    }

    /// Ends what [`Log::begin_batch`] began.
    pub fn end_batch(&mut self) {
        self.frames.in_batch = false;
        if self.frames.buffer.len() > self.config.frame_bytes {
            self.frames.close();
        }
    }

    /// Moves a record whose head begins at `start` of the buffer to a new segment, if it would
    /// not fit this one with `more` bytes. Gives where it begins now.
    fn make_room(&mut self, start: usize, more: usize) -> usize {
        let frames = &mut self.frames;
        let end = u64::from(frames.offset) + (frames.buffer.len() + more) as u64;
        // Room is left for a sync mark and a close mark, which never begin a segment.
        if end + 2 * FRAME_HEADER as u64 <= self.config.segment_bytes {
            return start;
        }
        let record = frames.buffer.split_off(start);
        frames.close();
        frames.segment += 1;
        frames.offset = SEGMENT_HEADER;
        frames.buffer.extend_from_slice(&record);
        FRAME_HEADER
    }

    /// Takes what was appended, to be written and maybe synced; without anything appended, a sync
    /// alone if one is asked for and something is unsynced. None if there is nothing to do, a
    /// commit is running, or the log has failed.
    ///
    /// `time_ms` is the owner's clock; it is kept with the frames.
    pub fn take_commit(&mut self, sync: bool, time_ms: u64) -> Option<Commit<D>> {
        if self.committing || self.poisoned {
            return None;
        }
        self.frames.close();
        if self.frames.closed.is_empty() && !(sync && self.synced < self.written) {
            return None;
        }
        Some(self.commit(FrameKind::Records, sync, time_ms))
    }

    /// Takes a mark that shows how far the log is safe, to be written and synced. None where that
    /// would not be all of it.
    pub fn take_sync_mark(&mut self, time_ms: u64) -> Option<Commit<D>> {
        self.take_mark(FrameKind::SyncMark, time_ms)
    }

    /// Takes the mark that ends the log in order, to be written and synced. None where that would
    /// not be all of it.
    pub fn take_close_mark(&mut self, time_ms: u64) -> Option<Commit<D>> {
        self.take_mark(FrameKind::CloseMark, time_ms)
    }

    fn take_mark(&mut self, kind: FrameKind, time_ms: u64) -> Option<Commit<D>> {
        let idle = !self.committing && !self.poisoned && self.frames.is_empty();
        if !idle || self.synced < self.written {
            return None;
        }
        self.frames.close_even_if_empty();
        Some(self.commit(kind, true, time_ms))
    }

    fn commit(&mut self, kind: FrameKind, sync: bool, time_ms: u64) -> Commit<D> {
        self.committing = true;
        Commit {
            store: Arc::clone(&self.store),
            active: Arc::clone(&self.active),
            frames: std::mem::take(&mut self.frames.closed),
            kind,
            sync,
            time_ms,
            chain: self.chain,
            written: self.written,
            synced: self.synced,
            appended: self.appended,
            sync_times: self.sync_times,
        }
    }

    /// Notes the outcome of a commit.
    ///
    /// # Errors
    /// The commit's own; from then on the log takes no more.
    pub fn finish(&mut self, done: Committed<D>) -> Result<(), WalError> {
        self.committing = false;
        let outcome = match done.result {
            Ok(outcome) => outcome,
            Err(error) => {
                self.poisoned = true;
                return Err(error);
            }
        };
        let Outcome { active, chain, frames, left, written, synced, appended, sync_times } =
            outcome;
        self.sync_times = sync_times;
        self.active = active;
        self.chain = chain;
        self.written = written;
        self.synced = synced;
        let left_bytes: usize = left.iter().map(|frame| frame.bytes.len() - FRAME_HEADER).sum();
        self.settled = appended - left_bytes as u64;
        self.stalled = !left.is_empty();
        self.frames.closed.splice(0..0, left);
        for frame in frames {
            self.framed += frame.bytes.len() as u64;
            if let Some(buffer) = self.resident.keep(frame) {
                self.frames.spare_buffer = Some(buffer);
            }
        }
        Ok(())
    }

    /// Whether the last commit found no space for all that it was to write. Nothing is in doubt:
    /// the next one tries again.
    pub fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// Whether a commit has met a full disk since this was last asked, and went on from the
    /// reserve or stalled.
    pub fn take_met_full(&self) -> bool {
        self.store.take_met_full()
    }

    /// Bytes of frames that can be appended and committed whatever happens to the disk.
    pub fn runway(&self) -> u64 {
        let Frames { segment, offset, buffer, .. } = &self.frames;
        let segment_bytes = self.config.segment_bytes;
        let whole = u64::from(self.store.assured()).saturating_sub(u64::from(*segment));
        let used = u64::from(*offset) + buffer.len() as u64;
        match self.store.assured() < *segment {
            true => 0,
            false => (whole.saturating_mul(segment_bytes))
                .saturating_add(segment_bytes.saturating_sub(used)),
        }
    }

    /// What is set aside for a full disk; nothing where the disk has no bound.
    pub fn reserve(&self) -> ReserveStatus {
        self.store.reserve.as_ref().map(|reserve| reserve.status()).unwrap_or_default()
    }

    /// The number of the last record appended.
    pub fn last(&self) -> Sequence {
        Sequence(self.frames.next.0 - 1)
    }

    /// Records up to this were handed to the kernel.
    pub fn written(&self) -> Sequence {
        self.written
    }

    /// Records up to this are on the disk.
    pub fn synced(&self) -> Sequence {
        self.synced
    }

    /// Bytes of records that no finished commit holds.
    pub fn waiting_bytes(&self) -> u64 {
        self.appended - self.settled
    }

    /// Bytes of records appended since the log was opened.
    pub fn appended_bytes(&self) -> u64 {
        self.appended
    }

    /// Bytes of frames, headers included, that commits have written since the log was opened.
    pub fn written_bytes(&self) -> u64 {
        self.framed
    }

    /// How long the syncs of commits took since the log was opened.
    pub fn sync_times(&self) -> SyncTimes {
        self.sync_times
    }

    /// The largest record that may be appended.
    pub fn record_max(&self) -> usize {
        self.config.record_max
    }

    /// Ends the frame that is being filled and gives the place behind it: replay may start there
    /// once everything before it is synced.
    pub fn position(&mut self) -> Position {
        self.frames.close();
        let Frames { segment, offset, next, .. } = self.frames;
        Position { segment, offset, next }
    }

    /// The place behind what was appended so far, with all segments before it kept readable.
    pub fn mark(&mut self) -> Mark<D> {
        let mut mark = Mark {
            store: Arc::clone(&self.store),
            position: self.position(),
            segments: Vec::new(),
        };
        mark.pin_begun();
        mark
    }

    /// The body at `at`, if it was written lately; shares the log's memory.
    pub fn resident(&self, at: BodyRef) -> Option<Bytes> {
        self.resident.find(at)
    }

    /// A way to read bodies from any thread.
    pub fn reader(&self) -> Reader<D> {
        Reader::new(Arc::clone(&self.store))
    }

    /// The background work on this log's files, from any thread.
    pub fn maintenance(&self) -> Maintenance<D> {
        Maintenance { store: Arc::clone(&self.store) }
    }

    /// Numbers of the segments that are not retired, oldest first; the last is the newest.
    pub fn segments(&self) -> Vec<u32> {
        self.store.numbers()
    }

    /// Bytes of all files that hold segments, the prepared one included.
    pub fn file_bytes(&self) -> u64 {
        self.store.bytes()
    }

    /// Notes that no body in a segment is needed any more and that no replay will read it. Its
    /// file goes once no reader has it.
    pub fn retire(&mut self, segment: u32) {
        self.store.retire(segment);
    }
}

impl Frames {
    fn is_empty(&self) -> bool {
        self.count == 0 && self.closed.is_empty()
    }

    /// Ends the frame that is being filled, if it holds anything.
    fn close(&mut self) {
        if self.count > 0 {
            self.close_even_if_empty();
        }
    }

    fn close_even_if_empty(&mut self) {
        let mut fresh = self.spare_buffer.take().unwrap_or_default();
        fresh.clear();
        fresh.put_bytes(0, FRAME_HEADER);
        let bytes = std::mem::replace(&mut self.buffer, fresh);
        let (segment, offset) = (self.segment, self.offset);
        self.offset += bytes.len() as u32;
        let first = Sequence(self.next.0 - u64::from(self.count));
        self.closed.push(PendingFrame { segment, offset, first, count: self.count, bytes });
        self.count = 0;
    }
}

/// A place in the log, and the segments before it, which stay readable until this is dropped.
#[derive(Clone, Debug)]
pub struct Mark<D: Disk> {
    store: Arc<Store<D>>,
    pub(crate) position: Position,
    /// Oldest first.
    pub(crate) segments: Vec<Arc<Segment<D::File>>>,
}

impl<D: Disk> Mark<D> {
    /// The place.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Keeps those as well that a commit has begun since: once the log is safe up to the place,
    /// they are all there.
    pub(crate) fn pin_begun(&mut self) {
        let after = self.segments.last().map_or(0, |segment| segment.number + 1);
        let begun = |number: &u32| (after..=self.position.segment).contains(number);
        let numbers = self.store.numbers().into_iter().filter(begun);
        self.segments.extend(numbers.filter_map(|number| self.store.pin(number)));
    }
}

/// Background work on a log's files.
#[derive(Clone, Debug)]
pub struct Maintenance<D: Disk> {
    store: Arc<Store<D>>,
}

impl<D: Disk> Maintenance<D> {
    /// Does a bounded part of it: about 1 MiB of writing at most.
    ///
    /// # Errors
    /// The disk refused. The log itself goes on: what could not be prepared is made when it is
    /// needed, and fails then if it must.
    pub fn step(&self, prepare: Prepare) -> Result<Step, WalError> {
        self.store.step(prepare)
    }

    /// How much room the disk has; none where it has no bound.
    ///
    /// # Errors
    /// The disk refused.
    pub fn space(&self) -> Result<Option<Space>, WalError> {
        self.store.disk.space().map_err(WalError::io("measure", "the disk"))
    }

    /// Plans the reserve anew, and makes or removes one of its files if it is not as planned.
    ///
    /// # Errors
    /// The disk refused, for another reason than that it is full.
    pub fn refill(&self, plan: Plan) -> Result<Refill, WalError> {
        self.store.refill(plan)
    }
}

/// Frames that are copied to be kept share blocks of so many bytes: an allocation for each, of another
/// size every time, would make the heap tidy up what small things come and go in all the time.
const RESIDENT_BLOCK: usize = 64 << 10;

/// Frames written lately, oldest first.
#[derive(Debug)]
struct Resident {
    frames: VecDeque<ResidentFrame>,
    /// Where the next one is copied to.
    block: BytesMut,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct ResidentFrame {
    segment: u32,
    offset: u32,
    bytes: Bytes,
}

impl Resident {
    fn new(bytes_max: usize) -> Self {
        Self { frames: VecDeque::new(), block: BytesMut::new(), bytes: 0, bytes_max }
    }

    /// Keeps a frame's bytes; may give back a buffer to be used again.
    fn keep(&mut self, frame: PendingFrame) -> Option<BytesMut> {
        let PendingFrame { segment, offset, bytes, .. } = frame;
        // A frame that fills little of its buffer is copied, so that many small ones don't pin
        // many times their bytes.
        let (bytes, mut free) = if bytes.len() * 2 < bytes.capacity() {
            (self.copy(&bytes), Some(bytes))
        } else {
            (bytes.freeze(), None)
        };
        self.bytes += bytes.len();
        self.frames.push_back(ResidentFrame { segment, offset, bytes });
        while self.bytes > self.bytes_max
            && let Some(old) = self.frames.pop_front()
        {
            self.bytes -= old.bytes.len();
            if let Ok(buffer) = old.bytes.try_into_mut() {
                free = free.or(Some(buffer));
            }
        }
        free
    }

    fn copy(&mut self, bytes: &[u8]) -> Bytes {
        if bytes.len() > RESIDENT_BLOCK / 2 {
            return Bytes::copy_from_slice(bytes);
        }
        if self.block.capacity() < bytes.len() {
            self.block = BytesMut::with_capacity(RESIDENT_BLOCK);
        }
        self.block.extend_from_slice(bytes);
        self.block.split().freeze()
    }

    fn find(&self, at: BodyRef) -> Option<Bytes> {
        let place = (at.segment, at.offset);
        let behind = self.frames.partition_point(|frame| (frame.segment, frame.offset) <= place);
        let frame = self.frames.get(behind.checked_sub(1)?)?;
        if frame.segment != at.segment {
            return None;
        }
        let start = (at.offset - frame.offset) as usize + BODY_CHECKSUM;
        let end = start + at.len as usize;
        (end <= frame.bytes.len()).then(|| frame.bytes.slice(start..end))
    }
}
