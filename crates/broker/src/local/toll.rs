//! What damage to a log costs, in the words of its owner: which queues, how many messages, how many changes of keys.
//!
//! The log knows numbers of records and nothing else. Of a lost record little can be read, but
//! what stands before and behind it tells most: a message whose number in its queue is higher
//! than the next one due shows how many are missing between, and so does the number of a change of a key.

use std::collections::BTreeMap;
use std::fmt;

use sluice_engine::{Config, Engine, Loader, Record, Target};
use sluice_model::QueueNo;
use sluice_wal::{Disk, Survey, WalError};

use crate::local::journal::body_ref;

/// Queues that are named one by one; of more there is a count.
const NAMED_MAX: usize = 20;

/// What damage to a log costs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Toll {
    queues: BTreeMap<QueueNo, Touched>,
    /// Changes of keys that are missing, as those behind the damage show.
    changes: u64,
    /// Lost records, and how many of them could be read well enough to be counted.
    lost: u64,
    read: u64,
}

/// One queue that damage touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Touched {
    /// What it listens to and whose it is; none where the record that says it is lost.
    title: Option<String>,
    /// Its messages that are missing.
    missing: u64,
    /// Messages behind the damage that nobody can receive, since the queue is not known.
    orphans: u64,
}

impl Toll {
    /// Reads what is to be read around the damage.
    ///
    /// # Errors
    /// The disk refused.
    pub fn of<D: Disk>(survey: &Survey<D>) -> Result<Self, WalError> {
        let lost = survey.lost().iter().map(|lost| lost.last.0 - lost.first.0 + 1).sum();
        let mut toll = Self { lost, ..Self::default() };
        let mut loader = Loader::new(Engine::new(Config::default(), 0));
        survey.images(|key, bytes| {
            // A piece that can't be understood costs names, not more.
            let _ = loader.add(key, bytes);
            Ok::<_, WalError>(())
        })?;
        let mut engine = loader.finish();
        survey.before(|record| {
            if let Ok(head) = Record::decode(record.head) {
                engine.replay(&head, body_ref(record.sequence, record.body));
            }
            Ok(())
        })?;
        survey.inside(|_, head| toll.add_lost(&engine, head))?;
        survey.behind(|record| {
            let Ok(head) = Record::decode(record.head) else { return Ok(()) };
            match &head {
                Record::Published { targets, .. } => {
                    targets.iter().for_each(|target| toll.add_kept(&engine, target));
                }
                Record::KeySet { revision, .. } | Record::KeyGone { revision, .. } => {
                    toll.changes += revision.saturating_sub(engine.key_revision() + 1);
                }
                _ => {}
            }
            engine.replay(&head, body_ref(record.sequence, record.body));
            Ok(())
        })?;
        Ok(toll)
    }

    /// A record in the damage that could be read.
    fn add_lost(&mut self, engine: &Engine, head: &[u8]) {
        let Ok(record) = Record::decode(head) else { return };
        self.read += 1;
        if let Record::Published { targets, .. } | Record::Moved { targets, .. } = record {
            for target in targets.iter() {
                self.touch(engine, target.queue);
            }
        }
    }

    /// A message behind the damage.
    fn add_kept(&mut self, engine: &Engine, target: &Target) {
        match engine.next_seq(target.queue) {
            None => self.touch(engine, target.queue).orphans += 1,
            Some(next) if next < target.seq => {
                self.touch(engine, target.queue).missing += target.seq.0 - next.0;
            }
            Some(_) => {}
        }
    }

    fn touch(&mut self, engine: &Engine, queue: QueueNo) -> &mut Touched {
        let touched = self.queues.entry(queue).or_default();
        if touched.title.is_none() {
            touched.title = engine.queue_title(queue);
        }
        touched
    }
}

impl fmt::Display for Toll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("queues touched:")?;
        for (QueueNo(queue), touched) in self.queues.iter().take(NAMED_MAX) {
            match &touched.title {
                Some(title) => write!(f, "\n  queue {queue}, {title}")?,
                None => write!(f, "\n  queue {queue}, whose subscription is unknown")?,
            }
            if touched.missing > 0 {
                write!(f, ": up to {} lost", messages(touched.missing))?;
            }
            if touched.orphans > 0 {
                let goes = if touched.orphans == 1 { "goes" } else { "go" };
                write!(f, ": {} behind the damage {goes} with it", messages(touched.orphans))?;
            }
        }
        if self.queues.len() > NAMED_MAX {
            write!(f, "\n  and {} more", self.queues.len() - NAMED_MAX)?;
        }
        match self.changes {
            0 => {}
            1 => write!(f, "\nkeys touched: 1 change is missing")?,
            changes => write!(f, "\nkeys touched: {changes} changes are missing")?,
        }
        let unread = self.lost.saturating_sub(self.read);
        match (self.lost, unread) {
            (0, _) => write!(f, "\n  unknown: it can't be read how many records are lost"),
            (_, 0) => Ok(()),
            (lost, unread) => {
                write!(f, "\n  unknown: what {unread} of {lost} lost records did beside")
            }
        }
    }
}

fn messages(count: u64) -> String {
    if count == 1 { "1 message".to_owned() } else { format!("{count} messages") }
}
