//! Concurrency: how many may be at work at once.
//!
//! What was taken is a [`Held`], which can't be copied and is used up by giving it back, so no
//! count goes below what is held. A limit of 0 is closed.

/// How many may be held at once by one key; settings call it `concurrency`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConcurrencyLimit {
    /// At most so many; fewer than are held lets those go on and nobody else begin.
    pub max: u32,
}

/// How many of one key are held.
#[derive(Debug, Default)]
pub struct Holders(u32);

/// One of those that may be at work, until it is given back to the [`Holders`] it came from.
#[derive(Debug)]
#[must_use = "what is not given back is held for ever"]
pub struct Held(());

impl ConcurrencyLimit {
    /// Takes one, if one is free.
    pub fn take(self, holders: &mut Holders) -> Option<Held> {
        if holders.0 >= self.max {
            return None;
        }
        holders.0 += 1;
        Some(Held(()))
    }

    /// How many more could be taken.
    pub fn free(self, holders: &Holders) -> u32 {
        self.max.saturating_sub(holders.0)
    }
}

impl Holders {
    /// Gives one back.
    pub fn give_back(&mut self, held: Held) {
        let Held(()) = held;
        // Zero only for one that came from elsewhere.
        debug_assert!(self.0 > 0, "given back to those who never had it");
        self.0 = self.0.saturating_sub(1);
    }

    /// How many are held.
    pub fn count(&self) -> u32 {
        self.0
    }

    /// Whether none is held, so that the key may be forgotten.
    pub fn is_idle(&self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn never_more_are_taken_than_the_limit_allows(
            steps in prop::collection::vec((0u8..3, 0u32..6), 0..200),
        ) {
            let (mut limit, mut holders, mut held) = (ConcurrencyLimit { max: 3 }, Holders::default(), Vec::new());
            for (step, number) in steps {
                match step {
                    0 => match limit.take(&mut holders) {
                        Some(one) => {
                            held.push(one);
                            prop_assert!(held.len() <= limit.max as usize);
                        }
                        None => prop_assert!(held.len() >= limit.max as usize),
                    },
                    1 => if let Some(one) = held.pop() { holders.give_back(one) },
                    _ => limit.max = number,
                }
                prop_assert_eq!(holders.count() as usize, held.len());
                prop_assert_eq!(limit.free(&holders), limit.max.saturating_sub(holders.count()));
            }
            for one in held.drain(..) { holders.give_back(one) }
            prop_assert!(holders.is_idle());
        }
    }
}
