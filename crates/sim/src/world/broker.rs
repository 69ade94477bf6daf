//! The broker of a schedule: its driver, its background work, its deaths and starts.

use std::time::Duration;

use sluice_broker::local::{Access, Driver, Entropy, Housekeeper, Input, Look, start};
use sluice_model::Timestamp;
use sluice_wal::{Commit, Faults, SimulatedDisk, SyncPolicy};

use super::World;

pub(super) struct Broker {
    pub(super) driver: Driver<SimulatedDisk>,
    pub(super) housekeeper: Housekeeper<SimulatedDisk>,
    commit: Option<Commit<SimulatedDisk>>,
}

struct Direct<'a> {
    driver: &'a mut Driver<SimulatedDisk>,
    now: Timestamp,
}

impl Access<SimulatedDisk> for Direct<'_> {
    fn with<R>(&mut self, work: impl FnOnce(&mut Driver<SimulatedDisk>, Timestamp) -> R) -> R {
        work(self.driver, self.now)
    }
}

impl World {
    pub(super) fn turn(&mut self, input: Input<'_, SimulatedDisk>) {
        let Some(broker) = &mut self.broker else { return };
        if broker.driver.turn(self.now, input).is_err() {
            // Exit code 4: the process is gone, what it wrote is there.
            self.counters.poisoned += 1;
            self.end_run();
        }
    }

    /// Takes a commit, or ends the one that runs: others may come in between.
    pub(super) fn commit(&mut self) {
        let now = self.now;
        let Some(broker) = &mut self.broker else { return };
        match broker.commit.take() {
            Some(commit) => {
                let done = commit.run();
                self.turn(Input::Committed(done));
            }
            None => {
                if let Some(looked) = broker.driver.take_look().and_then(Look::run) {
                    self.turn(Input::Looked(looked));
                }
                if let Some(broker) = &mut self.broker {
                    broker.commit = broker.driver.take_commit(now);
                }
            }
        }
    }

    pub(super) fn keep_house_a_bit(&mut self) {
        let steps = 1 + self.random.below(4);
        self.keep_house(steps);
    }

    pub(super) fn keep_house(&mut self, steps: u64) {
        let Some(broker) = &mut self.broker else { return };
        let mut access = Direct { driver: &mut broker.driver, now: self.now };
        for _ in 0..steps {
            // What could not be done is tried again another time.
            let _ = broker.housekeeper.step(&mut access);
        }
    }

    /// The process or the machine dies, and the broker starts again.
    pub(super) fn crash(&mut self) -> Result<(), String> {
        self.crashes += 1;
        self.calm_until = 0;
        self.end_run();
        self.cut_backup();
        self.set_faults(Faults::default());
        for client in self.publishers.iter_mut().chain(&mut self.consumers) {
            client.forget();
        }
        for at in 0..self.workers.len() {
            self.forget_worker(at);
        }
        self.lose_keepers();
        self.lose_callers();
        let power = self.random.percent(60);
        // Without a sync before the answer, only the process may die.
        if power && self.config.pace.policy == SyncPolicy::Always {
            self.disk.crash_power();
            self.lose_writes();
            self.history.lose_power();
        } else {
            self.disk.crash_process();
        }
        if self.backups.is_second_life() {
            self.oracle.forget_order();
            self.history.forget_order();
        }
        self.note("crash", &[u64::from(power)]);
        self.now = self.now.after(Duration::from_millis(self.random.below(2_000)));
        self.start(true)
    }

    /// Counts what the broker has counted, and forgets it.
    pub(super) fn end_run(&mut self) {
        let Some(broker) = self.broker.take() else { return };
        let stats = broker.driver.stats();
        self.counters.checkpoint_bytes += stats.image_bytes;
        self.counters.moved_bytes += stats.moved_bytes;
        self.counters.replay_waits += stats.replay_waits;
        self.counters.disk_low += stats.disk_low_times;
        self.counters.refused_space += stats.refused_space;
    }

    pub(super) fn start(&mut self, may_die: bool) -> Result<(), String> {
        if may_die && self.random.percent(20) {
            let ahead = 1 + self.random.below(60);
            self.disk.crash_at_operation(self.disk.operations() + ahead);
        }
        let entropy = Entropy { log_id: self.random.next(), seed: self.random.next() };
        match start(self.disk.clone(), &self.config, self.now, entropy) {
            Ok(started) => {
                self.counters.starts += 1;
                self.history.run += 1;
                self.counters.torn_tails += u64::from(started.report.torn_bytes > 0);
                self.counters.rewritten += started.report.rewritten;
                self.now = self.now.max(started.now);
                let (driver, housekeeper) = (started.driver, started.housekeeper);
                driver.check();
                self.broker = Some(Broker { driver, housekeeper, commit: None });
                self.open_shelf();
                self.callers_restarted();
                Ok(())
            }
            Err(_) if self.disk.is_dead() => {
                self.counters.died_starting += 1;
                self.crash()
            }
            Err(error) => Err(format!("a start was refused: {error}")),
        }
    }
}
