//! Chance, from a seed: the same seed gives the same run.

use std::hash::Hasher as _;

use foldhash::fast::SeedableRandomState;
use hashbrown::HashMap;
use siphasher::sip::SipHasher24;
use sluice_model::{Generation, QueueNo, Seq};

/// A hash map whose order depends on nothing but the seed; nobody outside can aim for collisions.
pub(crate) type SeededMap<K, V> = HashMap<K, V, SeedableRandomState>;

/// Draws from a seed: SipHash-2-4 over a counter.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    seed: u64,
    counter: u64,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, counter: 0 }
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.counter += 1;
        let mut hasher = SipHasher24::new_with_keys(self.seed, 0);
        hasher.write_u64(self.counter);
        hasher.finish()
    }

    /// An empty map that hashes by this seed.
    pub(crate) fn map<K, V>(&self) -> SeededMap<K, V> {
        let state = SeedableRandomState::with_seed(self.seed, foldhash::SharedSeed::global_fixed());
        HashMap::with_hasher(state)
    }
}

/// Makes the secret half of lease ids: a keyed hash of the rest, so that every id that was ever
/// given can be checked and none need be kept.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LeaseKey([u64; 2]);

impl LeaseKey {
    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        let all = u128::from_le_bytes(bytes);
        Self([all as u64, (all >> 64) as u64])
    }

    pub(crate) fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.0[1]) << 64 | u128::from(self.0[0])).to_le_bytes()
    }

    /// The secret of one lease.
    pub(crate) fn secret(&self, queue: QueueNo, seq: Seq, generation: Generation) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.0[0], self.0[1]);
        hasher.write_u32(queue.0);
        hasher.write_u64(seq.0);
        hasher.write_u32(generation.start);
        hasher.write_u64(generation.counter);
        hasher.finish()
    }
}
