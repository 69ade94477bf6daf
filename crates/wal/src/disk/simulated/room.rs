//! A disk of bounded size, which something else fills and frees.

use std::collections::BTreeSet;
use std::io;

use super::SimulatedDisk;
use super::pages::{FileState, PAGE, SECTOR};
use super::state::State;
use crate::disk::Space;

impl SimulatedDisk {
    /// Bounds the disk; none for as much as there is.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity = bytes;
    }

    /// Something else takes all space but `left` bytes.
    pub fn fill(&self, left: u64) {
        let mut state = self.state.lock();
        if let Some(Space { free, .. }) = state.room() {
            state.hog += free.saturating_sub(left);
            state.counters.hogged += 1;
        }
    }

    /// Something else gives back all that it has taken.
    pub fn free(&self) {
        self.state.lock().hog = 0;
    }
}

impl State {
    /// A file takes space until its removal is safe, as with a journal of names.
    pub(super) fn room(&self) -> Option<Space> {
        let total = self.capacity?;
        let named: BTreeSet<u64> =
            self.names.values().chain(self.media_names.values()).copied().collect();
        let files = named.iter().filter_map(|id| self.files.get(id));
        let used: u64 = files.map(|file| file.len.max(file.media_len)).sum();
        Some(Space { total, free: total.saturating_sub(used.saturating_add(self.hog)) })
    }

    /// Refuses a length that there is no space for.
    pub(super) fn fit(&mut self, id: u64, len: u64) -> io::Result<()> {
        let Some(Space { free, .. }) = self.room() else { return Ok(()) };
        let there = self.files.get(&id).map_or(0, |file| file.len.max(file.media_len));
        if len.saturating_sub(there) > free {
            self.counters.no_space += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// The bytes of a write, or an error after those that there is space for.
    pub(super) fn that_fit<'a>(
        &mut self,
        id: u64,
        offset: u64,
        bytes: &'a [u8],
    ) -> io::Result<&'a [u8]> {
        let Err(full) = self.fit(id, offset + bytes.len() as u64) else { return Ok(bytes) };
        let free = self.room().map_or(0, |space| space.free);
        let tracks = self.tracks;
        if let Some(file) = self.files.get_mut(&id) {
            let end = file.len.max(file.media_len) + free;
            let part = end.saturating_sub(offset).min(bytes.len() as u64) as usize;
            file.write(offset, &bytes[..part], tracks);
        }
        Err(full)
    }
}

impl FileState {
    pub(super) fn shorten(&mut self, len: u64) {
        self.len = self.len.min(len);
        let page = len / PAGE as u64;
        for pages in [&mut self.cache, &mut self.media] {
            pages.retain(|number, _| *number <= page);
            if let Some(last) = pages.get_mut(&page) {
                last[(len % PAGE as u64) as usize..].fill(0);
            }
        }
        self.dirty.retain(|sector| sector * (SECTOR as u64) < len);
    }
}
