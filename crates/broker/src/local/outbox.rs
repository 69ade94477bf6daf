//! A session's replies in the order of its requests, held until what they say is safe.

use std::collections::VecDeque;

use bytes::Bytes;
use sluice_engine::{Body, BodyRef, Handover, Need, Place, Progress, Ticket};
use sluice_model::{Answer, LeaseId, MessageInfo, Reply};

/// An answer on its way to a door.
#[derive(Clone, Debug, PartialEq)]
pub struct Parcel {
    /// The tag of the request.
    pub tag: u64,
    /// What the engine counts it for in the session's bound on outgoing bytes.
    pub weight: usize,
    /// What is in it.
    pub content: ParcelContent,
    /// The stored body of a message in it, if the log still has it in memory.
    pub resident: Option<Bytes>,
}

/// What is in a parcel.
#[derive(Clone, Debug, PartialEq)]
pub enum ParcelContent {
    /// An answer without a message.
    Answer(Answer),
    /// A message, whose bytes may still be in the log.
    Handover(Handover),
    /// A message that was looked at; likewise.
    Peek(Box<MessageInfo>, Body),
}

impl Parcel {
    /// A parcel with an answer that carries no message.
    pub fn answer(tag: u64, answer: Answer) -> Self {
        let reply = Reply { tag, answer };
        let weight = reply.weight();
        Self { tag, weight, content: ParcelContent::Answer(reply.answer), resident: None }
    }

    /// The lease of the delivery in it, if it is one.
    pub fn lease(&self) -> Option<LeaseId> {
        match &self.content {
            ParcelContent::Answer(_) | ParcelContent::Peek(..) => None,
            ParcelContent::Handover(handover) => handover.lease,
        }
    }

    /// A parcel with a message that was looked at.
    pub fn peek(tag: u64, info: Box<MessageInfo>, body: Body) -> Self {
        let weight = Reply::peek_weight(body.bytes());
        Self { tag, weight, content: ParcelContent::Peek(info, body), resident: None }
    }

    /// Where the log has what is in it, if it is in the log.
    pub fn stored(&self) -> Option<BodyRef> {
        let body = match &self.content {
            ParcelContent::Answer(_) => return None,
            ParcelContent::Handover(handover) => &handover.body,
            ParcelContent::Peek(_, body) => body,
        };
        match body {
            Body::Stored(at) => Some(*at),
            Body::Resident(_) => None,
        }
    }

    /// A parcel with a message.
    pub fn handover(tag: u64, handover: Handover) -> Self {
        let weight = Reply::delivery_weight(handover.bytes());
        Self { tag, weight, content: ParcelContent::Handover(handover), resident: None }
    }
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every entry is of the large kind")]
enum Entry {
    /// Waits for the log.
    Held(Need, Parcel),
    /// Keeps the place of an answer that is not there yet.
    Kept(Ticket),
}

/// One session's replies that may not leave yet, in order.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    entries: VecDeque<Entry>,
}

impl Outbox {
    /// Adds an answer; gives it back if it may leave at once.
    pub(crate) fn push(
        &mut self,
        place: Place,
        need: Need,
        parcel: Parcel,
        progress: Progress,
    ) -> Option<Parcel> {
        match place {
            Place::Next if self.entries.is_empty() && need.is_met(progress) => Some(parcel),
            Place::Next => {
                self.entries.push_back(Entry::Held(need, parcel));
                None
            }
            Place::Kept(ticket) => {
                let kept = |entry: &&mut Entry| matches!(entry, Entry::Kept(t) if *t == ticket);
                if let Some(entry) = self.entries.iter_mut().find(kept) {
                    *entry = Entry::Held(need, parcel);
                }
                None
            }
        }
    }

    /// Keeps a place for an answer that comes later.
    pub(crate) fn keep(&mut self, ticket: Ticket) {
        self.entries.push_back(Entry::Kept(ticket));
    }

    /// Takes the next answer that may leave.
    pub(crate) fn pop(&mut self, progress: Progress) -> Option<Parcel> {
        match self.entries.front()? {
            Entry::Held(need, _) if need.is_met(progress) => {}
            _ => return None,
        }
        match self.entries.pop_front()? {
            Entry::Held(_, parcel) => Some(parcel),
            Entry::Kept(_) => None,
        }
    }

    /// Takes every answer, safe or not.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Parcel> {
        self.entries.drain(..).filter_map(|entry| match entry {
            Entry::Held(_, parcel) => Some(parcel),
            Entry::Kept(_) => None,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fenced(tag: u64) -> Parcel {
        Parcel::answer(tag, Answer::Fenced)
    }

    fn synced(sequence: u64) -> Need {
        Need { written: sequence, synced: sequence }
    }

    fn at(synced: u64) -> Progress {
        Progress { written: synced, synced }
    }

    #[test]
    fn replies_leave_in_order_and_not_before_they_are_safe() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.push(Place::Next, synced(1), fenced(1), at(1)), Some(fenced(1)));
        assert_eq!(outbox.push(Place::Next, synced(5), fenced(2), at(1)), None);
        // Safe by itself, but behind one that is not.
        assert_eq!(outbox.push(Place::Next, synced(0), fenced(3), at(1)), None);
        assert_eq!(outbox.pop(at(4)), None);
        assert_eq!(outbox.pop(at(5)), Some(fenced(2)));
        assert_eq!(outbox.pop(at(5)), Some(fenced(3)));
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_kept_place_holds_back_what_is_behind_it() {
        let mut outbox = Outbox::default();
        outbox.keep(Ticket(7));
        assert_eq!(outbox.push(Place::Next, Need::NONE, fenced(2), at(9)), None);
        assert_eq!(outbox.pop(at(9)), None);
        assert_eq!(outbox.push(Place::Kept(Ticket(7)), Need::NONE, fenced(1), at(9)), None);
        assert_eq!(outbox.pop(at(9)), Some(fenced(1)));
        assert_eq!(outbox.pop(at(9)), Some(fenced(2)));
    }
}
