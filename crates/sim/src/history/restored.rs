//! What a backup of the queue owes: as it stood at one moment between the one at which the backup
//! was asked for and the one at which it was done.

use super::{History, Message, Op, Span, What};
use crate::oracle::Name;

impl History {
    /// What a broker owes that begins with a backup. `self` is what had happened when it was asked
    /// for, `done` when it was done, `open` what was asked then and not answered, `now` is all that
    /// has happened in the old life since.
    pub(crate) fn restored<'a>(
        &self,
        done: &Self,
        open: impl Iterator<Item = &'a Op>,
        now: &Self,
    ) -> Self {
        let messages = done.messages.iter().map(|(name, message)| {
            let asked = self.messages.get(name);
            (*name, message.restored(asked, self.clock))
        });
        // Only what was over when the backup was asked for is in it for sure.
        let is_in = |span: &Span| span.answered && span.ended <= self.clock;
        let spans = done.purges.iter().map(|span| Span { answered: is_in(span), ..*span });
        let mut purges: Vec<Span> = spans.collect();
        for op in open.filter(|op| matches!(op.what, What::Purge)) {
            purges.push(Span { asked: op.asked, ended: done.clock, answered: false });
        }
        Self {
            clock: now.clock,
            messages: messages.collect(),
            generations: now.generations.clone(),
            batches: now.batches,
            purges,
            redrives: done.redrives.clone(),
            ..Self::default()
        }
    }

    /// Whether somebody has handed in a message of this name.
    pub(crate) fn knows(&self, name: Name) -> bool {
        self.messages.contains_key(&name)
    }

    /// Whether a message was surely there at that moment.
    pub(crate) fn was_there(&self, name: Name, moment: u64) -> bool {
        let confirmed = self.messages.get(&name).and_then(|message| message.confirmed);
        confirmed.is_some_and(|confirmed| confirmed <= moment)
    }

    /// The number of the last start that a lease is known of.
    pub(crate) fn last_start(&self) -> u32 {
        self.generations.last().map_or(0, |last| last.start)
    }

    /// A crash may lose grants, so what came first may come first once more.
    pub(crate) fn forget_order(&mut self) {
        self.first.clear();
        self.empties.clear();
        self.messages.values_mut().for_each(|message| message.handed.clear());
    }

    /// An ack by a lease of the old life may have ended the message.
    pub(crate) fn may_be_over(&mut self, name: Name) {
        if let Some(message) = self.messages.get_mut(&name) {
            message.may_be_over = true;
        }
    }
}

impl Message {
    /// `asked` is the message when the backup was asked for, if it was handed in by then; the
    /// clock stood at `clock`.
    fn restored(&self, asked: Option<&Self>, clock: u64) -> Self {
        // Whoever has seen it knows that it was there.
        let seen = asked.filter(|message| !message.handed.is_empty()).map(|_| clock);
        Self {
            asked: self.asked,
            confirmed: asked.and_then(|message| message.confirmed).or(seen),
            // Where it is not in the backup it may be published once more.
            id: asked.and_then(|message| message.id),
            priority: self.priority,
            delayed: self.delayed,
            batch: self.batch,
            block: self.block,
            refused: self.refused,
            handed: Vec::new(),
            over: asked.and_then(|message| message.over),
            over_by: asked.and_then(|message| message.over_by),
            may_be_over: self.may_be_over || self.over.is_some(),
            rejected: asked.and_then(|message| message.rejected),
            seq: self.seq,
            unread: self.unread,
        }
    }
}
