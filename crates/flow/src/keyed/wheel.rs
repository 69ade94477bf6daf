//! When idle keys are looked at: a wheel of wheels, each slot a list that runs through the keys.
//!
//! Hierarchical timing wheels after Varghese and Lauck, "Hashed and Hierarchical Timing Wheels",
//! 1987. A tick is 2^16 microseconds (66 ms): a key is looked at up to a tick after it is due, so
//! that a busy broker wakes at most 15 times a second for keys that nobody uses. A slot of a higher
//! level is looked at when it begins, and whoever looks puts a key that is not due yet in again.
//! Putting in and taking out cost the same however many there are.

use super::slab::Slab;

const TICK_BITS: u32 = 16;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// Enough for every time of 64 bits.
const LEVELS: usize = 8;
const TICK_MAX: u64 = u64::MAX >> TICK_BITS;

/// No key.
pub(super) const NONE: u32 = u32::MAX;
/// Says in the place of the key before that the key is the first of this slot.
const FIRST_OF: u32 = 1 << 31;

/// A key's place in the wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spoke {
    next: u32,
    before: u32,
}

impl Default for Spoke {
    fn default() -> Self {
        Self { next: NONE, before: NONE }
    }
}

impl Spoke {
    pub(super) fn is_in(self) -> bool {
        self.before != NONE
    }
}

/// What runs through the wheel.
pub(super) trait Spoked {
    fn spoke(&mut self) -> &mut Spoke;
}

#[derive(Debug)]
pub(super) struct Wheel {
    firsts: Box<[u32; SLOTS * LEVELS]>,
    /// A bit for each slot that is not empty.
    occupied: [u64; LEVELS],
    /// Every slot that begins before this tick is empty.
    tick: u64,
}

impl Default for Wheel {
    fn default() -> Self {
        Self { firsts: Box::new([NONE; SLOTS * LEVELS]), occupied: [0; LEVELS], tick: 0 }
    }
}

impl Wheel {
    /// Puts in a key that is not in, to be looked at once `due`, in microseconds, has come.
    pub(super) fn put<T: Spoked + Default>(&mut self, key: u32, due: u64, all: &mut Slab<T>) {
        let tick = due.div_ceil(1 << TICK_BITS).min(TICK_MAX).max(self.tick);
        // The highest digit in which the times differ says how far away it is.
        let differing = 63 - ((tick ^ self.tick) | 1).leading_zeros();
        let level = (differing / SLOT_BITS) as usize;
        let slot = (tick >> (level as u32 * SLOT_BITS)) as usize % SLOTS;
        let at = level * SLOTS + slot;
        let next = std::mem::replace(&mut self.firsts[at], key);
        *all[key].spoke() = Spoke { next, before: FIRST_OF | at as u32 };
        if next != NONE {
            all[next].spoke().before = key;
        }
        self.occupied[level] |= 1 << slot;
    }

    /// Takes a key out that is in.
    pub(super) fn take<T: Spoked + Default>(&mut self, key: u32, all: &mut Slab<T>) {
        let Spoke { next, before } = std::mem::take(all[key].spoke());
        if next != NONE {
            all[next].spoke().before = before;
        }
        if before & FIRST_OF == 0 {
            all[before].spoke().next = next;
            return;
        }
        let at = (before & !FIRST_OF) as usize;
        self.firsts[at] = next;
        if next == NONE {
            self.occupied[at / SLOTS] &= !(1 << (at % SLOTS));
        }
    }

    /// Takes out a key whose slot has begun at `now`, in microseconds.
    pub(super) fn pop<T: Spoked + Default>(&mut self, now: u64, all: &mut Slab<T>) -> Option<u32> {
        let now = now >> TICK_BITS;
        match self.first() {
            Some((at, tick)) if tick <= now => {
                self.tick = self.tick.max(tick);
                let key = self.firsts[at];
                self.take(key, all);
                Some(key)
            }
            _ => {
                self.tick = self.tick.max(now);
                None
            }
        }
    }

    /// When the next key is to be looked at, in microseconds.
    pub(super) fn next_at(&self) -> Option<u64> {
        self.first().map(|(_, tick)| tick << TICK_BITS)
    }

    /// The first slot with keys, and the tick at which it begins.
    fn first(&self) -> Option<(usize, u64)> {
        let of_level = |level: usize| {
            let occupied = self.occupied[level];
            if occupied == 0 {
                return None;
            }
            let (slot, shift) = (occupied.trailing_zeros(), level as u32 * SLOT_BITS);
            let above = self.tick >> shift >> SLOT_BITS;
            Some((level * SLOTS + slot as usize, ((above << SLOT_BITS) | u64::from(slot)) << shift))
        };
        // Of slots that begin together those of the higher level come first: their keys may belong
        // into lower ones.
        (0..LEVELS).rev().filter_map(of_level).min_by_key(|(_, tick)| *tick)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    impl Spoked for Spoke {
        fn spoke(&mut self) -> &mut Spoke {
            self
        }
    }

    proptest! {
        #[test]
        fn every_key_is_looked_at_when_it_is_due_and_at_most_a_tick_later(
            steps in prop::collection::vec((0u8..6, 0u32..43, any::<u64>()), 0..200),
        ) {
            let (mut wheel, mut all) = (Wheel::default(), Slab::<Spoke>::default());
            let (mut due, mut now) = (BTreeMap::new(), 0u64);
            for (step, bits, number) in steps {
                let far = number >> (63 - bits);
                match step {
                    0..3 => {
                        let key = all.insert(Spoke::default());
                        wheel.put(key, now + far, &mut all);
                        due.insert(key, now + far);
                    }
                    3 => if let Some(key) = due.keys().next().copied() {
                        wheel.take(key, &mut all);
                        all.remove(key);
                        due.remove(&key);
                    },
                    _ => now += far,
                }
                while let Some(key) = wheel.pop(now, &mut all) {
                    if due[&key] > now {
                        wheel.put(key, due[&key], &mut all);
                    } else {
                        due.remove(&key);
                        all.remove(key);
                    }
                }
                prop_assert!(due.values().all(|due| due + (1 << TICK_BITS) > now), "{due:?} at {now}");
                prop_assert_eq!(wheel.next_at().is_some(), !due.is_empty());
                if let (Some(next), Some(first)) = (wheel.next_at(), due.values().min()) {
                    prop_assert!(next > now && next < first + (1 << TICK_BITS));
                }
            }
        }
    }
}
