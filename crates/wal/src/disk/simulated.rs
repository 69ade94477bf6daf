//! A disk in memory that knows what a crash takes: page cache and media are kept apart, each in
//! sectors, and names change only when their folder is synced.
//!
//! Without faults it serves as the disk of a broker that keeps everything in memory. With faults
//! it is the simulator's: everything it does wrong comes from a seed and is counted.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, Space};

mod file;
mod injection;
mod pages;
mod random;
mod room;
mod state;

pub use file::SimulatedFile;

use pages::{FileState, PAGE, read_pages};
use random::{draw, toss};
use state::{NameChange, State, apply, is_in};

/// How often operations fail, each in 10 000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// A sync fails, and marks clean what never reached the media.
    pub sync: u32,
    /// A write fails after a part of it.
    pub write: u32,
    /// A read fails.
    pub read: u32,
    /// There is no space to allocate.
    pub allocate: u32,
}

/// What the disk has done wrong so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounters {
    /// Crashes of the machine.
    pub power_crashes: u64,
    /// Crashes of the process alone.
    pub process_crashes: u64,
    /// Sectors that a crash of the machine lost.
    pub sectors_lost: u64,
    /// Unsynced sectors that survived one.
    pub sectors_kept: u64,
    /// Changes of names that one lost.
    pub names_lost: u64,
    /// Syncs that failed.
    pub failed_syncs: u64,
    /// Writes that failed.
    pub failed_writes: u64,
    /// Reads that failed.
    pub failed_reads: u64,
    /// Allocations and writes that found no space.
    pub no_space: u64,
    /// Times that something else filled the disk.
    pub hogged: u64,
    /// Lists, opens and changes of names that failed.
    pub failed_names: u64,
    /// Bits flipped.
    pub bit_flips: u64,
    /// Operations that were cut in the middle by a crash.
    pub cut_operations: u64,
}

/// A disk in memory. A clone works on the same files.
#[derive(Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not its bytes.
        f.debug_struct("SimulatedDisk").finish_non_exhaustive()
    }
}

/// All of a disk at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot(Box<State>);

/// The disk of a broker that keeps everything in memory.
pub type MemoryDisk = SimulatedDisk;

impl Default for SimulatedDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl SimulatedDisk {
    /// An empty disk that never fails and does not survive.
    pub fn new() -> Self {
        Self::make(0, false)
    }

    /// An empty disk that can crash and fail; `seed` decides how.
    pub fn with_faults(seed: u64) -> Self {
        Self::make(seed, true)
    }

    fn make(seed: u64, tracks: bool) -> Self {
        let state = State {
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            media_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            next_file: 0,
            tracks,
            locked: false,
            incarnation: 0,
            random: seed,
            faults: Faults::default(),
            counters: FaultCounters::default(),
            operations: 0,
            crash_at: None,
            fail_at: None,
            unreadable: None,
            capacity: None,
            hog: 0,
            dead: false,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Sets how often operations fail from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state.lock().faults = faults;
    }

    /// What went wrong so far.
    pub fn counters(&self) -> FaultCounters {
        self.state.lock().counters
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// Lets the process die in the middle of operation number `operation` and fail all after it,
    /// until one of the crashes is taken.
    pub fn crash_at_operation(&self, operation: u64) {
        self.state.lock().crash_at = Some(operation);
    }

    /// Whether the process has died in the middle of an operation.
    pub fn is_dead(&self) -> bool {
        self.state.lock().dead
    }

    /// The process dies; what it wrote is there.
    pub fn crash_process(&self) {
        let mut state = self.state.lock();
        state.counters.process_crashes += 1;
        state.revive();
    }

    /// The machine dies: of what was not synced, each sector is there or is not.
    pub fn crash_power(&self) {
        let mut state = self.state.lock();
        let State { files, random, .. } = &mut *state;
        let (mut kept, mut lost) = (0, 0);
        for file in files.values_mut() {
            for sector in std::mem::take(&mut file.dirty) {
                if toss(random) {
                    file.save(sector);
                    kept += 1;
                } else {
                    lost += 1;
                }
            }
            if file.media_len != file.len && toss(random) {
                file.media_len = file.len;
            }
        }
        state.counters.sectors_kept += kept;
        state.counters.sectors_lost += lost;
        // A journal keeps the order of changes of names: those up to some point are there.
        let unsynced = std::mem::take(&mut state.unsynced_names);
        let survive = draw(&mut state.random) as usize % (unsynced.len() + 1);
        state.counters.names_lost += (unsynced.len() - survive) as u64;
        for change in &unsynced[..survive] {
            apply(change, &mut state.media_names);
        }
        state.counters.power_crashes += 1;
        state.fall_back_to_media();
        state.revive();
    }

    /// The machine dies; `keeps` says of each unsynced sector of a file whether it is there. All
    /// names are.
    pub fn crash_power_with(&self, keeps: impl FnMut(&str, u64) -> bool) {
        self.crash_power_keeping(keeps, |_| true);
    }

    /// Sectors of a file that are not synced.
    pub fn dirty_sectors(&self, path: &str) -> Vec<u64> {
        let state = self.state.lock();
        let file = state.names.get(path).and_then(|id| state.files.get(id));
        file.map(|file| file.dirty.iter().copied().collect()).unwrap_or_default()
    }

    /// Flips one bit of a file, in cache and on media.
    pub fn flip_bit(&self, path: &str, bit: u64) {
        let mut state = self.state.lock();
        state.counters.bit_flips += 1;
        let Some(id) = state.names.get(path).copied() else { return };
        let Some(file) = state.files.get_mut(&id) else { return };
        let (byte, bit) = (bit / 8, bit % 8);
        for pages in [&mut file.cache, &mut file.media] {
            let page = pages.entry(byte / PAGE as u64).or_insert_with(|| Box::new([0; PAGE]));
            page[(byte % PAGE as u64) as usize] ^= 1 << bit;
        }
    }

    /// Cuts a file short, in cache and on media.
    pub fn truncate(&self, path: &str, len: u64) {
        let mut state = self.state.lock();
        let Some(id) = state.names.get(path).copied() else { return };
        let Some(file) = state.files.get_mut(&id) else { return };
        (file.len, file.media_len) = (len, len);
        let first_gone = len / PAGE as u64;
        for pages in [&mut file.cache, &mut file.media] {
            pages.retain(|page, _| *page <= first_gone);
            if let Some(page) = pages.get_mut(&first_gone) {
                page[(len % PAGE as u64) as usize..].fill(0);
            }
        }
    }

    /// A file's bytes as a reader sees them.
    pub fn bytes(&self, path: &str) -> Vec<u8> {
        let state = self.state.lock();
        let Some(file) = state.names.get(path).and_then(|id| state.files.get(id)) else {
            return Vec::new();
        };
        let mut bytes = vec![0; file.len as usize];
        read_pages(&file.cache, 0, &mut bytes);
        bytes
    }

    /// Every file's path.
    pub fn paths(&self) -> Vec<String> {
        self.state.lock().names.keys().cloned().collect()
    }

    /// A disk of its own with what is in `folder` now, as its directory.
    pub fn folder(&self, folder: &str) -> Self {
        let disk = Self::from_snapshot(&self.snapshot());
        {
            let mut state = disk.state.lock();
            let inside = |names: &BTreeMap<String, u64>| {
                let name =
                    |path: &String| path.strip_prefix(folder)?.strip_prefix('/').map(str::to_owned);
                names.iter().filter_map(|(path, id)| Some((name(path)?, *id))).collect()
            };
            state.names = inside(&state.names);
            state.media_names = inside(&state.media_names);
            state.unsynced_names.clear();
        }
        disk
    }

    /// All of it at this moment.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(Box::new(self.state.lock().clone()))
    }

    /// A disk of its own that begins as `snapshot`; nobody holds its lock.
    pub fn from_snapshot(snapshot: &Snapshot) -> Self {
        let mut state = (*snapshot.0).clone();
        state.revive();
        Self { state: Arc::new(Mutex::new(state)) }
    }
}

fn not_found() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl Disk for SimulatedDisk {
    type File = SimulatedFile;

    fn lock(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.locked, true) {
            return Err(io::Error::from(io::ErrorKind::WouldBlock));
        }
        Ok(())
    }

    fn holder(&self) -> Option<u32> {
        self.state.lock().locked.then(std::process::id)
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let mut state = self.state.lock();
        state.operate_names()?;
        let name = |path: &String| match (folder, path.rsplit_once('/')) {
            ("", None) => Some(path.clone()),
            (folder, Some((parent, name))) if folder == parent => Some(name.to_owned()),
            _ => None,
        };
        Ok(state.names.keys().filter_map(name).collect())
    }

    fn create(&self, path: &str) -> io::Result<Arc<SimulatedFile>> {
        let mut state = self.state.lock();
        state.operate_names()?;
        let id = state.next_file;
        state.next_file += 1;
        state.files.insert(id, FileState::default());
        state.change_name(NameChange::Create(path.to_owned(), id));
        let incarnation = state.incarnation;
        Ok(Arc::new(SimulatedFile { state: Arc::clone(&self.state), id, incarnation }))
    }

    fn open(&self, path: &str) -> io::Result<Arc<SimulatedFile>> {
        let mut state = self.state.lock();
        state.operate_names()?;
        let id = *state.names.get(path).ok_or_else(not_found)?;
        let incarnation = state.incarnation;
        Ok(Arc::new(SimulatedFile { state: Arc::clone(&self.state), id, incarnation }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operate_names()?;
        let id = *state.names.get(from).ok_or_else(not_found)?;
        state.change_name(NameChange::Rename(from.to_owned(), to.to_owned(), id));
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operate_names()?;
        if !state.names.contains_key(path) {
            return Err(not_found());
        }
        state.change_name(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operate_names()?;
        let changes = std::mem::take(&mut state.unsynced_names);
        let (here, elsewhere): (Vec<_>, Vec<_>) = changes.into_iter().partition(|change| {
            let (NameChange::Create(path, _)
            | NameChange::Rename(_, path, _)
            | NameChange::RenameFolder(path, _)
            | NameChange::Remove(path)) = change;
            path.rsplit_once('/').map_or("", |(parent, _)| parent) == folder
        });
        state.unsynced_names = elsewhere;
        for change in &here {
            apply(change, &mut state.media_names);
        }
        Ok(())
    }

    fn folders(&self) -> io::Result<Vec<String>> {
        let mut state = self.state.lock();
        state.operate_names()?;
        let mut names: Vec<_> =
            state.names.keys().filter_map(|path| path.split_once('/')).collect();
        names.dedup_by_key(|(folder, _)| *folder);
        Ok(names.into_iter().map(|(folder, _)| folder.to_owned()).collect())
    }

    fn rename_folder(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operate_names()?;
        if state.names.keys().any(|path| is_in(path, to)) {
            return Err(io::Error::from(io::ErrorKind::DirectoryNotEmpty));
        }
        state.change_name(NameChange::RenameFolder(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove_folder(&self, folder: &str) -> io::Result<()> {
        // A folder is there while a file is in it.
        let mut state = self.state.lock();
        state.operate_names()?;
        match state.names.keys().any(|path| is_in(path, folder)) {
            true => Err(io::Error::from(io::ErrorKind::DirectoryNotEmpty)),
            false => Ok(()),
        }
    }

    fn space(&self) -> io::Result<Option<Space>> {
        Ok(self.state.lock().room())
    }

    fn copies_on_write(&self) -> io::Result<Option<&'static str>> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
