//! Blocks: many messages in one piece of memory, as they came and as they go.
//!
//! A block holds messages without extras, one behind the other: each a *head*, the LEB128 of twice
//! the payload's length, and the payload. The lowest bit of a head is for messages with extras, so
//! it is never set here. A block is checked when it is made; walking it can't fail.
//!
//! ```
//! use sluice_model::BlockBuilder;
//!
//! let mut builder = BlockBuilder::default();
//! builder.push(b"one");
//! builder.push(b"two");
//! let block = builder.finish();
//! assert_eq!(block.payloads().collect::<Vec<_>>(), [b"one", b"two"]);
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

use crate::var;

/// Messages without extras, each a LEB128 head of twice the payload's length, then the payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    bytes: Bytes,
    count: u32,
    payload_bytes: usize,
}

/// Why bytes are not a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BlockError {
    /// A message's head is no number, has the bit of extras, or its payload ends early.
    #[error("message {index} is malformed")]
    Malformed {
        /// The how-manieth message, from 0.
        index: u32,
    },
    /// The messages end before the bytes do.
    #[error("{bytes} bytes follow the last message")]
    Trailing {
        /// So many.
        bytes: usize,
    },
}

impl Block {
    /// The messages in `bytes`, of which there must be `count`.
    ///
    /// # Errors
    /// The bytes are not exactly so many messages without extras.
    pub fn check(bytes: Bytes, count: u32) -> Result<Self, BlockError> {
        let mut payloads = Payloads { rest: &bytes };
        let mut payload_bytes = 0;
        for index in 0..count {
            let payload = payloads.next().ok_or(BlockError::Malformed { index })?;
            payload_bytes += payload.len();
        }
        match payloads.rest.len() {
            0 => Ok(Self { bytes, count, payload_bytes }),
            rest => Err(BlockError::Trailing { bytes: rest }),
        }
    }

    /// The block that [`Block::check`] would make, from one who has walked the bytes already.
    /// What else is in `bytes` is never reached, but counts will be wrong.
    pub fn checked(bytes: Bytes, count: u32, payload_bytes: usize) -> Self {
        let block = Self { bytes, count, payload_bytes };
        debug_assert_eq!(Self::check(block.bytes.clone(), count).as_ref(), Ok(&block));
        block
    }

    /// How many messages it holds.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// It holds no message.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of all payloads together.
    pub const fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// The messages as they lie, heads included.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The payloads in order.
    pub fn payloads(&self) -> Payloads<'_> {
        Payloads { rest: &self.bytes }
    }

    /// The payloads in order, each sharing the block's memory.
    pub fn shared(&self) -> impl Iterator<Item = Bytes> + '_ {
        self.payloads().map(|payload| self.bytes.slice_ref(payload))
    }

    /// Takes messages off the front: at most `count_max`, in at most `bytes_max` bytes with their
    /// heads. Nothing is copied. What is taken is empty where the first message is too long.
    #[must_use]
    pub fn split_to(&mut self, count_max: u32, bytes_max: usize) -> Self {
        if self.count <= count_max && self.bytes.len() <= bytes_max {
            return std::mem::take(self);
        }
        let mut payloads = self.payloads();
        let (mut count, mut bytes, mut payload_bytes) = (0, 0, 0);
        while count < count_max
            && let Some(payload) = payloads.next()
        {
            let end = self.bytes.len() - payloads.rest.len();
            if end > bytes_max {
                break;
            }
            (count, bytes, payload_bytes) = (count + 1, end, payload_bytes + payload.len());
        }
        self.count -= count;
        self.payload_bytes -= payload_bytes;
        Self { bytes: self.bytes.split_to(bytes), count, payload_bytes }
    }
}

/// The payloads of a [`Block`] in order.
#[derive(Clone, Debug)]
pub struct Payloads<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Payloads<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let (head, after) = var::read(self.rest).ok()?;
        if head & 1 != 0 {
            return None;
        }
        let (payload, rest) = after.split_at_checked(usize::try_from(head >> 1).ok()?)?;
        self.rest = rest;
        Some(payload)
    }
}

/// Makes a [`Block`] message by message.
#[derive(Clone, Debug, Default)]
pub struct BlockBuilder {
    bytes: BytesMut,
    count: u32,
    payload_bytes: usize,
}

impl BlockBuilder {
    /// A builder with room for so many bytes, heads included.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: BytesMut::with_capacity(bytes), ..Self::default() }
    }

    /// Appends a message.
    pub fn push(&mut self, payload: &[u8]) {
        var::put((payload.len() as u64) << 1, &mut self.bytes);
        self.bytes.put_slice(payload);
        self.count += 1;
        self.payload_bytes += payload.len();
    }

    /// Appends the messages of a block.
    pub fn push_all(&mut self, block: &Block) {
        self.bytes.put_slice(&block.bytes);
        self.count += block.count;
        self.payload_bytes += block.payload_bytes;
    }

    /// How many messages there are.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of the messages, heads included.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The messages; the builder is empty again, and keeps what room it has left.
    pub fn finish(&mut self) -> Block {
        let bytes = self.bytes.split().freeze();
        let (count, payload_bytes) = (self.count, self.payload_bytes);
        (self.count, self.payload_bytes) = (0, 0);
        Block { bytes, count, payload_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(payloads: &[&[u8]]) -> Block {
        let mut builder = BlockBuilder::with_capacity(16);
        payloads.iter().for_each(|payload| builder.push(payload));
        builder.finish()
    }

    #[test]
    fn what_was_pushed_is_found_by_a_check_and_shared() {
        let long = vec![7; 70_000];
        let all: [&[u8]; 6] = [b"", b"one", &long[..63], &long[..64], &long, b"end"];
        let built = block(&all);
        assert_eq!((built.count(), built.payload_bytes()), (6, 3 + 63 + 64 + 70_000 + 3));
        assert_eq!(Block::check(built.bytes().clone(), 6), Ok(built.clone()));
        assert_eq!(built.payloads().collect::<Vec<_>>(), all);
        assert_eq!(built.shared().collect::<Vec<_>>(), all);

        let mut twice = BlockBuilder::default();
        twice.push_all(&built);
        twice.push_all(&built);
        let twice = twice.finish();
        assert_eq!(Block::check(twice.bytes().clone(), 12), Ok(twice));
    }

    #[test]
    #[rustfmt::skip]
    fn bytes_that_are_no_block_are_refused() {
        let malformed = |index| Err(BlockError::Malformed { index });
        let cases: [(&[u8], u32, Result<u32, BlockError>); 8] = [
            (&[],                     0, Ok(0)),
            (&[],                     1, malformed(0)),
            (&[0, 2, 9],              2, Ok(2)),
            (&[0, 2, 9],              1, Err(BlockError::Trailing { bytes: 2 })),
            (&[0, 2],                 2, malformed(1)),
            (&[3, 0, 9],              1, malformed(0)),
            (&[0x80, 0],              1, malformed(0)),
            (&[0, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], 2, malformed(1)),
        ];
        for (bytes, count, expected) in cases {
            let checked = Block::check(Bytes::copy_from_slice(bytes), count);
            assert_eq!(checked.map(|block| block.count()), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_part_is_bounded_by_count_and_bytes_and_nothing_is_lost() {
        let all: [&[u8]; 4] = [b"a", b"bbb", b"", b"cccccc"];
        for count_max in 0..6 {
            for bytes_max in 0..20 {
                let mut rest = block(&all);
                let part = rest.split_to(count_max, bytes_max);
                assert!(part.count() <= count_max && part.bytes().len() <= bytes_max);
                let halves = [part, rest];
                let seen: Vec<&[u8]> = halves.iter().flat_map(Block::payloads).collect();
                assert_eq!(seen, all);
                for half in halves {
                    assert_eq!(Block::check(half.bytes().clone(), half.count()), Ok(half));
                }
            }
        }
        let mut rest = block(&all);
        assert_eq!(rest.split_to(9, 6).count(), 2);
    }
}
