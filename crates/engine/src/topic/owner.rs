//! Who may take a detached subscription over.

use std::fmt;
use std::sync::Arc;

use sluice_model::{Client, Principal};

/// The principal that made a subscription; an anonymous one together with its address, since
/// nothing else tells one from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(Arc<str>);

impl Owner {
    /// The owner that `client` acts as.
    pub fn of(client: &Client) -> Self {
        match &client.principal {
            Principal::Anonymous => Self(format!("@{}", client.peer).into()),
            Principal::Key(id) => Self(format!("key:{id}").into()),
        }
    }

    /// The owner that a record names.
    pub(crate) fn from_record(text: &str) -> Self {
        Self(text.into())
    }

    /// Whether it is the holder of a key.
    pub(crate) fn is_key(&self) -> bool {
        self.0.starts_with("key:")
    }

    /// As records name it: `@ADDRESS` or `key:ID`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
