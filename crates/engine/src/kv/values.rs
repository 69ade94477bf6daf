//! Where values lie in memory: small ones that come one after the other share a piece of it, so that
//! the allocator is asked once for many, when they come and when they go.
//!
//! A piece is there as long as one of its values is. A chunk that has lost half of what it had gives
//! those that are left a place of their own ([`apart`]), so what is kept for nothing is never more
//! than what is kept.

use bytes::{Bytes, BytesMut};

/// Bytes of a piece.
const PIECE: usize = 16 << 10;
/// Longest value that shares one.
const SHARED_MAX: usize = 1 << 10;

/// What is left of the piece that was begun last.
#[derive(Debug, Default)]
pub(super) struct Values(BytesMut);

impl Values {
    /// A copy of a value, which pins no read buffer.
    pub(super) fn keep(&mut self, value: &[u8]) -> Bytes {
        if value.len() > SHARED_MAX {
            return Bytes::copy_from_slice(value);
        }
        if self.0.capacity() < value.len() {
            self.0 = BytesMut::with_capacity(PIECE);
        }
        self.0.extend_from_slice(value);
        self.0.split().freeze()
    }
}

/// The value in a place of its own, if it may share one.
pub(super) fn apart(value: &Bytes) -> Bytes {
    match value.len() > SHARED_MAX {
        true => value.clone(),
        false => Bytes::copy_from_slice(value),
    }
}

#[cfg(test)]
mod tests {
    use sluice_model::{Key, Timestamp, Value};

    use super::super::change::What;
    use super::super::store::Store;
    use super::*;
    use crate::random::Random;

    fn put(store: &mut Store, revision: u64, key: u64) {
        let value = Value { bytes: store.keep(&[b'v'; 50]), ..Value::default() };
        let what = What::Put { value, expires_at: Timestamp::EPOCH };
        store.push(revision, &format!("key{key}"), what, revision);
    }

    #[test]
    fn what_is_left_of_a_chunk_lies_alone() {
        let mut store = Store::new(&Random::new(1));
        (1..=200).for_each(|n| put(&mut store, n, n));
        store.show_all();
        store.trim(0, 0, 1_000);
        let is_alone = |store: &Store| {
            let place =
                |key| store.find(&Key::new(key).unwrap()).unwrap().value.bytes.as_ptr_range();
            place("key199").end != place("key200").start
        };
        // Of those that nobody remembers, the ones that are written anew go.
        (1..=80).for_each(|n| put(&mut store, 200 + n, n));
        assert!(!is_alone(&store));
        (81..=150).for_each(|n| put(&mut store, 200 + n, n));
        assert!(is_alone(&store));
        store.check();
    }

    #[test]
    fn small_values_share_a_piece_and_each_is_what_it_was() {
        let mut values = Values::default();
        let all: Vec<Bytes> =
            (0..1_000).map(|n| values.keep(format!("{n:050}").as_bytes())).collect();
        for (n, value) in all.iter().enumerate() {
            assert_eq!(value, format!("{n:050}").as_bytes());
        }
        let together = |pair: &[Bytes]| pair[0].as_ptr_range().end == pair[1].as_ptr();
        assert!(all.windows(2).filter(|pair| together(pair)).count() > 990);
    }

    #[test]
    fn large_values_and_those_set_apart_lie_alone() {
        let mut values = Values::default();
        let pair = [1, 2].map(|byte| values.keep(&[byte; SHARED_MAX + 1]));
        assert!(pair.iter().all(|value| value.is_unique()));
        let pair = [1, 2].map(|byte| values.keep(&[byte; 10]));
        assert!(!pair[0].is_unique(), "it shares");
        let alone = apart(&pair[0]);
        assert!(alone == pair[0] && alone.is_unique());
    }
}
