//! The piece that says where the bodies of a chunk's messages lie.
//!
//! Messages that come one after the other lie one behind the other: what is written of each is how
//! its numbers differ from those of the one before, some 10 bytes.
//!
//! ```text
//! COMPACT 8 | message...
//! message: sequence, segment, offset, length, counter, time, each as a difference | flags 1
//! ```
//!
//! A difference is in zigzag, LEB128. Older programs wrote each number whole, in 37 bytes a message
//! and without a head.

use bytes::{Buf, BufMut};
use sluice_model::Timestamp;

use super::small::{number, put_number};
use crate::journal::BodyRef;
use crate::queue::slots::{CHUNK, Chunk, Slot};
use crate::record::RecordError;

/// Where older programs had the number of a record, and none has this one.
const COMPACT: u64 = 1 << 63;

/// The numbers of a message: sequence, segment, offset, length, counter, time.
type Numbers = [u64; 6];

fn numbers_of(slot: &Slot) -> Numbers {
    let BodyRef { sequence, segment, offset, len } = slot.body();
    let time = slot.enqueued_at().as_millis();
    [sequence, segment.into(), offset.into(), len.into(), slot.counter(), time]
}

fn slot_of(numbers: Numbers, flags: u8) -> Result<Slot, RecordError> {
    let [sequence, segment, offset, len, counter, time] = numbers;
    let short = |number| u32::try_from(number).map_err(|_| RecordError::Long(10));
    let (segment, offset, len) = (short(segment)?, short(offset)?, short(len)?);
    let body = BodyRef { sequence, segment, offset, len };
    Ok(Slot::from_parts(body, counter, Timestamp::from_millis(time), flags))
}

pub(super) fn encode(chunk: &Chunk, out: &mut Vec<u8>) {
    out.put_u64_le(COMPACT);
    let mut before = Numbers::default();
    for slot in chunk.all() {
        let numbers = numbers_of(slot);
        for (number, before) in numbers.iter().zip(before) {
            let difference = number.wrapping_sub(before) as i64;
            put_number(out, (difference << 1 ^ difference >> 63) as u64);
        }
        out.put_u8(slot.flags());
        before = numbers;
    }
}

pub(super) fn decode(mut from: &[u8]) -> Result<Vec<Slot>, RecordError> {
    let input = &mut from;
    let mut slots = Vec::with_capacity(CHUNK as usize);
    let is_compact = input.starts_with(&COMPACT.to_le_bytes());
    if is_compact {
        input.advance(size_of_val(&COMPACT));
    }
    let mut numbers = Numbers::default();
    while !input.is_empty() {
        if slots.len() == CHUNK as usize {
            return Err(RecordError::Long(input.len()));
        }
        if is_compact {
            for one in &mut numbers {
                let coded = number(input)?;
                let difference = (coded >> 1) as i64 ^ -((coded & 1) as i64);
                *one = one.wrapping_add(difference as u64);
            }
        } else {
            numbers = whole(input)?;
        }
        slots.push(slot_of(numbers, input.try_get_u8()?)?);
    }
    Ok(slots)
}

/// A message's numbers as older programs wrote them.
fn whole(input: &mut &[u8]) -> Result<Numbers, RecordError> {
    let sequence = input.try_get_u64_le()?;
    let segment = input.try_get_u32_le()?.into();
    let (offset, len) = (input.try_get_u32_le()?.into(), input.try_get_u32_le()?.into());
    Ok([sequence, segment, offset, len, input.try_get_u64_le()?, input.try_get_u64_le()?])
}

#[cfg(test)]
mod tests {
    use sluice_model::Level;

    use super::*;

    fn chunk(count: u64) -> Chunk {
        let slot = |at: u64| {
            let (segment, offset) = ((3 - at / 100) as u32, (1_000 + 190 * at) as u32);
            let body = BodyRef { sequence: 7 + 3 * at, segment, offset, len: 180 };
            let time = Timestamp::from_millis(1_700_000_000_000 - at);
            Slot::new(
                body,
                10 + at,
                time,
                if at.is_multiple_of(2) { Level::Os } else { Level::Sync },
            )
        };
        Chunk::from_parts(&(0..count).map(slot).collect::<Vec<_>>(), Vec::new())
    }

    fn all<'a>(slots: impl IntoIterator<Item = &'a Slot>) -> Vec<(Numbers, u8)> {
        slots.into_iter().map(|slot| (numbers_of(slot), slot.flags())).collect()
    }

    #[test]
    fn places_come_back_and_take_few_bytes_and_those_of_older_programs_are_read() {
        for count in [0, 1, 2, 150, CHUNK] {
            let (chunk, mut out) = (chunk(count), Vec::new());
            encode(&chunk, &mut out);
            assert!(out.len() as u64 <= 50 + 10 * count, "{} bytes for {count}", out.len());
            assert_eq!(all(&decode(&out).unwrap()), all(chunk.all()));
            let mut old = Vec::new();
            for ([sequence, segment, offset, len, counter, time], flags) in all(chunk.all()) {
                old.put_u64_le(sequence);
                [segment, offset, len].iter().for_each(|short| old.put_u32_le(*short as u32));
                old.put_u64_le(counter);
                old.put_u64_le(time);
                old.put_u8(flags);
            }
            assert_eq!(all(&decode(&old).unwrap()), all(chunk.all()));
            for cut in 1..out.len() {
                let shorter = decode(&out[..cut]).map_or(0, |slots| slots.len() as u64);
                assert!(shorter < count.max(1), "{cut} of {}", out.len());
            }
        }
    }

    #[test]
    fn more_places_than_a_chunk_has_are_refused() {
        let mut out = Vec::new();
        encode(&chunk(CHUNK), &mut out);
        out.extend_from_slice(&[0; 7]);
        assert!(decode(&out).is_err());
    }
}
