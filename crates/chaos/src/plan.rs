//! What is to happen to connections, and what of it happens to each.

use std::time::Duration;

use sluice_flow::Random;

use crate::link::Side;

/// Longest time between the first answer that is dropped and the end of its connection.
const DROPPING_MAX_MS: u64 = 50;

/// What is to happen to connections. The default is nothing.
///
/// A connection gets one of the faults that have a bound, after as many bytes as are drawn between
/// one and that bound, both directions counted together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Everything follows from it and from the number of the connection.
    pub seed: u64,
    /// Each piece that is read waits for a time between these two, in its order.
    pub delay: Option<(Duration, Duration)>,
    /// Bytes per second in each direction.
    pub throttle: Option<u64>,
    /// The connection is cut.
    pub cut: Option<u64>,
    /// One side, drawn too, is told that the other has ended; what the other says is thrown away.
    pub half_close: Option<u64>,
    /// What the broker says is thrown away, and the connection is cut soon after.
    pub drop_answers: Option<u64>,
    /// Only the first so many connections get a fault.
    pub faulty: Option<u64>,
}

/// What happens to a connection once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// After so many bytes, both directions counted together.
    pub after: u64,
    /// What it is.
    pub harm: Harm,
}

/// How a connection is harmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Both sockets are closed.
    Cut {
        /// With a reset, which may cost its peers what they have not read yet.
        reset: bool,
    },
    /// Nothing of this side is passed on any more, and the other one is told so.
    HalfClose(Side),
    /// Nothing of the broker is passed on any more. So long after the first byte that is lost by
    /// it, the connection is cut.
    DropAnswers(Duration),
}

impl Default for Plan {
    fn default() -> Self {
        let (delay, throttle, faulty) = (None, None, None);
        let (cut, half_close, drop_answers) = (None, None, None);
        Self { seed: 0, delay, throttle, cut, half_close, drop_answers, faulty }
    }
}

impl Plan {
    /// What happens to the connection of that number, counted from 0.
    pub fn fault(&self, connection: u64) -> Option<Fault> {
        if self.faulty.is_some_and(|faulty| connection >= faulty) {
            return None;
        }
        let mut random = Random::of(self.seed, connection);
        let (side, reset) = (random.pick(&Side::BOTH)?, random.below(2) == 0);
        let dropping = Duration::from_millis(random.within(1..=DROPPING_MAX_MS));
        let possible = [
            (self.cut, Harm::Cut { reset }),
            (self.half_close, Harm::HalfClose(side)),
            (self.drop_answers, Harm::DropAnswers(dropping)),
        ];
        let possible: Vec<(u64, Harm)> = possible
            .into_iter()
            .filter_map(|(bound, harm)| bound.map(|bound| (bound, harm)))
            .collect();
        let (bound, harm) = random.pick(&possible)?;
        Some(Fault { after: random.within(1..=bound.max(1)), harm })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_decides_the_same_and_another_one_differs() {
        let plan = Plan { cut: Some(1_000), half_close: Some(500), ..Plan::default() };
        let of = |plan: &Plan| (0..50).map(|number| plan.fault(number)).collect::<Vec<_>>();
        assert_eq!(of(&plan), of(&plan.clone()));
        assert_ne!(of(&plan), of(&Plan { seed: 1, ..plan.clone() }));
    }

    #[test]
    fn every_fault_that_has_a_bound_happens_within_it_and_no_other_does() {
        let plan = Plan { cut: Some(100), drop_answers: Some(10), ..Plan::default() };
        let faults: Vec<Fault> = (0..200).filter_map(|number| plan.fault(number)).collect();
        assert_eq!(faults.len(), 200);
        let cuts = |reset| faults.iter().filter(move |one| one.harm == Harm::Cut { reset }).count();
        let drops = faults.iter().filter(|one| matches!(one.harm, Harm::DropAnswers(_))).count();
        assert!(cuts(true) > 20 && cuts(false) > 20 && drops > 50, "{faults:?}");
        assert_eq!(cuts(true) + cuts(false) + drops, 200);
        for Fault { after, harm } in faults {
            let bound = if matches!(harm, Harm::DropAnswers(_)) { 10 } else { 100 };
            assert!((1..=bound).contains(&after));
        }
        assert_eq!(Plan { faulty: Some(3), ..plan }.fault(3), None);
        assert_eq!(Plan::default().fault(0), None);
    }
}
