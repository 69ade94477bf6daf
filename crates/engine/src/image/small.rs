//! The pieces of a small queue: its definition, and its counters with its messages, in as few bytes
//! as they allow.
//!
//! With a hundred thousand queues that change between two images this is most of what an image
//! writes. Numbers are as long as they are large (LEB128), and only what is there is said.

use bytes::{Buf, BufMut};
use sluice_model::{QueueName, QueueNo, Timestamp, TopicPattern};

use crate::engine::Engine;
use crate::image::{
    BY_HAND, DEGRADED, States, UNNAMED, by_hand, decode_extra, encode_extra, is_by_hand, made_of,
    put_by_hand, state_byte, state_of,
};
use crate::journal::BodyRef;
use crate::queue::slots::{CHUNK, Chunk, Slot, Slots};
use crate::queue::{Counters, Identity, Queue};
use crate::record::{RecordError, paced, put_paced, put_settings, put_str, settings, str};
use crate::topic::Owner;

/// Bits of the first bytes, beside those of any queue: what follows where it is not empty.
const PATTERN: u8 = 4;
const SETTINGS: u8 = 8;
const REDRIVES: u8 = 16;

/// Bits of a message's byte: its flags, then its state, then whether it has something beside.
const STATE_SHIFT: u8 = 3;
const EXTRA: u8 = 1 << 6;

/// Bytes of most small queues.
const USUAL: usize = 96;

const fn flag(is: bool, flag: u8) -> u8 {
    if is { flag } else { 0 }
}

/// Who a queue is, and what was chosen for it.
pub(super) fn encode_definition(queue: &Queue) -> Vec<u8> {
    let mut out = Vec::with_capacity(USUAL);
    let identity = &queue.identity;
    out.put_u8(
        flag(identity.unnamed, UNNAMED)
            | flag(identity.pattern.is_some(), PATTERN)
            | flag(!queue.settings.is_empty(), SETTINGS),
    );
    put_number(&mut out, identity.made_at.as_millis());
    put_str(&mut out, identity.name.as_str());
    put_str(&mut out, identity.owner.as_str());
    if let Some(pattern) = &identity.pattern {
        put_str(&mut out, pattern.as_str());
    }
    if !queue.settings.is_empty() {
        put_settings(&mut out, &queue.settings);
    }
    out
}

/// What changes with a queue's messages; they follow.
pub(super) fn encode_numbers(queue: &Queue) -> Vec<u8> {
    let mut out = Vec::with_capacity(USUAL);
    let redrives = &queue.redrives;
    out.put_u8(
        flag(queue.degraded, DEGRADED)
            | flag(!redrives.is_empty(), REDRIVES)
            | flag(is_by_hand(queue), BY_HAND),
    );
    if !redrives.is_empty() {
        put_number(&mut out, redrives.len() as u64);
        for (number, redrive) in redrives {
            out.put_u32_le(*number);
            put_paced(&mut out, redrive);
        }
    }
    put_number(&mut out, queue.slots.next());
    put_number(&mut out, queue.doubtful_below);
    put_number(&mut out, queue.runs.iter().len() as u64);
    for (first, start) in queue.runs.iter() {
        put_number(&mut out, *first);
        put_number(&mut out, u64::from(*start));
    }
    // Messages in memory only end with the process: they count as dropped from the start.
    let Counters { published, acked, expired, deleted, dropped } = queue.counters;
    for counter in [published, acked, expired, deleted, dropped + queue.resident()] {
        put_number(&mut out, counter);
    }
    if is_by_hand(queue) {
        put_by_hand(&mut out, queue);
    }
    out
}

/// A queue without messages, of which only its definition is known.
pub(super) fn decode_definition(
    engine: &Engine,
    no: QueueNo,
    mut from: &[u8],
) -> Result<Queue, RecordError> {
    let flags = from.try_get_u8()?;
    let queue = definition(engine, no, flags, &mut from)?;
    if from.is_empty() { Ok(queue) } else { Err(RecordError::Long(from.len())) }
}

/// The rest of a queue of which the definition is known.
pub(super) fn decode_numbers(queue: &mut Queue, mut from: &[u8]) -> Result<(), RecordError> {
    let flags = from.try_get_u8()?;
    numbers(queue, flags, &mut from)
}

/// A queue as older programs wrote it: both in one, under the flags of both.
pub(super) fn decode_queue(
    engine: &Engine,
    no: QueueNo,
    mut from: &[u8],
) -> Result<Queue, RecordError> {
    let flags = from.try_get_u8()?;
    let mut queue = definition(engine, no, flags, &mut from)?;
    numbers(&mut queue, flags, &mut from)?;
    Ok(queue)
}

fn definition(
    engine: &Engine,
    no: QueueNo,
    flags: u8,
    input: &mut &[u8],
) -> Result<Queue, RecordError> {
    let made_at = Timestamp::from_millis(number(input)?);
    let name = QueueName::new(str(input)?).map_err(|_| RecordError::Utf8)?;
    let owner = Owner::from_record(str(input)?);
    let pattern = match flags & PATTERN {
        0 => None,
        _ => Some(TopicPattern::new(str(input)?).map_err(|_| RecordError::Utf8)?),
    };
    let unnamed = flags & UNNAMED != 0;
    let identity = Identity { no, name, pattern, unnamed, owner, made_at };
    let settings = if flags & SETTINGS == 0 { Default::default() } else { settings(input)? };
    Ok(made_of(engine, identity, settings))
}

fn numbers(queue: &mut Queue, flags: u8, input: &mut &[u8]) -> Result<(), RecordError> {
    queue.degraded = flags & DEGRADED != 0;
    let redrives = if flags & REDRIVES == 0 { 0 } else { number(input)? };
    for _ in 0..redrives {
        queue.redrives.insert(input.try_get_u32_le()?, paced(input)?);
    }
    queue.slots = Slots::starting_at(number(input)?);
    queue.doubtful_below = number(input)?;
    for _ in 0..number(input)? {
        queue.runs.push(number(input)?, small(input)?);
    }
    queue.counters = Counters {
        published: number(input)?,
        acked: number(input)?,
        expired: number(input)?,
        deleted: number(input)?,
        dropped: number(input)?,
    };
    if flags & BY_HAND != 0 {
        by_hand(queue, input)?;
    }
    if !input.is_empty() {
        let (number, chunk) = decode_messages(input)?;
        queue.slots.restore(number, chunk, false);
    }
    Ok(())
}

/// Appends the messages of a small chunk: its number, then for each its place in the chunk, where
/// its body lies, its state and what it has beside.
pub(super) fn encode_messages(number: u64, chunk: &Chunk, out: &mut Vec<u8>) {
    put_number(out, number);
    for (at, full) in chunk.with_extras() {
        let Some((slot, extra)) = full.filter(|(slot, _)| slot.sequence() != 0) else { continue };
        put_number(out, at as u64);
        let BodyRef { sequence, segment, offset, len } = slot.body();
        put_number(out, sequence);
        for small in [segment, offset, len] {
            put_number(out, u64::from(small));
        }
        put_number(out, slot.counter());
        put_number(out, slot.enqueued_at().as_millis());
        let state = state_byte(slot.state()) << STATE_SHIFT;
        out.put_u8(slot.flags() | state | if extra.is_some() { EXTRA } else { 0 });
        if let Some(extra) = extra {
            encode_extra(extra, out);
        }
    }
}

fn decode_messages(input: &mut &[u8]) -> Result<(u64, Chunk), RecordError> {
    let chunk = number(input)?;
    let (mut slots, mut states): (Vec<Slot>, States) = (Vec::new(), Vec::new());
    while !input.is_empty() {
        let at = small(input)? as usize;
        let sequence = number(input)?;
        let (segment, offset, len) = (small(input)?, small(input)?, small(input)?);
        let body = BodyRef { sequence, segment, offset, len };
        let (counter, enqueued_at) = (number(input)?, Timestamp::from_millis(number(input)?));
        let byte = input.try_get_u8()?;
        let flags = byte & ((1 << STATE_SHIFT) - 1);
        let state = (byte & !EXTRA) >> STATE_SHIFT;
        let state = state_of(state).ok_or(RecordError::Unknown { what: "state", byte })?;
        if at < slots.len() || at >= CHUNK as usize {
            return Err(RecordError::Long(at));
        }
        // Those before it are gone; what stands in their places means nothing.
        slots.resize(at + 1, Slot::from_parts(body, counter, enqueued_at, flags));
        let extra = if byte & EXTRA == 0 { None } else { Some(decode_extra(input)?) };
        states.push((at, state, extra));
    }
    Ok((chunk, Chunk::from_parts(&slots, states)))
}

/// Seven bits a byte, the lowest first; the eighth says that more follow.
pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(super) fn number(input: &mut &[u8]) -> Result<u64, RecordError> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = input.try_get_u8()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(RecordError::Long(10))
}

fn small(input: &mut &[u8]) -> Result<u32, RecordError> {
    u32::try_from(number(input)?).map_err(|_| RecordError::Long(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_are_as_long_as_they_are_large() {
        let cases = [(0, 1), (127, 1), (128, 2), (1 << 14, 3), (1 << 35, 6), (u64::MAX, 10)];
        for (value, len) in cases {
            let mut out = Vec::new();
            put_number(&mut out, value);
            assert_eq!(out.len(), len, "{value}");
            assert_eq!(number(&mut &out[..]), Ok(value));
            assert!(number(&mut &out[..len - 1]).is_err(), "{value} cut short");
        }
        assert!(number(&mut &[0xff; 11][..]).is_err());
    }
}
