//! What an image takes of the store: chunks that changed, of one moment, in slices.

use std::sync::Arc;

use crate::image::{self, ImageList, Imaged, Key as PieceKey, Piece};

use super::store::{Slab, Store};

/// What images have to hold.
#[derive(Debug, Default)]
pub(super) struct Listed {
    chunks: ImageList<u64>,
    /// Pieces that went since the last image was begun.
    removed: Vec<PieceKey>,
    /// The last image has the numbers of the store.
    has_numbers: bool,
}

impl Listed {
    /// A chunk is about to change, or is new.
    pub(super) fn note(&mut self, slab: &mut Slab) {
        self.chunks.note(slab);
    }
}

impl Imaged for Slab {
    type Id = u64;

    fn id(&self) -> u64 {
        self.chunk.first
    }

    fn listed_for(&mut self) -> &mut u64 {
        &mut self.listed_for
    }

    fn take(&mut self, into: &mut Vec<Piece>) {
        if self.values_dirty {
            into.push(image::values_piece(Arc::clone(&self.chunk)));
            self.written = self.bytes();
        }
        if self.values_dirty || self.states_dirty {
            into.push(image::key_states_piece(Arc::clone(&self.chunk)));
        }
        (self.values_dirty, self.states_dirty, self.imaged) = (false, false, true);
    }
}

impl Store {
    /// Takes a chunk away of which nothing is left, and that was noted.
    pub(super) fn remove_chunk(&mut self, first: u64) {
        if let Some(slab) = self.chunks.remove(&first)
            && slab.imaged
        {
            self.listed.removed.extend(image::key_pieces(first));
        }
    }

    /// Begins an image, and gives its first pieces.
    pub(crate) fn begin_image(&mut self, pieces: &mut Vec<Piece>) {
        let listed = &mut self.listed;
        pieces.extend(listed.removed.drain(..).map(image::removed_piece));
        let has_changed = listed.chunks.begin();
        let is_new = !listed.has_numbers && self.last() > 0;
        if is_new || has_changed {
            self.listed.has_numbers = true;
            pieces.push(image::store_piece(self.last(), self.from()));
        }
    }

    /// Takes so many chunks of the image that was begun. False if that was the last.
    pub(crate) fn image_slice(&mut self, slice: usize, into: &mut Vec<Piece>) -> bool {
        let listed = &mut self.listed.chunks;
        for _ in 0..slice {
            let Some(first) = listed.next_due() else { break };
            if let Some(slab) = self.chunks.get_mut(&first) {
                listed.take(slab, into);
            }
        }
        listed.end_slice(into)
    }

    /// Makes the next image hold everything.
    pub(crate) fn forget_image(&mut self) {
        self.listed.chunks.forget();
        (self.listed.removed, self.listed.has_numbers) = (Vec::new(), false);
        for slab in self.chunks.values_mut() {
            (slab.values_dirty, slab.states_dirty, slab.imaged) = (true, true, false);
            self.listed.note(slab);
        }
    }

    /// What changed in a chunk goes into an image.
    pub(super) fn check_listed(&self, slab: &Slab) {
        let is_listed = self.listed.chunks.is_listed(slab.listed_for);
        let is_dirty = slab.values_dirty || slab.states_dirty;
        assert!(is_listed || !is_dirty, "a change of {} that no image holds", slab.chunk.first);
    }
}
