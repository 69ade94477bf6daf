//! The index of a queue: 32 bytes a message, found by its seq without a search.
//!
//! Slots stand in chunks of [`CHUNK`], a chunk goes when its last message is gone. A chunk is
//! shared with a checkpoint that is being written and copied on the first change after it was
//! taken, so that a checkpoint sees one moment and stalls nobody. What only some messages have
//! (leases, failures, times) stands in an [`Extra`] beside the slots of its chunk.

use std::collections::VecDeque;
use std::sync::Arc;

use slab::Slab;
use sluice_model::{
    Carried, DeadReason, Generation, Lane, SessionId, State, Timestamp, Transition,
};

use crate::journal::BodyRef;
use crate::queue::lanes::NO_LANE;
use crate::queue::order::Place;
pub(crate) use crate::queue::slot::Slot;

/// Slots in a chunk. A queue that changed and is not small costs an image one chunk of 7 KiB at
/// least, and the first change after an image a copy of 8 KiB; with larger chunks a thousand queues
/// that get a message each would write images larger than a third of the log. With smaller ones
/// the list of pieces would be, for ten million messages.
pub(crate) const CHUNK: u64 = 256;

/// A queue's only chunk stands in the image's piece of the queue while it holds no more messages: a
/// hundred thousand queues with a message each are as many pieces, not three times as many, and
/// what is encoded on the spot is neither shared nor copied on the next change.
const WITHIN_MAX: u32 = 16;

/// What only some messages have.
///
/// A slot without one is 32 bytes; with one it is several times that, so plain messages never get
/// one before they are handed over.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Extra {
    /// Who holds it, while it is leased.
    pub(crate) lease: Option<Lease>,
    /// A late ack under an older generation is refused.
    pub(crate) fence: Generation,
    pub(crate) acquires: u32,
    pub(crate) failures: u32,
    pub(crate) releases: u32,
    /// The number of the lane that it belongs to, unless it is plain or dead.
    pub(crate) lane_no: u32,
    /// Hidden until then, while it is delayed.
    pub(crate) ready_at: Timestamp,
    /// Gone from then on; the epoch for never.
    pub(crate) expires_at: Timestamp,
    /// What happened to it last; none for its publish.
    pub(crate) last: Option<(Transition, Timestamp)>,
    /// Order and limits.
    pub(crate) lane: Option<Arc<Lane>>,
    /// Its body, when it is in memory only.
    pub(crate) resident: Option<Arc<Carried>>,
    pub(crate) more: Option<Box<More>>,
}

/// What only few messages have.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct More {
    /// Where it stands since it was redriven.
    pub(crate) place: Option<Place>,
    /// Since when it has its place, if not since its publish.
    pub(crate) placed_at: Timestamp,
    pub(crate) redriven: u32,
    /// Why and since when it is dead.
    pub(crate) dead: Option<(DeadReason, Timestamp)>,
    /// What its last consumer said about a failure.
    pub(crate) note: Option<Box<str>>,
}

/// One consumer's right to a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Lease {
    pub(crate) generation: Generation,
    pub(crate) granted_at: Timestamp,
    pub(crate) deadline: Timestamp,
    /// It ends with its connection.
    pub(crate) bound: bool,
    /// The connection; none after a restart.
    pub(crate) session: Option<SessionId>,
}

impl Default for Extra {
    fn default() -> Self {
        Self {
            lease: None,
            fence: Generation::default(),
            acquires: 0,
            failures: 0,
            releases: 0,
            lane_no: NO_LANE,
            ready_at: Timestamp::EPOCH,
            expires_at: Timestamp::EPOCH,
            last: None,
            lane: None,
            resident: None,
            more: None,
        }
    }
}

impl Extra {
    /// Whether the message is past its time.
    pub(crate) fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at != Timestamp::EPOCH && self.expires_at <= now
    }

    pub(crate) fn lane(&self) -> Option<&Arc<Lane>> {
        self.lane.as_ref()
    }

    pub(crate) fn place(&self) -> Option<Place> {
        self.more.as_ref()?.place
    }

    pub(crate) fn dead(&self) -> Option<(DeadReason, Timestamp)> {
        self.more.as_ref()?.dead
    }

    /// What few messages have, to be changed.
    pub(crate) fn more_mut(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }
}

/// A run of slots with what only some of them have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chunk {
    /// The place of the first slot; nothing is before it.
    first: usize,
    slots: Vec<Slot>,
    pub(crate) extras: Slab<Extra>,
    alive: u32,
}

/// A chunk's part that changed since the last image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dirty {
    /// Slots came, or bodies moved.
    pub(crate) places: bool,
    /// States changed.
    pub(crate) states: bool,
}

/// A chunk's number, what changed in it, and the chunk as it is now.
pub(crate) type DirtyChunk = (u64, Dirty, Arc<Chunk>);

/// What an image takes of a queue's messages.
#[derive(Debug, Default)]
pub(crate) struct Taken<'a> {
    /// Chunks with pieces of their own that changed, or have none yet.
    pub(crate) changed: Vec<DirtyChunk>,
    /// Numbers of those that went since the last image.
    pub(crate) removed: Vec<u64>,
    /// The only chunk, where it is small enough for the piece of the queue.
    pub(crate) within: Option<(u64, &'a Chunk)>,
}

#[derive(Debug, Default)]
struct Entry {
    chunk: Option<Arc<Chunk>>,
    dirty: Dirty,
    /// It has pieces of its own in the last image.
    apart: bool,
}

/// All messages of a queue by seq.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    entries: VecDeque<Entry>,
    /// Number of the first entry: its first seq divided by [`CHUNK`].
    first: u64,
    next: u64,
    /// Chunks that went since the last image and are in it.
    removed: Vec<u64>,
}

impl Slots {
    /// The seq of the next message.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The lowest seq that may hold a message.
    pub(crate) fn first_seq(&self) -> u64 {
        self.first * CHUNK
    }

    /// Starts at `next`, with no messages.
    pub(crate) fn starting_at(next: u64) -> Self {
        Self { first: next / CHUNK, next, ..Self::default() }
    }

    /// Passes over the seqs before `next`: their messages were in memory only and are gone.
    pub(crate) fn skip_to(&mut self, next: u64) {
        self.next = self.next.max(next);
    }

    pub(crate) fn get(&self, seq: u64) -> Option<&Slot> {
        let (chunk, at) = self.locate(seq)?;
        chunk.get(at)
    }

    /// The slot and what it has beside it.
    pub(crate) fn get_full(&self, seq: u64) -> Option<(&Slot, Option<&Extra>)> {
        let (chunk, at) = self.locate(seq)?;
        let slot = chunk.get(at)?;
        Some((slot, slot.extra().and_then(|at| chunk.extras.get(at))))
    }

    /// Adds a message at the end.
    pub(crate) fn push(&mut self, slot: Slot) -> u64 {
        let seq = self.next;
        self.fill_to(seq);
        let entry = self.entry_for_push();
        entry.dirty.places = true;
        let chunk = Arc::make_mut(entry.chunk.get_or_insert_default());
        chunk.push((seq % CHUNK) as usize, slot);
        self.next = seq + 1;
        seq
    }

    /// Makes room in the list of entries for `seq`.
    fn fill_to(&mut self, seq: u64) {
        let number = seq / CHUNK;
        if self.entries.is_empty() {
            self.first = number;
        }
        while self.first + (self.entries.len() as u64) <= number {
            self.entries.push_back(Entry::default());
        }
    }

    fn entry_for_push(&mut self) -> &mut Entry {
        self.entries.back_mut().expect("fill_to has just made room")
    }

    /// Moves a message to another state.
    pub(crate) fn set_state(&mut self, seq: u64, state: State) {
        if let Some((chunk, at)) = self.locate_mut(seq, Dirty { states: true, places: false }) {
            chunk.slot_mut(at).set_state(state);
        }
    }

    /// Gives a message to a consumer, and its length back.
    pub(crate) fn lease(&mut self, seq: u64, lease: Lease) -> Option<u64> {
        let (chunk, at) = self.locate_mut(seq, Dirty { states: true, places: false })?;
        let (slot, extra) = chunk.with_extra(at);
        slot.set_state(State::Leased);
        extra.lease = Some(lease);
        extra.acquires += 1;
        extra.ready_at = Timestamp::EPOCH;
        extra.last = Some((Transition::Leased, lease.granted_at));
        Some(slot.len())
    }

    /// Notes that a message stands elsewhere than its seq says.
    pub(crate) fn set_ranked(&mut self, seq: u64) {
        if let Some((chunk, at)) = self.locate_mut(seq, Dirty { states: true, places: true }) {
            chunk.slot_mut(at).set_ranked();
        }
    }

    /// Notes the lane of a message with an extra; no image has it.
    pub(crate) fn set_lane(&mut self, seq: u64, lane: u32) {
        if let Some((chunk, at)) = self.locate_mut(seq, Dirty::default()) {
            chunk.with_extra(at).1.lane_no = lane;
        }
    }

    /// What the message has beside its slot, made on first use.
    pub(crate) fn extra_mut(&mut self, seq: u64) -> Option<&mut Extra> {
        let (chunk, at) = self.locate_mut(seq, Dirty { states: true, places: false })?;
        Some(chunk.with_extra(at).1)
    }

    /// Notes that a message's body has moved.
    pub(crate) fn relocate(&mut self, seq: u64, body: BodyRef) {
        if let Some((chunk, at)) = self.locate_mut(seq, Dirty { places: true, states: false }) {
            chunk.slot_mut(at).set_body(body);
        }
    }

    /// Forgets a message.
    pub(crate) fn remove(&mut self, seq: u64) -> Option<Slot> {
        let (chunk, at) = self.locate_mut(seq, Dirty { states: true, places: false })?;
        let slot = *chunk.slot_mut(at);
        if let Some(extra) = slot.extra() {
            chunk.extras.remove(extra);
        }
        *chunk.slot_mut(at) = slot.gone();
        chunk.alive -= 1;
        if chunk.alive == 0 {
            self.drop_chunk(seq / CHUNK);
        }
        Some(slot)
    }

    fn drop_chunk(&mut self, number: u64) {
        let at = (number - self.first) as usize;
        if let Some(entry) = self.entries.get_mut(at)
            && std::mem::take(entry).apart
        {
            self.removed.push(number);
        }
        while self.entries.front().is_some_and(|entry| entry.chunk.is_none()) {
            self.entries.pop_front();
            self.first += 1;
        }
    }

    /// The first seq at or after `from` that holds a message, before `end`.
    pub(crate) fn next_alive(&self, mut from: u64, end: u64) -> Option<u64> {
        from = from.max(self.first_seq());
        while from < end {
            match self.locate(from) {
                None => from = (from / CHUNK + 1) * CHUNK,
                Some((chunk, at)) => match chunk.get(at) {
                    Some(_) => return Some(from),
                    None => from += 1 + chunk.first.saturating_sub(at + 1) as u64,
                },
            }
        }
        None
    }

    fn locate(&self, seq: u64) -> Option<(&Chunk, usize)> {
        let at = (seq / CHUNK).checked_sub(self.first)?;
        let chunk = self.entries.get(usize::try_from(at).ok()?)?.chunk.as_deref()?;
        Some((chunk, (seq % CHUNK) as usize))
    }

    /// The chunk of a message that is there, ready to be changed.
    fn locate_mut(&mut self, seq: u64, dirty: Dirty) -> Option<(&mut Chunk, usize)> {
        self.get(seq)?;
        let entry = self.entries.get_mut((seq / CHUNK - self.first) as usize)?;
        entry.dirty.places |= dirty.places;
        entry.dirty.states |= dirty.states;
        Some((Arc::make_mut(entry.chunk.as_mut()?), (seq % CHUNK) as usize))
    }

    /// Takes what changed since the last image.
    pub(crate) fn take_dirty(&mut self) -> Taken<'_> {
        let mut taken = Taken { removed: std::mem::take(&mut self.removed), ..Taken::default() };
        if self.is_small() {
            for (number, entry) in (self.first..).zip(&mut self.entries) {
                entry.dirty = Dirty::default();
                if std::mem::take(&mut entry.apart) {
                    taken.removed.push(number);
                }
                taken.within = entry.chunk.as_deref().map(|chunk| (number, chunk));
            }
            return taken;
        }
        for (number, entry) in (self.first..).zip(&mut self.entries) {
            let Some(chunk) = &entry.chunk else { continue };
            let mut dirty = std::mem::take(&mut entry.dirty);
            if !std::mem::replace(&mut entry.apart, true) {
                dirty = Dirty { places: true, states: true };
            }
            if dirty != Dirty::default() {
                taken.changed.push((number, dirty, Arc::clone(chunk)));
            }
        }
        taken
    }

    /// Whether an image has all of it in the piece of the queue.
    pub(crate) fn is_small(&self) -> bool {
        let few =
            |entry: &Entry| entry.chunk.as_ref().is_none_or(|chunk| chunk.alive <= WITHIN_MAX);
        self.entries.len() <= 1 && self.entries.iter().all(few)
    }

    /// Makes the next image hold every chunk: the last one is void, and nothing is in it.
    pub(crate) fn dirty_all(&mut self) {
        self.removed.clear();
        for entry in &mut self.entries {
            entry.apart = false;
        }
    }

    /// Puts back a chunk that an image held, in pieces of its own or not.
    pub(crate) fn restore(&mut self, number: u64, chunk: Chunk, apart: bool) {
        if chunk.alive == 0 {
            // All its messages were in memory only.
            self.removed.extend(apart.then_some(number));
            return;
        }
        self.fill_to(number * CHUNK);
        let at = (number - self.first) as usize;
        if let Some(entry) = self.entries.get_mut(at) {
            entry.chunk = Some(Arc::new(chunk));
            entry.apart = apart;
        }
    }

    /// Every message with its seq, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Slot, Option<&Extra>)> {
        (self.first..).zip(&self.entries).flat_map(|(number, entry)| {
            entry.chunk.iter().flat_map(move |chunk| {
                let first = number * CHUNK + chunk.first as u64;
                (first..).zip(&chunk.slots).filter_map(move |(seq, slot)| {
                    let here = !slot.is_gone();
                    here.then(|| (seq, slot, slot.extra().and_then(|at| chunk.extras.get(at))))
                })
            })
        })
    }
}

impl Chunk {
    /// The message at a place.
    fn get(&self, at: usize) -> Option<&Slot> {
        self.slots.get(at.checked_sub(self.first)?).filter(|slot| !slot.is_gone())
    }

    /// The slot at a place, which has one.
    fn slot_mut(&mut self, at: usize) -> &mut Slot {
        &mut self.slots[at - self.first]
    }

    /// Adds a message behind the others. One that is the first leaves the places before it as they
    /// are: the chunk of a queue that was emptied begins where the next message stands.
    fn push(&mut self, at: usize, slot: Slot) {
        if self.slots.is_empty() {
            self.first = at;
        }
        self.slots.resize(at - self.first, slot.gone());
        self.slots.push(slot);
        self.alive += 1;
    }

    /// Every slot from the first place on, those that are gone as well; what stands where nothing
    /// ever was means nothing.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Slot> {
        let before = self.slots.first().map(|slot| std::iter::repeat_n(slot, self.first));
        before.into_iter().flatten().chain(&self.slots)
    }

    /// A slot and what it has beside it, made on first use.
    fn with_extra(&mut self, at: usize) -> (&mut Slot, &mut Extra) {
        let slot = &mut self.slots[at - self.first];
        let extra = slot.extra().unwrap_or_else(|| {
            let extra = self.extras.insert(Extra::default());
            slot.set_extra(extra);
            extra
        });
        (slot, &mut self.extras[extra])
    }

    /// The slots by place, each with what it has beside it; none for one that is gone.
    pub(crate) fn with_extras(
        &self,
    ) -> impl Iterator<Item = (usize, Option<(&Slot, Option<&Extra>)>)> {
        let full = |slot| {
            let slot: &Slot = slot;
            (!slot.is_gone()).then(|| (slot, slot.extra().and_then(|at| self.extras.get(at))))
        };
        let before = (0..self.first).map(|at| (at, None));
        before.chain((self.first..).zip(&self.slots).map(move |(at, slot)| (at, full(slot))))
    }

    /// A chunk as an image held it.
    pub(crate) fn from_parts(slots: &[Slot], states: Vec<(usize, State, Option<Extra>)>) -> Self {
        let first = states.iter().map(|(at, ..)| *at).min().unwrap_or(0).min(slots.len());
        let slots = slots[first..].iter().map(|slot| slot.gone()).collect();
        let mut chunk = Self { first, slots, ..Self::default() };
        for (at, state, extra) in states {
            let Some(slot) = chunk.slots.get_mut(at - first) else { continue };
            slot.set_state(state);
            chunk.alive += 1;
            if let Some(extra) = extra {
                slot.set_extra(chunk.extras.insert(extra));
            }
        }
        chunk
    }
}

#[cfg(test)]
mod tests {
    use sluice_model::Level;

    use super::*;

    fn slot(sequence: u64) -> Slot {
        let body = BodyRef { sequence, segment: 1, offset: 64, len: 10 };
        Slot::new(body, sequence, Timestamp::from_millis(1_700_000_000_000), Level::Sync)
    }

    #[test]
    fn chunks_go_when_empty_and_later_seqs_stay_where_they_are() {
        let mut slots = Slots::default();
        for n in 0..3 * CHUNK {
            assert_eq!(slots.push(slot(n + 1)), n);
        }
        for n in 0..CHUNK + 5 {
            assert_eq!(slots.remove(n).map(|slot| slot.sequence()), Some(n + 1));
            assert!(slots.remove(n).is_none());
        }
        assert_eq!(slots.first_seq(), CHUNK);
        assert_eq!(slots.next_alive(0, slots.next()), Some(CHUNK + 5));
        assert_eq!(slots.get(CHUNK + 5).map(Slot::sequence), Some(CHUNK + 6));
        assert_eq!(slots.iter().count() as u64, 2 * CHUNK - 5);
    }

    #[test]
    fn a_partly_used_chunk_that_went_leaves_the_next_seq_where_it_belongs() {
        let mut slots = Slots::default();
        for n in 0..5 {
            slots.push(slot(n + 1));
        }
        for n in 0..5 {
            slots.remove(n);
        }
        assert_eq!(slots.push(slot(6)), 5);
        assert_eq!(slots.get(5).map(Slot::sequence), Some(6));
        assert_eq!(slots.iter().count(), 1);
        assert_eq!(slots.next_alive(0, 6), Some(5));
        let chunk = slots.take_dirty().within.map(|(_, chunk)| chunk.clone()).unwrap();
        assert_eq!((chunk.slots.len(), chunk.all().count()), (1, 6), "nothing is filled");
        slots.skip_to(9);
        slots.push(slot(7));
        assert_eq!(slots.iter().map(|(seq, ..)| seq).collect::<Vec<_>>(), [5, 9]);
    }

    #[test]
    fn an_image_sees_the_moment_it_was_taken_while_the_queue_goes_on() {
        let mut slots = Slots::default();
        for n in 0..20 {
            slots.push(slot(n + 1));
        }
        let changed = slots.take_dirty().changed;
        assert!((0..20).all(|seq| slots.remove(seq).is_some()));
        slots.push(slot(21));
        assert_eq!(changed[0].2.all().count(), 20);
        assert_eq!(changed[0].2.get(0).map(Slot::state), Some(State::Ready));
        let Taken { changed, removed, within } = slots.take_dirty();
        assert_eq!((changed.len(), removed), (0, vec![0]));
        assert_eq!(within.map(|(number, chunk)| (number, chunk.alive)), Some((0, 1)));
    }

    #[test]
    fn a_small_chunk_gets_pieces_of_its_own_when_it_grows_or_is_not_alone_and_loses_them_again() {
        let mut slots = Slots::default();
        slots.push(slot(1));
        let Taken { changed, removed, within } = slots.take_dirty();
        assert_eq!((changed.len(), removed.len(), within.is_some()), (0, 0, true));
        for n in 1..=CHUNK {
            slots.push(slot(n + 1));
        }
        // The first is in the image of the queue, but changed only then.
        let Taken { changed, removed, within } = slots.take_dirty();
        let all = Dirty { places: true, states: true };
        assert!(changed.iter().map(|it| (it.0, it.1)).eq([(0, all), (1, all)]));
        assert!(removed.is_empty() && within.is_none());
        assert!(slots.take_dirty().changed.is_empty(), "nothing changed since");
        assert!((0..CHUNK).all(|seq| slots.remove(seq).is_some()));
        let Taken { changed, removed, within } = slots.take_dirty();
        assert_eq!((changed.len(), removed), (0, vec![0, 1]));
        assert_eq!(within.map(|(number, _)| number), Some(1));
        // What has no pieces leaves none.
        slots.remove(CHUNK);
        assert!(slots.take_dirty().removed.is_empty());
    }
}
