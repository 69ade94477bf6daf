//! The pieces of the store of keys and values.
//!
//! A chunk's values are written when changes come, and anew when half of them are gone; which of
//! them are kept is a piece of its own, so that a key that is written anew costs the image its new
//! value and 32 bytes.

use std::sync::Arc;

use bytes::{Buf, BufMut};
use sluice_model::{Key as ModelKey, QueueNo, Timestamp, Value, ValueKind};

use super::{KEY_STATES, KEY_VALUES, Key, Piece, PieceContent, STORE, key};
use crate::kv::{Change, Chunk, What};
use crate::record::{RecordError, byte, bytes, put_bytes, put_str, put_time, str, time};

/// Bytes that say which of the numbers that a chunk spans are kept.
const BITS: usize = 32;

const DELETED: u8 = 0;
const EXPIRED: u8 = 0x10;
/// The number of a kind of value with this bit stands for a value.
const PUT: u8 = 0x20;

/// The keys of the pieces of a chunk.
pub(crate) fn key_pieces(first: u64) -> [Key; 2] {
    [KEY_VALUES, KEY_STATES].map(|kind| key(kind, QueueNo(0), first))
}

/// The numbers of the store.
pub(crate) fn store_piece(last: u64, from: u64) -> Piece {
    let mut out = Vec::new();
    out.put_u64_le(last);
    out.put_u64_le(from);
    Piece { key: key(STORE, QueueNo(0), 0), content: PieceContent::Bytes(out) }
}

pub(super) fn decode_store(mut from: &[u8]) -> Result<(u64, u64), RecordError> {
    Ok((from.try_get_u64_le()?, from.try_get_u64_le()?))
}

/// The changes of a chunk.
pub(crate) fn values_piece(chunk: Arc<Chunk>) -> Piece {
    let key = key(KEY_VALUES, QueueNo(0), chunk.first);
    Piece { key, content: PieceContent::KeyValues(chunk) }
}

/// Which changes of a chunk are kept.
pub(crate) fn key_states_piece(chunk: Arc<Chunk>) -> Piece {
    let key = key(KEY_STATES, QueueNo(0), chunk.first);
    Piece { key, content: PieceContent::KeyStates(chunk) }
}

/// How far a change is behind the first number of its chunk; below [`crate::kv::SPAN`].
fn place(chunk: &Chunk, change: &Change) -> u8 {
    (change.revision - chunk.first) as u8
}

pub(super) fn encode_values(chunk: &Chunk, out: &mut Vec<u8>) {
    for change in &chunk.changes {
        out.put_u8(place(chunk, change));
        put_str(out, change.key.as_str());
        match &change.what {
            What::Put { value, expires_at } => {
                out.put_u8(PUT | value.kind.as_u8());
                put_time(out, *expires_at);
                put_bytes(out, &value.bytes);
            }
            What::Deleted => out.put_u8(DELETED),
            What::Expired => out.put_u8(EXPIRED),
        }
    }
}

pub(super) fn decode_values(first: u64, mut from: &[u8]) -> Result<Chunk, RecordError> {
    let input = &mut from;
    let mut chunk = Chunk::new(first);
    while !input.is_empty() {
        let revision = first + u64::from(input.try_get_u8()?);
        let key = ModelKey::new(str(input)?).map_err(|_| RecordError::Utf8)?;
        let what = match input.try_get_u8()? {
            DELETED => What::Deleted,
            EXPIRED => What::Expired,
            kind => {
                let kind = byte(&mut &[kind][..], "ValueKind", |kind| {
                    ValueKind::from_u8(kind.checked_sub(PUT)?)
                })?;
                let expires_at: Timestamp = time(input)?;
                let bytes = bytes::Bytes::copy_from_slice(bytes(input)?);
                What::Put { value: Value { kind, bytes }, expires_at }
            }
        };
        chunk.changes.push_back(Change { revision, key, what, sequence: 0 });
    }
    Ok(chunk)
}

/// A bit for each number, the lowest of the first byte first.
pub(super) fn encode_states(chunk: &Chunk, out: &mut Vec<u8>) {
    let mut bits = [0_u8; BITS];
    for change in &chunk.changes {
        let at = usize::from(place(chunk, change));
        bits[at / 8] |= 1 << (at % 8);
    }
    out.put_slice(&bits);
}

/// What is kept of a chunk.
pub(super) fn decode_states(mut chunk: Chunk, mut from: &[u8]) -> Result<Chunk, RecordError> {
    let mut bits = [0; BITS];
    from.try_copy_to_slice(&mut bits)?;
    let first = chunk.first;
    chunk.changes.retain(|change| {
        let at = usize::try_from(change.revision - first).unwrap_or(usize::MAX);
        bits.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1)
    });
    if chunk.changes.is_empty() { Err(RecordError::Short) } else { Ok(chunk) }
}
