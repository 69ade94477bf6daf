//! What happens by itself: deadlines, work in the background, and the end of the process.

use sluice_engine::{Cause, EndedBy, Record};
use sluice_model::{
    Answer, DeadReason, Generation, MessageId, QueueNo, SessionId, State, Timestamp,
};

use super::state::{Counted, State0, What, Where};
use super::{Job, World};
use crate::rig::ms;

/// What is due first: a lease of a queue's message, the grace of a lost connection, or what goes
/// back of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Lease(QueueNo, u64),
    Grace(SessionId),
    Release(SessionId),
}

/// What goes back of a connection that is gone, and since when.
#[derive(Clone, Debug)]
pub(super) struct Over {
    at: Timestamp,
    unsent: Vec<(QueueNo, u64)>,
    all: bool,
}

impl World {
    pub(super) fn fire(&mut self) {
        let before = self.rig.tape.last();
        self.rig.fire_all();
        self.end_leases();
        let now = self.rig.now;
        for no in self.queues() {
            let messages = self.queue(no).messages.values();
            let over: Vec<_> =
                messages.filter(|m| m.is_waiting() && m.has_expired(now)).map(|m| m.seq).collect();
            for seq in over {
                self.run_out(no, seq, 18);
            }
            let due = |at: &Where| matches!(at, Where::Delayed(at) if *at <= now);
            let messages = self.queue(no).messages.values();
            let due: Vec<_> = messages.filter(|m| due(&m.at)).map(|m| m.seq).collect();
            for seq in due {
                self.hit(6);
                self.emit(no, seq, What::Woke);
            }
            self.trim(no, usize::MAX);
        }
        for job in std::mem::take(&mut self.jobs) {
            self.work(before, &job);
        }
        self.waits_are_over();
        self.serve_all();
        self.settle(before);
    }

    /// T16, T17, in the order in which they are due.
    fn end_leases(&mut self) {
        let now = self.rig.now;
        loop {
            let queues = self.live.queues.iter();
            let leases = queues.flat_map(|(no, queue)| {
                let held = queue.messages.values().filter_map(|m| Some((m.held()?, m.seq)));
                held.map(|(held, seq)| (held.deadline, Due::Lease(*no, seq)))
            });
            let graces = self.graces.iter().map(|(id, at)| (*at, Due::Grace(*id)));
            let over = self.over.iter().map(|(id, over)| (over.at, Due::Release(*id)));
            let first = leases.chain(graces).chain(over).filter(|(at, _)| *at <= now).min();
            match first {
                None => return,
                Some((_, Due::Lease(no, seq))) => {
                    let held = self.queue(no).messages[&seq].held().unwrap();
                    let orphan = held.bound && held.session.is_none();
                    let over = held.session.and_then(|id| self.over.get(&id));
                    let over =
                        over.is_some_and(|over| over.all || over.unsent.contains(&(no, seq)));
                    let cause = if orphan || over { Cause::Withdrawn } else { Cause::Expired };
                    self.end_lease(no, seq, cause, None, None);
                }
                Some((_, Due::Release(session))) => {
                    let over = self.over.remove(&session).unwrap();
                    let all = if over.all { self.held_by(session) } else { Vec::new() };
                    let rest = all.into_iter().filter(|held| !over.unsent.contains(held));
                    for (no, seq) in over.unsent.iter().copied().chain(rest) {
                        if self.queue(no).messages.get(&seq).is_some_and(|m| m.held().is_some()) {
                            self.end_lease(no, seq, Cause::Withdrawn, None, None);
                        }
                    }
                }
                Some((_, Due::Grace(session))) => {
                    self.graces.remove(&session);
                    for (at, (no, seq)) in self.held_by(session).into_iter().enumerate() {
                        let cause = if at == 0 { Cause::Lost } else { Cause::Withdrawn };
                        self.end_lease(no, seq, cause, None, None);
                    }
                }
            }
        }
    }

    /// What is bound to a connection, in the order of the grants.
    fn held_by(&self, session: SessionId) -> Vec<(QueueNo, u64)> {
        let mut all: Vec<(Generation, QueueNo, u64)> = Vec::new();
        for (no, queue) in &self.live.queues {
            for message in queue.messages.values() {
                if let Some(held) = message.held().filter(|held| held.session == Some(session)) {
                    all.push((held.lease.generation, *no, message.seq));
                }
            }
        }
        all.sort_unstable();
        all.into_iter().map(|(_, no, seq)| (no, seq)).collect()
    }

    pub(super) fn end_overdue_waits(&mut self) {
        self.fire();
    }

    fn waits_are_over(&mut self) {
        let now = self.rig.now;
        let over = |until: Option<Timestamp>| until.is_some_and(|until| until <= now);
        // With a wait that ends here the order of what became ready depends on when exactly.
        let mut queues: Vec<_> =
            self.parked.iter().filter(|p| over(p.until)).map(|p| p.queue).collect();
        queues.dedup();
        for no in queues {
            self.follow(no);
        }
        let hidden = |world: &Self, no| !world.queue(no).hidden.is_empty();
        for at in 0..self.parked.len() {
            if over(self.parked[at].until) && hidden(self, self.parked[at].queue) {
                self.parked[at].until = None;
            }
        }
        self.end_waits(|parked| over(parked.until));
    }

    fn work(&mut self, before: u64, job: &Job) {
        match job {
            Job::Purge(no, what, session) => {
                let mut removed = 0;
                for number in before + 1..=self.rig.tape.last() {
                    if let Record::Purged { queue, from, to, what: its } =
                        self.rig.tape.record(number)
                    {
                        assert_eq!((queue, its), (*no, *what));
                        let meant = self.queue(queue).meant(*what, from.0..to.0).len();
                        removed += meant as u64;
                        self.hits[21] += meant as u64;
                        self.emit(queue, from.0, What::Purged(*what, from.0, to.0));
                    }
                }
                assert_eq!(self.queue(*no).meant(*what, 0..u64::MAX), Vec::<u64>::new());
                let tag = self.rig.tag;
                let told = self.answer_to(*session, tag);
                assert_eq!(told, Ok(Answer::Removed { messages: removed }));
            }
            Job::Recheck(no) => {
                let max = self.queue(*no).rules.max_failures;
                let messages = self.queue(*no).messages.values();
                let spent = messages.filter(|m| m.is_waiting() && m.failures >= max);
                for seq in spent.map(|m| m.seq).collect::<Vec<_>>() {
                    self.bury_spent(*no, seq);
                }
                self.trim(*no, usize::MAX);
            }
            Job::Redrive(no, ids, reason, session) => {
                let moved = self.redriven(*no, ids, *reason);
                let tag = self.rig.tag;
                let told = self.answer_to(*session, tag);
                let answer = Answer::Redriven { messages: moved, goes_on: false };
                assert_eq!(told, Ok(answer));
            }
        }
    }

    /// T22.
    fn redriven(&mut self, no: QueueNo, ids: &[MessageId], reason: Option<DeadReason>) -> u64 {
        let queue = self.queue(no);
        let all = queue.dead(false).into_iter().chain(queue.dead(true));
        let seqs: Vec<u64> = if ids.is_empty() {
            all.filter(|(_, _, r)| reason.is_none_or(|only| only == *r)).map(|d| d.1).collect()
        } else {
            let find =
                |id: &MessageId| queue.messages.values().find(|m| m.id == *id).map(|m| m.seq);
            ids.iter().filter_map(find).collect()
        };
        let start = self.live.start;
        let granted = self.given.iter().map(|given| given.lease.generation);
        let last = granted.filter(|g| g.start == start).map(|g| g.counter).max().unwrap_or(0);
        let fence = Generation { start, counter: last + 1 };
        let mut moved = 0;
        for seq in seqs {
            if self.queue(no).live() >= self.queue(no).rules.max_messages {
                break;
            }
            if self.queue(no).messages[&seq].state() == State::Dead {
                self.hit(22);
                self.emit(no, seq, What::Redriven(self.rig.now, fence));
                moved += 1;
            }
        }
        moved
    }

    /// T17.
    pub(super) fn close(&mut self) {
        let session = self.session();
        let by = if self.dice.one_in(3) { EndedBy::Broker } else { EndedBy::Client };
        let before = self.rig.tape.last();
        let mut unsent = Vec::new();
        for given in self.given.clone() {
            let message = self.live.queues.get(&given.queue);
            let held = message.and_then(|q| q.messages.get(&given.seq)).and_then(|m| m.held());
            let theirs = given.session == session && held.is_some_and(|h| h.lease == given.lease);
            if theirs && self.dice.one_in(4) {
                unsent.push(given);
            }
        }
        let leases: Vec<_> = unsent.iter().map(|given| given.lease).collect();
        let now = self.rig.now;
        self.rig.engine.close(now, session, by, &leases);
        self.sessions.retain(|open| *open != session);
        self.parked.retain(|parked| parked.session != session);
        let unsent: Vec<_> = unsent.into_iter().map(|given| (given.queue, given.seq)).collect();
        let rest = self.held_by(session).iter().any(|held| !unsent.contains(held));
        if by == EndedBy::Client && rest {
            self.graces.insert(session, now.after(self.rig.config.lost_grace));
        }
        self.over.insert(session, Over { at: now, unsent, all: by == EndedBy::Broker });
        self.settle(before);
    }

    pub(super) fn take_image(&mut self) {
        if self.dice.one_in(5) {
            // It is lost before it is published.
            let _lost = self.rig.engine.take_image();
            self.rig.engine.forget_image();
            self.rig.image = Default::default();
        }
        self.rig.take_image();
        self.imaged.clear();
        for (no, queue) in &self.live.queues {
            let seqs = queue.messages.keys();
            let resident = seqs.filter(|seq| self.is_resident(*no, **seq)).count() as u64;
            let dropped = queue.fleeting.dropped + resident;
            self.imaged.insert(*no, Counted { dropped, ..queue.fleeting });
        }
    }

    /// T26, T27: the process ends, or the machine; what was not promised may be lost.
    pub(super) fn restart(&mut self) {
        let progress = self.rig.progress;
        let safe = if self.dice.one_in(2) { progress.written } else { progress.synced };
        let kept = self.dice.between(safe, self.rig.tape.last());
        // Of a batch all or nothing is found again.
        let batch = self.rig.tape.batches.iter().find(|(from, to)| *from < kept && kept < *to);
        let kept = batch.map_or(kept, |(_, to)| *to);
        let covers = self.rig.image.covers;
        let with_image = covers > 0 && covers <= kept && self.dice.one_in(2);
        self.rig.now = self.rig.now.after(ms(self.dice.below(1_500)));
        self.rig.tape.batches.retain(|(_, to)| *to <= kept);
        self.rig.restart(kept, with_image, true);
        self.log.retain(|(number, _)| *number <= kept);
        let start = self.live.start + 1;
        let fresh = State0 { start, ..State0::default() };
        let was = std::mem::replace(&mut self.live, fresh);
        for (_, event) in self.log.clone() {
            self.live.apply(&event);
        }
        if !with_image {
            self.imaged.clear();
        }
        for (no, queue) in &mut self.live.queues {
            let Counted { published, acked, expired, deleted, dropped } =
                self.imaged.get(no).copied().unwrap_or_default();
            queue.fleeting = Counted { published, acked, expired, deleted, dropped };
            queue.counted.published += published;
            queue.counted.acked += acked;
            queue.counted.expired += expired;
            queue.counted.deleted += deleted;
            queue.counted.dropped += dropped;
        }
        self.sessions.clear();
        self.looker = None;
        self.graces.clear();
        self.over.clear();
        self.parked.clear();
        self.acked.retain(|_, (_, record)| *record <= kept);
        self.renew(&was);
    }

    fn renew(&mut self, was: &State0) {
        let now = self.rig.now;
        for no in self.queues() {
            let rules = self.queue(no).rules.clone();
            let infos = self.browse(no);
            let queue = self.live.queues.get_mut(&no).unwrap();
            let (mut found, mut lost) = (0, 0);
            for message in queue.messages.values_mut() {
                let before = was.queues.get(&no).and_then(|queue| queue.messages.get(&message.seq));
                let Where::Leased(held) = &mut message.at else {
                    lost += u64::from(before.is_some_and(|before| before.held().is_some()));
                    continue;
                };
                found += 1;
                held.session = None;
                let info = infos.iter().find(|info| info.id == message.id).unwrap();
                let deadline = info.deadline.expect("it is leased");
                if held.bound {
                    held.deadline = now.after(self.rig.config.lost_grace);
                } else {
                    // An image holds the time that an earlier start added, a record does not.
                    let shortest = rules.lease.min(self.rig.config.recovered_lease);
                    held.deadline = held.deadline.max(now.after(shortest));
                    assert!(deadline >= held.deadline, "{message:?}");
                    let Where::Leased(held) = &mut message.at else { unreachable!() };
                    held.deadline = deadline;
                }
            }
            self.hits[26] += found;
            self.hits[27] += lost;
        }
    }
}
