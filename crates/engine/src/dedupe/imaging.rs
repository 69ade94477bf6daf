//! What an image takes of dedupe ids: chunks that changed, of one moment, in slices.
//!
//! It goes as with queues (`imaging.rs` of the engine): a scope that changes is listed; the list is
//! what the next image has to hold; a scope on it that is about to change again is taken first.

use std::sync::Arc;

use super::{DedupeChunk, Dedupes, Scope};
use crate::image::{self, Key as PieceKey, Piece};

/// Which scopes the next image has to hold, and which the one under way.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// The number of the last image that was begun.
    image: u64,
    /// Scopes that changed since, or were made.
    next: Vec<u32>,
    /// Scopes that it has to hold and that no slice has come to.
    due: std::vec::IntoIter<u32>,
    /// Pieces of those that changed before.
    early: Vec<Piece>,
    /// Pieces of scopes that went since the last image was begun, and those before.
    removed: Vec<PieceKey>,
    gone: std::vec::IntoIter<PieceKey>,
}

impl Listed {
    /// A scope is about to change, or is new.
    pub(super) fn note(&mut self, scope: &mut Scope) {
        if scope.listed_for > self.image {
            return;
        }
        if self.is_due(scope) {
            take(scope, &mut self.early);
        }
        scope.listed_for = self.image + 1;
        self.next.push(scope.number);
    }

    fn is_due(&self, scope: &Scope) -> bool {
        scope.listed_for == self.image && self.image > 0
    }

    /// A scope is gone that was noted.
    pub(super) fn remove(&mut self, scope: Scope) {
        let left = scope.first_chunk..scope.first_chunk + scope.chunks.len() as u64;
        let gone = scope.removed.into_iter().chain(left);
        self.removed.extend(gone.map(|chunk| image::dedupe_key(scope.number, chunk)));
    }
}

impl Dedupes {
    /// Begins an image.
    pub(crate) fn begin_image(&mut self) {
        let listed = &mut self.listed;
        let is_over = listed.due.len() == 0 && listed.gone.len() == 0 && listed.early.is_empty();
        assert!(is_over, "one image at a time");
        listed.image += 1;
        listed.due = std::mem::take(&mut listed.next).into_iter();
        listed.gone = std::mem::take(&mut listed.removed).into_iter();
    }

    /// Takes about so many pieces of the image that was begun; a scope's go together. False if those
    /// were the last.
    pub(crate) fn image_slice(&mut self, slice: usize, into: &mut Vec<Piece>) -> bool {
        let listed = &mut self.listed;
        let most = into.len() + slice;
        into.extend(listed.gone.by_ref().take(slice).map(image::removed_piece));
        for number in listed.due.by_ref().take(slice) {
            // Those that changed meanwhile or are gone were taken before.
            if let Some(scope) = self.scopes.get_mut(&number)
                && scope.listed_for == listed.image
            {
                take(scope, into);
            }
            if into.len() >= most {
                break;
            }
        }
        into.append(&mut listed.early);
        listed.due.len() > 0 || listed.gone.len() > 0
    }

    /// Makes the next image hold everything.
    pub(crate) fn forget_image(&mut self) {
        self.listed = Listed { image: self.listed.image + 2, ..Listed::default() };
        for scope in self.scopes.values_mut() {
            scope.removed.clear();
            scope.dirty_from = 0;
            self.listed.note(scope);
        }
    }

    /// What changed in a scope goes into an image.
    pub(crate) fn check(&self) {
        for (number, scope) in &self.scopes {
            let is_listed = scope.listed_for > self.listed.image || self.listed.is_due(scope);
            let is_dirty = scope.dirty_from < u64::MAX || !scope.removed.is_empty();
            assert!(is_listed || !is_dirty, "ids of scope {number} that no image holds");
        }
    }
}

/// Takes what changed of a scope since it was last taken.
fn take(scope: &mut Scope, pieces: &mut Vec<Piece>) {
    scope.listed_for = 0;
    let number = scope.number;
    let gone = scope.removed.drain(..).map(|chunk| image::dedupe_key(number, chunk));
    pieces.extend(gone.map(image::removed_piece));
    let from = std::mem::replace(&mut scope.dirty_from, u64::MAX).max(scope.first_chunk);
    let clean = usize::try_from(from - scope.first_chunk).unwrap_or(usize::MAX);
    for (chunk, entries) in (from..).zip(scope.chunks.iter().skip(clean)) {
        let (scope, entries) = (scope.name.clone(), Arc::clone(entries));
        pieces.push(image::dedupe_piece(number, chunk, DedupeChunk { scope, entries }));
    }
}
