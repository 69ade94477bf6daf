//! T8: which message is next, who gets it, and who waits.

use std::time::Duration;

use sluice_engine::Ran;
use sluice_model::{Answer, Command, QueueNo, Receive, SessionId, Source};

use super::state::{Held, What, Where};
use super::{Given, Parked, World};
use crate::rig::{Got, Said, ms, queue};

/// A delivery as a session was told of it.
pub(super) struct Told {
    session: SessionId,
    tag: u64,
    got: Got,
    /// What has to be written before it leaves.
    written: u64,
}

impl World {
    pub(super) fn receive(&mut self) {
        if self.slices {
            let before = self.rig.tape.last();
            self.rig.commit();
            self.show_committed(before);
        }
        let Some(no) = self.a_queue() else { return };
        let session = self.session();
        let max = if self.dice.one_in(3) { self.dice.between(1, 4) as u32 } else { 1 };
        let lease = self.dice.one_in(3).then(|| self.dice.between(300, 4_000));
        let wait = self.dice.one_in(3).then(|| self.dice.between(1, 3_000));
        let wait = wait.filter(|_| !self.slices);
        let bound = self.dice.one_in(2);
        let from = Source::Queue(queue(&self.queue(no).name));
        let (lease_time, wait_time) = (lease.map(ms), wait.map(ms));
        let receive =
            Receive { max, lease: lease_time, wait: wait_time, bound, ..Receive::one(from) };
        let before = self.rig.tape.last();
        let tag = self.rig.tag + 1;
        assert_eq!(self.rig.run(session, Command::Receive(receive)), Ran::Done);
        let until = wait.map(|wait| self.rig.now.after(ms(wait)));
        let kept = until.is_none();
        let parked = Parked { queue: no, session, tag, max, bound, lease, until, kept };
        let told = self.deliveries();
        match self.pick(no) {
            Some(first) => self.grant_all(&parked, first, false, &mut told.into_iter()),
            None => {
                assert!(told.is_empty(), "nothing is there to be delivered");
                let hidden = !self.queue(no).hidden.is_empty();
                if hidden || until.is_some() {
                    self.parked.push(parked);
                } else {
                    let told = self.answer_to(session, tag);
                    assert!(matches!(told, Ok(Answer::Empty { .. })), "{told:?}");
                }
            }
        }
        self.settle(before);
    }

    /// The deliveries that sessions were told of, in the order of their grants.
    pub(super) fn deliveries(&mut self) -> Vec<Told> {
        let mut all = std::mem::take(&mut self.others);
        for (session, outs) in &mut self.rig.outs {
            for out in std::mem::take(outs) {
                match out.said {
                    Said::Got(got) => {
                        let (tag, written) = (out.tag, out.need.written);
                        all.push(Told { session: *session, tag, got, written });
                    }
                    Said::Parked(_) => {}
                    Said::Answer(_) => outs.push_back(out),
                }
            }
        }
        all.sort_by_key(|told| told.got.lease().generation);
        all
    }

    /// The next message that may be handed over; those that may not go on the way.
    pub(super) fn pick(&mut self, no: QueueNo) -> Option<u64> {
        loop {
            let first = self.queue(no).first()?;
            let (seq, failures) = (first.seq, first.failures);
            let max = self.queue(no).rules.max_failures;
            if first.has_expired(self.rig.now) {
                self.run_out(no, seq, 18);
            } else if max > 0 && failures >= max {
                self.bury_spent(no, seq);
            } else {
                return Some(seq);
            }
        }
    }

    /// One receive takes its messages.
    fn grant_all(
        &mut self,
        to: &Parked,
        first: u64,
        one_place: bool,
        told: &mut impl Iterator<Item = Told>,
    ) {
        let (mut next, mut left) = (Some(first), to.max);
        while let Some(seq) = next {
            let told = told.next().unwrap_or_else(|| panic!("{to:?} gets {seq}"));
            assert_eq!((told.session, told.tag), (to.session, to.tag), "whose turn it is");
            self.grant(to, seq, &told);
            left -= 1;
            next = if left > 0 { self.pick(to.queue) } else { None };
            if one_place {
                return;
            }
        }
    }

    fn grant(&mut self, to: &Parked, seq: u64, told: &Told) {
        let (no, now) = (to.queue, self.rig.now);
        let message = self.queue(no).messages[&seq].clone();
        assert_eq!(told.got.payload, message.payload, "the order of {no:?}");
        assert_eq!(message.at, Where::Ready);
        let before = self.given.iter().any(|given| given.id == message.id);
        assert!(!before || told.got.redelivered, "a client may have seen it before");
        self.hit(8);
        let lease = told.got.lease();
        assert_eq!((lease.queue, lease.seq.0), (no, seq));
        assert!(self.given.iter().all(|given| given.lease != lease));
        let time = to.lease.map_or(self.queue(no).rules.lease, Duration::from_millis);
        let session = to.bound.then_some(to.session);
        let deadline = now.after(time);
        let held = Held { lease, granted_at: now, deadline, bound: to.bound, session };
        let resident = message.level == sluice_model::Level::Memory;
        assert_eq!(resident, told.got.at.is_none());
        assert!(resident || told.written > 0, "a grant is written before it leaves");
        let session = to.session;
        self.given.push(Given { queue: no, id: message.id, seq, lease, session, resident });
        self.emit(no, seq, What::Granted(held));
    }

    /// Serves those who wait, and sees that they were.
    pub(super) fn serve(&mut self, no: QueueNo, told: &mut impl Iterator<Item = Told>) {
        while let Some(at) = self.parked.iter().position(|parked| parked.queue == no) {
            let Some(seq) = self.pick(no) else { break };
            let parked = self.parked.remove(at);
            let kept = parked.kept;
            self.grant_all(&parked, seq, kept, told);
        }
        if self.queue(no).hidden.is_empty() {
            self.end_waits(|parked| parked.queue == no && parked.until.is_none());
        }
    }

    /// Deliveries of a queue of which somebody's wait ended: the model takes them as they came.
    pub(super) fn follow(&mut self, no: QueueNo) {
        let _ready = self.pick(no);
        let all = self.deliveries();
        let (ours, others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|told| told.got.lease().queue == no);
        self.others.extend(others);
        let mut last = None;
        for told in ours {
            let at = self.parked.iter().position(|p| p.queue == no && p.tag == told.tag);
            let to = match (at, last.take()) {
                (Some(at), _) => self.parked.remove(at),
                (None, Some(parked)) => parked,
                (None, None) => panic!("a delivery that nobody waits for"),
            };
            let seq = told.got.lease().seq.0;
            assert!(self.queue(no).is_visible(seq));
            assert_eq!((told.session, told.tag), (to.session, to.tag));
            self.grant(&to, seq, &told);
            last = Some(to);
        }
    }

    /// These receives have been told that there is nothing.
    pub(super) fn end_waits(&mut self, which: impl Fn(&Parked) -> bool) {
        let waiting = std::mem::take(&mut self.parked);
        let (ended, others): (Vec<_>, _) = waiting.into_iter().partition(which);
        self.parked = others;
        for parked in ended {
            let told = self.answer_to(parked.session, parked.tag);
            assert!(matches!(told, Ok(Answer::Empty { .. })), "{parked:?}: {told:?}");
        }
    }

    /// What a commit shows is handed to those who wait.
    pub(super) fn commit(&mut self) {
        let (progress, last) = (self.rig.progress, self.rig.tape.last());
        let before = last;
        let written = self.dice.between(progress.written, last);
        let synced = self.dice.between(progress.synced, written);
        if self.dice.one_in(2) {
            self.rig.commit()
        } else {
            self.rig.commit_to(written, synced)
        }
        self.show_committed(before);
    }

    /// Those who wait get what the commit after record `before` has shown.
    fn show_committed(&mut self, before: u64) {
        let progress = self.rig.progress;
        for queue in self.live.queues.values_mut() {
            queue.reveal(progress);
        }
        self.serve_all();
        self.settle(before);
    }

    /// Deliveries to those who wait, queue by queue.
    pub(super) fn serve_all(&mut self) {
        let mut told = self.deliveries();
        for no in self.queues() {
            let theirs = told.extract_if(.., |told| told.got.lease().queue == no);
            let theirs: Vec<_> = theirs.collect();
            let mut theirs = theirs.into_iter();
            self.serve(no, &mut theirs);
            assert_eq!(theirs.count(), 0, "deliveries that nobody waits for");
        }
        assert!(told.is_empty(), "deliveries of no queue");
    }
}
