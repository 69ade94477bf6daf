//! The keys in force.
//!
//! What a client shows is hashed and compared with every key in constant time. A key is 256 random
//! bits or its holder's choice, so a fast hash is enough to keep it out of files and memory dumps,
//! and no more is promised for a short one.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use sluice_broker::Directory;
use sluice_model::{Grants, Principal};
use subtle::ConstantTimeEq;

use crate::config::{Config, ConfigError};

/// The SHA-256 hash of a key, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of `key`.
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(..)")
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for KeyHash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "a hash has 64 hexadecimal digits";
        if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(WRONG);
        }
        let mut hash = [0; 32];
        for (at, byte) in hash.iter_mut().enumerate() {
            let digits = text.get(2 * at..2 * at + 2).ok_or(WRONG)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| WRONG)?;
        }
        Ok(Self(hash))
    }
}

/// A key as a key file has it: never the key itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// What its holder is called; stamped on messages as their sender.
    pub id: Arc<str>,
    /// Hashes of its secrets: two while one replaces the other.
    pub hashes: Vec<KeyHash>,
    /// What its holder may do.
    pub grants: Grants,
}

/// The id of a key that has none of its own: the same at every start, and of little use to find
/// the key.
fn key_id(key: &str) -> String {
    let hash = Sha256::new().chain_update("sluice key id\0").chain_update(key).finalize();
    hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// The keys that clients may show.
#[derive(Debug)]
pub(crate) struct Keys {
    known: Vec<(KeyHash, Arc<str>)>,
    directory: Directory,
}

impl Keys {
    /// Puts the keys of the configuration, which may do everything, beside those of the key file.
    ///
    /// # Errors
    /// Two keys have the same id, or one hash belongs to two of them.
    pub(crate) fn load(config: &Config) -> Result<Self, ConfigError> {
        Self::merge(&config.allowed_api_keys, config.keys.as_deref())
    }

    fn merge(plain: &[SecretString], filed: Option<&[ApiKey]>) -> Result<Self, ConfigError> {
        if plain.is_empty() && filed.is_none() {
            return Ok(Self { known: Vec::new(), directory: Directory::Open });
        }
        let mut known: Vec<(KeyHash, Arc<str>)> = Vec::new();
        let mut grants: BTreeMap<Arc<str>, Arc<Grants>> = BTreeMap::new();
        let all = Arc::new(Grants::all());
        for key in plain {
            let (hash, id) = (KeyHash::of(key.expose_secret()), key_id(key.expose_secret()));
            // One that is there twice counts once.
            if known.iter().any(|(other, _)| *other == hash) {
                continue;
            }
            let id: Arc<str> = id.into();
            if grants.insert(Arc::clone(&id), Arc::clone(&all)).is_some() {
                return Err(ConfigError::KeyIdTaken { id: id.to_string() });
            }
            known.push((hash, id));
        }
        for key in filed.unwrap_or_default() {
            let taken = grants.insert(Arc::clone(&key.id), Arc::new(key.grants.clone())).is_some();
            let shared = key.hashes.iter().any(|hash| known.iter().any(|(other, _)| other == hash));
            if taken || shared {
                return Err(ConfigError::KeyIdTaken { id: key.id.to_string() });
            }
            known.extend(key.hashes.iter().map(|hash| (*hash, Arc::clone(&key.id))));
        }
        Ok(Self { known, directory: Directory::Keys(grants) })
    }

    /// Whether everyone is let in.
    pub(crate) fn is_open(&self) -> bool {
        self.directory == Directory::Open
    }

    /// What the broker has to know of them.
    pub(crate) fn directory(&self) -> Directory {
        self.directory.clone()
    }

    /// Whose key this is. Takes as long for a wrong key as for any right one.
    pub(crate) fn find(&self, shown: KeyHash) -> Option<Principal> {
        let mut found = None;
        for (hash, id) in &self.known {
            if hash.is(&shown) {
                found = Some(id);
            }
        }
        found.map(|id| Principal::Key(Arc::clone(id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(keys: &[&str]) -> Keys {
        Keys::merge(&keys.iter().map(|key| (*key).into()).collect::<Vec<_>>(), None).unwrap()
    }

    fn filed(id: &str, secrets: &[&str]) -> ApiKey {
        let hashes = secrets.iter().map(|secret| KeyHash::of(secret)).collect();
        ApiKey { id: id.into(), hashes, grants: Grants::default() }
    }

    #[test]
    fn right_keys_have_stable_ids_and_wrong_ones_none() {
        let two = plain(&["dev-key-1", "dev-key-2", "dev-key-1"]);
        assert_eq!(two.known.len(), 2);
        let first = two.find(KeyHash::of("dev-key-1")).unwrap();
        assert_eq!(plain(&["dev-key-1"]).find(KeyHash::of("dev-key-1")), Some(first.clone()));
        assert_ne!(two.find(KeyHash::of("dev-key-2")), Some(first.clone()));
        assert_eq!(first.as_str().len(), 8);
        for wrong in ["", "dev-key", "dev-key-11", "DEV-KEY-1"] {
            assert_eq!(two.find(KeyHash::of(wrong)), None, "{wrong}");
        }
        assert_eq!(plain(&[]).find(KeyHash::of("")), None);
    }

    #[test]
    fn an_id_may_have_two_secrets_and_no_two_ids_one() {
        let keys = [filed("a", &["old", "new"]), filed("b", &["other"])];
        let loaded = Keys::merge(&["plain".into()], Some(&keys)).unwrap();
        let a = Some(Principal::Key("a".into()));
        assert_eq!(loaded.find(KeyHash::of("old")), a);
        assert_eq!(loaded.find(KeyHash::of("new")), a);
        assert!(loaded.find(KeyHash::of("plain")).is_some());
        for taken in [filed("a", &["third"]), filed("c", &["old"])] {
            let keys = [keys[0].clone(), taken];
            assert!(matches!(Keys::merge(&[], Some(&keys)), Err(ConfigError::KeyIdTaken { .. })));
        }
    }

    #[test]
    fn a_key_file_without_keys_lets_nobody_in() {
        let none = Keys::merge(&[], Some(&[])).unwrap();
        assert!(!none.is_open());
        assert_eq!(none.find(KeyHash::of("")), None);
        assert!(Keys::merge(&[], None).unwrap().is_open());
    }

    #[test]
    fn a_hash_is_read_as_it_is_written_and_never_shown_by_debug() {
        let hash = KeyHash::of("key");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(format!("{hash:?}"), "KeyHash(..)");
        for wrong in ["", "00", &"g".repeat(64), &"0".repeat(65), &"é".repeat(32)] {
            assert!(wrong.parse::<KeyHash>().is_err(), "{wrong}");
        }
    }
}
