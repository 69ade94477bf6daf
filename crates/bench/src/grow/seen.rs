//! Which messages came back: each that is due, once.

/// Marks of messages that are due.
#[derive(Debug)]
pub(super) struct Seen {
    first: u64,
    marks: Vec<bool>,
    doubled: u64,
    /// Those that are not due: from before, from later, or not ours.
    strange: u64,
}

impl Seen {
    /// So many are due, from `first` on.
    pub(super) fn due(first: u64, count: u64) -> Self {
        Self { first, marks: vec![false; count as usize], doubled: 0, strange: 0 }
    }

    /// One came.
    pub(super) fn message(&mut self, number: u64) {
        let place = number.checked_sub(self.first);
        match place.and_then(|place| self.marks.get_mut(place as usize)) {
            Some(mark) if *mark => self.doubled += 1,
            Some(mark) => *mark = true,
            None => self.strange += 1,
        }
    }

    /// What is wrong.
    pub(super) fn fault(&self) -> Option<String> {
        let lost = self.marks.iter().filter(|mark| !**mark).count();
        let Self { doubled, strange, .. } = self;
        let due = self.marks.len();
        (lost as u64 + doubled + strange > 0).then(|| {
            format!("of {due} messages {lost} were lost, {doubled} doubled; {strange} were not due")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_doubled_and_strange_are_told_apart() {
        let fault = |numbers: &[u64]| {
            let mut seen = Seen::due(5, 3);
            numbers.iter().for_each(|number| seen.message(*number));
            seen.fault()
        };
        assert_eq!(fault(&[7, 5, 6]), None);
        let text = "of 3 messages 1 were lost, 1 doubled; 2 were not due";
        assert_eq!(fault(&[5, 5, 6, 4, 8]).as_deref(), Some(text));
    }
}
