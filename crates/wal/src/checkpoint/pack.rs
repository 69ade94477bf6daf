//! Small chunks lie in packs: a pack is read, checked and listed as one.
//!
//! ```text
//! chunk: which bytes of the key are not 0, 2 | these bytes | length, LEB128 | the chunk
//! ```
//!
//! A chunk that is written anew or removed leaves its place in its pack; the manifest has a bit for
//! each that says whether it is still there. So the manifest of a hundred thousand small chunks is as long
//! as that of a thousand large ones.

use super::ChunkKey;

/// Chunks of more bytes lie alone.
pub(super) const ALONE: usize = 1 << 10;
/// Most chunks in a pack.
pub(super) const CHUNKS: usize = 256;
/// A pack that has so many bytes gets no more.
pub(super) const BYTES: usize = 16 << 10;

const WORD: usize = u64::BITS as usize;

/// Which chunks of a pack are still needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lives {
    bits: [u64; CHUNKS / WORD],
    /// Chunks that were ever put.
    pub(super) count: u16,
}

impl Lives {
    /// Adds one, and says which it is.
    pub(super) fn push(&mut self) -> u8 {
        let at = self.count as u8;
        self.count += 1;
        self.bits[usize::from(at) / WORD] |= 1 << (usize::from(at) % WORD);
        at
    }

    pub(super) fn clear(&mut self, at: u8) {
        self.bits[usize::from(at) / WORD] &= !(1 << (usize::from(at) % WORD));
    }

    pub(super) fn has(&self, at: usize) -> bool {
        self.bits.get(at / WORD).is_some_and(|word| word >> (at % WORD) & 1 == 1)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bits == [0; CHUNKS / WORD]
    }

    /// Bytes that [`Lives::encode`] appends.
    pub(super) fn encoded_len(&self) -> usize {
        size_of::<u16>() + usize::from(self.count).div_ceil(8)
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.count.to_le_bytes());
        let bytes = self.bits.iter().flat_map(|word| word.to_le_bytes());
        out.extend(bytes.take(usize::from(self.count).div_ceil(8)));
    }

    /// Reads them back from the front of `input`.
    pub(super) fn decode(input: &mut &[u8]) -> Option<Self> {
        let count = u16::from_le_bytes(*input.split_off(..2)?.first_chunk()?);
        let bytes = input.split_off(..usize::from(count).div_ceil(8))?;
        let mut lives = Self { count, ..Self::default() };
        for (at, byte) in bytes.iter().enumerate() {
            *lives.bits.get_mut(at / 8)? |= u64::from(*byte) << (at % 8 * 8);
        }
        Some(lives)
    }
}

/// Appends a chunk to a pack, and says how many bytes it takes there.
pub(super) fn put(out: &mut Vec<u8>, key: &ChunkKey, bytes: &[u8]) -> u16 {
    let begun = out.len();
    let there = |(at, byte): (usize, &u8)| u16::from(*byte != 0) << at;
    let mask: u16 = key.iter().enumerate().map(there).sum();
    out.extend_from_slice(&mask.to_le_bytes());
    out.extend(key.iter().filter(|byte| **byte != 0));
    let mut len = bytes.len();
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(bytes);
    (out.len() - begun) as u16
}

/// A chunk of a pack, and the bytes that it takes there.
pub(super) struct Packed<'a> {
    pub(super) key: ChunkKey,
    pub(super) bytes: &'a [u8],
    pub(super) len: u16,
}

/// The chunks of a pack, those that are not needed as well; the last one is none if the bytes are
/// no pack.
pub(super) fn chunks(mut from: &[u8]) -> impl Iterator<Item = Option<Packed<'_>>> {
    std::iter::from_fn(move || {
        let begun = from.len();
        if begun == 0 {
            return None;
        }
        let Some((key, bytes)) = next(&mut from) else {
            from = &[];
            return Some(None);
        };
        Some(Some(Packed { key, bytes, len: (begun - from.len()) as u16 }))
    })
}

fn next<'a>(from: &mut &'a [u8]) -> Option<(ChunkKey, &'a [u8])> {
    let mask = u16::from_le_bytes(*from.split_off(..2)?.first_chunk()?);
    let mut key = ChunkKey::default();
    for at in (0..key.len()).filter(|at| mask >> at & 1 == 1) {
        key[at] = *from.split_off_first()?;
    }
    let mut len = 0;
    for shift in (0..usize::BITS).step_by(7) {
        let byte = *from.split_off_first()?;
        len |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((key, from.split_off(..len)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(bytes: [u8; 4]) -> ChunkKey {
        let mut key = ChunkKey::default();
        key[0] = bytes[0];
        key[6..9].copy_from_slice(&bytes[1..]);
        key
    }

    #[test]
    fn chunks_of_a_pack_come_back_and_short_ones_take_few_bytes_more() {
        let long = vec![7; ALONE];
        let all = [
            (key([5, 1, 0, 0]), &b"one"[..]),
            (key([0; 4]), b""),
            (key([5, 1, 2, 3]), &long),
            ([255; 16], b"last"),
        ];
        let mut out = Vec::new();
        let lens = all.map(|(key, bytes)| put(&mut out, &key, bytes));
        assert_eq!(lens[0], 2 + 2 + 1 + 3);
        for (((key, bytes), len), found) in all.iter().zip(lens).zip(chunks(&out)) {
            let found = found.map(|found| (found.key, found.bytes, found.len));
            assert_eq!(found, Some((*key, *bytes, len)));
        }
        for len in 0..out.len() {
            let whole = chunks(&out[..len]).take_while(Option::is_some).count();
            assert!(whole < all.len(), "cut to {len} bytes");
        }
    }

    #[test]
    fn lives_come_back_without_those_that_were_cleared() {
        for count in [0, 1, 8, 63, 64, 65, 255, CHUNKS] {
            let mut lives = Lives::default();
            for at in 0..count {
                assert_eq!(usize::from(lives.push()), at);
            }
            for at in (0..count).step_by(3) {
                lives.clear(at as u8);
            }
            let mut out = Vec::new();
            lives.encode(&mut out);
            assert_eq!(out.len(), lives.encoded_len());
            assert_eq!(Lives::decode(&mut &out[..]), Some(lives));
            assert_eq!(Lives::decode(&mut &out[..out.len() - 1]), None);
            let there = (0..count).filter(|at| lives.has(*at));
            assert!(there.eq((0..count).filter(|at| at % 3 != 0)));
            assert_eq!(lives.is_empty(), count < 2);
        }
        assert_eq!(Lives::decode(&mut &[1, 1][..]), None, "more than a pack has");
    }
}
