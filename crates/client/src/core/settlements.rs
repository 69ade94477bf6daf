//! Deliveries that were settled, gathered until the connection takes bytes, and then sent as
//! ranges of their tags.

use std::collections::HashMap;
use std::mem;
use std::time::Duration;

use bytes::BytesMut;
use sluice_model::{Outcome, Throttled};
use sluice_protocol::binary::v2::{
    LeaseSet, RefusedLease, SettleHead, SettledRef, Settlement, TAGS_MAX, TagRange,
};
use tokio::sync::oneshot;

use crate::error::{Error, Refused};

/// Most ranges of a frame.
const RANGES_MAX: usize = 4_096;
/// Longest note that is sent; the broker keeps 256 bytes.
const NOTE_MAX: usize = 255;

/// How a lease ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct How {
    outcome: Settlement,
    delay: Option<Duration>,
    note: Box<str>,
}

impl How {
    pub(crate) fn ack() -> Self {
        Self { outcome: Settlement::Ack, delay: None, note: "".into() }
    }

    pub(crate) fn head(&self, report: bool) -> SettleHead<'_> {
        let note = self.note.get(..self.note.floor_char_boundary(NOTE_MAX)).unwrap_or_default();
        SettleHead { report, outcome: self.outcome, delay: self.delay, note }
    }
}

impl From<Outcome> for How {
    fn from(outcome: Outcome) -> Self {
        let (outcome, delay, note) = match outcome {
            Outcome::Failed { delay, note } => (Settlement::Failed, delay, note),
            Outcome::Released { delay } => (Settlement::Released, delay, None),
            Outcome::Withdrawn => (Settlement::Released, None, None),
            Outcome::Throttled(Throttled { retry_after, key }) => {
                (Settlement::Throttled, retry_after, key)
            }
            Outcome::Rejected { note } => (Settlement::Rejected, None, note),
        };
        Self { outcome, delay, note: note.unwrap_or_default() }
    }
}

/// Who waits to hear that a settlement is safe.
type Told = oneshot::Sender<Result<(), Error>>;

/// What is settled by the tags of this connection.
#[derive(Default)]
pub(crate) struct Settlements {
    acks: Vec<u64>,
    quiet: Vec<(How, Vec<u64>)>,
    told: Vec<(How, Vec<(u64, Told)>)>,
    flying: HashMap<u64, Flying>,
    /// Settlements that the broker refused and nobody waited for.
    pub(crate) refused: u64,
}

struct Flying {
    told: Vec<(u64, Told)>,
    refused: HashMap<u64, Refused>,
}

impl Settlements {
    /// Settles without an answer.
    pub(crate) fn add(&mut self, tag: u64, how: How) {
        if how.outcome == Settlement::Ack {
            return self.acks.push(tag);
        }
        match self.quiet.last_mut() {
            Some((last, tags)) if *last == how => tags.push(tag),
            _ => self.quiet.push((how, vec![tag])),
        }
    }

    /// Settles, and tells when it is safe.
    pub(crate) fn add_told(&mut self, tag: u64, how: How, told: Told) {
        match self.told.last_mut() {
            Some((last, tags)) if *last == how => tags.push((tag, told)),
            _ => self.told.push((how, vec![(tag, told)])),
        }
    }

    /// Nothing waits to be sent or told.
    pub(crate) fn is_empty(&self) -> bool {
        self.acks.is_empty()
            && self.quiet.is_empty()
            && self.told.is_empty()
            && self.flying.is_empty()
    }

    /// Writes all that was gathered.
    pub(crate) fn take(&mut self, out: &mut BytesMut, next_id: &mut u64) {
        let mut acks = mem::take(&mut self.acks);
        put(out, next_id, &How::ack(), false, &mut acks, |_, _| {});
        acks.clear();
        self.acks = acks;
        for (how, mut tags) in mem::take(&mut self.quiet) {
            put(out, next_id, &how, false, &mut tags, |_, _| {});
        }
        for (how, told) in mem::take(&mut self.told) {
            let mut tags: Vec<u64> = told.iter().map(|(tag, _)| *tag).collect();
            let mut waiting: HashMap<u64, Told> = told.into_iter().collect();
            put(out, next_id, &how, true, &mut tags, |id, tags| {
                let take = |tag: &u64| waiting.remove(tag).map(|told| (*tag, told));
                let told = tags.iter().filter_map(take).collect();
                self.flying.insert(id, Flying { told, refused: HashMap::new() });
            });
        }
    }

    /// SETTLED for `id`. False where it answers something else.
    pub(crate) fn settled(&mut self, id: u64, settled: &SettledRef<'_>) -> bool {
        let Some(mut flying) = self.flying.remove(&id) else { return false };
        for lease in settled.refused() {
            if let RefusedLease::Tag { tag, status, code } = lease {
                flying.refused.insert(tag, refused_lease(status, code));
            }
        }
        if settled.more {
            self.flying.insert(id, flying);
            return true;
        }
        for (tag, told) in flying.told {
            let outcome = flying.refused.remove(&tag).map_or(Ok(()), |one| Err(one.into()));
            // Whoever does not wait any more does not want to know.
            let _ = told.send(outcome);
        }
        true
    }

    /// Nothing of `id` was settled. False where it is something else's.
    pub(crate) fn refused(&mut self, id: u64, refused: &Refused) -> bool {
        let Some(flying) = self.flying.remove(&id) else { return false };
        for (_, told) in flying.told {
            let _ = told.send(Err(refused.clone().into()));
        }
        true
    }

    /// The connection is gone, and its tags with it. What the broker may have been asked is in
    /// doubt; of what was not sent it is known that the messages come again.
    pub(crate) fn disconnected(&mut self) {
        self.acks.clear();
        self.quiet.clear();
        for (_, told) in mem::take(&mut self.told).into_iter().flat_map(|(_, told)| told) {
            let _ = told.send(Err(Error::LeaseLost));
        }
        for (_, told) in mem::take(&mut self.flying).into_values().flat_map(|flying| flying.told) {
            let _ = told.send(Err(Error::Lost));
        }
    }
}

/// A refused lease as an error.
pub(crate) fn refused_lease(status: u16, code: &str) -> Refused {
    let text = "the lease was not settled".to_owned();
    Refused { status, code: code.to_owned(), text, retry_after: None }
}

/// Writes tags as few ranges, in as many frames as needed; `wrote` hears which tags are in which.
fn put(
    out: &mut BytesMut,
    next_id: &mut u64,
    how: &How,
    report: bool,
    tags: &mut Vec<u64>,
    mut wrote: impl FnMut(u64, &[u64]),
) {
    tags.sort_unstable();
    tags.dedup();
    let mut rest: &[u64] = tags;
    while !rest.is_empty() {
        let (ranges, count) = front(rest);
        let (now, after) = rest.split_at(count);
        *next_id += 1;
        // The note is cut, and there are no more ranges than can be counted.
        let written = how.head(report).put(out, *next_id, LeaseSet::Tags(&ranges));
        debug_assert_eq!(written, Ok(()));
        wrote(*next_id, now);
        rest = after;
    }
}

/// The ranges of as many tags off the front as fit a frame, and how many tags these are.
fn front(tags: &[u64]) -> (Vec<TagRange>, usize) {
    let mut ranges: Vec<TagRange> = Vec::new();
    let tags_max = usize::try_from(TAGS_MAX).unwrap_or(usize::MAX);
    for (count, &tag) in tags.iter().enumerate().take(tags_max) {
        if let Some(last) = ranges.last_mut()
            && last.last.checked_add(1) == Some(tag)
        {
            last.last = tag;
        } else if ranges.len() == RANGES_MAX {
            return (ranges, count);
        } else {
            ranges.push(TagRange::one(tag));
        }
    }
    (ranges, tags.len().min(tags_max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_become_the_fewest_ranges_in_frames_of_bounded_size() {
        let range = |first, last| TagRange { first, last };
        assert_eq!(front(&[1, 2, 3, 7, 9, 10]), (vec![range(1, 3), range(7, 7), range(9, 10)], 6));
        let all: Vec<u64> = (0..100_000).collect();
        assert_eq!(front(&all), (vec![range(0, 65_534)], 65_535));
        let scattered: Vec<u64> = (0..10_000).map(|tag| tag * 2).collect();
        assert_eq!(front(&scattered).1, RANGES_MAX);
        assert_eq!(front(&[u64::MAX - 1, u64::MAX]).0, [range(u64::MAX - 1, u64::MAX)]);
    }
}
