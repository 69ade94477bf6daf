//! What a message says: its number, and in runs that check every byte, noise that follows from it.

use crate::random::Random;

/// Bytes of the number, with which every message begins, little-endian.
pub(crate) const NUMBER: usize = 8;

/// Writes message `number` over all of `place`.
pub(crate) fn fill(number: u64, place: &mut [u8]) {
    let (head, rest) = place.split_at_mut(NUMBER);
    head.copy_from_slice(&number.to_le_bytes());
    let mut noise = Random::new(number);
    for word in rest.chunks_mut(8) {
        word.copy_from_slice(&noise.number().to_le_bytes()[..word.len()]);
    }
}

/// The number of a message that is long enough to have one.
#[inline]
pub(crate) fn number(message: &[u8]) -> Option<u64> {
    message.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// Whether every byte is as [`fill`] wrote it.
pub(crate) fn is_whole(message: &[u8]) -> bool {
    let Some(number) = number(message) else { return false };
    let mut noise = Random::new(number);
    message[NUMBER..].chunks(8).all(|word| *word == noise.number().to_le_bytes()[..word.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_flipped_bit_is_seen() {
        for bytes in [8, 9, 16, 100] {
            let mut message = vec![0; bytes];
            fill(7, &mut message);
            assert_eq!((number(&message), is_whole(&message)), (Some(7), true));
            for at in NUMBER..bytes {
                message[at] ^= 4;
                assert!(!is_whole(&message), "{at} of {bytes}");
                message[at] ^= 4;
            }
        }
    }
}
