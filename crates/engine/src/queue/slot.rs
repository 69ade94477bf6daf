//! One message of a queue: 32 bytes, and as many for each that waits.
//!
//! ```text
//! sequence 53 | extra 11 || counter 48 | time, upper 10 | flags 3 | state 3 || segment 32
//! | offset 32 || length 32 | time, lower 32
//! ```
//!
//! At four million records a second sequences suffice for 68 years; at a million publishes a second
//! counters do for nine years without a restart, and times do until 2109.

use sluice_model::{Level, State, Timestamp};

use crate::journal::{BodyRef, Progress};

/// One message of a queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// The record that brought it, and where in its chunk its extra is.
    sequence: u64,
    /// The message's number within the start of the broker that its queue knows by its seq; then
    /// the upper bits of its time, its flags, its state.
    counter: u64,
    segment: u32,
    offset: u32,
    len: u32,
    /// Milliseconds since the epoch, the lower bits.
    time: u32,
}

const EXTRA_BITS: u32 = 11;
/// No extra.
const PLAIN: u64 = (1 << EXTRA_BITS) - 1;
const SEQUENCE_MAX: u64 = u64::MAX >> EXTRA_BITS;

const COUNTER_SHIFT: u32 = 16;
const COUNTER_MAX: u64 = u64::MAX >> COUNTER_SHIFT;
const TIME_SHIFT: u32 = 6;
const TIME_MAX: u64 = (1 << 42) - 1;

/// The body is shared with other queues.
const SHARED: u64 = 1 << 3;
/// It is safe once it is written, and no sync is waited for.
const OS: u64 = 1 << 4;
/// It stands elsewhere in its queue's order than its seq says.
const RANKED: u64 = 1 << 5;
const FLAGS: u64 = SHARED | OS | RANKED;
const FLAGS_SHIFT: u32 = 3;

const STATE: u64 = 0b111;
/// Settled, expired or dropped: nothing is left.
const GONE: u64 = 0;

const _: () = assert!(size_of::<Slot>() == 32);

const fn state_bits(state: State) -> u64 {
    match state {
        State::Ready => 1,
        State::Delayed => 2,
        State::Leased => 3,
        State::Dead => 4,
    }
}

impl Slot {
    /// A message whose body is at `body`; `counter` is its number in its start of the broker.
    pub(crate) fn new(body: BodyRef, counter: u64, at: Timestamp, level: Level) -> Self {
        debug_assert!(body.sequence <= SEQUENCE_MAX && counter <= COUNTER_MAX);
        let flags = if level == Level::Os { OS } else { 0 };
        let time = at.as_millis().min(TIME_MAX);
        Self {
            sequence: body.sequence << EXTRA_BITS | PLAIN,
            counter: counter << COUNTER_SHIFT
                | time >> 32 << TIME_SHIFT
                | flags
                | state_bits(State::Ready),
            segment: body.segment,
            offset: body.offset,
            len: body.len,
            time: time as u32,
        }
    }

    /// A message in memory only, of `len` bytes.
    pub(crate) fn resident(len: u64, counter: u64, at: Timestamp) -> Self {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        Self::new(BodyRef { len, ..BodyRef::default() }, counter, at, Level::Memory)
    }

    /// The same, as one of several that share a body.
    pub(crate) fn shared(self, shared: bool) -> Self {
        let flag = if shared { SHARED } else { 0 };
        Self { counter: self.counter & !SHARED | flag, ..self }
    }

    /// As an image wrote it.
    pub(crate) fn from_parts(body: BodyRef, counter: u64, at: Timestamp, flags: u8) -> Self {
        let slot = Self::new(body, counter, at, Level::Sync);
        Self { counter: slot.counter | u64::from(flags) << FLAGS_SHIFT & FLAGS, ..slot }
    }

    /// What [`Slot::from_parts`] takes back.
    pub(crate) fn flags(&self) -> u8 {
        ((self.counter & FLAGS) >> FLAGS_SHIFT) as u8
    }

    /// The place of one that is gone.
    pub(crate) fn gone(self) -> Self {
        let counter = self.counter & !STATE | GONE;
        Self { sequence: self.sequence | PLAIN, counter, ..self }
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.counter & STATE == GONE
    }

    /// Where the message is in its life. A slot that is gone is never handed out.
    pub(crate) fn state(&self) -> State {
        match self.counter & STATE {
            2 => State::Delayed,
            3 => State::Leased,
            4 => State::Dead,
            _ => State::Ready,
        }
    }

    pub(crate) fn set_state(&mut self, state: State) {
        self.counter = self.counter & !STATE | state_bits(state);
    }

    /// Where in its chunk what it has beside it is, if it has anything.
    pub(crate) fn extra(&self) -> Option<usize> {
        match self.sequence & PLAIN {
            PLAIN => None,
            at => Some(at as usize),
        }
    }

    /// A chunk has fewer messages than there are places to tell apart.
    pub(crate) fn set_extra(&mut self, at: usize) {
        debug_assert!((at as u64) < PLAIN);
        self.sequence = self.sequence & !PLAIN | at as u64 & PLAIN;
    }

    pub(crate) fn is_ranked(&self) -> bool {
        self.counter & RANKED != 0
    }

    pub(crate) fn set_ranked(&mut self) {
        self.counter |= RANKED;
    }

    /// How safe it was when it was confirmed.
    pub(crate) fn level(&self) -> Level {
        match (self.sequence(), self.counter & OS) {
            (0, _) => Level::Memory,
            (_, 0) => Level::Sync,
            _ => Level::Os,
        }
    }

    /// Whether it is visible only once it is synced.
    pub(crate) fn waits_for_sync(&self) -> bool {
        self.level() == Level::Sync
    }

    /// Whether the log has got far enough for it to be visible.
    pub(crate) fn is_committed(&self, progress: Progress) -> bool {
        match self.level() {
            Level::Memory => true,
            Level::Os => self.sequence() <= progress.written,
            Level::Sync => self.sequence() <= progress.synced,
        }
    }

    /// Its number in its start of the broker.
    pub(crate) fn counter(&self) -> u64 {
        self.counter >> COUNTER_SHIFT
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.counter & SHARED != 0
    }

    pub(crate) fn enqueued_at(&self) -> Timestamp {
        let upper = (self.counter & ((1 << COUNTER_SHIFT) - 1)) >> TIME_SHIFT;
        Timestamp::from_millis(upper << 32 | u64::from(self.time))
    }

    /// The record that brought the message, or its last move; 0 for one in memory only.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence >> EXTRA_BITS
    }

    pub(crate) fn len(&self) -> u64 {
        u64::from(self.len)
    }

    pub(crate) fn body(&self) -> BodyRef {
        BodyRef {
            sequence: self.sequence(),
            segment: self.segment,
            offset: self.offset,
            len: self.len,
        }
    }

    /// Its body has moved; it is as long as before.
    pub(crate) fn set_body(&mut self, to: BodyRef) {
        self.sequence = to.sequence << EXTRA_BITS | self.sequence & PLAIN;
        self.segment = to.segment;
        self.offset = to.offset;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_keeps_its_parts_apart() {
        let at = Timestamp::from_millis(TIME_MAX);
        let body = BodyRef { sequence: SEQUENCE_MAX, segment: 3, offset: u32::MAX, len: 9 };
        let mut slot = Slot::new(body, COUNTER_MAX, at, Level::Os).shared(true);
        assert_eq!(slot.extra(), None);
        for state in [State::Delayed, State::Leased, State::Dead, State::Ready] {
            slot.set_state(state);
            slot.set_extra(state as usize * 80);
            assert_eq!((slot.state(), slot.is_gone()), (state, false));
            assert_eq!(slot.extra(), Some(state as usize * 80));
            assert_eq!((slot.enqueued_at(), slot.counter()), (at, COUNTER_MAX));
            assert_eq!(slot.body(), body);
            assert!(slot.is_shared() && slot.level() == Level::Os && !slot.is_ranked());
        }
        slot.set_body(BodyRef { sequence: 9, ..body });
        slot.set_ranked();
        assert_eq!((slot.sequence(), slot.extra()), (9, Some(State::Ready as usize * 80)));
        let gone = slot.gone();
        assert!(gone.is_gone() && gone.extra().is_none() && gone.sequence() == 9);
        let again = Slot::from_parts(body, 7, Timestamp::EPOCH, slot.flags());
        assert!(again.is_shared() && again.level() == Level::Os && again.is_ranked());
        assert_eq!((again.counter(), again.enqueued_at()), (7, Timestamp::EPOCH));
    }
}
