//! Watches a body in chunks for where it ends, strictly.
//!
//! ```text
//! size[;extension] CRLF -> bytes CRLF -> size ... -> 0 CRLF -> trailers, each CRLF -> CRLF
//! ```

/// Digits of a size: 16 are 64 bits.
const DIGITS_MAX: u8 = 15;
/// Bytes of extensions of one chunk, and of all trailers.
const EXTRA_MAX: u16 = 4_096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Size,
    Extension,
    SizeLineFeed,
    Bytes,
    BytesReturn,
    BytesLineFeed,
    /// At the beginning of a line after the last chunk.
    Trailer,
    InTrailer,
    TrailerLineFeed,
    LastLineFeed,
}

/// A body in chunks, as far as it has come.
#[derive(Debug)]
pub(super) struct Chunks {
    at: At,
    size: u64,
    digits: u8,
    extra: u16,
}

impl Default for Chunks {
    fn default() -> Self {
        Self { at: At::Size, size: 0, digits: 0, extra: 0 }
    }
}

impl Chunks {
    /// Looks at what came next: how much of it is the body's, and whether that was the end of it.
    pub(super) fn observe(&mut self, bytes: &[u8]) -> Result<(usize, bool), &'static str> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if self.at == At::Bytes {
                let here = (bytes.len() - at) as u64;
                let taken = self.size.min(here);
                self.size -= taken;
                at += usize::try_from(taken).unwrap_or(usize::MAX);
                if self.size == 0 {
                    self.at = At::BytesReturn;
                }
                continue;
            }
            at += 1;
            if self.step(*byte)? {
                return Ok((at, true));
            }
        }
        Ok((at, false))
    }

    fn step(&mut self, byte: u8) -> Result<bool, &'static str> {
        self.at = match (self.at, byte) {
            (At::Size, b'\r') if self.digits > 0 => At::SizeLineFeed,
            (At::Size, b';') if self.digits > 0 => At::Extension,
            (At::Size, _) => {
                let digit = char::from(byte).to_digit(16).ok_or("the size of a chunk is wrong")?;
                if self.digits == DIGITS_MAX {
                    return Err("a chunk is too large");
                }
                self.digits += 1;
                self.size = self.size << 4 | u64::from(digit);
                At::Size
            }
            (At::Extension, b'\r') => At::SizeLineFeed,
            (At::SizeLineFeed, b'\n') if self.size > 0 => At::Bytes,
            (At::SizeLineFeed, b'\n') => At::Trailer,
            (At::BytesReturn, b'\r') => At::BytesLineFeed,
            (At::BytesLineFeed, b'\n') => {
                (self.size, self.digits, self.extra) = (0, 0, 0);
                At::Size
            }
            (At::Trailer, b'\r') => At::LastLineFeed,
            (At::InTrailer, b'\r') => At::TrailerLineFeed,
            (At::TrailerLineFeed, b'\n') => At::Trailer,
            (At::LastLineFeed, b'\n') => return Ok(true),
            (At::Extension | At::Trailer | At::InTrailer, byte)
                if byte >= b' ' || byte == b'\t' =>
            {
                self.extra += 1;
                if self.extra > EXTRA_MAX {
                    return Err("the chunks have too much beside them");
                }
                if self.at == At::Extension { At::Extension } else { At::InTrailer }
            }
            _ => return Err("the chunks are malformed"),
        };
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Result<(usize, bool), &'static str> {
        let mut chunks = Chunks::default();
        let whole = chunks.observe(bytes);
        // Byte by byte must come to the same.
        let mut single = Chunks::default();
        let mut seen = 0;
        for byte in bytes {
            match single.observe(&[*byte]) {
                Ok((taken, done)) => {
                    seen += taken;
                    if done {
                        assert_eq!(whole, Ok((seen, true)));
                        return whole;
                    }
                }
                Err(reason) => {
                    assert_eq!(whole, Err(reason));
                    return whole;
                }
            }
        }
        assert_eq!(whole, Ok((seen, false)));
        whole
    }

    #[test]
    fn a_body_ends_where_it_ends() {
        let bodies: [&[u8]; 4] = [
            b"0\r\n\r\n",
            b"5\r\nhello\r\n0\r\n\r\n",
            b"a;x=y\r\n0123456789\r\n00\r\nTrailer: x\r\n\r\n",
            b"1\r\n\n\r\n0\r\n\r\n",
        ];
        for body in bodies {
            assert_eq!(all(body), Ok((body.len(), true)));
            let followed = [body, b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(all(&followed), Ok((body.len(), true)));
            for cut in 0..body.len() {
                assert_eq!(all(&body[..cut]), Ok((cut, false)));
            }
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let bodies: [&[u8]; 9] = [
            b"5\nhello\r\n0\r\n\r\n",
            b"5\r\nhello0\r\n\r\n",
            b"0x5\r\nhello\r\n0\r\n\r\n",
            b" 5\r\nhello\r\n0\r\n\r\n",
            b"-1\r\n",
            b"\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"1000000000000000\r\n",
            b"0\r\n\n",
        ];
        for body in bodies {
            assert!(all(body).is_err(), "{:?}", String::from_utf8_lossy(body));
        }
    }
}
