//! Where workers get jobs and bring them back: the seam between fetching and whatever keeps limits.

use std::future::Future;
use std::time::Duration;

use thiserror::Error;

use crate::job::Job;

/// What a worker did with a job.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Settled {
    /// Its result is written.
    Done,
    /// A try failed: again, after a pause of its own.
    Failed(String),
    /// Its host asked for a pause: again, in its place.
    Throttled(Option<Duration>),
    /// Another job is to be done in its place.
    Replaced(Job),
    /// It was not done: somebody else may.
    Released,
    /// Its result is written, and its host is asked no more by this run: the rest of its jobs may be
    /// handed out whatever its limits.
    GivenUp,
}

/// Why a desk has no more to give.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct DeskError(pub(crate) String);

/// Hands out jobs as limits allow.
pub(crate) trait Desk: Send + Sync {
    /// What takes a job back.
    type Ticket: Send;

    /// The next job, as soon as there is one that may be done; none when all are done.
    /// Cancel-safe.
    fn take(&self) -> impl Future<Output = Result<Option<(Job, Self::Ticket)>, DeskError>> + Send;

    /// Brings a job back.
    fn settle(
        &self,
        ticket: Self::Ticket,
        job: Job,
        settled: Settled,
    ) -> impl Future<Output = Result<(), DeskError>> + Send;
}
