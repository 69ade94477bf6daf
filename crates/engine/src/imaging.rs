//! Taking an image: one moment of all queues, handed over in slices while they go on.
//!
//! A queue that changes is listed for the next image, so an image costs what changed and not what
//! is there. When it begins, the list is what is due. A queue that is due and about to change is
//! taken first: the image holds the moment in which it began, however long its slices take.
//!
//! ```text
//! clean --about to change--> listed --image begins--> due --slice, or about to change--> clean
//! ```
//!
//! After an image was lost the next one holds every queue that is there when it begins. Nobody walks
//! over them to say so: due is then each whose number had been given out and that no image has
//! held since.

use sluice_model::QueueNo;

use crate::engine::Engine;
use crate::fetch::{TOGETHER, fetch_queues, image_lines};
use crate::image::{self, Piece};
use crate::queue::Queue;

/// A slice of an image takes so many queues at most, and a fraction of what a turn may do: a queue
/// that no cache holds any more costs 1 to 2 us.
const SLICE: usize = 256;
/// So many numbers of queues that are gone count like one that is there.
const LOOKS: usize = 8;

/// Which queues the next image has to hold, and which the one under way.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// The number of the last image that was begun.
    image: u64,
    /// Queues that changed since.
    listed: Vec<QueueNo>,
    /// Queues that it has to hold and that no slice has come to.
    due: Due,
    /// Pieces of those that changed before.
    early: Vec<Piece>,
    /// The last image that holds everything, whatever was in those before.
    whole: u64,
    /// The last queue that had been made when it began; none until it does.
    whole_to: u32,
    /// The last image was lost and the next one did not begin.
    lost: bool,
}

/// What slices have still to look at.
#[derive(Debug)]
enum Due {
    /// Queues that changed.
    Listed(std::vec::IntoIter<QueueNo>),
    /// Every queue, by number.
    All(std::ops::RangeInclusive<u32>),
}

impl Default for Due {
    fn default() -> Self {
        Self::Listed(Vec::new().into_iter())
    }
}

impl Due {
    fn is_empty(&self) -> bool {
        match self {
            Self::Listed(listed) => listed.len() == 0,
            Self::All(numbers) => numbers.is_empty(),
        }
    }

    fn next(&mut self, count: usize) -> Vec<QueueNo> {
        match self {
            Self::Listed(listed) => listed.take(count).collect(),
            Self::All(numbers) => numbers.take(count).map(QueueNo).collect(),
        }
    }
}

impl Changes {
    /// A queue is about to change, or is new.
    pub(crate) fn note(&mut self, queue: &mut Queue) {
        if queue.listed_for > self.image {
            return;
        }
        if self.is_due(queue) {
            let mut early = std::mem::take(&mut self.early);
            self.take(queue, &mut early);
            self.early = early;
        }
        queue.listed_for = self.image + 1;
        self.listed.push(queue.no());
    }

    fn is_due(&self, queue: &Queue) -> bool {
        queue.listed_for == self.image && self.image > 0
            || queue.imaged_by < self.whole && queue.no().0 <= self.whole_to
    }

    fn take(&self, queue: &mut Queue, into: &mut Vec<Piece>) {
        if queue.imaged_by < self.whole {
            queue.slots.dirty_all();
            (queue.imaged, queue.defined) = (None, None);
        }
        queue.imaged_by = self.image;
        queue.listed_for = 0;
        image::take_queue(queue, into);
    }

    /// Begins an image; `last` is the queue that was made last.
    fn begin(&mut self, last: u32) {
        assert!(self.due.is_empty() && self.early.is_empty(), "one image at a time");
        self.image += 1;
        let listed = std::mem::take(&mut self.listed);
        if std::mem::take(&mut self.lost) {
            (self.whole, self.whole_to) = (self.image, last);
            self.due = Due::All(1..=last);
        } else {
            self.due = Due::Listed(listed.into_iter());
        }
    }

    /// What changed in a queue goes into an image.
    pub(crate) fn check(&self, queue: &Queue) {
        let listed = self.lost || queue.listed_for > self.image || self.is_due(queue);
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
        self.dedupes.begin_image();
        self.kv.store.begin_image(&mut pieces);
        self.take_limits(&mut pieces);
        self.changes.begin(self.next.queue);
        pieces
    }

    /// Takes a bounded part of the image that was begun. False if that was the last.
    pub fn image_slice(&mut self, into: &mut Vec<Piece>) -> bool {
        let changes = &mut self.changes;
        let mut left = SLICE.min(self.config.deadlines_per_turn);
        while left > 0 && !changes.due.is_empty() {
            let some = changes.due.next(left.min(TOGETHER));
            let mut wanted = [None; TOGETHER];
            for (place, no) in wanted.iter_mut().zip(&some) {
                *place = Some((*no, None));
            }
            let count = fetch_queues(&self.queues, &wanted, image_lines);
            for no in &some {
                // Those that changed meanwhile or are gone were taken before.
                if let Some(queue) = self.queues.get_mut(no)
                    && changes.is_due(queue)
                {
                    changes.take(queue, into);
                }
            }
            left = left.saturating_sub(count.max(some.len() / LOOKS).max(1));
        }
        into.append(&mut changes.early);
        let queues_left = !changes.due.is_empty();
        // In slices of their own: a piece of ids or keys costs what a queue does.
        let slice = SLICE.min(self.config.deadlines_per_turn);
        queues_left
            || self.dedupes.image_slice(slice, into)
            || self.kv.store.image_slice(slice, into)
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
        self.dedupes.forget_image();
        self.kv.store.forget_image();
        self.limits.dirty = true;
        self.limits.imaged = 0;
        // No queue is due any more, and those that are listed are so again.
        let Changes { image, whole, .. } = self.changes;
        self.changes = Changes { image: image + 2, whole, lost: true, ..Changes::default() };
    }

    /// A queue is about to change.
    pub(crate) fn changing(&mut self, no: QueueNo) {
        if let Some(queue) = self.queues.get_mut(&no) {
            self.changes.note(queue);
        }
    }
}
