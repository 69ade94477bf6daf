//! `sluice chaos log`: a damaged copy of a log, to see what finds it and what a repair costs.
//!
//! Damaged are segments, within what their frames take. A cut between two frames at the end of a
//! log is what a crash may leave as well, so of each damage it is said whether verifying finds it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sluice_chaos::{Damage, DamageKind, Extent, damage};
use sluice_wal::{FileDisk, Inspection, SegmentSummary, WalError, inspect};

use crate::args::ChaosLogArgs;
use crate::commands::repair::quoted;
use crate::commands::{log, place, print};
use crate::failure::Failure;

/// Copies, damages the copy, and says what was done.
pub(crate) fn run(args: &ChaosLogArgs) -> Result<(), Failure> {
    let (from, to) = (&args.data_dir, &args.to);
    place::check_directory(from)?;
    place::check_new(to, "a damaged copy")?;
    let whole = log::look(from)?;
    if let Some(problem) = whole.problem {
        return Err(Failure::Corrupt(format!("it is damaged already: {problem}")));
    }
    if is_within(to, from)? {
        return Err(Failure::usage("the copy can't be in the directory that it is of"));
    }
    copy(from, to).map_err(|error| Failure::Other(format!("can't copy: {error}")))?;
    let kinds: &[DamageKind] = if args.kind.is_empty() { &DamageKind::ALL } else { &args.kind };
    let done = damage(to, &extents(&whole), kinds, args.count, args.seed);
    let done = done.map_err(|error| Failure::Other(format!("can't damage the copy: {error}")))?;
    if done.is_empty() {
        return Err(Failure::Other("there is too little in this log to be damaged".into()));
    }
    let found = found(&whole, inspect(FileDisk::read_only(to)))?;
    print(&match args.json {
        true => format!("{}\n", to_json(args, &done, found.as_deref())),
        false => told(args, &done, found.as_deref()),
    })
}

/// What the frames of each segment take.
fn extents(whole: &Inspection) -> Vec<Extent> {
    let used = |segment: &SegmentSummary| Extent { file: segment.file.clone(), used: segment.used };
    whole.segments.iter().filter(|segment| segment.frames > 0).map(used).collect()
}

/// Whether a path that may not be there yet is below a directory.
fn is_within(path: &Path, folder: &Path) -> Result<bool, Failure> {
    let folder = folder.canonicalize().map_err(Failure::other)?;
    let path = std::path::absolute(path).map_err(Failure::other)?;
    let real = path.ancestors().find_map(|ancestor| ancestor.canonicalize().ok());
    Ok(real.is_some_and(|real| real.starts_with(folder)))
}

/// Copies the segments and the checkpoints; no keys, no backups, no reserve.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let checkpoints = PathBuf::from("checkpoints");
    let is_ours = |name: &Path| name.extension().is_some_and(|extension| extension == "seg");
    copy_files(from, to, is_ours)?;
    match from.join(&checkpoints).is_dir() {
        true => copy_files(&from.join(&checkpoints), &to.join(&checkpoints), |_| true),
        false => Ok(()),
    }
}

fn copy_files(from: &Path, to: &Path, wanted: impl Fn(&Path) -> bool) -> io::Result<()> {
    DirBuilder::new().mode(0o700).recursive(true).create(to)?;
    for entry in fs::read_dir(from)? {
        let (entry, name) = entry.map(|entry| (entry.path(), PathBuf::from(entry.file_name())))?;
        if entry.is_file() && wanted(&name) {
            fs::copy(entry, to.join(name))?;
        }
    }
    Ok(())
}

/// What verifying the copy shows of the damage; none if nothing.
fn found(
    whole: &Inspection,
    copy: Result<Inspection, WalError>,
) -> Result<Option<String>, Failure> {
    let copy = match copy {
        Ok(copy) => copy,
        Err(error @ WalError::Corrupt(_)) => return Ok(Some(error.to_string())),
        Err(error) => return Err(error.into()),
    };
    let differs = copy.clean != whole.clean || copy.torn_bytes != whole.torn_bytes;
    Ok(match &copy.problem {
        Some(problem) => Some(problem.to_string()),
        None if differs => Some(log::summary(&copy)),
        None => None,
    })
}

fn told(args: &ChaosLogArgs, done: &[Damage], found: Option<&str>) -> String {
    let mut out: String = done.iter().map(|damage| format!("{damage}\n")).collect();
    out += &match found {
        Some(found) => format!("verifying finds: {found}\n"),
        None => "verifying finds nothing: it looks as a crash may leave it\n".to_owned(),
    };
    let copy = quoted(&args.to.to_string_lossy());
    out + &format!("see for yourself: sluice log verify --data-dir {copy}\n")
}

fn to_json(args: &ChaosLogArgs, done: &[Damage], found: Option<&str>) -> Value {
    let damage = |damage: &Damage| {
        let Damage { file, kind, offset, bytes, other } = damage;
        json!({ "file": file, "kind": kind.name(), "offset": offset, "bytes": bytes, "other": other })
    };
    json!({
        "seed": args.seed,
        "copy": args.to,
        "damage": done.iter().map(damage).collect::<Vec<_>>(),
        "found": found,
    })
}
