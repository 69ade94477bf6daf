//! From the files on disk to a log that goes on.
//!
//! ```text
//! Log::scan      reads only: which frames are whole, which are proven safe, what is damaged
//!   Scanned::open      sets a torn tail aside; writes what is whole but not proven anew into a
//!                      new segment, whose sync is the commit point
//!     Opened           images, then records to replay, then the log
//! ```
//!
//! The first frame that is not whole is *corruption* if anything valid shows that it was safe, or
//! if nothing about it looks like a write that a crash cut short; then the start is refused.
//! Otherwise it is a *torn tail*: it is copied to `quarantine/` and counted. Recovery deletes
//! nothing, and a crash in any of its steps changes nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::checkpoint::{Checkpoints, ChunkKey};
use crate::config::Config;
use crate::disk::{Disk, DiskFile};
use crate::error::WalError;
use crate::format::{
    BodyRef, Cut, Damage, FRAME_HEADER, FrameHeader, FrameKind, Position, Records, SECTOR,
    SEGMENT_HEADER, Seed, SegmentHeader, Sequence, segment_name,
};
use crate::history::{End, Entry, History, Window, damaged, extent, is_zero, seed_at};
use crate::log::Log;
use crate::reserve::{self, Reserve};
use crate::store::{Origin, Segment, Store};

/// Most bytes of frames that a start gathers out of almost empty segments.
const GATHER_MAX: u64 = 1 << 20;

/// What a start found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The run before ended in order, or there was none.
    pub clean: bool,
    /// Bytes of a torn tail that were set aside.
    pub torn_bytes: u64,
    /// Where they are now.
    pub quarantined: Vec<String>,
    /// Records that were whole but not proven safe, and were written anew.
    pub rewritten: u64,
    /// Checkpoints that could not be used.
    pub damaged_checkpoints: u32,
    /// The number of this start; seeds the frames of the segments that it begins.
    pub recovery: u32,
}

/// A record that was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed<'a> {
    /// Its number.
    pub sequence: Sequence,
    /// Its head.
    pub head: &'a [u8],
    /// Where its body is; of length 0 without one.
    pub body: BodyRef,
    /// The owner's clock when it was committed.
    pub time_ms: u64,
}

/// What is on disk, looked at and not changed.
#[derive(Debug)]
pub struct Scanned<D: Disk> {
    disk: D,
    config: Config,
    log_id: u64,
    history: History<D>,
    checkpoints: Checkpoints<D>,
    damaged_checkpoints: u32,
    end: End,
    clean: bool,
    torn: Option<Torn>,
    unproven: VecDeque<Unproven>,
    /// Where the segments begin that are taken for unproven as a whole.
    gathered: Option<Position>,
    /// What replay reads of each segment.
    replayed: BTreeMap<u32, Stretch>,
    last_time_ms: u64,
}

/// The frames of one segment that replay reads.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    /// The number of the first record in it or behind it.
    first: Sequence,
    bytes: u64,
}

/// A log, the first damage to its frames, and headers to replace damaged ones.
pub(crate) type Surveyed<D> = (Scanned<D>, Option<Damage>, Vec<SegmentHeader>);

/// A reserve, where the disk has a bound.
type SharedReserve<D> = Option<Arc<Reserve<D>>>;

/// The files of a log that is ready to go on, where it goes on, and the checksum to continue.
type Made<D> = (Store<D>, Position, u32);

/// A tail that a crash cut short.
#[derive(Clone, Copy, Debug)]
struct Torn {
    segment: u32,
    start: u64,
    end: u64,
}

/// A whole frame that nothing proves safe.
#[derive(Clone, Copy, Debug)]
struct Unproven {
    segment: u32,
    offset: u32,
    header: FrameHeader,
}

impl<D: Disk> Log<D> {
    /// Takes the directory and reads what is there, without changing any of it. `new_id` is the
    /// random id that a log made here would get.
    ///
    /// # Errors
    /// The directory is in use or unsuitable, a file is of a later version, or something that was
    /// safe is damaged.
    pub fn scan(disk: D, config: Config, new_id: u64) -> Result<Scanned<D>, WalError> {
        lock(&disk)?;
        let unsafe_fs =
            disk.copies_on_write().map_err(WalError::io("inspect", "the file system"))?;
        if let (Some(kind), false) = (unsafe_fs, config.allow_unsafe_fs) {
            return Err(WalError::UnsafeFs { kind });
        }
        Scanned::read(disk, config, new_id)
    }
}

/// Takes the directory, unless it holds what this program must not touch.
pub(crate) fn lock<D: Disk>(disk: &D) -> Result<(), WalError> {
    crate::versions::check(disk)?;
    disk.lock().map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => WalError::Locked { holder: disk.holder() },
        _ => WalError::io("lock", "the data directory")(error),
    })
}

impl<D: Disk> Scanned<D> {
    /// Reads without taking the directory.
    pub(crate) fn read(disk: D, config: Config, new_id: u64) -> Result<Self, WalError> {
        let history = History::read(&disk)?;
        let mut scanned = Self::gather(disk, history, config, new_id)?;
        if !scanned.is_new() {
            scanned.examine()?;
        }
        Ok(scanned)
    }

    /// Reads what a start may refuse: with the first damage to frames, and with the headers that
    /// damaged ones have to be replaced by.
    pub(crate) fn read_damaged(disk: D) -> Result<Surveyed<D>, WalError> {
        let (history, headers) = History::read_headless(&disk)?;
        let mut scanned = Self::gather(disk, history, Config::default(), 0)?;
        if scanned.is_new() {
            return Ok((scanned, None, headers));
        }
        scanned.check_beginning()?;
        match scanned.examine() {
            Ok(()) => Ok((scanned, None, headers)),
            Err(WalError::Corrupt(damage)) => Ok((scanned, Some(damage), headers)),
            Err(error) => Err(error),
        }
    }

    /// Finds the segments and a checkpoint that can be used.
    fn gather(disk: D, history: History<D>, config: Config, new_id: u64) -> Result<Self, WalError> {
        let log_id = history.log_id().unwrap_or(new_id);
        let (mut checkpoints, mut damaged_checkpoints) = Checkpoints::open(disk.clone(), log_id)?;
        // Chunks are read twice, here to be sure of them; a damaged one costs a generation.
        while checkpoints.latest().is_some() {
            match checkpoints.for_each(|_, _| Ok::<_, WalError>(())) {
                Ok(()) => break,
                Err(WalError::Corrupt(_)) => checkpoints.fall_back(),
                // A disk that can't be read now is no reason to give anything up.
                Err(error) => return Err(error),
            }
            damaged_checkpoints += 1;
        }
        Ok(Self {
            disk,
            config,
            log_id,
            history,
            checkpoints,
            damaged_checkpoints,
            end: End { position: Position::default(), chain: None },
            clean: true,
            torn: None,
            unproven: VecDeque::new(),
            gathered: None,
            replayed: BTreeMap::new(),
            last_time_ms: 0,
        })
    }

    /// The owner's clock at the last commit; 0 for a log that is new.
    pub fn last_time_ms(&self) -> u64 {
        self.last_time_ms
    }

    /// Whether there was a log at all.
    pub fn is_new(&self) -> bool {
        self.history.segments.is_empty()
    }

    /// Whether the run before ended in order.
    pub fn is_clean(&self) -> bool {
        self.clean
    }

    /// Bytes of a torn tail.
    pub fn torn_bytes(&self) -> u64 {
        self.torn.map_or(0, |torn| torn.end - torn.start)
    }

    /// Where a torn tail begins.
    pub(crate) fn torn_at(&self) -> Option<(String, u64)> {
        self.torn.map(|torn| (segment_name(torn.segment), torn.start))
    }

    /// Records that are whole but not proven safe.
    pub fn unproven(&self) -> u64 {
        self.unproven.iter().map(|frame| u64::from(frame.header.count)).sum()
    }

    /// The number of the last record that is kept.
    pub fn last(&self) -> Sequence {
        Sequence(self.end.position.next.0.saturating_sub(1))
    }

    pub(crate) fn disk(&self) -> &D {
        &self.disk
    }

    pub(crate) fn log_id(&self) -> u64 {
        self.log_id
    }

    pub(crate) fn history(&self) -> &History<D> {
        &self.history
    }

    /// Behind the last whole frame.
    pub(crate) fn end(&self) -> Position {
        self.end.position
    }

    pub(crate) fn checkpoints(&self) -> &Checkpoints<D> {
        &self.checkpoints
    }

    pub(crate) fn damaged_checkpoints(&self) -> u32 {
        self.damaged_checkpoints
    }

    /// Where replay starts.
    pub(crate) fn start(&self) -> Position {
        let first = self.history.segments.keys().next().copied().unwrap_or(1);
        let beginning = Position { segment: first, offset: SEGMENT_HEADER, next: Sequence(1) };
        self.checkpoints.position().unwrap_or(beginning)
    }

    /// Without a checkpoint everything has to be there from the first record on.
    fn check_beginning(&self) -> Result<(), WalError> {
        // Void ones before it may have been removed in any order.
        let mut segments = self.history.segments.iter();
        let first = segments.find(|(_, entry)| !History::<D>::is_void(entry));
        let (None, Some((number, entry))) = (self.checkpoints.position(), first) else {
            return Ok(());
        };
        let begins = match entry.header.cut {
            Some(cut) => cut.next <= Sequence(1),
            None => *number == 1,
        };
        if begins {
            return Ok(());
        }
        let durable = self.history.evidence_after(self.start())?.max(Sequence(1));
        let (file, offset, sequence) = (segment_name(*number), SEGMENT_HEADER.into(), Sequence(1));
        let what = "no usable checkpoint of what came before";
        let last = Some(durable);
        Err(WalError::Corrupt(Damage { file, offset, sequence, last, durable, what }))
    }

    /// Walks over the frames, and judges what comes after the last whole one.
    fn examine(&mut self) -> Result<(), WalError> {
        self.check_beginning()?;
        let mut unproven = VecDeque::new();
        let mut replayed = BTreeMap::new();
        let mut durable = self.checkpoints.durable();
        let mut last_kind = FrameKind::Records;
        let mut last_time_ms = self.checkpoints.latest().map_or(0, |latest| latest.time_ms);
        let settle = |unproven: &mut VecDeque<Unproven>, durable: Sequence| {
            while unproven
                .pop_front_if(|frame| frame.header.next() <= Sequence(durable.0 + 1))
                .is_some()
            {}
        };
        let end = self.history.walk(self.start(), |frame| {
            let header = frame.header;
            durable = durable.max(header.durable);
            settle(&mut unproven, durable);
            let stretch = Stretch { first: header.first, bytes: 0 };
            replayed.entry(frame.segment).or_insert(stretch).bytes += frame.whole_len();
            if header.count > 0 {
                let (segment, offset) = (frame.segment, frame.offset);
                unproven.push_back(Unproven { segment, offset, header });
            }
            last_kind = header.kind;
            last_time_ms = last_time_ms.max(header.time_ms);
            Ok(())
        })?;
        let named = self.history.segments.values().filter(|entry| !History::<D>::is_void(entry));
        durable = durable.max(named.map(|entry| entry.header.safe).max().unwrap_or_default());
        settle(&mut unproven, durable);
        self.end = end;
        self.last_time_ms = last_time_ms;
        self.clean = last_kind == FrameKind::CloseMark;
        self.unproven = unproven;
        self.replayed = replayed;
        self.judge_tail(durable)
    }

    /// Decides between the log's end, a torn tail and corruption.
    fn judge_tail(&mut self, durable: Sequence) -> Result<(), WalError> {
        let at = self.end.position;
        let mut durable = durable.max(self.history.evidence_after(at)?);
        if self.history.is_begun_after(at.segment)? {
            // Nothing is written to a segment before all of the one before it is safe.
            durable = durable.max(at.next);
        }
        let Some(entry) = self.history.segments.get(&at.segment) else {
            return Err(self.refusal(at, durable, "a missing segment")?);
        };
        if durable >= at.next {
            return Err(self.refusal(at, durable, "a damaged or missing frame")?);
        }
        let Some(damage) = extent(entry, at.offset)? else { return Ok(()) };
        self.clean = false;
        if !looks_torn(entry, at.offset, damage)? {
            return Err(self.refusal(at, durable, "a damaged frame")?);
        }
        self.torn = Some(Torn { segment: at.segment, start: at.offset.into(), end: damage });
        Ok(())
    }

    /// Says where a start has to be refused, and how far the damage goes.
    fn refusal(
        &self,
        at: Position,
        durable: Sequence,
        what: &'static str,
    ) -> Result<WalError, WalError> {
        let behind = self.history.intact_after(at)?;
        let next = match behind.first() {
            Some(frame) => Some(frame.header.first),
            None => self.history.header_at(at)?.map(|header| header.next()),
        };
        let proven = Some(durable).filter(|durable| *durable >= at.next);
        let last = next.map(|next| Sequence(next.0 - 1)).or(proven);
        let (file, offset, sequence) = (segment_name(at.segment), at.offset.into(), at.next);
        Ok(WalError::Corrupt(Damage { file, offset, sequence, last, durable, what }))
    }

    /// Makes the log ready to go on. `time_ms` is the owner's clock.
    ///
    /// # Errors
    /// The disk refused; nothing has changed, except that a torn tail may have been copied.
    pub fn open(mut self, time_ms: u64) -> Result<Opened<D>, WalError> {
        // All that is read is read before anything is written: a disk that can't be read leaves
        // everything as it was.
        let rewritten = self.unproven();
        if !self.is_new() {
            self.gather_short_segments()?;
        }
        let payloads = self.unproven_payloads()?;
        self.remove_unfinished()?;
        let reserve = self.reserve()?;
        let quarantined = self.quarantine(reserve.as_deref())?;
        let recovery = self.history.recovery();
        let mut report = RecoveryReport {
            clean: self.clean,
            torn_bytes: self.torn_bytes(),
            quarantined,
            rewritten,
            damaged_checkpoints: self.damaged_checkpoints,
            recovery,
        };
        let (store, position, chain) = if self.is_new() {
            self.found(&reserve)?
        } else {
            // After a clean end too: nothing proves that its own mark is on the disk, so nothing
            // may be chained to it.
            report.recovery = recovery + 1;
            self.rewrite(recovery + 1, time_ms, &payloads, &reserve)?
        };
        store.remove_void();
        let active = store.pin(position.segment).ok_or(WalError::Poisoned)?;
        let Self { history, mut checkpoints, .. } = self;
        checkpoints.set_reserve(reserve);
        let log = Log::at(Arc::new(store), active, position, chain);
        Ok(Opened { log, checkpoints, report, history })
    }

    /// Takes the last segments as a whole for unproven, as long as there is little in them: a start
    /// after the other, each of which begins a segment, would fill the disk with almost empty ones.
    /// What a checkpoint or an image refers to by its place stays where it is.
    fn gather_short_segments(&mut self) -> Result<(), WalError> {
        let segment_bytes = self.config.segment_bytes;
        let space = self.disk.space().map_err(WalError::io("measure", "the disk"))?;
        let bytes_max = match space {
            // There may be nothing but the reserve for this start and those after it.
            Some(space) if space.free < 2 * segment_bytes => segment_bytes / 8 * 7,
            _ => GATHER_MAX.min(segment_bytes / 4),
        };
        let fixed = self.checkpoints.positions().map(|position| position.segment).max();
        let mut bytes = 0;
        let mut from = None;
        for (number, stretch) in self.replayed.iter().rev() {
            bytes += stretch.bytes;
            if bytes > bytes_max || fixed.is_some_and(|fixed| *number <= fixed) {
                break;
            }
            from = Some(Position { segment: *number, offset: SEGMENT_HEADER, next: stretch.first });
        }
        // What is unproven lies in the last segment that holds any frame; nothing of it may be left.
        let unproven = self.unproven.front().map(|frame| frame.segment);
        let Some(from) = from.filter(|from| unproven.is_none_or(|first| from.segment <= first))
        else {
            return Ok(());
        };
        let mut frames = VecDeque::new();
        let end = self.history.walk(from, |frame| {
            if frame.header.count > 0 {
                let (segment, offset, header) = (frame.segment, frame.offset, frame.header);
                frames.push_back(Unproven { segment, offset, header });
            }
            Ok(())
        })?;
        if end.position != self.end.position {
            let (file, offset) = (segment_name(end.position.segment), end.position.offset);
            let what = "a frame that reads differently each time";
            return Err(damaged(&file, offset.into(), end.position.next, what));
        }
        self.unproven = frames;
        self.gathered = Some(from);
        Ok(())
    }

    /// What is set aside for a full disk.
    fn reserve(&self) -> Result<SharedReserve<D>, WalError> {
        if self.disk.space().map_err(WalError::io("measure", "the disk"))?.is_none() {
            return Ok(None);
        }
        let Config { segment_bytes, settlements_reserve, .. } = self.config;
        let reserve = Reserve::open(self.disk.clone(), segment_bytes, settlements_reserve)?;
        Ok(Some(Arc::new(reserve)))
    }

    /// Begins a log where there was none.
    fn found(&mut self, reserve: &SharedReserve<D>) -> Result<Made<D>, WalError> {
        let store = self.store(1, 0).with_reserve(reserve.clone());
        store.begin(1)?;
        let position = Position { segment: 1, offset: SEGMENT_HEADER, next: Sequence(1) };
        Ok((store, position, 0))
    }

    /// The segments that are there. What no later replay can read is retired.
    fn store(&self, recovery: u32, newest: u32) -> Store<D> {
        let (disk, config) = (self.disk.clone(), self.config.clone());
        let store = Store::new(disk, config, self.log_id, recovery, newest);
        for (number, entry) in &self.history.segments {
            let limit = if entry.limit < entry.len { entry.limit } else { u64::MAX };
            store.add(Segment::new(&entry.header, Arc::clone(&entry.file), limit));
            if History::<D>::is_void(entry) {
                store.retire(*number);
            }
        }
        store
    }

    /// Removes files that never got their name.
    fn remove_unfinished(&self) -> Result<(), WalError> {
        for name in self.disk.list("").map_err(WalError::io("list", "the data directory"))? {
            if name.ends_with(".seg.tmp") {
                self.disk.remove(&name).map_err(WalError::io("remove", &*name))?;
            }
        }
        Ok(())
    }

    /// Copies a torn tail to a file of its own.
    fn quarantine(&self, reserve: Option<&Reserve<D>>) -> Result<Vec<String>, WalError> {
        let Some(torn) = self.torn else { return Ok(Vec::new()) };
        let Some(entry) = self.history.segments.get(&torn.segment) else { return Ok(Vec::new()) };
        let mut window = Window::default();
        let bytes = window.read(entry, torn.start, (torn.end - torn.start) as usize)?;
        let bytes = &bytes[..bytes.len().min((torn.end - torn.start) as usize)];
        let path = self.quarantine_path(torn, bytes)?;
        let write = |copy: &D::File| {
            copy.write_at(0, bytes).map_err(WalError::io("write", &*path))?;
            copy.sync().map_err(WalError::io("sync", &*path))
        };
        let create = || self.disk.create(&path).map_err(WalError::io("create", &*path));
        let mut written = create().and_then(|copy| write(&copy));
        if written.as_ref().is_err_and(WalError::is_no_space) {
            let reserved = reserve.map(|reserve| reserve.take(reserve::QUARANTINE, &path));
            if let Some(copy) = reserved.transpose()?.flatten() {
                let shortened = copy.truncate(bytes.len() as u64);
                shortened.map_err(WalError::io("truncate", &*path))?;
                written = write(&copy);
            }
        }
        if written.as_ref().is_err_and(WalError::is_no_space) {
            // Nobody was promised anything of it: no reason not to start.
            self.disk.remove(&path).map_err(WalError::io("remove", &*path))?;
            return Ok(Vec::new());
        }
        written?;
        self.disk.sync_folder("quarantine").map_err(WalError::io("sync", "quarantine"))?;
        Ok(vec![path])
    }

    /// A name for a copy of a torn tail. A start that died may have made the same copy, which is
    /// made again; or one of which a crash of the machine has taken a part since, which stays.
    fn quarantine_path(&self, torn: Torn, bytes: &[u8]) -> Result<String, WalError> {
        let stem = format!("{:08}-{}", torn.segment, torn.start);
        let taken = self.disk.list("quarantine").map_err(WalError::io("list", "quarantine"))?;
        for number in 1..=taken.len() {
            let name = if number == 1 { stem.clone() } else { format!("{stem}-{number}") };
            let (name, path) = (format!("{name}.torn"), format!("quarantine/{name}.torn"));
            if !taken.contains(&name) {
                return Ok(path);
            }
            let file = self.disk.open(&path).map_err(WalError::io("open", &*path))?;
            let mut there = vec![0; bytes.len() + 1];
            let read = file.read_at(0, &mut there).map_err(WalError::io("read", &*path))?;
            if bytes.starts_with(&there[..read]) {
                return Ok(path);
            }
        }
        Ok(match taken.len() {
            0 => format!("quarantine/{stem}.torn"),
            others => format!("quarantine/{stem}-{}.torn", others + 1),
        })
    }

    /// What the unproven frames hold; together they fit one segment.
    fn unproven_payloads(&self) -> Result<Vec<Vec<u8>>, WalError> {
        let mut window = Window::default();
        let mut payloads = Vec::new();
        for frame in &self.unproven {
            let Unproven { segment, offset, header } = *frame;
            let file = segment_name(segment);
            let Some(entry) = self.history.segments.get(&segment) else {
                return Err(damaged(&file, offset.into(), header.first, "a missing segment"));
            };
            let len = header.len as usize;
            let bytes = window.read(entry, u64::from(offset) + FRAME_HEADER as u64, len)?;
            // What is read a second time is checked a second time: it gets a new checksum next.
            let payload = bytes.get(..len).filter(|payload| {
                seed_at(&entry.header, offset).payload_crc(payload) == header.payload_crc
            });
            let Some(payload) = payload else {
                let what = "a frame that reads differently each time";
                return Err(damaged(&file, offset.into(), header.first, what));
            };
            payloads.push(payload.to_vec());
        }
        Ok(payloads)
    }

    /// Writes the whole frames that nothing proves safe into a new segment: their bytes may have
    /// come from a page cache that a failed sync had marked clean.
    fn rewrite(
        &mut self,
        recovery: u32,
        time_ms: u64,
        payloads: &[Vec<u8>],
        reserve: &SharedReserve<D>,
    ) -> Result<Made<D>, WalError> {
        let newest = self.history.segments.keys().next_back().copied().unwrap_or_default();
        let number = newest + 1;
        let end = self.end.position;
        let first = self.unproven.front().map(|first| {
            let Unproven { segment, offset, header } = *first;
            Position { segment, offset, next: header.first }
        });
        let Position { segment, offset, next } = self.gathered.or(first).unwrap_or(end);
        let cut = self.history.first_cut(Cut { segment, offset, next });
        let maker =
            Store::new(self.disk.clone(), self.config.clone(), self.log_id, recovery, newest)
                .with_reserve(reserve.clone());
        let mut offset = SEGMENT_HEADER;
        let mut chain = 0;
        let made = maker.make(number, Some(cut), self.last(), Origin::Recovery, |file| {
            for (frame, payload) in self.unproven.iter().zip(payloads) {
                let seed = Seed { log_id: self.log_id, recovery, segment: number, offset };
                let header = FrameHeader {
                    previous: chain,
                    durable: Sequence(cut.next.0 - 1),
                    time_ms: time_ms.max(frame.header.time_ms),
                    payload_crc: seed.payload_crc(payload),
                    ..frame.header
                };
                let (bytes, checksum) = header.encode(seed);
                let name = segment_name(number);
                file.write_at(offset.into(), &bytes).map_err(WalError::io("write", &*name))?;
                let at = u64::from(offset) + FRAME_HEADER as u64;
                file.write_at(at, payload).map_err(WalError::io("write", &*name))?;
                chain = checksum;
                offset += FRAME_HEADER as u32 + frame.header.len;
            }
            Ok(())
        })?;
        let (log_id, safe) = (self.log_id, self.last());
        let header = SegmentHeader { log_id, segment: number, recovery, cut: Some(cut), safe };
        let len = self.config.segment_bytes.max(offset.into());
        self.history.add(header, made.file, len);
        let store = self.store(recovery, number).with_reserve(reserve.clone());
        Ok((store, Position { segment: number, offset, next: end.next }, chain))
    }
}

/// Whether the frame at `from`, in damage that goes to `end`, can be a write that a crash cut
/// short: a sector of it was never written, or nothing was from some byte in it on.
///
/// Only its own sectors count. A crash leaves each old, which is zero from here on, or new; were
/// all new the frame would be whole, so zeros further behind say nothing about it.
fn looks_torn<F: DiskFile>(entry: &Entry<F>, from: u32, end: u64) -> Result<bool, WalError> {
    let mut window = Window::default();
    let seed = seed_at(&entry.header, from);
    let bytes = window.read(entry, from.into(), FRAME_HEADER)?;
    // Whatever was written there, a whole header was meant to be.
    let len = FrameHeader::decode(bytes, seed).map_or(0, |(header, _)| u64::from(header.len));
    let frame_end = u64::from(from) + FRAME_HEADER as u64 + len;
    if end < frame_end {
        // A limit, a quota or a full disk ends a write at any byte, not only between sectors.
        return Ok(true);
    }
    let mut at = u64::from(from);
    while at < frame_end {
        let next = (at / SECTOR + 1) * SECTOR;
        let part = (next - at) as usize;
        let bytes = window.read(entry, at, part)?;
        if is_zero(&bytes[..part.min(bytes.len())]) {
            return Ok(true);
        }
        at = next;
    }
    Ok(false)
}

/// A log that is ready to go on, with what was kept.
#[derive(Debug)]
pub struct Opened<D: Disk> {
    /// The log.
    pub log: Log<D>,
    /// Its checkpoints.
    pub checkpoints: Checkpoints<D>,
    /// What the start found and did.
    pub report: RecoveryReport,
    history: History<D>,
}

impl<D: Disk> Opened<D> {
    /// Visits every chunk of the newest checkpoint, in the order of the keys.
    ///
    /// # Errors
    /// The disk refused, or `visit` did.
    pub fn images<E: From<WalError>>(
        &self,
        visit: impl FnMut(&ChunkKey, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.checkpoints.for_each(visit)
    }

    /// Visits the records behind that checkpoint, in order.
    ///
    /// # Errors
    /// The disk refused, or `visit` did.
    pub fn replay(
        &self,
        visit: impl FnMut(Replayed<'_>) -> Result<(), WalError>,
    ) -> Result<(), WalError> {
        let first = self.history.segments.keys().next().copied().unwrap_or(1);
        let beginning = Position { segment: first, offset: SEGMENT_HEADER, next: Sequence(1) };
        let start = self.checkpoints.position().unwrap_or(beginning);
        replay(&self.history, start, visit)
    }
}

/// Visits the records of all whole frames from `start` on.
pub(crate) fn replay<D: Disk>(
    history: &History<D>,
    start: Position,
    mut visit: impl FnMut(Replayed<'_>) -> Result<(), WalError>,
) -> Result<(), WalError> {
    history.walk(start, |frame| {
        replay_frame(frame.segment, frame.offset, &frame.header, frame.payload, &mut visit)
    })?;
    Ok(())
}

/// Visits the records of a whole frame.
pub(crate) fn replay_frame(
    segment: u32,
    offset: u32,
    header: &FrameHeader,
    payload: &[u8],
    visit: &mut impl FnMut(Replayed<'_>) -> Result<(), WalError>,
) -> Result<(), WalError> {
    let payload_at = offset + FRAME_HEADER as u32;
    let mut sequence = header.first;
    for record in Records::new(payload) {
        let len = record.body.len() as u32;
        let body = BodyRef { segment, offset: payload_at + record.body_at as u32, len };
        let body = if record.body.is_empty() { BodyRef::default() } else { body };
        visit(Replayed { sequence, head: record.head, body, time_ms: header.time_ms })?;
        sequence = Sequence(sequence.0 + 1);
    }
    Ok(())
}
