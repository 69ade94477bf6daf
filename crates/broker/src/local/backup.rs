//! The housekeeper's backups: asked for by anyone, made one at a time between its other steps.
//!
//! ```text
//! ask --> asked --a checkpoint is there--> marked --the log is safe up to the mark--> copying
//!                                                                                       |
//!                                     done, or failed with a reason <-------------------'
//! ```

use std::sync::Arc;

use parking_lot::Mutex;
use sluice_model::{Code, Refusal, Timestamp};
use sluice_wal::{Backup, BackupStep, Checkpoints, Disk, Held, Mark, Shelf};

use crate::backup::{BackupDone, BackupState, BackupStatus};
use crate::local::housekeeping::Access;
use crate::local::needed::{self, Unmade};

/// Where backups are asked for, and where one sees how they stand.
#[derive(Debug)]
pub struct BackupDesk<D: Disk> {
    inner: Mutex<Inner<D>>,
}

#[derive(Debug)]
struct Inner<D: Disk> {
    /// The directory of backups, and how many are kept; 0 for all.
    shelf: Option<(D, usize)>,
    asked: bool,
    closed: bool,
    status: BackupStatus,
}

impl<D: Disk> Default for BackupDesk<D> {
    fn default() -> Self {
        let status = BackupStatus::default();
        Self { inner: Mutex::new(Inner { shelf: None, asked: false, closed: false, status }) }
    }
}

impl<D: Disk> BackupDesk<D> {
    /// From now on backups go to the directory of `shelf`, of which the `keep` newest are kept; 0
    /// keeps all.
    pub fn open(&self, shelf: D, keep: usize) {
        self.inner.lock().shelf = Some((shelf, keep));
    }

    /// Whether there is a place for backups.
    pub fn is_open(&self) -> bool {
        self.inner.lock().shelf.is_some()
    }

    /// Asks for a backup.
    ///
    /// # Errors
    /// There is no place for one, another is being made, or the broker ends.
    pub fn ask(&self) -> Result<BackupStatus, Refusal> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(Refusal::new(Code::ShuttingDown, "the broker stops"));
        }
        if inner.shelf.is_none() {
            return Err(Refusal::new(Code::Invalid, "this broker has no place for backups"));
        }
        if matches!(inner.status.state, BackupState::Running { .. }) {
            return Err(Refusal::new(Code::Conflict, "a backup is being made"));
        }
        inner.asked = true;
        let number = inner.status.number + 1;
        inner.status = BackupStatus { number, state: BackupState::Running { done: 0, total: 0 } };
        Ok(inner.status.clone())
    }

    /// How the newest stands.
    pub fn status(&self) -> BackupStatus {
        self.inner.lock().status.clone()
    }

    /// Nothing more is made: what is unfinished stays so.
    pub(crate) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        if matches!(inner.status.state, BackupState::Running { .. }) {
            let reason = "the broker stops".to_owned();
            inner.status.state = BackupState::Failed { code: Code::ShuttingDown, reason };
        }
    }

    fn is_asked(&self) -> bool {
        self.inner.lock().asked
    }

    /// Takes what was asked for, with the directory that it goes to.
    fn take(&self) -> Option<(D, usize)> {
        let mut inner = self.inner.lock();
        match std::mem::take(&mut inner.asked) {
            true => inner.shelf.clone(),
            false => None,
        }
    }

    fn tell(&self, state: BackupState) {
        let mut inner = self.inner.lock();
        if !inner.closed {
            inner.status.state = state;
        }
    }
}

/// How far the housekeeper is with a backup.
struct Job<D: Disk> {
    shelf: D,
    keep: usize,
    asked_at: Timestamp,
    stage: Stage<D>,
}

enum Stage<D: Disk> {
    Marked(Box<(Mark<D>, Held<D>)>),
    Copying(Box<Backup<D>>),
}

/// The housekeeper's part.
pub(crate) struct Backups<D: Disk> {
    pub(crate) desk: Arc<BackupDesk<D>>,
    job: Option<Job<D>>,
    /// What a backup leaves free.
    disk_low: u64,
    /// The last step was one of a backup: the next is for something else.
    had_turn: bool,
}

impl<D: Disk> Backups<D> {
    pub(crate) fn new(disk_low: u64) -> Self {
        Self { desk: Arc::default(), job: None, disk_low, had_turn: false }
    }

    /// Whether there is anything to do.
    pub(crate) fn is_busy(&self) -> bool {
        self.job.is_some() || self.desk.is_asked()
    }

    /// Whether the last step was one of a backup.
    pub(crate) const fn had_turn(&self) -> bool {
        self.had_turn
    }

    /// Does a step, every other time. False if it leaves the time to others.
    pub(crate) fn step(
        &mut self,
        access: &mut impl Access<D>,
        checkpoints: &mut Checkpoints<D>,
    ) -> bool {
        self.had_turn = !self.had_turn && self.is_busy();
        if self.had_turn {
            match self.advance(access, checkpoints) {
                Ok(job) => self.job = job,
                Err(error) => {
                    tracing::warn!(%error, "no backup was made");
                    let (code, reason) = (error.code(), error.to_string());
                    self.desk.tell(BackupState::Failed { code, reason });
                }
            }
        }
        self.had_turn
    }

    fn advance(
        &mut self,
        access: &mut impl Access<D>,
        checkpoints: &mut Checkpoints<D>,
    ) -> Result<Option<Job<D>>, Unmade> {
        let Some(Job { shelf, keep, asked_at, stage }) = self.job.take() else {
            return Ok(self.begin(access, checkpoints));
        };
        let stage = match stage {
            Stage::Marked(marked) => {
                let last = marked.0.position().next.0 - 1;
                if access.with(|driver, _| driver.log.synced().0) < last {
                    Stage::Marked(marked)
                } else {
                    let (mark, held) = *marked;
                    let (at, disk_low) = (asked_at.as_millis(), self.disk_low);
                    let begun = Backup::begin(shelf.clone(), mark, held, at, disk_low)?;
                    tracing::info!(name = begun.name(), "a backup is begun");
                    Stage::Copying(Box::new(begun))
                }
            }
            Stage::Copying(mut backup) => match backup.step().map_err(Unmade::of)? {
                BackupStep::More => {
                    let (done, total) = backup.progress();
                    self.desk.tell(BackupState::Running { done, total });
                    Stage::Copying(backup)
                }
                BackupStep::Damaged(gap) => {
                    needed::check(&backup, &gap)?;
                    tracing::warn!(%gap, "damaged and needed by no message, not backed up");
                    backup.skip()?;
                    Stage::Copying(backup)
                }
                BackupStep::Done(manifest) => {
                    let took = access.with(|_, now| now.since(asked_at));
                    let removed = make_room(shelf, keep);
                    let (name, bytes) = (manifest.name.clone(), manifest.bytes());
                    tracing::info!(name, bytes, took_ms = took.as_millis(), "a backup is made");
                    let last = manifest.last().0;
                    let skipped = manifest.skipped.iter().map(ToString::to_string).collect();
                    self.desk.tell(BackupState::Done(BackupDone {
                        name,
                        bytes,
                        last,
                        took,
                        skipped,
                        removed,
                    }));
                    return Ok(None);
                }
            },
        };
        Ok(Some(Job { shelf, keep, asked_at, stage }))
    }

    /// Marks the place up to which the backup goes. None if there is no checkpoint yet: the
    /// housekeeper makes one, because somebody asks.
    fn begin(
        &mut self,
        access: &mut impl Access<D>,
        checkpoints: &mut Checkpoints<D>,
    ) -> Option<Job<D>> {
        let held = checkpoints.hold()?;
        let (shelf, keep) = self.desk.take()?;
        let (mark, asked_at) = access.with(|driver, now| (driver.mark(), now));
        Some(Job { shelf, keep, asked_at, stage: Stage::Marked(Box::new((mark, held))) })
    }
}

/// Removes those that are more than are to be kept.
fn make_room<D: Disk>(shelf: D, keep: usize) -> Vec<String> {
    match Shelf::new(shelf).keep_newest(keep) {
        Ok(removed) => removed,
        Err(error) => {
            tracing::warn!(%error, "old backups could not be removed");
            Vec::new()
        }
    }
}
