//! The order of a queue: which message is next.
//!
//! Messages are visible below `visible`. Below `cursor` every message has been looked at once;
//! those that became ready again are ranked, and so are those of another priority than the
//! default, which stand elsewhere than their seq says. So the next message is the first ranked one
//! or the one at the cursor, and nothing is ever searched for.

use std::collections::BTreeSet;

use sluice_model::{PRIORITY_DEFAULT, PRIORITY_MAX, State};

use crate::journal::{Progress, Sequence};
use crate::queue::lane_of;
use crate::queue::slots::{Extra, Slot, Slots};

/// Where a message stands among those that are ready: the lowest is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// Highest priority less its own.
    behind: u8,
    place: Place,
    seq: u64,
}

/// A message's place: its seq, or behind all that were there when it was redriven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// A seq.
    pub(crate) seq: u64,
    /// 0, or the record that put the message behind that seq.
    pub(crate) behind: Sequence,
    /// Counts the messages in memory only that were put behind that record.
    pub(crate) nth: u64,
}

impl Rank {
    /// The rank of a message with what it has beside its slot.
    pub(crate) fn of(seq: u64, extra: Option<&Extra>) -> Self {
        let lane = extra.and_then(Extra::lane);
        let priority = lane.map_or(PRIORITY_DEFAULT, |lane| lane.priority);
        let place = extra.and_then(Extra::place).unwrap_or(Place { seq, ..Place::default() });
        Self { behind: PRIORITY_MAX.saturating_sub(priority), place, seq }
    }
}

/// The ready messages of a queue, in order.
#[derive(Debug, Default)]
pub(crate) struct Order {
    visible: u64,
    cursor: u64,
    ranked: BTreeSet<Rank>,
    /// Messages of another rank than their seq's that are not visible yet.
    hidden: BTreeSet<u64>,
    /// The highest record that brought a message, and the highest that is visible once synced.
    tail: Sequence,
    tail_synced: Sequence,
    /// The largest message that is not visible yet.
    largest_hidden: u64,
    /// How many hold it back, and the largest message that may come once they don't.
    held_back_by: u32,
    largest_held_back: u64,
}

impl Order {
    /// Seqs below this are visible.
    pub(crate) fn visible(&self) -> u64 {
        self.visible
    }

    /// Where to look for the next message that stands where its seq says.
    pub(crate) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Bytes of the largest message that is not visible yet, or is held back.
    pub(crate) fn largest_hidden(&self) -> u64 {
        self.largest_hidden.max(self.largest_held_back)
    }

    /// Gives out nothing until [`Order::let_go`] has followed, because only a part of those is
    /// there that are on their way to their places. None of them is larger than `largest`.
    pub(crate) fn hold_back(&mut self, largest: u64) {
        self.held_back_by += 1;
        self.largest_held_back = self.largest_held_back.max(largest);
    }

    /// Ends one [`Order::hold_back`].
    pub(crate) fn let_go(&mut self) {
        self.held_back_by -= 1;
        if self.held_back_by == 0 {
            self.largest_held_back = 0;
        }
    }

    /// Whether nothing is given out for now.
    pub(crate) fn is_held_back(&self) -> bool {
        self.held_back_by > 0
    }

    /// A message came; `slots` has it.
    pub(crate) fn pushed(&mut self, seq: u64, slot: &Slot) {
        let sequence = slot.sequence();
        self.tail = self.tail.max(sequence);
        if slot.waits_for_sync() {
            self.tail_synced = self.tail_synced.max(sequence);
        }
        if sequence == 0 && self.visible == seq {
            // In memory only, and nothing before it waits.
            self.visible = seq + 1;
        } else {
            self.largest_hidden = self.largest_hidden.max(slot.len());
        }
    }

    /// Makes visible what is committed.
    /// Those that stand in lanes of their own go `laned`.
    pub(crate) fn reveal(&mut self, slots: &Slots, progress: Progress, laned: &mut Vec<u64>) {
        let next = slots.next();
        if self.tail <= progress.written && self.tail_synced <= progress.synced {
            self.visible = next;
        } else {
            while let Some(seq) = slots.next_alive(self.visible, next) {
                self.visible = seq;
                if slots.get(seq).is_some_and(|slot| !slot.is_committed(progress)) {
                    break;
                }
                self.visible = seq + 1;
            }
        }
        if self.visible == next {
            self.largest_hidden = 0;
        }
        while let Some(seq) = self.hidden.first().copied().filter(|seq| *seq < self.visible) {
            self.hidden.pop_first();
            let ready = slots.get_full(seq).filter(|(slot, _)| slot.state() == State::Ready);
            match ready {
                Some((_, extra)) if lane_of(extra).is_some() => laned.push(seq),
                Some((_, extra)) => drop(self.ranked.insert(Rank::of(seq, extra))),
                None => {}
            }
        }
    }

    /// Moves the cursor to the first message that is ready and stands where its seq says, past at
    /// most `steps` others, which are taken off. Says whether it came to the end of its way.
    pub(crate) fn approach(&mut self, slots: &Slots, steps: &mut u64) -> bool {
        while let Some(seq) = slots.next_alive(self.cursor, self.visible) {
            self.cursor = seq;
            let fresh = |slot: &Slot| slot.state() == State::Ready && !slot.is_ranked();
            if slots.get(seq).is_some_and(fresh) {
                return true;
            }
            if *steps == 0 {
                return false;
            }
            *steps -= 1;
            self.cursor += 1;
        }
        self.cursor = self.cursor.max(self.visible);
        true
    }

    /// The next message in order, if one is ready and visible.
    pub(crate) fn peek(&mut self, slots: &Slots) -> Option<u64> {
        self.approach(slots, &mut { u64::MAX });
        let fresh = (self.cursor < self.visible).then_some(self.cursor);
        let ranked = self.ranked.first().copied();
        match (ranked, fresh) {
            (Some(ranked), Some(fresh)) if Rank::of(fresh, None) < ranked => Some(fresh),
            (Some(ranked), _) => Some(ranked.seq),
            (None, fresh) => fresh,
        }
    }

    /// The messages that are ready and visible, in order: what [`Order::peek`] gives, one after the
    /// other.
    pub(crate) fn ahead<'a>(&'a self, slots: &'a Slots) -> impl Iterator<Item = u64> + 'a {
        let mut ranked = self.ranked.iter().peekable();
        let mut fresh = self.fresh(slots, self.cursor);
        std::iter::from_fn(move || match (ranked.peek(), fresh) {
            (Some(rank), next) if next.is_none_or(|seq| **rank < Rank::of(seq, None)) => {
                ranked.next().map(|rank| rank.seq)
            }
            (_, next) => {
                fresh = next.and_then(|seq| self.fresh(slots, seq + 1));
                next
            }
        })
    }

    /// The first message at or behind `from` that is ready, visible, and at its seq's place.
    fn fresh(&self, slots: &Slots, mut from: u64) -> Option<u64> {
        while let Some(seq) = slots.next_alive(from, self.visible) {
            let fresh = |slot: &Slot| slot.state() == State::Ready && !slot.is_ranked();
            if slots.get(seq).is_some_and(fresh) {
                return Some(seq);
            }
            from = seq + 1;
        }
        None
    }

    /// Whether a message that becomes ready is not visible yet and stands elsewhere than its seq says.
    pub(crate) fn hides(&self, seq: u64, slot: &Slot) -> bool {
        slot.is_ranked() && seq >= self.visible
    }

    /// Such a message became ready.
    pub(crate) fn hide(&mut self, seq: u64) {
        self.hidden.insert(seq);
    }

    /// A message is not ready any more; says whether it was hidden.
    pub(crate) fn unhide(&mut self, seq: u64, slot: &Slot) -> bool {
        slot.is_ranked() && self.hidden.remove(&seq)
    }

    /// A message became ready that may be seen.
    pub(crate) fn enter(&mut self, seq: u64, slot: &Slot, extra: Option<&Extra>) {
        if slot.is_ranked() || seq < self.cursor {
            self.ranked.insert(Rank::of(seq, extra));
        }
    }

    /// A message is not ready any more that was not hidden.
    pub(crate) fn leave(&mut self, seq: u64, slot: &Slot, extra: Option<&Extra>) {
        if slot.is_ranked() || seq < self.cursor {
            self.ranked.remove(&Rank::of(seq, extra));
        }
    }

    /// A message is about to be handed over: whoever asks for the next one gets another.
    pub(crate) fn take(&mut self, seq: u64, slot: &Slot, extra: Option<&Extra>) {
        self.leave(seq, slot, extra);
        if !slot.is_ranked() && seq == self.cursor {
            self.cursor += 1;
        }
    }

    /// A bit for each priority of which there may be a message.
    pub(crate) fn priorities(&self) -> u16 {
        match self.ranked.is_empty() {
            true => 1 << PRIORITY_DEFAULT,
            false => (2 << PRIORITY_MAX) - 1,
        }
    }

    /// The next message of a priority.
    pub(crate) fn first_of(&mut self, priority: u8, slots: &Slots) -> Option<(Place, u64)> {
        let mut ranked = None;
        if !self.ranked.is_empty() {
            let behind = PRIORITY_MAX.saturating_sub(priority);
            let from = Rank { behind, place: Place::default(), seq: 0 };
            let first = self.ranked.range(from..).next().filter(|rank| rank.behind == behind);
            ranked = first.map(|rank| (rank.place, rank.seq));
        }
        if priority != PRIORITY_DEFAULT {
            return ranked;
        }
        self.approach(slots, &mut { u64::MAX });
        let fresh = (self.cursor < self.visible).then_some(self.cursor);
        let fresh = fresh.map(|seq| (Place { seq, ..Place::default() }, seq));
        ranked.into_iter().chain(fresh).min()
    }

    /// Begins anew with what an image brought, all of it visible.
    pub(crate) fn restart(&mut self, slots: &Slots) {
        *self = Self { cursor: slots.first_seq(), visible: slots.next(), ..Self::default() };
        for (seq, slot, extra) in slots.iter() {
            self.tail = self.tail.max(slot.sequence());
            let is_here = slot.is_ranked() && slot.state() == State::Ready;
            if is_here && lane_of(extra).is_none() {
                self.ranked.insert(Rank::of(seq, extra));
            }
        }
    }

    /// The ready message that has been there longest.
    pub(crate) fn oldest(&mut self, slots: &Slots) -> Option<u64> {
        let next = self.peek(slots);
        // Ranked ones of every priority may be older than the next one; there are few ranks.
        let mut from = self.ranked.first().copied();
        let mut oldest = next;
        while let Some(rank) = from {
            oldest = oldest.into_iter().chain([rank.seq]).min();
            let beyond = Rank { behind: rank.behind + 1, place: Place::default(), seq: 0 };
            from = self.ranked.range(beyond..).next().copied();
        }
        let fresh = slots.next_alive(self.cursor, self.visible);
        let fresh = fresh.filter(|seq| slots.get(*seq).is_some_and(|s| s.state() == State::Ready));
        oldest.into_iter().chain(fresh).min()
    }

    /// What must hold between any two transitions.
    pub(crate) fn check(&self, slots: &Slots) {
        let mut ranked = 0;
        for (seq, slot, extra) in slots.iter() {
            let visible = seq < self.visible;
            let expected = slot.state() == State::Ready
                && lane_of(extra).is_none()
                && (slot.is_ranked() && visible || !slot.is_ranked() && seq < self.cursor);
            assert_eq!(self.ranked.contains(&Rank::of(seq, extra)), expected, "rank of {seq}");
            ranked += usize::from(expected);
        }
        assert_eq!(self.ranked.len(), ranked, "no message that is gone is ranked");
        assert!(self.cursor <= self.visible.max(slots.first_seq()));
        assert!(self.visible <= slots.next().max(slots.first_seq()));
    }
}
