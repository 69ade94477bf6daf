//! The key file: who may show which key, and do what with it. It never holds a secret.
//!
//! ```toml
//! [[key]]
//! id = "shop"
//! created_at = "2025-01-31T12:00:00Z"
//! hashes = ["…64 hexadecimal digits, SHA-256 of the whole key…"]
//! grants = ["publish:orders.>", "subscribe:orders.eu"]
//! ```
//!
//! It is replaced as a whole: written beside, synced, renamed over. Whoever changes it holds a lock
//! on its directory. Only its owner can read it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sluice_model::{GrantError, Grants};
use sluice_server::{ApiKey, KeyHash};
use thiserror::Error;

/// Live secrets of one id: two while one replaces the other.
pub(crate) const SECRETS_MAX: usize = 2;
const ID_BYTES_MAX: usize = 64;

/// Why a key file can't be used.
#[derive(Debug, Error)]
pub(crate) enum KeyFileError {
    #[error("can't {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{} can be changed by others than its owner; chmod 600 it", path.display())]
    Exposed { path: PathBuf },
    // The parser's own message shows the line, which may be a key that was put here by mistake.
    #[error("{} is no key file{}", path.display(), line.map_or(String::new(), |line| format!(", see line {line}")))]
    Syntax { path: PathBuf, line: Option<usize> },
    #[error("an id has 1 to 64 letters, digits, dots and dashes, `{id}` has not")]
    Id { id: String },
    #[error("key {id} must have 1 or 2 hashes of 64 hexadecimal digits")]
    Hashes { id: String },
    #[error("two keys have the id {id}")]
    Twice { id: String },
    #[error("key {id}: {source}")]
    Grant { id: String, source: GrantError },
}

/// One key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) created_at: String,
    pub(crate) hashes: Vec<String>,
    pub(crate) grants: Vec<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    #[serde(default, rename = "key")]
    keys: Vec<Entry>,
}

/// Checks what a key is called.
pub(crate) fn check_id(id: &str) -> Result<(), KeyFileError> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    if (1..=ID_BYTES_MAX).contains(&id.len()) && id.chars().all(good) {
        return Ok(());
    }
    // What is no id may be a key that was given in its place.
    let id = if id.starts_with("slc_") { "slc_…".into() } else { id.chars().take(64).collect() };
    Err(KeyFileError::Id { id })
}

impl Entry {
    /// The key as the server takes it.
    fn check(&self) -> Result<ApiKey, KeyFileError> {
        check_id(&self.id)?;
        let id = || self.id.clone();
        let hashes: Result<Vec<KeyHash>, _> = self.hashes.iter().map(|hash| hash.parse()).collect();
        let hashes = hashes
            .ok()
            .filter(|hashes| (1..=SECRETS_MAX).contains(&hashes.len()))
            .ok_or_else(|| KeyFileError::Hashes { id: id() })?;
        let grants = Grants::parse(self.grants.iter().map(String::as_str))
            .map_err(|source| KeyFileError::Grant { id: id(), source })?;
        Ok(ApiKey { id: self.id.as_str().into(), hashes, grants })
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyFileError {
    let path = path.to_owned();
    move |source| KeyFileError::Io { action, path, source }
}

/// The keys in the file at `path`; none where there is no such file.
pub(crate) fn load(path: &Path) -> Result<Option<Vec<ApiKey>>, KeyFileError> {
    let Some(entries) = read(path)? else { return Ok(None) };
    entries.iter().map(Entry::check).collect::<Result<_, _>>().map(Some)
}

/// The entries of the file at `path`, each of them valid; none where there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<Entry>>, KeyFileError> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(io_error("open", path))?,
    };
    let mode = file.metadata().map_err(io_error("look at", path))?.permissions().mode();
    if mode & 0o022 != 0 {
        return Err(KeyFileError::Exposed { path: path.to_owned() });
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(io_error("read", path))?;
    let content: Content = toml::from_str(&text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map(|before| before.matches('\n').count() + 1);
        KeyFileError::Syntax { path: path.to_owned(), line }
    })?;
    for (at, entry) in content.keys.iter().enumerate() {
        entry.check()?;
        if content.keys.iter().take(at).any(|other| other.id == entry.id) {
            return Err(KeyFileError::Twice { id: entry.id.clone() });
        }
    }
    Ok(Some(content.keys))
}

/// Lets `change` alter the entries of the file at `path`, which is made if it is not there.
pub(crate) fn edit<T, E: From<KeyFileError>>(
    path: &Path,
    change: impl FnOnce(&mut Vec<Entry>) -> Result<T, E>,
) -> Result<T, E> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(io_error("make", folder))?;
    let lock = File::open(folder).map_err(io_error("open", folder))?;
    lock.lock().map_err(io_error("lock", folder))?;
    let mut keys = read(path)?.unwrap_or_default();
    let outcome = change(&mut keys)?;
    write(path, &Content { keys })?;
    lock.sync_all().map_err(io_error("sync", folder))?;
    Ok(outcome)
}

/// Replaces the file, so that whoever reads it sees all of the old or all of the new.
fn write(path: &Path, content: &Content) -> Result<(), KeyFileError> {
    let text = toml::to_string(content)
        .map_err(|error| io_error("write", path)(io::Error::other(error.to_string())))?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    // What a crash has left may have other permissions.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(io_error("remove", &beside)(error));
        }
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(&beside).map_err(io_error("make", &beside))?;
    let written = file
        .set_permissions(Permissions::from_mode(0o600))
        .and_then(|()| {
            file.write_all(b"# Written by `sluice key`. Hashes and grants, no secrets.\n\n")
        })
        .and_then(|()| file.write_all(text.as_bytes()))
        .and_then(|()| file.sync_all());
    written.map_err(io_error("write", &beside))?;
    fs::rename(&beside, path).map_err(io_error("replace", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn entry(id: &str) -> Entry {
        Entry {
            id: id.into(),
            created_at: "2025-01-31T12:00:00Z".into(),
            hashes: vec![HASH.into()],
            grants: vec!["publish:a.>".into(), "kv_read:ns^".into()],
        }
    }

    fn add(path: &Path, entry: Entry) {
        edit(path, |keys| {
            keys.push(entry);
            Ok::<_, KeyFileError>(())
        })
        .unwrap();
    }

    #[test]
    fn keys_are_read_as_they_were_written_and_only_their_owner_can() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new").join("keys.toml");
        assert!(load(&path).unwrap().is_none());
        add(&path, entry("a"));
        add(&path, entry("b-2.x"));
        let keys = load(&path).unwrap().unwrap();
        assert_eq!(keys.iter().map(|key| &*key.id).collect::<Vec<_>>(), ["a", "b-2.x"]);
        assert_eq!(keys[0].grants.to_texts(), ["publish:a.>", "kv_read:ns^"]);
        assert_eq!(keys[0].hashes[0].to_string(), HASH);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_others_may_change_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        add(&path, entry("a"));
        fs::set_permissions(&path, Permissions::from_mode(0o620)).unwrap();
        assert!(matches!(load(&path), Err(KeyFileError::Exposed { .. })));
    }

    #[test]
    fn what_is_no_key_file_is_refused_without_being_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        let key = |id: &str, hash: &str, grant: &str| {
            format!(
                "[[key]]\nid = \"{id}\"\ncreated_at = \"\"\nhashes = [\"{hash}\"]\ngrants = [\"{grant}\"]\n"
            )
        };
        let cases = [
            ("slc_a_secret".to_owned(), "line 1"),
            ("[[key]]\nsecret = \"slc_a_secret\"\n".to_owned(), "line 2"),
            (key("slc_a_secret", HASH, "all"), "an id has"),
            (key("a", "slc_a_secret", "all"), "key a must have 1 or 2 hashes"),
            (key("a", HASH, "slc_a_secret"), "key a: a grant is"),
            (key("a", HASH, "all").repeat(2), "two keys have the id a"),
        ];
        for (text, expected) in cases {
            fs::write(&path, &text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            let error = load(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
