//! Keys and values: what can be asked of the store, and what it answers.
//!
//! A key is text whose levels are joined by `^`: `users^eu^42` lies in the namespace `users^eu`, `motd` in the
//! global one. Keys are ordered by their bytes, so everything under a namespace lies together.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

use crate::text::text;
use crate::{NameError, Reply, Timestamp};

/// Longest key or prefix, namespaces included, in bytes.
pub const KV_KEY_BYTES_MAX: usize = 255;
/// Most levels of a key.
pub const KV_LEVELS_MAX: usize = 16;
/// Most keys that one scan or list answers with.
pub const KV_SCAN_MAX: u16 = 1000;

/// The name of a value: 1 to 16 levels joined by `^`, at most 255 bytes, no white space and no control
/// characters, so that every door can name it. Keys that begin with `$` belong to the broker.
///
/// A short key, as most are, lies where the `Key` does: to make one, or another of it, allocates
/// nothing and touches no count.
#[derive(Clone)]
pub struct Key(Held);

/// Longest key that is held in place: with it a `Key` has three words.
const SHORT_MAX: usize = 22;

/// How a key is held.
#[derive(Clone)]
enum Held {
    Short { len: u8, bytes: [u8; SHORT_MAX] },
    Long(Arc<str>),
}

impl Key {
    /// Checks `key`.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn new(key: &str) -> Result<Self, NameError> {
        if check(key)? > 1 && key.split('^').any(str::is_empty) {
            return Err(NameError::EmptyLevel);
        }
        let mut bytes = [0; SHORT_MAX];
        let held = match bytes.get_mut(..key.len()) {
            Some(place) => {
                place.copy_from_slice(key.as_bytes());
                Held::Short { len: key.len() as u8, bytes }
            }
            None => Held::Long(key.into()),
        };
        Ok(Self(held))
    }

    /// The key as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its bytes, which are at hand sooner than its text: nothing is checked.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Held::Short { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Held::Long(text) => text.as_bytes(),
        }
    }
}

impl Deref for Held {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Short { len, bytes } => {
                let bytes = bytes.get(..usize::from(*len)).unwrap_or_default();
                std::str::from_utf8(bytes).unwrap_or_default()
            }
            Self::Long(text) => text,
        }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// As of the text.
impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

/// As of the text.
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.as_bytes());
        state.write_u8(0xff);
    }
}

text!(Key, NameError);

/// Which keys a scan or a watch is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Keys {
    /// One.
    One(Key),
    /// All that begin with this text; every key but the broker's own if it is empty.
    Below(Arc<str>),
}

impl Keys {
    /// All keys that begin with `prefix`.
    ///
    /// # Errors
    /// Says what is wrong with the prefix.
    pub fn below(prefix: &str) -> Result<Self, NameError> {
        if !prefix.is_empty() {
            check(prefix)?;
            if prefix.starts_with('^') || prefix.contains("^^") {
                return Err(NameError::EmptyLevel);
            }
        }
        Ok(Self::Below(prefix.into()))
    }

    /// Whether `key` is one of them.
    pub fn hold(&self, key: &str) -> bool {
        match self {
            Self::One(one) => one.as_str() == key,
            Self::Below(prefix) => {
                key.starts_with(&**prefix) && (prefix.starts_with('$') || !key.starts_with('$'))
            }
        }
    }
}

/// Checks a key or a prefix, and counts its levels.
fn check(key: &str) -> Result<usize, NameError> {
    if key.is_empty() {
        return Err(NameError::Empty);
    }
    if key.len() > KV_KEY_BYTES_MAX {
        return Err(NameError::TooLong(key.len()));
    }
    if key.starts_with('$') {
        return Err(NameError::Reserved);
    }
    // Most keys are plain, and told by their bytes, without a branch for each.
    let (mut is_plain, mut levels) = (true, 1);
    for byte in key.bytes() {
        is_plain &= byte.is_ascii_graphic();
        levels += usize::from(byte == b'^');
    }
    if !is_plain && key.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(NameError::ForbiddenCharacter);
    }
    if levels > KV_LEVELS_MAX {
        return Err(NameError::TooManyLevels(levels));
    }
    Ok(levels)
}

/// What the bytes of a value are, as whoever set it said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ValueKind {
    /// A JSON text.
    Json,
    /// UTF-8.
    Text,
    /// Anything.
    #[default]
    Bytes,
}

impl ValueKind {
    /// As doors name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
            Self::Bytes => "bytes",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Json, Self::Text, Self::Bytes].into_iter().find(|kind| kind.name() == name)
    }

    /// What stands for it in bytes, on disk and on the wire.
    pub const fn as_u8(self) -> u8 {
        match self {
            Self::Json => 1,
            Self::Text => 2,
            Self::Bytes => 3,
        }
    }

    /// What `byte` stands for.
    pub const fn from_u8(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Json),
            2 => Some(Self::Text),
            3 => Some(Self::Bytes),
            _ => None,
        }
    }
}

/// Bytes with a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Value {
    /// What they are.
    pub kind: ValueKind,
    /// They.
    pub bytes: Bytes,
}

/// The number of a change of the store, from 1: each is higher than all before it, over all keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// What a session calls one of its watches; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(pub u64);

/// When a write is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Condition {
    /// In any case.
    #[default]
    Always,
    /// If there is no such key.
    Absent,
    /// If the key is there and its last change has this revision.
    Revision(Revision),
}

/// A request about keys and values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KvRequest {
    /// Give a key a value.
    Set {
        /// Which.
        key: Key,
        /// What.
        value: Value,
        /// It expires after so long; none for never, also if the value before would have.
        ttl: Option<Duration>,
        /// Only then; otherwise `conflict`.
        condition: Condition,
        /// Repeats of this request inside the dedupe window answer like the first and change nothing.
        dedupe_id: Option<Box<str>>,
    },
    /// Read a key.
    Get {
        /// Which.
        key: Key,
    },
    /// Say whether a key is there, and since when and for how long.
    Exists {
        /// Which.
        key: Key,
    },
    /// Remove a key.
    Delete {
        /// Which.
        key: Key,
        /// Only then; otherwise `conflict`. [`Condition::Absent`] is `invalid`, and a key that is not
        /// there `not_found` in any case.
        condition: Condition,
    },
    /// Add to a number. A key that isn't there counts as 0 and becomes one of kind json; a value that is
    /// no whole decimal number in the range of an `i64`, or a sum that leaves it, is `invalid`. The
    /// time to live and the kind stay.
    Increment {
        /// Which.
        key: Key,
        /// How much; may be negative.
        by: i64,
        /// Repeats of this request inside the dedupe window answer like the first and change nothing.
        dedupe_id: Option<Box<str>>,
    },
    /// Read keys in their order.
    Scan {
        /// Which.
        keys: Keys,
        /// From the first one behind this.
        after: Option<Key>,
        /// At most so many, 1 to [`KV_SCAN_MAX`]; fewer come where more would not fit the session's bound.
        limit: u16,
        /// With their values.
        values: bool,
    },
    /// Begin to watch keys: [`crate::Source::Watch`] is where the changes come from.
    Watch {
        /// Which.
        keys: Keys,
        /// What happened from this revision on comes first, `gone` if that is no longer known; none for
        /// from now on. One that is further than the next is `invalid`.
        from: Option<Revision>,
    },
    /// End a watch of this session.
    Unwatch {
        /// Which.
        watch: WatchId,
    },
}

/// An answer about keys and values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KvAnswer {
    /// The write is made, and at its level.
    Written {
        /// The change's number; of the change that it repeats for a repeat.
        revision: Revision,
        /// It was a repeat inside the dedupe window.
        duplicate: bool,
    },
    /// A key's value.
    Value(Entry),
    /// The key is there.
    There {
        /// Its last change.
        revision: Revision,
        /// It will not be there from then on.
        expires_at: Option<Timestamp>,
    },
    /// The number after the addition.
    Incremented {
        /// It.
        value: i64,
        /// The change's number.
        revision: Revision,
        /// It was a repeat inside the dedupe window: both are the first's.
        duplicate: bool,
    },
    /// Keys in their order.
    Scanned {
        /// They; without values if none were asked for.
        entries: Vec<Entry>,
        /// Where to go on, if there are more.
        next: Option<Key>,
    },
    /// Changes come from now on.
    Watching {
        /// What this session calls the watch.
        watch: WatchId,
        /// The store's last change: those after it come, and those asked for before it.
        revision: Revision,
    },
    /// The watch is over.
    Unwatched,
}

impl KvAnswer {
    /// What it counts for in its session's bound on outgoing bytes, beside an answer's least.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Value(entry) => entry.weight(),
            Self::Scanned { entries, next } => {
                let next = next.as_ref().map_or(0, |key| 2 * key.as_bytes().len());
                next + entries.iter().map(Entry::weight).sum::<usize>()
            }
            Self::Written { .. }
            | Self::There { .. }
            | Self::Incremented { .. }
            | Self::Watching { .. }
            | Self::Unwatched => 0,
        }
    }
}

/// A key that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// It.
    pub key: Key,
    /// Its value; empty where none was asked for.
    pub value: Value,
    /// Its last change.
    pub revision: Revision,
    /// It will not be there from then on.
    pub expires_at: Option<Timestamp>,
}

impl Entry {
    /// What it counts for in its session's bound on outgoing bytes. JSON may make two bytes of one:
    /// a text of which it would make more is told as base64.
    pub fn weight(&self) -> usize {
        entry_weight(self.key.as_bytes().len(), self.value.bytes.len())
    }
}

/// What a key and a value of so many bytes count for in their session's bound on outgoing bytes.
pub const fn entry_weight(key: usize, value: usize) -> usize {
    Reply::WEIGHT_MIN + 2 * (key + value)
}

/// What a watch tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// A key has a value.
    Put(Entry),
    /// A key was removed.
    Deleted {
        /// Which.
        key: Key,
        /// The change's number.
        revision: Revision,
    },
    /// A key's time was over.
    Expired {
        /// Which.
        key: Key,
        /// The change's number.
        revision: Revision,
    },
    /// Changes were forgotten before the watch could tell them.
    Gap {
        /// None from here on is missing.
        resumed_at: Revision,
    },
}

impl WatchEvent {
    /// What it counts for in its session's bound on outgoing bytes.
    pub fn weight(&self) -> usize {
        match self {
            Self::Put(entry) => entry.weight(),
            Self::Deleted { key, .. } | Self::Expired { key, .. } => {
                entry_weight(key.as_bytes().len(), 0)
            }
            Self::Gap { .. } => Reply::WEIGHT_MIN,
        }
    }
}

/// What is wrong with a value or its kind.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ValueError {
    /// There is no such kind.
    #[error("there is no such kind of value; the kinds are json, text and bytes")]
    Kind,
    /// The bytes are not what the kind says.
    #[error("the value is no valid {0}")]
    Content(&'static str),
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

    use super::*;

    #[test]
    fn a_key_is_its_text_however_long_it_is() {
        let texts: Vec<String> = [1, 2, SHORT_MAX - 1, SHORT_MAX, SHORT_MAX + 1, KV_KEY_BYTES_MAX]
            .into_iter()
            .flat_map(|len| ["a", "b"].map(|letter| letter.repeat(len)))
            .chain(["grün".to_owned()])
            .collect();
        let keys: Vec<Key> = texts.iter().map(|text| Key::new(text).unwrap()).collect();
        let ordered: BTreeSet<Key> = keys.iter().cloned().collect();
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        for (key, text) in keys.iter().zip(&texts) {
            assert_eq!((key.as_str(), key.as_bytes()), (&**text, text.as_bytes()));
            assert_eq!(hasher.hash_one(key), hasher.hash_one(text), "{text}");
            assert!(ordered.contains(&**text), "{text}");
            assert_eq!(Key::new(text).as_ref(), Ok(key));
        }
        let sorted: BTreeSet<&str> = texts.iter().map(|text| &**text).collect();
        assert!(ordered.iter().map(Key::as_str).eq(sorted));
        assert_eq!(size_of::<Key>(), 24);
    }
}
