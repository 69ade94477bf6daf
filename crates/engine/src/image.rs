//! Images: the state at one moment in pieces, of which only changed ones are written anew.
//!
//! A piece is one key and its bytes. Four kinds of piece hold everything:
//!
//! | kind | key | holds |
//! |---|---|---|
//! | global | 0 | the numbers given out so far, the lease key |
//! | queue | 1, queue | who listens to what, counters |
//! | places | 2, queue, chunk | where the bodies of 256 messages lie |
//! | states | 3, queue, chunk | which of them are there, and what some have beside |
//!
//! Places change when messages come or bodies move, states with every delivery; apart, a queue
//! that is consumed writes 32 bytes for 256 messages and not 8 KiB.

use std::sync::Arc;

use bytes::{Buf, BufMut};
use sluice_model::{Generation, QueueNo, SubscriptionName, Timestamp, TopicPattern};

use crate::engine::Engine;
use crate::journal::BodyRef;
use crate::queue::slots::{CHUNK, Chunk, Extra, Lease, Slot, Slots, State};
use crate::queue::{Counters, Queue};
use crate::random::LeaseKey;
use crate::record::{DeadReason, RecordError, put_str, str};
use crate::topic::Owner;

/// Names a piece: 1 byte of kind, 3 of padding, 4 of queue, 8 of chunk, big-endian.
pub type Key = [u8; 16];

const GLOBAL: u8 = 0;
const QUEUE: u8 = 1;
const PLACES: u8 = 2;
const STATES: u8 = 3;

fn key(kind: u8, queue: QueueNo, chunk: u64) -> Key {
    let mut key = [0; 16];
    key[0] = kind;
    key[4..8].copy_from_slice(&queue.0.to_be_bytes());
    key[8..].copy_from_slice(&chunk.to_be_bytes());
    key
}

fn parse_key(key: &Key) -> (u8, QueueNo, u64) {
    let mut from = &key[4..];
    let (queue, chunk) = (from.get_u32(), from.get_u64());
    (key[0], QueueNo(queue), chunk)
}

/// A change of the image since the one before. It holds its moment whatever the engine does
/// next, and is encoded later, elsewhere.
#[derive(Clone, Debug)]
pub struct Piece {
    key: Key,
    content: PieceContent,
}

#[derive(Clone, Debug)]
enum PieceContent {
    Bytes(Vec<u8>),
    Places(Arc<Chunk>),
    States(Arc<Chunk>),
    Removed,
}

impl Piece {
    /// Which piece it is.
    pub fn key(&self) -> Key {
        self.key
    }

    /// Appends the piece's bytes to `out`; false if the piece is to be removed.
    pub fn encode(&self, out: &mut Vec<u8>) -> bool {
        match &self.content {
            PieceContent::Bytes(bytes) => out.extend_from_slice(bytes),
            PieceContent::Places(chunk) => encode_places(chunk, out),
            PieceContent::States(chunk) => encode_states(chunk, out),
            PieceContent::Removed => return false,
        }
        true
    }
}

/// The key of a queue itself.
pub(crate) fn queue_key(no: QueueNo) -> Key {
    key(QUEUE, no, 0)
}

/// The keys under which an image may hold messages of a queue that is gone.
pub(crate) fn removed_keys(mut queue: Queue, into: &mut Vec<Key>) {
    let (_, removed) = queue.slots.take_dirty();
    for number in removed {
        into.push(key(PLACES, queue.no, number));
        into.push(key(STATES, queue.no, number));
    }
}

impl Engine {
    /// Takes what changed since the last image. The moment is now; the state may go on changing.
    pub fn take_image(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let gone = std::mem::take(&mut self.removed_pieces);
        pieces.extend(gone.into_iter().map(|key| Piece { key, content: PieceContent::Removed }));
        if std::mem::take(&mut self.global_dirty) || self.start > 0 {
            let content = PieceContent::Bytes(self.encode_global());
            pieces.push(Piece { key: key(GLOBAL, QueueNo(0), 0), content });
        }
        let mut numbers: Vec<QueueNo> = self.queues.keys().copied().collect();
        numbers.sort_unstable();
        for no in numbers {
            let Some(queue) = self.queues.get_mut(&no) else { continue };
            if !std::mem::take(&mut queue.dirty) {
                continue;
            }
            let content = PieceContent::Bytes(encode_queue(queue));
            pieces.push(Piece { key: queue_key(no), content });
            let (changed, removed) = queue.slots.take_dirty();
            for number in removed {
                for kind in [PLACES, STATES] {
                    let key = key(kind, no, number);
                    pieces.push(Piece { key, content: PieceContent::Removed });
                }
            }
            for (number, dirty, chunk) in changed {
                if dirty.places {
                    let content = PieceContent::Places(Arc::clone(&chunk));
                    pieces.push(Piece { key: key(PLACES, no, number), content });
                }
                // New messages are new states too.
                let content = PieceContent::States(chunk);
                pieces.push(Piece { key: key(STATES, no, number), content });
            }
        }
        pieces
    }

    /// Makes the next image hold everything, because the last one was lost.
    pub fn forget_image(&mut self) {
        self.removed_pieces.clear();
        for queue in self.queues.values_mut() {
            queue.dirty = true;
            queue.slots.dirty_all();
        }
    }

    fn encode_global(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u32_le(self.start);
        out.put_u64_le(self.next.message);
        out.put_u64_le(self.next.generation);
        out.put_u32_le(self.next.queue);
        out.put_slice(&self.lease_key.to_bytes());
        out
    }

    fn decode_global(&mut self, mut from: &[u8]) -> Result<(), RecordError> {
        self.start = from.try_get_u32_le()?;
        self.next.message = from.try_get_u64_le()?;
        self.next.generation = from.try_get_u64_le()?;
        self.next.queue = from.try_get_u32_le()?;
        self.lease_key = LeaseKey::from_bytes(from.try_get_u128_le()?.to_le_bytes());
        Ok(())
    }
}

fn encode_queue(queue: &Queue) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u64_le(queue.made_at.as_millis());
    put_str(&mut out, queue.name.as_ref().map_or("", |name| name.as_str()));
    put_str(&mut out, queue.pattern.as_str());
    put_str(&mut out, queue.owner.as_str());
    out.put_u64_le(queue.slots.next());
    out.put_u64_le(queue.doubtful_below);
    out.put_u8(u8::from(queue.degraded));
    out.put_u32_le(queue.runs.len() as u32);
    for (first, start) in &queue.runs {
        out.put_u64_le(*first);
        out.put_u32_le(*start);
    }
    // Messages in memory only end with the process: they count as dropped from the start.
    let Counters { published, acked, expired, dropped } = queue.counters;
    for counter in [published, acked, expired, dropped + queue.resident()] {
        out.put_u64_le(counter);
    }
    out
}

fn decode_queue(no: QueueNo, mut from: &[u8]) -> Result<Queue, RecordError> {
    let input = &mut from;
    let made_at = Timestamp::from_millis(input.try_get_u64_le()?);
    let name = Some(str(input)?).filter(|name| !name.is_empty());
    let name = name.map(SubscriptionName::new).transpose().map_err(|_| RecordError::Utf8)?;
    let pattern = TopicPattern::new(str(input)?).map_err(|_| RecordError::Utf8)?;
    let owner = Owner::from_record(str(input)?);
    let mut queue = Queue::new(no, name, pattern, owner, made_at);
    queue.slots = Slots::starting_at(input.try_get_u64_le()?);
    queue.doubtful_below = input.try_get_u64_le()?;
    queue.degraded = input.try_get_u8()? != 0;
    for _ in 0..input.try_get_u32_le()? {
        queue.runs.push((input.try_get_u64_le()?, input.try_get_u32_le()?));
    }
    queue.counters = Counters {
        published: input.try_get_u64_le()?,
        acked: input.try_get_u64_le()?,
        expired: input.try_get_u64_le()?,
        dropped: input.try_get_u64_le()?,
    };
    Ok(queue)
}

fn encode_places(chunk: &Chunk, out: &mut Vec<u8>) {
    out.reserve(chunk.slots.len() * 29);
    for slot in &chunk.slots {
        let BodyRef { sequence, segment, offset, len } = slot.body();
        out.put_u64_le(sequence);
        out.put_u32_le(segment);
        out.put_u32_le(offset);
        out.put_u32_le(len);
        out.put_u64_le(slot.enqueued_at().as_millis());
        out.put_u8(u8::from(slot.is_shared()));
    }
}

fn decode_places(mut from: &[u8]) -> Result<Vec<Slot>, RecordError> {
    let input = &mut from;
    let mut slots = Vec::with_capacity(CHUNK as usize);
    while !input.is_empty() {
        let sequence = input.try_get_u64_le()?;
        let body = BodyRef {
            sequence,
            segment: input.try_get_u32_le()?,
            offset: input.try_get_u32_le()?,
            len: input.try_get_u32_le()?,
        };
        let enqueued_at = Timestamp::from_millis(input.try_get_u64_le()?);
        slots.push(Slot::new(body, enqueued_at, input.try_get_u8()? != 0));
    }
    if slots.len() > CHUNK as usize {
        return Err(RecordError::Long(slots.len() - CHUNK as usize));
    }
    Ok(slots)
}

/// A bit a slot says which are there; then what some have beside, by place.
fn encode_states(chunk: &Chunk, out: &mut Vec<u8>) {
    let here = |slot: &Slot| slot.state() != State::Gone && slot.sequence() != 0;
    out.put_u16_le(chunk.slots.len() as u16);
    for eight in chunk.slots.chunks(8) {
        let bits = eight.iter().enumerate().map(|(at, slot)| u8::from(here(slot)) << at);
        out.put_u8(bits.fold(0, |all, bit| all | bit));
    }
    for (at, slot, extra) in chunk.with_extras() {
        if let (true, Some(extra)) = (here(slot), extra) {
            out.put_u16_le(at as u16);
            out.put_u8(slot.state() as u8);
            encode_extra(extra, out);
        }
    }
}

fn encode_extra(extra: &Extra, out: &mut Vec<u8>) {
    let mut generation = |generation: Generation| {
        out.put_u32_le(generation.start);
        out.put_u64_le(generation.counter);
    };
    generation(extra.fence);
    generation(extra.lease.map(|lease| lease.generation).unwrap_or_default());
    out.put_u64_le(extra.lease.map_or(0, |lease| lease.deadline.as_millis()));
    out.put_u8(u8::from(extra.lease.is_some_and(|lease| lease.bound)));
    out.put_u32_le(extra.acquires);
    out.put_u32_le(extra.failures);
    out.put_u32_le(extra.releases);
    out.put_u64_le(extra.ready_at.as_millis());
    out.put_u64_le(extra.expires_at.as_millis());
    out.put_u8(extra.dead.map_or(0, |(reason, _)| reason.as_u8()));
    out.put_u64_le(extra.dead.map_or(0, |(_, at)| at.as_millis()));
}

/// What a states piece says of the slots of its chunk.
type States = Vec<(usize, State, Option<Extra>)>;

fn decode_states(mut from: &[u8]) -> Result<States, RecordError> {
    let input = &mut from;
    let len = usize::from(input.try_get_u16_le()?);
    let mut bits = Vec::with_capacity(len.div_ceil(8));
    for _ in 0..len.div_ceil(8) {
        bits.push(input.try_get_u8()?);
    }
    let mut states: States = (0..len)
        .filter(|at| bits.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1))
        .map(|at| (at, State::Ready, None))
        .collect();
    while !input.is_empty() {
        let at = usize::from(input.try_get_u16_le()?);
        let state = match input.try_get_u8()? {
            byte if byte == State::Ready as u8 => State::Ready,
            byte if byte == State::Delayed as u8 => State::Delayed,
            byte if byte == State::Leased as u8 => State::Leased,
            byte if byte == State::Dead as u8 => State::Dead,
            byte => return Err(RecordError::Unknown { what: "state", byte }),
        };
        let extra = decode_extra(input)?;
        if let Ok(index) = states.binary_search_by_key(&at, |(at, _, _)| *at) {
            states[index] = (at, state, Some(extra));
        }
    }
    Ok(states)
}

fn decode_extra(input: &mut &[u8]) -> Result<Extra, RecordError> {
    let fence = decode_generation(input)?;
    let generation = decode_generation(input)?;
    let deadline = Timestamp::from_millis(input.try_get_u64_le()?);
    let bound = input.try_get_u8()? != 0;
    let lease = Lease { generation, deadline, bound, session: None };
    let acquires = input.try_get_u32_le()?;
    let failures = input.try_get_u32_le()?;
    let releases = input.try_get_u32_le()?;
    let ready_at = Timestamp::from_millis(input.try_get_u64_le()?);
    let expires_at = Timestamp::from_millis(input.try_get_u64_le()?);
    let reason = input.try_get_u8()?;
    let dead_at = Timestamp::from_millis(input.try_get_u64_le()?);
    let dead = match reason {
        0 => None,
        byte => Some((DeadReason::from_u8(byte)?, dead_at)),
    };
    let lease = Some(lease).filter(|lease| lease.generation != Generation::default());
    Ok(Extra {
        lease,
        fence,
        acquires,
        failures,
        releases,
        ready_at,
        expires_at,
        dead,
        resident: None,
    })
}

fn decode_generation(input: &mut &[u8]) -> Result<Generation, RecordError> {
    Ok(Generation { start: input.try_get_u32_le()?, counter: input.try_get_u64_le()? })
}

/// Puts an image together, piece by piece in the order of their keys.
#[derive(Debug)]
pub struct Loader {
    engine: Engine,
    queues: std::collections::BTreeMap<QueueNo, Queue>,
    places: std::collections::BTreeMap<(QueueNo, u64), Vec<Slot>>,
    /// Pieces whose queue is gone: the next image drops them.
    orphans: Vec<Key>,
}

impl Loader {
    /// Begins with an engine without state.
    pub fn new(engine: Engine) -> Self {
        Self { engine, queues: Default::default(), places: Default::default(), orphans: vec![] }
    }

    /// Adds a piece. Pieces come in the order of their keys.
    ///
    /// # Errors
    /// Says why the bytes are no such piece.
    pub fn add(&mut self, key: &Key, bytes: &[u8]) -> Result<(), RecordError> {
        let (kind, no, chunk) = parse_key(key);
        match kind {
            GLOBAL => self.engine.decode_global(bytes)?,
            QUEUE => {
                self.queues.insert(no, decode_queue(no, bytes)?);
            }
            PLACES if self.queues.contains_key(&no) => {
                self.places.insert((no, chunk), decode_places(bytes)?);
            }
            STATES if self.queues.contains_key(&no) => {
                let slots = self.places.remove(&(no, chunk)).ok_or(RecordError::Short)?;
                if let Some(queue) = self.queues.get_mut(&no) {
                    queue.slots.restore(chunk, Chunk::from_parts(slots, decode_states(bytes)?));
                }
            }
            PLACES | STATES => self.orphans.push(*key),
            byte => return Err(RecordError::Unknown { what: "piece", byte }),
        }
        Ok(())
    }

    /// The engine at the moment of the image; records after it are replayed next.
    pub fn finish(self) -> Engine {
        let mut engine = self.engine;
        engine.removed_pieces = self.orphans;
        for (_, mut queue) in self.queues {
            queue.recount();
            for (seq, slot, extra) in queue.slots.iter() {
                engine.usage.add(slot);
                engine.expect_deadlines(queue.no, seq, slot.state(), extra);
            }
            engine.add_queue(queue);
        }
        engine
    }
}
