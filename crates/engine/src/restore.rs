//! From what the log kept back to a state that serves.
//!
//! ```text
//! Loader (image) -> Engine::replay (records after it) -> Engine::start -> serving
//! ```

use std::collections::BTreeMap;
use std::ops::Range;

use sluice_model::{LeaseId, QueueNo, Seq, State, Timestamp};

use crate::deadlines::Due;
use crate::effects::Effects;
use crate::engine::{Engine, Turn};
use crate::journal::{BodyRef, Journal, Sequence};
use crate::limits::micros;
use crate::queue::slots::Extra;
use crate::record::{Record, Target};
use crate::stats::Stats;

impl Engine {
    /// Applies a record that the log kept.
    pub fn replay(&mut self, record: &Record<'_>, body: BodyRef) {
        // In a repaired log the record of a start may be lost. What that start has given out must
        // not be given out again.
        let by = match record {
            Record::Published { id, .. } => id.start,
            Record::Granted { generation, .. } | Record::GrantedMany { generation, .. } => {
                generation.start
            }
            _ => 0,
        };
        if by > self.start {
            self.started(by, true);
        }
        self.apply(record, body);
    }

    /// What a queue is called and whose it is, for people.
    pub fn queue_title(&self, no: QueueNo) -> Option<String> {
        let identity = &self.queues.get(&no)?.identity;
        let owner = &identity.owner;
        Some(match (&identity.pattern, identity.name.subscription()) {
            (None, _) => format!("queue `{}`", identity.name),
            (Some(pattern), Some(name)) => format!("subscription `{name}` to `{pattern}`"),
            (Some(pattern), None) => format!("`{pattern}` of {owner}"),
        })
    }

    /// How many messages of each queue have their bodies in a part of a segment.
    pub fn bodies_in(&self, segment: u32, part: Range<u32>) -> BTreeMap<QueueNo, u64> {
        let mut found = BTreeMap::new();
        for (no, queue) in self.queues.iter() {
            let bodies = queue.slots.iter().map(|(_, slot, _)| slot).filter(|slot| {
                let body = slot.body();
                slot.sequence() != 0 && body.segment == segment && part.contains(&body.offset)
            });
            match bodies.count() {
                0 => {}
                count => drop(found.insert(*no, count as u64)),
            }
        }
        found
    }

    /// The number of the last start.
    pub const fn starts(&self) -> u32 {
        self.start
    }

    /// The number that a queue's next message gets.
    pub fn next_seq(&self, no: QueueNo) -> Option<Seq> {
        self.queues.get(&no).map(|queue| Seq(queue.slots.next()))
    }

    /// Ends replay: counts this start, gives recovered leases time to be settled, and lets
    /// unnamed subscriptions wait for their owners from now on.
    ///
    /// What is appended must be synced before the first request.
    pub fn start(&mut self, now: Timestamp, unclean: bool, journal: &mut dyn Journal) {
        if self.start == 0 {
            let lease_key = self.lease_key.to_bytes();
            self.commit(journal, &Record::Founded { lease_key });
        }
        let start = self.start + 1;
        self.commit(journal, &Record::Started { start, at: now, unclean });
        self.stats = Stats::default();
        self.resolve_all();
        self.resolve_slice(&mut { usize::MAX });
        self.limits.keyed.restart(micros(now));
        let mut numbers: Vec<QueueNo> = self.queues.keys().copied().collect();
        numbers.sort_unstable();
        for no in numbers {
            self.renew_leases(now, no);
            self.let_expire(now, no);
            // The run before may have ended between a message's death and its consequence.
            self.arm_dead(now, no);
            self.resume_redrives(now, no);
            self.arm_resume(no);
        }
    }

    /// T26: the outage of the broker costs no consumer its lease, and a lease that was bound to
    /// a connection has that connection's grace.
    fn renew_leases(&mut self, now: Timestamp, no: QueueNo) {
        let Some(queue) = self.queues.get_mut(&no) else { return };
        self.changes.note(queue);
        let shortest = queue.rules.lease.min(self.config.recovered_lease);
        let held: Vec<u64> = queue.held().collect();
        for seq in held {
            let Some(extra) = queue.slots.extra_mut(seq) else { continue };
            let Some(lease) = &mut extra.lease else { continue };
            let due = Due::Lease(no, Seq(seq));
            self.deadlines.cancel(lease.deadline, due);
            lease.deadline = if lease.bound {
                now.after(self.config.lost_grace)
            } else {
                lease.deadline.max(now.after(shortest))
            };
            self.deadlines.insert(lease.deadline, due);
        }
    }

    /// Sets the deadlines of a message that an image brought.
    pub(crate) fn expect_deadlines(
        &mut self,
        no: QueueNo,
        seq: u64,
        state: State,
        extra: Option<&Extra>,
    ) {
        let Some(extra) = extra else { return };
        let seq = Seq(seq);
        if let Some(lease) = extra.lease {
            self.deadlines.insert(lease.deadline, Due::Lease(no, seq));
        }
        if state != State::Dead && extra.expires_at != Timestamp::EPOCH {
            self.deadlines.insert(extra.expires_at, Due::Expire(no, seq));
        }
    }

    /// Copies a body to the end of the log for those of `targets` that still refer to the record
    /// `from`. Says whether any did.
    pub fn relocate(
        &mut self,
        targets: &[Target],
        from: Sequence,
        body: &[u8],
        journal: &mut dyn Journal,
    ) -> bool {
        if !self.needs(targets, from) {
            return false;
        }
        let refers = |target: &Target| self.refers_to(target.queue, target.seq, from);
        let live: Vec<Target> = targets.iter().copied().filter(refers).collect();
        self.commit(journal, &Record::Moved { targets: live.into(), body: Some(body) });
        true
    }

    /// Whether a message of these refers to the body of record `from`.
    pub fn needs(&self, targets: &[Target], from: Sequence) -> bool {
        targets.iter().any(|target| self.refers_to(target.queue, target.seq, from))
    }

    /// Where the body of a held message is now, if the lease is still valid.
    pub fn place_of(&self, lease: &LeaseId) -> Option<BodyRef> {
        let queue = self.queues.get(&lease.queue).filter(|_| self.is_held(lease))?;
        queue.slots.get(lease.seq.0).map(|slot| slot.body())
    }

    /// T28: the body of a held message can't be read back.
    pub fn corrupt(
        &mut self,
        now: Timestamp,
        lease: &LeaseId,
        journal: &mut dyn Journal,
        effects: &mut Effects,
    ) {
        self.limits.now = micros(now);
        self.bury_corrupt(&mut Turn { now, journal, effects }, lease);
    }
}

#[cfg(test)]
mod tests {
    use sluice_model::{Generation, MessageId};

    use super::*;
    use crate::config::Config;

    /// Keeps the starts that it was given.
    #[derive(Default)]
    struct Starts(Vec<u32>);

    impl Journal for Starts {
        fn append(&mut self, record: &Record<'_>) -> BodyRef {
            if let Record::Started { start, .. } = record {
                self.0.push(*start);
            }
            BodyRef::default()
        }

        fn begin_batch(&mut self, _bytes: usize) {}

        fn end_batch(&mut self) {}
    }

    #[test]
    fn a_start_whose_own_record_is_lost_is_not_counted_again() {
        let at = Timestamp::from_millis(1);
        let given = MessageId { start: 4, counter: 9 };
        let published = Record::Published {
            at,
            id: given,
            targets: vec![].into(),
            lane: None,
            dedupe: None,
            content: None,
        };
        let granted = Record::Granted {
            target: Target::new(QueueNo(1), Seq(1)),
            generation: Generation { start: 6, counter: 2 },
            at,
            deadline: at,
            bound: false,
        };
        for (record, next) in [(published, 5), (granted, 7)] {
            let mut engine = Engine::new(Config::default(), 1);
            let started = Record::Started { start: 2, at, unclean: true };
            engine.replay(&started, BodyRef::default());
            engine.replay(&record, BodyRef::default());
            let mut starts = Starts::default();
            engine.start(at, true, &mut starts);
            assert_eq!(starts.0, [next]);
        }
    }
}
