//! What a worker does, whoever keeps the limits: take a job, ask, judge, write down, bring back.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use reqwest::Client;
use thiserror::Error;

use crate::desk::{Desk, DeskError, Settled};
use crate::fault::{Fault, FaultKind};
use crate::host::Host;
use crate::job::Job;
use crate::mode::Mode;
use crate::options::Options;
use crate::outcome::{LastRequest, Outcome};
use crate::patience::Patience;
use crate::request::{Attempt, RouteError, ask};
use crate::shared::SharedError;
use crate::stop::{Stop, Stopper, stop};
use crate::tally::{Summary, Tally};
use crate::verdict::{Ending, Verdict, judge};

/// Why a run could not go on.
#[derive(Debug, Error)]
pub enum FetchError {
    /// Results can't be written.
    #[error("can't write results: {0}")]
    Results(std::io::Error),
    /// No requests can be made.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// What hands out jobs has failed.
    #[error(transparent)]
    Desk(#[from] DeskError),
    /// There are no threads, or no runtime, to be had.
    #[error("can't start a worker: {0}")]
    Start(std::io::Error),
    /// The queue of a running broker can't be worked.
    #[error(transparent)]
    Shared(#[from] SharedError),
}

/// Who wants to see how a run goes. It is called by all workers, and holds them up.
pub trait Watch: Send + Sync {
    /// A URL has its result.
    fn done(&self, _outcome: &Outcome) {}
    /// A host asked for a pause, for so long if it said so.
    fn paused(&self, _host: &Host, _retry_after: Option<Duration>) {}
    /// Something that a user should know.
    fn told(&self, _text: &str) {}
}

/// Nobody.
impl Watch for () {}

/// What the workers of a run share.
pub(crate) struct Run {
    pub(crate) plan: Plan,
    since: Instant,
    tally: Mutex<Tally>,
    patience: Mutex<Patience>,
    /// Asked when a worker fails: the others can't go on either.
    halt: (Stopper, Stop),
}

/// How a list is to be fetched. Clones share what they write to.
#[derive(Clone)]
pub struct Plan {
    /// In which way.
    pub mode: Mode,
    /// Under which limits.
    pub options: Arc<Options>,
    /// Where results go, a line of JSON each.
    pub out: Option<Arc<File>>,
    /// Who wants to see how it goes.
    pub watch: Arc<dyn Watch>,
    /// What ends it early.
    pub stop: Stop,
}

impl Run {
    /// One that begins now.
    pub(crate) fn new(plan: Plan) -> Self {
        let Options { pauses_max, pause_max, .. } = *plan.options;
        Self {
            since: Instant::now(),
            tally: Mutex::new(Tally::new(plan.mode)),
            patience: Mutex::new(Patience::new(pauses_max, pause_max)),
            halt: stop(),
            plan,
        }
    }

    /// Waits until it was asked to stop, or a worker failed.
    pub(crate) async fn over(&self) {
        tokio::select! {
            () = self.plan.stop.asked() => {}
            () = self.halt.1.asked() => {}
        }
    }

    /// Works until there is nothing left, or it was asked to stop, or somebody failed.
    pub(crate) async fn work<D: Desk>(&self, desk: &D, client: &Client) -> Result<(), FetchError> {
        self.heed(self.work_on(desk, client).await)
    }

    /// Passes an outcome on; behind a failure the other workers end too.
    pub(crate) fn heed<T>(&self, outcome: Result<T, FetchError>) -> Result<T, FetchError> {
        if outcome.is_err() {
            self.halt.0.stop();
        }
        outcome
    }

    async fn work_on<D: Desk>(&self, desk: &D, client: &Client) -> Result<(), FetchError> {
        loop {
            let taken = tokio::select! {
                biased;
                () = self.over() => None,
                taken = desk.take() => taken?,
            };
            let Some((job, ticket)) = taken else { break };
            if self.patience.lock().is_given_up(&job.target.host) {
                let fault = FaultKind::Throttled.with("its host was given up");
                self.record(&job, Ending::fault(fault), None)?;
                desk.settle(ticket, job, Settled::Done).await?;
                continue;
            }
            let sent = self.micros();
            let attempt = tokio::select! {
                biased;
                attempt = ask(client, &job.target, self.plan.options.body_max) => attempt,
                () = self.over() => {
                    desk.settle(ticket, job, Settled::Released).await?;
                    return Ok(());
                }
            };
            let settled = self.decide(&job, &attempt, sent)?;
            desk.settle(ticket, job, settled).await?;
        }
        Ok(())
    }

    /// What becomes of a job; if it is done, its result is written.
    fn decide(&self, job: &Job, attempt: &Attempt, sent: u64) -> Result<Settled, FetchError> {
        let verdict =
            judge(&self.plan.options, &job.target, job.origin.redirects, job.failures, attempt);
        let host = &job.target.host;
        if attempt.answer.is_ok() && !matches!(verdict, Verdict::Throttled { .. }) {
            self.patience.lock().answered(host);
        }
        match verdict {
            Verdict::Again(Fault { kind, text }) => Ok(Settled::Failed(format!("{kind}: {text}"))),
            Verdict::Redirected(target) => Ok(Settled::Replaced(job.redirected(target))),
            Verdict::Throttled { retry_after, status } => {
                let now = self.micros();
                let given_up = self.patience.lock().throttled(host, retry_after, sent, now);
                let Some(why) = given_up else {
                    self.plan.watch.paused(host, retry_after);
                    return Ok(Settled::Throttled(retry_after));
                };
                let fault = FaultKind::Throttled.with(why.to_string());
                let ending = Ending { status: Some(status), fault: Some(fault) };
                self.record(job, ending, Some(attempt))?;
                Ok(Settled::GivenUp)
            }
            Verdict::Done(ending) => {
                self.record(job, ending, Some(attempt))?;
                Ok(Settled::Done)
            }
        }
    }

    /// Writes a result down and counts it.
    fn record(&self, job: &Job, ending: Ending, last: Option<&Attempt>) -> Result<(), FetchError> {
        let took = last.map(|last| last.took);
        let last = last.map(|last| LastRequest { bytes: last.bytes, took: last.took });
        let outcome = Outcome::new(self.plan.mode, job, ending, last, self.since.elapsed());
        let mut line =
            serde_json::to_vec(&outcome).map_err(|error| FetchError::Results(error.into()))?;
        line.push(b'\n');
        let mut tally = self.tally.lock();
        if let Some(out) = &self.plan.out {
            out.as_ref().write_all(&line).map_err(FetchError::Results)?;
        }
        tally.count(&outcome, took);
        drop(tally);
        self.plan.watch.done(&outcome);
        Ok(())
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// What it came to, of so many URLs.
    pub(crate) fn summary(&self, asked: u64) -> Summary {
        let given_up = self.patience.lock().all_given_up();
        self.tally.lock().summary(asked, self.since.elapsed(), given_up)
    }

    /// What it came to where nobody knows how many URLs there would be, and so many are left.
    pub(crate) fn summary_of_what_came(&self, left: u64) -> Summary {
        Summary { left, ..self.summary(0) }
    }
}
