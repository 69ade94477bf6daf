//! Changes that lie together: what images take of the store.

use std::collections::VecDeque;

use bytes::Bytes;
use sluice_model::Key;

use super::change::{Change, What};
use super::values;

/// Most numbers that a chunk spans.
pub(crate) const SPAN: u64 = 256;
/// A chunk that has got so many bytes gets no more changes, so that an image has little to write
/// anew for the next one.
pub(crate) const BYTES: usize = 64 << 10;

/// Changes in the order of their numbers, of which some are gone.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Chunk {
    /// The number of the first one that it was made with.
    pub(crate) first: u64,
    /// The oldest ones go first, as the history does.
    pub(crate) changes: VecDeque<Change>,
}

impl Chunk {
    pub(crate) fn new(first: u64) -> Self {
        Self { first, changes: VecDeque::new() }
    }

    /// The change of that number.
    pub(crate) fn get(&self, revision: u64) -> Option<&Change> {
        self.changes.get(self.place(revision)?)
    }

    /// Takes a change out.
    pub(crate) fn remove(&mut self, revision: u64) -> Option<Change> {
        let at = self.place(revision)?;
        let gone = self.changes.remove(at)?;
        if self.changes.capacity() > 2 * self.changes.len() {
            self.changes.shrink_to_fit();
        }
        Some(gone)
    }

    /// Gives each of its values a place of its own in memory, and tells `moved` of them.
    pub(crate) fn set_apart(&mut self, mut moved: impl FnMut(&Key, u64, &Bytes)) {
        for Change { key, revision, what, .. } in &mut self.changes {
            if let What::Put { value, .. } = what {
                value.bytes = values::apart(&value.bytes);
                moved(key, *revision, &value.bytes);
            }
        }
    }

    fn place(&self, revision: u64) -> Option<usize> {
        // Where none is gone but from the front, they lie in a row.
        let first = self.changes.front()?.revision;
        let straight = usize::try_from(revision.checked_sub(first)?).ok()?;
        match self.changes.get(straight) {
            Some(change) if change.revision == revision => Some(straight),
            _ => self.changes.binary_search_by_key(&revision, |change| change.revision).ok(),
        }
    }

    /// Bytes of what is in it.
    pub(crate) fn bytes(&self) -> usize {
        self.changes.iter().map(Change::weight).sum()
    }
}
