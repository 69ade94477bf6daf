//! Unsigned LEB128: seven bits a byte, lowest first, the top bit set on all but the last.
//!
//! Only the shortest form of a number is one, so equal numbers have equal bytes.

use bytes::BufMut;
use thiserror::Error;

/// Most bytes of a number.
pub const BYTES_MAX: usize = 10;

/// Why bytes do not begin with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum VarError {
    /// They end before its last byte.
    #[error("ends early")]
    Short,
    /// It is not in its shortest form, or above 64 bits.
    #[error("is not a number in its shortest form")]
    Invalid,
}

/// The number that `bytes` begin with, and what follows it.
///
/// # Errors
/// They begin with none.
#[inline]
pub fn read(bytes: &[u8]) -> Result<(u64, &[u8]), VarError> {
    match bytes {
        [byte, rest @ ..] if *byte < 0x80 => Ok((u64::from(*byte), rest)),
        // What most messages' lengths take; a last byte of 0 would not be the shortest form.
        [low, high @ 1..0x80, rest @ ..] => {
            Ok((u64::from(low & 0x7f) | u64::from(*high) << 7, rest))
        }
        _ => read_long(bytes),
    }
}

fn read_long(bytes: &[u8]) -> Result<(u64, &[u8]), VarError> {
    let (mut value, mut rest) = (0, bytes);
    for at in 0..BYTES_MAX {
        let Some((&byte, after)) = rest.split_first() else { return Err(VarError::Short) };
        rest = after;
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            // A last byte of 0 adds nothing; the tenth has room for the 64th bit alone.
            let fits = (byte != 0 || at == 0) && (at + 1 < BYTES_MAX || byte == 1);
            return if fits { Ok((value, rest)) } else { Err(VarError::Invalid) };
        }
    }
    Err(VarError::Invalid)
}

/// Bytes that `value` takes, 1 to [`BYTES_MAX`].
#[inline]
pub const fn size(value: u64) -> usize {
    let bits = (u64::BITS - (value | 1).leading_zeros()) as usize;
    bits.div_ceil(7)
}

/// Appends `value`.
#[inline]
pub fn put(mut value: u64, out: &mut impl BufMut) {
    while value >= 0x80 {
        out.put_u8((value as u8) | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn numbers_lead_back() {
        let cases: [(u64, &[u8]); 7] = [
            (0,          &[0]),
            (1,          &[1]),
            (127,        &[0x7f]),
            (128,        &[0x80, 1]),
            (300,        &[0xac, 2]),
            (1 << 63,    &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1]),
            (u64::MAX,   &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        ];
        for (value, bytes) in cases {
            let mut out = Vec::new();
            put(value, &mut out);
            assert_eq!((&out[..], size(value)), (bytes, bytes.len()), "{value}");
            assert_eq!(read(&[bytes, b"x"].concat()), Ok((value, &b"x"[..])), "{value}");
            for cut in 0..bytes.len() {
                assert_eq!(read(&bytes[..cut]), Err(VarError::Short), "{value} cut at {cut}");
            }
        }
        for shift in 0..64 {
            for value in [(1u64 << shift) - 1, 1 << shift, (1 << shift) + 1] {
                let mut out = Vec::new();
                put(value, &mut out);
                assert_eq!((read(&out), out.len()), (Ok((value, &[][..])), size(value)));
            }
        }
    }

    #[test]
    fn other_forms_are_no_numbers() {
        let long = [&[0x80; 9][..], &[2]].concat();
        let longer = [&[0x80; 10][..], &[1]].concat();
        for bytes in [&[0x80, 0][..], &[0x81, 0], &[0xff, 0x80, 0], &long, &longer] {
            assert_eq!(read(bytes), Err(VarError::Invalid), "{bytes:x?}");
        }
    }
}
