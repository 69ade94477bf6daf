//! The answers of a connection, in the order of its lines.
//!
//! ```text
//! line --push--> waiting --fill--> ready --every line before it answered--> output
//! ```

use std::collections::VecDeque;

use bytes::Bytes;
use sluice_model::LeaseId;
use sluice_protocol::line::{Form, Want};

use crate::doors::Output;

/// What an answer counts for, beside its bytes, towards what may wait.
const SLOT_WEIGHT: usize = 128;

/// What the reply to a line's request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// The answer, of which that is wanted.
    Tell(Want),
    /// The same of one that ends a lease, or makes it longer.
    Settle(Want, LeaseId),
    /// A subscription or a watch that begins.
    Open(u64),
    /// One that ends.
    Close(u64),
    /// Nobody asked the broker: the session answers.
    Own,
}

/// A line that waits for its answer.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) form: Form,
    pub(super) job: Job,
    /// The request waits in the broker until there is something.
    pub(super) parked: bool,
    /// The weight of replies that came for it without being its answer.
    pub(super) weight: usize,
    /// What it counts for while it is here.
    held: usize,
}

#[derive(Debug)]
enum Slot {
    Waiting(Waiting),
    Ready { line: Bytes, weight: usize, begins: Option<u64>, held: usize },
}

/// The answers that have not left yet, oldest first.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// The tag of the front.
    first: u64,
    slots: VecDeque<Slot>,
    held: usize,
}

impl Slots {
    /// A line takes its place; what is returned is the tag of its request.
    pub(super) fn push(&mut self, form: Form, job: Job, parked: bool) -> u64 {
        let tag = self.first + self.slots.len() as u64;
        let held = SLOT_WEIGHT + form.overhead();
        self.held += held;
        self.slots.push_back(Slot::Waiting(Waiting { form, job, parked, weight: 0, held }));
        tag
    }

    fn at(&self, tag: u64) -> Option<usize> {
        usize::try_from(tag.checked_sub(self.first)?).ok()
    }

    /// The line with this tag, if it still waits.
    pub(super) fn waiting(&mut self, tag: u64) -> Option<&mut Waiting> {
        let at = self.at(tag)?;
        match self.slots.get_mut(at)? {
            Slot::Waiting(waiting) => Some(waiting),
            Slot::Ready { .. } => None,
        }
    }

    /// Answers a line; `begins` is what is pushed from once the answer has left.
    pub(super) fn fill(&mut self, tag: u64, line: Bytes, weight: usize, begins: Option<u64>) {
        let Some(at) = self.at(tag) else { return };
        let Some(slot) = self.slots.get_mut(at) else { return };
        if let Slot::Waiting(Waiting { held, .. }) = slot {
            self.held += line.len();
            let held = *held + line.len();
            *slot = Slot::Ready { line, weight, begins, held };
        }
    }

    /// Moves the answers whose turn it is to the output, and says what is pushed from now on.
    pub(super) fn flush(&mut self, output: &mut Output, mut begins: impl FnMut(u64)) {
        while let Some(Slot::Ready { .. }) = self.slots.front() {
            let Some(Slot::Ready { line, weight, begins: feed, held }) = self.slots.pop_front()
            else {
                return;
            };
            self.first += 1;
            self.held -= held;
            output.push(line);
            output.write(|out| out.extend_from_slice(b"\n"));
            output.mark(weight);
            if let Some(feed) = feed {
                begins(feed);
            }
        }
    }

    /// What waits here counts for so many bytes.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The tags of the requests that wait in the broker.
    pub(super) fn parked(&self) -> impl Iterator<Item = u64> + '_ {
        self.slots.iter().zip(self.first..).filter_map(|(slot, tag)| match slot {
            Slot::Waiting(waiting) => waiting.parked.then_some(tag),
            Slot::Ready { .. } => None,
        })
    }

    /// Gives up the memory that an idle connection needs not hold.
    pub(super) fn shrink(&mut self) {
        self.slots.shrink_to(16);
    }
}
