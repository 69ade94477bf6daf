//! What an image takes of the store: chunks that changed, of one moment, in slices.
//!
//! It goes as with queues (`imaging.rs` of the engine): a chunk that changes is listed; the list is
//! what the next image has to hold; a chunk on it that is about to change again is taken first.

use std::sync::Arc;

use crate::image::{self, Key as PieceKey, Piece};

use super::store::{Slab, Store};

/// Which chunks the next image has to hold, and which the one under way.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// The number of the last image that was begun.
    image: u64,
    /// Chunks that changed since, or were made.
    next: Vec<u64>,
    /// Chunks that it has to hold and that no slice has come to.
    due: std::vec::IntoIter<u64>,
    /// Pieces of those that changed before.
    early: Vec<Piece>,
    /// Pieces that went since the last image was begun.
    removed: Vec<PieceKey>,
    /// The last image has the numbers of the store.
    has_numbers: bool,
}

impl Listed {
    /// A chunk is about to change, or is new.
    pub(super) fn note(&mut self, slab: &mut Slab) {
        if slab.listed_for > self.image {
            return;
        }
        if slab.listed_for == self.image && self.image > 0 {
            take(slab, &mut self.early);
        }
        slab.listed_for = self.image + 1;
        self.next.push(slab.chunk.first);
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
        assert!(listed.due.len() == 0 && listed.early.is_empty(), "one image at a time");
        pieces.extend(listed.removed.drain(..).map(image::removed_piece));
        listed.image += 1;
        listed.due = std::mem::take(&mut listed.next).into_iter();
        let is_new = !listed.has_numbers && self.last() > 0;
        if is_new || self.listed.due.len() > 0 {
            self.listed.has_numbers = true;
            pieces.push(image::store_piece(self.last(), self.from()));
        }
    }

    /// Takes so many chunks of the image that was begun. False if that was the last.
    pub(crate) fn image_slice(&mut self, slice: usize, into: &mut Vec<Piece>) -> bool {
        let listed = &mut self.listed;
        for first in listed.due.by_ref().take(slice) {
            // Those that changed meanwhile or are gone were taken before.
            if let Some(slab) = self.chunks.get_mut(&first)
                && slab.listed_for == listed.image
            {
                slab.listed_for = 0;
                take(slab, into);
            }
        }
        into.append(&mut listed.early);
        listed.due.len() > 0
    }

    /// Makes the next image hold everything.
    pub(crate) fn forget_image(&mut self) {
        self.listed = Listed { image: self.listed.image + 2, ..Listed::default() };
        for slab in self.chunks.values_mut() {
            (slab.values_dirty, slab.states_dirty, slab.imaged) = (true, true, false);
            self.listed.note(slab);
        }
    }

    /// What changed in a chunk goes into an image.
    pub(super) fn check_listed(&self, slab: &Slab) {
        let image = self.listed.image;
        let is_listed = slab.listed_for > image || slab.listed_for == image && image > 0;
        let is_dirty = slab.values_dirty || slab.states_dirty;
        assert!(is_listed || !is_dirty, "a change of {} that no image holds", slab.chunk.first);
    }
}

/// Takes what changed of a chunk since it was last taken.
fn take(slab: &mut Slab, pieces: &mut Vec<Piece>) {
    if slab.values_dirty {
        pieces.push(image::values_piece(Arc::clone(&slab.chunk)));
        slab.written = slab.bytes();
    }
    if slab.values_dirty || slab.states_dirty {
        pieces.push(image::key_states_piece(Arc::clone(&slab.chunk)));
    }
    (slab.values_dirty, slab.states_dirty, slab.imaged) = (false, false, true);
}
