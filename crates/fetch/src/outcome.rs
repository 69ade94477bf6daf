//! What came of a URL: a line of the results.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::job::Job;
use crate::mode::Mode;
use crate::verdict::Ending;

/// A line of the results, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// How it was fetched.
    pub mode: Mode,
    /// Its line in the list; none if it came through a queue from elsewhere without one.
    pub line: Option<u64>,
    /// As it was listed.
    pub url: String,
    /// Where redirects led to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_url: Option<String>,
    /// Whether all went well: an answer below 400, read to its end.
    pub ok: bool,
    /// The status of the last answer that was read to its end.
    pub status: Option<u16>,
    /// Bytes of the last answer.
    pub bytes: u64,
    /// How long the last request took, its answer included; none if there was none.
    pub latency_ms: Option<f64>,
    /// Requests that were made for it.
    pub requests: u32,
    /// How many of them failed and were tried again.
    pub retries: u32,
    /// How many of them were answered with a pause.
    pub throttled: u32,
    /// Redirects that were followed.
    pub redirects: u32,
    /// When it was done, since the begin of the run.
    pub at_ms: f64,
    /// What was wrong.
    pub error: Option<Fault>,
}

/// The last request for a URL.
pub(crate) struct LastRequest {
    pub(crate) bytes: u64,
    pub(crate) took: Duration,
}

impl Outcome {
    /// How a job ended; without a last request it was given up unasked.
    pub(crate) fn new(
        mode: Mode,
        job: &Job,
        ending: Ending,
        last: Option<LastRequest>,
        at: Duration,
    ) -> Self {
        let Ending { status, fault } = ending;
        let reached = job.target.url.as_str();
        Self {
            mode,
            line: job.origin.line,
            url: job.origin.url.as_ref().to_owned(),
            final_url: (job.origin.redirects > 0).then(|| reached.to_owned()),
            ok: fault.is_none(),
            status,
            bytes: last.as_ref().map_or(0, |last| last.bytes),
            latency_ms: last.as_ref().map(|last| millis(last.took)),
            requests: job.requests() + u32::from(last.is_some()),
            retries: job.retries(),
            throttled: job.throttled(),
            redirects: job.origin.redirects,
            at_ms: millis(at),
            error: fault,
        }
    }

    /// Whether its last request was answered, which is what latencies are of.
    pub fn is_answered(&self) -> bool {
        self.status.is_some()
    }
}

/// Milliseconds with microseconds behind the point.
pub(crate) fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
