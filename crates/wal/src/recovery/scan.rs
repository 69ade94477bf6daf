//! Looks at what is on disk and changes none of it: segments, checkpoints, frames.

use std::collections::{BTreeMap, VecDeque};

use crate::checkpoint::Checkpoints;
use crate::config::Config;
use crate::disk::Disk;
use crate::error::WalError;
use crate::format::{Damage, FrameKind, Position, SEGMENT_HEADER, Sequence, segment_name};
use crate::history::{End, History};
use crate::log::Log;

use super::{Scanned, Stretch, Surveyed, Unproven};

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
}
