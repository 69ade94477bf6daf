//! Damage to the files of a directory, as disks and their controllers do it.
//!
//! Which bytes matter is for the caller to say: damage that nothing shows is none. A sector that is
//! zeroed is never a file's last one, since what ends there looks as if it had never been written.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use sluice_flow::Random;

/// What a disk writes as a whole.
const SECTOR: u64 = 512;
/// What a file system writes as a whole, where there is so much.
const BLOCK: u64 = 4_096;
/// Tries to find a place where a kind of damage changes something.
const TRIES_MAX: u32 = 100;

/// A file and how much of it is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Its name in the directory.
    pub file: String,
    /// Bytes from its beginning.
    pub used: u64,
}

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// One bit is another.
    BitFlip,
    /// The file ends earlier.
    CutTail,
    /// 512 bytes are zero.
    ZeroSector,
    /// Two blocks lie in each other's place.
    SwapBlocks,
}

impl DamageKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::BitFlip, Self::CutTail, Self::ZeroSector, Self::SwapBlocks];

    /// As it is typed and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BitFlip => "bit-flip",
            Self::CutTail => "cut-tail",
            Self::ZeroSector => "zero-sector",
            Self::SwapBlocks => "swap-blocks",
        }
    }
}

/// What was done, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: String,
    /// What was done to it.
    pub kind: DamageKind,
    /// Bytes from the file's beginning.
    pub offset: u64,
    /// How many bytes from there were changed or lost, of what was in use.
    pub bytes: u64,
    /// The other place of two blocks; the bit in its byte.
    pub other: Option<u64>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, kind, offset, bytes, other } = self;
        let other = other.unwrap_or_default();
        match kind {
            DamageKind::BitFlip => write!(f, "{file}: bit {other} of byte {offset} flipped"),
            DamageKind::CutTail => write!(f, "{file}: cut at byte {offset}, {bytes} bytes lost"),
            DamageKind::ZeroSector => write!(f, "{file}: {bytes} bytes from byte {offset} zeroed"),
            DamageKind::SwapBlocks => {
                write!(
                    f,
                    "{file}: {bytes} bytes from byte {offset} swapped with those from {other}"
                )
            }
        }
    }
}

/// Damages files in `folder`, `count` times, by one of `kinds` each. Fewer come back where there is
/// too little that could be damaged.
///
/// # Errors
/// A file can't be read or written.
pub fn damage(
    folder: &Path,
    extents: &[Extent],
    kinds: &[DamageKind],
    count: u32,
    seed: u64,
) -> io::Result<Vec<Damage>> {
    let (mut random, mut done) = (Random::new(seed), Vec::new());
    let mut extents = extents.to_vec();
    for _ in 0..count {
        for _ in 0..TRIES_MAX {
            let Some(damage) = draw(&mut random, &extents, kinds) else { continue };
            if !apply(&damage, folder)? {
                continue;
            }
            if damage.kind == DamageKind::CutTail
                && let Some(cut) = extents.iter_mut().find(|extent| extent.file == damage.file)
            {
                cut.used = damage.offset;
            }
            done.push(damage);
            break;
        }
    }
    Ok(done)
}

/// A kind of damage and a place for it; none where the file that was drawn is too small.
fn draw(random: &mut Random, extents: &[Extent], kinds: &[DamageKind]) -> Option<Damage> {
    let kind = random.pick(kinds)?;
    let Extent { file, used } = extents.get(random.below(extents.len() as u64) as usize)?;
    let (file, used) = (file.clone(), *used);
    let (offset, bytes, other) = match kind {
        DamageKind::BitFlip => (random.below(used), 1, Some(random.below(8))),
        DamageKind::CutTail => {
            let offset = random.below(used);
            (offset, used - offset, None)
        }
        DamageKind::ZeroSector => {
            let sectors = used.saturating_sub(1) / SECTOR;
            ((sectors > 0).then(|| random.below(sectors) * SECTOR)?, SECTOR, None)
        }
        DamageKind::SwapBlocks => {
            let block = if used >= 4 * BLOCK { BLOCK } else { SECTOR };
            let one = random.below(used / block);
            let other = random.below(used / block);
            (one.min(other) * block, block, Some(one.max(other) * block))
        }
    };
    (used > 0).then_some(Damage { file, kind, offset, bytes, other })
}

/// Does it; false if nothing is different by it.
fn apply(damage: &Damage, folder: &Path) -> io::Result<bool> {
    let Damage { file, kind, offset, bytes, other } = damage;
    let file = OpenOptions::new().read(true).write(true).open(folder.join(file))?;
    let read = |at| read(&file, at, *bytes as usize);
    let other = other.unwrap_or_default();
    match kind {
        DamageKind::BitFlip => {
            let byte = read(*offset)?.first().copied().unwrap_or_default();
            file.write_all_at(&[byte ^ (1 << (other % 8))], *offset)?;
        }
        DamageKind::CutTail => file.set_len(*offset)?,
        DamageKind::ZeroSector => {
            let before = read(*offset)?;
            if before.iter().all(|byte| *byte == 0) {
                return Ok(false);
            }
            file.write_all_at(&vec![0; before.len()], *offset)?;
        }
        DamageKind::SwapBlocks => {
            let (one, two) = (read(*offset)?, read(other)?);
            if one == two {
                return Ok(false);
            }
            file.write_all_at(&one, other)?;
            file.write_all_at(&two, *offset)?;
        }
    }
    Ok(true)
}

fn read(file: &File, at: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; bytes];
    file.read_exact_at(&mut buffer, at)?;
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = 20_000;

    /// A file without two blocks alike, of which 18 000 bytes are in use.
    fn folder() -> (tempfile::TempDir, Vec<u8>, [Extent; 1]) {
        let folder = tempfile::tempdir().unwrap();
        let mut random = Random::new(1);
        let bytes: Vec<u8> = (0..BYTES).map(|_| random.number() as u8).collect();
        std::fs::write(folder.path().join("a.seg"), &bytes).unwrap();
        (folder, bytes, [Extent { file: "a.seg".to_owned(), used: 18_000 }])
    }

    #[test]
    fn each_kind_changes_what_it_says_and_no_more() {
        for (seed, kind) in (0..200).flat_map(|seed| DamageKind::ALL.map(|kind| (seed, kind))) {
            let (folder, before, extents) = folder();
            let done = damage(folder.path(), &extents, &[kind], 1, seed).unwrap();
            let [Damage { offset, bytes, other, .. }] = &done[..] else { panic!("{done:?}") };
            let after = std::fs::read(folder.path().join("a.seg")).unwrap();
            let differ: Vec<usize> =
                (0..after.len()).filter(|at| before[*at] != after[*at]).collect();
            let (first, last) = (*offset, other.unwrap_or(*offset) + bytes);
            match kind {
                DamageKind::BitFlip => {
                    let at = *offset as usize;
                    assert_eq!(differ, [at]);
                    assert_eq!((before[at] ^ after[at]).count_ones(), 1);
                }
                DamageKind::CutTail => {
                    assert_eq!((after.len() as u64, differ.len()), (*offset, 0));
                }
                DamageKind::ZeroSector | DamageKind::SwapBlocks => {
                    assert!(!differ.is_empty() && after.len() == BYTES);
                    let within = |at: &usize| (first..last).contains(&(*at as u64));
                    assert!(differ.iter().all(within) && last <= 18_000, "{done:?}");
                }
            }
        }
    }

    #[test]
    fn the_same_seed_does_the_same_damage() {
        let done = |seed| {
            let (folder, _, extents) = folder();
            damage(folder.path(), &extents, &DamageKind::ALL, 5, seed).unwrap()
        };
        assert_eq!(done(7), done(7));
        assert_ne!(done(7), done(8));
        assert_eq!(done(7).len(), 5);
    }

    #[test]
    fn nothing_is_damaged_where_nothing_lies() {
        let folder = tempfile::tempdir().unwrap();
        let none = damage(folder.path(), &[], &DamageKind::ALL, 3, 0).unwrap();
        assert_eq!(none, []);
    }
}
