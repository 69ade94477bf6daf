//! What goes wrong in a schedule: faults of the disk, lost connections, flipped bits; and the
//! phases in which nothing does.

use sluice_broker::local::{Entropy, Input, StartError, start};
use sluice_engine::EndedBy;
use sluice_wal::{Faults, SimulatedDisk, WalError};

use super::{CALM_STEPS, World};
use crate::random::Random;

/// Bytes of a disk that has a bound: what short schedules write does not fill it.
const CAPACITY: u64 = 8 << 20;

impl World {
    pub(super) fn disk_trouble(&mut self) {
        let rate = |random: &mut Random| if random.percent(25) { 600 } else { 0 };
        let faults = Faults {
            sync: rate(&mut self.random),
            write: rate(&mut self.random),
            // Reads fail where clients read; see `World::read`.
            read: 0,
            allocate: rate(&mut self.random),
        };
        self.set_faults(faults);
    }

    /// Bounds the disk in some schedules. They have their own chance, so that the others stay as
    /// they are.
    pub(super) fn with_hog(mut self, seed: u64) -> Self {
        let mut random = Random::new(!seed);
        if random.percent(25) {
            self.disk.set_capacity(Some(CAPACITY));
            self.config.wal.settlements_reserve = 128 << 10;
            self.hog = Some(random);
        }
        self
    }

    /// Something else takes all that is free on the disk, or gives it back.
    pub(super) fn fill_or_free_the_disk(&mut self) {
        let Some(random) = &mut self.hog else { return };
        match random.below(100) {
            0 => self.disk.fill(random.below(3) << 16),
            1..=2 => self.disk.free(),
            _ => {}
        }
    }

    pub(super) fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
        self.disk.set_faults(faults);
    }

    /// The process dies within so many operations of the disk.
    pub(super) fn schedule_a_crash(&mut self, within: u64) {
        let ahead = self.random.below(within);
        self.disk.crash_at_operation(self.disk.operations() + ahead);
    }

    pub(super) fn begin_calm(&mut self) {
        self.set_faults(Faults::default());
        self.disk.crash_at_operation(u64::MAX);
        self.disk.free();
        self.calm_until = self.step + CALM_STEPS;
        self.counters.calm_phases += 1;
    }

    pub(super) fn lose_a_connection(&mut self) {
        let consumer = self.random.percent(60);
        let clients = if consumer { &mut self.consumers } else { &mut self.publishers };
        let at = self.random.below(clients.len() as u64) as usize;
        let Some(session) = clients[at].session else { return };
        // What becomes of what it published, nobody is told.
        let unsure = !consumer && !clients[at].asked.is_empty();
        clients[at].forget();
        self.consumers.iter_mut().for_each(|client| client.is_unsure |= unsure);
        let by = if self.random.percent(60) { EndedBy::Client } else { EndedBy::Broker };
        self.turn(Input::Close { session, by, unsent: Vec::new() });
    }

    /// Flips a bit in a copy of the disk and starts on it: it is refused, or counted, or nothing
    /// is missing.
    pub(super) fn flip_a_bit(&mut self) -> Result<(), String> {
        if !self.random.percent(25) {
            return Ok(());
        }
        let copy = SimulatedDisk::from_snapshot(&self.disk.snapshot());
        copy.set_faults(Faults::default());
        copy.crash_process();
        let paths = copy.paths();
        let path = &paths[self.random.below(paths.len() as u64) as usize];
        let used = copy.bytes(path).iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        if used == 0 {
            return Ok(());
        }
        copy.flip_bit(path, self.random.below(used as u64 * 8));
        let entropy = Entropy { log_id: 1, seed: 1 };
        match start(copy, &self.config, self.now, entropy) {
            Ok(started) => {
                started.driver.check();
                self.counters.flips_survived += 1;
            }
            Err(StartError::Log(WalError::Corrupt(_))) => self.counters.flips_refused += 1,
            Err(StartError::Log(WalError::Version { .. })) => self.counters.flips_refused += 1,
            Err(error) => return Err(format!("a flipped bit ended in {error}")),
        }
        self.counters.disk.bit_flips += 1;
        Ok(())
    }
}
