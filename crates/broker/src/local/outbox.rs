//! A session's replies in the order of its requests, held until what they say is safe.

use std::collections::VecDeque;

use sluice_engine::{Body, Handover, Need, Place, Progress, Ticket};
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
}

/// What is in a parcel.
#[derive(Clone, Debug, PartialEq)]
pub enum ParcelContent {
    /// An answer without a message.
    Answer(Answer),
    /// Messages, whose bytes may still be in the log.
    Handovers(Vec<Handover>),
    /// A message that was looked at; likewise.
    Peek(Box<MessageInfo>, Body),
}

impl Parcel {
    /// A parcel with an answer that carries no message.
    pub fn answer(tag: u64, answer: Answer) -> Self {
        Self { tag, weight: answer.weight(), content: ParcelContent::Answer(answer) }
    }

    /// A parcel with messages.
    pub fn handovers(tag: u64, handovers: Vec<Handover>) -> Self {
        let weights = handovers.iter().map(|handover| Reply::delivery_weight(handover.bytes()));
        Self { tag, weight: weights.sum(), content: ParcelContent::Handovers(handovers) }
    }

    /// A parcel with a message that was looked at.
    pub fn peek(tag: u64, info: Box<MessageInfo>, body: Body) -> Self {
        let weight = Reply::peek_weight(body.bytes());
        Self { tag, weight, content: ParcelContent::Peek(info, body) }
    }

    /// The leases of the deliveries in it.
    pub fn leases(&self) -> impl Iterator<Item = LeaseId> {
        let handovers = match &self.content {
            ParcelContent::Answer(_) | ParcelContent::Peek(..) => &[][..],
            ParcelContent::Handovers(handovers) => handovers,
        };
        handovers.iter().filter_map(|handover| handover.lease)
    }

    /// The bodies in it.
    pub fn bodies_mut(&mut self) -> impl Iterator<Item = &mut Body> {
        let (handovers, peeked) = match &mut self.content {
            ParcelContent::Answer(_) => (&mut [][..], None),
            ParcelContent::Handovers(handovers) => (&mut handovers[..], None),
            ParcelContent::Peek(_, body) => (&mut [][..], Some(body)),
        };
        handovers.iter_mut().map(|handover| &mut handover.body).chain(peeked)
    }
}

#[derive(Debug)]
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
