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
    P99,
    /// Microseconds.
    P999,
    /// Seconds of the broker's processor time for a million messages.
    Cpu,
    /// Bytes resident in the broker for each message that waits.
    MessageBytes,
    /// Bytes resident in the broker for each connection that does nothing.
    ConnectionBytes,
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
            Self::P99 => "p99 us",
            Self::P999 => "p99.9 us",
            Self::Cpu => "CPU s/M",
            Self::MessageBytes => "RSS B/msg",
            Self::ConnectionBytes => "RSS B/conn",
            Self::Start => "start ms",
        }
    }

    /// Whether more of it is better.
    pub const fn more_is_better(self) -> bool {
        matches!(self, Self::Rate | Self::Takes)
    }
}

/// The figures of one run, or of several as their spreads.
pub type Figures<T = f64> = BTreeMap<Figure, T>;
