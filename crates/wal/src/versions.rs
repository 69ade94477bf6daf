//! Whether this program may touch a directory at all: each file in it names the version of its
//! format, and a later one may mean anything.
//!
//! Looked at before the directory is taken, so that a refusal leaves not even a trace of that.

use crate::checkpoint::{FOLDER, IMAGE_MAGIC, MANIFEST_MAGIC, MANIFEST_MAJOR};
use crate::disk::{Disk, DiskFile};
use crate::error::WalError;
use crate::format::{FORMAT_MAJOR, SEGMENT_MAGIC};

/// The file that names who has the directory.
pub(crate) const LOCK_FILE: &str = "lock";
/// Bytes before the version in every file but the lock.
const MAGIC: usize = 8;
/// What stands before the version in the lock's second line.
const LOCK_FORMAT: &str = "format ";
/// More than a lock file ever holds.
const LOCK_BYTES: usize = 64;

/// What the holder of a directory writes to its lock.
pub(crate) fn lock_text(pid: u32) -> String {
    format!("{pid}\n{LOCK_FORMAT}{FORMAT_MAJOR}\n")
}

/// The pid in a lock file; those of the first programs hold nothing else.
pub(crate) fn lock_pid(text: &str) -> Option<u32> {
    text.lines().next()?.trim().parse().ok()
}

/// Refuses a directory with a file of a later version.
///
/// # Errors
/// There is one, or the disk refused.
pub(crate) fn check<D: Disk>(disk: &D) -> Result<(), WalError> {
    for folder in ["", FOLDER] {
        for name in disk.list(folder).map_err(WalError::io("list", "the data directory"))? {
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            let (mut head, is_lock) = ([0; LOCK_BYTES], path == LOCK_FILE);
            if !is_lock && ![".seg", ".manifest", ".image"].iter().any(|end| path.ends_with(end)) {
                continue;
            }
            let file = disk.open(&path).map_err(WalError::io("open", &*path))?;
            let read = file.read_at(0, &mut head).map_err(WalError::io("read", &*path))?;
            let head = &head[..read];
            let found = if is_lock { lock_version(head) } else { version(head) };
            let known = if path.ends_with(".manifest") { MANIFEST_MAJOR } else { FORMAT_MAJOR };
            if let Some(found) = found.filter(|found| *found > known) {
                return Err(WalError::Version { file: path, found, known });
            }
        }
    }
    Ok(())
}

fn version(head: &[u8]) -> Option<u16> {
    let (magic, rest) = head.split_at_checked(MAGIC)?;
    let is_known = [SEGMENT_MAGIC, MANIFEST_MAGIC, IMAGE_MAGIC].iter().any(|known| *known == magic);
    let version = rest.first_chunk::<2>()?;
    is_known.then(|| u16::from_le_bytes(*version))
}

fn lock_version(head: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(head).ok()?;
    text.lines().nth(1)?.strip_prefix(LOCK_FORMAT)?.trim().parse().ok()
}
