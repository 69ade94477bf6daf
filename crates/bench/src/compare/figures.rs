//! What a run gives.

use std::collections::BTreeMap;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Figure {
    /// Messages a second: delivered, or confirmed.
    Rate,
    /// Messages a second that consumers took and acknowledged.
    Takes,
    /// Microseconds.
    P50,
    /// Microseconds.
    P90,
    /// Microseconds.
    P99,
    /// Microseconds.
    P999,
    /// Microseconds.
    P9999,
    /// Microseconds of the slowest.
    Slowest,
    /// Seconds of the broker's processor time for a million messages.
    Cpu,
    /// Microseconds of the clock for each message, many at a time.
    Elapsed,
    /// Bytes resident in the broker for each message that waits.
    MessageBytes,
    /// Bytes resident in the broker for each connection that does nothing.
    ConnectionBytes,
    /// Milliseconds of the broker's processor time in a second in which all that is there waits.
    Rest,
    /// Milliseconds from the start of the process to the first message.
    Start,
}

impl Figure {
    /// Its name and unit.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rate => "msgs/s",
            Self::Takes => "takes/s",
            Self::P50 => "p50 us",
            Self::P90 => "p90 us",
            Self::P99 => "p99 us",
            Self::P999 => "p99.9 us",
            Self::P9999 => "p99.99 us",
            Self::Slowest => "slowest us",
            Self::Cpu => "CPU s/M",
            Self::Elapsed => "us/msg",
            Self::MessageBytes => "RSS B/msg",
            Self::ConnectionBytes => "RSS B/conn",
            Self::Rest => "rest ms/s",
            Self::Start => "start ms",
        }
    }

    /// The share of requests that took no longer, for a figure that says so.
    pub const fn quantile(self) -> Option<f64> {
        match self {
            Self::P50 => Some(0.5),
            Self::P90 => Some(0.9),
            Self::P99 => Some(0.99),
            Self::P999 => Some(0.999),
            Self::P9999 => Some(0.9999),
            Self::Slowest => Some(1.0),
            _ => None,
        }
    }

    /// Whether it is for plots and machines rather than for a table.
    pub const fn is_detail(self) -> bool {
        matches!(self, Self::P90 | Self::P9999 | Self::Slowest)
    }

    /// Whether more of it is better.
    pub const fn more_is_better(self) -> bool {
        matches!(self, Self::Rate | Self::Takes)
    }
}

/// Those that say how long requests took, in the order of their shares.
pub const LATENCIES: [Figure; 6] = {
    use Figure::{P50, P90, P99, P999, P9999, Slowest};
    [P50, P90, P99, P999, P9999, Slowest]
};

/// The figures of one run, or of several as their spreads.
pub type Figures<T = f64> = BTreeMap<Figure, T>;
