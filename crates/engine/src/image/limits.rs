//! The pieces of limits: one with all of them, and some with what is known of their keys.

use bytes::{Buf, BufMut};
use sluice_flow::{Feedback, KeyState, Owner, Pause};

use crate::engine::Engine;
use crate::image::{Key, LIMIT_KEYS, LIMITS, Piece, PieceContent, key, removed_piece};
use crate::limits::terms_of;
use crate::record::{RecordError, limit, optional_str, put_limit, put_str, str};

/// Keys of a piece.
const KEYS_OF_A_PIECE: usize = 256;

/// A bit of a key's flags: it opens with one at a time.
const GENTLE: u8 = 1;
/// It opens with an empty bucket.
const EMPTIES: u8 = 2;
/// A pause by hand follows.
const PAUSED: u8 = 4;
/// It is counted under a queue.
const OF_QUEUE: u8 = 8;

impl Engine {
    /// Takes limits and keys into an image. All of this is of the moment in which the image takes its
    /// place in the log: starts are counted here or by replay, and never twice.
    pub(crate) fn take_limits(&mut self, pieces: &mut Vec<Piece>) {
        if std::mem::take(&mut self.limits.dirty) {
            let content = PieceContent::Bytes(self.encode_limits());
            pieces.push(Piece { key: limits_key(), content });
        }
        let mut states = Vec::new();
        let (mut from, mut count) = (Some(0), 0);
        while let Some(next) = from {
            from = self.limits.keyed.states(next, 4 * KEYS_OF_A_PIECE, &mut states);
            while states.len() >= KEYS_OF_A_PIECE || from.is_none() && !states.is_empty() {
                let rest = states.split_off(states.len().min(KEYS_OF_A_PIECE));
                let content = PieceContent::Bytes(encode_keys(&states));
                pieces
                    .push(Piece { key: key(LIMIT_KEYS, sluice_model::QueueNo(0), count), content });
                (states, count) = (rest, count + 1);
            }
        }
        let before = std::mem::replace(&mut self.limits.imaged, count);
        let gone = (count..before).map(|at| key(LIMIT_KEYS, sluice_model::QueueNo(0), at));
        pieces.extend(gone.map(removed_piece));
    }

    fn encode_limits(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (limit, no) in self.limits.set.iter() {
            out.put_u32_le(no.map_or(u32::MAX, |no| no.0));
            put_limit(&mut out, limit);
        }
        out
    }

    /// Sets the limits of an image, and gives the numbers that they have now by those that they had.
    pub(super) fn decode_limits(&mut self, mut from: &[u8]) -> Result<Numbers, RecordError> {
        let (input, mut numbers) = (&mut from, Numbers::new());
        while !input.is_empty() {
            let before = input.try_get_u32_le()?;
            let limit = limit(input)?;
            let mut no = None;
            if before != u32::MAX {
                let terms = terms_of(limit.terms()).ok_or(RecordError::Limit)?;
                let new = self.limits.keyed.add(&terms).map_err(|_| RecordError::Limit)?;
                self.limits.title(new, &limit);
                numbers.insert(before, new);
                // Keys name their limits by number: later images have to say the new ones.
                self.limits.dirty |= new.0 != before;
                no = Some(new);
            }
            self.limits.set.set(limit, no).map_err(|_| RecordError::Limit)?;
        }
        Ok(numbers)
    }

    /// Gives keys what an image kept of them.
    pub(super) fn decode_limit_keys(
        &mut self,
        numbers: &Numbers,
        piece: u64,
        mut from: &[u8],
    ) -> Result<(), RecordError> {
        self.limits.imaged = self.limits.imaged.max(piece + 1);
        let input = &mut from;
        while !input.is_empty() {
            // Keys of a limit that was gone are kept until nobody holds them any more.
            if let Some(state) = decode_key(numbers, input)? {
                self.limits.keyed.restore(state, 0);
            }
        }
        Ok(())
    }
}

/// The numbers of limits by those of an image.
pub(super) type Numbers = std::collections::BTreeMap<u32, sluice_flow::LimitNo>;

fn limits_key() -> Key {
    key(LIMITS, sluice_model::QueueNo(0), 0)
}

fn encode_keys(states: &[KeyState]) -> Vec<u8> {
    let mut out = Vec::new();
    for KeyState { owner, text, starts, feedback, pause } in states {
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        let queue = owner.as_queue();
        out.put_u8(
            flag(feedback.gentle, GENTLE)
                | flag(feedback.empties, EMPTIES)
                | flag(pause.is_some(), PAUSED)
                | flag(queue.is_some(), OF_QUEUE),
        );
        let limit = owner.as_limit().map_or(0, |no| no.0);
        out.put_u32_le(queue.unwrap_or(limit));
        put_str(&mut out, text);
        // A window has 100 000 starts at most.
        out.put_u32_le(starts.len() as u32);
        for start in starts {
            out.put_u64_le(*start);
        }
        out.put_u64_le(feedback.paused_until);
        out.put_u64_le(feedback.kept_until);
        out.put_u8(feedback.strikes);
        if let Some(Pause { until, by, reason }) = pause {
            out.put_u64_le(*until);
            put_str(&mut out, by);
            put_str(&mut out, reason);
        }
    }
    out
}

fn decode_key(numbers: &Numbers, input: &mut &[u8]) -> Result<Option<KeyState>, RecordError> {
    let flags = input.try_get_u8()?;
    let number = input.try_get_u32_le()?;
    let owner = match flags & OF_QUEUE {
        0 => numbers.get(&number).map(|no| Owner::limit(*no)),
        _ => Some(Owner::queue(number)),
    };
    let text = str(input)?.into();
    let count = input.try_get_u32_le()?;
    let mut starts = Vec::new();
    for _ in 0..count {
        starts.push(input.try_get_u64_le()?);
    }
    let feedback = Feedback {
        paused_until: input.try_get_u64_le()?,
        kept_until: input.try_get_u64_le()?,
        strikes: input.try_get_u8()?,
        gentle: flags & GENTLE != 0,
        empties: flags & EMPTIES != 0,
    };
    let pause = match flags & PAUSED {
        0 => None,
        _ => {
            let until = input.try_get_u64_le()?;
            let mut text = || Ok::<_, RecordError>(optional_str(input)?.unwrap_or_default().into());
            Some(Pause { until, by: text()?, reason: text()? })
        }
    };
    Ok(owner.map(|owner| KeyState { owner, text, starts, feedback, pause }))
}
