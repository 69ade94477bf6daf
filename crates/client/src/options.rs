//! How a client behaves: who it is, how long it waits, how much it lets wait.

use std::io;
use std::path::Path;
use std::time::Duration;

use secrecy::SecretString;
use sluice_flow::{Backoff, BackoffError};
use thiserror::Error;

use crate::tls::Tls;

/// Settings of a [`crate::Client`].
///
/// ```
/// use sluice_client::Options;
///
/// let options = Options { name: "mailer".to_owned(), ..Options::default() };
/// assert_eq!(options.validate(), Ok(()));
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    /// The API key to show, if the broker asks for one.
    pub key: Option<SecretString>,
    /// TLS to the broker; none for a connection in the clear.
    pub tls: Option<Tls>,
    /// The client's own name, for the broker's log; at most 255 bytes.
    pub name: String,
    /// Time for a connection to be made and greeted.
    pub connect_timeout: Duration,
    /// Time for a request to be answered, tries again included. One that waits for messages has so
    /// much on top of its own time.
    pub request_timeout: Duration,
    /// A connection that has been silent for so long, although it was asked, is given up.
    pub silence_max: Duration,
    /// Pauses before each further try to connect again. They grow until a connection has lasted
    /// as long as the longest of them.
    pub reconnect: Backoff,
    /// How long to try to connect again before all that waits fails; none for ever.
    pub give_up_after: Option<Duration>,
    /// Most messages that are published and not confirmed; publishing waits for room.
    pub window_messages: usize,
    /// Most bytes of them; a single longer message may be on its way alone.
    pub window_bytes: usize,
    /// What happens to what the broker refuses for now.
    pub retry: Retry,
    /// After a lost connection, publish again also what has no dedupe id. It may then be there
    /// twice; otherwise its outcome is [`crate::PublishError::Indeterminate`].
    pub resend_unconfirmed: bool,
    /// The greatest length of a frame from the broker; 0 for the protocol's 16 MiB.
    pub frame_max: u32,
    /// Most requests that wait to be answered.
    pub requests_max: usize,
}

/// How often and how long to try again what was refused with 429 or 503. What is sent again after a
/// lost connection is so as often, too.
///
/// A try waits for the time that the broker named, and on top of it for a random part of the
/// backoff, so that many clients don't come back at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retry {
    /// Tries after the first; 0 for none.
    pub tries_max: u32,
    /// No try begins so long after the first refusal.
    pub time_max: Duration,
    /// Upper bound of the random part of each pause.
    pub backoff: Backoff,
}

/// Which setting makes no sense.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum OptionsError {
    /// A backoff is impossible.
    #[error("{what}: {source}")]
    Backoff {
        /// Which of them.
        what: &'static str,
        /// What is wrong.
        source: BackoffError,
    },
    /// Something that must not be zero is.
    #[error("{0} is zero")]
    Zero(&'static str),
    /// The name or key is longer than the protocol can say.
    #[error("the {0} is too long")]
    TooLong(&'static str),
    /// The longest frame is below what the protocol allows.
    #[error("frame_max {0} is neither 0 nor at least 65536")]
    FrameMax(u32),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            key: None,
            tls: None,
            name: String::new(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            silence_max: Duration::from_secs(30),
            reconnect: full_jitter(Duration::from_millis(100), Duration::from_secs(5)),
            give_up_after: None,
            window_messages: 65_536,
            window_bytes: 16 << 20,
            retry: Retry::default(),
            resend_unconfirmed: false,
            frame_max: 0,
            requests_max: 65_536,
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            tries_max: 10,
            time_max: Duration::from_secs(60),
            backoff: full_jitter(Duration::from_millis(50), Duration::from_secs(5)),
        }
    }
}

const fn full_jitter(min: Duration, max: Duration) -> Backoff {
    Backoff { min, max, factor: 2.0, jitter: 1.0 }
}

impl Options {
    /// With the key that the variable `SLUICE_API_KEY` holds, if it is set.
    #[must_use]
    pub fn with_key_of_environment(self) -> Self {
        match std::env::var("SLUICE_API_KEY") {
            Ok(key) => Self { key: Some(key.into()), ..self },
            Err(_) => self,
        }
    }

    /// With the key that a file holds; white space around it is left out.
    ///
    /// # Errors
    /// The file can't be read, or is no text.
    pub fn with_key_file(self, path: impl AsRef<Path>) -> io::Result<Self> {
        let key = std::fs::read_to_string(path)?;
        Ok(Self { key: Some(key.trim().into()), ..self })
    }

    /// Checks the values.
    ///
    /// # Errors
    /// Names the first one that makes no sense.
    pub fn validate(&self) -> Result<(), OptionsError> {
        for (what, backoff) in [("reconnect", &self.reconnect), ("retry", &self.retry.backoff)] {
            backoff.validate().map_err(|source| OptionsError::Backoff { what, source })?;
        }
        let zero = |what, is| if is { Err(OptionsError::Zero(what)) } else { Ok(()) };
        zero("window_messages", self.window_messages == 0)?;
        zero("window_bytes", self.window_bytes == 0)?;
        zero("requests_max", self.requests_max == 0)?;
        zero("silence_max", self.silence_max.is_zero())?;
        if self.name.len() > usize::from(u8::MAX) {
            return Err(OptionsError::TooLong("name"));
        }
        let key = self.key.as_ref().map(secrecy::ExposeSecret::expose_secret);
        if key.is_some_and(|key: &str| key.len() > usize::from(u16::MAX)) {
            return Err(OptionsError::TooLong("key"));
        }
        if self.frame_max != 0 && self.frame_max < sluice_protocol::binary::v2::FRAME_MAX_MIN {
            return Err(OptionsError::FrameMax(self.frame_max));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_without_sense_are_named() {
        let cases = [
            (Options { window_bytes: 0, ..Options::default() }, "window_bytes is zero"),
            (Options { name: "n".repeat(256), ..Options::default() }, "the name is too long"),
            (
                Options { frame_max: 1, ..Options::default() },
                "frame_max 1 is neither 0 nor at least 65536",
            ),
        ];
        for (options, expected) in cases {
            assert_eq!(options.validate().map_err(|error| error.to_string()), Err(expected.into()));
        }
    }
}
