//! Parts of a session that take room once they are used: most connections never use most of them.

use std::ops::{Deref, DerefMut};

/// What can be looked at without being there.
pub(crate) trait Blank: Default + 'static {
    /// One in which nothing is.
    fn blank() -> &'static Self;
}

/// A part that is made when it is first changed, and looks blank until then.
#[derive(Debug)]
pub(crate) struct Late<T>(Option<Box<T>>);

impl<T> Late<T> {
    /// The part, if it was made.
    pub(crate) fn made(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }
}

impl<T> Default for Late<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Blank> Deref for Late<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or_else(|| T::blank())
    }
}

impl<T: Blank> DerefMut for Late<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}
