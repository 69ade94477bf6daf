//! Images: the state at one moment in pieces, of which only changed ones are written anew.
//!
//! A piece is one key and its bytes. These kinds of piece hold everything:
//!
//! | kind | key | holds |
//! |---|---|---|
//! | global | 0 | the numbers given out so far, the lease key |
//! | queue | 1, queue | who listens to what, counters |
//! | places | 2, queue, chunk | where the bodies of 256 messages lie |
//! | states | 3, queue, chunk | which of them are there, and what some have beside |
//! | dedupe | 4, scope, chunk | 1024 dedupe ids of a topic or queue |
//! | store | 6 | the numbers of the store of keys and values |
//! | values | 7, first change | up to 256 changes of keys, with their values |
//! | kept | 8, first change | which of them are kept |
//! | limits | 9 | all limits, with the numbers that keys refer to |
//! | limited keys | 10, n | starts inside windows, feedback and pauses of up to 256 keys |
//! | definition | 11, queue | who a small queue is, what was chosen for it |
//! | small queue | 12, queue | counters of a queue, and its messages, if they are few |
//!
//! Places change when messages come or bodies move, states with every delivery; apart, a queue
//! that is consumed writes 32 bytes for 256 messages and not the 3 KiB of their places. A queue with a few messages in
//! one chunk is one piece (`queue/slots.rs` decides it) beside its definition, which is written once, and has none of the kinds 1 to 3.
//! Images of older programs have both in one, of kind 5. Older programs don't know these kinds and
//! refuse the image.

mod keys;
mod limits;
mod list;
mod places;
mod small;

use std::sync::Arc;

use bytes::{Buf, BufMut};
use sluice_model::{
    DeadReason, Lane, Level, MessageId, QueueName, QueueNo, QueueSettings, State, Timestamp,
    TopicPattern, Transition,
};

use crate::deadlines::Due;
use crate::dedupe::{DedupeChunk, Entry};
use crate::engine::Engine;
use crate::queue::order::Place;
use crate::queue::slots::{Chunk, Extra, Lease, More, Slot, Slots, Taken};
use crate::queue::{Counters, Defined, Identity, Queue};
use crate::random::LeaseKey;
use crate::record::{
    DedupeScope, RecordError, byte, generation, lane, optional_str, paced, paused, put_generation,
    put_lane, put_paced, put_paused, put_scope, put_settings, put_str, put_time, scope, settings,
    str, time,
};
use crate::topic::Owner;

/// Names a piece: 1 byte of kind, 3 of padding, 4 of queue, 8 of chunk, big-endian.
pub type Key = [u8; 16];

pub(crate) use keys::{key_pieces, key_states_piece, store_piece, values_piece};
pub(crate) use list::{ImageList, Imaged};

const GLOBAL: u8 = 0;
const QUEUE: u8 = 1;
const PLACES: u8 = 2;
const STATES: u8 = 3;
const DEDUPE: u8 = 4;
/// A small queue with its definition, as older programs wrote it.
const SMALL: u8 = 5;
/// The numbers of the store of keys and values.
const STORE: u8 = 6;
const KEY_VALUES: u8 = 7;
const KEY_STATES: u8 = 8;
const LIMITS: u8 = 9;
const LIMIT_KEYS: u8 = 10;
const DEFINITION: u8 = 11;
const NUMBERS: u8 = 12;

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
    Dedupe(DedupeChunk),
    KeyValues(Arc<crate::kv::Chunk>),
    KeyStates(Arc<crate::kv::Chunk>),
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
            PieceContent::Places(chunk) => places::encode(chunk, out),
            PieceContent::States(chunk) => encode_states(chunk, out),
            PieceContent::Dedupe(chunk) => encode_dedupe(chunk, out),
            PieceContent::KeyValues(chunk) => keys::encode_values(chunk, out),
            PieceContent::KeyStates(chunk) => keys::encode_states(chunk, out),
            PieceContent::Removed => return false,
        }
        true
    }
}

/// That nothing is left of a piece.
pub(crate) fn removed_piece(key: Key) -> Piece {
    Piece { key, content: PieceContent::Removed }
}

/// A chunk of dedupe ids as it is now.
pub(crate) fn dedupe_piece(scope: u32, number: u64, chunk: DedupeChunk) -> Piece {
    Piece { key: dedupe_key(scope, number), content: PieceContent::Dedupe(chunk) }
}

/// The key of a chunk of dedupe ids.
pub(crate) fn dedupe_key(scope: u32, number: u64) -> Key {
    key(DEDUPE, QueueNo(scope), number)
}

/// Takes what changed of a queue and its messages since it was last taken.
pub(crate) fn take_queue(queue: &mut Queue, pieces: &mut Vec<Piece>) {
    let no = queue.no();
    queue.dirty = false;
    let is_small = queue.slots.is_small();
    let (kind, mut bytes) = match is_small {
        true => (NUMBERS, small::encode_numbers(queue)),
        false => (QUEUE, encode_queue(queue)),
    };
    let before = queue.imaged.replace(kind).filter(|before| *before != kind);
    pieces.extend(before.map(|before| removed_piece(key(before, no, 0))));
    pieces.extend(take_definition(queue, is_small));
    let Taken { changed, removed, within } = queue.slots.take_dirty();
    if let Some((number, chunk)) = within {
        small::encode_messages(number, chunk, &mut bytes);
    }
    pieces.push(Piece { key: key(kind, no, 0), content: PieceContent::Bytes(bytes) });
    for number in removed {
        pieces.extend([PLACES, STATES].map(|kind| removed_piece(key(kind, no, number))));
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

/// The definition of a queue, if it has to be written or, where the queue's own piece holds it, to go.
fn take_definition(queue: &mut Queue, apart: bool) -> Option<Piece> {
    let key = key(DEFINITION, queue.no(), 0);
    if !apart {
        return queue.defined.take().map(|_| removed_piece(key));
    }
    let before = queue.defined.replace(Defined::Well);
    let written = before != Some(Defined::Well);
    let bytes = || PieceContent::Bytes(small::encode_definition(queue));
    written.then(|| Piece { key, content: bytes() })
}

/// The keys of a queue itself in the last image, if it is there.
pub(crate) fn queue_keys(queue: &Queue) -> impl Iterator<Item = Key> {
    let kinds = queue.imaged.into_iter().chain(queue.defined.map(|_| DEFINITION));
    let no = queue.no();
    kinds.map(move |kind| key(kind, no, 0))
}

/// The keys under which an image may hold messages of a queue that is gone.
pub(crate) fn removed_keys(mut queue: Queue, into: &mut Vec<Key>) {
    let no = queue.no();
    for number in queue.slots.take_dirty().removed {
        into.push(key(PLACES, no, number));
        into.push(key(STATES, no, number));
    }
}

impl Engine {
    /// The piece that is no queue's.
    pub(crate) fn global_piece(&self) -> Piece {
        let content = PieceContent::Bytes(self.encode_global());
        Piece { key: key(GLOBAL, QueueNo(0), 0), content }
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

/// The queue is found again by its owner and pattern.
const UNNAMED: u8 = 1;
/// A body could not be read back.
const DEGRADED: u8 = 2;
/// A pause and the weights of groups follow at the end.
const BY_HAND: u8 = 32;

fn is_by_hand(queue: &Queue) -> bool {
    queue.pause.is_some() || !queue.weights.is_empty()
}

fn put_by_hand(out: &mut Vec<u8>, queue: &Queue) {
    out.put_u8(u8::from(queue.pause.is_some()));
    if let Some(pause) = &queue.pause {
        put_paused(out, pause);
    }
    out.put_u32_le(queue.weights.len() as u32);
    for (group, weight) in &queue.weights {
        put_str(out, group);
        out.put_u16_le(*weight);
    }
}

fn by_hand(queue: &mut Queue, input: &mut &[u8]) -> Result<(), RecordError> {
    if input.try_get_u8()? != 0 {
        queue.pause = Some(Box::new(paused(input)?));
    }
    for _ in 0..input.try_get_u32_le()? {
        let group = str(input)?;
        queue.weigh(group, input.try_get_u16_le()?);
    }
    Ok(())
}

fn encode_queue(queue: &Queue) -> Vec<u8> {
    let mut out = Vec::new();
    let identity = &queue.identity;
    let unnamed = if identity.unnamed { UNNAMED } else { 0 };
    let steered = if is_by_hand(queue) { BY_HAND } else { 0 };
    out.put_u8(unnamed | steered | if queue.degraded { DEGRADED } else { 0 });
    out.put_u64_le(identity.made_at.as_millis());
    put_str(&mut out, identity.name.as_str());
    put_str(&mut out, identity.pattern.as_ref().map_or("", |pattern| pattern.as_str()));
    put_str(&mut out, identity.owner.as_str());
    put_settings(&mut out, &queue.settings);
    out.put_u64_le(queue.slots.next());
    out.put_u64_le(queue.doubtful_below);
    out.put_u32_le(queue.runs.iter().len() as u32);
    for (first, start) in queue.runs.iter() {
        out.put_u64_le(*first);
        out.put_u32_le(*start);
    }
    // Messages in memory only end with the process: they count as dropped from the start.
    let Counters { published, acked, expired, deleted, dropped } = queue.counters;
    for counter in [published, acked, expired, deleted, dropped + queue.resident()] {
        out.put_u64_le(counter);
    }
    out.put_u32_le(queue.redrives.len() as u32);
    for (number, redrive) in &queue.redrives {
        out.put_u32_le(*number);
        put_paced(&mut out, redrive);
    }
    if is_by_hand(queue) {
        put_by_hand(&mut out, queue);
    }
    out
}

fn decode_queue(engine: &Engine, no: QueueNo, mut from: &[u8]) -> Result<Queue, RecordError> {
    let input = &mut from;
    let flags = input.try_get_u8()?;
    let made_at = Timestamp::from_millis(input.try_get_u64_le()?);
    let name = QueueName::new(str(input)?).map_err(|_| RecordError::Utf8)?;
    let pattern = optional_str(input)?.map(TopicPattern::new).transpose();
    let pattern = pattern.map_err(|_| RecordError::Utf8)?;
    let owner = Owner::from_record(str(input)?);
    let unnamed = flags & UNNAMED != 0;
    let identity = Identity { no, name, pattern, unnamed, owner, made_at };
    let mut queue = made_of(engine, identity, settings(input)?);
    queue.degraded = flags & DEGRADED != 0;
    queue.slots = Slots::starting_at(input.try_get_u64_le()?);
    queue.doubtful_below = input.try_get_u64_le()?;
    for _ in 0..input.try_get_u32_le()? {
        queue.runs.push(input.try_get_u64_le()?, input.try_get_u32_le()?);
    }
    queue.counters = Counters {
        published: input.try_get_u64_le()?,
        acked: input.try_get_u64_le()?,
        expired: input.try_get_u64_le()?,
        deleted: input.try_get_u64_le()?,
        dropped: input.try_get_u64_le()?,
    };
    // Images before there were redrives at a pace end here.
    let redrives = if input.is_empty() { 0 } else { input.try_get_u32_le()? };
    for _ in 0..redrives {
        queue.redrives.insert(input.try_get_u32_le()?, paced(input)?);
    }
    if flags & BY_HAND != 0 {
        by_hand(&mut queue, input)?;
    }
    if !input.is_empty() {
        return Err(RecordError::Long(input.len()));
    }
    Ok(queue)
}

/// A queue without messages.
fn made_of(engine: &Engine, identity: Identity, settings: QueueSettings) -> Queue {
    let rules = engine.rules(identity.unnamed, &settings);
    Queue::new(identity, settings, rules, engine.lane_seed)
}

/// A bit a slot says which are there; then what some have beside, by place.
fn encode_states(chunk: &Chunk, out: &mut Vec<u8>) {
    let in_log = |full: &(&Slot, Option<&Extra>)| full.0.sequence() != 0;
    let here: Vec<_> = chunk.with_extras().map(|(_, full)| full.filter(in_log)).collect();
    out.put_u16_le(here.len() as u16);
    for eight in here.chunks(8) {
        let bits = eight.iter().enumerate().map(|(at, full)| u8::from(full.is_some()) << at);
        out.put_u8(bits.fold(0, |all, bit| all | bit));
    }
    for (at, full) in here.into_iter().enumerate() {
        if let Some((slot, Some(extra))) = full {
            out.put_u16_le(at as u16);
            out.put_u8(state_byte(slot.state()));
            encode_extra(extra, out);
        }
    }
}

const fn state_byte(state: State) -> u8 {
    match state {
        State::Ready => 1,
        State::Delayed => 2,
        State::Leased => 3,
        State::Dead => 4,
    }
}

const fn state_of(byte: u8) -> Option<State> {
    match byte {
        1 => Some(State::Ready),
        2 => Some(State::Delayed),
        3 => Some(State::Leased),
        4 => Some(State::Dead),
        _ => None,
    }
}

fn encode_extra(extra: &Extra, out: &mut Vec<u8>) {
    put_generation(out, extra.fence);
    out.put_u32_le(extra.acquires);
    out.put_u32_le(extra.failures);
    out.put_u32_le(extra.releases);
    put_time(out, extra.ready_at);
    put_time(out, extra.expires_at);
    let last = extra.last;
    out.put_u8(last.map_or(0, |(change, _)| change.as_u8()));
    put_time(out, last.map_or(Timestamp::EPOCH, |(_, at)| at));
    let lease = if extra.lease.is_some() { LEASE } else { 0 };
    let placed_at = extra.more.as_ref().map_or(Timestamp::EPOCH, |more| more.placed_at);
    let placed = if placed_at == Timestamp::EPOCH { 0 } else { PLACED };
    let has_more = extra.more.is_some() || extra.lane.is_some();
    out.put_u8(lease | placed | if has_more { MORE } else { 0 });
    if let Some(lease) = &extra.lease {
        put_generation(out, lease.generation);
        put_time(out, lease.granted_at);
        put_time(out, lease.deadline);
        out.put_u8(u8::from(lease.bound));
    }
    if has_more {
        encode_more(extra.more.as_deref().unwrap_or(&More::default()), extra.lane(), out);
    }
    if placed != 0 {
        put_time(out, placed_at);
    }
}

/// A bit of an extra's flags: a lease follows.
const LEASE: u8 = 1;
/// A bit of an extra's flags: what only few messages have follows.
const MORE: u8 = 2;
/// A bit of an extra's flags: behind that, since when the message has its place.
const PLACED: u8 = 4;

fn encode_more(more: &More, lane: Option<&Arc<Lane>>, out: &mut Vec<u8>) {
    let place = more.place.unwrap_or_default();
    out.put_u64_le(place.seq);
    out.put_u64_le(place.behind);
    out.put_u32_le(more.redriven);
    out.put_u8(more.dead.map_or(0, |(reason, _)| reason.as_u8()));
    put_time(out, more.dead.map_or(Timestamp::EPOCH, |(_, at)| at));
    put_str(out, more.note.as_deref().unwrap_or_default());
    out.put_u8(u8::from(lane.is_some()));
    if let Some(lane) = lane {
        put_lane(out, lane);
    }
}

/// What few messages have, if this one has any of it, and its order and limits.
type Decoded = (Option<More>, Option<Arc<Lane>>);

fn decode_more(input: &mut &[u8]) -> Result<Decoded, RecordError> {
    let (seq, behind) = (input.try_get_u64_le()?, input.try_get_u64_le()?);
    let place = Place { seq, behind, nth: 0 };
    let redriven = input.try_get_u32_le()?;
    let reason = input.try_get_u8()?;
    let at = time(input)?;
    let dead = match reason {
        0 => None,
        byte => {
            let unknown = RecordError::Unknown { what: "DeadReason", byte };
            Some((DeadReason::from_u8(byte).ok_or(unknown)?, at))
        }
    };
    let note = optional_str(input)?.map(Box::from);
    let lane = match input.try_get_u8()? {
        0 => None,
        _ => Some(Arc::new(lane(input)?)),
    };
    let place = Some(place).filter(|place| place.behind != 0);
    let more = More { place, placed_at: Timestamp::EPOCH, redriven, dead, note };
    Ok((Some(more).filter(|more| *more != More::default()), lane))
}

fn encode_dedupe(chunk: &DedupeChunk, out: &mut Vec<u8>) {
    put_scope(out, &chunk.scope);
    for entry in chunk.entries.iter() {
        out.put_u128_le(entry.id);
        out.put_u64_le(entry.body);
        put_time(out, entry.until);
        out.put_u32_le(entry.message.start);
        out.put_u64_le(entry.message.counter);
        out.put_u32_le(entry.matched);
        out.put_u8(u8::from(entry.level == Level::Os));
        out.put_u64_le(entry.sequence);
        if chunk.scope == DedupeScope::Keys {
            out.put_i64_le(entry.sum);
        }
    }
}

pub(crate) fn decode_dedupe(mut from: &[u8]) -> Result<(DedupeScope, Vec<Entry>), RecordError> {
    let input = &mut from;
    let scope = scope(input)?;
    let mut entries = Vec::new();
    while !input.is_empty() {
        let (id, body) = (input.try_get_u128_le()?, input.try_get_u64_le()?);
        let until = time(input)?;
        let message =
            MessageId { start: input.try_get_u32_le()?, counter: input.try_get_u64_le()? };
        let matched = input.try_get_u32_le()?;
        let level = if input.try_get_u8()? == 0 { Level::Sync } else { Level::Os };
        let sequence = input.try_get_u64_le()?;
        let waits_for = level;
        let sum = if scope == DedupeScope::Keys { input.try_get_i64_le()? } else { 0 };
        entries.push(Entry { id, body, until, message, matched, level, sequence, waits_for, sum });
    }
    Ok((scope, entries))
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
        let state = byte(input, "state", state_of)?;
        let extra = decode_extra(input)?;
        if let Ok(index) = states.binary_search_by_key(&at, |(at, _, _)| *at) {
            states[index] = (at, state, Some(extra));
        }
    }
    Ok(states)
}

fn decode_extra(input: &mut &[u8]) -> Result<Extra, RecordError> {
    let fence = generation(input)?;
    let acquires = input.try_get_u32_le()?;
    let failures = input.try_get_u32_le()?;
    let releases = input.try_get_u32_le()?;
    let ready_at = time(input)?;
    let expires_at = time(input)?;
    let change = input.try_get_u8()?;
    let changed_at = time(input)?;
    let last = Transition::from_u8(change).map(|change| (change, changed_at));
    let flags = input.try_get_u8()?;
    let lease = if flags & LEASE == 0 {
        None
    } else {
        Some(Lease {
            generation: generation(input)?,
            granted_at: time(input)?,
            deadline: time(input)?,
            bound: input.try_get_u8()? != 0,
            session: None,
        })
    };
    let (more, lane) = if flags & MORE == 0 { (None, None) } else { decode_more(input)? };
    let mut more = more.map(Box::new);
    if flags & PLACED != 0 {
        let placed_at = time(input)?;
        more.get_or_insert_default().placed_at = placed_at;
    }
    let extra = Extra { lease, fence, acquires, failures, releases, ..Extra::default() };
    Ok(Extra { ready_at, expires_at, last, lane, more, ..extra })
}

/// Puts an image together, piece by piece in the order of their keys.
#[derive(Debug)]
pub struct Loader {
    engine: Engine,
    queues: std::collections::BTreeMap<QueueNo, Queue>,
    places: std::collections::BTreeMap<(QueueNo, u64), Vec<Slot>>,
    /// Changes of keys of which it is not known yet which are kept.
    values: std::collections::BTreeMap<u64, crate::kv::Chunk>,
    /// Pieces whose queue is gone: the next image drops them.
    orphans: Vec<Key>,
    /// The numbers of limits by those that the image knows them by.
    numbers: limits::Numbers,
}

impl Loader {
    /// Begins with an engine without state.
    pub fn new(engine: Engine) -> Self {
        Self {
            engine,
            queues: Default::default(),
            places: Default::default(),
            values: Default::default(),
            orphans: vec![],
            numbers: Default::default(),
        }
    }

    /// Adds a piece. Pieces come in the order of their keys.
    ///
    /// # Errors
    /// Says why the bytes are no such piece.
    pub fn add(&mut self, key: &Key, bytes: &[u8]) -> Result<(), RecordError> {
        let (kind, no, chunk) = parse_key(key);
        match kind {
            GLOBAL => self.engine.decode_global(bytes)?,
            QUEUE => self.add_queue(kind, decode_queue(&self.engine, no, bytes)?),
            SMALL => self.add_queue(kind, small::decode_queue(&self.engine, no, bytes)?),
            PLACES if self.queues.contains_key(&no) => {
                self.places.insert((no, chunk), places::decode(bytes)?);
            }
            STATES if self.queues.contains_key(&no) => {
                let slots = self.places.remove(&(no, chunk)).ok_or(RecordError::Short)?;
                if let Some(queue) = self.queues.get_mut(&no) {
                    let states = decode_states(bytes)?;
                    queue.slots.restore(chunk, Chunk::from_parts(&slots, states), true);
                }
            }
            PLACES | STATES => self.orphans.push(*key),
            DEDUPE => {
                let (scope, entries) = decode_dedupe(bytes)?;
                self.engine.dedupes.restore(no.0, chunk, scope, entries);
            }
            STORE => {
                let (last, from) = keys::decode_store(bytes)?;
                self.engine.kv.store.restore_numbers(last, from);
            }
            KEY_VALUES => drop(self.values.insert(chunk, keys::decode_values(chunk, bytes)?)),
            KEY_STATES => match self.values.remove(&chunk) {
                Some(values) => {
                    self.engine.kv.store.restore(keys::decode_states(values, bytes)?);
                }
                None => self.orphans.push(*key),
            },
            LIMITS => self.numbers = self.engine.decode_limits(bytes)?,
            LIMIT_KEYS => self.engine.decode_limit_keys(&self.numbers, chunk, bytes)?,
            DEFINITION => {
                let mut queue = small::decode_definition(&self.engine, no, bytes)?;
                queue.defined = Some(Defined::Well);
                self.queues.insert(no, queue);
            }
            NUMBERS => match self.queues.get_mut(&no) {
                Some(queue) => {
                    small::decode_numbers(queue, bytes)?;
                    queue.imaged = Some(kind);
                }
                None => self.orphans.push(*key),
            },
            byte => return Err(RecordError::Unknown { what: "piece", byte }),
        }
        Ok(())
    }

    fn add_queue(&mut self, kind: u8, mut queue: Queue) {
        queue.imaged = Some(kind);
        self.queues.insert(queue.no(), queue);
    }

    /// The engine at the moment of the image; records after it are replayed next.
    pub fn finish(self) -> Engine {
        let mut engine = self.engine;
        engine.removed_pieces = self.orphans;
        for (_, mut queue) in self.queues {
            queue.recount();
            for (seq, slot, extra) in queue.slots.iter() {
                engine.usage.add(slot);
                engine.expect_deadlines(queue.no(), seq, slot.state(), extra);
            }
            let no = queue.no();
            engine.add_queue(queue);
            engine.hold_restored(no);
        }
        for (scope, until) in engine.dedupes.arm_all() {
            engine.deadlines.insert(until, Due::Dedupe(scope));
        }
        for change in engine.kv.store.restored() {
            let at = change.expires_at().unwrap_or(Timestamp::EPOCH);
            engine.deadlines.insert(at, Due::Key(change.revision));
        }
        engine
    }
}
