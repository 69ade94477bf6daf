//! The heads of a hash table that grows and shrinks one head at a time.
//!
//! In pieces of 1 024, so that no growth moves what is there.

use std::ops::{Index, IndexMut};

use super::wheel::NONE;

const PIECE: usize = 1_024;

/// For each hash the first key, or none.
#[derive(Debug, Default)]
pub(super) struct Heads {
    pieces: Vec<Box<[u32; PIECE]>>,
    len: usize,
}

impl Heads {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a head without keys.
    pub(super) fn push(&mut self) {
        if self.len == self.pieces.len() * PIECE {
            self.pieces.push(Box::new([NONE; PIECE]));
        }
        self.len += 1;
    }

    /// Takes the last head away, and gives its first key.
    pub(super) fn pop(&mut self) -> Option<u32> {
        self.len = self.len.checked_sub(1)?;
        let last = std::mem::replace(&mut self.pieces[self.len / PIECE][self.len % PIECE], NONE);
        // One that is empty stays, so that a head that comes and goes takes no piece each time.
        self.pieces.truncate(self.len.div_ceil(PIECE) + 1);
        Some(last)
    }

    /// Takes all heads away, of which none has a key.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Index<usize> for Heads {
    type Output = u32;

    fn index(&self, at: usize) -> &u32 {
        &self.pieces[at / PIECE][at % PIECE]
    }
}

impl IndexMut<usize> for Heads {
    fn index_mut(&mut self, at: usize) -> &mut u32 {
        &mut self.pieces[at / PIECE][at % PIECE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_keep_what_they_have_and_give_their_memory_back() {
        let mut heads = Heads::default();
        for at in 0..3 * PIECE {
            heads.push();
            assert_eq!(heads[at], NONE, "{at}");
            heads[at] = at as u32;
        }
        for at in (0..3 * PIECE).rev() {
            assert_eq!((heads.len(), heads[0]), (at + 1, 0));
            assert_eq!(heads.pop(), Some(at as u32));
            assert!(heads.pieces.len() <= at.div_ceil(PIECE) + 1);
        }
        assert!(heads.is_empty() && heads.pop().is_none());
        heads.push();
        assert_eq!(heads[0], NONE, "a head that comes again has no key");
        heads.clear();
        assert!(heads.pieces.is_empty() && heads.is_empty());
    }
}
