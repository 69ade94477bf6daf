//! A file of the disk.

use std::fmt;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::injection::injected;
use super::not_found;
use super::pages::{cut_write, read_pages};
use super::state::State;
use crate::disk::DiskFile;

/// An open file of a [`SimulatedDisk`](super::SimulatedDisk).
pub struct SimulatedFile {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) id: u64,
    pub(super) incarnation: u64,
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
