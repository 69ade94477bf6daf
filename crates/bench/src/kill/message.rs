//! Messages that say who they are, so that whoever gets one can tell whether it is whole.

use crate::random::Random;

/// Bytes of publisher, number and a check of both.
const HEAD: usize = 20;

/// Which message: its publisher and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    pub(super) publisher: u32,
    pub(super) number: u64,
}

impl Id {
    /// Its bytes, which follow from what it is: mostly small ones, some of several KiB.
    pub(super) fn payload(self, out: &mut Vec<u8>) {
        let Self { publisher, number } = self;
        let mut random = Random::new(u64::from(publisher).rotate_left(32) ^ number);
        let most = if random.chance(2) { 16 << 10 } else { 500 };
        let len = HEAD + random.below(most) as usize;
        let check = random.number();
        out.clear();
        out.extend_from_slice(&publisher.to_be_bytes());
        out.extend_from_slice(&number.to_be_bytes());
        out.extend_from_slice(&check.to_be_bytes());
        out.resize(len, check as u8);
    }

    /// Which message `payload` is, if all its bytes are right.
    pub(super) fn read(payload: &[u8], scratch: &mut Vec<u8>) -> Option<Self> {
        let (publisher, rest) = payload.split_first_chunk()?;
        let (number, _) = rest.split_first_chunk()?;
        let id =
            Self { publisher: u32::from_be_bytes(*publisher), number: u64::from_be_bytes(*number) };
        id.payload(scratch);
        (scratch.as_slice() == payload).then_some(id)
    }

    /// The topic that it is published to, one of so many.
    pub(super) fn topic(self, topics: u64) -> u64 {
        self.number % topics
    }
}

/// The name of a topic; none stands for the pattern that takes them all.
pub(super) fn topic_name(topic: Option<u64>) -> String {
    topic.map_or("kill.>".to_owned(), |topic| format!("kill.{topic}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_byte_is_seen() {
        let (mut payload, mut scratch) = (Vec::new(), Vec::new());
        let id = Id { publisher: 3, number: 70_000 };
        id.payload(&mut payload);
        assert_eq!(Id::read(&payload, &mut scratch), Some(id));
        for at in 0..payload.len() {
            payload[at] ^= 0x10;
            assert_eq!(Id::read(&payload, &mut scratch), None, "{at}");
            payload[at] ^= 0x10;
        }
        payload.pop();
        assert_eq!(Id::read(&payload, &mut scratch), None);
    }
}
