//! What grows, how far, and what is done at each point.

use std::fmt;

use super::rounds::Work;
use crate::usage;

/// What grows while all else stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dimension {
    /// Queues. Messages come one by one, each for the next queue.
    Queues,
    /// Messages that wait in the queue, in front of those that are published.
    Backlog,
    /// Connections. Batches come over one after the other.
    Connections,
}

/// All of them, in the order in which they are measured.
pub const DIMENSIONS: [Dimension; 3] =
    [Dimension::Queues, Dimension::Backlog, Dimension::Connections];

/// How far each grows, smallest first, and how much is done at each point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Queues; each but the first a multiple of the one before.
    pub queues: Vec<u64>,
    /// Messages that wait, thousands of them.
    pub backlogs: Vec<u64>,
    /// Connections.
    pub connections: Vec<u64>,
    /// Messages of a run where they come one by one; a multiple of the most queues.
    pub singles: u64,
    /// Messages of a run where they come in batches; hundreds of them.
    pub batched: u64,
}

/// Messages of a batch, where there are batches.
const BATCH: u16 = 100;
/// Messages on their way at a time, at every point.
const IN_FLIGHT: u64 = 1_600;
/// The same where they come one by one.
const SINGLES_IN_FLIGHT: u64 = 256;
/// Messages of a frame that fills.
const FILLING: u16 = 500;
/// Descriptors that are kept for everything else.
const OTHERS: u64 = 300;

impl Scale {
    /// What is asked of the broker.
    pub fn full() -> Self {
        Self {
            queues: vec![1, 10, 1_000, 100_000],
            backlogs: vec![0, 1_000_000, 4_000_000, 10_000_000],
            connections: vec![1, 100, 10_000],
            singles: 200_000,
            batched: 1_000_000,
        }
    }

    /// Enough to see that it works.
    pub fn quick() -> Self {
        Self {
            queues: vec![1, 10, 1_000],
            backlogs: vec![0, 10_000, 40_000, 100_000],
            connections: vec![1, 10, 100],
            singles: 5_000,
            batched: 20_000,
        }
    }

    /// The points of a dimension: no more connections than descriptors allow.
    pub(super) fn points(&self, dimension: Dimension) -> Vec<Point> {
        let sizes = match dimension {
            Dimension::Queues => &self.queues,
            Dimension::Backlog => &self.backlogs,
            Dimension::Connections => &self.connections,
        };
        let allowed = usage::descriptors_max().saturating_sub(OTHERS);
        let mut points: Vec<Point> = sizes
            .iter()
            .map(|size| match dimension {
                Dimension::Connections => (*size).min(allowed),
                _ => *size,
            })
            .map(|size| Point { dimension, size })
            .collect();
        points.dedup();
        points
    }

    /// What waits before anything is measured.
    pub(super) fn filling(&self, point: Point) -> Work {
        let (messages, batch) = match point.dimension {
            // One in each queue where there are most of them, so as many everywhere.
            Dimension::Queues => (self.queues.iter().copied().max().unwrap_or(0), 1),
            Dimension::Backlog => (point.size, FILLING),
            Dimension::Connections => (0, FILLING),
        };
        let batches = messages / u64::from(batch);
        Work { batches, batch, in_flight: IN_FLIGHT / u64::from(batch), fills: true }
    }

    /// What is measured: the same at every point of a dimension.
    pub(super) fn work(&self, dimension: Dimension) -> Work {
        let (messages, batch, in_flight) = match dimension {
            Dimension::Queues => (self.singles, 1, SINGLES_IN_FLIGHT),
            _ => (self.batched, BATCH, IN_FLIGHT),
        };
        let each = u64::from(batch);
        Work { batches: messages / each, batch, in_flight: in_flight / each, fills: false }
    }
}

/// How far one dimension has grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Point {
    /// What grows.
    pub dimension: Dimension,
    /// How many.
    pub size: u64,
}

impl Point {
    pub(super) fn queues(self) -> u64 {
        if self.dimension == Dimension::Queues { self.size } else { 1 }
    }

    pub(super) fn connections(self) -> u64 {
        if self.dimension == Dimension::Connections { self.size } else { 1 }
    }

    /// Whether a start is timed.
    pub(super) fn has_start(self) -> bool {
        self.dimension == Dimension::Backlog
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.size;
        match self.dimension {
            Dimension::Queues => write!(f, "{size} queues"),
            Dimension::Backlog => write!(f, "{size} messages waiting"),
            Dimension::Connections => write!(f, "{size} connections"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_messages_are_in_flight_and_in_all_at_every_point() {
        for scale in [Scale::full(), Scale::quick()] {
            for dimension in DIMENSIONS {
                let work = scale.work(dimension);
                let in_flight = work.in_flight * u64::from(work.batch);
                assert!([SINGLES_IN_FLIGHT, IN_FLIGHT].contains(&in_flight));
                for point in scale.points(dimension) {
                    // Every queue and connection has its turn, as often as the others.
                    assert_eq!(work.batches % point.queues(), 0, "{point}");
                    assert!(work.batches >= point.connections(), "{point}");
                    let filling = scale.filling(point);
                    assert_eq!(filling.batches % point.queues(), 0, "{point}");
                }
            }
        }
    }
}
