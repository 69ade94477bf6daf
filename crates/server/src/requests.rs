//! What the doors count alike: requests by what came of them, and connections.
//!
//! Binary and line clients send ahead, and what came of a frame is known only once it is refused;
//! so refusals are counted, and what was processed is what is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use sluice_model::Code;

use crate::counters::Counter;

macro_rules! names {
    ($(#[$doc:meta])+ $name:ident { $($(#[$vdoc:meta])+ $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $($(#[$vdoc])+ $variant,)+ }

        impl $name {
            /// All of them.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// What it is called in metrics.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

names! {
    /// A door.
    DoorName {
        /// Both versions of the binary protocol.
        Binary = "binary",
        /// Lines of text.
        Line = "line",
        /// The whole broker over HTTP.
        Http = "http",
        /// The listener for metrics.
        Metrics = "metrics",
        /// Commands on the same machine.
        Admin = "admin",
    }
}

names! {
    /// What came of a request.
    Outcome {
        /// What was asked for.
        Processed = "processed",
        /// Refused for now by a limit.
        RateLimited = "rate_limited",
        /// Refused because a queue, the broker or the disk is full.
        RejectedFull = "rejected_full",
        /// It did not come in time.
        Timeout = "timeout",
        /// Refused for any other reason.
        Error = "error",
    }
}

impl Outcome {
    /// What came of a request that was refused with this code.
    pub(crate) const fn of(code: Code) -> Self {
        match code {
            Code::RateLimited => Self::RateLimited,
            Code::QueueFull | Code::Overloaded | Code::NoSpace => Self::RejectedFull,
            Code::Timeout => Self::Timeout,
            Code::BadRequest
            | Code::Unauthenticated
            | Code::Forbidden
            | Code::NotFound
            | Code::MethodNotAllowed
            | Code::Conflict
            | Code::LeaseLost
            | Code::Gone
            | Code::TooLarge
            | Code::Misdirected
            | Code::Invalid
            | Code::Version
            | Code::Internal
            | Code::Indeterminate
            | Code::ShuttingDown => Self::Error,
        }
    }

    /// The same of one that a door refused by a number alone.
    pub(crate) const fn of_status(status: u16) -> Self {
        match status {
            408 => Self::Timeout,
            429 => Self::RateLimited,
            _ => Self::Error,
        }
    }
}

const DOORS: usize = DoorName::ALL.len();
const OUTCOMES: usize = Outcome::ALL.len();

/// Requests that were refused, by the outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refused([u64; OUTCOMES]);

impl Refused {
    /// One was.
    pub(crate) fn note(&mut self, outcome: Outcome) {
        self.note_many(outcome, 1);
    }

    /// So many were.
    pub(crate) fn note_many(&mut self, outcome: Outcome, count: u64) {
        if let Some(counted) = self.0.get_mut(outcome as usize) {
            *counted += count;
        }
    }
}

#[derive(Debug, Default)]
struct OfDoor {
    requests: Counter,
    refused: [Counter; OUTCOMES],
    /// The most that was ever told of those processed: a refusal may be counted later than its
    /// request.
    processed: AtomicU64,
    opened: Counter,
    closed: Counter,
}

/// Requests and connections of all doors since the process started.
#[derive(Debug, Default)]
pub(crate) struct Requests([OfDoor; DOORS]);

impl Requests {
    fn of(&self, door: DoorName) -> Option<&OfDoor> {
        self.0.get(door as usize)
    }

    /// So many requests came, and these were refused, perhaps of those before.
    pub(crate) fn add(&self, door: DoorName, requests: u64, refused: Refused) {
        let Some(of_door) = self.of(door) else { return };
        of_door.requests.add(requests);
        for (counter, count) in of_door.refused.iter().zip(refused.0) {
            counter.add(count);
        }
    }

    /// One request came, and may have been refused.
    pub(crate) fn one(&self, door: DoorName, refusal: Option<Outcome>) {
        let mut refused = Refused::default();
        if let Some(outcome) = refusal {
            refused.note(outcome);
        }
        self.add(door, 1, refused);
    }

    /// A connection opens, until what is returned is dropped.
    pub(crate) fn connection(self: &Arc<Self>, door: DoorName) -> OpenConnection {
        if let Some(of_door) = self.of(door) {
            of_door.opened.one();
        }
        OpenConnection { requests: Arc::clone(self), door }
    }

    /// How many requests of a door ended so. None of these numbers ever goes down.
    pub(crate) fn count(&self, door: DoorName, outcome: Outcome) -> u64 {
        let Some(of_door) = self.of(door) else { return 0 };
        if outcome != Outcome::Processed {
            return of_door.refused.get(outcome as usize).map_or(0, Counter::value);
        }
        // In this order, so that one that is refused meanwhile is not taken for processed.
        let requests = of_door.requests.value();
        let refused: u64 = of_door.refused.iter().map(Counter::value).sum();
        let processed = requests.saturating_sub(refused);
        processed.max(of_door.processed.fetch_max(processed, Relaxed))
    }

    /// How many connections of a door there have been, and how many are open.
    pub(crate) fn connections(&self, door: DoorName) -> (u64, u64) {
        let Some(of_door) = self.of(door) else { return (0, 0) };
        let closed = of_door.closed.value();
        let opened = of_door.opened.value();
        (opened, opened.saturating_sub(closed))
    }
}

/// A connection that is open.
#[derive(Debug)]
pub(crate) struct OpenConnection {
    requests: Arc<Requests>,
    door: DoorName,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        if let Some(of_door) = self.requests.of(self.door) {
            of_door.closed.one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_processed_is_what_was_not_refused_and_never_goes_down() {
        let requests = Requests::default();
        requests.add(DoorName::Binary, 3, Refused::default());
        assert_eq!(requests.count(DoorName::Binary, Outcome::Processed), 3);
        let mut refused = Refused::default();
        refused.note(Outcome::of(Code::QueueFull));
        requests.add(DoorName::Binary, 0, refused);
        assert_eq!(requests.count(DoorName::Binary, Outcome::RejectedFull), 1);
        assert_eq!(requests.count(DoorName::Binary, Outcome::Processed), 3);
        requests.add(DoorName::Binary, 2, Refused::default());
        assert_eq!(requests.count(DoorName::Binary, Outcome::Processed), 4);
        assert_eq!(requests.count(DoorName::Line, Outcome::Processed), 0);
    }

    #[test]
    fn connections_are_open_until_they_are_dropped() {
        let requests = Arc::new(Requests::default());
        let first = requests.connection(DoorName::Http);
        let second = requests.connection(DoorName::Http);
        drop(first);
        assert_eq!(requests.connections(DoorName::Http), (2, 1));
        drop(second);
        assert_eq!(requests.connections(DoorName::Http), (2, 0));
    }
}
