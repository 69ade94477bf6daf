//! Manifests: where the chunks of a generation lie, and where replay starts from it.
//!
//! ```text
//! magic 8 | version 2 | 0 2 | generation 4 | log id 8 | segment 4 | offset 4 | next record 8
//! | safe record 8 | time 8 | chunks that lie alone 4 | packs 4
//! chunk that lies alone: key 16 | place
//! pack: place | chunks ever put 2 | a bit for each that is still there
//! place: image 4 | offset 8 | length 4 | CRC32C 4
//! CRC32C of all before
//! ```
//!
//! Before version 3 there were no packs.

use super::ChunkKey;
use super::chunks::{Chunks, Pack, Place};
use super::pack::Lives;
use crate::format::{FORMAT_MAJOR, Position, Sequence, crc, u32_at, u64_at};

/// Since version 2 the owner's chunks may be of kinds that programs of version 1 read wrongly, since
/// version 3 there are packs.
pub(crate) const MANIFEST_MAJOR: u16 = FORMAT_MAJOR + 2;
/// The last one without packs.
const WITHOUT_PACKS: u16 = FORMAT_MAJOR + 1;
pub(crate) const MANIFEST_MAGIC: &[u8; 8] = b"SLUICECP";
pub(super) const HEADER: usize = 64;
const PLACE: usize = 20;
const KEY: usize = size_of::<ChunkKey>();
const CHECKSUM: usize = 4;

/// One complete generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) generation: u32,
    /// Where replay starts.
    pub(crate) position: Position,
    /// Records up to this were safe when it was published.
    pub(crate) durable: Sequence,
    pub(crate) time_ms: u64,
    pub(super) chunks: Chunks,
}

impl Manifest {
    /// Bytes of it.
    pub(super) fn encoded_len(&self) -> u64 {
        let Chunks { alone, packs, .. } = &self.chunks;
        let packs: usize = packs.values().map(|pack| PLACE + pack.lives.encoded_len()).sum();
        (HEADER + alone.len() * (KEY + PLACE) + packs + CHECKSUM) as u64
    }

    pub(super) fn encode(&self, log_id: u64) -> Vec<u8> {
        let mut out = vec![0; HEADER];
        out[..8].copy_from_slice(MANIFEST_MAGIC);
        out[8..10].copy_from_slice(&MANIFEST_MAJOR.to_le_bytes());
        out[12..16].copy_from_slice(&self.generation.to_le_bytes());
        out[16..24].copy_from_slice(&log_id.to_le_bytes());
        out[24..28].copy_from_slice(&self.position.segment.to_le_bytes());
        out[28..32].copy_from_slice(&self.position.offset.to_le_bytes());
        out[32..40].copy_from_slice(&self.position.next.0.to_le_bytes());
        out[40..48].copy_from_slice(&self.durable.0.to_le_bytes());
        out[48..56].copy_from_slice(&self.time_ms.to_le_bytes());
        let Chunks { alone, packs, .. } = &self.chunks;
        out[56..60].copy_from_slice(&(alone.len() as u32).to_le_bytes());
        out[60..64].copy_from_slice(&(packs.len() as u32).to_le_bytes());
        for (key, place) in alone {
            out.extend_from_slice(key);
            put_place(&mut out, place);
        }
        for pack in packs.values() {
            put_place(&mut out, &pack.place);
            pack.lives.encode(&mut out);
        }
        let checksum = crc(&[&out]);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    /// Reads a manifest back; none where it is damaged.
    pub(super) fn decode(bytes: &[u8], log_id: u64) -> Option<Self> {
        let (content, checksum) = bytes.split_last_chunk::<CHECKSUM>()?;
        let sound = content.len() >= HEADER
            && content[..8] == *MANIFEST_MAGIC
            && crc(&[content]) == u32::from_le_bytes(*checksum)
            && u64_at(content, 16) == log_id;
        if !sound {
            return None;
        }
        let (header, mut rest) = content.split_at(HEADER);
        // Packs have the place of the upper half of a number that never needed it.
        let (alone, packs) = (u32_at(header, 56), u32_at(header, 60));
        let has_packs = u16::from_le_bytes([header[8], header[9]]) > WITHOUT_PACKS;
        let mut chunks = Chunks::default();
        for _ in 0..alone {
            let key = *rest.split_off(..KEY)?.first_chunk()?;
            chunks.insert_alone(key, place(&mut rest)?);
        }
        for number in 0..if has_packs { packs } else { 0 } {
            let (place, lives) = (place(&mut rest)?, Lives::decode(&mut rest)?);
            chunks.insert_pack(number, Pack { place, lives }, place.len.into());
        }
        if !rest.is_empty() {
            return None;
        }
        Some(Self {
            generation: u32_at(content, 12),
            position: Position {
                segment: u32_at(content, 24),
                offset: u32_at(content, 28),
                next: Sequence(u64_at(content, 32)),
            },
            durable: Sequence(u64_at(content, 40)),
            time_ms: u64_at(content, 48),
            chunks,
        })
    }
}

fn put_place(out: &mut Vec<u8>, place: &Place) {
    out.extend_from_slice(&place.image.to_le_bytes());
    out.extend_from_slice(&place.offset.to_le_bytes());
    out.extend_from_slice(&place.len.to_le_bytes());
    out.extend_from_slice(&place.crc.to_le_bytes());
}

fn place(input: &mut &[u8]) -> Option<Place> {
    let bytes = input.split_off(..PLACE)?;
    let (image, offset) = (u32_at(bytes, 0), u64_at(bytes, 4));
    Some(Place { image, offset, len: u32_at(bytes, 12), crc: u32_at(bytes, 16) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let mut chunks = Chunks::default();
        chunks.insert_alone([7; 16], Place { image: 1, offset: 16, len: 3, crc: 9 });
        let (position, durable) = (Position::default(), Sequence(4));
        Manifest { generation: 2, position, durable, time_ms: 5, chunks }
    }

    fn seal(bytes: &mut [u8]) {
        let (content, checksum) = bytes.split_at_mut(bytes.len() - CHECKSUM);
        checksum.copy_from_slice(&crc(&[content]).to_le_bytes());
    }

    #[test]
    fn manifests_of_versions_1_and_2_are_read() {
        for version in [1, 2] {
            let manifest = manifest();
            let mut bytes = manifest.encode(3);
            bytes[8] = version;
            seal(&mut bytes);
            assert_eq!(Manifest::decode(&bytes, 3), Some(manifest));
        }
    }

    #[test]
    fn a_manifest_comes_back_with_its_packs_or_not_at_all() {
        let mut manifest = manifest();
        let mut lives = Lives::default();
        for number in 0..2 {
            for _ in 0..90 {
                lives.push();
            }
            lives.clear(number as u8);
            let place = Place { image: 1, offset: 19 + u64::from(number), len: 900, crc: 8 };
            manifest.chunks.insert_pack(number, Pack { place, lives }, 900);
        }
        let mut bytes = manifest.encode(3);
        assert_eq!(bytes.len() as u64, manifest.encoded_len());
        assert_eq!(Manifest::decode(&bytes, 3).as_ref(), Some(&manifest));
        assert_eq!(Manifest::decode(&bytes, 4), None, "of another log");
        for len in HEADER..bytes.len() {
            let mut cut = bytes[..len].to_vec();
            seal(&mut cut);
            assert_eq!(Manifest::decode(&cut, 3), None, "{len} bytes");
        }
        let at = bytes.len() - CHECKSUM - 1;
        bytes[at] ^= 1;
        assert_eq!(Manifest::decode(&bytes, 3), None);
    }
}
