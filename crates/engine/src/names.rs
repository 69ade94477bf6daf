//! Queues by their names: found by a hash, listed in the order of the alphabet.
//!
//! Every request names its queue. Among a hundred thousand names a tree is seventeen comparisons of
//! strings that no cache holds; a table is one.

use std::collections::{BTreeMap, btree_map};
use std::ops::Bound;

use sluice_model::{QueueName, QueueNo};

use crate::random::SeededMap;

/// The name of every queue. Both halves hold the same.
#[derive(Debug)]
pub(crate) struct Names {
    table: SeededMap<QueueName, QueueNo>,
    ordered: BTreeMap<QueueName, QueueNo>,
}

impl Names {
    /// No names; `table` is empty.
    pub(crate) fn new(table: SeededMap<QueueName, QueueNo>) -> Self {
        Self { table, ordered: BTreeMap::new() }
    }

    pub(crate) fn find(&self, name: &QueueName) -> Option<QueueNo> {
        self.table.get(name).copied()
    }

    pub(crate) fn insert(&mut self, name: &QueueName, no: QueueNo) {
        self.table.insert(name.clone(), no);
        self.ordered.insert(name.clone(), no);
    }

    pub(crate) fn remove(&mut self, name: &QueueName) {
        self.table.remove(name);
        self.ordered.remove(name);
    }

    /// Those within these bounds, in their order.
    pub(crate) fn range(
        &self,
        bounds: (Bound<&str>, Bound<&str>),
    ) -> btree_map::Range<'_, QueueName, QueueNo> {
        self.ordered.range::<str, _>(bounds)
    }
}

#[cfg(test)]
mod tests {
    use crate::random::Random;

    use super::*;

    #[test]
    fn what_is_found_is_what_is_listed_whatever_comes_and_goes() {
        let mut names = Names::new(Random::new(7).map());
        let name = |n: u32| QueueName::new(&format!("q.{:03}", n % 300)).unwrap();
        for n in 0..5_000_u32 {
            // Any sequence will do; this one is Knuth's.
            let drawn = n.wrapping_mul(2_654_435_769) >> 8;
            if drawn % 3 == 0 {
                names.remove(&name(drawn));
                assert_eq!(names.find(&name(drawn)), None);
            } else {
                names.insert(&name(drawn), QueueNo(n));
                assert_eq!(names.find(&name(drawn)), Some(QueueNo(n)));
            }
        }
        let listed: Vec<_> = names.range((Bound::Unbounded, Bound::Unbounded)).collect();
        assert!(listed.is_sorted() && listed.len() > 100, "{}", listed.len());
        assert!(listed.iter().all(|(name, no)| names.find(name) == Some(**no)));
        assert_eq!(listed.len(), (0..300).filter(|n| names.find(&name(*n)).is_some()).count());
    }
}
