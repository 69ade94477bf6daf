//! Faults and crashes that a test places exactly, beside those that a seed decides.

use std::collections::BTreeSet;
use std::io;

use super::SimulatedDisk;
use super::state::{State, apply};

/// What is said of an operation that was made to fail.
pub(super) fn injected() -> io::Error {
    // EIO: the errno of a sector that can't be read and of a bus that gave up.
    io::Error::from_raw_os_error(5)
}

impl SimulatedDisk {
    /// Lets operation number `operation` fail, and `others` right after it; the process lives on.
    /// A write has done a part of its work then, a sync has lost what it was to save.
    pub fn fail_operations(&self, operation: u64, others: u64) {
        self.state.lock().fail_at = Some(operation..operation + others + 1);
    }

    /// Decides by another seed from now on.
    pub fn reseed(&self, seed: u64) {
        self.state.lock().random = seed;
    }

    /// Lets every read of a file whose path ends with `suffix` fail; none for no file.
    pub fn fail_reads_of(&self, suffix: Option<&str>) {
        self.state.lock().unreadable = suffix.map(str::to_owned);
    }

    /// Changes of names that are not synced.
    pub fn unsynced_names(&self) -> usize {
        self.state.lock().unsynced_names.len()
    }

    /// The machine dies: `keeps` says of each unsynced sector of a file, by its last name, whether
    /// it is there; `keeps_name` says it of each unsynced change of names, by its place in their
    /// order. No journal is trusted to keep that order.
    pub fn crash_power_keeping(
        &self,
        mut keeps: impl FnMut(&str, u64) -> bool,
        keeps_name: impl Fn(usize) -> bool,
    ) {
        let mut state = self.state.lock();
        let State { files, names, media_names, unsynced_names, .. } = &mut *state;
        for (name, id) in names.iter() {
            let Some(file) = files.get_mut(id) else { continue };
            for sector in std::mem::take(&mut file.dirty) {
                if keeps(name, sector) {
                    file.save(sector);
                }
            }
            file.media_len = file.len;
        }
        let mut lost = 0;
        for (at, change) in std::mem::take(unsynced_names).iter().enumerate() {
            match keeps_name(at) {
                true => apply(change, media_names),
                false => lost += 1,
            }
        }
        state.counters.names_lost += lost;
        state.counters.power_crashes += 1;
        state.fall_back_to_media();
        state.revive();
    }

    /// Takes a file away, for good.
    pub fn lose(&self, path: &str) {
        let mut state = self.state.lock();
        state.names.remove(path);
        state.media_names.remove(path);
    }

    /// Writes into a file, in cache and on media, as a fault of the hardware would.
    pub fn overwrite(&self, path: &str, offset: u64, bytes: &[u8]) {
        let mut state = self.state.lock();
        let Some(id) = state.names.get(path).copied() else { return };
        let Some(file) = state.files.get_mut(&id) else { return };
        let dirty: BTreeSet<u64> = file.dirty.clone();
        file.write(offset, bytes, true);
        for sector in file.dirty.clone() {
            if !dirty.contains(&sector) {
                file.save(sector);
            }
        }
        file.media_len = file.media_len.max(file.len);
        file.dirty = dirty;
    }
}
