//! Makes what was found a log that goes on.

use std::sync::Arc;

use crate::checkpoint::{Checkpoints, ChunkKey};
use crate::config::Config;
use crate::disk::Disk;
use crate::error::WalError;
use crate::format::{Position, SEGMENT_HEADER, Sequence};
use crate::history::History;
use crate::log::Log;
use crate::reserve::Reserve;
use crate::store::{Segment, Store};

use super::{Made, RecoveryReport, Replayed, Scanned, SharedReserve, replay};

impl<D: Disk> Scanned<D> {
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
    pub(super) fn store(&self, recovery: u32, newest: u32) -> Store<D> {
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
