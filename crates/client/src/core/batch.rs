//! Messages for one destination on their way to the broker.

use std::sync::Arc;
use std::time::Instant;

use sluice_model::{Block, BlockBuilder, Level, Message, Qos};
use sluice_protocol::binary::v2::PublishHead;

use super::fate::{Fate, Outcome};

/// What a message counts for in the window beside its payload.
pub(super) const MESSAGE_WEIGHT: usize = 32;

/// What is said of all messages of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) qos: Qos,
    pub(crate) whole: bool,
    pub(crate) to_queue: bool,
    pub(crate) receipt: bool,
    pub(crate) level: Option<Level>,
    pub(crate) destination: Box<str>,
}

impl Head {
    pub(crate) fn on_wire(&self) -> PublishHead<'_> {
        let Self { qos, whole, to_queue, receipt, level, destination } = self;
        PublishHead {
            qos: *qos,
            whole: *whole,
            to_queue: *to_queue,
            receipt: *receipt,
            level: *level,
            destination,
        }
    }
}

/// A message and whose outcome it is.
pub(crate) struct Entry {
    pub(crate) message: Message,
    pub(crate) fate: Arc<Fate>,
    pub(crate) index: u32,
}

impl Entry {
    /// A second publish of it does no harm.
    pub(crate) fn is_deduped(&self) -> bool {
        self.message.extras.as_ref().is_some_and(|extras| extras.dedupe_id.is_some())
    }

    fn weight(&self) -> usize {
        self.message.payload.len() + MESSAGE_WEIGHT
    }
}

/// The messages of a batch.
pub(crate) enum Items {
    /// Without extras, as they go over the wire; the first one's outcome is that of index `base`.
    /// `only`: no other batch has messages of the same fate.
    Plain { block: Block, fate: Arc<Fate>, base: u32, only: bool },
    /// Each by itself.
    Each(Vec<Entry>),
}

impl Items {
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Plain { block, .. } => block.count() as usize,
            Self::Each(entries) => entries.len(),
        }
    }

    /// What they count for in the window, in bytes.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Plain { block, .. } => {
                block.payload_bytes() + block.count() as usize * MESSAGE_WEIGHT
            }
            Self::Each(entries) => entries.iter().map(Entry::weight).sum(),
        }
    }

    /// Tells all of them the same.
    pub(crate) fn tell(self, outcome: &Outcome) {
        match self {
            Self::Plain { fate, only: true, .. } => fate.tell_all(outcome.clone()),
            Self::Plain { block, fate, base, .. } => {
                fate.tell((base..base + block.count()).map(|index| (index, outcome.clone())));
            }
            Self::Each(entries) => tell_entries(&entries, outcome),
        }
    }

    /// Each by itself, whatever they were.
    pub(crate) fn into_entries(self) -> Vec<Entry> {
        match self {
            Self::Plain { block, fate, base, .. } => (base..)
                .zip(block.shared())
                .map(|(index, payload)| Entry {
                    message: Message::plain(payload),
                    fate: Arc::clone(&fate),
                    index,
                })
                .collect(),
            Self::Each(entries) => entries,
        }
    }
}

fn tell_entries(entries: &[Entry], outcome: &Outcome) {
    for run in entries.chunk_by(|one, next| Arc::ptr_eq(&one.fate, &next.fate)) {
        if let Some(first) = run.first() {
            first.fate.tell(run.iter().map(|entry| (entry.index, outcome.clone())));
        }
    }
}

/// Messages with the same head, and what was tried with them.
pub(crate) struct Batch {
    pub(crate) trail: Trail,
    pub(crate) items: Items,
}

/// What a batch has been through.
#[derive(Clone)]
pub(crate) struct Trail {
    pub(crate) head: Arc<Head>,
    /// Tries so far that were refused.
    pub(crate) tries: u32,
    /// When the first one was.
    pub(crate) refused_at: Option<Instant>,
    /// It may have reached the broker, on a connection that was lost.
    pub(crate) again: bool,
    /// Connections that were lost with it on them.
    pub(crate) lost: u32,
}

impl Trail {
    pub(crate) const fn new(head: Arc<Head>) -> Self {
        Self { head, tries: 0, refused_at: None, again: false, lost: 0 }
    }

    /// It has been handed in, and no more.
    pub(crate) const fn is_new(&self) -> bool {
        self.tries == 0 && !self.again
    }
}

/// The batch that messages are still added to.
pub(crate) struct Open {
    pub(crate) head: Arc<Head>,
    fate: Arc<Fate>,
    messages: OpenMessages,
}

enum OpenMessages {
    Plain(BlockBuilder),
    Each(Vec<Entry>),
}

impl Open {
    pub(crate) fn new(head: Arc<Head>, plain: bool) -> Self {
        let messages = if plain {
            OpenMessages::Plain(BlockBuilder::default())
        } else {
            OpenMessages::Each(Vec::new())
        };
        Self { head, fate: Arc::default(), messages }
    }

    /// A message of that kind can be added.
    pub(crate) fn takes(&self, head: &Arc<Head>, plain: bool) -> bool {
        let same = Arc::ptr_eq(&self.head, head) || self.head == *head;
        same && plain == matches!(self.messages, OpenMessages::Plain(_)) && !head.whole
    }

    /// Adds a message, and says where its outcome will be.
    pub(crate) fn push(&mut self, message: Message) -> (Arc<Fate>, u32) {
        let index = match &mut self.messages {
            OpenMessages::Plain(builder) => {
                builder.push(&message.payload);
                builder.count() - 1
            }
            OpenMessages::Each(entries) => {
                let index = entries.len() as u32;
                entries.push(Entry { message, fate: Arc::clone(&self.fate), index });
                index
            }
        };
        (Arc::clone(&self.fate), index)
    }

    pub(crate) fn close(self) -> Batch {
        let Self { head, fate, messages } = self;
        let items = match messages {
            OpenMessages::Plain(mut builder) => {
                Items::Plain { block: builder.finish(), fate, base: 0, only: true }
            }
            OpenMessages::Each(entries) => Items::Each(entries),
        };
        Batch { trail: Trail::new(head), items }
    }
}
