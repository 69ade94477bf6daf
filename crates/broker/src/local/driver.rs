//! One synchronous step of the local broker, the same in the process, in tests and in the
//! simulator.
//!
//! ```text
//! input --> engine --> records --> log (in memory) --take_commit--> Commit::run (I/O, no lock)
//!              ^  '--> answers --> outboxes --need met--> released        |
//!              '------------------- Input::Committed <-------------------'
//! ```
//!
//! A turn does no I/O and never blocks. Whoever runs a commit feeds its outcome back as the input
//! of another turn before it does anything else.

mod figures;
pub(crate) mod upkeep;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use sluice_engine::{Body, Effect, Effects, EndedBy, Engine, Place, Progress, Ran, Target};
use sluice_model::{Answer, Client, Code, LeaseId, Refusal, Reply, Request, SessionId, Timestamp};
use sluice_wal::{BodyRef, Commit, Committed, Disk, Log, Reader, Sequence, SyncPolicy, WalError};

use crate::Recovery;
use crate::local::journal::{LogJournal, place};
use crate::local::look::{Look, Looked};
use crate::local::outbox::{Outbox, Parcel};
use crate::local::replay::{Admission, Replay};
use crate::local::room::{Demand, Room};

/// When the driver syncs and marks by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// When records are synced.
    pub policy: SyncPolicy,
    /// Records that nobody waits for are synced within this time; at most 1 s.
    pub sync_lazy: Duration,
    /// After so long without a commit a sync mark is written.
    pub mark_after: Duration,
    /// Bytes that may wait for a commit; past it publishes are refused.
    pub waiting_max: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            policy: SyncPolicy::Always,
            sync_lazy: Duration::from_millis(50),
            mark_after: Duration::from_millis(100),
            waiting_max: 64 << 20,
        }
    }
}

/// How long whatever found no space on the disk waits before it is tried again.
const SPACE_RETRY: Duration = Duration::from_millis(200);

/// What a turn is about.
#[derive(Debug)]
pub enum Input<'a, D: Disk> {
    /// Requests of a session, from the front; those that ran are removed.
    Requests {
        /// Whose.
        session: SessionId,
        /// Weight of its replies that have left since it last said.
        written: usize,
        /// What it asks.
        requests: &'a mut VecDeque<Request>,
    },
    /// A session's connection is gone.
    Close {
        /// Whose.
        session: SessionId,
        /// Whose end went away.
        by: EndedBy,
        /// Leases of deliveries that were released to it and never left the process.
        unsent: Vec<LeaseId>,
    },
    /// A commit has ended, well or not.
    Committed(Committed<D>),
    /// The body of a delivery can't be read back.
    Corrupt(LeaseId),
    /// A body has to leave its segment, for those of the targets that still need it.
    Move {
        /// Which messages the record at the old place was for.
        targets: &'a [Target],
        /// The number of that record.
        from: u64,
        /// The body.
        body: &'a [u8],
    },
    /// The disk was asked for its space.
    Looked(Looked),
    /// Time has passed.
    Tick,
}

/// The local broker without its threads.
pub struct Driver<D: Disk> {
    pub(crate) engine: Engine,
    pub(crate) log: Log<D>,
    pace: Pace,
    effects: Effects,
    scratch: Vec<u8>,
    outboxes: BTreeMap<SessionId, Outbox>,
    /// Sessions whose outbox holds something.
    holding: BTreeSet<SessionId>,
    released: Vec<(SessionId, Parcel)>,
    /// Whose replies are ready, if any are.
    ahead: SessionId,
    /// A commit is running.
    committing: bool,
    /// When the oldest record was written that is not synced yet.
    unsynced_since: Option<Timestamp>,
    /// When the last commit ended, until a sync mark has followed it.
    unmarked_since: Option<Timestamp>,
    last_sync: Timestamp,
    /// A record that somebody outside the engine wants synced.
    sync_to: u64,
    failure: Option<WalError>,
    commits: u64,
    pub(crate) replay: Replay,
    pub(crate) room: Room,
    /// Nothing that waits for space is tried before.
    idle_until: Option<Timestamp>,
    /// What the start found.
    pub(crate) recovery: Recovery,
    checkpoints: u64,
    /// When the newest checkpoint was published.
    imaged_at: Option<Timestamp>,
    image_bytes: u64,
    moved_bytes: u64,
}

impl<D: Disk> Driver<D> {
    /// A driver over an engine that has been started and the log that it was restored from.
    pub(crate) fn new(
        engine: Engine,
        log: Log<D>,
        pace: Pace,
        replay: Replay,
        disk_low: u64,
    ) -> Self {
        Self {
            engine,
            log,
            pace,
            effects: Effects::default(),
            scratch: Vec::new(),
            outboxes: BTreeMap::new(),
            holding: BTreeSet::new(),
            released: Vec::new(),
            ahead: SessionId(0),
            committing: false,
            unsynced_since: None,
            unmarked_since: None,
            last_sync: Timestamp::EPOCH,
            sync_to: 0,
            failure: None,
            commits: 0,
            replay,
            room: Room::new(disk_low),
            idle_until: None,
            recovery: Recovery::default(),
            checkpoints: 0,
            imaged_at: None,
            image_bytes: 0,
            moved_bytes: 0,
        }
    }

    /// Makes visible what recovery brought back, which is all safe.
    pub(crate) fn show_recovered(&mut self, now: Timestamp) {
        let progress = self.progress();
        let mut journal = LogJournal::new(&mut self.log, &mut self.scratch);
        self.engine.progress(now, progress, &mut journal, &mut self.effects);
        self.unmarked_since = Some(now);
    }

    /// Opens a session.
    pub fn open(&mut self, client: Client) -> SessionId {
        let id = self.engine.open(client);
        self.outboxes.insert(id, Outbox::default());
        id
    }

    /// One step: takes the input, lets happen what is due, and releases the replies that may
    /// leave. The broker has failed for good once this gives an error.
    ///
    /// # Errors
    /// A commit failed: what it held is in doubt, and nothing more is accepted.
    pub fn turn(&mut self, now: Timestamp, input: Input<'_, D>) -> Result<(), WalError> {
        if let Some(failure) = &self.failure {
            let failure = failure.clone();
            if let Input::Requests { session, requests, .. } = input {
                let parcels = requests.drain(..).map(|request| in_doubt(request.tag));
                self.released.extend(parcels.map(|parcel| (session, parcel)));
            }
            return Err(failure);
        }
        self.idle_until.take_if(|until| *until <= now);
        self.engine.hold_deliveries(!self.room.delivers(self.log.runway()));
        match input {
            Input::Requests { session, written, requests } => {
                let waits = self.outboxes.get(&session).is_none_or(|outbox| !outbox.is_empty());
                // What another turn has left is not mixed with what this one makes.
                let is_left = !self.released.is_empty() || !self.effects.ready().is_empty();
                if !waits && !is_left {
                    self.effects.run_ahead(Some(session));
                    self.ahead = session;
                }
                self.engine.written(session, written);
                self.run(now, session, requests);
            }
            Input::Close { session, by, mut unsent } => {
                if let Some(mut outbox) = self.outboxes.remove(&session) {
                    self.holding.remove(&session);
                    self.replay.forget(session);
                    unsent.extend(
                        outbox.drain().flat_map(|parcel| parcel.leases().collect::<Vec<_>>()),
                    );
                }
                self.engine.close(now, session, by, &unsent);
            }
            Input::Committed(done) => self.committed(now, done)?,
            Input::Corrupt(lease) => {
                let mut journal = LogJournal::new(&mut self.log, &mut self.scratch);
                self.engine.corrupt(now, &lease, &mut journal, &mut self.effects);
            }
            Input::Move { targets, from, body } => {
                let before = self.log.appended_bytes();
                let mut journal = LogJournal::new(&mut self.log, &mut self.scratch);
                self.engine.relocate(targets, from, body, &mut journal);
                let moved = self.log.appended_bytes() - before;
                self.moved_bytes += moved;
                self.room.moved(moved);
            }
            Input::Looked(Looked(space)) => {
                if self.room.looked(now, space) {
                    self.replay.wake_all();
                }
            }
            Input::Tick => {}
        }
        if self.room.fires(self.log.runway()) {
            let mut journal = LogJournal::new(&mut self.log, &mut self.scratch);
            self.engine.fire(now, &mut journal, &mut self.effects);
        } else {
            self.idle_until.get_or_insert(now.after(SPACE_RETRY));
        }
        self.replay.note(self.log.appended_bytes());
        self.post();
        Ok(())
    }

    /// Runs requests from the front until one finds no room for its reply, or is a publish that
    /// waits for a checkpoint.
    fn run(&mut self, now: Timestamp, session: SessionId, requests: &mut VecDeque<Request>) {
        let mut fetched = 0;
        while let Some(request) = requests.front() {
            if fetched == 0 {
                fetched = self.engine.fetch(requests.iter());
            }
            // Settlements go on when the disk falls behind: they are what makes room.
            let demand = Demand::of(session, &request.command, &self.engine);
            let entrance = self.entrance(session, demand);
            let mut journal = LogJournal::new(&mut self.log, &mut self.scratch);
            let effects = &mut self.effects;
            let ran = match entrance {
                Entrance::Open => self.engine.request(now, session, request, &mut journal, effects),
                Entrance::Closed(refusal) => {
                    self.engine.turn_away(session, request.tag, refusal, effects)
                }
                Entrance::Later => break,
            };
            if ran == Ran::NoRoom {
                break;
            }
            requests.pop_front();
            fetched -= 1;
        }
        if requests.is_empty() {
            self.replay.resumed(session);
        }
    }

    /// Whether the log takes what a command asks of it now.
    fn entrance(&mut self, session: SessionId, demand: Demand) -> Entrance {
        if let Err(refusal) = self.room.admit(demand, self.log.runway()) {
            return Entrance::Closed(refusal);
        }
        let Demand::Publish(bytes) = demand else { return Entrance::Open };
        let closed = |text| Entrance::Closed(Refusal::new(Code::Overloaded, text));
        if self.log.waiting_bytes() >= self.pace.waiting_max {
            return closed("too many bytes wait for the disk");
        }
        let Some(bytes) = bytes else { return Entrance::Open };
        match self.replay.admit(session, self.log.appended_bytes(), bytes) {
            Admission::Taken => Entrance::Open,
            Admission::Waits => Entrance::Later,
            Admission::Refused => closed("no checkpoint can be written"),
        }
    }

    /// A commit has ended: shows what is safe by now.
    fn committed(&mut self, now: Timestamp, done: Committed<D>) -> Result<(), WalError> {
        self.committing = false;
        let synced_before = self.log.synced();
        if let Err(error) = self.log.finish(done) {
            self.fail(&error);
            return Err(error);
        }
        self.commits += 1;
        if self.log.take_met_full() {
            self.met_full(now);
        }
        if self.log.is_stalled() {
            self.idle_until = Some(now.after(SPACE_RETRY));
        }
        if self.log.synced() > synced_before {
            self.last_sync = now;
        }
        if self.log.synced() == self.log.written() {
            self.unsynced_since = None;
        } else if self.unsynced_since.is_none() {
            self.unsynced_since = Some(now);
        }
        let progress = self.progress();
        let mut journal = LogJournal::new(&mut self.log, &mut self.scratch);
        self.engine.progress(now, progress, &mut journal, &mut self.effects);
        for session in std::mem::take(&mut self.holding) {
            self.release(session, progress);
        }
        Ok(())
    }

    /// What the engine may rely on. Without `always` a sync is not waited for.
    fn progress(&self) -> Progress {
        let written = self.log.written().0;
        let synced = match self.pace.policy {
            SyncPolicy::Always => self.log.synced().0,
            _ => written,
        };
        Progress { written, synced }
    }

    /// Puts what the engine wants said into the outboxes.
    fn post(&mut self) {
        let progress = self.progress();
        self.effects.run_ahead(None);
        let mut effects = std::mem::take(&mut self.effects);
        // A session's effects lie together, mostly: it is noted once for them.
        let mut noted = None;
        for effect in effects.drain() {
            let (session, place, need, parcel) = match effect {
                Effect::Park { session, ticket, weight: _ } => {
                    if let Some(outbox) = self.outboxes.get_mut(&session) {
                        outbox.keep(ticket);
                    }
                    continue;
                }
                Effect::Reply { session, tag, place, answer, need } => {
                    (session, place, need, Parcel::answer(tag, answer))
                }
                Effect::Deliver { session, tag, place, handovers, need } => {
                    (session, place, need, Parcel::handovers(tag, handovers))
                }
                Effect::Peek { session, tag, info, body, need } => {
                    (session, Place::Next, need, Parcel::peek(tag, info, body))
                }
            };
            let Some(outbox) = self.outboxes.get_mut(&session) else { continue };
            match outbox.push(place, need, parcel, progress) {
                Some(parcel) => self.released.push((session, parcel)),
                // What others waited behind may depend on nothing that is still to come.
                None if place != Place::Next => self.release(session, progress),
                None if noted.replace(session) == Some(session) => {}
                None => {
                    self.holding.insert(session);
                }
            }
        }
        self.effects = effects;
    }

    fn release(&mut self, session: SessionId, progress: Progress) {
        let Some(outbox) = self.outboxes.get_mut(&session) else { return };
        while let Some(parcel) = outbox.pop(progress) {
            self.released.push((session, parcel));
        }
        if !outbox.is_empty() {
            self.holding.insert(session);
        }
    }

    /// The log has failed: whatever still waits for it is in doubt.
    fn fail(&mut self, error: &WalError) {
        self.failure = Some(error.clone());
        self.replay.wake_all();
        for (session, outbox) in &mut self.outboxes {
            for parcel in outbox.drain() {
                self.released.push((*session, in_doubt(parcel.tag)));
            }
        }
    }

    /// The replies to the requests of the last turn that were ready at once, to be taken, in order,
    /// and whose they are. What [`Driver::take_released`] has for it then comes behind them.
    pub(crate) fn ready(&mut self) -> (SessionId, &mut Vec<Reply>) {
        (self.ahead, self.effects.ready())
    }

    /// Takes the replies that may leave, in order for each session. Messages whose bodies the log
    /// still has in memory come with them.
    pub fn take_released(&mut self) -> std::vec::Drain<'_, (SessionId, Parcel)> {
        let (session, ready) = (self.ahead, self.effects.ready().drain(..));
        let ready = ready.map(|Reply { tag, answer }| (session, Parcel::answer(tag, answer)));
        self.released.splice(0..0, ready);
        for (_, parcel) in &mut self.released {
            for body in parcel.bodies_mut() {
                if let Body::Stored { at, bytes } = body {
                    *bytes = self.log.resident(place(*at).1);
                }
            }
        }
        self.released.drain(..)
    }

    /// Takes what has to be written or synced now, if anything has. Run it without a lock and
    /// give the outcome to a turn; until then there is no other.
    pub fn take_commit(&mut self, now: Timestamp) -> Option<Commit<D>> {
        if self.committing || self.failure.is_some() || self.waits_for_space(now) {
            return None;
        }
        let sync = self.wants_sync(now);
        let mut commit = self.log.take_commit(sync, now.as_millis());
        if commit.is_none() && self.mark_is_due(now) {
            self.unmarked_since = None;
            commit = self.log.take_sync_mark(now.as_millis());
        } else if commit.is_some() {
            self.unmarked_since = Some(now);
        }
        self.committing = commit.is_some();
        commit
    }

    /// Takes the look at the disk that is due because a publish has come to wait. Run it without a
    /// lock, before the next commit, and give what it saw to a turn.
    pub fn take_look(&mut self) -> Option<Look<D>> {
        self.replay.take_unsure().then(|| Look::new(self.log.maintenance()))
    }

    fn wants_sync(&self, now: Timestamp) -> bool {
        let unsynced = self.log.last().0 - self.log.synced().0;
        let since = self.unsynced_since.unwrap_or(now);
        let policy = self.pace.policy;
        let synced = self.log.synced().0;
        let waited_for = policy == SyncPolicy::Always && self.engine.wanted().synced > synced;
        waited_for
            || self.sync_to > synced
            || policy.is_due(unsynced, now.since(self.last_sync))
            || policy != SyncPolicy::None && now.since(since) >= self.pace.sync_lazy
    }

    /// Whether the log found no space a moment ago.
    fn waits_for_space(&self, now: Timestamp) -> bool {
        self.log.is_stalled() && self.idle_until.is_some_and(|until| now < until)
    }

    fn mark_is_due(&self, now: Timestamp) -> bool {
        self.unmarked_since.is_some_and(|since| now.since(since) >= self.pace.mark_after)
    }

    /// When a turn is due though nothing came in.
    pub fn deadline(&self) -> Option<Timestamp> {
        if self.failure.is_some() {
            return None;
        }
        let sync = self
            .unsynced_since
            .filter(|_| self.pace.policy != SyncPolicy::None)
            .map(|since| since.after(self.pace.sync_lazy));
        let mark = self.unmarked_since.map(|since| since.after(self.pace.mark_after));
        let next = [self.engine.next_deadline(), sync, mark].into_iter().flatten().min();
        // Whatever is due then waits for space, or does as well a moment later.
        match (next, self.idle_until) {
            (Some(next), Some(until)) => Some(next.max(until)),
            (next, until) => next.or(until),
        }
    }

    /// Whether a look or a commit could be taken now.
    pub fn has_work(&self, now: Timestamp) -> bool {
        self.replay.is_unsure() || self.has_commit(now)
    }

    /// Whether what there is to commit is only written, so that no disk is waited for.
    pub fn next_is_cheap(&self, now: Timestamp) -> bool {
        self.has_commit(now) && !self.wants_sync(now) && !self.mark_is_due(now)
    }

    fn has_commit(&self, now: Timestamp) -> bool {
        !self.committing
            && self.failure.is_none()
            && !self.waits_for_space(now)
            && (self.log.last() > self.log.written()
                || self.wants_sync(now) && self.log.synced() < self.log.last()
                || self.mark_is_due(now))
    }

    /// Makes everything appended so far worth a sync.
    pub(crate) fn sync_all(&mut self) {
        self.sync_to = self.log.last().0;
    }

    /// Bytes of records appended since the start.
    pub(crate) fn appended_bytes(&self) -> u64 {
        self.log.appended_bytes()
    }

    /// A way to read bodies from any thread.
    pub fn reader(&self) -> Reader<D> {
        self.log.reader()
    }

    /// Checks what must hold between any two turns, and panics where it does not.
    pub fn check(&self) {
        self.engine.check();
    }

    /// Takes the sessions whose publishes waited and may be handed in again.
    pub fn take_woken(&mut self) -> Vec<SessionId> {
        self.replay.take_woken()
    }

    /// Where the body of a held message is now, if the lease is still valid.
    pub fn place_of(&self, lease: &LeaseId) -> Option<(Sequence, BodyRef)> {
        self.engine.place_of(lease).map(place)
    }

    /// The end of the log in order, once everything before it is safe.
    pub(crate) fn take_close_mark(&mut self, now: Timestamp) -> Option<Commit<D>> {
        let commit = self.log.take_close_mark(now.as_millis());
        self.committing |= commit.is_some();
        commit
    }

    /// Whether a session still waits for the log.
    pub fn is_holding(&self, session: SessionId) -> bool {
        self.holding.contains(&session)
    }

    /// Whether a commit is running.
    pub fn is_committing(&self) -> bool {
        self.committing
    }
}

/// Whether the log takes a command.
enum Entrance {
    Open,
    /// Not before its session is woken.
    Later,
    /// It is refused, and why.
    Closed(Refusal),
}

/// The answer to a request that the log can't vouch for any more.
fn in_doubt(tag: u64) -> Parcel {
    let refusal = Refusal::new(Code::Indeterminate, "the log has failed");
    Parcel::answer(tag, Answer::Refused(refusal))
}
