//! Patterns of limits: over the names of queues, and over keys.

use std::sync::Arc;

use super::LimitError;
use crate::text::text;
use crate::{KEY_BYTES_MAX, QueueName, TopicPattern};

/// A queue, or a pattern over queues: `*` stands for one token, a final `>` for one or more.
///
/// A wildcard in the first token matches no queue of a subscription; `$sub.NAME` names one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueuePattern(Arc<str>);

/// How specific a pattern is: exact ones above all others, then those with the longer beginning
/// that has no wildcard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Specificity {
    exact: bool,
    literal: usize,
}

impl QueuePattern {
    /// Checks a pattern.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn new(pattern: &str) -> Result<Self, LimitError> {
        let checked = match pattern.starts_with('$') {
            true => QueueName::new(pattern).map(|_| ()),
            false => TopicPattern::new(pattern).map(|_| ()),
        };
        match checked {
            Ok(()) => Ok(Self(pattern.into())),
            Err(source) => Err(LimitError::Queue { pattern: pattern.to_owned(), source }),
        }
    }

    /// Every queue that is not a subscription's.
    pub fn all() -> Self {
        Self(">".into())
    }

    /// The pattern as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it names one queue.
    pub fn is_exact(&self) -> bool {
        !self.0.contains(['*', '>'])
    }

    /// Whether it matches a queue.
    pub fn matches(&self, queue: &str) -> bool {
        if self.is_exact() {
            return *self.0 == *queue;
        }
        // It was checked to be one.
        TopicPattern::new(&self.0).is_ok_and(|pattern| pattern.matches(queue))
    }

    /// What stands before the first wildcard: whole tokens, with their dots.
    pub(super) fn literal(&self) -> &str {
        &self.0[..self.0.find(['*', '>']).unwrap_or(self.0.len())]
    }

    pub(super) fn specificity(&self) -> Specificity {
        Specificity { exact: self.is_exact(), literal: self.literal().len() }
    }

    /// Whether both match some queue.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let (mut ours, mut theirs) = (self.0.split('.'), other.0.split('.'));
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) | (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
                (Some(one), Some(another)) => {
                    if one != another && one != "*" && another != "*" {
                        return false;
                    }
                }
                _ => return false,
            }
        }
    }
}

/// A key, or all keys that begin so: `stripe:*`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPattern(Arc<str>);

impl KeyPattern {
    /// Checks a pattern.
    ///
    /// # Errors
    /// It is empty or too long, or has a `*` before its end.
    pub fn new(pattern: &str) -> Result<Self, LimitError> {
        let is_long = !(1..=KEY_BYTES_MAX).contains(&pattern.len());
        match is_long || pattern.find('*').is_some_and(|at| at + 1 != pattern.len()) {
            true => Err(LimitError::Key(pattern.to_owned())),
            false => Ok(Self(pattern.into())),
        }
    }

    /// The pattern as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What all its keys begin with, if it is not one key.
    pub(super) fn prefix(&self) -> Option<&str> {
        self.0.strip_suffix('*')
    }

    /// Whether it matches a key.
    pub fn matches(&self, key: &str) -> bool {
        match self.prefix() {
            Some(prefix) => key.starts_with(prefix),
            None => *self.0 == *key,
        }
    }

    pub(super) fn specificity(&self) -> Specificity {
        let literal = self.prefix().unwrap_or(&self.0).len();
        Specificity { exact: self.prefix().is_none(), literal }
    }
}

text!(QueuePattern, LimitError);
text!(KeyPattern, LimitError);
