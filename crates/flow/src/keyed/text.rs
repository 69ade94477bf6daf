//! The text of a key: 17 bytes and fewer lie beside what is counted, longer ones on their own.

use super::slab::Slab;

/// Most bytes of a text that takes no memory of its own.
pub(super) const INLINE: usize = 17;
const LONG: u8 = u8::MAX;

/// A text of a table, with its long texts in a slab of the table.
#[derive(Debug, Default)]
pub(super) struct Text {
    /// Bytes in use, or [`LONG`].
    len: u8,
    /// The text, or the number of a long one.
    bytes: [u8; INLINE],
}

impl Text {
    pub(super) fn new(text: &str, long: &mut Slab<Box<str>>) -> Self {
        let mut bytes = [0; INLINE];
        if text.len() <= INLINE {
            bytes[..text.len()].copy_from_slice(text.as_bytes());
            return Self { len: text.len() as u8, bytes };
        }
        bytes[..4].copy_from_slice(&long.insert(text.into()).to_le_bytes());
        Self { len: LONG, bytes }
    }

    fn number(&self) -> u32 {
        let [a, b, c, d, ..] = self.bytes;
        u32::from_le_bytes([a, b, c, d])
    }

    pub(super) fn as_str<'a>(&'a self, long: &'a Slab<Box<str>>) -> &'a str {
        match self.len {
            LONG => &long[self.number()],
            len => {
                std::str::from_utf8(&self.bytes[..usize::from(len)]).expect("made of a whole text")
            }
        }
    }

    pub(super) fn is(&self, text: &str, long: &Slab<Box<str>>) -> bool {
        match self.len {
            LONG => *long[self.number()] == *text,
            len => self.bytes[..usize::from(len)] == *text.as_bytes(),
        }
    }

    /// Gives up the memory of a long text.
    pub(super) fn forget(self, long: &mut Slab<Box<str>>) {
        if self.len == LONG {
            long.remove(self.number());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_any_length_are_what_they_were_made_of() {
        let mut long = Slab::default();
        for length in [0, 1, INLINE - 1, INLINE, INLINE + 1, 255, 300] {
            let plain = "k".repeat(length);
            let text = Text::new(&plain, &mut long);
            assert_eq!(text.as_str(&long), plain);
            assert!(text.is(&plain, &long) && !text.is(&"k".repeat(length + 1), &long));
            assert_eq!(long.len(), usize::from(length > INLINE));
            text.forget(&mut long);
            assert_eq!(long.len(), 0);
        }
        assert_eq!(size_of::<Text>(), 18);
    }
}
