//! What holds of blocks and of many settlements at once.

use std::collections::BTreeMap;

use sluice_model::{Generation, Timestamp};

use super::{History, What};
use crate::oracle::Name;

/// What was asked of many leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Many {
    Ack,
    GiveBack,
    /// No lease ends before that by it.
    Extend {
        until: Timestamp,
    },
}

/// The first deliveries of a block's messages, in the order of their leases.
pub(super) type InBlock = BTreeMap<Generation, Name>;

impl History {
    /// Many messages are handed in, or many leases settled.
    pub(super) fn ask_many(&mut self, what: &What, asked: u64) {
        match what {
            What::Block { drafts, whole } => {
                self.blocks += 1;
                self.batches += 1;
                for draft in drafts {
                    self.register(draft, asked, Some(self.blocks));
                    // Each of a block that may be parted stands for itself.
                    self.batches += u64::from(!whole);
                }
            }
            What::SettleMany { leases, how } => {
                for (name, generation) in leases {
                    self.ask_of_one(*name, *generation, *how);
                }
            }
            _ => {}
        }
    }

    fn ask_of_one(&mut self, name: Name, generation: Generation, how: Many) {
        match how {
            Many::Ack => {
                if let Some(message) = self.messages.get_mut(&name) {
                    message.may_be_over = true;
                }
            }
            Many::GiveBack => self.give_back(name),
            Many::Extend { until } => {
                // It may become shorter by it.
                let of = self.messages.get_mut(&name).into_iter().flat_map(|m| &mut m.handed);
                for handed in of.filter(|handed| handed.generation == generation) {
                    handed.deadline = handed.deadline.min(until);
                }
            }
        }
    }

    /// A message was refused for sure: it never comes.
    pub(crate) fn refused(&mut self, name: Name) -> Result<(), String> {
        let message = self.messages.get_mut(&name).ok_or("never published")?;
        message.refused = true;
        match message.handed.is_empty() {
            true => Ok(()),
            false => Err(format!("{name:?} came and was refused")),
        }
    }

    /// A message's end under this lease was confirmed, perhaps not for the first time.
    pub(crate) fn over_by(&mut self, name: Name, by: Generation) -> Result<(), String> {
        let now = self.tick();
        let message = self.messages.get_mut(&name).ok_or("never published")?;
        message.over.get_or_insert(now);
        match *message.over_by.get_or_insert(by) {
            first if first == by => Ok(()),
            first => Err(format!("{name:?} is over by {first:?} and by {by:?}")),
        }
    }

    /// A lease was given back or extended, so its message had not ended.
    pub(crate) fn is_not_over(&self, name: Name, asked: u64) -> Result<(), String> {
        match self.messages.get(&name).and_then(|message| message.over) {
            Some(over) if over < asked => Err(format!("{name:?} was held after its end")),
            _ => Ok(()),
        }
    }

    /// A lease goes on until then.
    pub(crate) fn extended(&mut self, name: Name, generation: Generation, until: Timestamp) {
        let of = self.messages.get_mut(&name).into_iter().flat_map(|message| &mut message.handed);
        for handed in of.filter(|handed| handed.generation == generation) {
            handed.deadline = until;
        }
    }

    /// A message of a block came for the first time: it was leased in the order of the block.
    pub(super) fn came_in_block(&mut self, name: Name, by: Generation) -> Result<(), String> {
        let Some(block) = self.messages[&name].block else { return Ok(()) };
        let others = self.in_blocks.entry(block).or_default();
        let before = others.range(..by).next_back().map(|(_, other)| *other);
        let after = others.range(by..).next().map(|(_, other)| *other);
        others.insert(by, name);
        self.compared.in_block += u64::from(before.is_some()) + u64::from(after.is_some());
        match (before, after) {
            (Some(other), _) if other > name => Err(format!("{other:?} came before {name:?}")),
            (_, Some(other)) if other < name => Err(format!("{name:?} came before {other:?}")),
            _ => Ok(()),
        }
    }
}
