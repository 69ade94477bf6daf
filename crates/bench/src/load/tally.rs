//! What arrived: how much, in which order, and whether it was what was sent.

use super::content;
use super::template::Message;

/// Counts messages that are numbered from 1 on.
#[derive(Clone, Debug)]
pub struct Tally {
    message: Message,
    count: u64,
    sum: u64,
    last: u64,
    /// Those that came after a later one.
    disordered: u64,
    /// Those of a wrong length or with wrong bytes.
    wrong: u64,
}

impl Tally {
    /// Of messages like this one.
    pub fn of(message: Message) -> Self {
        Self { message, count: 0, sum: 0, last: 0, disordered: 0, wrong: 0 }
    }

    /// One arrived. Gives its number.
    #[inline]
    pub fn message(&mut self, bytes: &[u8]) -> u64 {
        let number = content::number(bytes).unwrap_or(0);
        self.count += 1;
        self.sum = self.sum.wrapping_add(number);
        self.disordered += u64::from(number <= self.last);
        self.last = self.last.max(number);
        let is_wrong = bytes.len() != self.message.bytes
            || (self.message.content && !content::is_whole(bytes));
        self.wrong += u64::from(is_wrong);
        number
    }

    /// How many arrived.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// What is wrong with what arrived where each of 1 to `sent` was due once and in order.
    pub fn fault(&self, sent: u64) -> Option<String> {
        let sum = sent.wrapping_mul(sent + 1) / 2;
        if (self.count, self.sum, self.last) != (sent, sum, sent) {
            return Some(format!("{sent} were sent, {} arrived, up to {}", self.count, self.last));
        }
        self.shape_fault()
    }

    /// What is wrong with each by itself.
    pub fn wrong_fault(&self) -> Option<String> {
        (self.wrong > 0).then(|| format!("{} arrived with wrong bytes", self.wrong))
    }

    /// What is wrong with each by itself, or with their order.
    pub fn shape_fault(&self) -> Option<String> {
        let Self { disordered, wrong, .. } = self;
        (disordered + wrong > 0)
            .then(|| format!("{disordered} arrived after a later one, {wrong} with wrong bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Message = Message { bytes: 8, content: false };

    fn fault(numbers: &[u64]) -> Option<String> {
        let mut tally = Tally::of(PLAIN);
        for number in numbers {
            tally.message(&number.to_le_bytes());
        }
        tally.fault(3)
    }

    #[test]
    fn lost_doubled_and_disordered_are_told() {
        assert_eq!(fault(&[1, 2, 3]), None);
        for wrong in [&[1, 2][..], &[1, 3], &[1, 2, 3, 3], &[1, 1, 3], &[2, 1, 3], &[1, 2, 3, 4]] {
            assert!(fault(wrong).is_some(), "{wrong:?}");
        }
    }

    #[test]
    fn wrong_bytes_are_told() {
        let mut tally = Tally::of(Message { bytes: 16, content: true });
        let mut message = [0; 16];
        content::fill(1, &mut message);
        tally.message(&message);
        assert_eq!(tally.fault(1), None);
        content::fill(2, &mut message);
        message[9] ^= 1;
        tally.message(&message);
        assert!(tally.fault(2).is_some());
    }
}
