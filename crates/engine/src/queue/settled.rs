//! The last settled leases of a queue, so that a repeated ack is known as one.

use std::collections::VecDeque;

use sluice_model::Generation;

use crate::journal::Sequence;

/// The last settled leases, each with the record that says so.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    last: VecDeque<(u64, Generation, Sequence)>,
}

impl Settled {
    /// The message at `seq` was settled under a lease. No more than `max` are remembered.
    pub(crate) fn push(
        &mut self,
        seq: u64,
        generation: Generation,
        sequence: Sequence,
        max: usize,
    ) {
        if self.last.len() >= max {
            self.last.drain(..=self.last.len() - max);
            // There were fewer queues when it had more.
            if self.last.capacity() > 4 * max {
                self.last.shrink_to(2 * max);
            }
        }
        self.last.push_back((seq, generation, sequence));
    }

    /// The record that settled this very lease, if it is among the last few.
    pub(crate) fn find(&self, seq: u64, generation: Generation) -> Option<Sequence> {
        let mut latest = self.last.iter().rev();
        let found = latest.find(|(of, under, _)| (*of, *under) == (seq, generation));
        found.map(|(_, _, sequence)| *sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_remembered_and_fewer_once_fewer_may_be() {
        let (mut settled, generation) = (Settled::default(), Generation::default());
        let remembered = |settled: &Settled| -> Vec<u64> {
            (0..200).filter(|seq| settled.find(*seq, generation) == Some(seq + 1)).collect()
        };
        (0..100).for_each(|seq| settled.push(seq, generation, seq + 1, 64));
        assert_eq!(remembered(&settled), (36..100).collect::<Vec<_>>());
        settled.push(100, generation, 101, 3);
        assert_eq!(remembered(&settled), [98, 99, 100]);
        assert!(settled.last.capacity() <= 12, "{}", settled.last.capacity());
        assert_eq!(settled.find(100, Generation { counter: 1, ..generation }), None);
    }
}
