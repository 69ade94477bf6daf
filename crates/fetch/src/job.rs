//! A URL on its way through requests.

use std::sync::Arc;

use crate::host::Target;
use crate::urls::Listed;

/// What was listed, and what came of it before the present target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The URL as it was listed.
    pub(crate) url: Arc<str>,
    /// Its line; none if another program asked for it.
    pub(crate) line: Option<u64>,
    /// Redirects that led to the present target.
    pub(crate) redirects: u32,
    /// Requests for the targets before that failed.
    pub(crate) retries: u32,
    /// Requests for the targets before that were throttled.
    pub(crate) throttled: u32,
}

/// What is to be asked now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    /// Where.
    pub(crate) target: Target,
    /// What for.
    pub(crate) origin: Origin,
    /// Requests for this target that failed.
    pub(crate) failures: u32,
    /// Requests for this target that were throttled.
    pub(crate) throttled: u32,
}

impl Job {
    /// What a list asks for.
    pub(crate) fn new(listed: Listed) -> Self {
        let url = listed.target.url.as_str().into();
        let origin =
            Origin { url, line: Some(listed.line), redirects: 0, retries: 0, throttled: 0 };
        Self { target: listed.target, origin, failures: 0, throttled: 0 }
    }

    /// The same URL at another place, after a request for this one.
    pub(crate) fn redirected(&self, target: Target) -> Self {
        let origin = Origin {
            redirects: self.origin.redirects + 1,
            retries: self.retries(),
            throttled: self.throttled(),
            ..self.origin.clone()
        };
        Self { target, origin, failures: 0, throttled: 0 }
    }

    /// Requests that were made for it and are over.
    pub(crate) fn requests(&self) -> u32 {
        self.origin.redirects + self.retries() + self.throttled()
    }

    /// How many of them failed.
    pub(crate) fn retries(&self) -> u32 {
        self.origin.retries + self.failures
    }

    /// How many of them were throttled.
    pub(crate) fn throttled(&self) -> u32 {
        self.origin.throttled + self.throttled
    }
}
