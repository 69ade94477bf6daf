//! Working a queue of a running broker, together with whoever else does.

use std::sync::Arc;

use sluice_model::{LimitError, QueueName, SettingError};
use thiserror::Error;

use crate::queue::{Queue, QueueDesk, Remote, Terms};
use crate::run::{multi_thread, on_queue, random};
use crate::tally::Summary;
use crate::urls::Listed;
use crate::work::{FetchError, Plan, Run};

/// Which queue of which broker, and how it is worked.
#[derive(Clone, Debug)]
pub struct SharedQueue {
    /// The broker, `HOST:PORT`.
    pub server: String,
    /// How to connect.
    pub client: sluice_client::Options,
    /// The queue; it is made if it is not there.
    pub name: QueueName,
    /// The limits of the options are set on the broker in place of what it has. Otherwise whoever
    /// feeds sets them where the queue has none.
    pub sets_limits: bool,
    /// Wait for more when nothing is left, until the run is stopped.
    pub stays: bool,
}

/// Why a queue can't be worked.
#[derive(Debug, Error)]
pub enum SharedError {
    /// The broker can't be reached, or refuses.
    #[error(transparent)]
    Broker(#[from] sluice_client::Error),
    /// The queue would put URLs aside that are to be tried again.
    #[error(
        "max_failures of the queue {queue} is not 0, and failures are judged here\nsluice queue \
         declare {queue} --set max_failures=0 --update changes it"
    )]
    Failures {
        /// The queue.
        queue: QueueName,
    },
    /// The limits can't be set so.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The queue can't be made so.
    #[error(transparent)]
    Setting(#[from] SettingError),
}

/// Publishes a list, which may be empty, to a queue, and fetches what comes from there as tasks,
/// whoever published it; comes back when nothing is left, or the run was stopped. Blocks the thread.
///
/// What is left is what the queue still has then, as far as that may be seen, and what was not
/// published.
///
/// # Errors
/// As [`crate::fetch`], or the queue can't be worked.
pub fn fetch_shared(
    plan: Plan,
    shared: &SharedQueue,
    urls: &[Listed],
) -> Result<Summary, FetchError> {
    let run = Arc::new(Run::new(plan));
    let options = &run.plan.options;
    let (seed, name) = (random()?, format!("{:016x}", random()?));
    multi_thread()?.block_on(async {
        let watch = &*run.plan.watch;
        let queue = Remote::open(shared, options, !urls.is_empty(), watch).await?;
        if !shared.stays {
            // Who may not see when nothing is left is told before anything is published.
            queue.left().await?;
        }
        let terms = Terms { backoff: options.backoff, seed, stays: shared.stays, run: Some(name) };
        let desk = Arc::new(QueueDesk::new(queue, terms));
        let worked = on_queue(&run, Arc::clone(&desk), urls, options.concurrency as usize).await;
        let left = match run.plan.stop.is_asked() && worked.is_ok() {
            true => desk.left(urls.len()).await,
            false => Ok(0),
        };
        desk.queue().close().await;
        worked?;
        Ok(run.summary_of_what_came(left?))
    })
}
