//! T9 to T21 as far as clients bring them: what becomes of deliveries, and when it is too late.

use sluice_engine::{Cause, OnExpire, Record, Removal};
use sluice_model::{
    Answer, Code, Command, Confirm, DeadReason, Level, Outcome, QueueNo, SettleMany, Settlement,
    Throttled, Timestamp,
};

use super::state::{Message, What, Where};
use super::{Given, World};
use crate::rig::{ms, one_by_one};

/// How a lease stands to its message.
#[derive(Debug, PartialEq)]
enum Stands {
    Held,
    /// It has ended, but an ack is welcome.
    Late,
    Lost,
    Acked,
    /// It was acked in another run, which the engine may have forgotten.
    AckedOnce,
    Gone,
}

impl World {
    fn given(&mut self) -> Option<Given> {
        if self.dice.one_in(4) {
            return self.dice.pick(&self.given);
        }
        let held = |given: &&Given| self.stands(given) == Stands::Held;
        let held: Vec<_> = self.given.iter().filter(held).cloned().collect();
        self.dice.pick(&held)
    }

    fn message_of(&self, given: &Given) -> Option<&Message> {
        let message = self.live.queues.get(&given.queue)?.messages.get(&given.seq)?;
        Some(message).filter(|message| message.id == given.id)
    }

    fn stands(&self, given: &Given) -> Stands {
        let queue = self.live.queues.contains_key(&given.queue);
        match (self.acked.get(&given.lease), self.message_of(given)) {
            (Some((run, _)), None) if queue && *run == self.live.start => Stands::Acked,
            (Some(_), None) if queue => Stands::AckedOnce,
            (_, None) => Stands::Gone,
            (_, Some(message)) => match &message.at {
                Where::Leased(held) if held.lease == given.lease => Stands::Held,
                Where::Leased(_) | Where::Dead(..) => Stands::Lost,
                _ if given.lease.generation >= message.fence => Stands::Late,
                _ => Stands::Lost,
            },
        }
    }

    pub(super) fn ack(&mut self) {
        let Some(given) = self.given() else { return };
        let (session, before) = (self.session(), self.rig.tape.last());
        let told = self.rig.ack(session, given.lease);
        self.acked_as(&given, told.map(Some), before);
        self.settle(before);
    }

    /// Several at once, some of them twice, in any order.
    pub(super) fn ack_many(&mut self) {
        let count = self.dice.between(2, 12);
        let mut all: Vec<_> = (0..count).filter_map(|_| self.given()).collect();
        if self.dice.one_in(2) {
            all.sort_by_key(|given| given.lease.generation);
        }
        let (session, before) = (self.session(), self.rig.tape.last());
        let leases = all.iter().map(|given| given.lease).collect();
        let (how, confirm) = (Settlement::Ack, Confirm::Always);
        let many = Command::SettleMany(Box::new(SettleMany { leases, how, confirm }));
        let Answer::SettledMany { refused, deadline: None } = self.rig.answer(session, many) else {
            panic!("many acks are answered as such");
        };
        assert!(refused.is_sorted_by_key(|(at, _)| *at), "{refused:?}");
        for (at, given) in (0..).zip(&all) {
            let refusal = refused.iter().find(|(of, _)| *of == at);
            let told = refusal.map_or(Ok(None), |(_, refusal)| Err(refusal.code));
            self.acked_as(given, told, before);
        }
        self.settle(before);
    }

    /// An ack was answered so, and wrote what follows `before`; whether it was the first one is not
    /// always told.
    fn acked_as(&mut self, given: &Given, told: Result<Option<bool>, Code>, before: u64) {
        let stands = self.stands(given);
        let context =
            || format!("{given:?} stands {stands:?}: {told:?}, {:?}", self.message_of(given));
        match stands {
            Stands::Held | Stands::Late => {
                assert!(matches!(told, Ok(None | Some(false))), "{}", context());
                self.hit(if stands == Stands::Held { 9 } else { 20 });
                self.emit(given.queue, given.seq, What::Acked);
                self.acked
                    .insert(given.lease, (self.live.start, self.record_of_ack(given, before)));
            }
            Stands::Acked => assert!(matches!(told, Ok(None | Some(true))), "{}", context()),
            Stands::AckedOnce => {
                let forgotten = matches!(told, Err(Code::NotFound));
                assert!(forgotten || matches!(told, Ok(None | Some(true))), "{}", context());
            }
            Stands::Lost => assert_eq!(told, Err(Code::LeaseLost), "{}", context()),
            Stands::Gone => assert_eq!(told, Err(Code::NotFound), "{}", context()),
        }
    }

    /// The record behind `before` that says that a message was acked; the last one if none does.
    fn record_of_ack(&self, given: &Given, before: u64) -> u64 {
        let last = self.rig.tape.last();
        let says_so = |record: &Record<'_>| {
            matches!(record, Record::Acked { target, .. }
                if (target.queue, target.seq.0) == (given.queue, given.seq))
        };
        let mut written = before + 1..=last;
        let found = written.find(|n| one_by_one(self.rig.tape.record(*n)).iter().any(says_so));
        found.unwrap_or(last)
    }

    fn refused(&self, given: &Given) -> Option<Code> {
        match self.stands(given) {
            Stands::Held => None,
            Stands::Late | Stands::Lost => Some(Code::LeaseLost),
            Stands::Acked | Stands::AckedOnce | Stands::Gone => Some(Code::NotFound),
        }
    }

    pub(super) fn nack(&mut self) {
        let Some(given) = self.given() else { return };
        let delay = self.dice.one_in(3).then(|| ms(self.dice.below(2_000)));
        let note = self.dice.one_in(3).then(|| Box::from("why"));
        let outcome = match self.dice.below(9) {
            0..4 => Outcome::Failed { delay, note },
            4..6 => Outcome::Released { delay },
            // Nobody has keys here.
            6 => Outcome::Throttled(Throttled { retry_after: delay, key: None }),
            7 => Outcome::Withdrawn,
            _ => Outcome::Rejected { note },
        };
        let (session, before) = (self.session(), self.rig.tape.last());
        let told = self.rig.nack(session, given.lease, outcome.clone());
        let refused = self.refused(&given);
        assert_eq!(told.err(), refused, "{outcome:?} of {given:?}: {:?}", self.message_of(&given));
        if refused.is_none() {
            let (no, seq) = (given.queue, given.seq);
            match outcome {
                Outcome::Failed { delay, note } => {
                    self.end_lease(no, seq, Cause::Failed, delay, note.map(String::from));
                }
                Outcome::Released { delay } => {
                    self.end_lease(no, seq, Cause::Released, delay, None)
                }
                Outcome::Withdrawn => self.end_lease(no, seq, Cause::Withdrawn, None, None),
                Outcome::Throttled(Throttled { retry_after, .. }) => {
                    self.hit(14);
                    let delay = retry_after.unwrap_or_default().max(ms(1_000));
                    self.end_lease(no, seq, Cause::Throttled, Some(delay), None);
                }
                Outcome::Rejected { note } => {
                    self.hit(15);
                    self.bury(no, seq, DeadReason::Rejected, note.map(String::from));
                }
            }
        }
        self.settle(before);
    }

    pub(super) fn extend(&mut self) {
        let Some(given) = self.given() else { return };
        let by = ms(self.dice.below(5_000));
        let (session, before, now) = (self.session(), self.rig.tape.last(), self.rig.now);
        let command = Command::Extend { lease: given.lease, by, confirm: Confirm::Always };
        let told = super::look::result(self.rig.answer(session, command));
        let deadline = now.after(by);
        let expected = match self.refused(&given) {
            Some(code) => Err(code),
            None if by.is_zero() => Err(Code::Invalid),
            None => Ok(Answer::Extended { deadline }),
        };
        assert_eq!(told, expected, "{given:?}");
        if told.is_ok() {
            self.hit(10);
            self.emit(given.queue, given.seq, What::Extended(now, deadline));
        }
        self.settle(before);
    }

    /// T28.
    pub(super) fn corrupt(&mut self) {
        let Some(given) = self.given().filter(|given| !given.resident) else { return };
        let before = self.rig.tape.last();
        self.rig.corrupt(given.lease);
        if self.stands(&given) == Stands::Held {
            self.hit(28);
            self.bury(given.queue, given.seq, DeadReason::Corrupt, None);
        }
        self.settle(before);
    }

    /// Ends a lease without an ack.
    pub(super) fn end_lease(
        &mut self,
        no: QueueNo,
        seq: u64,
        cause: Cause,
        delay: Option<std::time::Duration>,
        note: Option<String>,
    ) {
        let (now, rules) = (self.rig.now, self.queue(no).rules.clone());
        let message = self.queue(no).messages[&seq].clone();
        let failed = message.failures + 1;
        if cause.is_failure() && rules.max_failures > 0 && failed >= rules.max_failures {
            self.hit(12);
            return self.bury(no, seq, DeadReason::MaxFailures, note);
        }
        if cause == Cause::Released && message.releases + 1 > rules.max_releases {
            self.hit(25);
            return self.bury(no, seq, DeadReason::MaxReleases, note);
        }
        if message.has_expired(now) {
            return self.run_out(no, seq, 19);
        }
        self.hit(match cause {
            Cause::Failed => 11,
            Cause::Expired => 16,
            Cause::Released => 13,
            _ => 17,
        });
        let backoff = cause.is_failure().then(|| rules.backoff.delay(failed, 0));
        let delay = delay.or(backoff).filter(|delay| !delay.is_zero());
        let ready_at = delay.map(|delay| now.after(delay));
        self.emit(no, seq, What::Returned(cause, now, ready_at, note));
    }

    /// T18, T19.
    pub(super) fn run_out(&mut self, no: QueueNo, seq: u64, transition: usize) {
        self.hit(transition);
        match self.queue(no).rules.on_expire {
            OnExpire::Drop => self.emit(no, seq, What::Removed(Removal::Expired)),
            OnExpire::Dead => self.bury(no, seq, DeadReason::Expired, None),
        }
    }

    /// T24.
    pub(super) fn bury_spent(&mut self, no: QueueNo, seq: u64) {
        self.hit(24);
        self.bury(no, seq, DeadReason::MaxFailures, None);
    }

    pub(super) fn bury(&mut self, no: QueueNo, seq: u64, reason: DeadReason, note: Option<String>) {
        self.emit(no, seq, What::Buried(reason, self.rig.now, note));
        self.trim(no, 2);
    }

    /// T23, so many at a time.
    pub(super) fn trim(&mut self, no: QueueNo, most: usize) {
        for _ in 0..most {
            let Some(seq) = self.surplus(no) else { return };
            self.hit(23);
            self.emit(no, seq, What::Removed(Removal::Dropped));
        }
    }

    fn surplus(&self, no: QueueNo) -> Option<u64> {
        let queue = self.queue(no);
        let rules = &queue.rules;
        [false, true].into_iter().find_map(|overflow| {
            let dead = queue.dead(overflow);
            let bytes: u64 = dead.iter().map(|(_, seq, _)| queue.messages[seq].bytes).sum();
            let over = dead.len() as u64 > rules.dead_max || bytes > rules.dead_max_bytes;
            let old =
                |at: Timestamp| rules.dead_ttl.is_some_and(|ttl| at.after(ttl) <= self.rig.now);
            dead.first().filter(|(at, ..)| over || old(*at)).map(|(_, seq, _)| *seq)
        })
    }

    pub(super) fn is_resident(&self, no: QueueNo, seq: u64) -> bool {
        self.queue(no).messages[&seq].level == Level::Memory
    }
}
