//! What happened to messages under limits, as clients know it.

use sluice_model::{Generation, Limit};

use super::rule::{At, Slot};

/// The end of what has none.
pub(crate) const NEVER: At = At::MAX >> 4;

/// Something that is known to have happened.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// The broker started.
    Started,
    /// From here on there may be leases that nobody has seen, until then at the latest.
    Blind {
        until: At,
        restarts: bool,
    },
    /// A limit was set, or was found after a start that nobody knew it would be.
    Put {
        limit: Box<Limit>,
        is_found: bool,
    },
    Deleted(Slot),
    /// Whether it is set, and what it is, nobody knows any more.
    Gone(Slot),
    /// A queue or a key of it is paused by hand; a key's pause replaces the one before.
    Paused {
        queue: usize,
        key: Option<&'static str>,
        until: At,
    },
    Resumed {
        queue: usize,
        key: Option<&'static str>,
    },
    /// A key is paused by a consumer, for so long if it said how long.
    Throttled {
        queue: usize,
        key: &'static str,
        for_ms: Option<At>,
    },
    Weighed {
        queue: usize,
        group: &'static str,
        weight: u64,
    },
    /// A lease, by its number, was acked, or may have been.
    Acked(usize),
    /// It is surely ready, and visible, unless somebody had it since that lease ended, by its number, or
    /// since it is there.
    Ready {
        message: usize,
        since: Option<usize>,
    },
    /// It may not be ready any more.
    Doubtful(usize),
    /// Whether a key is paused, nobody knows any more.
    Doubt(&'static str),
    /// It was handed out, by the lease of that number.
    Granted(usize),
}

impl What {
    /// Whether more or less is allowed since, whatever is handed out.
    pub(super) fn changes_what_is_allowed(&self) -> bool {
        matches!(
            self,
            Self::Put { .. }
                | Self::Deleted(_)
                | Self::Gone(_)
                | Self::Paused { .. }
                | Self::Resumed { .. }
                | Self::Throttled { .. }
        )
    }

    /// Things of one moment in the order in which they may have been.
    fn rank(&self) -> u8 {
        match self {
            Self::Started => 0,
            Self::Granted(_) => 3,
            Self::Ready { .. } => 4,
            Self::Doubtful(_) => 2,
            _ => 1,
        }
    }
}

/// When it happened.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) at: At,
    /// For grants: they are told in another order than they were made.
    pub(crate) generation: Option<Generation>,
    pub(crate) what: What,
}

impl Event {
    /// What sorts events as they happened.
    pub(crate) fn order(&self) -> (At, u8, Option<Generation>) {
        (self.at, self.what.rank(), self.generation)
    }
}
