//! What the replies that come in the order of the requests stand for.
//!
//! Every such request has the next number as its tag. A request that is silent when it succeeds is
//! known to have done so when a later reply comes.

use std::collections::VecDeque;

use sluice_model::Command;

/// Tags from here on are of receives that wait for changes of keys.
pub(super) const POLL_TAGS: u64 = 1 << 61;
/// Tags from here on are of receives for consumers that are pushed to: this plus the consumer.
pub(super) const PUSH_TAGS: u64 = 1 << 62;
/// Tags from here on are of receives that wait.
pub(super) const WAIT_TAGS: u64 = 1 << 63;

/// What the reply to a request stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A PUBLISH at most once; or the last of the requests that one was made into, or one before
    /// it that so many follow.
    Quiet {
        follow: u16,
    },
    /// One of those, of whose frame a refusal was told before.
    Muted,
    /// A whole PUBLISH at least once.
    Publish {
        receipt: bool,
    },
    /// A message of one.
    Part {
        receipt: bool,
        last: bool,
    },
    /// A SUBSCRIBE: the next of the consumers that open.
    Subscribe,
    /// The first receive for a CONSUME: likewise.
    Consume,
    /// A CANCEL.
    Cancel,
    /// A RECEIVE that does not wait.
    Receive {
        tokens: bool,
        consumer: u64,
    },
    /// A part of a SETTLE or EXTEND: the next of those.
    Settle {
        silent: bool,
    },
    /// A CONTROL.
    Control,
    /// The watch of a CONTROL that asks for changes of keys: the next of those.
    Poll,
    /// A WATCH: the next of the consumers that open.
    Watch,
    Ping,
    /// A fence before the next answer that the broker has no part in.
    Local,
    /// A request of our own, whose outcome is of no interest.
    Own {
        silent: bool,
    },
}

impl Kind {
    /// Whether the broker says nothing when it succeeds.
    pub(super) const fn is_silent(self) -> bool {
        matches!(
            self,
            Self::Quiet { .. }
                | Self::Muted
                | Self::Settle { silent: true }
                | Self::Own { silent: true }
        )
    }

    /// The request that tells that all before it succeeded.
    pub(super) const FENCE: (Self, Command) = (Self::Own { silent: false }, Command::Fence);
}

/// A request that was not answered yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// That of the frame.
    pub(super) id: u64,
    pub(super) kind: Kind,
}

/// The requests that were not answered yet, oldest first.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// The tag of the front.
    first_tag: u64,
    entries: VecDeque<Entry>,
}

impl Pending {
    /// Notes a request and says which tag it gets.
    pub(super) fn push(&mut self, id: u64, kind: Kind) -> u64 {
        let tag = self.first_tag + self.entries.len() as u64;
        self.entries.push_back(Entry { id, kind });
        tag
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the newest is silent when it succeeds.
    pub(super) fn ends_silent(&self) -> bool {
        self.entries.back().is_some_and(|entry| entry.kind.is_silent())
    }

    /// Takes the oldest one, if it comes before the one with this tag: it was silent.
    pub(super) fn pop_before(&mut self, tag: u64) -> Option<Entry> {
        if self.first_tag >= tag {
            return None;
        }
        let entry = self.entries.pop_front()?;
        self.first_tag += 1;
        Some(entry)
    }

    /// The one with this tag, of which [`Pending::pop_before`] left nothing before it. It stays
    /// where further answers follow.
    pub(super) fn answered(&mut self, tag: u64, goes_on: bool) -> Option<Entry> {
        if self.first_tag != tag {
            return None;
        }
        if goes_on {
            return self.entries.front().copied();
        }
        self.first_tag += 1;
        self.entries.pop_front()
    }

    /// Mutes the next so many, which come from the same frame.
    pub(super) fn mute(&mut self, count: u16) {
        for entry in self.entries.iter_mut().take(usize::from(count)) {
            entry.kind = Kind::Muted;
        }
    }
}
