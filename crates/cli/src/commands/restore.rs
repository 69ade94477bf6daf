//! `sluice restore`: a new data directory from a backup, after every byte of it was checked.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use sluice_broker::local::{LocalConfig, Restorable, Restored};
use sluice_model::Timestamp;
use sluice_wal::FileDisk;

use crate::args::RestoreArgs;
use crate::commands::backup::progress_bar;
use crate::commands::place::check_directory;
use crate::commands::repair::quoted;
use crate::commands::{place, print};
use crate::failure::Failure;

/// Checks a backup, and makes a data directory of it unless only the first was asked for.
pub(crate) fn run(args: &RestoreArgs) -> Result<(), Failure> {
    check_directory(&args.backup)?;
    let target = match (&args.data_dir, args.verify_only) {
        (Some(dir), false) => Some(Target::new(dir)?),
        _ => None,
    };
    let quiet = args.json || args.no_progress;
    let bar = progress_bar(quiet, "checked");
    let found = Restorable::read(FileDisk::read_only(&args.backup), |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let wall = Timestamp::from_millis(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX));
    let restored = match &target {
        Some(target) => Some(target.restore(&found, wall, quiet)?),
        None => None,
    };
    print(&told(args, &found, target.as_ref().zip(restored), wall))
}

fn told(
    args: &RestoreArgs,
    found: &Restorable<FileDisk>,
    restored: Option<(&Target, Restored)>,
    wall: Timestamp,
) -> String {
    let manifest = found.manifest();
    let (name, bytes, last) = (&manifest.name, manifest.bytes(), manifest.last().0);
    let (messages, subscriptions, queues) =
        (found.messages(), found.subscriptions(), found.queues());
    let age = found.age(wall);
    let accept_clock = age > LocalConfig::default().clock_ahead_max;
    if args.json {
        let told = json!({
            "name": name,
            "bytes": bytes,
            "last_record": last,
            "messages": messages,
            "subscriptions": subscriptions,
            "queues": queues,
            "age_ms": u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            "data_dir": restored.map(|(target, _)| target.path.to_string_lossy()),
            "start": restored.map(|(_, restored)| restored.start),
            "accept_clock": accept_clock,
        });
        return format!("{told}\n");
    }
    let mut out = format!(
        "{name} is whole: {messages} messages, {queues} queues, {subscriptions} subscriptions, up \
         to record {last}, {bytes} bytes; its last record is {} old\n",
        about(age)
    );
    for gap in &found.manifest().skipped {
        out += &format!("not in it, damaged and needed by no message: {gap}\n");
    }
    if let Some((target, _)) = restored {
        let dir = quoted(&target.path.to_string_lossy());
        let clock = if accept_clock { " --accept-clock" } else { "" };
        out += &format!("restored; start it with: sluice serve --data-dir {dir}{clock}\n");
    }
    out
}

/// A duration in the unit that says most.
fn about(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// Where the new directory is going to be.
struct Target {
    path: PathBuf,
    parent: PathBuf,
    name: String,
}

impl Target {
    fn new(dir: &Path) -> Result<Self, Failure> {
        let path = std::path::absolute(dir).map_err(Failure::other)?;
        let shown = dir.display();
        let (Some(parent), Some(name)) =
            (path.parent(), path.file_name().and_then(|name| name.to_str()))
        else {
            return Err(Failure::usage(format!("{shown} can't be made a data directory")));
        };
        place::check_new(dir, "a restore")?;
        Ok(Self { parent: parent.to_owned(), name: name.to_owned(), path: path.clone() })
    }

    fn restore(
        &self,
        found: &Restorable<FileDisk>,
        wall: Timestamp,
        quiet: bool,
    ) -> Result<Restored, Failure> {
        let bar = progress_bar(quiet, "written");
        bar.set_length(found.manifest().bytes());
        let log_id = getrandom::u64().map_err(Failure::other)?;
        let parent = FileDisk::new(&self.parent);
        let restored = found.restore(&parent, &self.name, log_id, wall, |bytes| bar.inc(bytes))?;
        bar.finish_and_clear();
        Ok(restored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_in_one_unit() {
        let cases =
            [(0, "0 s"), (119, "119 s"), (121, "2 min"), (7300, "2 h"), (200_000, "2 days")];
        for (seconds, expected) in cases {
            assert_eq!(about(Duration::from_secs(seconds)), expected);
        }
    }
}
