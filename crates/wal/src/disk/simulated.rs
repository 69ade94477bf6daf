//! A disk in memory that knows what a crash takes: page cache and media are kept apart, each in
//! sectors, and names change only when their folder is synced.
//!
//! Without faults it serves as the disk of a broker that keeps everything in memory. With faults
//! it is the simulator's: everything it does wrong comes from a seed and is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile, Space};

mod injection;
mod room;

use injection::injected;

const PAGE: usize = 4096;
const SECTOR: usize = 512;

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

type Pages = BTreeMap<u64, Box<[u8; PAGE]>>;

#[derive(Clone, Debug, Default)]
struct FileState {
    cache: Pages,
    len: u64,
    media: Pages,
    media_len: u64,
    /// Sectors of the cache that the media does not have.
    dirty: BTreeSet<u64>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Create(String, u64),
    /// From, to, and which file: its last name may survive where its first one did not.
    Rename(String, String, u64),
    RenameFolder(String, String),
    Remove(String),
}

#[derive(Clone, Debug)]
struct State {
    files: BTreeMap<u64, FileState>,
    names: BTreeMap<String, u64>,
    media_names: BTreeMap<String, u64>,
    unsynced_names: Vec<NameChange>,
    next_file: u64,
    /// Media and dirty sectors are kept only where a crash may come.
    tracks: bool,
    locked: bool,
    /// Handles from before a crash are dead.
    incarnation: u64,
    random: u64,
    faults: Faults,
    counters: FaultCounters,
    operations: u64,
    crash_at: Option<u64>,
    fail_at: Option<Range<u64>>,
    /// Files whose path ends so can't be read.
    unreadable: Option<String>,
    /// Bytes of the disk, if they are bounded, and those that something else has taken.
    capacity: Option<u64>,
    hog: u64,
    /// The process is dead until a crash has been taken.
    dead: bool,
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

impl State {
    fn revive(&mut self) {
        self.incarnation += 1;
        self.locked = false;
        self.dead = false;
        self.crash_at = None;
    }

    fn fall_back_to_media(&mut self) {
        self.names = self.media_names.clone();
        let named: BTreeSet<u64> = self.names.values().copied().collect();
        self.files.retain(|id, _| named.contains(id));
        for file in self.files.values_mut() {
            file.cache = file.media.clone();
            file.len = file.media_len;
            file.dirty.clear();
        }
    }

    /// Counts an operation. An error if the process is dead; true if it dies in the middle.
    fn operate(&mut self) -> io::Result<bool> {
        if self.dead {
            return Err(io::Error::other("the process is dead"));
        }
        self.operations += 1;
        if self.crash_at.is_some_and(|at| self.operations >= at) {
            self.dead = true;
            self.counters.cut_operations += 1;
            return Ok(true);
        }
        Ok(false)
    }

    /// As [`State::operate`], for what has no middle.
    fn operate_whole(&mut self) -> io::Result<()> {
        match self.operate()? {
            true if toss(&mut self.random) => Err(io::Error::other("the process died")),
            _ => Ok(()),
        }
    }

    /// As [`State::operate_whole`], for what works on names.
    fn operate_names(&mut self) -> io::Result<()> {
        self.operate_whole()?;
        if self.fails(0) {
            self.counters.failed_names += 1;
            return Err(injected());
        }
        Ok(())
    }

    fn fails(&mut self, rate: u32) -> bool {
        self.fail_at.as_ref().is_some_and(|at| at.contains(&self.operations))
            || rate > 0 && draw(&mut self.random) % 10_000 < u64::from(rate)
    }

    fn is_unreadable(&self, id: u64) -> bool {
        self.unreadable.as_ref().is_some_and(|suffix| {
            self.names.iter().any(|(name, file)| *file == id && name.ends_with(suffix.as_str()))
        })
    }

    fn change_name(&mut self, change: NameChange) {
        apply(&change, &mut self.names);
        if self.tracks {
            self.unsynced_names.push(change);
        } else {
            let named: BTreeSet<u64> = self.names.values().copied().collect();
            self.files.retain(|id, _| named.contains(id));
        }
    }
}

fn apply(change: &NameChange, names: &mut BTreeMap<String, u64>) {
    match change {
        NameChange::Create(path, id) => {
            names.insert(path.clone(), *id);
        }
        NameChange::Rename(from, to, id) => {
            names.remove(from);
            names.insert(to.clone(), *id);
        }
        NameChange::RenameFolder(from, to) => {
            let moved: Vec<_> = names.extract_if(.., |path, _| is_in(path, from)).collect();
            names.extend(moved.into_iter().map(|(path, id)| (path.replacen(from, to, 1), id)));
        }
        NameChange::Remove(path) => {
            names.remove(path);
        }
    }
}

/// SplitMix64, by Steele, Lea and Flood.
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// How much of a write of `len` bytes at `offset` is done when it is cut: up to the end of a
/// sector, as by a crash, or up to any byte, as by a limit or a quota.
fn cut_write(offset: u64, len: usize, random: &mut u64) -> usize {
    let done = draw(random) as usize % (len + 1);
    let end = (offset + done as u64) / SECTOR as u64 * SECTOR as u64;
    if toss(random) { end.saturating_sub(offset) as usize } else { done }
}

/// True every other time.
fn toss(state: &mut u64) -> bool {
    draw(state) & 1 == 0
}

impl FileState {
    /// Copies a sector from the cache to the media.
    fn save(&mut self, sector: u64) {
        let page = sector * SECTOR as u64 / PAGE as u64;
        let at = sector as usize * SECTOR % PAGE;
        let Some(from) = self.cache.get(&page) else { return };
        let to = self.media.entry(page).or_insert_with(|| Box::new([0; PAGE]));
        to[at..at + SECTOR].copy_from_slice(&from[at..at + SECTOR]);
    }

    fn write(&mut self, offset: u64, bytes: &[u8], tracks: bool) {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let within = (at % PAGE as u64) as usize;
            let part = (PAGE - within).min(bytes.len() - done);
            let from = &bytes[done..done + part];
            done += part;
            // What was never written reads as zeros; zeros need no page of their own.
            let number = at / PAGE as u64;
            if self.cache.contains_key(&number) || from.iter().any(|byte| *byte != 0) {
                let page = self.cache.entry(number).or_insert_with(|| Box::new([0; PAGE]));
                page[within..within + part].copy_from_slice(from);
            }
        }
        self.len = self.len.max(offset + bytes.len() as u64);
        if tracks && !bytes.is_empty() {
            let last = (offset + bytes.len() as u64 - 1) / SECTOR as u64;
            self.dirty.extend(offset / SECTOR as u64..=last);
        }
    }
}

fn read_pages(pages: &Pages, offset: u64, buffer: &mut [u8]) {
    let mut done = 0;
    while done < buffer.len() {
        let at = offset + done as u64;
        let within = (at % PAGE as u64) as usize;
        let part = (PAGE - within).min(buffer.len() - done);
        let target = &mut buffer[done..done + part];
        match pages.get(&(at / PAGE as u64)) {
            Some(page) => target.copy_from_slice(&page[within..within + part]),
            None => target.fill(0),
        }
        done += part;
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

/// Whether a path lies in a folder or below it.
fn is_in(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// An open file of a [`SimulatedDisk`].
pub struct SimulatedFile {
    state: Arc<Mutex<State>>,
    id: u64,
    incarnation: u64,
}

impl fmt::Debug for SimulatedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedFile").field("id", &self.id).finish_non_exhaustive()
    }
}

impl SimulatedFile {
    fn with<R>(&self, work: impl FnOnce(&mut State, u64) -> io::Result<R>) -> io::Result<R> {
        let mut state = self.state.lock();
        if state.incarnation != self.incarnation || !state.files.contains_key(&self.id) {
            return Err(io::Error::other("the file was opened before a crash"));
        }
        work(&mut state, self.id)
    }
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.with(|state, id| {
            state.operate_whole()?;
            if state.fails(state.faults.read) || state.is_unreadable(id) {
                state.counters.failed_reads += 1;
                return Err(injected());
            }
            let Some(file) = state.files.get(&id) else { return Err(not_found()) };
            let there = file.len.saturating_sub(offset).min(buffer.len() as u64) as usize;
            read_pages(&file.cache, offset, &mut buffer[..there]);
            Ok(there)
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(|state, id| {
            let dies = state.operate()?;
            let bytes = state.that_fit(id, offset, bytes)?;
            let fails = dies || state.fails(state.faults.write);
            let part = match fails {
                true => cut_write(offset, bytes.len(), &mut state.random),
                false => bytes.len(),
            };
            let tracks = state.tracks;
            let Some(file) = state.files.get_mut(&id) else { return Err(not_found()) };
            file.write(offset, &bytes[..part], tracks);
            if fails {
                state.counters.failed_writes += u64::from(!dies);
                return Err(io::Error::other("injected write error"));
            }
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|state, id| {
            let dies = state.operate()?;
            if dies || state.fails(state.faults.sync) {
                if !dies {
                    state.counters.failed_syncs += 1;
                    // The kernel drops the error's pages: clean in the cache, old on the media.
                    if let Some(file) = state.files.get_mut(&id) {
                        file.dirty.clear();
                    }
                }
                return Err(io::Error::other("injected sync error"));
            }
            let Some(file) = state.files.get_mut(&id) else { return Err(not_found()) };
            for sector in std::mem::take(&mut file.dirty) {
                file.save(sector);
            }
            file.media_len = file.len;
            Ok(())
        })
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.with(|state, id| {
            state.operate_whole()?;
            if state.fails(state.faults.allocate) {
                state.counters.no_space += 1;
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            state.fit(id, len)?;
            let Some(file) = state.files.get_mut(&id) else { return Err(not_found()) };
            file.len = file.len.max(len);
            Ok(())
        })
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.with(|state, id| {
            state.operate_whole()?;
            let Some(file) = state.files.get_mut(&id) else { return Err(not_found()) };
            file.shorten(len);
            Ok(())
        })
    }

    fn size(&self) -> io::Result<u64> {
        self.with(|state, id| {
            state.operate_names()?;
            state.files.get(&id).map(|file| file.len).ok_or_else(not_found)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk_with(bytes: &[u8]) -> (SimulatedDisk, Arc<SimulatedFile>) {
        let disk = SimulatedDisk::with_faults(7);
        let file = disk.create("a").unwrap();
        disk.sync_folder("").unwrap();
        file.allocate(8192).unwrap();
        file.write_at(0, bytes).unwrap();
        file.sync().unwrap();
        (disk, file)
    }

    #[test]
    fn a_crash_of_the_machine_takes_or_leaves_whole_unsynced_sectors() {
        let (disk, file) = disk_with(&[1; 8192]);
        file.write_at(0, &[2; 8192]).unwrap();
        disk.crash_power();
        assert!(file.sync().is_err(), "a handle from before the crash is dead");
        let bytes = disk.bytes("a");
        let sectors: Vec<u8> = bytes.chunks(SECTOR).map(|sector| sector[0]).collect();
        assert!(bytes.chunks(SECTOR).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        assert!(sectors.contains(&1) && sectors.contains(&2));
        let counters = disk.counters();
        assert_eq!(counters.sectors_kept + counters.sectors_lost, 16);
    }

    #[test]
    fn a_crash_of_the_process_takes_nothing() {
        let (disk, file) = disk_with(b"synced");
        file.write_at(6, b" and not").unwrap();
        disk.create("b").unwrap();
        disk.crash_process();
        assert!(disk.bytes("a").starts_with(b"synced and not"));
        assert_eq!(disk.paths(), ["a", "b"]);
    }

    #[test]
    fn a_failed_sync_shows_new_bytes_until_the_machine_crashes_and_old_ones_after() {
        let (disk, file) = disk_with(b"old");
        file.write_at(0, b"new").unwrap();
        disk.set_faults(Faults { sync: 10_000, ..Faults::default() });
        assert!(file.sync().is_err());
        disk.set_faults(Faults::default());
        file.sync().unwrap();
        assert!(disk.bytes("a").starts_with(b"new"));
        disk.crash_power();
        assert!(disk.bytes("a").starts_with(b"old"));
    }

    #[test]
    fn names_survive_once_their_folder_is_synced() {
        let disk = SimulatedDisk::with_faults(1);
        disk.create("x/kept").unwrap();
        disk.sync_folder("x").unwrap();
        let mut seen = BTreeSet::new();
        let before = disk.snapshot();
        for seed in 0..20 {
            let disk = SimulatedDisk::from_snapshot(&before);
            disk.state.lock().random = seed;
            disk.create("x/new.tmp").unwrap();
            disk.rename("x/new.tmp", "x/new").unwrap();
            disk.crash_power();
            let names = disk.list("x").unwrap();
            assert!(names.contains(&"kept".to_owned()));
            seen.insert(names);
        }
        assert_eq!(seen.len(), 3, "none, the temporary name, the last name: {seen:?}");
    }

    #[test]
    fn the_process_dies_in_the_middle_of_the_operation_asked_for() {
        let (disk, file) = disk_with(b"");
        disk.crash_at_operation(disk.operations() + 2);
        file.write_at(0, b"first").unwrap();
        assert!(file.write_at(5, b"second").is_err());
        assert!(file.write_at(0, b"third").is_err());
        disk.crash_process();
        assert!(disk.bytes("a").starts_with(b"first"));
    }
}
