//! The rows of the workloads' table.

use std::fmt;

use super::figures::Figure;
use crate::targets::Level;

/// One thing that targets do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Case {
    /// A: messages at QoS 0 from one publisher.
    Pass {
        /// Bytes of a message.
        bytes: usize,
        /// Each gets every message.
        subscribers: usize,
    },
    /// B: confirmed publishes of 1 KiB as fast as they go.
    Confirm {
        /// Connections.
        connections: usize,
        /// Publishes in flight on each.
        in_flight: usize,
        /// What a confirm means.
        level: Level,
        /// What is written to.
        files: Files,
    },
    /// B: confirmed publishes of 1 KiB on a schedule.
    Pace {
        /// A second.
        rate: u64,
        /// What a confirm means.
        level: Level,
    },
    /// C: 128 B are put, 256 in flight, then four consumers take and acknowledge.
    Queue {
        /// Messages that a consumer takes at once.
        take: usize,
        /// What a confirm means.
        level: Level,
    },
    /// D: put, answer, take, ack, one after the other.
    Cycle {
        /// What a confirm means.
        level: Level,
    },
    /// E: keys with values of 128 B are set or read, over 50 connections.
    Keys {
        /// Which of both.
        work: KeyWork,
        /// Requests in flight on each connection.
        pipeline: usize,
        /// What the answer to a write means.
        level: Level,
    },
    /// G: connections that do nothing.
    Idle,
    /// H: a start after SIGKILL with messages that wait.
    Restart,
    /// J: as C by 100 at level os, every message with one of so many keys, which limits never bind.
    Keyed {
        /// A power of ten.
        keys: u64,
    },
    /// J: messages that wait for the limit of their key, and receives that wait for them.
    Held,
    /// I: messages of 24 B are posted over HTTP, one in flight on each of 100 connections.
    Http {
        /// What 202 means.
        level: Level,
    },
}

/// What a log is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Files {
    /// Blocks that were written before, where a target can do that.
    Prepared,
    /// Files that grow, for a minute.
    Growing,
}

/// What is done to keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyWork {
    /// They get a value.
    Set,
    /// Their value is read.
    Get,
}

/// Letters of the workloads. F, processor time, is in all of them.
pub const WORKLOADS: [char; 10] = ['A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J'];

/// How much of each there is.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Messages that are put into a queue.
    pub queued: u64,
    /// Messages that wait at a restart.
    pub waiting: u64,
    /// Connections that do nothing.
    pub connections: u64,
}

impl Case {
    /// The letter of its workload.
    pub const fn workload(self) -> char {
        match self {
            Self::Pass { .. } => 'A',
            Self::Confirm { .. } | Self::Pace { .. } => 'B',
            Self::Queue { .. } => 'C',
            Self::Cycle { .. } => 'D',
            Self::Keys { .. } => 'E',
            Self::Idle => 'G',
            Self::Restart => 'H',
            Self::Http { .. } => 'I',
            Self::Keyed { .. } | Self::Held => 'J',
        }
    }

    /// What a confirm means, where messages are kept.
    pub const fn queue_level(self) -> Option<Level> {
        match self {
            Self::Confirm { level, .. }
            | Self::Pace { level, .. }
            | Self::Queue { level, .. }
            | Self::Cycle { level }
            | Self::Keys { level, .. }
            | Self::Http { level } => Some(level),
            Self::Restart | Self::Keyed { .. } | Self::Held => Some(Level::Os),
            Self::Pass { .. } | Self::Idle => None,
        }
    }

    /// The same for peers that have queues, whose files always grow.
    pub const fn peer_level(self) -> Option<Level> {
        match self {
            // None of them takes messages over HTTP or limits them by key, and keys are no queue.
            Self::Confirm { files: Files::Growing, .. }
            | Self::Http { .. }
            | Self::Keys { .. }
            | Self::Keyed { .. }
            | Self::Held => None,
            _ => self.queue_level(),
        }
    }

    /// What it is about.
    pub const fn main_figure(self) -> Figure {
        match self {
            Self::Pass { .. }
            | Self::Confirm { .. }
            | Self::Queue { .. }
            | Self::Keys { .. }
            | Self::Http { .. } => Figure::Rate,
            Self::Pace { .. } | Self::Held => Figure::P99,
            Self::Keyed { .. } => Figure::Takes,
            Self::Cycle { .. } => Figure::P50,
            Self::Idle => Figure::ConnectionBytes,
            Self::Restart => Figure::Start,
        }
    }

    /// Bytes of a message.
    pub const fn message_bytes(self) -> usize {
        match self {
            Self::Pass { bytes, .. } => bytes,
            Self::Confirm { .. } | Self::Pace { .. } => 1024,
            Self::Http { .. } => 24,
            _ => 128,
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Pass { bytes, subscribers: 1 } => write!(f, "pass {bytes} B"),
            Self::Pass { bytes, subscribers } => write!(f, "pass {bytes} B, 1 to {subscribers}"),
            Self::Confirm { connections, in_flight, level, files } => {
                let files = if files == Files::Growing { ", growing" } else { "" };
                write!(f, "confirm {}, {connections} x {in_flight}{files}", level.name())
            }
            Self::Pace { rate, level } => write!(f, "confirm {}, {rate}/s due", level.name()),
            Self::Queue { take, level } => write!(f, "queue {}, take {take}", level.name()),
            Self::Cycle { level } => write!(f, "cycle {}", level.name()),
            Self::Keys { work, pipeline, level } => {
                let work = if work == KeyWork::Set { "SET" } else { "GET" };
                write!(f, "{work} {}, pipeline {pipeline}", level.name())
            }
            Self::Idle => f.write_str("idle connections"),
            Self::Restart => f.write_str("restart"),
            Self::Http { level } => write!(f, "HTTP enqueue {}", level.name()),
            Self::Keyed { keys } => write!(f, "queue with limits, {keys} keys"),
            Self::Held => f.write_str("wake-ups of a limit"),
        }
    }
}

/// Every case of these workloads, in the order of the table.
pub fn cases(workloads: &[char]) -> Vec<Case> {
    use Level::{Os, Sync};
    let pass = |bytes, subscribers| Case::Pass { bytes, subscribers };
    let confirm = |connections, in_flight, level| Case::Confirm {
        connections,
        in_flight,
        level,
        files: Files::Prepared,
    };
    let keys = |work, pipeline, level| Case::Keys { work, pipeline, level };
    let growing =
        Case::Confirm { connections: 1, in_flight: 256, level: Sync, files: Files::Growing };
    let all = [
        pass(16, 1),
        pass(128, 1),
        pass(1024, 1),
        pass(16 << 10, 1),
        pass(128, 100),
        confirm(1, 1, Sync),
        confirm(1, 16, Sync),
        confirm(1, 256, Sync),
        growing,
        confirm(64, 1, Sync),
        confirm(1, 256, Os),
        Case::Pace { rate: 2_000, level: Sync },
        Case::Queue { take: 100, level: Os },
        Case::Queue { take: 100, level: Sync },
        Case::Queue { take: 1, level: Os },
        Case::Cycle { level: Os },
        Case::Cycle { level: Sync },
        keys(KeyWork::Set, 16, Os),
        keys(KeyWork::Get, 16, Os),
        keys(KeyWork::Set, 1, Sync),
        Case::Idle,
        Case::Restart,
        Case::Http { level: Os },
        Case::Http { level: Sync },
        Case::Keyed { keys: 10 },
        Case::Keyed { keys: 100_000 },
        Case::Held,
    ];
    let is_wanted = |case: &Case| {
        let cpu = workloads.contains(&'F') && matches!(case.workload(), 'A' | 'C');
        cpu || workloads.contains(&case.workload())
    };
    all.into_iter().filter(is_wanted).collect()
}
