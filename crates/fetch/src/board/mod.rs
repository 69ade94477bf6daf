//! The desk of the modes without a broker: a schedule that workers share.

mod schedule;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::desk::{Desk, DeskError, Settled};
use crate::job::Job;
pub(crate) use schedule::HostLimits;
use schedule::{Next, Schedule};

/// A schedule, its clock, and who waits for it.
///
/// Whoever takes a job wakes the next one in line, so that of those who wait one always knows the
/// time for which to wait.
pub(crate) struct Board {
    schedule: Mutex<Schedule>,
    changed: Notify,
    since: Instant,
}

impl Board {
    /// With these jobs.
    pub(crate) fn new(limits: HostLimits, seed: u64, jobs: impl Iterator<Item = Job>) -> Self {
        let mut schedule = Schedule::new(limits, seed);
        jobs.for_each(|job| schedule.add(job));
        Self { schedule: Mutex::new(schedule), changed: Notify::new(), since: Instant::now() }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

impl Desk for Board {
    type Ticket = usize;

    async fn take(&self) -> Result<Option<(Job, usize)>, DeskError> {
        loop {
            let changed = self.changed.notified();
            let now = self.now();
            let next = self.schedule.lock().next(now);
            match next {
                Next::Job(job, at) => {
                    self.changed.notify_one();
                    return Ok(Some((job, at)));
                }
                Next::Done => {
                    self.changed.notify_waiters();
                    // For who has looked already and does not wait yet.
                    self.changed.notify_one();
                    return Ok(None);
                }
                Next::Wait(None) => changed.await,
                Next::Wait(Some(until)) => {
                    tokio::select! {
                        () = changed => {}
                        () = sleep(Duration::from_micros(until.saturating_sub(now))) => {}
                    }
                }
            }
        }
    }

    async fn settle(&self, at: usize, job: Job, settled: Settled) -> Result<(), DeskError> {
        let now = self.now();
        self.schedule.lock().settle(at, job, settled, now);
        self.changed.notify_one();
        Ok(())
    }
}
