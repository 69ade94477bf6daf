//! What a run came to: counts, and how long requests took.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::mode::Mode;
use crate::outcome::{Outcome, millis};

/// Counts while a run goes on.
pub(crate) struct Tally {
    mode: Mode,
    urls: u64,
    ok: u64,
    requests: u64,
    retries: u64,
    throttled: u64,
    redirects: u64,
    bytes: u64,
    errors: BTreeMap<String, u64>,
    /// Microseconds.
    latencies: Histogram<u64>,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// How it was done.
    pub mode: Mode,
    /// URLs that have a result.
    pub urls: u64,
    /// Those that have none, because it was stopped.
    pub left: u64,
    /// URLs that were answered well.
    pub ok: u64,
    /// The others, by the kind of trouble.
    pub errors: BTreeMap<String, u64>,
    /// Requests for URLs that have a result.
    pub requests: u64,
    /// Those that failed and were tried again.
    pub retries: u64,
    /// Those that were answered with a pause.
    pub throttled: u64,
    /// Those that led on to another URL.
    pub redirects: u64,
    /// Bytes of answers.
    pub bytes: u64,
    /// How long it took.
    pub elapsed_ms: f64,
    /// Requests a second.
    pub requests_per_second: f64,
    /// How long the last request of each URL took that was answered; none if none was.
    pub latency_ms: Option<Latencies>,
    /// Hosts that asked for too many pauses, or too long ones.
    pub given_up: Vec<String>,
}

/// How long requests took, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latencies {
    /// The shortest.
    pub min: f64,
    /// The mean.
    pub mean: f64,
    /// Half of them took no longer.
    pub p50: f64,
    /// 90 of 100 took no longer.
    pub p90: f64,
    /// 95 of 100.
    pub p95: f64,
    /// 99 of 100.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Tally {
    pub(crate) fn new(mode: Mode) -> Self {
        Self {
            mode,
            urls: 0,
            ok: 0,
            requests: 0,
            retries: 0,
            throttled: 0,
            redirects: 0,
            bytes: 0,
            errors: BTreeMap::new(),
            latencies: Histogram::new(3).expect("three digits can be kept"),
        }
    }

    /// Counts a URL, with what the last request for it took.
    pub(crate) fn count(&mut self, outcome: &Outcome, took: Option<Duration>) {
        self.urls += 1;
        self.ok += u64::from(outcome.ok);
        self.requests += u64::from(outcome.requests);
        self.retries += u64::from(outcome.retries);
        self.throttled += u64::from(outcome.throttled);
        self.redirects += u64::from(outcome.redirects);
        self.bytes += outcome.bytes;
        if let Some(fault) = &outcome.error {
            *self.errors.entry(fault.kind.to_string()).or_default() += 1;
        }
        if let Some(took) = took.filter(|_| outcome.is_answered()) {
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            // It grows as far as it must: nothing is out of its range.
            let _ = self.latencies.record(micros);
        }
    }

    /// What it came to, of so many URLs.
    pub(crate) fn summary(&self, asked: u64, elapsed: Duration, given_up: Vec<String>) -> Summary {
        let seconds = elapsed.as_secs_f64().max(1e-6);
        Summary {
            mode: self.mode,
            urls: self.urls,
            left: asked.saturating_sub(self.urls),
            ok: self.ok,
            errors: self.errors.clone(),
            requests: self.requests,
            retries: self.retries,
            throttled: self.throttled,
            redirects: self.redirects,
            bytes: self.bytes,
            elapsed_ms: millis(elapsed),
            requests_per_second: (self.requests as f64 / seconds * 10.0).round() / 10.0,
            latency_ms: Latencies::of(&self.latencies),
            given_up,
        }
    }
}

impl Latencies {
    fn of(micros: &Histogram<u64>) -> Option<Self> {
        let millis = |micros: f64| micros.round() / 1e3;
        let at = |share| millis(micros.value_at_quantile(share) as f64);
        (!micros.is_empty()).then(|| Self {
            min: millis(micros.min() as f64),
            mean: millis(micros.mean()),
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            max: millis(micros.max() as f64),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::FaultKind;
    use crate::host::Target;
    use crate::job::Job;
    use crate::outcome::LastRequest;
    use crate::urls::Listed;
    use crate::verdict::Ending;

    fn count(tally: &mut Tally, ending: Ending, took: Duration) {
        let target = Target::read("http://a/").unwrap();
        let job = Job { failures: 1, ..Job::new(Listed { line: 1, target }) };
        let last = LastRequest { bytes: 7, took };
        let outcome = Outcome::new(Mode::Seq, &job, ending, Some(last), Duration::ZERO);
        tally.count(&outcome, Some(took));
    }

    #[test]
    fn percentiles_are_those_of_answered_requests() {
        let mut tally = Tally::new(Mode::Seq);
        for millis in 1..=100 {
            let ending = Ending { status: Some(200), fault: None };
            count(&mut tally, ending, Duration::from_millis(millis));
        }
        let fault = Ending::fault(FaultKind::Timeout.with("too long"));
        count(&mut tally, fault, Duration::from_secs(30));
        let summary = tally.summary(104, Duration::from_secs(2), Vec::new());
        let latency = summary.latency_ms.unwrap();
        let near = |is: f64, due: f64| assert!((is - due).abs() <= due * 0.002, "{is} {due}");
        near(latency.min, 1.0);
        near(latency.p50, 50.0);
        near(latency.p95, 95.0);
        near(latency.p99, 99.0);
        near(latency.max, 100.0);
        near(latency.mean, 50.5);
        assert_eq!((summary.urls, summary.ok, summary.left), (101, 100, 3));
        assert_eq!((summary.requests, summary.retries, summary.bytes), (202, 101, 707));
        assert_eq!(summary.errors, BTreeMap::from([("timeout".to_owned(), 1)]));
        near(summary.requests_per_second, 101.0);
    }

    #[test]
    fn without_answers_there_are_no_latencies() {
        let summary = Tally::new(Mode::Async).summary(0, Duration::ZERO, Vec::new());
        assert_eq!(summary.latency_ms, None);
        assert_eq!(summary.requests_per_second, 0.0);
    }
}
