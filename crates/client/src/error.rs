//! Why something did not happen, or may not have.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use sluice_model::Code;
use sluice_protocol::binary::v2::{EncodeError, ErrorRef};
use thiserror::Error;

use crate::options::OptionsError;

/// Why a request has no answer.
#[derive(Clone, Debug, Error)]
pub enum Error {
    /// The options make no sense.
    #[error("{0}")]
    Options(#[from] OptionsError),
    /// The broker can't be reached, or the connection broke.
    #[error("{action}: {source}")]
    Io {
        /// What was tried.
        action: String,
        /// What came of it.
        source: Arc<io::Error>,
    },
    /// The broker has not answered in time.
    #[error("the broker did not answer in time")]
    Timeout,
    /// The broker refused.
    #[error("{0}")]
    Refused(Refused),
    /// The connection was lost before the answer, so it may have happened or not.
    #[error("the connection was lost before the answer: it may have happened or not")]
    Lost,
    /// The delivery's lease is not valid any more: the message is or will be delivered again.
    #[error("the lease was lost: the message comes again")]
    LeaseLost,
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
    /// Too many requests wait for their answers.
    #[error("too many requests wait already")]
    TooManyRequests,
    /// The broker speaks another version.
    #[error("the broker does not speak version 2 of the protocol: {0}")]
    Version(String),
    /// The broker sent what the protocol does not allow.
    #[error("the broker broke the protocol: {0}")]
    Protocol(String),
    /// The request can't be written.
    #[error("can't be sent: {0}")]
    Unwritable(#[from] EncodeError),
}

/// A refusal as the broker told it; it had no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The kind of reason, after HTTP's numbers.
    pub status: u16,
    /// The code's name, as [`sluice_model::Code`] writes them.
    pub code: String,
    /// The reason in words.
    pub text: String,
    /// When trying again may help.
    pub retry_after: Option<Duration>,
}

/// Why a message is not confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PublishError {
    /// It was not taken: it had no effect.
    #[error("{0}")]
    Rejected(Refused),
    /// It may have been taken or not. With a dedupe id it can be published again without harm.
    #[error("it may have been published or not: {0}")]
    Indeterminate(String),
}

impl Error {
    pub(crate) fn io(action: impl Into<String>, source: io::Error) -> Self {
        Self::Io { action: action.into(), source: Arc::new(source) }
    }

    pub(crate) fn protocol(text: impl fmt::Display) -> Self {
        Self::Protocol(text.to_string())
    }

    /// Connecting again can't help.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Options(_) | Self::Version(_) | Self::Unwritable(_) | Self::Closed => true,
            Self::Refused(refused) => !refused.is_for_now(),
            Self::Io { .. }
            | Self::Timeout
            | Self::Lost
            | Self::LeaseLost
            | Self::TooManyRequests
            | Self::Protocol(_) => false,
        }
    }
}

impl Refused {
    /// One that the client itself says, by the broker's words.
    pub(crate) fn by(code: Code, text: impl Into<String>) -> Self {
        let (status, code) = (code.status(), code.name().to_owned());
        Self { status, code, text: text.into(), retry_after: None }
    }

    /// Trying again may help: 429 and 503.
    pub const fn is_for_now(&self) -> bool {
        matches!(self.status, 429 | 503)
    }

    /// Whether it is this one of the broker's codes.
    pub fn is(&self, code: Code) -> bool {
        self.code == code.name()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, self.code, self.text)?;
        match self.retry_after {
            Some(after) => write!(f, "; retry after {} ms", after.as_millis()),
            None => Ok(()),
        }
    }
}

impl From<ErrorRef<'_>> for Refused {
    fn from(error: ErrorRef<'_>) -> Self {
        let ErrorRef { status, retry_after, code, text } = error;
        Self { status, code: code.to_owned(), text: text.to_owned(), retry_after }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        if refused.is(Code::LeaseLost) { Self::LeaseLost } else { Self::Refused(refused) }
    }
}
