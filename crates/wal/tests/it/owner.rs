//! An owner of a log that knows what it was promised, and looks after every start whether that
//! was kept: the simplest state that has images, replay, bodies and segments to give up.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Buf, BufMut};
use sluice_wal::{
    Backup, BackupError, BodyRef, Checkpoints, Config, Log, Plan, Prepare, ReadError, Refill,
    Sequence, SimulatedDisk, WalError,
};

/// Records of one chunk of an image.
const CHUNK: u64 = 8;
const TOTALS: [u8; 16] = [255; 16];

/// What an owner does, one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// Appends a record with so many bytes of body.
    Append(usize),
    /// Appends a record that ends all bodies up to this one.
    End(u64),
    /// Writes what was appended.
    Write,
    /// Writes and syncs it.
    Sync,
    Mark,
    Close,
    /// A bit of background work.
    Prepare,
    Checkpoint,
    /// Gives up the segments that neither checkpoint needs.
    Retire,
    /// Something else takes all that is free on the disk, or gives it back.
    Fill,
    Free,
    /// The process ends and starts again.
    Restart,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kept {
    /// Which process appended it.
    process: u32,
    body: BodyRef,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// The records, from 1.
    records: Vec<Kept>,
    /// Bodies up to this one are not needed any more.
    ended: u64,
}

/// Says what has to be there, whatever happens.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promises {
    /// Which process appended each record that is safe, from 1.
    safe: Vec<u32>,
    processes: u32,
    /// Checkpoints were damaged, which no crash and no error ever does.
    pub(crate) damaged: bool,
}

pub(crate) struct Owner {
    log: Log<SimulatedDisk>,
    checkpoints: Checkpoints<SimulatedDisk>,
    state: State,
    process: u32,
    /// How far the last image that was published goes, and the two that are kept.
    images: Vec<(u64, u64)>,
    lost_image: bool,
}

pub(crate) fn config() -> Config {
    Config {
        segment_bytes: 64 << 10,
        record_max: 32 << 10,
        resident_bytes: 0,
        settlements_reserve: 128 << 10,
        ..Config::default()
    }
}

/// Bodies are never zero, so that nothing looks as if it had not been written.
pub(crate) fn body_of(sequence: u64, process: u32, len: usize) -> Vec<u8> {
    (0..len as u64)
        .map(|at| (1 + (sequence * 31 + u64::from(process) * 7 + at) % 255) as u8)
        .collect()
}

fn chunk_key(number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

impl State {
    fn replay(&mut self, sequence: u64, mut head: &[u8], body: BodyRef) {
        assert_eq!(sequence, self.records.len() as u64 + 1, "sequences are dense");
        let (own, process, ended) = (head.get_u64_le(), head.get_u32_le(), head.get_u64_le());
        assert_eq!(own, sequence, "a record stands for itself");
        self.records.push(Kept { process, body });
        self.ended = self.ended.max(ended);
    }

    fn chunk(&self, number: u64) -> Vec<u8> {
        let mut out = Vec::new();
        for kept in self.records.iter().skip((number * CHUNK) as usize).take(CHUNK as usize) {
            out.put_u32_le(kept.process);
            out.put_u32_le(kept.body.segment);
            out.put_u32_le(kept.body.offset);
            out.put_u32_le(kept.body.len);
        }
        out
    }

    fn load(&mut self, key: &[u8; 16], mut bytes: &[u8]) {
        if *key == TOTALS {
            let len = bytes.get_u64_le();
            assert_eq!(len, self.records.len() as u64, "an image is whole");
            self.ended = bytes.get_u64_le();
            return;
        }
        while bytes.has_remaining() {
            let process = bytes.get_u32_le();
            let (segment, offset) = (bytes.get_u32_le(), bytes.get_u32_le());
            let body = BodyRef { segment, offset, len: bytes.get_u32_le() };
            self.records.push(Kept { process, body });
        }
    }
}

impl Promises {
    /// How many records have to be there.
    pub(crate) fn len(&self) -> u64 {
        self.safe.len() as u64
    }
}

impl Owner {
    /// Starts on `disk` and checks that everything is there that was promised.
    pub(crate) fn start(disk: &SimulatedDisk, promises: &mut Promises) -> Result<Self, WalError> {
        let (mut log, checkpoints, mut state) = {
            let opened = Log::scan(disk.clone(), config(), 7)?.open(1)?;
            assert!(opened.report.damaged_checkpoints == 0 || promises.damaged);
            let mut state = State::default();
            opened.images(|key, bytes| {
                state.load(key, bytes);
                Ok::<_, WalError>(())
            })?;
            opened.replay(|record| {
                state.replay(record.sequence.0, record.head, record.body);
                Ok(())
            })?;
            (opened.log, opened.checkpoints, state)
        };
        check(&log, &state, promises)?;
        promises.processes += 1;
        let process = promises.processes;
        log.append(|head| put_head(head, state.records.len() as u64 + 1, process, 0), &[]);
        state.records.push(Kept { process, body: BodyRef::default() });
        let mut owner =
            Self { log, checkpoints, state, process, images: Vec::new(), lost_image: true };
        owner.refill()?;
        owner.commit(true, promises)?;
        Ok(owner)
    }

    /// Sets aside what there is space for, if the disk has a bound.
    fn refill(&self) -> Result<(), WalError> {
        let (image, manifest) = self.checkpoints.whole_bytes();
        let plan = Plan { image_bytes: image + (16 << 10), manifest_bytes: manifest + (4 << 10) };
        while self.log.maintenance().refill(plan)? == Refill::Stepped {}
        Ok(())
    }

    pub(crate) fn log(&self) -> &Log<SimulatedDisk> {
        &self.log
    }

    /// Does one thing; an error is the end of the process, unless it was about background work.
    pub(crate) fn run(
        mut self,
        step: Step,
        disk: &SimulatedDisk,
        promises: &mut Promises,
    ) -> Result<Self, WalError> {
        match step {
            Step::Append(len) => self.append(len, 0),
            Step::End(sequence) => self.append(0, sequence),
            Step::Write => self.commit(false, promises)?,
            Step::Sync => self.commit(true, promises)?,
            Step::Mark | Step::Close => {
                let close = matches!(step, Step::Close);
                let log = &mut self.log;
                let mark = if close { log.take_close_mark(1) } else { log.take_sync_mark(1) };
                if let Some(mark) = mark {
                    log.finish(mark.run())?;
                }
            }
            // What fails here is done later, or in the commit that needs it.
            Step::Prepare => {
                self.refill()?;
                drop(self.log.maintenance().step(Prepare::Zeros));
            }
            Step::Fill => disk.fill(0),
            Step::Free => disk.free(),
            Step::Checkpoint => self.checkpoint()?,
            Step::Retire => self.retire(),
            Step::Restart => {
                drop(self);
                disk.crash_process();
                return Self::start(disk, promises);
            }
        }
        Ok(self)
    }

    /// Begins a backup of all that was appended so far, after a checkpoint if there is none. What
    /// was promised by then has to be in it.
    pub(crate) fn back_up(
        &mut self,
        shelf: &SimulatedDisk,
        promises: &mut Promises,
    ) -> Result<Backup<SimulatedDisk>, BackupError> {
        self.commit(true, promises)?;
        if self.checkpoints.position().is_none() {
            self.checkpoint()?;
        }
        let held = self.checkpoints.hold().unwrap();
        Backup::begin(shelf.clone(), self.log.mark(), held, 1_795_256_100_000, 0)
    }

    /// The heads of the records that make a new life of a backup with `last` records.
    pub(crate) fn new_life(last: Sequence) -> Vec<Vec<u8>> {
        let mut head = Vec::new();
        put_head(&mut head, last.0 + 1, u32::MAX, 0);
        vec![head]
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> u64 {
        self.state.records.len() as u64
    }

    /// Gives up a segment, as if no body in it were needed.
    pub(crate) fn retire_segment(&mut self, segment: u32) {
        self.log.retire(segment);
    }

    fn append(&mut self, len: usize, ended: u64) {
        let sequence = self.log.last().0 + 1;
        let body = body_of(sequence, self.process, len);
        let process = self.process;
        let stamp = self.log.append(|head| put_head(head, sequence, process, ended), &[&body]);
        assert_eq!(stamp.sequence.0, sequence);
        self.state.records.push(Kept { process, body: stamp.body });
        self.state.ended = self.state.ended.max(ended);
    }

    fn commit(&mut self, sync: bool, promises: &mut Promises) -> Result<(), WalError> {
        if let Some(commit) = self.log.take_commit(sync, 1) {
            self.log.finish(commit.run())?;
        }
        let safe = self.log.synced().0 as usize;
        for kept in &self.state.records[promises.safe.len().min(safe)..safe] {
            promises.safe.push(kept.process);
        }
        Ok(())
    }

    /// Takes an image while a mark is on its way: its position is behind the mark.
    fn checkpoint(&mut self) -> Result<(), WalError> {
        let mark = self.log.take_sync_mark(1);
        let position = self.log.position();
        // The log goes on without: the next image holds everything.
        self.lost_image = self.publish(position).is_err();
        if let Some(mark) = mark {
            self.log.finish(mark.run())?;
        }
        Ok(())
    }

    fn publish(&mut self, position: sluice_wal::Position) -> Result<(), WalError> {
        let len = position.next.0 - 1;
        if self.log.synced().0 < len {
            return Ok(());
        }
        let from = if self.lost_image { 0 } else { self.images.last().map_or(0, |last| last.0) };
        let mut writer = match from {
            0 => self.checkpoints.begin_anew(position)?,
            _ => self.checkpoints.begin(position)?,
        };
        for number in from / CHUNK..len.div_ceil(CHUNK) {
            writer.put(chunk_key(number), &self.state.chunk(number))?;
        }
        let mut totals = Vec::new();
        totals.put_u64_le(len);
        totals.put_u64_le(self.state.ended);
        writer.put(TOTALS, &totals)?;
        self.checkpoints.publish(writer, self.log.synced(), 1)?;
        self.images.push((len, self.state.ended));
        Ok(())
    }

    fn retire(&mut self) {
        let [.., (len, ended), _] = self.images[..] else { return };
        let Some(covered) = self.checkpoints.covered_by_both() else { return };
        let mut last_body = BTreeMap::new();
        for (at, kept) in self.state.records.iter().enumerate().take(len as usize) {
            last_body.insert(kept.body.segment, at as u64 + 1);
        }
        for segment in self.log.segments() {
            let needed = last_body.get(&segment).is_some_and(|last| *last > ended);
            if segment < covered.segment && !needed {
                self.log.retire(segment);
            }
        }
    }
}

fn put_head(out: &mut impl BufMut, sequence: u64, process: u32, ended: u64) {
    out.put_u64_le(sequence);
    out.put_u32_le(process);
    out.put_u64_le(ended);
}

/// Everything that was promised is there, and every body that is needed is what was appended.
fn check(log: &Log<SimulatedDisk>, state: &State, promises: &mut Promises) -> Result<(), WalError> {
    let kept = state.records.len();
    assert!(promises.safe.len() <= kept, "{} of {} records are there", kept, promises.safe.len());
    let reader = log.reader();
    for (at, record) in state.records.iter().enumerate() {
        let sequence = at as u64 + 1;
        if let Some(process) = promises.safe.get(at) {
            assert_eq!(record.process, *process, "record {sequence} is another one");
        }
        if record.body.len > 0 && sequence > state.ended {
            let body = match reader.read(record.body, Sequence(sequence)) {
                Ok(body) => body,
                Err(ReadError::Io { source, .. }) => return Err(disk_failed(source)),
                Err(error) => panic!("record {sequence}: {error}"),
            };
            assert!(body == body_of(sequence, record.process, body.len()), "record {sequence}");
        }
    }
    // What a start has shown is safe from then on.
    promises.safe = state.records.iter().map(|record| record.process).collect();
    Ok(())
}

fn disk_failed(source: std::io::Error) -> WalError {
    WalError::Io { action: "read", path: "a segment".to_owned(), source: Arc::new(source) }
}

/// Does all of it, as far as it gets.
pub(crate) fn play(
    disk: &SimulatedDisk,
    steps: &[Step],
    promises: &mut Promises,
) -> Option<WalError> {
    let mut owner = match Owner::start(disk, promises) {
        Ok(owner) => owner,
        Err(error) => return Some(error),
    };
    for step in steps {
        owner = match owner.run(*step, disk, promises) {
            Ok(owner) => owner,
            Err(error) => return Some(error),
        };
    }
    None
}
