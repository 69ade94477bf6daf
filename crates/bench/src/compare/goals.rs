//! The targets that Sluice has set itself, and whether figures meet them.

use super::case::{Case, Files, KeyWork};
use super::figures::Figure;
use super::run::Report;
use super::spread::Spread;
use crate::targets::{Level, Side};

/// What Sluice's figure is held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Against {
    /// The best of all peers.
    Best,
    /// One peer.
    Peer(&'static str),
    /// One peer in another case.
    PeerAt(&'static str, Case),
    /// The null server.
    Limit,
    /// Nothing: the figure itself is bound.
    Itself,
}

/// Which ratios, or figures, will do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// At least so much.
    AtLeast(f64),
    /// At most so much.
    AtMost(f64),
    /// It is measured, and nothing is asked of it.
    Unset,
}

/// One target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// Where.
    pub case: Case,
    /// Of what.
    pub figure: Figure,
    /// Beside what.
    pub against: Against,
    /// How much.
    pub bound: Bound,
}

/// Ratios that are judged by their interval, because noise decides where they fall.
const NARROW: std::ops::RangeInclusive<f64> = 0.8..=1.25;
/// Pairs that such a judgement needs.
const PAIRS_MIN: usize = 10;

const fn pass(bytes: usize) -> Case {
    Case::Pass { bytes, subscribers: 1 }
}

const fn confirm(connections: usize, in_flight: usize, level: Level) -> Case {
    Case::Confirm { connections, in_flight, level, files: Files::Prepared }
}

const fn queue(take: usize, level: Level) -> Case {
    Case::Queue { take, level }
}

const fn keys(work: KeyWork, pipeline: usize, level: Level) -> Case {
    Case::Keys { work, pipeline, level }
}

const fn goal(case: Case, figure: Figure, against: Against, bound: Bound) -> Goal {
    Goal { case, figure, against, bound }
}

const GROWING: Case =
    Case::Confirm { connections: 1, in_flight: 256, level: Level::Sync, files: Files::Growing };
const JETSTREAM: Against = Against::Peer("JetStream");
const NATS: Against = Against::Peer("NATS");
const STREAM: Against = Against::Peer("Redis stream");
const REDIS: Against = Against::Peer("Redis");

/// All of them.
#[rustfmt::skip]
pub const GOALS: [Goal; 34] = {
    use Against::{Best, Itself, Limit, Peer, PeerAt};
    use Bound::{AtLeast, AtMost};
    use Figure::{ConnectionBytes, Cpu, MessageBytes, P50, P99, Rate, Rest, Start, Takes};
    use Level::{Os, Sync};
    [
        goal(pass(16), Rate, NATS, AtLeast(5.0)),
        goal(pass(128), Rate, NATS, AtLeast(4.0)),
        goal(pass(128), Cpu, Itself, AtMost(0.15)),
        goal(pass(1 << 10), Rate, NATS, AtLeast(2.3)),
        goal(pass(16 << 10), Rate, Limit, AtLeast(0.85)),
        goal(Case::Pass { bytes: 128, subscribers: 100 }, Rate, NATS, AtLeast(2.0)),
        goal(confirm(1, 1, Sync), Rate, Limit, AtLeast(0.95)),
        goal(confirm(1, 16, Sync), Rate, Limit, AtLeast(0.90)),
        goal(confirm(1, 256, Sync), Rate, Limit, AtLeast(0.75)),
        goal(confirm(1, 256, Sync), P99, Itself, AtMost(2000.0)),
        goal(confirm(1, 256, Sync), Rate, PeerAt("JetStream", confirm(1, 256, Os)), AtLeast(1.0)),
        goal(GROWING, Rate, Limit, AtLeast(1.0)),
        goal(confirm(64, 1, Sync), Rate, Limit, AtLeast(0.85)),
        goal(confirm(1, 256, Os), Rate, JETSTREAM, AtLeast(2.0)),
        goal(queue(100, Os), Rate, STREAM, AtLeast(2.0)),
        goal(queue(100, Os), Takes, STREAM, AtLeast(2.0)),
        goal(queue(100, Os), MessageBytes, Itself, AtMost(64.0)),
        goal(queue(100, Os), Cpu, Itself, AtMost(2.5)),
        goal(queue(100, Sync), Rate, STREAM, AtLeast(1.0)),
        goal(queue(100, Sync), Takes, STREAM, AtLeast(1.0)),
        goal(queue(1, Os), Takes, Best, AtLeast(1.2)),
        goal(Case::Cycle { level: Os }, P50, Best, AtMost(1.05)),
        goal(Case::Cycle { level: Sync }, P50, Peer("Redis list"), AtMost(0.85)),
        goal(keys(KeyWork::Set, 16, Os), Rate, REDIS, AtLeast(1.5)),
        goal(keys(KeyWork::Get, 16, Os), Rate, REDIS, AtLeast(1.3)),
        goal(keys(KeyWork::Set, 1, Sync), Rate, REDIS, AtLeast(1.8)),
        goal(Case::Idle, ConnectionBytes, Itself, AtMost(1024.0)),
        goal(Case::Restart, Start, Itself, AtMost(100.0)),
        goal(Case::Http { level: Os }, Rate, Limit, AtLeast(0.80)),
        goal(Case::Http { level: Sync }, Rate, Limit, AtLeast(0.5)),
        goal(Case::Keyed { keys: 10 }, Takes, Limit, AtLeast(0.9)),
        goal(Case::Keyed { keys: 100_000 }, Takes, PeerAt("Sluice", Case::Keyed { keys: 10 }), AtLeast(0.5)),
        goal(Case::Held, P99, Itself, AtMost(2000.0)),
        goal(Case::Held, Rest, Itself, AtMost(1.0)),
    ]
};

/// A target and what the report says about it.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The target.
    pub goal: Goal,
    /// Sluice's figure.
    pub ours: Option<Spread>,
    /// The peer that it is beside, or the best, and its figure.
    pub peer: Option<(&'static str, Spread)>,
    /// The ratio to it, pair by pair.
    pub peer_ratio: Option<Spread>,
    /// The null server's figure.
    pub limit: Option<Spread>,
    /// The ratio to it, pair by pair.
    pub limit_ratio: Option<Spread>,
    /// Whether it is met; none where something is missing.
    pub met: Option<bool>,
    /// Too few pairs for a bound so narrow.
    pub is_doubtful: bool,
}

/// Holds a report against the targets of its cases. A case without any is there by its main figure.
pub fn judge(report: &Report) -> Vec<Judged> {
    let mut cases: Vec<Case> = report.cells.iter().map(|cell| cell.case).collect();
    cases.dedup();
    let goals_of = |case: Case| {
        let mut goals: Vec<Goal> = GOALS.into_iter().filter(|goal| goal.case == case).collect();
        if goals.is_empty() {
            goals.push(goal(case, case.main_figure(), Against::Best, Bound::Unset));
        }
        goals
    };
    cases.into_iter().flat_map(goals_of).map(|goal| one(report, goal)).collect()
}

fn one(report: &Report, goal: Goal) -> Judged {
    let Goal { case, figure, against, bound } = goal;
    let values = |name: &str, case| report.values(case, name, figure);
    let sluice = report.side(case, figure, |side| side == Side::Ours);
    let limit = report.side(case, figure, |side| side == Side::Limit);
    let (peer_case, peer) = match against {
        Against::Peer(name) => (case, Some(name)),
        Against::PeerAt(name, other) => (other, Some(name)),
        _ => (case, report.side(case, figure, |side| matches!(side, Side::Peer(_)))),
    };
    let spread = |name, case| {
        let values = values(name, case);
        (!values.is_empty()).then(|| Spread::of(values.into_iter()))
    };
    let ratio = |name, other| {
        let ours = sluice.map(|ours| values(ours, case)).unwrap_or_default();
        let ratios: Vec<f64> =
            ours.into_iter().zip(values(name, other)).map(|(ours, theirs)| ours / theirs).collect();
        (!ratios.is_empty()).then(|| (Spread::of(ratios.iter().copied()), ratios.len()))
    };
    let ours = sluice.and_then(|name| spread(name, case));
    let peer_ratio = peer.and_then(|name| ratio(name, peer_case));
    let limit_ratio = limit.and_then(|name| ratio(name, case));
    let judged = match against {
        Against::Itself => ours.map(|ours| (ours, usize::MAX)),
        Against::Limit => limit_ratio,
        _ => peer_ratio,
    };
    Judged {
        goal,
        ours,
        peer: peer.and_then(|name| Some((name, spread(name, peer_case)?))),
        peer_ratio: peer_ratio.map(|(spread, _)| spread),
        limit: limit.and_then(|name| spread(name, case)),
        limit_ratio: limit_ratio.map(|(spread, _)| spread),
        met: judged.and_then(|(spread, _)| bound.holds(spread)),
        is_doubtful: judged.is_some_and(|(_, pairs)| bound.is_narrow() && pairs < PAIRS_MIN),
    }
}

impl Bound {
    fn is_narrow(self) -> bool {
        match self {
            Self::AtLeast(bound) | Self::AtMost(bound) => NARROW.contains(&bound),
            Self::Unset => false,
        }
    }

    /// A narrow bound is met if the interval reaches it, any other by the median.
    fn holds(self, spread: Spread) -> Option<bool> {
        let (low, high) =
            if self.is_narrow() { spread.interval } else { (spread.median, spread.median) };
        match self {
            Self::AtLeast(bound) => Some(high >= bound),
            Self::AtMost(bound) => Some(low <= bound),
            Self::Unset => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_bounds_are_judged_by_the_interval_and_wide_ones_by_the_median() {
        let spread = Spread { median: 0.9, min: 0.7, max: 1.3, interval: (0.8, 1.0) };
        assert_eq!(Bound::AtLeast(1.0).holds(spread), Some(true));
        assert_eq!(Bound::AtLeast(1.1).holds(spread), Some(false));
        assert_eq!(Bound::AtMost(0.85).holds(spread), Some(true));
        let wide = Spread { median: 1.9, min: 1.0, max: 3.0, interval: (1.0, 3.0) };
        assert_eq!(Bound::AtLeast(2.0).holds(wide), Some(false));
        assert_eq!(Bound::AtMost(2.0).holds(wide), Some(true));
        assert_eq!(Bound::Unset.holds(wide), None);
    }

    #[test]
    fn every_goal_is_of_a_case_that_is_run() {
        let cases = super::super::cases(&super::super::WORKLOADS);
        for goal in GOALS {
            assert!(cases.contains(&goal.case), "{}", goal.case);
        }
    }
}
