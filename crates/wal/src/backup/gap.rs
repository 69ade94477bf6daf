//! A damaged part of a segment under the checkpoint, which a backup can do without if no message
//! needs a body in it.

use std::fmt;

use crate::format::{Sequence, segment_name};

/// A part of a segment that is no frame, with what lies in it according to the frames around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The segment.
    pub segment: u32,
    /// Where it begins, in bytes from the file's start.
    pub offset: u32,
    /// Where the next whole frame begins, or the file ends.
    pub end: u32,
    /// The first record in it; none where the segment begins with it.
    pub first: Option<Sequence>,
    /// The first record behind it.
    pub next: Sequence,
}

impl Gap {
    /// How many records are in it, as far as is known.
    pub fn records(&self) -> u64 {
        self.first.map_or(0, |first| self.next.0.saturating_sub(first.0))
    }

    /// Whether it is known to hold no record: a mark that never got to the disk.
    pub(crate) fn is_empty(&self) -> bool {
        self.first == Some(self.next)
    }

    /// As a line of a manifest, behind its name.
    pub(crate) fn encode(&self) -> String {
        let Self { segment, offset, end, first, next } = self;
        let first = first.map_or("-".to_owned(), |first| first.to_string());
        format!("{segment} {offset} {end} {first} {next}")
    }

    pub(crate) fn decode(line: &str) -> Option<Self> {
        let mut parts = line.split(' ');
        let mut part = || parts.next();
        let gap = Self {
            segment: part()?.parse().ok()?,
            offset: part()?.parse().ok()?,
            end: part()?.parse().ok()?,
            first: match part()? {
                "-" => None,
                first => Some(Sequence(first.parse().ok()?)),
            },
            next: Sequence(part()?.parse().ok()?),
        };
        part().is_none().then_some(gap)
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segment, offset, end, first, next } = self;
        write!(f, "{}, bytes {offset} to {end}, ", segment_name(*segment))?;
        let last = next.0.saturating_sub(1);
        match first {
            Some(first) if first.0 == last => write!(f, "record {first}"),
            Some(first) => write!(f, "records {first} to {last}"),
            None => write!(f, "records up to {last}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_come_back_as_they_are_written() {
        let gap = Gap { segment: 3, offset: 512, end: 900, first: None, next: Sequence(7) };
        for gap in [gap, Gap { first: Some(Sequence(6)), ..gap }] {
            assert_eq!(Gap::decode(&gap.encode()), Some(gap));
        }
        for line in ["", "3 512 900 -", "3 512 900 - 7 8", "3 512 900 x 7"] {
            assert_eq!(Gap::decode(line), None, "{line}");
        }
        assert_eq!(gap.to_string(), "00000003.seg, bytes 512 to 900, records up to 6");
    }
}
