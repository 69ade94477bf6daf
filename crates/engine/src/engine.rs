//! The rules of the broker as a state machine.
//!
//! A turn is made of calls: requests first, then [`Engine::progress`] when the log has got on,
//! then [`Engine::fire`]. Each gets the time and appends what it wants done to [`Effects`], what
//! must survive to the [`Journal`]. A request is decided into records, and records are applied;
//! replay applies the same records (`apply.rs`). Nothing else changes what survives.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use sluice_model::{
    Answer, Client, Code, Command, Generation, LeaseId, QueueNo, Refusal, Reply, Request, Seq,
    SessionId, SubscriptionId, SubscriptionName, Timestamp, TopicPattern,
};

use crate::config::{Config, Level, OnExpire, QueueConfig};
use crate::deadlines::{Deadlines, Due};
use crate::effects::{Effect, Effects, Handover, Place, Resident, Ticket};
use crate::journal::{BodyRef, Journal, Need, Progress, Sequence};
use crate::queue::Queue;
use crate::queue::slots::{Extra, State};
use crate::random::{LeaseKey, Random, SeededMap};
use crate::record::{Cause, DeadReason, Record, Removal, Target};
use crate::session::Session;
use crate::stats::Stats;
use crate::topic::{Ephemeral, Holdings, Owner, TopicIndex};
use crate::usage::Usage;

/// Room that any answer without a message needs.
const ANSWER_WEIGHT: usize = 2 * Reply::WEIGHT_MIN;

/// Whether a request was run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Ran {
    /// It took effect or was refused.
    Done,
    /// Its reply found no room among those on their way; nothing happened.
    NoRoom,
}

/// The state of the broker.
#[derive(Debug)]
pub struct Engine {
    pub(crate) config: Config,
    pub(crate) random: Random,
    pub(crate) lease_key: LeaseKey,
    /// Which start of the broker this is; 0 until [`Engine::start`].
    pub(crate) start: u32,
    pub(crate) next: Counters,
    pub(crate) sessions: SeededMap<SessionId, Session>,
    pub(crate) queues: SeededMap<QueueNo, Queue>,
    pub(crate) names: BTreeMap<SubscriptionName, QueueNo>,
    /// Unnamed durable subscriptions by who may take them over.
    pub(crate) unnamed: BTreeMap<(Owner, TopicPattern), BTreeSet<QueueNo>>,
    pub(crate) ephemerals: SeededMap<SubscriptionId, Ephemeral>,
    pub(crate) topics: TopicIndex,
    pub(crate) holdings: Holdings,
    pub(crate) deadlines: Deadlines,
    pub(crate) usage: Usage,
    pub(crate) stats: Stats,
    progress: Progress,
    /// What has to be committed for somebody who waits.
    pub(crate) wanted: Need,
    /// Queues with messages that are not visible yet.
    pub(crate) hidden: Vec<QueueNo>,
    /// Copies of durable messages for subscribers at most once, until they are committed.
    pub(crate) hidden_copies: VecDeque<HiddenCopy>,
    /// Queues that are gone, of which messages are still to be forgotten.
    pub(crate) ended: VecDeque<Queue>,
    /// Image pieces that are gone since the last image.
    pub(crate) removed_pieces: Vec<crate::image::Key>,
    pub(crate) global_dirty: bool,
}

/// The last number given out of each kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) message: u64,
    pub(crate) generation: u64,
    pub(crate) queue: u32,
    pub(crate) subscription: u64,
    pub(crate) session: u64,
    pub(crate) ticket: u64,
}

/// A copy of a durable message for subscribers at most once.
#[derive(Debug)]
pub(crate) struct HiddenCopy {
    pub(crate) need: Need,
    pub(crate) message: Arc<Resident>,
    pub(crate) to: Vec<SubscriptionId>,
}

/// What a call works with besides the engine's own state.
pub(crate) struct Turn<'a> {
    pub(crate) now: Timestamp,
    pub(crate) journal: &'a mut dyn Journal,
    pub(crate) effects: &'a mut Effects,
}

impl Engine {
    /// An engine without state. `seed` decides all that chance decides.
    pub fn new(config: Config, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let key = u128::from(random.next()) << 64 | u128::from(random.next());
        Self {
            config,
            lease_key: LeaseKey::from_bytes(key.to_le_bytes()),
            start: 0,
            next: Counters::default(),
            sessions: random.map(),
            queues: random.map(),
            names: BTreeMap::new(),
            unnamed: BTreeMap::new(),
            ephemerals: random.map(),
            topics: TopicIndex::new(random.map()),
            holdings: Holdings::default(),
            deadlines: Deadlines::default(),
            usage: Usage::default(),
            stats: Stats::default(),
            progress: Progress::default(),
            wanted: Need::NONE,
            hidden: Vec::new(),
            hidden_copies: VecDeque::new(),
            ended: VecDeque::new(),
            removed_pieces: Vec::new(),
            global_dirty: true,
            random,
        }
    }

    /// Opens a session.
    pub fn open(&mut self, client: Client) -> SessionId {
        self.next.session += 1;
        let id = SessionId(self.next.session);
        self.sessions.insert(id, Session::new(client));
        id
    }

    /// Runs one request of a session, or says that its reply finds no room.
    pub fn request(
        &mut self,
        now: Timestamp,
        session: SessionId,
        request: &Request,
        journal: &mut dyn Journal,
        effects: &mut Effects,
    ) -> Ran {
        let turn = &mut Turn { now, journal, effects };
        let out_max = self.config.session_out_max;
        let Some(state) = self.sessions.get(&session).filter(|state| !state.closed) else {
            return Ran::Done;
        };
        if !state.has_room(ANSWER_WEIGHT, out_max) {
            return Ran::NoRoom;
        }
        let tag = request.tag;
        match &request.command {
            Command::Publish(publish) => self.publish(turn, session, tag, publish),
            Command::Subscribe(subscribe) => self.subscribe(turn, session, tag, subscribe),
            Command::Receive { subscription } => {
                return self.receive(turn, session, tag, *subscription);
            }
            Command::Ack { lease, confirm } => self.ack(turn, session, tag, *lease, *confirm),
            Command::Nack { lease, outcome, confirm } => {
                self.nack(turn, session, tag, *lease, *outcome, *confirm);
            }
            Command::Fence => {
                let need = state.need;
                self.reply(turn.effects, session, tag, Answer::Fenced, need);
            }
            Command::Refused(refusal) => {
                self.stats.refused += 1;
                let answer = Answer::Refused(Refusal::clone(refusal));
                self.reply(turn.effects, session, tag, answer, Need::NONE);
            }
        }
        Ran::Done
    }

    /// Refuses a request without running it.
    pub fn turn_away(
        &mut self,
        session: SessionId,
        tag: u64,
        code: Code,
        reason: &'static str,
        effects: &mut Effects,
    ) -> Ran {
        let out_max = self.config.session_out_max;
        match self.sessions.get(&session).filter(|state| !state.closed) {
            None => return Ran::Done,
            Some(state) if !state.has_room(ANSWER_WEIGHT, out_max) => return Ran::NoRoom,
            Some(_) => self.refuse(effects, session, tag, code, reason),
        }
        Ran::Done
    }

    /// Notes that replies of this weight have left a session.
    pub fn written(&mut self, session: SessionId, weight: usize) {
        if let Some(state) = self.sessions.get_mut(&session) {
            state.out = state.out.saturating_sub(weight);
        }
    }

    /// Notes how far the log has got: shows what is committed by now, and answers those who
    /// waited for it.
    pub fn progress(
        &mut self,
        now: Timestamp,
        progress: Progress,
        journal: &mut dyn Journal,
        effects: &mut Effects,
    ) {
        let turn = &mut Turn { now, journal, effects };
        self.progress = progress;
        while let Some(copy) = self.hidden_copies.pop_front_if(|copy| copy.need.is_met(progress)) {
            self.spread(&copy.to, &copy.message);
        }
        let mut queues = std::mem::take(&mut self.hidden);
        queues.retain(|&no| {
            let Some(queue) = self.queues.get_mut(&no) else { return false };
            let level = queue_config(&self.config, queue).level;
            queue.reveal(match level {
                Level::Os => progress.written,
                Level::Sync => progress.synced,
            });
            queue.listed_hidden = queue.has_hidden();
            let listed = queue.listed_hidden;
            self.serve_parked(turn, no);
            listed
        });
        // Nothing above adds to the list: a publish is the only thing that does.
        self.hidden = queues;
    }

    /// Lets happen what is due, up to a bounded number of things; then forgets a bounded part of
    /// what has ended.
    pub fn fire(&mut self, now: Timestamp, journal: &mut dyn Journal, effects: &mut Effects) {
        let turn = &mut Turn { now, journal, effects };
        for _ in 0..self.config.deadlines_per_turn {
            let Some(due) = self.deadlines.pop(now) else { break };
            match due {
                Due::Lease(queue, seq) => self.lease_is_due(turn, queue, seq),
                Due::Ready(queue, seq) => {
                    if let Some(queue) = self.queues.get_mut(&queue) {
                        queue.wake(seq.0);
                    }
                }
                Due::Expire(queue, seq) => self.expire(turn, queue, seq),
                Due::Grace(session) => self.grace_is_over(turn, session),
                Due::Inactive(queue) => self.end_queue(turn, queue),
            }
        }
        self.forget_ended();
    }

    /// When [`Engine::fire`] has something to do next.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        if self.ended.is_empty() { self.deadlines.next() } else { Some(Timestamp::EPOCH) }
    }

    /// What has to be committed for somebody who waits: a reply, or a message to become visible.
    pub fn wanted(&self) -> Need {
        self.wanted
    }

    /// What was counted since the process started.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Bytes of live records in a segment of the log, as they would be if written anew.
    pub fn live_bytes_of(&self, segment: u32) -> u64 {
        self.usage.of(segment)
    }

    /// Bytes of live records in the whole log, as they would be if written anew.
    pub fn live_bytes(&self) -> u64 {
        self.usage.total()
    }

    /// Durable and ephemeral subscriptions.
    pub fn subscriptions(&self) -> usize {
        self.queues.len() + self.ephemerals.len()
    }

    /// Sessions whose connection lives.
    pub fn sessions(&self) -> usize {
        self.sessions.values().filter(|session| !session.closed).count()
    }

    /// Messages in queues, in any state.
    pub fn queued(&self) -> u64 {
        self.queues.values().map(Queue::present).sum()
    }

    /// Checks what must hold between any two calls, and panics where it does not.
    pub fn check(&self) {
        let mut live = 0;
        for queue in self.queues.values() {
            queue.check();
            live += queue.counts.leased;
        }
        let held: usize = self.sessions.values().map(|session| session.leases.len()).sum();
        assert!(held as u64 <= live, "sessions hold {held} leases of {live}");
    }

    /// Appends a record and applies it.
    pub(crate) fn commit(&mut self, journal: &mut dyn Journal, record: &Record<'_>) -> BodyRef {
        let body = journal.append(record);
        self.apply(record, body);
        body
    }

    pub(crate) fn reply(
        &mut self,
        effects: &mut Effects,
        session: SessionId,
        tag: u64,
        answer: Answer,
        need: Need,
    ) {
        let reply = Reply { tag, answer };
        if let Some(state) = self.sessions.get_mut(&session) {
            state.out += reply.weight();
        }
        self.wanted.cover(need);
        effects.push(Effect::Reply {
            session,
            tag,
            place: Place::Next,
            answer: reply.answer,
            need,
        });
    }

    pub(crate) fn refuse(
        &mut self,
        effects: &mut Effects,
        session: SessionId,
        tag: u64,
        code: Code,
        message: impl Into<std::borrow::Cow<'static, str>>,
    ) {
        self.stats.refused += 1;
        let answer = Answer::Refused(Refusal::new(code, message));
        self.reply(effects, session, tag, answer, Need::NONE);
    }

    /// The ticket of a place that is kept for a later answer.
    pub(crate) fn next_ticket(&mut self) -> Ticket {
        self.next.ticket += 1;
        Ticket(self.next.ticket)
    }

    pub(crate) fn next_generation(&mut self) -> Generation {
        self.next.generation += 1;
        Generation { start: self.start, counter: self.next.generation }
    }

    pub(crate) fn lease_id(&self, queue: QueueNo, seq: Seq, generation: Generation) -> LeaseId {
        let secret = self.lease_key.secret(queue, seq, generation);
        LeaseId { queue, seq, generation, secret }
    }

    /// Hands a message to subscribers at most once.
    pub(crate) fn spread(&mut self, to: &[SubscriptionId], message: &Arc<Resident>) {
        for id in to {
            if let Some(ephemeral) = self.ephemerals.get_mut(id) {
                let bytes_max = self.config.subscriber_buffer_bytes;
                self.stats.gaps += ephemeral.push(Arc::clone(message), bytes_max);
            }
        }
    }

    /// Forgets a bounded part of the messages of queues that are gone.
    fn forget_ended(&mut self) {
        let mut left = self.config.deadlines_per_turn;
        while let Some(queue) = self.ended.front_mut() {
            let first = queue.slots.first_seq();
            let Some(seq) = queue.slots.next_alive(first, queue.slots.next()) else {
                let queue = self.ended.pop_front().expect("it is at the front");
                crate::image::removed_keys(queue, &mut self.removed_pieces);
                continue;
            };
            if left == 0 {
                break;
            }
            left -= 1;
            if let Some((slot, extra)) = queue.slots.get_full(seq) {
                cancel_deadlines(&mut self.deadlines, queue.no, seq, extra);
                self.usage.release(slot);
            }
            queue.slots.remove(seq);
        }
    }

    /// T18: a message ran out of time while nobody held it.
    pub(crate) fn expire(&mut self, turn: &mut Turn<'_>, no: QueueNo, seq: Seq) {
        let Some(queue) = self.queues.get(&no) else { return };
        let Some(slot) = queue.slots.get(seq.0) else { return };
        // A held message may still be acked; its time is looked at again when the lease ends.
        if matches!(slot.state(), State::Ready | State::Delayed) {
            let resident = slot.sequence() == 0;
            self.run_out(turn, Target::new(no, seq), resident);
        }
    }

    /// T18, T19: ends a message that is past its time.
    pub(crate) fn run_out(
        &mut self,
        turn: &mut Turn<'_>,
        target: Target,
        resident: bool,
    ) -> Sequence {
        let Some(queue) = self.queues.get(&target.queue) else { return 0 };
        self.stats.expired += 1;
        let record = match queue_config(&self.config, queue).on_expire {
            OnExpire::Drop => Record::Removed { target, why: Removal::Expired },
            OnExpire::Dead => {
                self.stats.dead += 1;
                Record::Buried { target, reason: DeadReason::Expired, at: turn.now }
            }
        };
        self.change(turn, &record, resident)
    }

    /// Applies a record; appends it first unless the message is in memory only.
    pub(crate) fn change(
        &mut self,
        turn: &mut Turn<'_>,
        record: &Record<'_>,
        resident: bool,
    ) -> Sequence {
        if resident {
            self.apply(record, BodyRef::default());
            0
        } else {
            self.commit(turn.journal, record).sequence
        }
    }

    fn lease_is_due(&mut self, turn: &mut Turn<'_>, no: QueueNo, seq: Seq) {
        let Some(queue) = self.queues.get(&no) else { return };
        let Some((_, Some(extra))) = queue.slots.get_full(seq.0) else { return };
        let Some(lease) = extra.lease else { return };
        // After a restart a lease that was bound to a connection ends uncounted: the connection
        // went away with the broker.
        let orphan = lease.bound && lease.session.is_none();
        let cause = if orphan { Cause::Withdrawn } else { Cause::Expired };
        self.end_lease(turn, no, seq, cause, None);
    }

    /// T17: the oldest delivery of a lost connection failed, the others go back untouched.
    fn grace_is_over(&mut self, turn: &mut Turn<'_>, id: SessionId) {
        let Some(session) = self.sessions.get(&id) else { return };
        let leases: Vec<_> = session.leases.iter().copied().collect();
        for (at, (_, queue, seq)) in leases.into_iter().enumerate() {
            let cause = if at == 0 { Cause::Lost } else { Cause::Withdrawn };
            self.end_lease(turn, queue, seq, cause, None);
        }
        self.sessions.remove(&id);
    }

    /// Answers the receives that waited for a commit of this queue, in their order.
    fn serve_parked(&mut self, turn: &mut Turn<'_>, no: QueueNo) {
        while let Some(queue) = self.queues.get_mut(&no) {
            let Some(parked) = queue.parked.front().copied() else { return };
            let live = self.sessions.get(&parked.session).is_some_and(|session| !session.closed);
            let found = if live { self.next_message(turn, no) } else { None };
            let Some(queue) = self.queues.get_mut(&no) else { return };
            if live && found.is_none() && queue.has_hidden() {
                return;
            }
            queue.parked.pop_front();
            if !live {
                continue;
            }
            if let Some(session) = self.sessions.get_mut(&parked.session) {
                session.out = session.out.saturating_sub(parked.weight);
            }
            let place = Place::Kept(parked.ticket);
            match found {
                Some(seq) => {
                    let (session, tag) = (parked.session, parked.tag);
                    self.grant(turn, session, tag, place, parked.subscription, no, seq);
                }
                None => self.answer_empty(turn.effects, parked.session, parked.tag, place),
            }
        }
    }

    pub(crate) fn answer_empty(
        &mut self,
        effects: &mut Effects,
        session: SessionId,
        tag: u64,
        place: Place,
    ) {
        let Some(state) = self.sessions.get_mut(&session) else { return };
        state.out += Reply::WEIGHT_MIN;
        let need = state.need;
        self.wanted.cover(need);
        effects.push(Effect::Reply { session, tag, place, answer: Answer::Empty, need });
    }

    pub(crate) fn deliver(
        &mut self,
        effects: &mut Effects,
        session: SessionId,
        tag: u64,
        place: Place,
        handover: Handover,
        mut need: Need,
    ) {
        let Some(state) = self.sessions.get_mut(&session) else { return };
        state.out += Reply::delivery_weight(handover.bytes());
        need.cover(state.need);
        self.wanted.cover(need);
        self.stats.delivered += 1;
        effects.push(Effect::Deliver { session, tag, place, handover, need });
    }
}

/// The rules that a queue goes by.
pub(crate) fn queue_config<'a>(config: &'a Config, queue: &Queue) -> &'a QueueConfig {
    if queue.name.is_some() { &config.queue } else { &config.unnamed }
}

/// The progress that a record of a queue at `level` waits for.
pub(crate) fn need_of(level: Level, sequence: Sequence) -> Need {
    match level {
        Level::Os => Need { written: sequence, synced: 0 },
        Level::Sync => Need { written: sequence, synced: sequence },
    }
}

/// Takes back every deadline of a message.
pub(crate) fn cancel_deadlines(
    deadlines: &mut Deadlines,
    no: QueueNo,
    seq: u64,
    extra: Option<&Extra>,
) {
    let Some(extra) = extra else { return };
    let seq = Seq(seq);
    if let Some(lease) = extra.lease {
        deadlines.cancel(lease.deadline, Due::Lease(no, seq));
    }
    deadlines.cancel(extra.ready_at, Due::Ready(no, seq));
    deadlines.cancel(extra.expires_at, Due::Expire(no, seq));
}
