//! Workers and a queue: what comes goes to who waits, and what workers say goes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sluice_flow::{Backoff, Random};
use sluice_model::{Message, MessageId, Outcome, Settlement, Throttled};
use tokio::sync::Notify;

use super::line::Line;
use super::message::written;
use super::{Queue, Taken};
use crate::desk::{Desk, DeskError, Settled};
use crate::job::Job;
use crate::urls::Listed;

/// Messages that are published together, and their bytes but for those of the last one.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 256 << 10;

/// How a queue is worked.
pub(crate) struct Terms {
    /// Pauses of jobs that failed.
    pub(crate) backoff: Backoff,
    /// They follow from it.
    pub(crate) seed: u64,
    /// Wait for more when nothing is left.
    pub(crate) stays: bool,
    /// A name that no other run has: what is fed under it can be published again without harm.
    pub(crate) run: Option<String>,
}

/// A desk in front of a queue.
pub(crate) struct QueueDesk<Q: Queue> {
    queue: Q,
    line: Line<(Job, Ticket<Q>)>,
    out: Arc<Out>,
    /// What is still to be fed may be the last.
    feeds: AtomicBool,
    /// So many URLs were.
    fed: AtomicUsize,
    terms: Terms,
    draws: Mutex<Random>,
}

/// What takes a job back. Dropped, it gives it back.
pub(crate) struct Ticket<Q: Queue> {
    lease: Q::Lease,
    id: MessageId,
    out: Holding,
}

/// Jobs that are with workers.
#[derive(Default)]
struct Out {
    jobs: AtomicUsize,
    /// None are any more, or all is fed.
    idle: Notify,
}

/// One of them.
struct Holding(Arc<Out>);

impl Holding {
    fn one(out: &Arc<Out>) -> Self {
        out.jobs.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(out))
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        if self.0.jobs.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_one();
        }
    }
}

impl<Q: Queue> QueueDesk<Q> {
    /// Nothing is handed out before [`QueueDesk::serve`] runs, and that does not end by itself
    /// before [`QueueDesk::feed`] has run.
    pub(crate) fn new(queue: Q, terms: Terms) -> Self {
        Self {
            queue,
            line: Line::new(),
            out: Arc::default(),
            feeds: AtomicBool::new(true),
            fed: AtomicUsize::new(0),
            draws: Mutex::new(Random::new(terms.seed)),
            terms,
        }
    }

    /// The queue.
    pub(crate) fn queue(&self) -> &Q {
        &self.queue
    }

    /// How much is left in the queue, and of a list of so many URLs that it was to be fed. Who
    /// waits for more anyway need not be allowed to see the former.
    pub(crate) async fn left(&self, urls: usize) -> Result<u64, DeskError> {
        let unfed = urls.saturating_sub(self.fed.load(Ordering::Acquire));
        let queued = match self.queue.left().await {
            Err(_) if self.terms.stays => 0,
            left => left?,
        };
        Ok(queued + unfed as u64)
    }

    /// Publishes a list.
    pub(crate) async fn feed(&self, urls: &[Listed]) -> Result<(), DeskError> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for (at, listed) in urls.iter().enumerate() {
            let id = self.terms.run.as_ref().map(|run| format!("{run}-{at}"));
            let message = written(&Job::new(listed.clone()), id);
            bytes += message.payload.len();
            batch.push(message);
            if batch.len() == BATCH || bytes >= BATCH_BYTES || at + 1 == urls.len() {
                bytes = 0;
                self.queue.publish(std::mem::take(&mut batch)).await?;
                self.fed.store(at + 1, Ordering::Release);
            }
        }
        self.feeds.store(false, Ordering::Release);
        self.out.idle.notify_one();
        Ok(())
    }

    /// Hands out what comes, until nothing is left or it is closed. Then nobody gets any more.
    pub(crate) async fn serve(&self) -> Result<(), DeskError> {
        let served = tokio::select! {
            served = self.serve_on() => served,
            () = self.line.closed() => Ok(()),
        };
        self.close();
        served
    }

    async fn serve_on(&self) -> Result<(), DeskError> {
        while let Some(max) = self.line.wanted().await {
            let mut receive = std::pin::pin!(self.queue.receive(max));
            let came = loop {
                tokio::select! {
                    came = &mut receive => break came?,
                    () = self.out.idle.notified() => {
                        if self.is_done().await? {
                            return Ok(());
                        }
                    }
                }
            };
            if came.is_empty() && self.is_done().await? {
                return Ok(());
            }
            for taken in came {
                self.hand_out(taken).await?;
            }
        }
        Ok(())
    }

    /// Nobody gets any more.
    pub(crate) fn close(&self) {
        self.line.close();
    }

    async fn is_done(&self) -> Result<bool, DeskError> {
        let may_be = !self.terms.stays
            && !self.feeds.load(Ordering::Acquire)
            && self.out.jobs.load(Ordering::Acquire) == 0;
        Ok(may_be && self.queue.left().await? == 0)
    }

    async fn hand_out(&self, taken: Taken<Q::Lease>) -> Result<(), DeskError> {
        let Taken { lease, id, job, is_keyed } = taken;
        match job {
            Ok(job) if is_keyed => {
                let ticket = Ticket { lease, id, out: Holding::one(&self.out) };
                self.line.give((job, ticket));
                Ok(())
            }
            // Whoever published it did not say whose limits hold for it.
            Ok(job) => self.replace(lease, id, &job).await,
            Err(why) => {
                let note = Some(format!("it can't be fetched: {why}").into());
                let rejected = Outcome::Rejected { note };
                self.queue.settle(lease, Settlement::Nack(rejected)).await
            }
        }
    }

    /// Publishes a job in place of a message; once, however often that is begun anew.
    async fn replace(&self, lease: Q::Lease, id: MessageId, by: &Job) -> Result<(), DeskError> {
        let message: Message = written(by, Some(format!("fetch-{id}")));
        self.queue.publish(vec![message]).await?;
        self.queue.settle(lease, Settlement::Ack).await
    }

    fn pause(&self, failures: u32) -> Duration {
        let draw = self.draws.lock().number();
        self.terms.backoff.delay(failures, draw)
    }
}

impl<Q: Queue> Desk for QueueDesk<Q> {
    type Ticket = Ticket<Q>;

    async fn take(&self) -> Result<Option<(Job, Ticket<Q>)>, DeskError> {
        Ok(self.line.take().await)
    }

    async fn settle(&self, ticket: Ticket<Q>, job: Job, settled: Settled) -> Result<(), DeskError> {
        let Ticket { lease, id, out } = ticket;
        let is_given_up = settled == Settled::GivenUp;
        let how = match settled {
            Settled::Done | Settled::GivenUp => Settlement::Ack,
            Settled::Failed(note) => Settlement::Nack(Outcome::Failed {
                delay: Some(self.pause(job.failures + 1)),
                note: Some(note.into()),
            }),
            Settled::Throttled(retry_after) => {
                let key = Some(job.target.host.as_str().into());
                Settlement::Nack(Outcome::Throttled(Throttled { retry_after, key }))
            }
            Settled::Released => Settlement::Nack(Outcome::Released { delay: None }),
            Settled::Replaced(by) => {
                self.replace(lease, id, &by).await?;
                drop(out);
                return Ok(());
            }
        };
        self.queue.settle(lease, how).await?;
        if is_given_up {
            self.queue.lift(&job.target.host).await?;
        }
        drop(out);
        Ok(())
    }
}
