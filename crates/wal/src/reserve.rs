//! Space set aside for the time when the disk is full: files of their final length, each for one
//! purpose, that become what they are needed for by a change of their name.
//!
//! ```text
//! reserve/recovery-1, -2                     the segment that a start writes, and the one after it
//! reserve/quarantine                         the copy of a torn tail
//! reserve/checkpoint, reserve/manifest       the next checkpoint
//! reserve/moves                              a segment of bodies moved out of sparse ones
//! reserve/in-flight                          what was accepted before anybody noticed
//! reserve/settlements-1 ...                  grants, acks and what else makes room
//! ```
//!
//! Nothing is freed for somebody else to take: a file is renamed to its new place with its space.
//! Segments of the log are all alike, so which of the last three is taken first does not matter;
//! how much of them is left for whom is counted by the owner, from [`ReserveStatus`].

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile, Space};
use crate::error::WalError;

pub(crate) const FOLDER: &str = "reserve";
pub(crate) const QUARANTINE: &str = "quarantine";
pub(crate) const CHECKPOINT: &str = "checkpoint";
pub(crate) const MANIFEST: &str = "manifest";
const RECOVERY: &str = "recovery-";
const MOVES: &str = "moves";
const IN_FLIGHT: &str = "in-flight";
const SETTLEMENTS: &str = "settlements-";

/// The reserve takes at most this part of the disk.
const SHARE: u64 = 4;
const QUARANTINE_MAX: u64 = 8 << 20;

/// What the reserve is sized by, beside the log's own bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Bytes that the next checkpoint may take, and its manifest.
    pub image_bytes: u64,
    /// Bytes of its manifest.
    pub manifest_bytes: u64,
}

/// What a step towards a whole reserve came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refill {
    /// All of it is there.
    Whole,
    /// A file was made or removed, and there may be more to do.
    Stepped,
    /// There is no space for the next file.
    Short,
}

/// What is set aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReserveStatus {
    /// Bytes of all its files.
    pub held: u64,
    /// Bytes that they are to have.
    pub planned: u64,
    /// Of these, for settlements.
    pub settlements: u64,
    /// Of these, for bodies that are moved.
    pub moves: u64,
}

#[derive(Debug, Default)]
struct Files {
    plan: BTreeMap<String, u64>,
    held: BTreeMap<String, u64>,
}

/// The reserve of one log. All its methods may be called from any thread.
#[derive(Debug)]
pub(crate) struct Reserve<D: Disk> {
    disk: D,
    segment_bytes: u64,
    settlements: u64,
    files: Mutex<Files>,
}

impl<D: Disk> Reserve<D> {
    /// Finds what is there. Leftovers of an unfinished file go.
    pub(crate) fn open(disk: D, segment_bytes: u64, settlements: u64) -> Result<Self, WalError> {
        let mut held = BTreeMap::new();
        for name in disk.list(FOLDER).map_err(WalError::io("list", FOLDER))? {
            let path = path_of(&name);
            if name.ends_with(".tmp") {
                disk.remove(&path).map_err(WalError::io("remove", &*path))?;
                continue;
            }
            let file = disk.open(&path).map_err(WalError::io("open", &*path))?;
            held.insert(name, file.size().map_err(WalError::io("measure", &*path))?);
        }
        let files = Mutex::new(Files { plan: BTreeMap::new(), held });
        Ok(Self { disk, segment_bytes, settlements, files })
    }

    /// Decides what there should be on a disk of `space`.
    pub(crate) fn plan(&self, plan: Plan, space: Space) {
        let segment = self.segment_bytes;
        let mut parts = vec![
            (MANIFEST.to_owned(), plan.manifest_bytes),
            (CHECKPOINT.to_owned(), plan.image_bytes),
            (QUARANTINE.to_owned(), (segment / 8).min(QUARANTINE_MAX)),
            (format!("{SETTLEMENTS}1"), segment),
            (format!("{RECOVERY}1"), segment),
            (MOVES.to_owned(), segment),
            // A start gives back the segment of the start before, but not before it has its own.
            (format!("{RECOVERY}2"), segment),
            (IN_FLIGHT.to_owned(), segment),
        ];
        let wanted = self.settlements.div_ceil(segment.max(1));
        parts.extend((2..=wanted).map(|number| (format!("{SETTLEMENTS}{number}"), segment)));
        // The last is the first to be given up where the disk is small.
        let share = space.total / SHARE;
        let mut sum: u64 = parts.iter().map(|(_, len)| len).sum();
        while sum > share
            && let Some((_, len)) = parts.pop()
        {
            sum -= len;
        }
        self.files.lock().plan = parts.into_iter().collect();
    }

    /// Removes a file that is not planned so, or makes one that is missing, if there is space.
    pub(crate) fn refill(&self) -> Result<Refill, WalError> {
        let (wrong, missing) = {
            let Files { plan, held } = &*self.files.lock();
            // One that is somewhat longer than it has to be does as well.
            let fits = |name: &String, len: u64| {
                plan.get(name).is_some_and(|wanted| match is_segment(name) {
                    true => len == *wanted,
                    false => (*wanted..=wanted.saturating_mul(2)).contains(&len),
                })
            };
            let wrong = held.iter().find(|(name, len)| !fits(name, **len));
            let missing = plan.iter().find(|(name, _)| !held.contains_key(*name));
            let owned = |(name, len): (&String, &u64)| (name.clone(), *len);
            (wrong.map(owned), missing.map(owned))
        };
        if let Some((name, _)) = wrong {
            self.files.lock().held.remove(&name);
            let path = path_of(&name);
            self.disk.remove(&path).map_err(WalError::io("remove", &*path))?;
            self.disk.sync_folder(FOLDER).map_err(WalError::io("sync", FOLDER))?;
            return Ok(Refill::Stepped);
        }
        let Some((name, len)) = missing else { return Ok(Refill::Whole) };
        match self.set_aside(&name, len) {
            Ok(()) => Ok(Refill::Stepped),
            Err(error) if error.is_no_space() => Ok(Refill::Short),
            Err(error) => Err(error),
        }
    }

    fn set_aside(&self, name: &str, len: u64) -> Result<(), WalError> {
        let path = path_of(name);
        let temporary = format!("{path}.tmp");
        let space = self.disk.space().map_err(WalError::io("measure", "the disk"))?;
        if space.is_some_and(|space| space.free < len) {
            return Err(WalError::no_space(temporary));
        }
        let file = self.disk.create(&temporary).map_err(WalError::io("create", &*temporary))?;
        let made = file.allocate(len).map_err(WalError::io("allocate", &*temporary));
        if let Err(error) = made {
            // What it got must not be missing elsewhere.
            let _ = self.disk.remove(&temporary);
            let _ = self.disk.sync_folder(FOLDER);
            return Err(error);
        }
        file.sync().map_err(WalError::io("sync", &*temporary))?;
        self.disk.rename(&temporary, &path).map_err(WalError::io("rename", &*temporary))?;
        self.disk.sync_folder(FOLDER).map_err(WalError::io("sync", FOLDER))?;
        self.files.lock().held.insert(name.to_owned(), len);
        Ok(())
    }

    /// Gives the file of a part another name and opens it there; none where the part is spent.
    pub(crate) fn take(&self, name: &str, to: &str) -> Result<Option<Arc<D::File>>, WalError> {
        if self.files.lock().held.remove(name).is_none() {
            return Ok(None);
        }
        let path = path_of(name);
        self.disk.rename(&path, to).map_err(WalError::io("rename", path))?;
        // Safe before a byte is written to it: what comes back to the reserve after a crash has to
        // be as empty as it was.
        let folder = to.rsplit_once('/').map_or("", |(folder, _)| folder);
        for folder in [folder, FOLDER] {
            self.disk.sync_folder(folder).map_err(WalError::io("sync the folder of", to))?;
        }
        self.disk.open(to).map(Some).map_err(WalError::io("open", to))
    }

    /// Takes a segment's worth: for a recovery its own, else one of the log's.
    pub(crate) fn take_segment(
        &self,
        recovery: bool,
        to: &str,
    ) -> Result<Option<Arc<D::File>>, WalError> {
        let name = {
            let held = &self.files.lock().held;
            let whole = |name: &&String| held.get(*name) == Some(&self.segment_bytes);
            let own = held.keys().filter(whole).find(|name| recovery && name.starts_with(RECOVERY));
            own.or_else(|| held.keys().filter(whole).find(|name| is_of_log(name))).cloned()
        };
        match name {
            Some(name) => self.take(&name, to),
            None => Ok(None),
        }
    }

    /// Segments that the log may still begin when the disk is full.
    pub(crate) fn segments(&self) -> u32 {
        let held = &self.files.lock().held;
        let whole = |(name, len): &(&String, &u64)| is_of_log(name) && **len == self.segment_bytes;
        held.iter().filter(whole).count() as u32
    }

    pub(crate) fn status(&self) -> ReserveStatus {
        let Files { plan, held } = &*self.files.lock();
        let settlements: u64 =
            plan.iter().filter(|(name, _)| name.starts_with(SETTLEMENTS)).map(|(_, len)| len).sum();
        ReserveStatus {
            held: held.values().sum(),
            planned: plan.values().sum(),
            settlements: settlements.min(self.settlements),
            moves: plan.get(MOVES).copied().unwrap_or_default(),
        }
    }
}

fn path_of(name: &str) -> String {
    format!("{FOLDER}/{name}")
}

/// Whether it is one of the segments that the log takes.
fn is_of_log(name: &str) -> bool {
    name == MOVES || name == IN_FLIGHT || name.starts_with(SETTLEMENTS)
}

fn is_segment(name: &str) -> bool {
    name.starts_with(RECOVERY) || is_of_log(name)
}
