//! Granting: leases of the next messages of a queue, all that one receive takes in one record.

use std::borrow::Cow;
use std::sync::Arc;

use sluice_model::{Generation, Lane, LeaseId, QueueNo, Reply, Seq, SessionId, Timestamp};

use crate::effects::{Body, Handover, Place};
use crate::engine::{Asked, Engine, Turn};
use crate::journal::{Need, Sequence};
use crate::queue::Queue;
use crate::queue::lanes::Candidate;
use crate::queue::slots::{Extra, Lease, Slot};
use crate::receive::{Next, Terms, is_spent};
use crate::record::{MANY_MAX, Record, Run, Target};

/// Handovers that room is made for at once.
const ROOM_MAX: usize = 128;

/// What a receive gets, and may still get.
struct Offer {
    handovers: Vec<Handover>,
    need: Need,
    /// Messages that may still follow.
    left: u32,
    /// It may be answered with more than one.
    many: bool,
    /// Weight of the session's replies without the last handover, and how much that may be.
    out: usize,
    out_max: usize,
    /// Weight of the handovers.
    weight: usize,
}

/// Messages that one record grants.
struct Picked {
    runs: Vec<Run>,
    first: Generation,
    deadline: Timestamp,
    /// They are in memory only, so there is no record.
    resident: bool,
    /// A window has to know of them after a crash.
    windowed: bool,
    /// Order and limits of those in memory only that a window has to know of.
    lanes: Vec<Arc<Lane>>,
}

impl Engine {
    /// Hands over a message, and those behind it as far as the terms and the room allow.
    pub(crate) fn grant_all(
        &mut self,
        turn: &mut Turn<'_>,
        to: Asked,
        no: QueueNo,
        terms: Terms,
        first: Next,
    ) {
        let Some(mut offer) = self.offer(to, terms) else { return };
        let mut next = Some(first);
        while let Some(first) = next
            && let Some(picked) = self.pick_from(turn, no, terms, &mut offer, first)
        {
            self.lease(turn, to.session, no, &picked, terms.bound, &mut offer.need);
            // Where the record ended early, there may be more.
            next = if offer.left > 0 { self.next_message(turn, no) } else { None };
            next = next.filter(|next| offer.fits(self.bytes_of(no, next.seq)));
            if let Some(last) = offer.handovers.last_mut() {
                last.more = next.is_some();
            }
        }
        if let Some(state) = self.sessions.get_mut(&to.session) {
            state.out += offer.weight;
        }
        self.deliver(turn.effects, to, offer.handovers, offer.need);
    }

    fn offer(&self, to: Asked, terms: Terms) -> Option<Offer> {
        let state = self.sessions.get(&to.session)?;
        let free = self.config.session_leases_max.saturating_sub(state.leases.len()).max(1);
        let free = u32::try_from(free).unwrap_or(u32::MAX);
        let left = if terms.bound { terms.max.min(free) } else { terms.max };
        Some(Offer {
            handovers: Vec::with_capacity(ROOM_MAX.min(left as usize)),
            need: Need::NONE,
            left,
            // The place that was kept for an answer is one place.
            many: to.place == Place::Next,
            out: state.out.saturating_sub(state.reserved),
            out_max: self.config.session_out_max,
            weight: 0,
        })
    }

    /// Takes the next messages into the offer, as many as one record can grant.
    fn pick_from(
        &mut self,
        turn: &mut Turn<'_>,
        no: QueueNo,
        terms: Terms,
        offer: &mut Offer,
        first: Next,
    ) -> Option<Picked> {
        match first.chosen {
            Some(chosen) => self.pick_laned(turn, no, terms, offer, chosen),
            None => self.pick(turn.now, no, terms, offer),
        }
    }

    /// In a queue with lanes each message is charged when it is picked.
    fn pick_laned(
        &mut self,
        turn: &mut Turn<'_>,
        no: QueueNo,
        terms: Terms,
        offer: &mut Offer,
        first: Candidate,
    ) -> Option<Picked> {
        let mut picked = self.begin_pick(turn.now, no, terms)?;
        let mut generation = picked.first;
        let mut next = Some(first);
        for _ in 0..MANY_MAX {
            let Some(chosen) = next.take().or_else(|| self.choose(turn, no)) else { break };
            let Some(queue) = self.queues.get(&no) else { break };
            let Some((slot, extra)) = queue.slots.get_full(chosen.seq) else { break };
            let (resident, len) = (slot.sequence() == 0, slot.len() as usize);
            if picked.runs.is_empty() {
                picked.resident = resident;
            } else if resident != picked.resident {
                break;
            } else if !offer.fits(len) {
                offer.left = 0;
                break;
            }
            let lease = self.lease_id(no, Seq(chosen.seq), generation);
            offer.push(handover(queue, (slot, extra), lease, picked.deadline, terms));
            let lane = extra.and_then(Extra::lane).filter(|_| resident).cloned();
            if self.take_chosen(turn.now, no, &chosen) {
                picked.windowed = true;
                picked.lanes.extend(lane);
            }
            Run::add(&mut picked.runs, Seq(chosen.seq));
            generation.counter += 1;
            if offer.left == 0 {
                break;
            }
        }
        (!picked.runs.is_empty()).then_some(picked)
    }

    fn begin_pick(&self, now: Timestamp, no: QueueNo, terms: Terms) -> Option<Picked> {
        let queue = self.queues.get(&no)?;
        let counter = self.next.generation + 1;
        Some(Picked {
            runs: Vec::new(),
            first: Generation { start: self.start, counter },
            deadline: now.after(terms.lease.unwrap_or(queue.rules.lease)),
            resident: false,
            windowed: false,
            lanes: Vec::new(),
        })
    }

    /// Where the order of the queue says what is next: all are in memory only or none is, and none is
    /// to go on the way. Nothing is changed yet.
    fn pick(&self, now: Timestamp, no: QueueNo, terms: Terms, offer: &mut Offer) -> Option<Picked> {
        let queue = self.queues.get(&no)?;
        let mut picked = self.begin_pick(now, no, terms)?;
        let mut generation = picked.first;
        for seq in queue.order.ahead(&queue.slots).take(MANY_MAX as usize) {
            let Some((slot, extra)) = queue.slots.get_full(seq) else { break };
            let resident = slot.sequence() == 0;
            if picked.runs.is_empty() {
                picked.resident = resident;
            } else if resident != picked.resident
                || extra.is_some_and(|e| e.has_expired(now) || is_spent(&queue.rules, e))
            {
                break;
            } else if !offer.fits(slot.len() as usize) {
                offer.left = 0;
                break;
            }
            let lease = self.lease_id(no, Seq(seq), generation);
            offer.push(handover(queue, (slot, extra), lease, picked.deadline, terms));
            Run::add(&mut picked.runs, Seq(seq));
            generation.counter += 1;
            if offer.left == 0 {
                break;
            }
        }
        (!picked.runs.is_empty()).then_some(picked)
    }

    /// Writes down what was picked, and makes it so.
    fn lease(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        no: QueueNo,
        picked: &Picked,
        bound: bool,
        need: &mut Need,
    ) {
        let Picked { runs, first: generation, deadline, resident, .. } = picked;
        let (generation, at, deadline) = (*generation, turn.now, *deadline);
        let record = match runs[..] {
            [Run { first, count: 1 }] => {
                let target = Target::new(no, first);
                Record::Granted { target, generation, at, deadline, bound }
            }
            _ => {
                let runs = Cow::Borrowed(&runs[..]);
                Record::GrantedMany { queue: no, runs, generation, at, deadline, bound }
            }
        };
        let sequence = if *resident { 0 } else { turn.journal.append(&record).sequence };
        let last = self.count_resident(turn, no, picked).max(sequence);
        need.cover(Need { written: last, synced: if picked.windowed { last } else { 0 } });
        // As `apply` does it, but that these leases have a connection that lives.
        let holder = bound.then_some(session);
        let lease = Lease { generation, granted_at: at, deadline, bound, session: holder };
        self.grant_messages(no, runs, lease, sequence);
        if let Some(state) = holder.and_then(|id| self.sessions.get_mut(&id)) {
            let mut next = generation;
            for run in runs {
                state.leases.insert((next, no, run.first), run.count);
                next.counter += u64::from(run.count);
            }
        }
    }
}

impl Engine {
    /// Writes down that messages in memory only were handed out under a window.
    fn count_resident(&self, turn: &mut Turn<'_>, no: QueueNo, picked: &Picked) -> Sequence {
        if !picked.windowed || !picked.resident {
            return 0;
        }
        let plain =
            picked.runs.iter().map(|run| run.count).sum::<u32>() - picked.lanes.len() as u32;
        let mut write = |lane: Cow<'_, Lane>, count| {
            let record = Record::Counted { queue: no, at: turn.now, lane, count };
            turn.journal.append(&record).sequence
        };
        let mut last = 0;
        if plain > 0 {
            last = write(Cow::Owned(Lane::default()), plain);
        }
        for lane in &picked.lanes {
            last = write(Cow::Borrowed(lane), 1);
        }
        last
    }
}

impl Offer {
    /// Whether a message of so many bytes may follow the last one.
    fn fits(&self, bytes: usize) -> bool {
        let last = self.handovers.last().map_or(0, Handover::bytes);
        let weight = Reply::delivery_weight(last + bytes + Reply::WEIGHT_MIN);
        self.many && (self.out == 0 || self.out + weight <= self.out_max)
    }

    fn push(&mut self, handover: Handover) {
        if let Some(last) = self.handovers.last_mut() {
            last.more = true;
            self.out += Reply::delivery_weight(last.bytes());
        }
        self.weight += Reply::delivery_weight(handover.bytes());
        self.handovers.push(handover);
        self.left -= 1;
    }
}

/// A message as it is handed over.
fn handover(
    queue: &Queue,
    (slot, extra): (&Slot, Option<&Extra>),
    lease: LeaseId,
    deadline: Timestamp,
    terms: Terms,
) -> Handover {
    let before = extra.map_or(0, |extra| extra.acquires);
    let resident = extra.and_then(|extra| extra.resident.as_ref());
    Handover {
        subscription: terms.subscription,
        lease: Some(lease),
        deadline,
        redelivered: lease.seq.0 < queue.doubtful_below || before > 0,
        attempt: before + 1,
        failures: extra.map_or(0, |extra| extra.failures),
        lane: extra.and_then(|extra| extra.lane().cloned()),
        body: match resident {
            Some(message) => Body::Resident(message.clone()),
            None => Body::stored(slot.body()),
        },
        more: false,
    }
}
