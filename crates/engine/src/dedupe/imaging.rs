//! What an image takes of dedupe ids: chunks that changed, of one moment, in slices.

use std::sync::Arc;

use super::{DedupeChunk, Dedupes, Scope};
use crate::image::{self, ImageList, Imaged, Key as PieceKey, Piece};

/// What images have to hold.
#[derive(Debug, Default)]
pub(super) struct Listed {
    scopes: ImageList<u32>,
    /// Pieces of scopes that went since the last image was begun, and those before.
    removed: Vec<PieceKey>,
    gone: std::vec::IntoIter<PieceKey>,
}

impl Listed {
    /// A scope is about to change, or is new.
    pub(super) fn note(&mut self, scope: &mut Scope) {
        self.scopes.note(scope);
    }

    /// A scope is gone that was noted.
    pub(super) fn remove(&mut self, scope: Scope) {
        let left = scope.first_chunk..scope.first_chunk + scope.chunks.len() as u64;
        let gone = scope.removed.into_iter().chain(left);
        self.removed.extend(gone.map(|chunk| image::dedupe_key(scope.number, chunk)));
    }
}

impl Imaged for Scope {
    type Id = u32;

    fn id(&self) -> u32 {
        self.number
    }

    fn listed_for(&mut self) -> &mut u64 {
        &mut self.listed_for
    }

    fn take(&mut self, into: &mut Vec<Piece>) {
        let number = self.number;
        let gone = self.removed.drain(..).map(|chunk| image::dedupe_key(number, chunk));
        into.extend(gone.map(image::removed_piece));
        let from = std::mem::replace(&mut self.dirty_from, u64::MAX).max(self.first_chunk);
        let clean = usize::try_from(from - self.first_chunk).unwrap_or(usize::MAX);
        for (chunk, entries) in (from..).zip(self.chunks.iter().skip(clean)) {
            let (scope, entries) = (self.name.clone(), Arc::clone(entries));
            into.push(image::dedupe_piece(number, chunk, DedupeChunk { scope, entries }));
        }
    }
}

impl Dedupes {
    /// Begins an image.
    pub(crate) fn begin_image(&mut self) {
        let listed = &mut self.listed;
        assert!(listed.gone.len() == 0, "one image at a time");
        listed.scopes.begin();
        listed.gone = std::mem::take(&mut listed.removed).into_iter();
    }

    /// Takes about so many pieces of the image that was begun; a scope's go together. False if those
    /// were the last.
    pub(crate) fn image_slice(&mut self, slice: usize, into: &mut Vec<Piece>) -> bool {
        let Listed { scopes, gone, .. } = &mut self.listed;
        let most = into.len() + slice;
        into.extend(gone.by_ref().take(slice).map(image::removed_piece));
        for _ in 0..slice {
            let Some(number) = scopes.next_due() else { break };
            if let Some(scope) = self.scopes.get_mut(&number) {
                scopes.take(scope, into);
            }
            if into.len() >= most {
                break;
            }
        }
        scopes.end_slice(into) || gone.len() > 0
    }

    /// Makes the next image hold everything.
    pub(crate) fn forget_image(&mut self) {
        self.listed.scopes.forget();
        (self.listed.removed, self.listed.gone) = Default::default();
        for scope in self.scopes.values_mut() {
            scope.removed.clear();
            scope.dirty_from = 0;
            self.listed.note(scope);
        }
    }

    /// What changed in a scope goes into an image.
    pub(crate) fn check(&self) {
        for (number, scope) in &self.scopes {
            let is_listed = self.listed.scopes.is_listed(scope.listed_for);
            let is_dirty = scope.dirty_from < u64::MAX || !scope.removed.is_empty();
            assert!(is_listed || !is_dirty, "ids of scope {number} that no image holds");
        }
    }
}
