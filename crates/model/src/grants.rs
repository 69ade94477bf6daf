//! Grants: what the holder of a key may do, and to which names.
//!
//! A grant allows one [`Action`] on one [`Scope`]. Nothing is ever denied, so grants have no order
//! and one more can only allow more. Whoever asks for many names at once (a pattern, a prefix of
//! keys) is allowed only if one grant holds all of them.
//!
//! ```text
//! orders.eu    this name alone               (queues, topics, keys)
//! orders.>     what has a token below it     (queues, topics)
//! orders^      the keys below it             (keys)
//! >            every name but the broker's own, which begin with `$`; of observe and admin those too
//! ```

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::{NAME_BYTES_MAX, NameError, Topic, TopicPattern};

macro_rules! actions {
    ($($(#[$doc:meta])+ $variant:ident = $name:literal;)+) => {
        /// Something that is allowed or not.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action { $($(#[$doc])+ $variant,)+ }

        impl Action {
            /// Every action, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// As key files and the command line name it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

actions! {
    /// Hand messages to a topic or a queue.
    Publish = "publish";
    /// Receive what is published to topics.
    Subscribe = "subscribe";
    /// Take, settle and look at the messages of a queue.
    Consume = "consume";
    /// Read and watch keys.
    KvRead = "kv_read";
    /// Set and delete keys.
    KvWrite = "kv_write";
    /// List names, read counters.
    Observe = "observe";
    /// Change settings and limits, purge, redrive, stop the broker.
    Admin = "admin";
}

impl Action {
    const fn is_for_keys(self) -> bool {
        matches!(self, Self::KvRead | Self::KvWrite)
    }

    const fn is_for_anything(self) -> bool {
        matches!(self, Self::Observe | Self::Admin)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an action is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    /// One topic or queue.
    Name(&'a str),
    /// Every topic that a pattern matches.
    Topics(&'a TopicPattern),
    /// One key of the store of keys and values.
    Key(&'a str),
    /// Every key that begins so, the broker's own only if the prefix says `$`.
    KeysBelow(&'a str),
    /// The broker as a whole.
    Broker,
}

impl Resource<'_> {
    fn is_brokers_own(self) -> bool {
        match self {
            Self::Name(name) | Self::Key(name) | Self::KeysBelow(name) => name.starts_with('$'),
            // A pattern can't begin with `$`, and a wildcard there matches no such name.
            Self::Topics(_) | Self::Broker => false,
        }
    }
}

/// The names that a grant is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Every name, written `>`.
    All,
    /// Topics and queues with at least one token more than this, which ends with its dot.
    Below(Box<str>),
    /// Keys that begin with this, which ends with its `^`.
    KeysBelow(Box<str>),
    /// One name.
    Exact(Box<str>),
}

impl Scope {
    /// Reads the scope of a grant for `action`.
    fn parse(action: Action, text: &str) -> Result<Self, GrantError> {
        if text == ">" {
            return Ok(Self::All);
        }
        if let Some(prefix) = text.strip_suffix(".>") {
            if action.is_for_keys() {
                return Err(GrantError::KeysBelow { action });
            }
            Topic::new(prefix)?;
            return Ok(Self::Below(format!("{prefix}.").into()));
        }
        if action.is_for_keys() || action.is_for_anything() && text.contains('^') {
            check_key(text)?;
            return Ok(if text.ends_with('^') {
                Self::KeysBelow(text.into())
            } else {
                Self::Exact(text.into())
            });
        }
        if text.ends_with('^') {
            return Err(GrantError::NamesBelow { action });
        }
        Topic::new(text)?;
        Ok(Self::Exact(text.into()))
    }

    /// Whether all of `resource` lies inside.
    fn holds(&self, resource: Resource<'_>) -> bool {
        match self {
            Self::All => true,
            // The prefix has no wildcard, so a pattern that begins with it has none there either.
            Self::Below(prefix) => match resource {
                Resource::Name(name) => name.len() > prefix.len() && name.starts_with(&**prefix),
                Resource::Topics(pattern) => pattern.as_str().starts_with(&**prefix),
                Resource::Key(_) | Resource::KeysBelow(_) | Resource::Broker => false,
            },
            Self::KeysBelow(prefix) => match resource {
                Resource::Key(key) | Resource::KeysBelow(key) => key.starts_with(&**prefix),
                Resource::Name(_) | Resource::Topics(_) | Resource::Broker => false,
            },
            Self::Exact(exact) => match resource {
                Resource::Name(name) | Resource::Key(name) => *name == **exact,
                // An exact name has no wildcard, so an equal pattern is plain.
                Resource::Topics(pattern) => *pattern.as_str() == **exact,
                Resource::KeysBelow(_) | Resource::Broker => false,
            },
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str(">"),
            Self::Below(prefix) => write!(f, "{prefix}>"),
            Self::KeysBelow(text) | Self::Exact(text) => f.write_str(text),
        }
    }
}

fn check_key(key: &str) -> Result<(), NameError> {
    if key.is_empty() {
        return Err(NameError::Empty);
    }
    if key.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong(key.len()));
    }
    if key.starts_with('$') {
        return Err(NameError::Reserved);
    }
    if key.contains(['*', '>']) {
        return Err(NameError::MisplacedWildcard);
    }
    if key.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(NameError::ForbiddenCharacter);
    }
    Ok(())
}

/// Why a text is no grant.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GrantError {
    /// There is no colon between action and scope.
    #[error("a grant is ACTION:SCOPE, such as publish:orders.>, or `all`")]
    Shape,
    /// There is no such action.
    #[error(
        "there is no such action; they are publish, subscribe, consume, kv_read, kv_write, observe \
         and admin"
    )]
    Action,
    /// Tokens, where keys are meant.
    #[error("{action} is about keys, whose scopes end with `^`: namespace^")]
    KeysBelow {
        /// The action of the grant.
        action: Action,
    },
    /// Keys, where tokens are meant.
    #[error("{action} is about queues and topics, whose scopes end with `.>`: orders.>")]
    NamesBelow {
        /// The action of the grant.
        action: Action,
    },
    /// The scope is none.
    #[error("{0}")]
    Name(#[from] NameError),
}

/// One action on one scope, written `ACTION:SCOPE`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Grant {
    /// What is allowed.
    pub action: Action,
    /// On which names.
    pub scope: Scope,
}

impl FromStr for Grant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let (action, scope) = text.split_once(':').ok_or(GrantError::Shape)?;
        let named = Action::ALL.iter().find(|known| known.name() == action);
        let action = *named.ok_or(GrantError::Action)?;
        Ok(Self { action, scope: Scope::parse(action, scope)? })
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.action, self.scope)
    }
}

/// All that one principal may do.
///
/// ```
/// use sluice_model::{Action, Grants, Resource};
/// let grants = Grants::parse(["publish:orders.>"])?;
/// assert!(grants.allow(Action::Publish, Resource::Name("orders.eu")));
/// assert!(!grants.allow(Action::Publish, Resource::Name("orders")));
/// # Ok::<(), sluice_model::GrantError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Sorted, each once.
    grants: Vec<Grant>,
}

impl Grants {
    /// How [`Grants::all`] is written.
    pub const ALL: &'static str = "all";

    /// Every action on every name.
    pub fn all() -> Self {
        Action::ALL.iter().map(|action| Grant { action: *action, scope: Scope::All }).collect()
    }

    /// Reads grants as key files have them; `all` stands for every one.
    ///
    /// # Errors
    /// Says what is wrong with the first that is none.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, GrantError> {
        let mut grants = Vec::new();
        for text in texts {
            if text == Self::ALL {
                grants.extend(Self::all().grants);
            } else {
                grants.push(text.parse()?);
            }
        }
        Ok(grants.into_iter().collect())
    }

    /// Whether nothing is left to ask for.
    pub fn is_all(&self) -> bool {
        let on_all = |grant: &&Grant| grant.scope == Scope::All;
        self.grants.iter().filter(on_all).count() == Action::ALL.len()
    }

    /// Whether one of them allows `action` on all of `resource`.
    pub fn allow(&self, action: Action, resource: Resource<'_>) -> bool {
        if resource.is_brokers_own() && !action.is_for_anything() {
            return false;
        }
        let of_action = |grant: &&Grant| grant.action == action;
        self.grants.iter().filter(of_action).any(|grant| grant.scope.holds(resource))
    }

    /// As [`Grants::parse`] reads them.
    pub fn to_texts(&self) -> Vec<String> {
        if self.is_all() {
            return vec![Self::ALL.to_owned()];
        }
        self.grants.iter().map(Grant::to_string).collect()
    }
}

impl FromIterator<Grant> for Grants {
    fn from_iter<I: IntoIterator<Item = Grant>>(grants: I) -> Self {
        let mut grants: Vec<Grant> = grants.into_iter().collect();
        grants.sort();
        grants.dedup();
        Self { grants }
    }
}

#[cfg(test)]
mod tests;
