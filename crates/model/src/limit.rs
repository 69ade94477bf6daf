//! Limits: how much of what is handed out, how fast, and how many at once.
//!
//! A limit is configuration: it is named, matches queues and the keys of messages, and is kept by the
//! broker; no message carries one. Several limits of one name are one limit that says different things
//! of different queues and keys: the most specific match counts ([`LimitSet`]).

mod pattern;
mod set;
mod term;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use thiserror::Error;

pub use self::pattern::{KeyPattern, QueuePattern};
pub use self::set::{Applied, LimitSet, MATCHES_MAX, QueueLimits};
pub use self::term::{RateTerm, WINDOW_STARTS_MAX, WindowTerm};
use crate::NameError;

/// Longest name of a limit, in bytes.
pub const LIMIT_NAME_BYTES_MAX: usize = 64;
/// The longest that a request waits for a limit of mode delay.
pub const LIMIT_WAIT_MAX: Duration = Duration::from_secs(60);

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitScope {
    /// Deliveries of each queue that it matches, queue by queue.
    Queue,
    /// Deliveries for each key that it matches, in all queues that it matches together.
    Key,
    /// Requests of each client.
    Client,
    /// Requests of all clients together.
    Global,
}

impl LimitScope {
    /// Every scope.
    pub const ALL: &'static [Self] = &[Self::Queue, Self::Key, Self::Client, Self::Global];

    /// Its name in configuration files and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Key => "key",
            Self::Client => "client",
            Self::Global => "global",
        }
    }

    /// Whether it counts requests at the entrance, not deliveries.
    pub const fn is_for_requests(self) -> bool {
        matches!(self, Self::Client | Self::Global)
    }
}

impl fmt::Display for LimitScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What happens to a request that is over the limit of its client or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LimitMode {
    /// It is refused.
    #[default]
    Refuse,
    /// It waits at most so long, and is refused if that is not enough.
    Delay(Duration),
}

/// What a limit is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitMatch {
    /// Which queues; all of them for limits of requests.
    pub queue: QueuePattern,
    /// Which keys; only with scope key.
    pub key: Option<KeyPattern>,
}

/// What a limit allows. Everything that is given must allow it; something must be given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitTerms {
    /// Tokens per period; a message takes its cost.
    pub rate: Option<RateTerm>,
    /// Most tokens that may be taken at once; 1 spreads them evenly. 1 if it is not given.
    pub burst: Option<u32>,
    /// Never more than so many deliveries in any interval of a length, whatever they cost.
    pub window: Option<WindowTerm>,
    /// Leases held at once; 0 is closed.
    pub concurrency: Option<u32>,
    /// What happens to requests; nothing for deliveries, which wait in their queue.
    pub mode: LimitMode,
}

/// A limit that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    name: Box<str>,
    scope: LimitScope,
    matches: LimitMatch,
    terms: LimitTerms,
}

/// What is wrong with a limit; each names the field.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LimitError {
    /// The name has other letters, or is empty or too long.
    #[error("name {0:?} is not 1 to 64 of a-z, 0-9, `.`, `_` and `-`")]
    Name(String),
    /// No scope is called so.
    #[error("scope {0:?} is not one of queue, key, client, global")]
    Scope(String),
    /// The pattern of queues can't match any.
    #[error("queue {pattern:?}: {source}")]
    Queue {
        /// The pattern given.
        pattern: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// The pattern of keys can't match any.
    #[error("key {0:?} is not 1 to 128 bytes with `*` at the end or nowhere")]
    Key(String),
    /// A limit of keys says which, and no other does.
    #[error("key is {}, scope is {scope}", if *given { "given" } else { "missing" })]
    KeyAndScope {
        /// Whether there is one.
        given: bool,
        /// The scope.
        scope: LimitScope,
    },
    /// Requests are counted whatever they are about.
    #[error("queue is {queue}, with scope {scope} it must be > (all of them)")]
    QueueAndScope {
        /// The pattern given.
        queue: String,
        /// The scope.
        scope: LimitScope,
    },
    /// It limits nothing.
    #[error("none of rate, window and concurrency is given")]
    Nothing,
    /// A rate that can't be kept.
    #[error("rate {text:?} {problem}")]
    Rate {
        /// The rate given.
        text: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A burst that can't be.
    #[error("burst {burst} {problem}")]
    Burst {
        /// The burst given.
        burst: u32,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A window that can't be.
    #[error("window {text:?} {problem}")]
    Window {
        /// The window given.
        text: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The field means nothing with this scope.
    #[error("{field} is given, with scope {scope} it means nothing")]
    Meaningless {
        /// Which.
        field: &'static str,
        /// The scope.
        scope: LimitScope,
    },
    /// A time to wait that can't be.
    #[error("max_wait_ms {0} is outside 1 .. 60000")]
    Wait(u128),
    /// A word that is not part of a limit.
    #[error(
        "{0:?} is not part of a limit; it is like \"2.5/s burst 10 window 100/1m concurrency 4\""
    )]
    Word(String),
    /// Two that could both count for a message.
    #[error(
        "match is as specific as queue {queue} of the same name, and both match some queues: \
         none of the two would win"
    )]
    Tie {
        /// The queue pattern of the other one.
        queue: String,
    },
    /// Limits of one name count the same thing.
    #[error("scope is {asked}, others of the same name have {is}")]
    ScopeDiffers {
        /// The scope of the others.
        is: LimitScope,
        /// The scope given.
        asked: LimitScope,
    },
    /// Too many names with one match.
    #[error("match is that of {MATCHES_MAX} limits already, which is the most")]
    TooManyAlike,
}

impl Limit {
    /// Checks a limit.
    ///
    /// # Errors
    /// Names the first field that is wrong.
    pub fn new(
        name: &str,
        scope: LimitScope,
        matches: LimitMatch,
        terms: LimitTerms,
    ) -> Result<Self, LimitError> {
        check_name(name)?;
        if matches.key.is_some() != (scope == LimitScope::Key) {
            return Err(LimitError::KeyAndScope { given: matches.key.is_some(), scope });
        }
        if scope.is_for_requests() && matches.queue.as_str() != ">" {
            let queue = matches.queue.as_str().to_owned();
            return Err(LimitError::QueueAndScope { queue, scope });
        }
        terms.check(scope)?;
        Ok(Self { name: name.into(), scope, matches, terms })
    }

    /// Its name, which it may share.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it counts.
    pub fn scope(&self) -> LimitScope {
        self.scope
    }

    /// What it is about; no other one of its name has the same.
    pub fn matches(&self) -> &LimitMatch {
        &self.matches
    }

    /// What it allows.
    pub fn terms(&self) -> &LimitTerms {
        &self.terms
    }
}

fn check_name(name: &str) -> Result<(), LimitError> {
    let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    match (1..=LIMIT_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed) {
        true => Ok(()),
        false => Err(LimitError::Name(name.to_owned())),
    }
}

impl std::str::FromStr for LimitScope {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let found = Self::ALL.iter().copied().find(|scope| scope.name() == text);
        found.ok_or_else(|| LimitError::Scope(text.to_owned()))
    }
}
