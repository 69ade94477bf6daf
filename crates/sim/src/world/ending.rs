//! The end of a schedule: without further trouble, everything that was promised must come.

use std::time::Duration;

use sluice_broker::local::Input;
use sluice_model::Confirm;

use super::work::WORKERS;
use super::{Workload, World};
use crate::roles::ROLES;

impl World {
    /// Every consumer takes and acks what there is, and nothing that was promised is missing.
    pub(super) fn bring_to_an_end(&mut self) -> Result<(), String> {
        self.ends = true;
        self.restore_all()?;
        self.disk.free();
        if self.workload == Workload::Limits && self.limits.is_steady {
            return self.end_calls();
        }
        self.crash()?;
        while self.disk.is_dead() {
            self.crash()?;
        }
        self.disk.crash_at_operation(u64::MAX);
        if self.workload == Workload::Keys {
            return self.end_keys();
        }
        if self.workload == Workload::Limits {
            return self.end_calls();
        }
        // First what redrives at a pace have left to put back, then all that is dead.
        self.take_until_nothing_comes(false)?;
        let left = self.history.left_dead();
        // A full queue ends a redrive.
        if !left.is_empty() && self.workload != Workload::Blocks {
            return Err(format!("a redrive at a pace has left {left:?}"));
        }
        self.take_until_nothing_comes(true)?;
        self.check_the_end()
    }

    fn take_until_nothing_comes(&mut self, redrive: bool) -> Result<(), String> {
        let mut idle = 0;
        while idle < 12 {
            self.step += 1;
            self.now = self.now.after(Duration::from_millis(100));
            let before = self.counters.delivered;
            match self.workload {
                Workload::Topics => (0..ROLES.len()).try_for_each(|at| self.take_all(at))?,
                Workload::Blocks => {
                    (0..ROLES.len()).try_for_each(|at| self.take_all(at))?;
                    (0..WORKERS).try_for_each(|at| self.work_all(at, redrive))?;
                }
                Workload::Queue | Workload::Keys | Workload::Limits => {
                    (0..WORKERS).try_for_each(|at| self.work_all(at, redrive))?;
                }
            }
            self.turn(Input::Tick);
            self.keep_house_a_bit();
            for _ in 0..6 {
                self.commit();
                self.collect()?;
            }
            idle = if self.counters.delivered == before { idle + 1 } else { 0 };
            if self.step > 1_000_000 {
                return Err("the end does not come".into());
            }
        }
        Ok(())
    }

    fn take_all(&mut self, at: usize) -> Result<(), String> {
        if self.session(true, at).is_none() {
            return Err("the broker is gone without a crash".into());
        }
        let client = &mut self.consumers[at];
        for (name, lease) in std::mem::take(&mut client.held) {
            if let Some(subscription) = ROLES[at].subscription {
                self.oracle.acking(subscription, name);
            }
            client.ack(name, lease, Confirm::Always);
        }
        if let Some(subscription) = client.subscription {
            // As many as there is always room to answer.
            let receives = if self.workload == Workload::Blocks { 5 } else { 20 };
            for _ in 0..receives {
                client.receive(subscription);
            }
        }
        self.submit(true, at);
        Ok(())
    }

    /// A client of the queue takes and acks what there is, the dead included if they are put back.
    fn work_all(&mut self, at: usize, redrive: bool) -> Result<(), String> {
        if !self.connect(at) {
            return Err("the broker is gone without a crash".into());
        }
        for held in std::mem::take(&mut self.workers[at].held) {
            self.ack_one(at, held);
        }
        if redrive {
            self.redrive(at);
        }
        for _ in 0..4 {
            self.take(at, true);
        }
        self.submit_work(at);
        Ok(())
    }

    fn check_the_end(&mut self) -> Result<(), String> {
        for client in &self.consumers {
            if !client.asked.is_empty() {
                return Err(format!("requests were never answered: {:?}", client.asked));
            }
        }
        for worker in &self.workers {
            if !worker.asked.is_empty() {
                return Err(format!("requests were never answered: {:?}", worker.asked));
            }
        }
        let missing = self.history.missing();
        if !missing.is_empty() {
            return Err(format!("{missing:?} are missing"));
        }
        let Some(broker) = &self.broker else { return Err("the broker is gone".into()) };
        broker.driver.check();
        let queued = broker.driver.stats().queued;
        self.end_run();
        self.oracle.missing(queued)
    }
}
