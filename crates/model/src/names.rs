//! Names that clients choose: topics, patterns over them, and who the client is.

use std::net::IpAddr;
use std::sync::Arc;

use thiserror::Error;

use crate::QueueNo;
use crate::text::text;

/// Longest topic or pattern, in bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// Most tokens in a topic or pattern.
pub const TOKENS_MAX: usize = 16;

/// What is wrong with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// It has no bytes.
    #[error("the name is empty")]
    Empty,
    /// It is longer than [`NAME_BYTES_MAX`].
    #[error("the name has {0} bytes, at most 255 are allowed")]
    TooLong(usize),
    /// It has more than [`TOKENS_MAX`] tokens.
    #[error("the name has {0} tokens, at most 16 are allowed")]
    TooManyTokens(usize),
    /// Two dots in a row, or one at an end.
    #[error("the name has an empty token")]
    EmptyToken,
    /// It has more than [`crate::KV_LEVELS_MAX`] levels.
    #[error("the key has {0} levels, at most 16 are allowed")]
    TooManyLevels(usize),
    /// Two `^` in a row, or one at an end.
    #[error("the key has an empty level")]
    EmptyLevel,
    /// White space or a control character.
    #[error("the name has white space or a control character")]
    ForbiddenCharacter,
    /// `*` or `>` in a plain topic, inside a token, or `>` before the end.
    #[error("a wildcard stands where none is allowed")]
    MisplacedWildcard,
    /// Names beginning with `$` belong to the broker.
    #[error("names beginning with `$` belong to the broker")]
    Reserved,
}

/// A topic: 1 to 16 tokens joined by `.`, at most 255 bytes, without wildcards.
///
/// ```
/// use sluice_model::Topic;
/// assert!("orders.eu".parse::<Topic>().is_ok());
/// assert!("orders.*".parse::<Topic>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(Arc<str>);

impl Topic {
    /// Checks `name` and makes it a topic that clients may publish to.
    ///
    /// # Errors
    /// Says what is wrong with the name.
    pub fn new(name: &str) -> Result<Self, NameError> {
        check_shape(name)?;
        if name.contains(['*', '>']) {
            return Err(NameError::MisplacedWildcard);
        }
        Ok(Self(name.into()))
    }

    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A topic, or a pattern over topics: `*` stands for one token, a final `>` for one or more.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPattern(Arc<str>);

impl TopicPattern {
    /// Checks `name` and makes it a pattern that clients may subscribe to.
    ///
    /// # Errors
    /// Says what is wrong with the name.
    pub fn new(name: &str) -> Result<Self, NameError> {
        check_shape(name)?;
        let last = name.split('.').count() - 1;
        for (at, token) in name.split('.').enumerate() {
            let wildcard = token == "*" || (token == ">" && at == last);
            if !wildcard && token.contains(['*', '>']) {
                return Err(NameError::MisplacedWildcard);
            }
        }
        Ok(Self(name.into()))
    }

    /// The pattern as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it names exactly one topic.
    pub fn is_plain(&self) -> bool {
        !self.0.contains(['*', '>'])
    }

    /// Whether it matches `topic`, by comparing token after token.
    pub fn matches(&self, topic: &str) -> bool {
        let mut topic = topic.split('.');
        for (at, token) in self.0.split('.').enumerate() {
            let Some(candidate) = topic.next() else { return false };
            if at == 0 && candidate.starts_with('$') && (token == "*" || token == ">") {
                return false;
            }
            if token == ">" {
                return true;
            }
            if token != "*" && token != candidate {
                return false;
            }
        }
        topic.next().is_none()
    }
}

fn check_shape(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong(name.len()));
    }
    if name.starts_with('$') {
        return Err(NameError::Reserved);
    }
    let mut tokens = 0;
    for token in name.split('.') {
        tokens += 1;
        if token.is_empty() {
            return Err(NameError::EmptyToken);
        }
    }
    if tokens > TOKENS_MAX {
        return Err(NameError::TooManyTokens(tokens));
    }
    if name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(NameError::ForbiddenCharacter);
    }
    Ok(())
}

/// The name of a durable subscription, unique in the broker: shaped like a [`Topic`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionName(Arc<str>);

impl SubscriptionName {
    /// Checks `name` and makes it a subscription's.
    ///
    /// # Errors
    /// Says what is wrong with the name.
    pub fn new(name: &str) -> Result<Self, NameError> {
        Topic::new(name).map(|topic| Self(topic.0))
    }

    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a queue: shaped like a [`Topic`], or, for the queue of a durable subscription,
/// `$sub.` and its name, or `$v1.` and its number for one without a name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueName(Arc<str>);

const SUBSCRIPTION_QUEUE: &str = "$sub.";
const UNNAMED_QUEUE: &str = "$v1.";

impl QueueName {
    /// Checks `name` and makes it a queue's.
    ///
    /// # Errors
    /// Says what is wrong with the name.
    pub fn new(name: &str) -> Result<Self, NameError> {
        if let Some(subscription) = name.strip_prefix(SUBSCRIPTION_QUEUE) {
            return SubscriptionName::new(subscription).map(|_| Self(name.into()));
        }
        if let Some(number) = name.strip_prefix(UNNAMED_QUEUE) {
            let number = number.parse().map_err(|_| NameError::Reserved)?;
            return Ok(Self::of_unnamed(QueueNo(number)));
        }
        Topic::new(name).map(|topic| Self(topic.0))
    }

    /// The queue of a durable subscription.
    pub fn of_subscription(name: &SubscriptionName) -> Self {
        Self(format!("{SUBSCRIPTION_QUEUE}{name}").into())
    }

    /// The queue of a durable subscription without a name.
    pub fn of_unnamed(no: QueueNo) -> Self {
        Self(format!("{UNNAMED_QUEUE}{}", no.0).into())
    }

    /// Whether it is a subscription's: messages come to it through topics alone.
    pub fn is_subscription(&self) -> bool {
        self.0.starts_with('$')
    }

    /// The name of the durable subscription that it belongs to, if it has one.
    pub fn subscription(&self) -> Option<&str> {
        self.0.strip_prefix(SUBSCRIPTION_QUEUE)
    }

    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text!(Topic, NameError);
text!(TopicPattern, NameError);
text!(SubscriptionName, NameError);
text!(QueueName, NameError);

/// Who a client has shown itself to be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Principal {
    /// Nobody was asked: no keys are configured.
    Anonymous,
    /// The holder of the API key with this id (never the key itself).
    Key(Arc<str>),
}

impl Principal {
    /// The name that the broker stamps on messages as their sender.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Key(id) => id,
        }
    }
}

/// A client as the engine sees it: who it is and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client {
    /// Who it has shown itself to be.
    pub principal: Principal,
    /// Its address, which tells anonymous clients apart.
    pub peer: IpAddr,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn patterns_match_topics() {
        let cases = [
            ("orders",      "orders",         true),
            ("orders",      "orders.eu",      false),
            ("orders.*",    "orders.eu",      true),
            ("orders.*",    "orders",         false),
            ("orders.*",    "orders.eu.late", false),
            ("orders.>",    "orders.eu.late", true),
            ("orders.>",    "orders",         false),
            ("*.eu",        "orders.eu",      true),
            ("*.eu",        "$sys.eu",        false),
            (">",           "orders.eu",      true),
            (">",           "$sys.eu",        false),
        ];
        for (pattern, topic, expected) in cases {
            let pattern = TopicPattern::new(pattern).unwrap();
            assert_eq!(pattern.matches(topic), expected, "{pattern} {topic}");
        }
    }

    #[test]
    fn names_of_queues_tell_whose_they_are() {
        let plain = QueueName::new("mail.out").unwrap();
        assert!(!plain.is_subscription() && plain.subscription().is_none());
        let named = QueueName::new("$sub.audit").unwrap();
        assert_eq!(named, QueueName::of_subscription(&SubscriptionName::new("audit").unwrap()));
        assert!(named.is_subscription() && named.subscription() == Some("audit"));
        let unnamed = QueueName::new("$v1.7").unwrap();
        assert_eq!(unnamed, QueueName::of_unnamed(QueueNo(7)));
        assert!(unnamed.is_subscription() && unnamed.subscription().is_none());
        for bad in ["$v1.x", "$sub.", "$sub.a b", "$else", "", "a.*"] {
            assert!(QueueName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn bad_names_are_refused_with_the_reason() {
        let long = "a".repeat(256);
        let deep = ["a"; 17].join(".");
        let cases = [
            ("",        NameError::Empty),
            (&*long,    NameError::TooLong(256)),
            (&*deep,    NameError::TooManyTokens(17)),
            (".a",      NameError::EmptyToken),
            ("a..b",    NameError::EmptyToken),
            ("a.",      NameError::EmptyToken),
            ("a b",     NameError::ForbiddenCharacter),
            ("a\u{7}",  NameError::ForbiddenCharacter),
            ("$sys",    NameError::Reserved),
            ("a.>.b",   NameError::MisplacedWildcard),
            ("a.b*",    NameError::MisplacedWildcard),
        ];
        for (name, expected) in cases {
            assert_eq!(TopicPattern::new(name), Err(expected), "{name:?}");
        }
        assert_eq!(Topic::new("a.*"), Err(NameError::MisplacedWildcard));
        assert_eq!(Topic::new("a.>"), Err(NameError::MisplacedWildcard));
    }
}
