//! A log that was refused is made to start again, without what can't be read.
//!
//! ```text
//! before    ... frame | damage | frame | frame     refused
//! after     ... frame | (void)                     as it was; a copy is in quarantine/
//!           new segment: cut here | lost N | frame | frame
//! ```
//!
//! The whole frames behind the damage are written anew into one new segment, as a recovery does,
//! with a frame before them that says which records are lost. That segment's name is the commit
//! point: a crash before it leaves the refusal, a crash after it the repaired log. Nothing that
//! was there is changed, and what becomes void is copied to `quarantine/` before.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::config::Config;
use crate::disk::{Disk, DiskFile};
use crate::error::WalError;
use crate::format::{
    Cut, Damage, FRAME_HEADER, FrameHeader, FrameKind, Position, SEGMENT_HEADER, Seed,
    SegmentHeader, Sequence, segment_name,
};
use crate::headers;
use crate::history::{Window, damaged, seed_at};
use crate::recovery::{Replayed, Scanned, replay, replay_frame};
use crate::reserve::Reserve;
use crate::salvage::Intact;
use crate::store::{Origin, Store};

/// Most bytes of frames that a repair writes anew: offsets in a segment have 32 bits.
const REWRITE_MAX: u64 = 2 << 30;

/// Records that can't be read any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The first.
    pub first: Sequence,
    /// The last.
    pub last: Sequence,
}

/// A log that a start refuses, as far as it can be read.
#[derive(Debug)]
pub struct Survey<D: Disk> {
    scanned: Scanned<D>,
    damage: Damage,
    /// Frames are damaged, not only headers.
    cuts: bool,
    headers: Vec<SegmentHeader>,
    intact: Vec<Intact>,
    lost: Vec<Lost>,
}

/// What a repair did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// The segments that were written.
    pub made: Vec<String>,
    /// Copies of the files of which a part is void now.
    pub quarantined: Vec<String>,
}

impl<D: Disk> Survey<D> {
    /// Takes the directory, and looks for what a start would refuse; none where it would not.
    ///
    /// # Errors
    /// The directory is in use, the disk refused, a file is of a later version, or the damage is
    /// not of a kind that can be repaired.
    pub fn take(disk: D) -> Result<Option<Self>, WalError> {
        crate::recovery::lock(&disk)?;
        Self::read(disk)
    }

    /// As [`Survey::take`], for who has the directory already or only wants to look.
    ///
    /// # Errors
    /// As for [`Survey::take`].
    pub fn read(disk: D) -> Result<Option<Self>, WalError> {
        let (scanned, damage, headers) = Scanned::read_damaged(disk)?;
        let cuts = damage.is_some();
        let of_header = headers.first().map(|header| Damage {
            file: segment_name(header.segment),
            offset: 0,
            sequence: Sequence(0),
            last: None,
            durable: Sequence(0),
            what: "a damaged segment header",
        });
        let Some(damage) = damage.or(of_header) else { return Ok(None) };
        let (intact, lost) = (Vec::new(), Vec::new());
        let mut survey = Self { scanned, damage, cuts, headers, intact, lost };
        if cuts {
            survey.look_behind()?;
        }
        Ok(Some(survey))
    }

    /// Finds what can be kept behind the damage, and what is lost for good.
    fn look_behind(&mut self) -> Result<(), WalError> {
        let Self { scanned, damage, intact, lost, .. } = self;
        let at = scanned.end();
        *intact = scanned.history().intact_after(at)?;
        let mut next = at.next;
        let mut miss = |next: Sequence, found: Sequence| {
            if found > next {
                lost.push(Lost { first: next, last: Sequence(found.0 - 1) });
            }
        };
        for frame in intact.iter() {
            miss(next, frame.header.first);
            next = frame.header.next();
        }
        // Sequences that something shows to have been given out are never given out again.
        let header = scanned.history().header_at(at)?.filter(|_| intact.is_empty());
        let given = header.map_or(next, |header| header.next());
        miss(next, given.max(Sequence(damage.durable.0.saturating_add(1))));
        Ok(())
    }

    /// The first damage.
    pub fn damage(&self) -> &Damage {
        &self.damage
    }

    /// Records that a repair gives up. Empty where the damage is behind the last record that is
    /// known of.
    pub fn lost(&self) -> &[Lost] {
        &self.lost
    }

    /// Records behind the damage that a repair keeps.
    pub fn kept(&self) -> u64 {
        self.intact.iter().map(|frame| u64::from(frame.header.count)).sum()
    }

    /// Files that get a new header, or of which a part becomes void.
    pub fn touched(&self) -> Vec<String> {
        let mut touched: BTreeSet<u32> = self.headers.iter().map(|header| header.segment).collect();
        if self.cuts {
            let behind = self.scanned.history().segments.range(self.scanned.end().segment..);
            let live = behind.filter(|(_, entry)| entry.limit > u64::from(SEGMENT_HEADER));
            touched.extend(live.map(|(number, _)| *number));
        }
        touched.into_iter().map(segment_name).collect()
    }

    /// Visits every chunk of the newest checkpoint, in the order of the keys.
    ///
    /// # Errors
    /// The disk refused, or `visit` did.
    pub fn images<E: From<WalError>>(
        &self,
        visit: impl FnMut(&[u8; 16], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.scanned.checkpoints().for_each(visit)
    }

    /// Visits the records between that checkpoint and the damage.
    ///
    /// # Errors
    /// The disk refused, or `visit` did.
    pub fn before(
        &self,
        visit: impl FnMut(Replayed<'_>) -> Result<(), WalError>,
    ) -> Result<(), WalError> {
        replay(self.scanned.history(), self.scanned.start(), visit)
    }

    /// Visits number and head of those records in the damaged frame whose bodies verify. A head
    /// has no checksum of its own: good for saying what was hit, not for keeping it.
    ///
    /// # Errors
    /// The disk refused.
    pub fn inside(&self, visit: impl FnMut(Sequence, &[u8])) -> Result<(), WalError> {
        self.scanned.history().salvage_at(self.scanned.end(), visit)
    }

    /// Visits the records behind the damage that a repair keeps.
    ///
    /// # Errors
    /// The disk refused, or `visit` did.
    pub fn behind(
        &self,
        mut visit: impl FnMut(Replayed<'_>) -> Result<(), WalError>,
    ) -> Result<(), WalError> {
        let mut window = Window::default();
        for frame in &self.intact {
            let payload = self.payload(frame, &mut window)?;
            replay_frame(frame.segment, frame.offset, &frame.header, payload, &mut visit)?;
        }
        Ok(())
    }

    /// Makes a log of it that starts.
    ///
    /// # Errors
    /// The disk refused; the log is as it was, and as damaged.
    pub fn repair(self) -> Result<Repaired, WalError> {
        let bytes = self.intact.iter().map(|frame| u64::from(frame.header.len) + 1024).sum::<u64>();
        if bytes > REWRITE_MAX {
            let Damage { file, offset, sequence, .. } = &self.damage;
            return Err(damaged(file, *offset, *sequence, "more than can be written anew"));
        }
        let quarantined = self.copy_touched()?;
        for header in &self.headers {
            headers::replace(self.scanned.disk(), header)?;
        }
        let mut made: Vec<_> =
            self.headers.iter().map(|header| segment_name(header.segment)).collect();
        if self.cuts {
            made.push(self.write()?);
        }
        Ok(Repaired { made, quarantined })
    }

    /// Copies what is replaced or becomes void; never over an earlier copy, which may show more.
    fn copy_touched(&self) -> Result<Vec<String>, WalError> {
        let disk = self.scanned.disk();
        let mut copies = Vec::new();
        let taken = disk.list("quarantine").map_err(WalError::io("list", "quarantine"))?;
        for name in self.touched() {
            let is_free = |number: &u32| !taken.contains(&format!("{name}.{number}"));
            let Some(number) = (1..=u32::MAX).find(is_free) else { continue };
            let path = format!("quarantine/{name}.{number}");
            let copy = headers::copy(disk, &name, &path).inspect_err(|_| {
                // Half a copy says less than the file, which stays, and takes space.
                let _ = disk.remove(&path);
            })?;
            copy.sync().map_err(WalError::io("sync", &*path))?;
            copies.push(path);
        }
        disk.sync_folder("quarantine").map_err(WalError::io("sync", "quarantine"))?;
        Ok(copies)
    }

    /// Writes the segment that takes the place of everything from the damage on.
    fn write(&self) -> Result<String, WalError> {
        let history = self.scanned.history();
        let newest = history.segments.keys().next_back().copied().unwrap_or_default();
        let recovery = history.recovery() + 1;
        let Position { segment, offset, next } = self.scanned.end();
        let cut = history.first_cut(Cut { segment, offset, next });
        let longest = history.segments.values().map(|entry| entry.len).max().unwrap_or_default();
        let config = Config { segment_bytes: longest, ..Config::default() };
        let log_id = self.scanned.log_id();
        let number = newest + 1;
        let disk = self.scanned.disk();
        let reserve = Reserve::open(disk.clone(), longest, 0)?;
        let store = Store::new(disk.clone(), config, log_id, recovery, newest)
            .with_reserve(Some(Arc::new(reserve)));
        let first = Seed { log_id, recovery, segment: number, offset: SEGMENT_HEADER };
        let time_ms = self.scanned.last_time_ms();
        store.make(number, Some(cut), self.last(), Origin::Recovery, |file| {
            let mut out = Anew { file, seed: first, chain: 0, durable: Sequence(next.0 - 1) };
            let mut lost = self.lost.iter().copied().peekable();
            let mut window = Window::default();
            for frame in &self.intact {
                while let Some(lost) = lost.next_if(|lost| lost.first < frame.header.first) {
                    out.lost(lost, time_ms)?;
                }
                let payload = self.payload(frame, &mut window)?;
                out.frame(&frame.header, payload)?;
            }
            lost.try_for_each(|lost| out.lost(lost, time_ms))
        })?;
        Ok(segment_name(number))
    }

    /// The last record of the repaired log.
    fn last(&self) -> Sequence {
        let kept = self.intact.last().map(|frame| Sequence(frame.header.next().0 - 1));
        let lost = self.lost.last().map(|lost| lost.last);
        let before = Sequence(self.scanned.end().next.0 - 1);
        kept.unwrap_or(before).max(lost.unwrap_or(before))
    }

    /// A frame's payload, checked once more: it gets a new checksum next.
    fn payload<'a>(&self, frame: &Intact, window: &'a mut Window) -> Result<&'a [u8], WalError> {
        let Intact { segment, offset, header } = *frame;
        let name = segment_name(segment);
        let history = self.scanned.history();
        let Some(entry) = history.segments.get(&segment) else {
            return Err(damaged(&name, offset.into(), header.first, "a missing segment"));
        };
        let len = header.len as usize;
        let bytes = window.read(entry, u64::from(offset) + FRAME_HEADER as u64, len)?;
        let seed = seed_at(&entry.header, offset);
        let sound = |payload: &&[u8]| seed.payload_crc(payload) == header.payload_crc;
        bytes.get(..len).filter(sound).ok_or_else(|| {
            let what = "a frame that reads differently each time";
            damaged(&name, offset.into(), header.first, what)
        })
    }
}

/// Frames written one after the other into a new segment.
struct Anew<'a, F> {
    file: &'a F,
    /// The next frame's place.
    seed: Seed,
    chain: u32,
    durable: Sequence,
}

impl<F: DiskFile> Anew<'_, F> {
    /// Says that records are lost.
    fn lost(&mut self, lost: Lost, time_ms: u64) -> Result<(), WalError> {
        let mut first = lost.first;
        while first <= lost.last {
            let count = u32::try_from(lost.last.0 - first.0 + 1).unwrap_or(u32::MAX);
            let durable = self.durable;
            let header = FrameHeader {
                kind: FrameKind::Lost,
                len: 0,
                count,
                first,
                durable,
                time_ms,
                previous: 0,
                payload_crc: 0,
            };
            self.frame(&header, &[])?;
            first = header.next();
        }
        Ok(())
    }

    fn frame(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<(), WalError> {
        let payload_crc = self.seed.payload_crc(payload);
        let (durable, previous) = (self.durable, self.chain);
        let header = FrameHeader { durable, previous, payload_crc, ..*header };
        let (bytes, checksum) = header.encode(self.seed);
        let name = || segment_name(self.seed.segment);
        let at = u64::from(self.seed.offset);
        self.file.write_at(at, &bytes).map_err(WalError::io("write", name()))?;
        let at = at + FRAME_HEADER as u64;
        self.file.write_at(at, payload).map_err(WalError::io("write", name()))?;
        self.chain = checksum;
        self.seed.offset += FRAME_HEADER as u32 + header.len;
        Ok(())
    }
}
