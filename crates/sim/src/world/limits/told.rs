//! What clients are told of queues under limits, held against what is known.

use sluice_broker::local::{Parcel, ParcelContent};
use sluice_engine::{Body, Handover};
use sluice_model::{Answer, Code, LimitAnswer};

use super::{LEASE_MAX, OPERATOR};
use crate::caller::{Ask, Asked, Back};
use crate::client::name_of;
use crate::oracle::limits::{At, Lease, THROTTLED_MIN, What};
use crate::world::World;

impl World {
    pub(in crate::world) fn told_caller(
        &mut self,
        at: usize,
        parcel: Parcel,
    ) -> Result<(), String> {
        let caller = &mut self.limits.callers[at];
        caller.written += parcel.weight;
        let ask = caller.asked.remove(&parcel.tag).ok_or("an answer that nobody asked for")?;
        match parcel.content {
            ParcelContent::Handovers(handovers) => {
                handovers.iter().try_for_each(|handover| self.call_came(at, &ask, handover))
            }
            ParcelContent::Answer(answer) => self.call_answered(&ask, answer),
            content => Err(format!("{:?} was answered by {content:?}", ask.what)),
        }
    }

    fn call_came(&mut self, at: usize, ask: &Ask, handover: &Handover) -> Result<(), String> {
        let Asked::Receive { lease: length, bound, .. } = ask.what else {
            return Err("a message came that nobody asked for".into());
        };
        let lease = handover.lease.ok_or("a message of a queue without a lease")?;
        if matches!(handover.body, Body::Resident(_)) {
            return Err("a stored message in memory only".into());
        }
        let now = self.millis();
        let Some(carried) = self.read(&handover.body, &lease)? else {
            self.limits.calls.blind(now, now + LEASE_MAX, false);
            return Ok(());
        };
        let (_, number) = name_of(&carried.payload).ok_or("a payload was changed")?;
        let deadline = handover.deadline.as_millis();
        let message = usize::try_from(number).unwrap_or(usize::MAX);
        let from = deadline.checked_sub(length).ok_or("a deadline before its time")?;
        if from > now {
            return Err(format!("a lease from {from} came at {now}"));
        }
        // Their order is compared by other counters than that of `delivered`.
        self.counters.limit_grants += 1;
        self.counters.redelivered += u64::from(handover.redelivered);
        self.note("called", &[at as u64, number, from]);
        let seen = self.tick();
        let number = self.limits.calls.granted(Lease {
            message,
            generation: lease.generation,
            attempt: handover.attempt,
            failures: handover.failures,
            from,
            length,
            bound: self.limits.callers[at].session.filter(|_| bound),
            sure_until: deadline,
            over_at: deadline,
            is_durable: false,
            is_lost: false,
            is_acked: false,
            is_ended: false,
            seen,
        })?;
        self.limits.callers[at].held.push((number, lease));
        Ok(())
    }

    fn call_answered(&mut self, ask: &Ask, answer: Answer) -> Result<(), String> {
        let now = self.millis();
        let ran = ask.ran.unwrap_or(now);
        match (&ask.what, answer) {
            (Asked::Publish(numbers), Answer::Published(published)) => {
                self.call_stored(ask, numbers, &[published]);
            }
            (Asked::Publish(numbers), Answer::PublishedBatch(all)) => {
                self.call_stored(ask, numbers, &all);
            }
            (Asked::Receive { queue, until, .. }, Answer::Empty { next }) => {
                let next = next.map(|next| next.as_millis());
                if until.is_none() {
                    self.limits.next_told = Some((*queue, next));
                }
            }
            (Asked::Ack(number), Answer::Settled { already }) => {
                self.call_acked(*number, ran, already);
            }
            (Asked::Ack(number), Answer::Refused(refusal)) => {
                // Any other refusal leaves open whether the ack, or one before, took effect.
                if refusal.code == Code::LeaseLost {
                    let calls = &mut self.limits.calls;
                    let message = &mut calls.messages[calls.leases[*number].message];
                    message.acks -= 1;
                    if message.acks == 0 && !message.is_over {
                        message.acking = None;
                    }
                }
            }
            (Asked::Nack(number, back), Answer::Settled { already: false }) => {
                self.call_given_back(*number, *back, ran);
            }
            (Asked::Limit(request), Answer::Limit(answer)) => {
                return self.operated(request, &answer, ran);
            }
            (Asked::List, Answer::Limit(answer)) => {
                let LimitAnswer::List { limits, more: false } = *answer else {
                    return Err(format!("limits were listed by {answer:?}"));
                };
                return self.listed(&limits);
            }
            (Asked::Why(message), Answer::Limit(answer)) => {
                let LimitAnswer::Explained { reasons, .. } = *answer else {
                    return Err(format!("reasons were told by {answer:?}"));
                };
                return self.compare_reasons(*message, &reasons);
            }
            (Asked::Stats, Answer::Stats(stats)) => {
                let gone = stats.acked + stats.expired + stats.deleted + stats.dropped;
                let counts = stats.counts;
                let present = counts.ready + counts.delayed + counts.leased + counts.dead;
                if stats.published != gone + present {
                    return Err(format!("the counters do not add up: {stats:?}"));
                }
            }
            (Asked::Declare, Answer::Declared { .. }) | (_, Answer::Refused(_)) => {}
            (what, answer) => return Err(format!("{what:?} was answered by {answer:?}")),
        }
        Ok(())
    }

    fn call_stored(&mut self, ask: &Ask, numbers: &[usize], all: &[sluice_model::Published]) {
        let now = self.millis();
        self.limits.calls.synced(ask.no);
        for (number, published) in numbers.iter().zip(all) {
            self.counters.confirmed += 1;
            self.note("called in", &[*number as u64]);
            self.limits.calls.confirmed(*number, published.id, now);
        }
    }

    fn call_acked(&mut self, number: usize, ran: At, already: bool) {
        self.counters.acked += 1;
        self.note("call acked", &[number as u64]);
        let calls = &mut self.limits.calls;
        let lease = &mut calls.leases[number];
        lease.is_acked = !already && ran == lease.sure_until && !lease.is_lost;
        lease.is_ended = true;
        lease.over_at = lease.over_at.min(ran);
        let message = &mut calls.messages[lease.message];
        message.is_over = true;
    }

    /// A lease was given back, and that was confirmed.
    fn call_given_back(&mut self, number: usize, back: Back, ran: At) {
        let now = self.millis();
        let calls = &mut self.limits.calls;
        let lease = &mut calls.leases[number];
        lease.is_ended = true;
        lease.over_at = lease.over_at.min(ran);
        let of = lease.message;
        let message = &mut calls.messages[of];
        let is_last = message.last_lease == Some(number);
        let keys = &message.sent.keys;
        let (failed, ready_by) = match back {
            Back::Failed(delay) => (1, ran + delay),
            Back::Released => (0, now),
            Back::Throttled(after, key) => {
                self.counters.limit_throttled += 1;
                match key.or(keys.first().copied()) {
                    Some(key) => {
                        let queue = message.sent.queue;
                        calls.happened(ran, What::Throttled { queue, key, for_ms: after });
                        (0, now)
                    }
                    None => (0, ran + after.unwrap_or(0).max(THROTTLED_MIN)),
                }
            }
        };
        let message = &mut calls.messages[of];
        if is_last {
            let failures = message.failures.0 + failed;
            let more = message.failures.1.saturating_sub(message.failures.0 + 1);
            message.failures = (failures, failures + more);
            message.ready_by = Some(ready_by);
            if ready_by == now {
                calls.happened(now, What::Ready { message: of, since: Some(number) });
            }
        }
    }

    /// Whether the operator waits for an answer, or does not know what came of a request.
    pub(super) fn is_operator_unsure(&self) -> bool {
        let limits = &self.limits;
        !limits.callers[OPERATOR].asked.is_empty()
            || limits.unresolved.is_some()
            || !limits.is_listed
    }
}
