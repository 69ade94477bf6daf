//! A backup that a broker can be started from, and the data directory made of it.
//!
//! ```text
//! Restorable::read    checksums, frames, bodies; then images and records, as a start reads them
//!   restore           the same under a new log id, and a record of a start with a new number
//! ```
//!
//! Numbers of messages and leases begin with the number of the start that gave them. The life that
//! was backed up went on and gave out more than the backup knows of. So the new life begins with a
//! number above all that it can have reached: the seconds since 1970, which outrun any count of
//! starts. What that life gave out behind the backup is void in this one, even where a queue and a
//! place in it are given to something else now. Leases of messages that are in the backup are
//! another matter: they are of the very same messages, so an ack that comes late is welcome.

use std::time::Duration;

use sluice_engine::{Config as EngineConfig, Engine, Loader, Record, RecordError};
use sluice_model::Timestamp;
use sluice_wal::{BackupError, BackupManifest, Disk, NewLife, Verified};
use thiserror::Error;

use crate::local::journal::body_ref;

/// Why a backup can't be restored.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// It is damaged, or the disk refused.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// A record or an image in it was written by something else.
    #[error("the backup is damaged: {file} holds what can't be understood: {source}")]
    Record {
        /// In which file.
        file: String,
        /// Why.
        source: RecordError,
    },
}

/// A backup of which everything was checked.
pub struct Restorable<D: Disk> {
    verified: Verified<D>,
    engine: Engine,
    last: Timestamp,
}

/// What a restore came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The number of the new life's first start.
    pub start: u32,
    /// How long before the clock's time the last record was written.
    pub age: Duration,
}

impl<D: Disk> Restorable<D> {
    /// Reads all of the backup that is the directory of `disk`. `tell` hears of bytes read, and
    /// of bytes in all.
    ///
    /// # Errors
    /// Something in it is not what it was.
    pub fn read(disk: D, tell: impl FnMut(u64, u64)) -> Result<Self, RestoreError> {
        let verified = Verified::read(disk, tell)?;
        let unread = |file: String| move |source| RestoreError::Record { file, source };
        let mut loader = Loader::new(Engine::new(EngineConfig::default(), 0));
        verified.images(|key, bytes| {
            loader.add(key, bytes).map_err(unread("the image of the checkpoint".to_owned()))
        })?;
        let mut engine = loader.finish();
        let from = verified.replay_from().next;
        let mut misunderstood = None;
        verified.records(|record| {
            match Record::decode(record.head) {
                Ok(head) if record.sequence >= from => {
                    engine.replay(&head, body_ref(record.sequence, record.body));
                }
                Ok(_) => {}
                Err(source) if misunderstood.is_none() => {
                    let file = format!("record {}", record.sequence);
                    misunderstood = Some(RestoreError::Record { file, source });
                }
                Err(_) => {}
            }
            Ok(())
        })?;
        if let Some(error) = misunderstood {
            return Err(error);
        }
        let last = Timestamp::from_millis(verified.last_time_ms()?);
        Ok(Self { verified, engine, last })
    }

    /// What the backup holds, as a file system sees it.
    pub fn manifest(&self) -> &BackupManifest {
        self.verified.manifest()
    }

    /// Messages in it, in every state but settled.
    pub fn messages(&self) -> u64 {
        self.engine.queued()
    }

    /// Subscriptions in it.
    pub fn subscriptions(&self) -> u64 {
        self.engine.subscriptions() as u64
    }

    /// Queues in it, those of subscriptions aside.
    pub fn queues(&self) -> u64 {
        self.engine.plain_queues() as u64
    }

    /// How long before `wall` its last record was written.
    pub fn age(&self, wall: Timestamp) -> Duration {
        wall.since(self.last)
    }

    /// Makes the data directory `name` in the directory of `parent`; there is none, or an empty
    /// one. `log_id` is random, `wall` is what the clock says, `tell` hears of bytes written.
    ///
    /// The new records have the time of the last in the backup, so that a start still notices when
    /// the clock is far ahead of everything that can expire.
    ///
    /// # Errors
    /// The disk refused; there is no such directory then.
    pub fn restore<T: Disk>(
        &self,
        parent: &T,
        name: &str,
        log_id: u64,
        wall: Timestamp,
        tell: impl FnMut(u64),
    ) -> Result<Restored, RestoreError> {
        let start = first_start(self.engine.starts(), wall.max(self.last));
        let mut head = Vec::new();
        // What happened to the messages since the backup is unknown, as after a crash.
        Record::Started { start, at: self.last, unclean: true }.encode(&mut head);
        let life = NewLife { log_id, heads: vec![head], time_ms: self.last.as_millis() };
        self.verified.restore(parent, name, &life, tell)?;
        Ok(Restored { start, age: self.age(wall) })
    }
}

/// A number above that of every start there can have been by now.
fn first_start(known: u32, now: Timestamp) -> u32 {
    let seconds = u32::try_from(now.as_millis() / 1000).unwrap_or_default();
    seconds.max(known.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_life_begins_above_what_the_old_one_can_have_reached() {
        let now = Timestamp::from_millis(1_795_256_100_999);
        assert_eq!(first_start(3, now), 1_795_256_100);
        // A restored log that was started since, by a clock that went back.
        assert_eq!(first_start(1_795_256_200, now), 1_795_256_201);
    }
}
