//! A connection through the proxy, without sockets and without a clock: bytes go in, actions come
//! out, and what happens when follows from the plan.
//!
//! ```text
//!          so many bytes passed            soon after
//! whole ------------------------> harmed ---------------> over
//!   '---------- both sides ended, all passed on ------------^
//! ```

use std::time::Duration;

use bytes::Bytes;
use sluice_flow::Random;

use crate::plan::{Fault, Harm, Plan};
use crate::tally::Tally;
use crate::way::Way;

/// One of the two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Whoever connected to the proxy.
    Client,
    /// Whom the proxy connected to.
    Broker,
}

impl Side {
    /// The two of them.
    pub const BOTH: [Self; 2] = [Self::Client, Self::Broker];

    /// The one at the other end.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Broker,
            Self::Broker => Self::Client,
        }
    }
}

/// What is to be done with a side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write this to it.
    Pass(Bytes),
    /// Tell it that there will be no more.
    Finish,
    /// Close both sides.
    Cut {
        /// With a reset.
        reset: bool,
    },
}

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Whole,
    /// What this side says is thrown away; the other was told that it has ended.
    HalfClosed(Side),
    /// What the broker says is thrown away; cut at that time, which is known with the first byte.
    Dropping {
        for_so_long: Duration,
        until: Option<Duration>,
    },
    Cutting {
        reset: bool,
    },
    Over,
}

/// A connection through the proxy. All times count from its beginning.
#[derive(Debug)]
pub struct Link {
    from_client: Way,
    from_broker: Way,
    phase: Phase,
    fault: Option<Fault>,
    passed: u64,
    tally: Tally,
}

impl Link {
    /// The connection of that number, counted from 0.
    pub fn new(plan: &Plan, number: u64) -> Self {
        // Not the stream that decides about the fault, and one for each direction: what is read in
        // one of them changes nothing in the other.
        let mut random = Random::of(!plan.seed, number);
        let mut way = || Way::new(plan, Random::new(random.number()));
        Self {
            from_client: way(),
            from_broker: way(),
            phase: Phase::Whole,
            fault: plan.fault(number),
            passed: 0,
            tally: Tally { connections: 1, ..Tally::default() },
        }
    }

    /// Whether this side is to be read from.
    pub fn wants(&self, from: Side) -> bool {
        self.phase != Phase::Over && self.way(from).wants()
    }

    /// This side said something.
    pub fn received(&mut self, from: Side, bytes: Bytes, now: Duration) {
        if !self.throws_away(from) {
            return self.way_mut(from).push(bytes, now);
        }
        self.tally.bytes_dropped += bytes.len() as u64;
        if let Phase::Dropping { for_so_long, until: until @ None } = &mut self.phase {
            *until = Some(now.saturating_add(*for_so_long));
        }
    }

    /// This side will say nothing more.
    pub fn ended(&mut self, from: Side) {
        self.way_mut(from).end();
        if matches!(self.phase, Phase::Dropping { .. }) {
            // There is nobody left to wait for.
            self.phase = Phase::Cutting { reset: false };
        }
    }

    /// What is to be done with this side now. To be asked again until there is nothing, and not
    /// before what came last is written.
    pub fn next(&mut self, to: Side, now: Duration) -> Option<Action> {
        if matches!(self.phase, Phase::Dropping { until: Some(until), .. } if until <= now) {
            self.phase = Phase::Cutting { reset: false };
        }
        if let Phase::Cutting { reset } = self.phase {
            self.phase = Phase::Over;
            self.tally.cut += 1;
            return Some(Action::Cut { reset });
        }
        let from = to.other();
        if self.phase == Phase::Over || self.way(from).is_done {
            return None;
        }
        let left = self.fault.map_or(u64::MAX, |fault| fault.after.saturating_sub(self.passed));
        if let Some(bytes) = self.way_mut(from).take(left, now) {
            self.count(to, bytes.len() as u64, now);
            return Some(Action::Pass(bytes));
        }
        if self.way(from).is_at_end() || self.phase == Phase::HalfClosed(from) {
            self.way_mut(from).is_done = true;
            if self.from_client.is_done && self.from_broker.is_done {
                self.phase = Phase::Over;
            }
            return Some(Action::Finish);
        }
        None
    }

    /// When there will be something to do although nobody says anything: after `now`.
    pub fn next_time(&self, now: Duration) -> Option<Duration> {
        let until = match self.phase {
            Phase::Dropping { until, .. } => until,
            _ => None,
        };
        let ways = [self.from_client.next_time(), self.from_broker.next_time()];
        ways.into_iter().chain([until]).flatten().filter(|at| *at > now).min()
    }

    /// Nothing is left to be done.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// The broker can't be reached: nothing ever passes.
    pub fn has_no_broker(&mut self) {
        self.tally.unreachable += 1;
        self.phase = Phase::Over;
    }

    /// What was done so far.
    pub fn tally(&self) -> Tally {
        Tally {
            delayed: self.from_client.delayed + self.from_broker.delayed,
            throttled: self.from_client.throttled + self.from_broker.throttled,
            ..self.tally
        }
    }

    /// Bytes were passed on; as soon as they are enough, the fault happens.
    fn count(&mut self, to: Side, bytes: u64, now: Duration) {
        self.passed += bytes;
        match to {
            Side::Broker => self.tally.to_broker += bytes,
            Side::Client => self.tally.to_clients += bytes,
        }
        let Some(Fault { harm, .. }) = self.fault.take_if(|fault| fault.after <= self.passed)
        else {
            return;
        };
        match harm {
            Harm::Cut { reset } => self.phase = Phase::Cutting { reset },
            Harm::HalfClose(side) => {
                self.tally.half_closed += 1;
                self.phase = Phase::HalfClosed(side);
                self.throw_away(side);
            }
            Harm::DropAnswers(for_so_long) => {
                self.tally.answers_dropped += 1;
                let dropped = self.throw_away(Side::Broker);
                let until = (dropped > 0).then(|| now.saturating_add(for_so_long));
                self.phase = Phase::Dropping { for_so_long, until };
            }
        }
    }

    fn throws_away(&self, from: Side) -> bool {
        match self.phase {
            Phase::Whole => false,
            Phase::HalfClosed(side) => side == from,
            Phase::Dropping { .. } => from == Side::Broker,
            Phase::Cutting { .. } | Phase::Over => true,
        }
    }

    fn throw_away(&mut self, from: Side) -> usize {
        let dropped = self.way_mut(from).drop_all();
        self.tally.bytes_dropped += dropped as u64;
        dropped
    }

    const fn way(&self, from: Side) -> &Way {
        match from {
            Side::Client => &self.from_client,
            Side::Broker => &self.from_broker,
        }
    }

    const fn way_mut(&mut self, from: Side) -> &mut Way {
        match from {
            Side::Client => &mut self.from_client,
            Side::Broker => &mut self.from_broker,
        }
    }
}

#[cfg(test)]
mod tests;
