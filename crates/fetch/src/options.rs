//! How URLs are fetched.

use std::path::PathBuf;
use std::time::Duration;

use sluice_flow::{Backoff, BackoffError, Rate, RateError, TokenLimit};
use sluice_model::RateTerm;
use thiserror::Error;

/// Most requests at once.
pub const CONCURRENCY_MAX: u32 = 10_000;
/// Most requests at once where each has a thread.
pub const THREADS_MAX: u32 = 1_024;
/// The longest time for a request: a lease is longer, and must not pass 12 hours.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(3_600);

/// What all ways to fetch have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Most requests at once.
    pub concurrency: u32,
    /// Most requests at once to one host.
    pub per_host: u32,
    /// Most requests to one host in a period, spread evenly; none for as many as there are.
    pub rate: Option<RateTerm>,
    /// Tries after the first one that failed.
    pub retries: u32,
    /// Pauses before them.
    pub backoff: Backoff,
    /// Time for a request, its answer read to the end.
    pub timeout: Duration,
    /// Longest answer that is read, in bytes.
    pub body_max: u64,
    /// Most redirects one after the other; each is a request of its own.
    pub redirects_max: u32,
    /// A host is given up that asks for more pauses in a row than this, with nothing in between
    /// but such answers.
    pub pauses_max: u32,
    /// A host is given up that asks for a pause longer than this.
    pub pause_max: Duration,
    /// How sites are reached.
    pub route: Route,
}

/// How sites are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Certificates (PEM) that vouch for sites beside those of the system.
    pub ca: Option<PathBuf>,
    /// Take any certificate.
    pub insecure: bool,
    /// Through which proxy; none for what the environment says.
    pub proxy: Option<String>,
    /// Through none, whatever the environment says.
    pub direct: bool,
    /// Who is said to ask.
    pub user_agent: String,
}

/// Which option makes no sense.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum OptionsError {
    /// A number is out of its range.
    #[error("{name} {value} is outside 1 .. {max}")]
    Range {
        /// Which.
        name: &'static str,
        /// Its value.
        value: u32,
        /// The most that it may be.
        max: u32,
    },
    /// A time is out of its range.
    #[error("timeout {0:?} is outside 1ms .. 1h")]
    Timeout(Duration),
    /// A backoff is impossible.
    #[error(transparent)]
    Backoff(#[from] BackoffError),
    /// The rate can't be kept.
    #[error("rate: {0}")]
    Rate(#[from] RateError),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            concurrency: 50,
            per_host: 10,
            rate: None,
            retries: 3,
            backoff: Backoff {
                min: Duration::from_millis(500),
                max: Duration::from_secs(30),
                factor: 2.0,
                jitter: 0.5,
            },
            timeout: Duration::from_secs(30),
            body_max: 64 << 20,
            redirects_max: 10,
            pauses_max: 10,
            pause_max: Duration::from_secs(600),
            route: Route {
                user_agent: concat!("sluice/", env!("CARGO_PKG_VERSION")).to_owned(),
                ..Route::default()
            },
        }
    }
}

impl Options {
    /// Checks the values.
    ///
    /// # Errors
    /// Names the first one that is out of range.
    pub fn validate(&self) -> Result<(), OptionsError> {
        range("concurrency", self.concurrency, CONCURRENCY_MAX)?;
        range("per_host", self.per_host, CONCURRENCY_MAX)?;
        if self.timeout < Duration::from_millis(1) || self.timeout > TIMEOUT_MAX {
            return Err(OptionsError::Timeout(self.timeout));
        }
        self.backoff.validate()?;
        self.token_limit().map(|_| ())
    }

    /// The rate as arithmetic.
    pub(crate) fn token_limit(&self) -> Result<Option<TokenLimit>, OptionsError> {
        let Some(rate) = self.rate else { return Ok(None) };
        let rate = Rate::fraction(rate.thousandths(), 1_000, rate.per_ms())?;
        Ok(Some(TokenLimit::new(rate, 1)?))
    }
}

pub(crate) fn range(name: &'static str, value: u32, max: u32) -> Result<(), OptionsError> {
    match (1..=max).contains(&value) {
        true => Ok(()),
        false => Err(OptionsError::Range { name, value, max }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_without_sense_are_named() {
        let options = Options::default();
        assert_eq!(options.validate(), Ok(()));
        let cases = [
            (Options { concurrency: 0, ..options.clone() }, "concurrency 0 is outside 1 .. 10000"),
            (Options { per_host: 10_001, ..options.clone() }, "per_host 10001 is outside"),
            (Options { timeout: Duration::ZERO, ..options.clone() }, "timeout 0ns is outside"),
        ];
        for (options, expected) in cases {
            let error = options.validate().unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
