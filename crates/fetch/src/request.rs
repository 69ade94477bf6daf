//! One request: it is sent once, its answer read to the end and thrown away.
//!
//! Redirects are not followed here: each is a request of its own, under the limits of its host.

use std::time::{Duration, Instant, SystemTime};

use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Certificate, Client, Proxy, Response, StatusCode, redirect};
use thiserror::Error;
use tokio_rustls::rustls::crypto::ring;

use crate::fault::{Fault, FaultKind, words};
use crate::host::Target;
use crate::options::Options;
use crate::retry_after::retry_after;

/// Why no request can be made at all.
#[derive(Debug, Error)]
pub enum RouteError {
    /// A file of certificates can't be used.
    #[error("can't use the certificates in {path}: {problem}")]
    Certificates {
        /// The file.
        path: String,
        /// Why.
        problem: String,
    },
    /// The proxy can't be one.
    #[error("{proxy:?} is no proxy: {problem}")]
    Proxy {
        /// What was given.
        proxy: String,
        /// Why.
        problem: String,
    },
    /// Anything else.
    #[error("no way to make requests: {0}")]
    Client(String),
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Attempt {
    /// What came back.
    pub(crate) answer: Result<Answer, (FaultKind, Fault)>,
    /// Bytes of the answer that were read.
    pub(crate) bytes: u64,
    /// From its begin to the end of the answer.
    pub(crate) took: Duration,
}

/// An answer, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// How long to wait, where the status asks for it.
    pub(crate) retry_after: Option<Duration>,
    /// Where else to ask, where the status says so.
    pub(crate) location: Option<String>,
}

/// Something that makes requests as the options say. It belongs to the runtime that uses it.
///
/// # Errors
/// A file can't be used, or the proxy can't be one.
pub(crate) fn client(options: &Options) -> Result<Client, RouteError> {
    // A second one changes nothing: it is this one.
    let _ = ring::default_provider().install_default();
    let route = &options.route;
    let mut client = Client::builder()
        .redirect(redirect::Policy::none())
        .timeout(options.timeout)
        .pool_max_idle_per_host(options.per_host as usize)
        .user_agent(&route.user_agent)
        // Tries are counted, and limits hold for them.
        .retry(reqwest::retry::never());
    if let Some(path) = &route.ca {
        let failed = |problem: String| RouteError::Certificates {
            path: path.display().to_string(),
            problem,
        };
        let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        let more = Certificate::from_pem_bundle(&pem).map_err(|error| failed(words(&error)))?;
        if more.is_empty() {
            return Err(failed("there are none".to_owned()));
        }
        client = client.tls_certs_merge(more);
    }
    if route.insecure {
        client = client.tls_danger_accept_invalid_certs(true);
    }
    if route.direct {
        client = client.no_proxy();
    }
    if let Some(proxy) = &route.proxy {
        let problem = |error| RouteError::Proxy { proxy: proxy.clone(), problem: words(&error) };
        client = client.proxy(Proxy::all(proxy).map_err(problem)?);
    }
    client.build().map_err(|error| RouteError::Client(words(&error)))
}

/// Asks once.
pub(crate) async fn ask(client: &Client, target: &Target, body_max: u64) -> Attempt {
    let since = Instant::now();
    let mut bytes = 0;
    let answer = match client.get(target.url.clone()).send().await {
        Err(error) => Err(error),
        Ok(response) => Ok(read(response, body_max, &mut bytes).await),
    };
    let answer = match answer {
        Ok(read) => read,
        Err(error) => Err(trouble(&error)),
    };
    Attempt { answer, bytes, took: since.elapsed() }
}

async fn read(
    mut response: Response,
    body_max: u64,
    bytes: &mut u64,
) -> Result<Answer, (FaultKind, Fault)> {
    let answer = Answer::of(response.status(), response.headers());
    // What asks for something else has said so whatever becomes of the rest.
    let said = answer.retry_after.is_some() || answer.location.is_some();
    loop {
        match response.chunk().await {
            Ok(None) => return Ok(answer),
            Ok(Some(chunk)) => *bytes += chunk.len() as u64,
            Err(_) if said => return Ok(answer),
            Err(error) => return Err(trouble(&error)),
        }
        if *bytes > body_max {
            let kind = FaultKind::TooLarge;
            let text = format!("the answer is longer than {body_max} bytes");
            return if said { Ok(answer) } else { Err((kind, kind.with(text))) };
        }
    }
}

impl Answer {
    fn of(status: StatusCode, headers: &HeaderMap) -> Self {
        let status = status.as_u16();
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let waits = matches!(status, 429 | 503);
        let leads = matches!(status, 301 | 302 | 303 | 307 | 308);
        let after = text(RETRY_AFTER).and_then(|value| retry_after(value, SystemTime::now()));
        Self {
            status,
            retry_after: after.filter(|_| waits),
            location: text(LOCATION).filter(|_| leads).map(ToOwned::to_owned),
        }
    }
}

fn trouble(error: &reqwest::Error) -> (FaultKind, Fault) {
    let kind = FaultKind::of(error);
    (kind, kind.with(words(error)))
}
