//! Messages from the moment they are handed in until their outcome is known.
//!
//! ```text
//! push --> open --> waiting --take--> sent --CONFIRM, RECEIPT--> told
//!            ^                          |---refused for now---> later --its time--> waiting
//!            '-- window: all of these   '---connection lost---> waiting again, or indeterminate
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use sluice_flow::Random;
use sluice_model::{Code, Level, Message, Published, Qos};
use sluice_protocol::binary::v2::{self, ReceiptRef};

use super::batch::{Batch, Entry, Head, Items, MESSAGE_WEIGHT, Open, Trail};
use super::fate::{Fate, Outcome, Receipt};
use super::frames::{Bounds, Framer};
use crate::error::{Error, PublishError, Refused};
use crate::options::{Options, Retry};

/// A message that is handed in: where its outcome will be.
pub(crate) type Place = (Arc<Fate>, u32);

/// What the publishes of a client do.
pub(crate) struct Publishes {
    window_messages: usize,
    window_bytes: usize,
    retry: Retry,
    resend: bool,
    draws: Random,
    open: Option<Open>,
    waiting: VecDeque<Batch>,
    sent: VecDeque<Sent>,
    later: BTreeMap<(Instant, u64), (Batch, Refused)>,
    laters: u64,
    /// What the window holds.
    messages: usize,
    bytes: usize,
    /// Batches that began to wait, and that were taken since.
    closed: u64,
    taken: u64,
    /// The window has become smaller.
    released: bool,
    /// The last PUBLISH at most once on this connection, unless something behind it was answered.
    unproven: Option<u64>,
    /// Connections that were lost with such a PUBLISH on them.
    pub(crate) losses: u64,
    /// PUBLISH frames that were sent again because a connection was lost.
    pub(crate) frames_again: u64,
}

/// A frame that is not answered.
struct Sent {
    id: u64,
    batch: Batch,
}

impl Publishes {
    pub(crate) fn new(options: &Options, seed: u64) -> Self {
        Self {
            window_messages: options.window_messages,
            window_bytes: options.window_bytes,
            retry: options.retry,
            resend: options.resend_unconfirmed,
            draws: Random::new(seed),
            open: None,
            waiting: VecDeque::new(),
            sent: VecDeque::new(),
            later: BTreeMap::new(),
            laters: 0,
            messages: 0,
            bytes: 0,
            closed: 0,
            taken: 0,
            released: false,
            unproven: None,
            losses: 0,
            frames_again: 0,
        }
    }

    /// So many messages of so many bytes fit the window. What is larger than the window fits it
    /// alone.
    pub(crate) const fn has_room(&self, messages: usize, bytes: usize) -> bool {
        self.messages == 0
            || (self.messages + messages <= self.window_messages
                && self.bytes + bytes <= self.window_bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Whether the window has become smaller since this was last asked.
    pub(crate) const fn take_released(&mut self) -> bool {
        mem::replace(&mut self.released, false)
    }

    /// Takes a message, to be sent with its neighbours.
    pub(crate) fn push(&mut self, head: &Arc<Head>, message: Message) -> Place {
        let plain = message.extras.is_none();
        if self.open.as_ref().is_some_and(|open| !open.takes(head, plain)) {
            self.close_open();
        }
        let open = self.open.get_or_insert_with(|| Open::new(Arc::clone(head), plain));
        self.messages += 1;
        self.bytes += message.payload.len() + MESSAGE_WEIGHT;
        open.push(message)
    }

    /// Takes messages that are sent in one frame of their own.
    pub(crate) fn push_whole(&mut self, head: Arc<Head>, messages: Vec<Message>) -> Arc<Fate> {
        self.close_open();
        let fate = Arc::<Fate>::default();
        let entries = (0..).zip(messages).map(|(index, message)| Entry {
            message,
            fate: Arc::clone(&fate),
            index,
        });
        let items = Items::Each(entries.collect());
        self.messages += items.count();
        self.bytes += items.weight();
        self.wait(Batch { trail: Trail::new(head), items });
        fate
    }

    /// Ends the open batch and says how many there were so far: when as many are taken, all that
    /// was handed in until now is on its way.
    pub(crate) fn mark(&mut self) -> u64 {
        self.close_open();
        self.closed
    }

    /// Whether all up to the mark was taken.
    pub(crate) const fn is_taken(&self, mark: u64) -> bool {
        self.taken >= mark
    }

    fn close_open(&mut self) {
        if let Some(open) = self.open.take() {
            self.wait(open.close());
        }
    }

    fn wait(&mut self, batch: Batch) {
        self.closed += 1;
        self.waiting.push_back(batch);
    }

    /// Writes what waits, until `out` has so many bytes. `next_id` is the last id that was used.
    pub(crate) fn take(
        &mut self,
        out: &mut BytesMut,
        bounds: &Bounds,
        next_id: &mut u64,
        bytes_max: usize,
        now: Instant,
    ) {
        self.come_back(now);
        self.close_open();
        while out.len() < bytes_max
            && let Some(Batch { trail, items }) = self.waiting.pop_front()
        {
            self.taken += u64::from(trail.is_new());
            let mut framer = Framer { out, bounds, next_id };
            for (id, items) in framer.write(&trail, items) {
                match id {
                    Err(refused) => self.end(items, &Err(ended(&trail, refused))),
                    Ok(id) if trail.head.qos == Qos::AtMostOnce => {
                        self.unproven = Some(id);
                        self.end(items, &Ok(Receipt::default()));
                    }
                    Ok(id) => {
                        self.frames_again += u64::from(trail.again);
                        let batch = Batch { trail: trail.clone(), items };
                        self.sent.push_back(Sent { id, batch });
                    }
                }
            }
        }
    }

    /// When something that was refused is to be tried again.
    pub(crate) fn next_time(&self) -> Option<Instant> {
        self.later.first_key_value().map(|((at, _), _)| *at)
    }

    fn come_back(&mut self, now: Instant) {
        while let Some(first) = self.later.first_entry()
            && first.key().0 <= now
        {
            // It was there before all that waits.
            self.waiting.push_front(first.remove().0);
        }
    }

    /// What was asked under `id` is answered, so that all that was sent before it has arrived.
    pub(crate) fn arrived(&mut self, id: u64) {
        self.unproven.take_if(|sent| *sent < id);
    }

    /// The messages of `id` and of all before it are safe.
    pub(crate) fn confirmed(&mut self, id: u64, level: Option<Level>) {
        self.arrived(id);
        while let Some(first) = self.sent.front()
            && first.id <= id
        {
            let Some(Sent { batch, .. }) = self.sent.pop_front() else { break };
            self.end(batch.items, &Ok(Receipt { level, ..Receipt::default() }));
        }
    }

    /// What became of the next messages of `id`.
    pub(crate) fn receipts(
        &mut self,
        id: u64,
        receipts: &ReceiptRef<'_>,
        now: Instant,
    ) -> Result<(), Error> {
        let at = self.find(id).ok_or_else(|| Error::protocol("a RECEIPT for no PUBLISH"))?;
        let Some(Sent { batch, .. }) = self.sent.get_mut(at) else { return Ok(()) };
        let (count, left) = (usize::from(receipts.count()), batch.items.count());
        if count > left || (!receipts.more && count < left) {
            return Err(Error::protocol("a RECEIPT for another number of messages"));
        }
        let trail = batch.trail.clone();
        let items = mem::replace(&mut batch.items, Items::Each(Vec::new()));
        let mut entries = items.into_entries();
        batch.items = Items::Each(entries.split_off(count));
        if count == left {
            self.sent.remove(at);
        }
        let mut again = Vec::new();
        let mut longest: Option<Refused> = None;
        for (entry, receipt) in entries.into_iter().zip(receipts.iter()) {
            let outcome = match receipt {
                v2::Receipt::Published(published) => Ok(published.into()),
                v2::Receipt::Refused(error) => {
                    let refused = Refused::from(error);
                    if !trail.head.whole && self.may_try_again(&trail, &entry, &refused, now) {
                        again.push(entry);
                        let after = |refused: &Refused| refused.retry_after;
                        if longest.as_ref().is_none_or(|kept| after(kept) < after(&refused)) {
                            longest = Some(refused);
                        }
                        continue;
                    }
                    Err(ended(&trail, refused))
                }
            };
            self.end(Items::Each(vec![entry]), &outcome);
        }
        if let Some(refused) = longest {
            self.try_later(trail, again, refused, now);
        }
        Ok(())
    }

    /// All messages of `id` were refused. False where it is no PUBLISH that is remembered.
    pub(crate) fn refused(&mut self, id: u64, refused: Refused, now: Instant) -> bool {
        let Some(sent) = self.find(id).and_then(|at| self.sent.remove(at)) else { return false };
        let Batch { trail, items } = sent.batch;
        let (again, done) = split(&trail.head, items.into_entries(), |entry| {
            self.may_try_again(&trail, entry, &refused, now)
        });
        self.end(Items::Each(done), &Err(ended(&trail, refused.clone())));
        if !again.is_empty() {
            self.try_later(trail, again, refused, now);
        }
        true
    }

    fn find(&self, id: u64) -> Option<usize> {
        self.sent.binary_search_by_key(&id, |sent| sent.id).ok()
    }

    fn may_try_again(&self, trail: &Trail, entry: &Entry, refused: &Refused, now: Instant) -> bool {
        let since = trail.refused_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let harmless = refused.is_for_now()
            || (refused.is(Code::Indeterminate) && (self.resend || entry.is_deduped()));
        harmless && trail.tries < self.retry.tries_max && since < self.retry.time_max
    }

    fn try_later(&mut self, trail: Trail, entries: Vec<Entry>, refused: Refused, now: Instant) {
        let tries = trail.tries.saturating_add(1);
        let pause = self.retry.backoff.delay(tries, self.draws.number());
        // A time that no clock reaches is as good as an hour.
        let wait = refused.retry_after.unwrap_or_default().min(Duration::from_secs(3_600));
        let again = trail.again || refused.is(Code::Indeterminate);
        let trail = Trail { tries, refused_at: trail.refused_at.or(Some(now)), again, ..trail };
        self.laters += 1;
        let batch = Batch { trail, items: Items::Each(entries) };
        self.later.insert((now + wait + pause, self.laters), (batch, refused));
    }

    /// The connection is gone: what was on it is sent again on the next one, or nobody knows.
    pub(crate) fn disconnected(&mut self, why: &Error) {
        self.losses += u64::from(self.unproven.take().is_some());
        let lost = Err(PublishError::Indeterminate(why.to_string()));
        let mut waiting = VecDeque::with_capacity(self.waiting.len());
        for Sent { batch: Batch { trail, items }, .. } in mem::take(&mut self.sent) {
            let trail = Trail { again: true, lost: trail.lost.saturating_add(1), ..trail };
            // It may be what ends every connection.
            if trail.lost > self.retry.tries_max {
                self.end(items, &lost);
                continue;
            }
            if self.resend {
                waiting.push_back(Batch { trail, items });
                continue;
            }
            if matches!(items, Items::Plain { .. }) {
                self.end(items, &lost);
                continue;
            }
            let (again, done) = split(&trail.head, items.into_entries(), Entry::is_deduped);
            self.end(Items::Each(done), &lost);
            if !again.is_empty() {
                waiting.push_back(Batch { trail, items: Items::Each(again) });
            }
        }
        waiting.append(&mut self.waiting);
        self.waiting = waiting;
    }

    /// There will be no further connection.
    pub(crate) fn closed(&mut self, why: &Error) {
        self.close_open();
        for Sent { batch, .. } in mem::take(&mut self.sent) {
            self.end(batch.items, &Err(PublishError::Indeterminate(why.to_string())));
        }
        for Batch { trail, items } in mem::take(&mut self.waiting) {
            let outcome = if trail.again {
                PublishError::Indeterminate(why.to_string())
            } else {
                PublishError::Rejected(not_sent(why))
            };
            self.end(items, &Err(outcome));
        }
        for (batch, refused) in mem::take(&mut self.later).into_values() {
            self.end(batch.items, &Err(ended(&batch.trail, refused)));
        }
    }

    /// Tells their outcome and lets others into the window.
    fn end(&mut self, items: Items, outcome: &Outcome) {
        self.messages -= items.count();
        self.bytes -= items.weight();
        self.released = true;
        items.tell(outcome);
    }
}

/// Those for which `keep` holds and the others; of a whole batch all or none.
fn split(
    head: &Head,
    entries: Vec<Entry>,
    keep: impl Fn(&Entry) -> bool,
) -> (Vec<Entry>, Vec<Entry>) {
    if !head.whole {
        return entries.into_iter().partition(keep);
    }
    if entries.iter().all(keep) { (entries, Vec::new()) } else { (Vec::new(), entries) }
}

/// What a refusal that is not tried again comes to. Where an earlier try may have been taken, a
/// later refusal does not say that nothing was.
fn ended(trail: &Trail, refused: Refused) -> PublishError {
    if trail.again || refused.is(Code::Indeterminate) {
        PublishError::Indeterminate(refused.to_string())
    } else {
        PublishError::Rejected(refused)
    }
}

/// What never left this client.
pub(crate) fn not_sent(why: &Error) -> Refused {
    match why {
        Error::Refused(refused) => refused.clone(),
        other => Refused {
            status: 503,
            code: "not_sent".to_owned(),
            text: format!("it was not sent: {other}"),
            retry_after: None,
        },
    }
}

impl From<Published> for Receipt {
    fn from(published: Published) -> Self {
        let Published { id, matched, level, duplicate } = published;
        Self { level, id: Some(id), duplicate, matched: Some(matched) }
    }
}
