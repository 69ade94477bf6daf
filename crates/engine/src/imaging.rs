//! Taking an image: one moment of all queues, handed over in slices while they go on.
//!
//! A queue that changes is listed for the next image, so an image costs what changed and not what
//! is there. When it begins, the list is what is due. A queue that is due and about to change is
//! taken first: the image holds the moment in which it began, however long its slices take.
//!
//! ```text
//! clean --about to change--> listed --image begins--> due --slice, or about to change--> clean
//! ```

use sluice_model::QueueNo;

use crate::engine::Engine;
use crate::image::{self, Piece};
use crate::queue::Queue;

/// A slice of an image takes so many queues at most, and a fraction of what a turn may do: a queue
/// that no cache holds any more costs 1 to 2 us.
const SLICE: usize = 256;

/// Which queues the next image has to hold, and which the one under way.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// The number of the last image that was begun.
    image: u64,
    /// Queues that changed since.
    listed: Vec<QueueNo>,
    /// Queues that it has to hold and that no slice has come to.
    due: std::vec::IntoIter<QueueNo>,
    /// Pieces of those that changed before.
    early: Vec<Piece>,
}

impl Changes {
    /// A queue is about to change, or is new.
    pub(crate) fn note(&mut self, queue: &mut Queue) {
        if queue.listed_for > self.image {
            return;
        }
        if self.is_due(queue) {
            image::take_queue(queue, &mut self.early);
        }
        queue.listed_for = self.image + 1;
        self.listed.push(queue.no());
    }

    fn is_due(&self, queue: &Queue) -> bool {
        queue.listed_for == self.image && self.image > 0
    }

    /// What changed in a queue goes into an image.
    pub(crate) fn check(&self, queue: &Queue) {
        let listed = queue.listed_for > self.image || self.is_due(queue);
        assert!(listed || !queue.dirty, "a change of {:?} that no image holds", queue.no());
    }
}

impl Engine {
    /// Begins an image of what changed since the last one, and gives its first pieces. The moment is
    /// now; [`Engine::image_slice`] gives the others while the state goes on changing.
    pub fn begin_image(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let gone = std::mem::take(&mut self.removed_pieces);
        pieces.extend(gone.into_iter().map(image::removed_piece));
        if std::mem::take(&mut self.global_dirty) || self.start > 0 {
            pieces.push(self.global_piece());
        }
        let (removed, changed) = self.dedupes.take_dirty();
        let key = |(scope, chunk)| image::dedupe_key(scope, chunk);
        pieces.extend(removed.into_iter().map(|gone| image::removed_piece(key(gone))));
        let piece = |(scope, number, chunk)| image::dedupe_piece(scope, number, chunk);
        pieces.extend(changed.into_iter().map(piece));
        self.kv.store.begin_image(&mut pieces);
        let changes = &mut self.changes;
        assert!(changes.due.len() == 0 && changes.early.is_empty(), "one image at a time");
        changes.image += 1;
        changes.due = std::mem::take(&mut changes.listed).into_iter();
        pieces
    }

    /// Takes a bounded part of the image that was begun. False if that was the last.
    pub fn image_slice(&mut self, into: &mut Vec<Piece>) -> bool {
        let changes = &mut self.changes;
        for no in changes.due.by_ref().take(SLICE.min(self.config.deadlines_per_turn)) {
            // Those that changed meanwhile or are gone were taken before.
            if let Some(queue) = self.queues.get_mut(&no)
                && queue.listed_for == changes.image
            {
                queue.listed_for = 0;
                image::take_queue(queue, into);
            }
        }
        into.append(&mut changes.early);
        let queues_left = changes.due.len() > 0;
        // In slices of their own: a piece of keys costs what a queue does.
        queues_left || self.kv.store.image_slice(SLICE.min(self.config.deadlines_per_turn), into)
    }

    /// Takes a whole image at once, however long that takes.
    pub fn take_image(&mut self) -> Vec<Piece> {
        let mut pieces = self.begin_image();
        while self.image_slice(&mut pieces) {}
        pieces
    }

    /// Makes the next image hold everything, because the last one was lost, begun or whole.
    pub fn forget_image(&mut self) {
        self.removed_pieces.clear();
        self.dedupes.dirty_all();
        self.kv.store.forget_image();
        // No queue is due any more, and those that are listed are so again.
        self.changes = Changes { image: self.changes.image + 2, ..Changes::default() };
        for queue in self.queues.values_mut() {
            queue.slots.dirty_all();
            queue.imaged = None;
            self.changes.note(queue);
        }
    }

    /// A queue is about to change.
    pub(crate) fn changing(&mut self, no: QueueNo) {
        if let Some(queue) = self.queues.get_mut(&no) {
            self.changes.note(queue);
        }
    }
}
