//! The local broker with its threads.
//!
//! Whoever brings requests takes the core, runs a turn, and leads a commit itself if nobody does;
//! `lead.rs` says how that goes on.
//!
//! A panic between taking and giving back the lead leaves a state that nobody knows; the process
//! aborts and recovers instead.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};
use sluice_model::{
    Client, LeaseId, LimitWaits, QueueKind, QueueName, Refusal, Reply, SessionId, SurveyPart,
    Timestamp,
};
use sluice_wal::{BodyRef, Disk, ReadError, Reader, RecoveryReport, Sequence, WalError};

use crate::backend::{Backend, Capabilities, Link};
use crate::local::backup::BackupDesk;
use crate::local::driver::{Driver, Input};
use crate::local::held::{Held, Hold};
use crate::local::housekeeping::{Access, Housekeeper, NextStep};
use crate::local::lead::{self, Lead, Led};
use crate::local::link::LocalLink;
use crate::local::mailbox::Mailbox;
use crate::local::outbox::Parcel;
use crate::local::recovery::{Entropy, LocalConfig, StartError, start_by};
use crate::{BackupStatus, BrokerError, RequestLimits, Stats};

/// How long the housekeeper rests when there is nothing to do, and between two steps: a step
/// writes at most about 1 MiB, so this bounds what it takes of the disk.
const REST: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(1);
/// Beside a log that grows a backup waits so many times as long as its steps take, so that no more
/// than a quarter of the disk's time goes into it.
const BACKUP_SHARE: u32 = 3;
/// Mailboxes that are looked at together.
const FETCHED: usize = 16;
/// A turn that takes longer is counted: everybody else waits meanwhile.
const TURN_MAX: Duration = Duration::from_millis(2);

/// The broker of this process: a log on a disk, and threads to drive it.
pub struct LocalBackend<D: Disk> {
    shared: Arc<Shared<D>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    durable: bool,
}

pub(crate) struct Shared<D: Disk> {
    core: Mutex<Core<D>>,
    /// Tells the committer that it leads, that a deadline came nearer, or that it is over.
    committer: Condvar,
    /// Tells the housekeeper that a checkpoint is due, or that it is over.
    housekeeper: Condvar,
    reader: Reader<D>,
    clock: Clock,
    backups: Arc<BackupDesk<D>>,
}

pub(crate) struct Core<D: Disk> {
    driver: Driver<D>,
    /// The limits of requests, for the doors, and the version of limits that they are of.
    request_limits: (Arc<RequestLimits>, Option<u64>),
    lead: Lead,
    /// While the housekeeper rests: how many bytes appended call for it.
    housekeeper_at: Option<u64>,
    mailboxes: BTreeMap<SessionId, Arc<Mailbox>>,
    failure: Option<BrokerError>,
    failure_wakers: Vec<Waker>,
    longest_turn: Duration,
    long_turns: u64,
    longest_image: Held,
    longest_survey: Duration,
    longest_move: Held,
}

/// Wall time that runs with the monotonic clock and so never goes back.
#[derive(Debug)]
struct Clock {
    base: Timestamp,
    began: Instant,
}

impl Clock {
    fn now(&self) -> Timestamp {
        self.base.after(self.began.elapsed())
    }

    /// How long it is until it says so: less than the difference of whole milliseconds.
    fn until(&self, at: Timestamp) -> Duration {
        at.since(self.base).saturating_sub(self.began.elapsed())
    }
}

/// Aborts the process if it is dropped by a panic.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

impl<D: Disk> LocalBackend<D> {
    /// Recovers what `disk` holds and serves it. `durable` says whether it survives the machine.
    ///
    /// # Errors
    /// The start was refused; see [`StartError`].
    pub fn open(
        disk: D,
        config: &LocalConfig,
        wall: Timestamp,
        entropy: Entropy,
        durable: bool,
    ) -> Result<(Self, RecoveryReport), StartError> {
        let began = Instant::now();
        let started = start_by(disk, config, || wall.after(began.elapsed()), entropy)?;
        let reader = started.driver.reader();
        let mut core = Core {
            driver: started.driver,
            request_limits: (Arc::default(), None),
            lead: Lead::default(),
            housekeeper_at: None,
            mailboxes: BTreeMap::new(),
            failure: None,
            failure_wakers: Vec::new(),
            longest_turn: Duration::ZERO,
            long_turns: 0,
            longest_image: Held::default(),
            longest_survey: Duration::ZERO,
            longest_move: Held::default(),
        };
        core.publish_limits();
        let shared = Arc::new(Shared {
            core: Mutex::new(core),
            committer: Condvar::new(),
            housekeeper: Condvar::new(),
            reader,
            clock: Clock { base: started.now, began },
            backups: started.housekeeper.backup_desk(),
        });
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.to_owned()).spawn(work)
        };
        let threads = [
            spawn("committer", {
                let shared = Arc::clone(&shared);
                Box::new(move || {
                    let _guard = AbortOnUnwind;
                    shared.run_committer(shared.core.lock());
                })
            }),
            spawn("housekeeper", {
                let shared = Arc::clone(&shared);
                Box::new(move || shared.run_housekeeper(started.housekeeper))
            }),
        ];
        let threads = threads.into_iter().collect::<Result<Vec<_>, _>>().map_err(|source| {
            let (action, path) = ("start a thread for", "the log".to_owned());
            StartError::Log(WalError::Io { action, path, source: Arc::new(source) })
        })?;
        Ok((Self { shared, threads: Mutex::new(threads), durable }, started.report))
    }

    /// From now on backups go to the directory of `shelf`, of which the `keep` newest are kept; 0
    /// keeps all.
    pub fn keep_backups(&self, shelf: D, keep: usize) {
        self.shared.backups.open(shelf, keep);
    }
}

impl<D: Disk> Shared<D> {
    /// Runs a turn, and leads a commit if there is something to commit and nobody leads.
    pub(crate) fn turn(&self, input: Input<'_, D>) {
        let guard = AbortOnUnwind;
        let mut core = self.core.lock();
        core.turn(self.clock.now(), input, None);
        self.lead(core, |_| false);
        std::mem::forget(guard);
    }

    /// The same for a session, whose replies shall be out before others' are seen to: those that may
    /// leave at once go into `ready`. If it is `busy`, the thread has better to do than to lead.
    pub(crate) fn turn_for(
        &self,
        session: SessionId,
        input: Input<'_, D>,
        busy: bool,
        ready: &mut Vec<Reply>,
    ) {
        let guard = AbortOnUnwind;
        let mut core = self.core.lock();
        core.turn(self.clock.now(), input, Some(ready));
        // To hand over what is only written would cost more than it saves.
        if busy && !core.driver.next_is_cheap(self.clock.now()) {
            self.let_lead(core);
        } else {
            self.lead(core, |core| core.driver.is_holding(session));
        }
        std::mem::forget(guard);
    }

    /// The same, but where there is something to commit and nobody leads, that is left to
    /// [`Shared::lead_for`]. Says whether it is.
    pub(crate) fn turn_unled(&self, input: Input<'_, D>, ready: &mut Vec<Reply>) -> bool {
        let guard = AbortOnUnwind;
        let mut core = self.core.lock();
        let now = self.clock.now();
        core.turn(now, input, Some(ready));
        let is_left = !core.lead.is_led() && core.driver.has_work(now);
        if !is_left {
            // A deadline may have come nearer.
            self.lead(core, |_| false);
        }
        std::mem::forget(guard);
        is_left
    }

    /// Leads for a session whose turn left that, unless somebody does.
    pub(crate) fn lead_for(&self, session: SessionId) {
        let guard = AbortOnUnwind;
        self.lead(self.core.lock(), |core| core.driver.is_holding(session));
        std::mem::forget(guard);
    }

    /// The bytes of a body.
    pub(crate) fn read(&self, at: BodyRef, sequence: Sequence) -> Result<Bytes, ReadError> {
        self.reader.read(at, sequence)
    }

    /// The bytes of bodies, in their order.
    pub(crate) fn read_many(
        &self,
        places: &[(Sequence, BodyRef)],
    ) -> Vec<Result<Bytes, ReadError>> {
        self.reader.read_many(places)
    }

    /// Where the body of a held message is now, if the lease is still valid.
    pub(crate) fn place_of(&self, lease: &LeaseId) -> Option<(Sequence, BodyRef)> {
        self.core.lock().driver.place_of(lease)
    }

    /// Lets nothing more be put into a session's mailbox.
    pub(crate) fn forget_mailbox(&self, session: SessionId) {
        self.core.lock().mailboxes.remove(&session);
    }

    /// Has the disk looked at if a publish has come to wait for a checkpoint, and has that made.
    fn look(&self, core: &mut MutexGuard<'_, Core<D>>) {
        let Some(look) = core.driver.take_look() else { return };
        self.call_housekeeper(core);
        if let Some(looked) = MutexGuard::unlocked(core, || look.run()) {
            core.turn(self.clock.now(), Input::Looked(looked), None);
        }
    }

    /// Ends the rest of the housekeeper.
    fn call_housekeeper(&self, core: &mut Core<D>) {
        if core.housekeeper_at.take().is_some() {
            self.housekeeper.notify_one();
        }
    }

    fn run_housekeeper(&self, mut housekeeper: Housekeeper<D>) {
        let _guard = AbortOnUnwind;
        let mut access = SharedAccess { shared: self, longest: Held::default() };
        let (mut told, mut appended_before) = (0, 0);
        while !self.core.lock().lead.is_stopping() {
            let began = Instant::now();
            let rest = match housekeeper.step(&mut access) {
                Ok(_) if housekeeper.is_copying() => {
                    let appended = self.core.lock().driver.log.appended_bytes();
                    let is_busy = std::mem::replace(&mut appended_before, appended) != appended;
                    if is_busy { PAUSE.max(BACKUP_SHARE * began.elapsed()) } else { PAUSE }
                }
                Ok(NextStep::Soon) if housekeeper.is_pressed() => Duration::ZERO,
                Ok(NextStep::Soon | NextStep::AfterSync) => PAUSE,
                Ok(NextStep::Later) => REST,
                Err(error) => {
                    tracing::warn!(%error, "background work on the log failed, trying again");
                    Duration::from_secs(1)
                }
            };
            let mut core = self.core.lock();
            let held = std::mem::take(&mut access.longest);
            let longest = match housekeeper.is_imaging() {
                true => &mut core.longest_image,
                false => &mut core.longest_move,
            };
            *longest = held.longest(*longest);
            if rest >= REST && core.driver.dropped() > told {
                let all = core.driver.dropped();
                let dropped = all - std::mem::replace(&mut told, all);
                tracing::warn!(dropped, "messages were dropped to make room for newer ones");
            }
            // Who has come to wait meanwhile has called it in vain.
            let called = rest >= REST && core.driver.replay.is_waited_for();
            if !core.lead.is_stopping() && !rest.is_zero() && !called {
                core.housekeeper_at = Some(housekeeper.checkpoint_at(&core.driver));
                self.housekeeper.wait_for(&mut core, rest);
                core.housekeeper_at = None;
            }
        }
        self.backups.close();
        if self.core.lock().failure.is_none()
            && let Err(error) = housekeeper.checkpoint(&mut access)
        {
            tracing::warn!(%error, "no checkpoint at the end; the next start replays more");
        }
    }
}

impl<D: Disk> Led for Shared<D> {
    type Core = Core<D>;
    type Guard<'a> = MutexGuard<'a, Core<D>>;

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn commit_once<'a>(&'a self, core: &mut Self::Guard<'a>) -> bool {
        self.look(core);
        let Some(commit) = core.driver.take_commit(self.clock.now()) else { return false };
        let done = MutexGuard::unlocked(core, || commit.run());
        let now = self.clock.now();
        core.turn(now, Input::Committed(done), None);
        // At 400 MB a second a checkpoint is due long before the housekeeper has rested.
        if core.housekeeper_at.is_some_and(|at| core.driver.appended_bytes() >= at) {
            self.call_housekeeper(core);
        }
        true
    }

    fn wake_committer(&self) {
        self.committer.notify_one();
    }

    fn wait<'a>(&'a self, core: &mut Self::Guard<'a>, until: Option<Timestamp>) {
        match until {
            Some(until) => {
                self.committer.wait_for(core, self.clock.until(until));
            }
            None => self.committer.wait(core),
        }
    }
}

impl<D: Disk> lead::Core for Core<D> {
    fn lead(&mut self) -> &mut Lead {
        &mut self.lead
    }

    fn has_work(&self, now: Timestamp) -> bool {
        self.driver.has_work(now)
    }

    fn next_is_cheap(&self, now: Timestamp) -> bool {
        self.driver.next_is_cheap(now)
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.driver.deadline()
    }

    fn tick(&mut self, now: Timestamp) {
        self.turn(now, Input::Tick, None);
    }
}

impl<D: Disk> Core<D> {
    /// Tells the doors of limits of requests that have changed.
    fn publish_limits(&mut self) {
        let (published, seen) = &mut self.request_limits;
        let version = self.driver.engine.limits_version();
        if *seen != Some(version) {
            *seen = Some(version);
            published.replace(self.driver.engine.request_limits().cloned());
        }
    }

    /// Runs a turn and hands out what it released: what is ready of the session that it is for goes
    /// into `ready`, if there is nothing that it has not taken yet.
    fn turn(&mut self, now: Timestamp, input: Input<'_, D>, ready: Option<&mut Vec<Reply>>) {
        let began = Instant::now();
        if let Err(error) = self.driver.turn(now, input)
            && self.failure.is_none()
        {
            self.failure = Some(BrokerError::Disk(error.to_string()));
            for waker in self.failure_wakers.drain(..) {
                waker.wake();
            }
        }
        self.publish_limits();
        if let Some(into) = ready {
            let (session, ready) = self.driver.ready();
            if !ready.is_empty() && self.mailboxes.get(&session).is_some_and(|it| it.is_empty()) {
                into.append(ready);
            }
        }
        let mut released = self.driver.take_released();
        let mut fetched = 0;
        // A session's replies lie together, mostly.
        while let Some(&(session, _)) = released.as_slice().first() {
            if fetched == 0 {
                fetched = fetch_mailboxes(&self.mailboxes, released.as_slice());
            }
            fetched -= 1;
            let run = released.as_slice().iter().take_while(|(of, _)| *of == session).count();
            let parcels = released.by_ref().take(run).map(|(_, parcel)| parcel);
            match self.mailboxes.get(&session) {
                Some(mailbox) => mailbox.put(parcels),
                None => parcels.for_each(drop),
            }
        }
        drop(released);
        self.wake();
        let took = began.elapsed();
        self.longest_turn = self.longest_turn.max(took);
        self.long_turns += u64::from(took > TURN_MAX);
    }

    /// Wakes the sessions whose publishes waited for a checkpoint.
    fn wake(&mut self) {
        for session in self.driver.take_woken() {
            if let Some(mailbox) = self.mailboxes.get(&session) {
                mailbox.nudge();
            }
        }
    }

    fn stats(&self, now: Timestamp) -> Stats {
        Stats {
            checkpoint_age: self.driver.checkpoint_age(now),
            longest_turn: self.longest_turn,
            long_turns: self.long_turns,
            longest_image: self.longest_image.clock,
            longest_image_cpu: self.longest_image.cpu,
            longest_survey: self.longest_survey,
            longest_move: self.longest_move.clock,
            longest_move_cpu: self.longest_move.cpu,
            ..self.driver.stats()
        }
    }
}

struct SharedAccess<'a, D: Disk> {
    shared: &'a Shared<D>,
    /// The longest time that it held the core.
    longest: Held,
}

impl<D: Disk> Access<D> for SharedAccess<'_, D> {
    fn with<R>(&mut self, work: impl FnOnce(&mut Driver<D>, Timestamp) -> R) -> R {
        let mut core = self.shared.core.lock();
        let hold = Hold::begin();
        let result = work(&mut core.driver, self.shared.clock.now());
        core.wake();
        self.longest = self.longest.longest(hold.end());
        // Moved bodies and asked-for syncs have to be committed by somebody.
        self.shared.lead(core, |_| false);
        result
    }
}

impl<D: Disk> Backend for LocalBackend<D> {
    fn capabilities(&self) -> Capabilities {
        let backups = self.shared.backups.is_open();
        Capabilities { durable: self.durable, durable_subscriptions: true, backups }
    }

    fn open(&self, client: Client) -> Box<dyn Link> {
        let mailbox = Arc::new(Mailbox::default());
        let mut core = self.shared.core.lock();
        let session = core.driver.open(client);
        core.mailboxes.insert(session, Arc::clone(&mailbox));
        drop(core);
        Box::new(LocalLink::new(Arc::clone(&self.shared), session, mailbox))
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    fn stats(&self) -> Stats {
        self.shared.core.lock().stats(self.shared.clock.now())
    }

    fn limit_waits(&self, max: usize) -> (Vec<LimitWaits>, LimitWaits) {
        let core = self.shared.core.lock();
        core.driver.engine.limit_waits(self.shared.clock.now(), max)
    }

    fn request_limits(&self) -> Option<Arc<RequestLimits>> {
        Some(Arc::clone(&self.shared.core.lock().request_limits.0))
    }

    fn survey(&self, kind: QueueKind, after: Option<&QueueName>) -> SurveyPart {
        let mut core = self.shared.core.lock();
        let began = Instant::now();
        let part = core.driver.survey(self.shared.clock.now(), kind, after);
        core.longest_survey = core.longest_survey.max(began.elapsed());
        // Whoever waits is next: the one that surveys comes back at once.
        MutexGuard::unlock_fair(core);
        part
    }

    fn backup(&self) -> Result<BackupStatus, Refusal> {
        let asked = self.shared.backups.ask()?;
        // Under the lock, or the housekeeper could begin its rest in between.
        let _core = self.shared.core.lock();
        self.shared.housekeeper.notify_all();
        Ok(asked)
    }

    fn backup_status(&self) -> BackupStatus {
        self.shared.backups.status()
    }

    fn poll_failure(&self, context: &mut Context<'_>) -> Poll<BrokerError> {
        let mut core = self.shared.core.lock();
        match &core.failure {
            Some(failure) => Poll::Ready(failure.clone()),
            None => {
                core.failure_wakers.retain(|waker| !waker.will_wake(context.waker()));
                core.failure_wakers.push(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn stop(&self) -> Result<(), BrokerError> {
        {
            let mut core = self.shared.core.lock();
            core.lead.stop();
            self.shared.committer.notify_all();
            self.shared.housekeeper.notify_all();
        }
        for thread in self.threads.lock().drain(..) {
            // A thread that panicked has taken the process with it.
            let _ = thread.join();
        }
        let mut core = self.shared.core.lock();
        // A session may lead still.
        self.shared.take_over(&mut core);
        core.driver.sync_all();
        while self.shared.commit_once(&mut core) {}
        let now = self.shared.clock.now();
        if let Some(commit) = core.driver.take_close_mark(now) {
            core.turn(now, Input::Committed(commit.run()), None);
        }
        self.shared.give_back(&mut core);
        tell_bounds(&core.stats(now));
        match &core.failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(()),
        }
    }
}

/// Looks at the mailboxes that replies go to next, so that memory answers for several at a time: where
/// thousands are told of one change, each is in no cache. Gives how many to put something into before
/// the next look.
fn fetch_mailboxes(
    mailboxes: &BTreeMap<SessionId, Arc<Mailbox>>,
    next: &[(SessionId, Parcel)],
) -> usize {
    if next.len() < FETCHED {
        return usize::MAX;
    }
    let mut found = [None; FETCHED];
    for (place, (session, _)) in found.iter_mut().zip(next) {
        *place = mailboxes.get(session);
    }
    black_box(found.iter().flatten().filter(|mailbox| mailbox.is_busy()).count());
    FETCHED
}

/// Says how the log kept its bounds.
fn tell_bounds(stats: &Stats) {
    let Stats { log_bytes, image_bytes, moved_bytes, file_bytes, live_bytes, .. } = stats;
    let Stats { replay_bytes_max, replay_waits, clearing_waits, long_turns, .. } = stats;
    let longest_turn_us = stats.longest_turn.as_micros() as u64;
    let longest_image_us = stats.longest_image.as_micros() as u64;
    let longest_image_cpu_us = stats.longest_image_cpu.as_micros() as u64;
    let longest_move_us = stats.longest_move.as_micros() as u64;
    let longest_move_cpu_us = stats.longest_move_cpu.as_micros() as u64;
    tracing::info!(
        log_bytes,
        image_bytes,
        moved_bytes,
        file_bytes,
        live_bytes,
        replay_bytes_max,
        replay_waits,
        clearing_waits,
        longest_turn_us,
        long_turns,
        longest_image_us,
        longest_image_cpu_us,
        longest_move_us,
        longest_move_cpu_us,
        "log closed"
    );
}
