//! Caps on connections: in all, by address, by key. A place is given back when it is dropped.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;

/// A cap on how many there are of anything.
pub(crate) struct Cap {
    max: usize,
    taken: AtomicUsize,
}

impl Cap {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, taken: AtomicUsize::new(0) })
    }

    /// Takes a place, if one is free.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Place> {
        if self.taken.fetch_add(1, Relaxed) >= self.max {
            self.taken.fetch_sub(1, Relaxed);
            return None;
        }
        Some(Place(Arc::clone(self)))
    }

    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Relaxed)
    }
}

/// A place under a [`Cap`].
pub(crate) struct Place(Arc<Cap>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Relaxed);
    }
}

/// A cap on how many there are of each kind.
pub(crate) struct CapBy<K> {
    max: usize,
    taken: Mutex<HashMap<K, usize>>,
}

impl<K: Eq + Hash + Clone> CapBy<K> {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, taken: Mutex::new(HashMap::new()) })
    }

    /// Takes a place among those of `kind`, if one is free.
    pub(crate) fn take(self: &Arc<Self>, kind: K) -> Option<PlaceBy<K>> {
        let mut taken = self.taken.lock();
        let count = taken.entry(kind.clone()).or_insert(0);
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(PlaceBy { cap: Arc::clone(self), kind })
    }
}

/// A place under a [`CapBy`].
pub(crate) struct PlaceBy<K: Eq + Hash + Clone> {
    cap: Arc<CapBy<K>>,
    kind: K,
}

impl<K: Eq + Hash + Clone> Drop for PlaceBy<K> {
    fn drop(&mut self) {
        let mut taken = self.cap.taken.lock();
        if let Some(count) = taken.get_mut(&self.kind) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.kind);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back() {
        let cap = Cap::new(2);
        let (first, second) = (cap.take(), cap.take());
        assert!(first.is_some() && second.is_some() && cap.take().is_none());
        assert_eq!(cap.taken(), 2);
        drop(first);
        assert!(cap.take().is_some());
    }

    #[test]
    fn kinds_are_capped_apart_and_forgotten_when_empty() {
        let cap = CapBy::new(1);
        let first = cap.take("a");
        assert!(first.is_some() && cap.take("a").is_none());
        assert!(cap.take("b").is_some());
        drop(first);
        assert!(cap.take("a").is_some());
        assert!(cap.taken.lock().is_empty());
    }
}
