//! The rules of the broker as a state machine.
//!
//! A turn is made of calls: requests first, then [`Engine::progress`] when the log has got on,
//! then [`Engine::fire`]. Each gets the time and appends what it wants done to [`Effects`], what
//! must survive to the [`Journal`]. A request is decided into records, and records are applied;
//! replay applies the same records (`apply.rs`). Nothing else changes what survives.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use sluice_model::{
    Answer, Client, Code, Command, Confirm, Generation, LeaseId, Level, QueueNo, Refusal, Reply,
    Request, Seq, SessionId, SubscriptionId, Timestamp, TopicPattern,
};

use crate::config::{Config, QueueConfig};
use crate::deadlines::{Deadlines, Due};
use crate::dedupe::Dedupes;
use crate::effects::{Effects, Place};
use crate::imaging::Changes;
use crate::journal::{BodyRef, Journal, Need, Progress, Sequence};
use crate::kv::Kv;
use crate::limits::{Limits, micros, moment};
use crate::names::Names;
use crate::queue::Queue;
use crate::random::{LeaseKey, Random, SeededMap};
use crate::record::Record;
use crate::session::Session;
use crate::settle::How;
use crate::stats::Stats;
use crate::topic::{Copy, Ephemeral, Holdings, Listener, Owner, Route, TopicIndex};
use crate::usage::Usage;

/// Room that any answer without a message needs.
const ANSWER_WEIGHT: usize = 2 * Reply::WEIGHT_MIN;

/// Why a request is refused: a code and the reason.
pub(crate) type Refused = (Code, std::borrow::Cow<'static, str>);

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
    pub(crate) names: Names,
    /// Sessions whose leases are over and go back in slices.
    pub(crate) releasing: BTreeSet<SessionId>,
    /// Unnamed durable subscriptions by who may take them over.
    pub(crate) unnamed: BTreeMap<(Owner, TopicPattern), BTreeSet<QueueNo>>,
    pub(crate) ephemerals: SeededMap<SubscriptionId, Ephemeral>,
    pub(crate) topics: TopicIndex,
    /// Subscriptions and queues by who made them.
    pub(crate) holdings: Holdings,
    pub(crate) queues_held: Holdings,
    pub(crate) dedupes: Dedupes,
    /// Queues that are a subscription's.
    pub(crate) subscription_queues: usize,
    /// The rules of queues that chose nothing, shared by them.
    pub(crate) defaults: Defaults,
    pub(crate) deadlines: Deadlines,
    pub(crate) usage: Usage,
    pub(crate) kv: Kv,
    pub(crate) limits: Limits,
    /// Of the hashes of lanes.
    pub(crate) lane_seed: u64,
    pub(crate) stats: Stats,
    /// Messages in queues, in any state.
    pub(crate) present: u64,
    /// Sessions whose connection lives.
    pub(crate) sessions_open: usize,
    pub(crate) progress: Progress,
    /// What has to be committed for somebody who waits.
    pub(crate) wanted: Need,
    /// Queues with messages that are not visible yet.
    pub(crate) hidden: Vec<QueueNo>,
    /// Where parked receives may find something by now.
    pub(crate) stirred: Vec<Listener>,
    /// Receives that wait get nothing.
    pub(crate) holds_deliveries: bool,
    /// Copies of durable messages for subscribers at most once, until they are committed.
    pub(crate) hidden_copies: VecDeque<HiddenCopy>,
    /// Queues that are gone, of which messages are still to be forgotten.
    pub(crate) ended: VecDeque<Queue>,
    /// Image pieces that are gone since the last image.
    pub(crate) removed_pieces: Vec<crate::image::Key>,
    pub(crate) global_dirty: bool,
    pub(crate) changes: Changes,
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

/// Rules that many queues share.
#[derive(Clone, Debug)]
pub(crate) struct Defaults {
    pub(crate) queue: Arc<QueueConfig>,
    pub(crate) unnamed: Arc<QueueConfig>,
}

/// A copy of a durable message for subscribers at most once.
#[derive(Debug)]
pub(crate) struct HiddenCopy {
    pub(crate) need: Need,
    pub(crate) copy: Copy,
    pub(crate) route: Arc<Route>,
}

/// Whose request it is, and where its answer goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) session: SessionId,
    pub(crate) tag: u64,
    pub(crate) place: Place,
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
        let defaults = Defaults {
            queue: Arc::new(config.queue.clone()),
            unnamed: Arc::new(config.unnamed.clone()),
        };
        Self {
            dedupes: Dedupes::new(
                random.map(),
                config.dedupe_topics_max,
                config.dedupe_topics_per_principal(),
            ),
            kv: Kv::new(&random),
            limits: Limits::new(&config, &mut random),
            lane_seed: random.next(),
            config,
            defaults,
            holdings: Holdings::default(),
            queues_held: Holdings::default(),
            subscription_queues: 0,
            stirred: Vec::new(),
            holds_deliveries: false,
            lease_key: LeaseKey::from_bytes(key.to_le_bytes()),
            start: 0,
            next: Counters::default(),
            sessions: random.map(),
            queues: random.map(),
            names: Names::new(random.map()),
            unnamed: BTreeMap::new(),
            releasing: BTreeSet::new(),
            ephemerals: random.map(),
            topics: TopicIndex::new(random.map()),
            deadlines: Deadlines::default(),
            usage: Usage::default(),
            stats: Stats::default(),
            present: 0,
            sessions_open: 0,
            progress: Progress::default(),
            wanted: Need::NONE,
            hidden: Vec::new(),
            hidden_copies: VecDeque::new(),
            ended: VecDeque::new(),
            removed_pieces: Vec::new(),
            global_dirty: true,
            changes: Changes::default(),
            random,
        }
    }

    /// Opens a session.
    pub fn open(&mut self, client: Client) -> SessionId {
        self.next.session += 1;
        let id = SessionId(self.next.session);
        self.sessions.insert(id, Session::new(client));
        self.sessions_open += 1;
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
        self.limits.now = micros(now);
        let turn = &mut Turn { now, journal, effects };
        let out_max = self.config.session_out_max;
        let Some(state) = self.sessions.get(&session).filter(|state| !state.closed) else {
            return Ran::Done;
        };
        if !state.has_room(greatest_answer(&request.command, out_max), out_max) {
            return Ran::NoRoom;
        }
        let tag = request.tag;
        match &request.command {
            Command::Publish(publish) => self.publish(turn, session, tag, publish),
            Command::PublishBatch(batch) => self.publish_batch(turn, session, tag, batch),
            Command::PublishBlock(block) => self.publish_block(turn, session, tag, block),
            Command::Subscribe(subscribe) => self.subscribe(turn, session, tag, subscribe),
            Command::Unsubscribe { subscription } => {
                self.unsubscribe(turn, session, tag, *subscription);
            }
            Command::Receive(receive) => return self.receive(turn, session, tag, receive),
            Command::Withdraw { receive } => self.withdraw(turn, session, *receive),
            Command::Ack { lease, confirm } => {
                self.settle(turn, session, tag, lease, How::Ack, *confirm);
            }
            Command::Nack { lease, outcome, confirm } => {
                self.settle(turn, session, tag, lease, How::Nack(outcome), *confirm);
            }
            Command::Extend { lease, by, confirm } => {
                self.settle(turn, session, tag, lease, How::Extend(*by), *confirm);
            }
            Command::SettleMany(many) => self.settle_many(turn, session, tag, many),
            Command::Fence => {
                let need = state.need;
                self.reply(turn.effects, session, tag, Answer::Fenced, need);
            }
            Command::Queue(request) => self.queue_request(turn, session, tag, request),
            Command::Limit(request) => self.limit_request(turn, session, tag, request),
            Command::Kv(request) => return self.kv_request(turn, session, tag, request),
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
        refusal: Refusal,
        effects: &mut Effects,
    ) -> Ran {
        let out_max = self.config.session_out_max;
        match self.sessions.get(&session).filter(|state| !state.closed) {
            None => return Ran::Done,
            Some(state) if !state.has_room(ANSWER_WEIGHT, out_max) => return Ran::NoRoom,
            Some(_) => {
                self.stats.refused += 1;
                self.reply(effects, session, tag, Answer::Refused(refusal), Need::NONE);
            }
        }
        Ran::Done
    }

    /// Notes that replies of this weight have left a session.
    pub fn written(&mut self, session: SessionId, weight: usize) {
        let Some(state) = self.sessions.get_mut(&session) else { return };
        state.out = state.out.saturating_sub(weight);
        // All of them at once, and only after a good part has left: what a session has waiting is
        // looked at again so many times, and no more, however small its replies are.
        let roomy = state.out.saturating_sub(state.reserved) <= self.config.session_out_max / 2;
        if state.starved.is_empty() || !roomy {
            return;
        }
        for (from, ticket) in std::mem::take(&mut state.starved) {
            if let Some(parked) = self.parked_mut(from) {
                parked.line_up(ticket);
            }
            self.stir(from);
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
        self.limits.now = micros(now);
        let turn = &mut Turn { now, journal, effects };
        self.progress = progress;
        while let Some(copy) = self.hidden_copies.pop_front_if(|copy| copy.need.is_met(progress)) {
            self.spread(&copy.route.ephemerals, &copy.copy);
        }
        let mut queues = std::mem::take(&mut self.hidden);
        let (mut kept, mut fetched) = (0, 0);
        for at in 0..queues.len() {
            if fetched == 0 {
                fetched = self.fetch_listed(&queues[at..]);
            }
            fetched -= 1;
            let no = queues[at];
            if self.show(turn, no) {
                queues[kept] = no;
                kept += 1;
            }
        }
        queues.truncate(kept);
        // Nothing above adds to the list: a publish is the only thing that does.
        self.hidden = queues;
        self.show_changes();
    }

    /// Shows what is committed of a queue by now. Tells whether there is more to show later.
    fn show(&mut self, turn: &mut Turn<'_>, no: QueueNo) -> bool {
        let Some(queue) = self.queues.get_mut(&no) else { return false };
        queue.reveal(self.progress);
        queue.listed_hidden = queue.has_hidden();
        let listed = queue.listed_hidden;
        self.serve_parked(turn, no);
        listed
    }

    /// Lets happen what is due, up to a bounded number of things, and serves those who wait for a
    /// message; then forgets a bounded part of what has ended.
    pub fn fire(&mut self, now: Timestamp, journal: &mut dyn Journal, effects: &mut Effects) {
        let turn = &mut Turn { now, journal, effects };
        let mut budget = self.config.deadlines_per_turn;
        self.limits.now = micros(now);
        self.advance_limits(&mut budget);
        while budget > 0 {
            let Some(due) = self.deadlines.pop(now) else { break };
            let before = budget;
            match due {
                Due::Lease(queue, seq) => self.lease_is_due(turn, queue, seq),
                Due::Ready(queue) => self.wake_due(now, queue, &mut budget),
                Due::Expire(queue, seq) => self.expire(turn, queue, seq),
                Due::Dead(queue) => self.trim_dead(turn, queue, &mut budget),
                Due::Grace(session) => self.grace_is_over(turn, session, &mut budget),
                Due::Release(session) => self.release_slice(turn, session, &mut budget),
                Due::Inactive(queue) => self.end_inactive(turn, queue),
                Due::Wait(from, ticket) => self.wait_is_over(turn, from, ticket),
                Due::Work(queue) => self.work_on(turn, queue, &mut budget),
                Due::Dedupe(scope) => self.forget_ids(now, scope, &mut budget),
                Due::Lanes(queue) => self.look_on(turn, queue, &mut budget),
                Due::Resume(queue) => self.pause_is_over(queue),
                Due::Key(revision) => self.key_is_due(turn, revision),
                Due::Watch(watch) => self.serve_watch(turn, watch),
            }
            // Whatever it was, it was one thing at least.
            budget = budget.min(before - 1);
        }
        self.show_changes();
        self.serve_stirred(turn);
        self.settle_lines(turn);
        self.trim_history();
        self.forget_ended(budget);
    }

    /// When [`Engine::fire`] has something to do next.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        if !self.ended.is_empty() || self.limits.resolving.is_some() {
            return Some(Timestamp::EPOCH);
        }
        let of_limits = self.limits.keyed.next_at().map(moment);
        self.deadlines.next().into_iter().chain(of_limits).min()
    }

    /// What has to be committed for somebody who waits: a reply, or a message to become visible.
    pub fn wanted(&self) -> Need {
        self.wanted
    }

    /// What was counted since the process started.
    pub fn stats(&self) -> Stats {
        Stats { refused_dedupe: self.dedupes.refused, ..self.stats }
    }

    /// Bytes of live records in a segment of the log, as they would be if written anew.
    pub fn live_bytes_of(&self, segment: u32) -> u64 {
        self.usage.of(segment)
    }

    /// Bytes of live records in the whole log, as they would be if written anew.
    pub fn live_bytes(&self) -> u64 {
        self.usage.total()
    }

    /// Durable subscriptions.
    pub fn durable_subscriptions(&self) -> usize {
        self.subscription_queues
    }

    /// Patterns of topics that somebody listens to.
    pub fn topics(&self) -> usize {
        self.topics.patterns()
    }

    /// Durable and ephemeral subscriptions.
    pub fn subscriptions(&self) -> usize {
        self.subscription_queues + self.ephemerals.len()
    }

    /// Queues that are no subscription's.
    pub fn plain_queues(&self) -> usize {
        self.queues.len() - self.subscription_queues
    }

    /// Dedupe ids that are remembered.
    pub fn dedupe_ids(&self) -> u64 {
        self.dedupes.len()
    }

    /// Sessions whose connection lives.
    pub fn sessions(&self) -> usize {
        self.sessions_open
    }

    /// Messages in queues, in any state.
    pub fn queued(&self) -> u64 {
        self.present
    }

    /// Checks what must hold between any two calls, and panics where it does not.
    pub fn check(&self) {
        let (mut live, mut present) = (0, 0);
        for queue in self.queues.values() {
            queue.check();
            self.changes.check(queue);
            live += queue.counts.by_state.leased;
            present += queue.counts.present();
        }
        let held: usize = self.sessions.values().map(|session| session.leases.len()).sum();
        assert!(held as u64 <= live, "sessions hold {held} leases of {live}");
        assert_eq!(present, self.present, "messages in all queues");
        self.kv.check();
        self.dedupes.check();
        self.limits.check();
        self.check_lines();
        let open = self.sessions.values().filter(|session| !session.closed).count();
        assert_eq!(open, self.sessions_open, "open sessions");
    }

    /// Appends a record and applies it.
    pub(crate) fn commit(&mut self, journal: &mut dyn Journal, record: &Record<'_>) -> BodyRef {
        let body = journal.append(record);
        self.apply(record, body);
        body
    }

    pub(crate) fn lease_id(&self, queue: QueueNo, seq: Seq, generation: Generation) -> LeaseId {
        let secret = self.lease_key.secret(queue, seq, generation);
        LeaseId { queue, seq, generation, secret }
    }

    /// Hands messages to subscribers at most once.
    pub(crate) fn spread(&mut self, to: &[SubscriptionId], copy: &Copy) {
        for id in to {
            if let Some(ephemeral) = self.ephemerals.get_mut(id) {
                let bytes_max = self.config.subscriber_buffer_bytes;
                self.stats.gaps += ephemeral.push(copy.clone(), bytes_max);
                self.stir(Listener::Ephemeral(*id));
            }
        }
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
}

/// The progress that a record of a queue at `level` waits for.
pub(crate) fn need_of(level: Level, sequence: Sequence) -> Need {
    match level {
        Level::Memory => Need::NONE,
        Level::Os => Need { written: sequence, synced: 0 },
        Level::Sync => Need { written: sequence, synced: sequence },
    }
}

/// The weight of the greatest answer that a command may get, of those that are not delivered. One
/// that is greater than half of `out_max` counts as that: it must not have to be alone.
fn greatest_answer(command: &Command, out_max: usize) -> usize {
    let weight = match command {
        Command::PublishBatch(batch) => Reply::WEIGHT_MIN * (1 + batch.messages.len()),
        Command::PublishBlock(block) if block.confirm == Confirm::Always => {
            let count = block.messages.count();
            match (block.whole, block.each) {
                (false, _) => Reply::refusals_weight(count),
                (true, true) => Reply::receipts_weight(count),
                (true, false) => ANSWER_WEIGHT,
            }
        }
        Command::SettleMany(many) => Reply::settled_weight(many.leases.len()),
        _ => ANSWER_WEIGHT,
    };
    weight.min(out_max / 2).max(ANSWER_WEIGHT)
}
