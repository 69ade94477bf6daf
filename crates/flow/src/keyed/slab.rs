//! Values by number, in pieces of 64: a number stays what it is until its value is taken out, no
//! growth moves or copies what is there, and memory follows how many there are.

use std::collections::BTreeSet;
use std::ops::{Index, IndexMut};

const PIECE: usize = 64;

#[derive(Debug)]
struct Piece<T> {
    /// A bit for each number that is in use.
    used: u64,
    /// None while none is.
    values: Option<Box<[T; PIECE]>>,
}

/// Numbered values; the lowest piece with room takes the next one.
#[derive(Debug)]
pub(super) struct Slab<T> {
    pieces: Vec<Piece<T>>,
    /// Pieces with values and with room.
    partial: BTreeSet<u32>,
    /// Pieces without values.
    vacant: BTreeSet<u32>,
    len: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        let (partial, vacant) = (BTreeSet::new(), BTreeSet::new());
        Self { pieces: Vec::new(), partial, vacant, len: 0 }
    }
}

fn split(number: u32) -> (usize, usize) {
    (number as usize / PIECE, number as usize % PIECE)
}

impl<T: Default> Slab<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Keeps a value and gives it the lowest number that it can have without a new piece. The
    /// caller sees to it that there are fewer than 2^31.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        let at = self.partial.first().or(self.vacant.first()).copied().unwrap_or_else(|| {
            self.pieces.push(Piece { used: 0, values: None });
            let at = (self.pieces.len() - 1) as u32;
            self.vacant.insert(at);
            at
        });
        let piece = &mut self.pieces[at as usize];
        let slot = piece.used.trailing_ones() as usize;
        let values =
            piece.values.get_or_insert_with(|| Box::new(std::array::from_fn(|_| T::default())));
        values[slot] = value;
        if piece.used == 0 {
            self.vacant.remove(&at);
            self.partial.insert(at);
        }
        piece.used |= 1 << slot;
        if piece.used == u64::MAX {
            self.partial.remove(&at);
        }
        self.len += 1;
        at * PIECE as u32 + slot as u32
    }

    /// Takes a value out; its number is free again.
    pub(super) fn remove(&mut self, number: u32) -> T {
        let (at, slot) = split(number);
        let value = std::mem::take(&mut self[number]);
        let piece = &mut self.pieces[at];
        if piece.used == u64::MAX {
            self.partial.insert(at as u32);
        }
        piece.used &= !(1 << slot);
        self.len -= 1;
        if piece.used == 0 {
            piece.values = None;
            self.partial.remove(&(at as u32));
            self.vacant.insert(at as u32);
            self.cut();
        }
        value
    }

    /// Lets go of empty pieces at the end.
    fn cut(&mut self) {
        while self.pieces.last().is_some_and(|piece| piece.used == 0) {
            self.pieces.pop();
            self.vacant.remove(&(self.pieces.len() as u32));
        }
        if self.pieces.len() < self.pieces.capacity() / 4 {
            self.pieces.shrink_to(self.pieces.len() * 2);
        }
    }

    pub(super) fn get(&self, number: u32) -> Option<&T> {
        let (at, slot) = split(number);
        let piece = self.pieces.get(at).filter(|piece| piece.used & (1 << slot) != 0)?;
        piece.values.as_ref().map(|values| &values[slot])
    }

    /// The first number in use at or behind `from`.
    pub(super) fn next(&self, from: u32) -> Option<u32> {
        let (first, slot) = split(from);
        for (at, piece) in self.pieces.iter().enumerate().skip(first) {
            let wanted = if at == first { u64::MAX << slot } else { u64::MAX };
            if piece.used & wanted != 0 {
                return Some((at * PIECE) as u32 + (piece.used & wanted).trailing_zeros());
            }
        }
        None
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, number: u32) -> &T {
        let (at, slot) = split(number);
        let values = self.pieces[at].values.as_ref();
        &values.expect("a number in use has a piece with values")[slot]
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, number: u32) -> &mut T {
        let (at, slot) = split(number);
        let values = self.pieces[at].values.as_mut();
        &mut values.expect("a number in use has a piece with values")[slot]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_keep_their_values_and_an_empty_slab_has_no_pieces(
            steps in prop::collection::vec((any::<bool>(), any::<u32>()), 0..600),
        ) {
            let (mut slab, mut model) = (Slab::default(), BTreeMap::new());
            for (insert, number) in steps {
                if insert || model.is_empty() {
                    prop_assert_eq!(model.insert(slab.insert(number), number), None);
                } else {
                    let (at, value) = model.iter().nth(number as usize % model.len()).unwrap();
                    let (at, value) = (*at, *value);
                    model.remove(&at);
                    prop_assert_eq!(slab.remove(at), value);
                    prop_assert_eq!(slab.get(at), None);
                }
                prop_assert_eq!(slab.len(), model.len());
                prop_assert_eq!(slab.next(number % 700), model.range(number % 700..).next().map(|(at, _)| *at));
            }
            for (at, value) in model {
                prop_assert_eq!(slab.remove(at), value);
            }
            prop_assert!(slab.pieces.is_empty() && slab.partial.is_empty() && slab.vacant.is_empty());
        }
    }
}
