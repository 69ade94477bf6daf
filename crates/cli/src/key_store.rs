//! Changes of the key file, as commands and the HTTP door make them.
//!
//! ```text
//! create --> one secret --create, rotate--> two --revoke the oldest--> the new one
//!                '------------- revoke -------'--> gone
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use sluice_model::Grants;
use sluice_server::{ApiKey, KeyHash, KeyStore, KeyStoreError, StoredKey};
use sluice_wal::Utc;
use thiserror::Error;

use crate::failure::Failure;
use crate::keys::{self, Entry, KeyFileError, SECRETS_MAX};

/// Why the keys were not changed.
#[derive(Debug, Error)]
pub(crate) enum ChangeError {
    #[error(transparent)]
    File(#[from] KeyFileError),
    #[error("{0}")]
    Id(KeyFileError),
    #[error("there is no key {0}")]
    NotFound(String),
    #[error("there is a key {0}; --rotate gives it a second secret, revoke takes it away")]
    Exists(String),
    #[error("key {0} has two secrets; take the older away first: sluice key revoke {0} --oldest")]
    TwoSecrets(String),
    #[error("key {0} has one secret; leave out --oldest")]
    OneSecret(String),
    #[error("there is no chance to be had: {0}")]
    Random(getrandom::Error),
}

impl From<ChangeError> for Failure {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::File(error) => error.into(),
            ChangeError::Id(error) => Self::usage(error),
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<ChangeError> for KeyStoreError {
    fn from(error: ChangeError) -> Self {
        let text = error.to_string();
        match error {
            ChangeError::File(_) | ChangeError::Random(_) => {
                // Where the file is and what is in it is the operator's to know.
                tracing::error!(%error, "the key file can't be used");
                Self::Failed("the key file can't be used, see the log".to_owned())
            }
            ChangeError::Id(_) => Self::Invalid(text),
            ChangeError::NotFound(_) => Self::NotFound(text),
            ChangeError::Exists(_) | ChangeError::TwoSecrets(_) | ChangeError::OneSecret(_) => {
                Self::Conflict(text)
            }
        }
    }
}

/// Makes a key, called something random where no id is given, or gives one a second secret. Returns
/// its id and the key itself.
pub(crate) fn create(
    path: &Path,
    id: Option<&str>,
    grants: &Grants,
    rotate: bool,
) -> Result<(String, String), ChangeError> {
    let id = match id {
        Some(id) => id.to_owned(),
        None => hex(&random::<4>()?),
    };
    keys::check_id(&id).map_err(ChangeError::Id)?;
    let key = format!("slc_{id}_{}", hex(&random::<32>()?));
    let hash = KeyHash::of(&key).to_string();
    keys::edit(path, |entries| match entries.iter_mut().find(|entry| entry.id == id) {
        Some(_) if !rotate => Err(ChangeError::Exists(id.clone())),
        Some(entry) if entry.hashes.len() >= SECRETS_MAX => {
            Err(ChangeError::TwoSecrets(id.clone()))
        }
        Some(entry) => {
            entry.hashes.push(hash);
            Ok(())
        }
        None if rotate => Err(ChangeError::NotFound(id.clone())),
        None => {
            let (id, created_at) = (id.clone(), now());
            entries.push(Entry { id, created_at, hashes: vec![hash], grants: grants.to_texts() });
            Ok(())
        }
    })?;
    Ok((id, key))
}

/// Takes a key away, or only the older of its two secrets.
pub(crate) fn revoke(path: &Path, id: &str, oldest: bool) -> Result<(), ChangeError> {
    let not_found = || ChangeError::NotFound(id.to_owned());
    keys::check_id(id).map_err(ChangeError::Id)?;
    if keys::read(path)?.is_none() {
        return Err(not_found());
    }
    keys::edit(path, |entries| {
        let at = entries.iter().position(|entry| entry.id == *id).ok_or_else(not_found)?;
        if !oldest {
            entries.remove(at);
            return Ok(());
        }
        match entries.get_mut(at).map(|entry| &mut entry.hashes) {
            Some(hashes) if hashes.len() > 1 => {
                hashes.remove(0);
                Ok(())
            }
            _ => Err(ChangeError::OneSecret(id.to_owned())),
        }
    })
}

/// The key file of a broker that runs.
#[derive(Debug)]
pub(crate) struct FileKeys {
    path: PathBuf,
}

impl FileKeys {
    /// The file at `path`, for the doors.
    pub(crate) fn shared(path: PathBuf) -> Arc<dyn KeyStore> {
        Arc::new(Self { path })
    }
}

impl KeyStore for FileKeys {
    fn list(&self) -> Result<Vec<StoredKey>, KeyStoreError> {
        let entries = keys::read(&self.path).map_err(ChangeError::from)?.unwrap_or_default();
        let shown = |Entry { id, created_at, hashes, grants }| {
            let secrets = hashes.len();
            StoredKey { id, created_at, secrets, grants }
        };
        Ok(entries.into_iter().map(shown).collect())
    }

    fn create(
        &self,
        id: Option<&str>,
        grants: &Grants,
        rotate: bool,
    ) -> Result<(String, String), KeyStoreError> {
        Ok(create(&self.path, id, grants, rotate)?)
    }

    fn revoke(&self, id: &str, oldest: bool) -> Result<(), KeyStoreError> {
        Ok(revoke(&self.path, id, oldest)?)
    }

    fn load(&self) -> Result<Vec<ApiKey>, KeyStoreError> {
        Ok(keys::load(&self.path).map_err(ChangeError::from)?.unwrap_or_default())
    }
}

fn random<const N: usize>() -> Result<[u8; N], ChangeError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(ChangeError::Random)?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    utc(since.as_secs())
}

/// Seconds since 1970 as RFC 3339 has them.
fn utc(seconds: u64) -> String {
    let Utc { year, month, day, hour, minute, second } = Utc::at(seconds);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_people_read_them() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(utc(1_767_225_599), "2025-12-31T23:59:59Z");
    }
}
