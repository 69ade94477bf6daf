//! The hand-over with its threads in every order that few preemptions make, by loom.
//!
//! What is led is a count of what was taken in and of what was committed. Time passes where a
//! thread lets it; a wait with an end is woken by whoever lets that end come, and by nobody where
//! the committer's next deadline was not the one that came. Who is never woken is a deadlock, which
//! loom reports.

use std::ops::{Deref, DerefMut};

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
use loom::thread;
use sluice_model::Timestamp;

use super::{Core, Lead, Led};

/// Moments of the tests, in milliseconds.
const EARLY: u64 = 10;
const LATE: u64 = 20;

/// What is led.
#[derive(Debug, Default)]
struct Log {
    lead: Lead,
    taken: u32,
    waiting: u32,
    committed: u32,
    committing: bool,
    /// Commits wait for no disk, so a leader goes on with those of others.
    cheap: bool,
    /// Each of so many commits brings something that is committed by another one.
    grants: u32,
    due: Option<u64>,
    /// And when once more after that; then the first time brings nothing to commit.
    due_next: Option<u64>,
    ticks: u32,
    /// When the committer's wait ends by itself.
    alarm: Option<Timestamp>,
}

#[derive(Debug, Default)]
struct Broker {
    clock: AtomicU64,
    log: Mutex<Log>,
    committer: Condvar,
    /// Tells the test that something was committed or has happened.
    changed: Condvar,
}

/// The lock, which a commit lets go.
struct Held<'a>(Option<MutexGuard<'a, Log>>);

impl Deref for Held<'_> {
    type Target = Log;

    fn deref(&self) -> &Log {
        self.0.as_ref().expect("it is let go within a function only")
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut Log {
        self.0.as_mut().expect("it is let go within a function only")
    }
}

impl Core for Log {
    fn lead(&mut self) -> &mut Lead {
        &mut self.lead
    }

    fn has_work(&self, _: Timestamp) -> bool {
        !self.committing && self.waiting > 0
    }

    fn next_is_cheap(&self, now: Timestamp) -> bool {
        self.cheap && self.has_work(now)
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.due.map(Timestamp::from_millis)
    }

    fn tick(&mut self, now: Timestamp) {
        if self.due.take_if(|due| *due <= now.as_millis()).is_some() {
            self.ticks += 1;
            self.due = self.due_next.take();
            if self.due.is_none() {
                self.take(1);
            }
        }
    }
}

impl Log {
    fn take(&mut self, requests: u32) {
        self.taken += requests;
        self.waiting += requests;
    }
}

impl Led for Broker {
    type Core = Log;
    type Guard<'a> = Held<'a>;

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.load(Ordering::SeqCst))
    }

    fn commit_once<'a>(&'a self, log: &mut Held<'a>) -> bool {
        assert!(!log.committing, "two lead");
        if log.waiting == 0 {
            return false;
        }
        let batch = std::mem::take(&mut log.waiting);
        log.committing = true;
        log.0 = None;
        log.0 = Some(self.log.lock().expect("nobody panicked"));
        log.committing = false;
        log.committed += batch;
        if log.grants > 0 {
            log.grants -= 1;
            log.take(1);
        }
        self.changed.notify_all();
        true
    }

    fn wake_committer(&self) {
        self.committer.notify_one();
    }

    fn wait<'a>(&'a self, log: &mut Held<'a>, until: Option<Timestamp>) {
        log.alarm = until;
        if until.is_none_or(|until| self.now() < until) {
            let guard = log.0.take().expect("it is held");
            log.0 = Some(self.committer.wait(guard).expect("nobody panicked"));
        }
        log.alarm = None;
    }
}

impl Broker {
    fn lock(&self) -> Held<'_> {
        Held(Some(self.log.lock().expect("nobody panicked")))
    }

    /// A session's turn.
    fn submit(&self, until: Option<u64>) {
        let mut log = self.lock();
        log.take(1);
        let ours = log.taken;
        log.due = [log.due, until].into_iter().flatten().min();
        self.lead(log, |log| log.committed < ours);
    }

    /// The turn of a session that has better to do than to lead.
    fn submit_busily(&self) {
        let mut log = self.lock();
        log.take(1);
        self.let_lead(log);
    }

    /// Time passes, and ends the wait whose end has come.
    fn pass(&self, now: u64) {
        self.clock.store(now, Ordering::SeqCst);
        let log = self.lock();
        if log.alarm.is_some_and(|alarm| alarm <= self.now()) {
            self.committer.notify_all();
        }
    }

    fn wait_until(&self, done: impl Fn(&Log) -> bool) {
        let mut log = self.lock();
        while !done(&log) {
            let guard = log.0.take().expect("it is held");
            log.0 = Some(self.changed.wait(guard).expect("nobody panicked"));
        }
    }

    /// As the backend stops: what was taken by the end of it is committed.
    fn stop(&self, committer: thread::JoinHandle<()>) {
        self.lock().lead.stop();
        self.committer.notify_all();
        committer.join().expect("the committer ends");
        let mut log = self.lock();
        self.take_over(&mut log);
        while self.commit_once(&mut log) {}
        assert_eq!(log.committed, log.taken, "something is left");
        self.give_back(&mut log);
    }
}

/// Runs a play with a broker whose log begins like this, and its committer.
fn explore(
    log: fn() -> Log,
    play: impl Fn(Arc<Broker>, thread::JoinHandle<()>) + Sync + Send + 'static,
) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let broker = Arc::new(Broker { log: Mutex::new(log()), ..Broker::default() });
        let committer = spawn(&broker, |broker| broker.run_committer(broker.lock()));
        play(broker, committer);
    });
}

fn spawn(broker: &Arc<Broker>, work: impl Fn(&Broker) + 'static) -> thread::JoinHandle<()> {
    let broker = Arc::clone(broker);
    thread::spawn(move || work(&broker))
}

#[test]
fn whatever_two_sessions_bring_is_committed_by_one_leader_at_a_time() {
    explore(
        || Log { grants: 1, ..Log::default() },
        |broker, committer| {
            let other = spawn(&broker, |broker| broker.submit(None));
            broker.submit(None);
            other.join().expect("a turn ends");
            broker.wait_until(|log| log.committed == log.taken);
            broker.stop(committer);
        },
    );
}

#[test]
fn what_a_session_brings_that_does_not_lead_is_committed_beside_one_that_does() {
    explore(
        || Log { cheap: true, ..Log::default() },
        |broker, committer| {
            let other = spawn(&broker, |broker| broker.submit(None));
            broker.submit_busily();
            other.join().expect("a turn ends");
            broker.wait_until(|log| log.committed == log.taken);
            broker.stop(committer);
        },
    );
}

#[test]
fn a_deadline_that_came_nearer_is_not_slept_through() {
    explore(
        || Log { due: Some(LATE), ..Log::default() },
        |broker, committer| {
            let time = spawn(&broker, |broker| broker.pass(EARLY));
            broker.submit(Some(EARLY));
            broker.wait_until(|log| log.ticks == 1 && log.committed == log.taken);
            time.join().expect("time passes");
            broker.stop(committer);
        },
    );
}

#[test]
fn deadlines_that_come_while_somebody_leads_are_not_slept_through() {
    explore(
        || Log { due: Some(EARLY), due_next: Some(LATE), ..Log::default() },
        |broker, committer| {
            let session = spawn(&broker, |broker| broker.submit(None));
            broker.pass(EARLY);
            broker.pass(LATE);
            broker.wait_until(|log| log.ticks == 2 && log.committed == log.taken);
            session.join().expect("a turn ends");
            broker.stop(committer);
        },
    );
}

#[test]
fn a_stop_ends_and_leaves_nothing_though_sessions_lead() {
    explore(
        || Log { grants: 2, ..Log::default() },
        |broker, committer| {
            let session = spawn(&broker, |broker| broker.submit(None));
            broker.stop(committer);
            session.join().expect("a turn ends");
        },
    );
}
