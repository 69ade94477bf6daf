//! Ways to fetch a list.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A way to fetch a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// One after the other.
    Seq,
    /// A thread for each request.
    Threads,
    /// A task for each request, URLs from the queue of a broker.
    Async,
}

impl Mode {
    /// Every mode, from the simplest on.
    pub const ALL: [Self; 3] = [Self::Seq, Self::Threads, Self::Async];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Seq => "seq",
            Self::Threads => "threads",
            Self::Async => "async",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
