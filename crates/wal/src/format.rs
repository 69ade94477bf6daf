//! The bytes of the log: segment headers, frames, records.
//!
//! ```text
//! segment = header (512 bytes) | frame | frame | ... | zeros
//! frame   = header (52 bytes)  | record | record | ...
//! record  = head length u32 | body length u32 | head | checksum u32 | body
//! ```
//!
//! The checksum and the body are left out where the body length is 0. All integers are
//! little-endian, all checksums CRC32C. A frame's two checksums are seeded with the log's random
//! id, the recovery number, the segment and the offset, so that a frame that is stale, copied or
//! misdirected fails; a body's with the log's id and the record's sequence, so that it can be read
//! and verified by itself. A frame's length is used only once its header's checksum has passed.

use std::fmt;

use crc_fast::{CrcAlgorithm, Digest};

/// Bytes of a segment's header; frames begin behind it.
pub(crate) const SEGMENT_HEADER: u32 = 512;
/// Bytes of a frame's header.
pub(crate) const FRAME_HEADER: usize = 52;
/// Bytes of a record before its head.
pub(crate) const RECORD_HEADER: usize = 8;
/// Bytes of a body's checksum.
pub(crate) const BODY_CHECKSUM: usize = 4;
/// Fills the place of records that are lost; no record can be read from it.
pub(crate) const FILLER: u8 = 0xff;
/// What the disk writes as a whole or not at all.
pub(crate) const SECTOR: u64 = 512;

/// The major format version that this code writes, and the highest that it reads.
pub const FORMAT_MAJOR: u16 = 1;
const FORMAT_MINOR: u16 = 0;

pub(crate) const SEGMENT_MAGIC: &[u8; 8] = b"SLUICSEG";
const FRAME_MAGIC: u32 = 0x6d72_4653;

/// Dense number of a record, from 1; 0 stands for "before all records".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a record's body lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BodyRef {
    /// The log file.
    pub segment: u32,
    /// Bytes from the file's start to the body's checksum.
    pub offset: u32,
    /// Bytes of the body, without its checksum.
    pub len: u32,
}

/// A place between two frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The log file.
    pub segment: u32,
    /// Bytes from the file's start.
    pub offset: u32,
    /// The number of the next record.
    pub next: Sequence,
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The damaged file.
    pub file: String,
    /// Bytes from its start.
    pub offset: u64,
    /// The first record that is missing.
    pub sequence: Sequence,
    /// The last record that can't be read, where that is known.
    pub last: Option<Sequence>,
    /// The highest record that something intact shows to have been safe.
    pub durable: Sequence,
    /// What was found there.
    pub what: &'static str,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, sequence, last, durable, what } = self;
        write!(f, "{what} in {file} at byte {offset}")?;
        match last {
            // Not about records.
            _ if *sequence == Sequence(0) => return Ok(()),
            Some(last) if last == sequence => write!(f, ", record {sequence}")?,
            Some(last) => write!(f, ", records {sequence} to {last}")?,
            None => write!(f, ", records from {sequence} on")?,
        }
        if durable >= sequence {
            write!(f, "; records up to {durable} were acknowledged")?;
        }
        Ok(())
    }
}

/// CRC32C over the parts, one after the other.
pub(crate) fn crc(parts: &[&[u8]]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    for part in parts {
        digest.update(part);
    }
    // A CRC32 fits 32 bits by its definition.
    digest.finalize() as u32
}

/// What a body's checksum begins with.
pub(crate) fn body_crc(log_id: u64, sequence: Sequence, parts: &[&[u8]]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&log_id.to_le_bytes());
    digest.update(&sequence.0.to_le_bytes());
    for part in parts {
        digest.update(part);
    }
    digest.finalize() as u32
}

/// What ties a frame to its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed {
    pub(crate) log_id: u64,
    pub(crate) recovery: u32,
    pub(crate) segment: u32,
    pub(crate) offset: u32,
}

impl Seed {
    fn bytes(self) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&self.log_id.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.recovery.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.segment.to_le_bytes());
        bytes[16..].copy_from_slice(&self.offset.to_le_bytes());
        bytes
    }

    /// The checksum of a payload at this place.
    pub(crate) fn payload_crc(self, payload: &[u8]) -> u32 {
        crc(&[&self.bytes(), payload])
    }
}

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// Holds records.
    Records,
    /// Shows only how far the log was safe.
    SyncMark,
    /// Says that the log was closed in order; all before it is safe.
    CloseMark,
    /// Stands for records that a repair gave up or a backup left out; has a count and holds none.
    /// Where it takes the place of what was there, it is filled with a byte that is never zero.
    Lost,
}

impl FrameKind {
    fn from_u8(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Records),
            1 => Some(Self::SyncMark),
            2 => Some(Self::CloseMark),
            3 => Some(Self::Lost),
            _ => None,
        }
    }
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: FrameKind,
    pub(crate) len: u32,
    pub(crate) count: u32,
    /// The number of the first record; of the next one where there is none.
    pub(crate) first: Sequence,
    /// The highest record that was safe when the frame was built.
    pub(crate) durable: Sequence,
    pub(crate) time_ms: u64,
    /// The checksum of the frame before.
    pub(crate) previous: u32,
    pub(crate) payload_crc: u32,
}

impl FrameHeader {
    /// The header's bytes at a place, and the checksum that the next frame continues.
    pub(crate) fn encode(&self, seed: Seed) -> ([u8; FRAME_HEADER], u32) {
        let mut out = [0; FRAME_HEADER];
        out[..4].copy_from_slice(&FRAME_MAGIC.to_le_bytes());
        out[4] = self.kind as u8;
        out[8..12].copy_from_slice(&self.len.to_le_bytes());
        out[12..16].copy_from_slice(&self.count.to_le_bytes());
        out[16..24].copy_from_slice(&self.first.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.durable.0.to_le_bytes());
        out[32..40].copy_from_slice(&self.time_ms.to_le_bytes());
        out[40..44].copy_from_slice(&self.previous.to_le_bytes());
        out[44..48].copy_from_slice(&self.payload_crc.to_le_bytes());
        let checksum = crc(&[&seed.bytes(), &out[..48]]);
        out[48..].copy_from_slice(&checksum.to_le_bytes());
        (out, checksum)
    }

    /// Reads a header back with its checksum; none where there is no valid one for this place.
    pub(crate) fn decode(bytes: &[u8], seed: Seed) -> Option<(Self, u32)> {
        let bytes: &[u8; FRAME_HEADER] = bytes.get(..FRAME_HEADER)?.try_into().ok()?;
        if bytes[..4] != FRAME_MAGIC.to_le_bytes() {
            return None;
        }
        let checksum = u32_at(bytes, 48);
        if crc(&[&seed.bytes(), &bytes[..48]]) != checksum {
            return None;
        }
        let header = Self {
            kind: FrameKind::from_u8(bytes[4])?,
            len: u32_at(bytes, 8),
            count: u32_at(bytes, 12),
            first: Sequence(u64_at(bytes, 16)),
            durable: Sequence(u64_at(bytes, 24)),
            time_ms: u64_at(bytes, 32),
            previous: u32_at(bytes, 40),
            payload_crc: u32_at(bytes, 44),
        };
        Some((header, checksum))
    }

    /// The number of the record after this frame.
    pub(crate) fn next(&self) -> Sequence {
        Sequence(self.first.0.saturating_add(self.count.into()))
    }
}

/// Whether the four bytes at the start of `bytes` could begin a frame.
pub(crate) fn has_frame_magic(bytes: &[u8]) -> bool {
    bytes.starts_with(&FRAME_MAGIC.to_le_bytes())
}

/// From where on earlier bytes are void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    pub(crate) next: Sequence,
}

/// A segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) log_id: u64,
    pub(crate) segment: u32,
    /// Seeds all frames of the segment; grows with every recovery.
    pub(crate) recovery: u32,
    /// Only in the segment that a recovery began.
    pub(crate) cut: Option<Cut>,
    /// Records up to this were safe when the segment got its name, those that a recovery wrote
    /// anew into it included; 0 where nothing is said of that.
    pub(crate) safe: Sequence,
}

/// Why bytes are no header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    Damaged,
    Version(u16),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER as usize] {
        let mut out = [0; SEGMENT_HEADER as usize];
        out[..8].copy_from_slice(SEGMENT_MAGIC);
        out[8..10].copy_from_slice(&FORMAT_MAJOR.to_le_bytes());
        out[10..12].copy_from_slice(&FORMAT_MINOR.to_le_bytes());
        out[12..20].copy_from_slice(&self.log_id.to_le_bytes());
        out[20..24].copy_from_slice(&self.segment.to_le_bytes());
        out[24..28].copy_from_slice(&self.recovery.to_le_bytes());
        if let Some(cut) = self.cut {
            out[28] = 1;
            out[32..36].copy_from_slice(&cut.segment.to_le_bytes());
            out[36..40].copy_from_slice(&cut.offset.to_le_bytes());
            out[40..48].copy_from_slice(&cut.next.0.to_le_bytes());
        }
        out[48..56].copy_from_slice(&self.safe.0.to_le_bytes());
        let checksum = crc(&[&out[..SEGMENT_HEADER as usize - 4]]);
        out[SEGMENT_HEADER as usize - 4..].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        // The version is looked at first: a later one may check itself in another way.
        if bytes.len() < 12 || bytes[..8] != *SEGMENT_MAGIC {
            return Err(HeaderError::Damaged);
        }
        let major = u16::from_le_bytes([bytes[8], bytes[9]]);
        if major > FORMAT_MAJOR {
            return Err(HeaderError::Version(major));
        }
        let size = SEGMENT_HEADER as usize;
        let Some(bytes) = bytes.get(..size) else { return Err(HeaderError::Damaged) };
        if crc(&[&bytes[..size - 4]]) != u32_at(bytes, size - 4) {
            return Err(HeaderError::Damaged);
        }
        let cut = Cut {
            segment: u32_at(bytes, 32),
            offset: u32_at(bytes, 36),
            next: Sequence(u64_at(bytes, 40)),
        };
        Ok(Self {
            log_id: u64_at(bytes, 12),
            segment: u32_at(bytes, 20),
            recovery: u32_at(bytes, 24),
            cut: (bytes[28] == 1).then_some(cut),
            safe: Sequence(u64_at(bytes, 48)),
        })
    }
}

/// The records of a frame's payload.
pub(crate) struct Records<'a> {
    payload: &'a [u8],
    at: usize,
}

/// One record of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordView<'a> {
    pub(crate) head: &'a [u8],
    /// From the payload's start to the body's checksum.
    pub(crate) body_at: usize,
    pub(crate) body: &'a [u8],
}

impl<'a> Records<'a> {
    pub(crate) fn new(payload: &'a [u8]) -> Self {
        Self { payload, at: 0 }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = RecordView<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.payload.get(self.at..)?;
        if rest.len() < RECORD_HEADER {
            return None;
        }
        let head_len = u32_at(rest, 0) as usize;
        let body_len = u32_at(rest, 4) as usize;
        let head_end = RECORD_HEADER.checked_add(head_len)?;
        let head = rest.get(RECORD_HEADER..head_end)?;
        let body_at = self.at + head_end;
        if body_len == 0 {
            self.at = body_at;
            return Some(RecordView { head, body_at, body: &[] });
        }
        let body_start = head_end + BODY_CHECKSUM;
        let body = rest.get(body_start..body_start.checked_add(body_len)?)?;
        self.at += body_start + body_len;
        Some(RecordView { head, body_at, body })
    }
}

/// Reads 4 bytes that the caller knows to be there.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes are four bytes"))
}

/// Reads 8 bytes that the caller knows to be there.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes are eight bytes"))
}

/// The name of a segment's file.
pub(crate) fn segment_name(segment: u32) -> String {
    format!("{segment:08}.seg")
}

/// The segment that a file name stands for, if it stands for one.
pub(crate) fn segment_number(name: &str) -> Option<u32> {
    let number = name.strip_suffix(".seg")?;
    if number.len() == 8 { number.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bit by bit, as the polynomial is defined: what the library must agree with.
    fn slow_crc32c(bytes: &[u8]) -> u32 {
        let mut crc = !0u32;
        for byte in bytes {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
            }
        }
        !crc
    }

    #[test]
    fn checksums_match_the_published_vectors() {
        // RFC 3720, B.4.
        assert_eq!(crc(&[b"123456789"]), 0xe306_9283);
        assert_eq!(crc(&[&[0; 32]]), 0x8a91_36aa);
        assert_eq!(crc(&[&[0xff; 32]]), 0x62a8_ab43);
    }

    proptest! {
        #[test]
        fn checksums_match_the_definition_however_the_bytes_are_cut(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
            cut in 0usize..600,
        ) {
            let cut = cut.min(bytes.len());
            prop_assert_eq!(crc(&[&bytes[..cut], &bytes[cut..]]), slow_crc32c(&bytes));
        }

        #[test]
        fn frame_headers_come_back_only_at_their_place_and_undamaged(
            len in any::<u32>(), first in any::<u64>(), bit in 0usize..FRAME_HEADER * 8,
        ) {
            let seed = Seed { log_id: 7, recovery: 1, segment: 3, offset: 512 };
            let header = FrameHeader {
                kind: FrameKind::Records, len, count: 2, first: Sequence(first),
                durable: Sequence(1), time_ms: 5, previous: 9, payload_crc: 11,
            };
            let (mut bytes, checksum) = header.encode(seed);
            prop_assert_eq!(FrameHeader::decode(&bytes, seed), Some((header, checksum)));
            for other in [
                Seed { log_id: 8, ..seed }, Seed { recovery: 2, ..seed },
                Seed { segment: 4, ..seed }, Seed { offset: 513, ..seed },
            ] {
                prop_assert_eq!(FrameHeader::decode(&bytes, other), None);
            }
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(FrameHeader::decode(&bytes, seed), None);
        }
    }

    #[test]
    fn segment_headers_come_back_and_tell_a_later_version_from_damage() {
        let cut = Cut { segment: 2, offset: 700, next: Sequence(9) };
        for cut in [None, Some(cut)] {
            let header =
                SegmentHeader { log_id: 77, segment: 3, recovery: 4, cut, safe: Sequence(12) };
            let bytes = header.encode();
            assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
            for bit in 0..bytes.len() * 8 {
                let mut damaged = bytes;
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(SegmentHeader::decode(&damaged).is_err(), "bit {bit}");
            }
        }
        let safe = Sequence(0);
        let mut later =
            SegmentHeader { log_id: 1, segment: 1, recovery: 0, cut: None, safe }.encode();
        later[8] = 2;
        assert_eq!(SegmentHeader::decode(&later), Err(HeaderError::Version(2)));
    }
}
