//! Limits: what clients know of messages, leases, limits and pauses, and whether it can be.
//!
//! The oracle sees what clients see: what they asked and when, what was confirmed, leases and their
//! deadlines. A deadline tells when its lease was granted, to the millisecond, however late it came.
//! With that all is played once more in its order ([`State`]) by rules that are those of the pages
//! about limits, written down here a second time, and
//!
//! - no grant is one that a limit, a pause or the order of its queue forbids. What is counted is what
//!   surely was: leases that nobody saw and those that may have ended are left out;
//! - no message waits that nothing is in the way of, while somebody waits for it. What is counted is
//!   all that may have been;
//! - reasons and times that the broker tells are those there are.
//!
//! Nothing here is shared with the crates that keep the limits.

mod event;
mod message;
mod order;
mod replay;
mod rule;
mod tally;
mod waits;

pub(crate) use event::{NEVER, What};
pub(crate) use message::{Lease, Message, Sent};
pub(crate) use replay::State;
pub(crate) use rule::{At, QUEUES, Slot, slot};

use event::Event;

/// The longest that a failed message waits.
const BACKOFF_MAX: At = 200;
/// A message without keys waits so long at least when it is given back as throttled.
pub(crate) const THROTTLED_MIN: At = 1_000;

/// All that is known.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(crate) messages: Vec<Message>,
    pub(crate) leases: Vec<Lease>,
    events: Vec<Event>,
    /// Where messages of a group follow each other, and where groups take turns.
    pub(crate) is_fifo: [bool; QUEUES.len()],
    pub(crate) is_fair: [bool; QUEUES.len()],
    /// There is room for a few keys only, and messages wait for it.
    pub(crate) is_tight: bool,
    /// Counts what is known, so that it can be said what was seen before what.
    clock: u64,
    /// When there may have been leases that nobody saw.
    blind: Vec<At>,
    /// When the broker had done all that was due.
    quiet: Vec<At>,
    /// The leases before have been looked at for what a crash did to them.
    old: usize,
}

/// Grants that were compared: with a higher priority, with another group's, with one before.
pub(crate) type Compared = (u64, u64, u64);

impl Calls {
    pub(crate) fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    pub(crate) fn happened(&mut self, at: At, what: What) {
        self.events.push(Event { at, generation: None, what });
    }

    pub(crate) fn sent(&mut self, sent: Sent, asked: At) -> usize {
        let failures = (0, 0);
        self.messages.push(Message {
            sent,
            asked,
            confirmed: None,
            id: None,
            acking: None,
            acks: 0,
            is_over: false,
            ready_by: None,
            failures,
            last_lease: None,
        });
        self.messages.len() - 1
    }

    /// The publish of a message is confirmed.
    pub(crate) fn confirmed(&mut self, message: usize, id: sluice_model::MessageId, now: At) {
        let known = &mut self.messages[message];
        known.confirmed.get_or_insert(now);
        known.id = Some(id);
        // Somebody may have it already, who has not been told yet.
        if known.last_lease.is_none() {
            known.ready_by.get_or_insert(now + known.sent.delay);
            if known.sent.delay == 0 {
                self.happened(now, What::Ready { message, since: None });
            }
        }
    }

    /// What is sure by an answer that waited for the disk, if it was asked after leases were seen:
    /// they are on the disk as well.
    pub(crate) fn synced(&mut self, asked: u64) {
        for lease in self.leases[self.old..].iter_mut().filter(|lease| lease.seen < asked) {
            lease.is_durable = true;
        }
    }

    /// A message was handed to a client.
    pub(crate) fn granted(&mut self, lease: Lease) -> Result<usize, String> {
        let Lease { from: at, generation, failures, .. } = lease;
        let number = self.leases.len();
        let message = &mut self.messages[lease.message];
        if message.is_over && message.acking.is_some_and(|acking| acking < at) {
            return Err(format!("{message:?} came at {at} after its ack was confirmed"));
        }
        let before = message.last_lease.map(|before| &self.leases[before]);
        // A grant may be told after a later one.
        if before.is_none_or(|before| before.generation < generation) {
            let (least, most) = message.failures;
            // Those in between are still on their way to other clients, and may have failed by their
            // time since: a grant may be told after a later one.
            let of_it = self.leases.iter().filter(|it| it.message == lease.message);
            let told = of_it.filter(|it| it.generation < generation).count() as u32;
            let untold = lease.attempt.saturating_sub(1 + told);
            let most = match untold {
                0 => most,
                _ => most.max(least + u32::from(before.is_some()) + untold),
            };
            if !(least..=most).contains(&failures) {
                return Err(format!("{message:?} came with {failures} failures"));
            }
            if let Some(before) = before.filter(|before| before.is_held(at)) {
                return Err(format!("{message:?} came at {at} while it was held: {before:?}"));
            }
            message.failures = (failures, failures + 1);
            message.last_lease = Some(number);
        }
        // It is there for good, whoever was told.
        message.confirmed.get_or_insert(at);
        self.events.push(Event { at, generation: Some(generation), what: What::Granted(number) });
        self.leases.push(lease);
        Ok(number)
    }

    /// The broker starts anew after it ended at `ended`: with all that it had written down, or only
    /// with what was on the disk. `queue_lease` is the time that leases get at least, `grace` what
    /// those of connections get.
    pub(crate) fn restarted(
        &mut self,
        (ended, started): (At, At),
        lost_writes: bool,
        queue_lease: At,
        grace: At,
    ) {
        for lease in self.leases.iter_mut().filter(|lease| !lease.is_ended) {
            let was_held = ended < lease.sure_until;
            let again = started + lease.length.min(queue_lease);
            lease.over_at = lease.over_at.max(started + queue_lease.max(lease.length)).max(again);
            if lost_writes && !lease.is_durable {
                lease.sure_until = lease.sure_until.min(ended);
            } else if was_held && lease.bound.is_some() {
                lease.sure_until = match lease.is_lost {
                    true => lease.sure_until,
                    false => started + grace,
                };
            } else if was_held {
                lease.sure_until = lease.sure_until.max(again);
            }
            lease.is_lost = true;
        }
        self.old = self.leases.len();
        if lost_writes {
            self.forget_failures();
        }
    }

    /// What was not on the disk is undone: that a lease had run out as well, unless a later one was
    /// there or has been settled.
    fn forget_failures(&mut self) {
        for (number, message) in self.messages.iter_mut().enumerate() {
            let Some(last) = message.last_lease.map(|last| &self.leases[last]) else { continue };
            if !last.is_durable && !last.is_ended {
                let of_it = self.leases.iter().filter(|it| it.message == number);
                let sure = of_it.filter(|it| it.is_durable || it.is_ended).map(|it| it.failures);
                message.failures.0 = sure.max().unwrap_or(0);
            }
        }
    }

    /// The broker has done all that is due.
    pub(crate) fn is_quiet(&mut self, now: At) {
        self.quiet.push(now);
    }

    /// The last moment before at which it had.
    fn quiet_before(&self, at: At) -> Option<At> {
        self.quiet[..self.quiet.partition_point(|quiet| *quiet < at)].last().copied()
    }

    /// Whether what ended by its time at that moment, and then waited as failed ones do, surely waits
    /// no more: the broker notices when it is woken, not before.
    fn is_long_past(&self, at: At, now: At) -> bool {
        let noticed = self.quiet.get(self.quiet.partition_point(|quiet| *quiet <= at));
        noticed.is_some_and(|noticed| noticed + BACKOFF_MAX < now)
    }

    /// Something may have been handed out that nobody has seen, until then at the latest.
    pub(crate) fn blind(&mut self, now: At, until: At, restarts: bool) {
        for message in self.messages.iter_mut().filter(|message| !message.is_over) {
            message.failures.1 += 1;
        }
        self.blind.push(now);
        self.happened(now, What::Blind { until, restarts });
    }

    /// Whether a message that is ready stays so until the next client gets it: that one's lease
    /// tells whether there was another in between. The answer by which it is known to be ready may come
    /// late: whoever had it since may have failed, and then it waits anew.
    fn stays_ready(&self, message: usize, since: Option<usize>, at: At) -> bool {
        let since = since.map(|lease| self.leases[lease].generation);
        let of_it = self.leases.iter().filter(|lease| lease.message == message);
        let (before, after): (Vec<&Lease>, Vec<&Lease>) = of_it.partition(|it| it.from <= at);
        let attempts = before.iter().map(|lease| lease.attempt).max().unwrap_or(0);
        let Some(next) = after.iter().min_by_key(|lease| lease.from) else { return false };
        next.attempt == attempts + 1
            && before.iter().all(|lease| lease.over_at < at && Some(lease.generation) <= since)
            && !self.blind.iter().any(|blind| (at..=next.from).contains(blind))
    }

    /// Plays all that is known once more, and holds every grant against what was allowed.
    pub(crate) fn replay(&self, compares_order: bool) -> Result<State<'_>, String> {
        let mut events: Vec<&Event> = self.events.iter().collect();
        events.sort_by_key(|event| event.order());
        let mut state = State::new(self, compares_order);
        events.into_iter().try_for_each(|event| state.apply(event))?;
        Ok(state)
    }
}

impl Calls {
    /// Messages of which it is sure that they are there, that nobody holds them and that they wait
    /// for nothing but limits, pauses and their turn.
    pub(crate) fn surely_ready(&self, state: &State<'_>, now: At) -> Vec<usize> {
        if state.unseen_until > 0 && !self.is_long_past(state.unseen_until, now) {
            return Vec::new();
        }
        let is_free = |at: &usize| {
            let message = &self.messages[*at];
            let lease = message.last_lease.map(|lease| &self.leases[lease]);
            message.id.is_some()
                && message.acking.is_none()
                && message.ready_by.is_some_and(|by| by < now)
                && lease.is_none_or(|it| it.is_ended || self.is_long_past(it.over_at, now))
                && self.leads_its_group(*at)
        };
        (0..self.messages.len()).filter(is_free).collect()
    }

    /// Whether a message is the first one of its group, or nothing depends on that.
    fn leads_its_group(&self, message: usize) -> bool {
        let this = &self.messages[message];
        if !self.is_fifo[this.sent.queue] || this.sent.group.is_none() {
            return true;
        }
        let Some(confirmed) = this.confirmed.filter(|_| this.sent.delay == 0) else { return false };
        let comes_behind = |(at, other): (usize, &Message)| {
            let is_of_it =
                (other.sent.queue, other.sent.group) == (this.sent.queue, this.sent.group);
            at == message || !is_of_it || other.is_over || other.asked > confirmed
        };
        self.messages.iter().enumerate().all(comes_behind)
    }
}

impl State<'_> {
    /// What was compared with others' places.
    pub(crate) fn compared(&self) -> Compared {
        self.turns.compared
    }
}
