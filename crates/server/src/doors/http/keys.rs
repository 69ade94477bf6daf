//! The seam to whatever keeps the keys: the HTTP door makes and revokes them through it.

use std::fmt;

use sluice_model::{Code, Grants, Refusal};

use crate::auth::ApiKey;

/// A key as it is shown: never its secret, nor a hash of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// What its holder is called.
    pub id: String,
    /// When it was made, as RFC 3339 writes it.
    pub created_at: String,
    /// How many secrets it has.
    pub secrets: usize,
    /// What its holder may do.
    pub grants: Vec<String>,
}

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyStoreError {
    /// It has no such key.
    NotFound(String),
    /// There is one already, or it has as many secrets as it may.
    Conflict(String),
    /// A name can't be a key's.
    Invalid(String),
    /// It can't be read or written.
    Failed(String),
}

impl From<KeyStoreError> for Refusal {
    fn from(error: KeyStoreError) -> Self {
        let (code, text) = match error {
            KeyStoreError::NotFound(text) => (Code::NotFound, text),
            KeyStoreError::Conflict(text) => (Code::Conflict, text),
            KeyStoreError::Invalid(text) => (Code::Invalid, text),
            KeyStoreError::Failed(text) => (Code::Internal, text),
        };
        Self::new(code, text)
    }
}

impl fmt::Display for KeyStoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound(text)
            | Self::Conflict(text)
            | Self::Invalid(text)
            | Self::Failed(text) => f.write_str(text),
        }
    }
}

/// Keeps keys. Calls may block for a file.
pub trait KeyStore: fmt::Debug + Send + Sync {
    /// Every key there is.
    ///
    /// # Errors
    /// It can't be read.
    fn list(&self) -> Result<Vec<StoredKey>, KeyStoreError>;

    /// Makes a key, called something random where no id is given, or gives one a second secret.
    /// Returns its id and the key itself, which nothing can show again.
    ///
    /// # Errors
    /// There is one already, or none to give a second secret.
    fn create(
        &self,
        id: Option<&str>,
        grants: &Grants,
        rotate: bool,
    ) -> Result<(String, String), KeyStoreError>;

    /// Takes a key away, or only the older of its two secrets.
    ///
    /// # Errors
    /// There is none.
    fn revoke(&self, id: &str, oldest: bool) -> Result<(), KeyStoreError>;

    /// The keys as the server takes them.
    ///
    /// # Errors
    /// They can't be read.
    fn load(&self) -> Result<Vec<ApiKey>, KeyStoreError>;
}
