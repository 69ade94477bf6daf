//! Why a URL ended without what was asked for, and which of it may be different the next time.

use std::borrow::Cow;
use std::error::Error;

use serde::{Deserialize, Serialize};
use tokio_rustls::rustls;

/// What kind of trouble it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// The name has no address.
    Dns,
    /// Nobody there, or nobody answers.
    Connect,
    /// The certificate, or the handshake.
    Tls,
    /// It took too long.
    Timeout,
    /// The connection ended before the answer did.
    Closed,
    /// What came is not HTTP.
    Protocol,
    /// The answer is longer than allowed.
    TooLarge,
    /// It leads nowhere, or around.
    Redirect,
    /// The host asks for more patience than there is.
    Throttled,
    /// An answer that says no.
    Status(u16),
}

/// Trouble, as it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The kind's name.
    pub kind: Cow<'static, str>,
    /// In words.
    pub text: String,
}

impl FaultKind {
    /// Its name in results and tables.
    pub fn name(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Protocol => "protocol",
            Self::TooLarge => "too_large",
            Self::Redirect => "redirect",
            Self::Throttled => "throttled",
            Self::Status(status) => return Cow::Owned(format!("status_{status}")),
        })
    }

    /// Whether another try may go better.
    pub const fn is_passing(self) -> bool {
        match self {
            Self::Dns | Self::Connect | Self::Timeout | Self::Closed | Self::Protocol => true,
            Self::Tls | Self::TooLarge | Self::Redirect | Self::Throttled => false,
            Self::Status(status) => matches!(status, 408 | 425 | 500 | 502 | 503 | 504),
        }
    }

    /// With words.
    pub fn with(self, text: impl Into<String>) -> Fault {
        Fault { kind: self.name(), text: text.into() }
    }

    /// What kind of trouble a request ran into.
    pub(crate) fn of(error: &reqwest::Error) -> Self {
        if error.is_timeout() {
            Self::Timeout
        } else if caused::<rustls::Error>(error).is_some() {
            Self::Tls
        } else if error.is_dns() {
            Self::Dns
        } else if error.is_connect() {
            Self::Connect
        } else if caused::<hyper::Error>(error).is_some_and(hyper::Error::is_parse) {
            Self::Protocol
        } else {
            Self::Closed
        }
    }
}

/// The words of an error and of what is behind it.
pub(crate) fn words(error: &reqwest::Error) -> String {
    let mut words = String::new();
    for cause in causes(error).map(ToString::to_string) {
        // Some say what is behind them themselves.
        if !words.contains(&cause) {
            words = if words.is_empty() { cause } else { format!("{words}: {cause}") };
        }
    }
    words
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let first: &(dyn Error + 'static) = error;
    std::iter::successors(Some(first), |error| inner(*error))
}

/// What is behind an error; one of I/O hides what it was made of from `source`.
fn inner<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

fn caused<E: Error + 'static>(error: &reqwest::Error) -> Option<&E> {
    causes(error).find_map(|cause| cause.downcast_ref::<E>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn only_what_may_pass_is_tried_again() {
        let cases = [
            (FaultKind::Timeout,     "timeout",    true),
            (FaultKind::Closed,      "closed",     true),
            (FaultKind::Tls,         "tls",        false),
            (FaultKind::TooLarge,    "too_large",  false),
            (FaultKind::Status(500), "status_500", true),
            (FaultKind::Status(501), "status_501", false),
            (FaultKind::Status(404), "status_404", false),
        ];
        for (kind, name, passing) in cases {
            assert_eq!((&*kind.name(), kind.is_passing()), (name, passing));
        }
    }
}
