//! What becomes of messages that were published together, and who waits to hear it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use sluice_model::{Level, MessageId};

use crate::error::PublishError;

/// What the broker says of a message that it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The weakest level among the queues that took it; none where none did.
    pub level: Option<Level>,
    /// Its identity, where receipts were asked for; the original's for a duplicate.
    pub id: Option<MessageId>,
    /// It had been published before, under the same dedupe id.
    pub duplicate: bool,
    /// How many queues and subscriptions it reached, where receipts were asked for.
    pub matched: Option<u32>,
}

/// How publishing a message ends.
pub(crate) type Outcome = Result<Receipt, PublishError>;

/// The outcomes of messages that share a frame, at first. One cell for many messages: most have
/// the same outcome at the same time.
#[derive(Default)]
pub(crate) struct Fate(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    all: Option<Outcome>,
    each: Vec<Option<Outcome>>,
    waiting: Vec<Option<(u32, Waker)>>,
}

impl Inner {
    fn of(&self, index: u32) -> Option<&Outcome> {
        let own = self.each.get(index as usize).and_then(Option::as_ref);
        own.or(self.all.as_ref())
    }

    fn wake(&mut self) {
        if self.all.is_some() {
            for (_, waker) in self.waiting.drain(..).flatten() {
                waker.wake();
            }
            return;
        }
        let Self { each, waiting, .. } = self;
        for place in waiting {
            let told = |index: u32| each.get(index as usize).is_some_and(Option::is_some);
            if let Some((_, waker)) = place.take_if(|(index, _)| told(*index)) {
                waker.wake();
            }
        }
    }
}

impl Fate {
    /// Tells all whose outcome is not known yet.
    pub(crate) fn tell_all(&self, outcome: Outcome) {
        let mut inner = self.lock();
        inner.all.get_or_insert(outcome);
        inner.wake();
    }

    /// Tells some, each by its index.
    pub(crate) fn tell(&self, outcomes: impl IntoIterator<Item = (u32, Outcome)>) {
        let mut inner = self.lock();
        for (index, outcome) in outcomes {
            let index = index as usize;
            if inner.each.len() <= index {
                inner.each.resize(index + 1, None);
            }
            if let Some(place) = inner.each.get_mut(index) {
                place.get_or_insert(outcome);
            }
        }
        inner.wake();
    }

    /// The outcome of one message; `place` is where its waker is kept, from poll to poll.
    pub(crate) fn poll(
        &self,
        index: u32,
        place: &mut Option<usize>,
        context: &Context<'_>,
    ) -> Poll<Outcome> {
        let mut inner = self.lock();
        if let Some(outcome) = inner.of(index) {
            return Poll::Ready(outcome.clone());
        }
        let waker = Some((index, context.waker().clone()));
        match place.and_then(|place| inner.waiting.get_mut(place)) {
            Some(kept) => *kept = waker,
            None => {
                *place = Some(inner.waiting.len());
                inner.waiting.push(waker);
            }
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that is done under it panics half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_outcome_of_a_message_stays() {
        let fate = Fate::default();
        let context = Context::from_waker(Waker::noop());
        let mut place = None;
        assert_eq!(fate.poll(1, &mut place, &context), Poll::Pending);
        assert_eq!(fate.poll(1, &mut place, &context), Poll::Pending);
        assert_eq!(fate.lock().waiting.len(), 1);
        let lost = PublishError::Indeterminate("lost".to_owned());
        fate.tell([(1, Err(lost.clone()))]);
        fate.tell_all(Ok(Receipt::default()));
        assert_eq!(fate.poll(1, &mut place, &context), Poll::Ready(Err(lost)));
        for index in [0, 2] {
            let outcome = fate.poll(index, &mut None, &context);
            assert_eq!(outcome, Poll::Ready(Ok(Receipt::default())));
        }
    }
}
