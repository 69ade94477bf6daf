//! Which of many things the next image has to hold, and which the one under way.
//!
//! As with queues (`imaging.rs`): a thing that changes is listed for the next image. When that begins, the
//! list is what is due, and slices come to it one after another. A thing that is due and about to change is
//! taken first, so the image holds the moment in which it began.

use super::Piece;

/// A thing that images hold.
pub(crate) trait Imaged {
    /// How it is found.
    type Id;

    /// How this one is found.
    fn id(&self) -> Self::Id;
    /// The image that it was last listed for; 0 if none has to hold it.
    fn listed_for(&mut self) -> &mut u64;
    /// Gives what changed of it since it was last taken.
    fn take(&mut self, into: &mut Vec<Piece>);
}

/// Things that images have to hold, by how they are found.
#[derive(Debug, Default)]
pub(crate) struct ImageList<I> {
    /// The number of the last image that was begun.
    image: u64,
    /// Things that changed since, or were made.
    next: Vec<I>,
    /// Things that it has to hold and that no slice has come to.
    due: std::vec::IntoIter<I>,
    /// Pieces of those that changed before.
    early: Vec<Piece>,
}

impl<I: Default> ImageList<I> {
    /// Something is about to change, or is new.
    pub(crate) fn note(&mut self, thing: &mut impl Imaged<Id = I>) {
        let listed_for = *thing.listed_for();
        if listed_for > self.image {
            return;
        }
        if self.is_due(listed_for) {
            thing.take(&mut self.early);
        }
        *thing.listed_for() = self.image + 1;
        self.next.push(thing.id());
    }

    fn is_due(&self, listed_for: u64) -> bool {
        listed_for == self.image && self.image > 0
    }

    /// Whether an image will hold what was last listed for that one.
    pub(crate) fn is_listed(&self, listed_for: u64) -> bool {
        listed_for > self.image || self.is_due(listed_for)
    }

    /// Begins an image. Whether there is anything to take for it.
    pub(crate) fn begin(&mut self) -> bool {
        assert!(self.due.len() == 0 && self.early.is_empty(), "one image at a time");
        self.image += 1;
        self.due = std::mem::take(&mut self.next).into_iter();
        self.due.len() > 0
    }

    /// What a slice comes to next; it may be gone.
    pub(crate) fn next_due(&mut self) -> Option<I> {
        self.due.next()
    }

    /// Takes that, unless it changed meanwhile: then it was taken before.
    pub(crate) fn take(&self, thing: &mut impl Imaged<Id = I>, into: &mut Vec<Piece>) {
        if *thing.listed_for() == self.image {
            *thing.listed_for() = 0;
            thing.take(into);
        }
    }

    /// Ends a slice with what was taken before its turn. False if it was the last.
    pub(crate) fn end_slice(&mut self, into: &mut Vec<Piece>) -> bool {
        into.append(&mut self.early);
        self.due.len() > 0
    }

    /// The last image was lost: everything has to be noted anew.
    pub(crate) fn forget(&mut self) {
        // Nothing is listed for a number so high.
        *self = Self { image: self.image + 2, ..Self::default() };
    }
}
