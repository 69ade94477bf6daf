//! What the disk knows: its files and names, what of them a crash takes, and what is to fail.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;

use super::injection::injected;
use super::pages::FileState;
use super::random::{draw, toss};
use super::{FaultCounters, Faults};

#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Create(String, u64),
    /// From, to, and which file: its last name may survive where its first one did not.
    Rename(String, String, u64),
    RenameFolder(String, String),
    Remove(String),
}

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) files: BTreeMap<u64, FileState>,
    pub(super) names: BTreeMap<String, u64>,
    pub(super) media_names: BTreeMap<String, u64>,
    pub(super) unsynced_names: Vec<NameChange>,
    pub(super) next_file: u64,
    /// Media and dirty sectors are kept only where a crash may come.
    pub(super) tracks: bool,
    pub(super) locked: bool,
    /// Handles from before a crash are dead.
    pub(super) incarnation: u64,
    pub(super) random: u64,
    pub(super) faults: Faults,
    pub(super) counters: FaultCounters,
    pub(super) operations: u64,
    pub(super) crash_at: Option<u64>,
    pub(super) fail_at: Option<Range<u64>>,
    /// Files whose path ends so can't be read.
    pub(super) unreadable: Option<String>,
    /// Bytes of the disk, if they are bounded, and those that something else has taken.
    pub(super) capacity: Option<u64>,
    pub(super) hog: u64,
    /// The process is dead until a crash has been taken.
    pub(super) dead: bool,
}

impl State {
    pub(super) fn revive(&mut self) {
        self.incarnation += 1;
        self.locked = false;
        self.dead = false;
        self.crash_at = None;
    }

    pub(super) fn fall_back_to_media(&mut self) {
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
    pub(super) fn operate(&mut self) -> io::Result<bool> {
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
    pub(super) fn operate_whole(&mut self) -> io::Result<()> {
        match self.operate()? {
            true if toss(&mut self.random) => Err(io::Error::other("the process died")),
            _ => Ok(()),
        }
    }

    /// As [`State::operate_whole`], for what works on names.
    pub(super) fn operate_names(&mut self) -> io::Result<()> {
        self.operate_whole()?;
        if self.fails(0) {
            self.counters.failed_names += 1;
            return Err(injected());
        }
        Ok(())
    }

    pub(super) fn fails(&mut self, rate: u32) -> bool {
        self.fail_at.as_ref().is_some_and(|at| at.contains(&self.operations))
            || rate > 0 && draw(&mut self.random) % 10_000 < u64::from(rate)
    }

    pub(super) fn is_unreadable(&self, id: u64) -> bool {
        self.unreadable.as_ref().is_some_and(|suffix| {
            self.names.iter().any(|(name, file)| *file == id && name.ends_with(suffix.as_str()))
        })
    }

    pub(super) fn change_name(&mut self, change: NameChange) {
        apply(&change, &mut self.names);
        if self.tracks {
            self.unsynced_names.push(change);
        } else {
            let named: BTreeSet<u64> = self.names.values().copied().collect();
            self.files.retain(|id, _| named.contains(id));
        }
    }
}

pub(super) fn apply(change: &NameChange, names: &mut BTreeMap<String, u64>) {
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

/// Whether a path lies in a folder or below it.
pub(super) fn is_in(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}
