//! Online backups in the middle of a schedule, and the lives that begin with them.
//!
//! ```text
//! asked for ----> done ----> some time later, or at the end: read, restored on another disk,
//!    |    |                  started, a bit of traffic, all that is owed comes
//!    |    '-> failed
//!    '-> cut short by a crash
//! ```
//!
//! The backup lies on the disk of the log, so it meets every fault, crash and lack of space that
//! the log meets. Which moment it holds is not told, but it is one between the asking and the end:
//! what was promised by the first is owed, what had happened by the second may be in it.

use std::collections::VecDeque;
use std::time::Duration;

use sluice_broker::BackupState;
use sluice_broker::local::{BackupDesk, Input, Restorable};
use sluice_engine::Handover;
use sluice_model::LeaseId;
use sluice_wal::{Faults, Shelf, SimulatedDisk};

use super::{Workload, World};
use crate::history::{History, Op, What};
use crate::oracle::{Name, Oracle};
use crate::random::Random;
use crate::roles::{PUBLISHERS, ROLES};
use crate::worker::Held;

/// Steps of a restored broker before and after it is handed what the old one gave out.
const STEPS: u64 = 60;
const STEP_MAX: Duration = Duration::from_millis(20);
/// Leases that are remembered to be handed to another life, and those of messages that are in it.
const LEASES: usize = 64;
const LEASES_WITHIN: usize = 8;
/// How often a backup is asked for while none is made, and restored when one is there, each in a
/// thousand steps; how often the broker works on one, in a hundred.
const ASKED: u64 = 15;
const RESTORED: u64 = 10;
const WORKED_ON: u64 = 40;

/// What a schedule knows of its backups.
pub(super) struct Backups {
    /// Decides when they are asked for; none in a schedule without.
    random: Option<Random>,
    /// How many the broker keeps.
    keep: usize,
    /// What was promised when the one was asked for that is being made.
    asked: Option<Promised>,
    kept: Vec<Kept>,
    /// The last leases that consumers or workers got.
    leases: VecDeque<(usize, Name, LeaseId)>,
    /// The last start of the life before this one; none in a first life.
    old_start: Option<u32>,
    /// The last names of its publishers, and when it ended for its workers.
    old_names: [u64; PUBLISHERS],
    old_clock: u64,
}

/// What was promised at one moment.
struct Promised {
    oracle: Oracle,
    history: History,
    /// What was asked and not answered.
    open: Vec<Op>,
    subscribed: Vec<bool>,
    /// The last change of keys that anybody was told of, and the last that there was.
    changes: (u64, u64),
}

/// A backup that is whole.
struct Kept {
    name: String,
    asked: Promised,
    done: Promised,
}

impl Backups {
    /// They have their own chance, so that schedules without them stay as they are.
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed.rotate_left(17) ^ 0xbac_0b5);
        let some = random.percent(60);
        let keep = 1 + usize::from(random.percent(50));
        Self { random: some.then_some(random), keep, ..Self::none() }
    }

    /// A schedule without.
    fn none() -> Self {
        Self {
            random: None,
            keep: 0,
            asked: None,
            kept: Vec::new(),
            leases: VecDeque::new(),
            old_start: None,
            old_names: [0; PUBLISHERS],
            old_clock: 0,
        }
    }

    /// Remembers a lease that somebody got.
    pub(super) fn lease(&mut self, at: usize, name: Name, lease: LeaseId) {
        if self.random.is_some() {
            self.leases.truncate(LEASES - 1);
            self.leases.push_front((at, name, lease));
        }
    }

    /// Whether this is the life of a broker that began with a backup.
    pub(super) fn is_second_life(&self) -> bool {
        self.old_start.is_some()
    }

    /// A lease was given out. Gives what is wrong with it.
    pub(super) fn check_start(&self, lease: &LeaseId) -> Result<(), String> {
        match self.old_start {
            Some(old) if lease.generation.start <= old => {
                Err(format!("{lease:?} has a start of the old life, whose last was {old}"))
            }
            _ => Ok(()),
        }
    }

    fn happens(&mut self, often: u64) -> bool {
        self.random.as_mut().is_some_and(|random| random.below(1000) < often)
    }
}

impl World {
    fn promised(&self) -> Promised {
        Promised {
            oracle: self.oracle.clone(),
            history: self.history.clone(),
            open: self.workers.iter().flat_map(|worker| worker.asked.values().cloned()).collect(),
            subscribed: self.subscribed.clone(),
            changes: self.key_changes(),
        }
    }

    /// Gives a broker that starts a place for backups.
    pub(super) fn open_shelf(&mut self) {
        let (Some(broker), Some(_)) = (&self.broker, &self.backups.random) else { return };
        broker.housekeeper.backup_desk().open(self.disk.clone(), self.backups.keep);
    }

    /// The broker is gone, and with it the backup that was being made.
    pub(super) fn cut_backup(&mut self) {
        self.counters.backups_cut += u64::from(self.backups.asked.take().is_some());
    }

    /// At random: asks for a backup, lets the broker work on it, restores one that is whole.
    pub(super) fn back_up(&mut self) -> Result<(), String> {
        let Some(desk) = self.broker.as_ref().map(|broker| broker.housekeeper.backup_desk()) else {
            return Ok(());
        };
        if self.backups.happens(RESTORED) && !self.backups.kept.is_empty() {
            let newest = self.backups.kept.len() - 1;
            self.restore(newest)?;
        }
        if self.backups.asked.is_none() {
            if self.backups.happens(ASKED) {
                self.backups.asked = Some(self.promised());
                desk.ask().map_err(|refusal| format!("no backup: {refusal:?}"))?;
                self.counters.backups_begun += 1;
            }
            return Ok(());
        }
        let Some(random) = &mut self.backups.random else { return Ok(()) };
        if !random.percent(WORKED_ON) {
            return Ok(());
        }
        let (steps, trouble) = (1 + random.below(6), random.percent(10));
        self.fail_reads(trouble && !self.is_calm());
        self.keep_house(steps);
        self.fail_reads(false);
        self.see_backup(&desk);
        Ok(())
    }

    /// Looks how the backup stands that is being made.
    fn see_backup(&mut self, desk: &BackupDesk<SimulatedDisk>) {
        if self.disk.is_dead() || self.broker.is_none() {
            // Nobody is there to be told.
            return;
        }
        match desk.status().state {
            BackupState::Never | BackupState::Running { .. } => {}
            BackupState::Failed { .. } => {
                self.counters.backups_failed += 1;
                self.backups.asked = None;
                self.note("no backup", &[]);
            }
            BackupState::Done(done) => {
                self.counters.backups_completed += 1;
                self.note("backup", &[done.last, done.bytes]);
                self.backups.kept.retain(|kept| !done.removed.contains(&kept.name));
                if let Some(asked) = self.backups.asked.take() {
                    let kept = Kept { name: done.name, asked, done: self.promised() };
                    self.backups.kept.push(kept);
                }
            }
        }
    }

    /// Restores what is left, each once.
    pub(super) fn restore_all(&mut self) -> Result<(), String> {
        while !self.backups.kept.is_empty() {
            self.restore(0)?;
        }
        Ok(())
    }

    /// Begins another life with a backup, on another disk, and holds it against what was promised.
    fn restore(&mut self, at: usize) -> Result<(), String> {
        let kept = self.backups.kept.remove(at);
        let Some(random) = &mut self.backups.random else { return Ok(()) };
        let (seed, log_id) = (random.next(), random.next());
        let names = Shelf::new(still(&self.disk)).names().map_err(|error| error.to_string())?;
        if !names.contains(&kept.name) {
            // Others that are whole may have taken its place just before a crash.
            return match names.len() >= self.backups.keep {
                true => Ok(()),
                false => Err(format!("the backup {} is gone: {names:?}", kept.name)),
            };
        }
        let shelf = still(&self.disk).folder(&kept.name);
        let wrong = |error| format!("the backup {} can't be restored: {error}", kept.name);
        let backup = Restorable::read(shelf, |_, _| ()).map_err(wrong)?;
        let parent = SimulatedDisk::with_faults(seed);
        let restored = backup.restore(&parent, "data", log_id, self.now, |_| ()).map_err(wrong)?;
        parent.crash_power();
        let mut life = self.second_life(seed, kept, parent.folder("data"));
        if life.backups.old_start >= Some(restored.start) {
            let (old, new) = (life.backups.old_start, restored.start);
            return Err(format!("the restored life begins with start {new}, {old:?} was there"));
        }
        life.live_again().map_err(|what| format!("restored: step {}: {what}", life.step))?;
        let theirs = life.counters;
        self.counters.backups_restored += 1;
        self.counters.backup_deliveries += theirs.delivered;
        let compared = theirs.compared + life.history.compared.ordered + theirs.key_checked;
        self.counters.backup_compared += compared;
        self.counters.old_leases_refused += theirs.old_leases_refused;
        self.counters.old_leases_taken += theirs.old_leases_taken;
        self.note("restored", &[life.trace, restored.start.into()]);
        Ok(())
    }

    fn second_life(&self, seed: u64, kept: Kept, disk: SimulatedDisk) -> Self {
        let Kept { asked, done, .. } = kept;
        let oracle = asked.oracle.restored(&done.oracle, &self.oracle);
        let history = asked.history.restored(&done.history, done.open.iter(), &self.history);
        let old_start = Some(self.oracle.last_start().max(self.history.last_start()));
        let leases = self.backups.leases.clone();
        let (old_names, old_clock) = (self.last_names, history.now());
        let mut life = Self {
            disk,
            config: self.config.clone(),
            now: self.now,
            hog: None,
            oracle,
            history,
            subscribed: asked.subscribed,
            keys: self.keys.second_life(asked.changes.0..=done.changes.1),
            last_names: self.last_names,
            backups: Backups { old_start, old_names, old_clock, leases, ..Backups::none() },
            ..Self::new(seed, self.workload)
        };
        for (worker, old) in life.workers.iter_mut().zip(&self.workers) {
            // Under their dedupe ids they may be there or not.
            worker.again.clone_from(&old.again);
        }
        life
    }

    /// All of a life that begins with a backup.
    fn live_again(&mut self) -> Result<(), String> {
        self.start(false)?;
        self.begin_keys_again()?;
        self.calm_until = u64::MAX;
        self.live_on()?;
        self.hand_in_old_leases();
        self.live_on()?;
        for at in 0..self.workers.len() {
            if self.workload == Workload::Queue && self.connect(at) {
                self.look(at);
                self.submit_work(at);
            }
        }
        // What was asked is answered before the crash that the end begins with.
        for _ in 0..STEPS {
            self.now = self.now.after(STEP_MAX);
            self.turn(Input::Tick);
            self.keep_house_a_bit();
            self.commit();
            self.collect()?;
        }
        self.bring_to_an_end()
    }

    fn live_on(&mut self) -> Result<(), String> {
        for _ in 0..STEPS {
            self.step += 1;
            let millis = self.random.below(STEP_MAX.as_millis() as u64);
            self.now = self.now.after(Duration::from_millis(millis));
            self.calm_step()?;
        }
        Ok(())
    }

    /// Acks by leases of the old life. One of a message that is in the backup may be taken; all
    /// others are refused, whatever was given out again since.
    fn hand_in_old_leases(&mut self) {
        let leases = std::mem::take(&mut self.backups.leases);
        let known = |name: Name| self.oracle.knows(name) || self.history.knows(name);
        let (within, behind): (Vec<_>, Vec<_>) =
            leases.into_iter().partition(|(_, name, _)| known(*name));
        for (at, name, lease) in within.into_iter().take(LEASES_WITHIN).chain(behind) {
            match (self.workload, ROLES.get(at).and_then(|role| role.subscription)) {
                (Workload::Topics, Some(subscription)) if self.session(true, at).is_some() => {
                    self.oracle.acking(subscription, name);
                    self.consumers[at].old_ack(name, lease);
                    self.submit(true, at);
                }
                (Workload::Queue, _) if self.connect(at) => {
                    let op = self.history.ask(What::OldAck(name));
                    let held = Held { name, lease, bound: false, outlived: true };
                    self.workers[at].ack(&held, op);
                    self.submit_work(at);
                }
                _ => {}
            }
        }
    }

    /// Whether a message that came in a second life may have been handed over before. Gives what is
    /// wrong if it is one of the old life and does not say so.
    pub(super) fn marked(&self, name: Name, handover: &Handover) -> Result<bool, String> {
        let old = match self.workload {
            Workload::Topics => self.backups.old_names[name.0 as usize] >= name.1,
            Workload::Queue | Workload::Blocks | Workload::Keys | Workload::Limits => {
                self.history.was_there(name, self.backups.old_clock)
            }
        };
        if old && !handover.redelivered {
            return Err(format!("{name:?} of the old life came unmarked"));
        }
        Ok(handover.attempt > 1)
    }

    /// An ack by a lease of the old life was answered.
    pub(super) fn old_ack(&mut self, name: Name, taken: bool) -> Result<(), String> {
        if !taken {
            self.counters.old_leases_refused += 1;
            return Ok(());
        }
        self.counters.old_leases_taken += 1;
        match self.oracle.knows(name) || self.history.knows(name) {
            true => Ok(()),
            false => Err(format!("a lease of {name:?} was taken, which is not in the backup")),
        }
    }
}

/// A copy of a disk that does nothing wrong any more.
fn still(disk: &SimulatedDisk) -> SimulatedDisk {
    let copy = SimulatedDisk::from_snapshot(&disk.snapshot());
    copy.set_faults(Faults::default());
    copy.crash_at_operation(u64::MAX);
    copy.set_capacity(None);
    copy
}
