//! `sluice log`: looks at a log without changing it.

use std::path::Path;

use serde_json::json;
use sluice_wal::{FileDisk, Inspection, SegmentSummary, WalError, inspect as inspect_log};

use crate::args::LookArgs;
use crate::commands::place;
use crate::commands::repair::advice;
use crate::failure::Failure;

/// Shows what is there and what a start would do.
#[expect(clippy::print_stdout, reason = "it is what the user asked for")]
pub(crate) fn inspect(args: &LookArgs) -> Result<(), Failure> {
    let found = look(&place::data_dir(&args.place)?)?;
    if args.json {
        println!("{}", to_json(&found));
        return Ok(());
    }
    println!("{:<14}{:>8}{:>12}{:>10}  records", "segment", "frames", "bytes", "recovery");
    for segment in &found.segments {
        let SegmentSummary { file, frames, used, recovery, .. } = segment;
        println!("{file:<14}{frames:>8}{used:>12}{recovery:>10}  {}", range(segment));
    }
    if let Some(from) = found.replay_from {
        println!("a start replays from record {} in segment {}", from.next, from.segment);
    }
    println!("{}", summary(&found));
    if let Some(problem) = &found.problem {
        println!("a start would refuse: {problem}");
    }
    Ok(())
}

/// Fails if a start would refuse.
#[expect(clippy::print_stdout, reason = "it is what the user asked for")]
pub(crate) fn verify(args: &LookArgs) -> Result<(), Failure> {
    let data_dir = place::data_dir(&args.place)?;
    let found = look(&data_dir)?;
    if args.json {
        println!("{}", to_json(&found));
    } else if found.problem.is_none() {
        println!("{}", summary(&found));
    }
    match found.problem {
        Some(problem @ WalError::Corrupt(_)) => {
            Err(Failure::Corrupt(format!("{problem}\n{}", advice(&data_dir))))
        }
        Some(problem) => Err(problem.into()),
        None => Ok(()),
    }
}

/// What lies in a directory that no broker has open.
pub(crate) fn look(data_dir: &Path) -> Result<Inspection, Failure> {
    let found = inspect_log(FileDisk::new(data_dir))?;
    if let Some(pid) = found.holder {
        let error = WalError::Locked { holder: Some(pid) };
        return Err(Failure::Other(format!("{error}; stop it first")));
    }
    Ok(found)
}

fn range(segment: &SegmentSummary) -> String {
    let records = match (segment.first, segment.last) {
        (Some(first), Some(last)) => format!("{first} .. {last}"),
        _ => "none".to_owned(),
    };
    let lost = match segment.lost {
        0 => String::new(),
        lost => format!(", {lost} lost in a repair"),
    };
    match segment.void_from {
        Some(from) => format!("{records}{lost} (void from byte {from})"),
        None => format!("{records}{lost}"),
    }
}

/// How far a log goes and how it ends.
pub(crate) fn summary(found: &Inspection) -> String {
    let end = match (found.clean, found.torn_bytes) {
        (true, _) => "closed in order".to_owned(),
        (false, 0) => format!("not closed in order, {} records not proven safe", found.unproven),
        (false, torn) => format!("a tail of {torn} bytes was cut short by a crash"),
    };
    format!("last record {}, {end}", found.last)
}

fn to_json(found: &Inspection) -> serde_json::Value {
    let segment = |segment: &SegmentSummary| {
        json!({
            "file": segment.file,
            "bytes": segment.len,
            "used_bytes": segment.used,
            "frames": segment.frames,
            "records": segment.records,
            "lost": segment.lost,
            "first": segment.first.map(|first| first.0),
            "last": segment.last.map(|last| last.0),
            "void_from": segment.void_from,
            "recovery": segment.recovery,
        })
    };
    json!({
        "segments": found.segments.iter().map(segment).collect::<Vec<_>>(),
        "last": found.last.0,
        "clean": found.clean,
        "torn_bytes": found.torn_bytes,
        "unproven": found.unproven,
        "replay_from": found.replay_from.map(|from| from.next.0),
        "damaged_checkpoints": found.damaged_checkpoints,
        "problem": found.problem.as_ref().map(ToString::to_string),
    })
}
