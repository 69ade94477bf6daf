//! What a backup holds, as the text that lies in it.
//!
//! ```text
//! sluice-backup 1
//! name 20261121T101500Z-4711
//! log 00c0ffee00c0ffee
//! created_ms 1795256100000
//! position 3 81920 4712
//! skipped 1 40960 45056 310 322
//! file 9f86d081... 67108864 00000001.seg
//! ...
//! seal 2c26b46b...
//! ```
//!
//! The position is segment, offset and number of the first record that is not in the backup. The
//! seal is the SHA-256 of all lines above. A `skipped` line names a damaged part of a segment that
//! no message needs: segment, first byte, first byte behind it, first record (`-` where that is not
//! known), first record behind it. A manifest without such lines has version 1, one with them 2.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::backup::{BackupError, Gap, damaged, name};
use crate::format::{Position, Sequence, segment_number};

/// The file that makes a folder a backup.
pub const MANIFEST: &str = "manifest";
/// The first version says nothing of what was left out.
const VERSION: u16 = 2;

/// One file of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) path: String,
    pub(crate) len: u64,
    pub(crate) sha256: [u8; 32],
}

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupManifest {
    /// What it is called.
    pub name: String,
    /// The log that it is of.
    pub log_id: u64,
    /// The clock when it was begun, in milliseconds since 1970.
    pub created_ms: u64,
    /// It holds every record before this place and none behind it.
    pub position: Position,
    /// Damaged parts of the log that no message needs; lost frames stand in their place.
    pub skipped: Vec<Gap>,
    pub(crate) files: Vec<Listed>,
}

impl BackupManifest {
    /// The last record in it.
    pub fn last(&self) -> Sequence {
        Sequence(self.position.next.0.saturating_sub(1))
    }

    /// Bytes of its files, the manifest aside.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.len).sum()
    }

    pub(crate) fn encode(&self) -> String {
        let Self { name, log_id, created_ms, position, skipped, files } = self;
        let version = if skipped.is_empty() { 1 } else { VERSION };
        let Position { segment, offset, next } = position;
        let mut out = format!(
            "sluice-backup {version}\nname {name}\nlog {log_id:016x}\ncreated_ms {created_ms}\n\
             position {segment} {offset} {next}\n"
        );
        // Writing to a string can't fail.
        for gap in skipped {
            let _ = writeln!(out, "skipped {}", gap.encode());
        }
        for Listed { path, len, sha256 } in files {
            let _ = writeln!(out, "file {} {len} {path}", hex(sha256));
        }
        let seal = hex(&Sha256::digest(&out));
        let _ = writeln!(out, "seal {seal}");
        out
    }

    /// Reads it back, every byte of it checked.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BackupError> {
        let broken = || damaged(MANIFEST, "can't be read");
        let text = std::str::from_utf8(bytes).map_err(|_| broken())?;
        let first = text.lines().next().and_then(|line| line.strip_prefix("sluice-backup "));
        // A later version may seal itself in another way.
        let found: u16 = first.and_then(|version| version.parse().ok()).ok_or_else(broken)?;
        if found > VERSION {
            return Err(BackupError::Version { found, known: VERSION });
        }
        let sealed = text.rfind("seal ").ok_or_else(broken)?;
        let (content, seal) = text.split_at(sealed);
        if seal != format!("seal {}\n", hex(&Sha256::digest(content))) {
            return Err(damaged(MANIFEST, "has another checksum"));
        }
        Self::parse(content).ok_or_else(broken)
    }

    fn parse(content: &str) -> Option<Self> {
        let mut lines = content.lines().skip(1);
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let called = field("name").filter(|name| name::parse(name).is_some())?.to_owned();
        let log_id = u64::from_str_radix(field("log")?, 16).ok()?;
        let created_ms = field("created_ms")?.parse().ok()?;
        let mut place = field("position")?.split(' ');
        let position = Position {
            segment: place.next()?.parse().ok()?,
            offset: place.next()?.parse().ok()?,
            next: Sequence(place.next()?.parse().ok()?),
        };
        let mut lines = lines.peekable();
        let mut skipped = Vec::new();
        while let Some(line) = lines.next_if(|line| line.starts_with("skipped ")) {
            skipped.push(Gap::decode(line.strip_prefix("skipped ")?)?);
        }
        let files = lines.map(listed).collect::<Option<Vec<_>>>()?;
        Some(Self { name: called, log_id, created_ms, position, skipped, files })
    }
}

fn listed(line: &str) -> Option<Listed> {
    let mut parts = line.strip_prefix("file ")?.split(' ');
    let sha256 = unhex(parts.next()?)?;
    let len = parts.next()?.parse().ok()?;
    let path = parts.next()?.to_owned();
    // Whoever wrote the manifest can't name a file elsewhere.
    let known = segment_number(&path).is_some() || crate::checkpoint::is_file_of(&path);
    (known && parts.next().is_none()).then_some(Listed { path, len, sha256 })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> BackupManifest {
        let file = |path: &str| Listed { path: path.to_owned(), len: 7, sha256: [0xa5; 32] };
        BackupManifest {
            name: "20261121T101500Z-4711".to_owned(),
            log_id: 0xc0ff_ee00,
            created_ms: 1_795_256_100_000,
            position: Position { segment: 3, offset: 81_920, next: Sequence(4712) },
            skipped: Vec::new(),
            files: vec![file("00000001.seg"), file("checkpoints/00000002.image")],
        }
    }

    #[test]
    fn manifests_come_back_as_they_are_written() {
        let text = manifest().encode();
        assert!(
            text.starts_with("sluice-backup 1\nname 20261121T101500Z-4711\nlog 00000000c0ffee00")
        );
        assert_eq!(BackupManifest::decode(text.as_bytes()).unwrap(), manifest());
        let first = Some(Sequence(310));
        let gap = Gap { segment: 1, offset: 40_960, end: 45_056, first, next: Sequence(322) };
        let manifest = BackupManifest { skipped: vec![gap, gap], ..manifest() };
        let text = manifest.encode();
        assert!(text.starts_with("sluice-backup 2\n"));
        assert_eq!(BackupManifest::decode(text.as_bytes()).unwrap(), manifest);
    }

    #[test]
    fn no_changed_bit_of_a_manifest_goes_unnoticed() {
        let text = manifest().encode();
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(BackupManifest::decode(&bytes).is_err(), "bit {bit}");
        }
        for len in 0..text.len() {
            assert!(BackupManifest::decode(&text.as_bytes()[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn a_manifest_names_no_file_elsewhere() {
        for path in ["../keys.toml", "/etc/passwd", "keys.toml", "checkpoints/../x.image", "a b"] {
            let mut manifest = manifest();
            manifest.files[0].path = path.to_owned();
            let refused = BackupManifest::decode(manifest.encode().as_bytes());
            assert!(matches!(refused, Err(BackupError::Damaged { .. })), "{path}");
        }
    }

    #[test]
    fn a_later_version_is_named() {
        let text = manifest().encode().replacen("backup 1", "backup 3", 1);
        let refused = BackupManifest::decode(text.as_bytes());
        assert!(matches!(refused, Err(BackupError::Version { found: 3, known: 2 })));
    }
}
