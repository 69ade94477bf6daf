//! Whether a backup can do without a part of the log that is damaged.
//!
//! The checkpoint in the backup says where the bodies of all messages lie. A body that a message
//! still needs can't be left out; what else is damaged was there for nobody.

use std::collections::BTreeMap;
use std::fmt;

use sluice_engine::{Config, Engine, Loader, RecordError};
use sluice_model::{Code, QueueNo};
use sluice_wal::{Backup, BackupError, Damage, Disk, Gap, Sequence, WalError};
use thiserror::Error;

/// Queues that are named one by one; of more there is a count.
const NAMED_MAX: usize = 20;

/// Why there is no backup.
#[derive(Debug, Error)]
pub(crate) enum Unmade {
    /// The log or the disk refused.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// A piece of the checkpoint was written by something else.
    #[error("the checkpoint can't be understood: {0}")]
    Image(#[from] RecordError),
    /// Messages need what is damaged.
    #[error(
        "{gap} can't be read, and messages in there are still needed:{queues}\ndrain these queues \
         (what can't be read goes to the dead set when it is delivered: purge that), and ask again \
         when a checkpoint was made since"
    )]
    Needed {
        /// What is damaged.
        gap: Gap,
        /// Whose they are.
        queues: Queues,
    },
    /// A start would replay what is damaged.
    #[error(
        "the log is corrupt: {0}; no checkpoint stands behind that yet: ask again when one was made \
         since. A broker that stops before starts only after `sluice log repair`"
    )]
    Ahead(Damage),
    /// A segment's header is damaged.
    #[error("the log is corrupt: {0}; stop the broker and run `sluice log repair`")]
    Header(Damage),
}

impl Unmade {
    /// The code that goes with it.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Backup(error) if error.is_no_space() => Code::NoSpace,
            Self::Backup(_)
            | Self::Image(_)
            | Self::Needed { .. }
            | Self::Ahead(_)
            | Self::Header(_) => Code::Internal,
        }
    }

    /// What a step of a backup said, with what to do about it.
    pub(crate) fn of(error: BackupError) -> Self {
        match error {
            BackupError::Log(WalError::Corrupt(damage)) if damage.sequence == Sequence(0) => {
                Self::Header(damage)
            }
            BackupError::Log(WalError::Corrupt(damage)) => Self::Ahead(damage),
            other => Self::Backup(other),
        }
    }
}

/// Queues that something is needed by, with how many messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Queues(BTreeMap<QueueNo, (String, u64)>);

impl fmt::Display for Queues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (QueueNo(number), (title, messages)) in self.0.iter().take(NAMED_MAX) {
            write!(f, "\n  queue {number}, {title}: {messages}")?;
        }
        match self.0.len().saturating_sub(NAMED_MAX) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

/// Fails if a message of the backup's checkpoint has its body in the gap.
pub(crate) fn check<D: Disk>(backup: &Backup<D>, gap: &Gap) -> Result<(), Unmade> {
    let mut loader = Loader::new(Engine::new(Config::default(), 0));
    backup.images(|key, bytes| loader.add(key, bytes).map_err(Unmade::from))?;
    let engine = loader.finish();
    let needed = engine.bodies_in(gap.segment, gap.offset..gap.end);
    if needed.is_empty() {
        return Ok(());
    }
    let titled = needed.into_iter().map(|(queue, messages)| {
        let title = engine.queue_title(queue).unwrap_or_default();
        (queue, (title, messages))
    });
    Err(Unmade::Needed { gap: *gap, queues: Queues(titled.collect()) })
}

impl From<WalError> for Unmade {
    fn from(error: WalError) -> Self {
        Self::Backup(error.into())
    }
}
