//! Thousands of watchers of one key, and what a change costs a real broker for each of them.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use clap::Parser;
use sluice_bench::crowd::watchers::{self, Options};
use sluice_bench::usage::descriptors_max;

use crate::run::{again_in_release, is_slow, release_broker, target};

/// Processor time of the broker for a watcher and a change.
const CPU_MAX: Duration = Duration::from_micros(10);
/// Descriptors that the broker keeps for itself, and some for both sides.
const KEPT: u64 = 320;

#[derive(Debug, Parser)]
pub(crate) struct WatchersArgs {
    /// The broker's binary; else it is built
    #[arg(long, value_name = "FILE")]
    bin: Option<PathBuf>,
    /// Watchers, as far as descriptors allow
    #[arg(long, default_value_t = 10_000)]
    watchers: u64,
    /// Changes that all of them are told of
    #[arg(long, default_value_t = 50)]
    changes: u64,
}

pub(crate) fn run(args: &WatchersArgs) -> anyhow::Result<()> {
    if is_slow() {
        return again_in_release();
    }
    let program = args.bin.clone().map_or_else(release_broker, Ok)?;
    let folder = tempfile::tempdir_in(target())?;
    let watchers = args.watchers.min(descriptors_max().saturating_sub(KEPT));
    let options = Options {
        program,
        dir: folder.path().to_owned(),
        watchers: usize::try_from(watchers)?,
        changes: args.changes,
    };
    let figures = watchers::run(&options)?;
    println!(
        "{watchers} of {} watchers, as {} descriptors allow",
        args.watchers,
        descriptors_max()
    );
    println!(
        "{:.2} us of broker CPU each per change, all told within {:.0} ms, {:.1} KiB of RSS each",
        figures.cpu_each.as_secs_f64() * 1e6,
        figures.told_within.as_secs_f64() * 1e3,
        figures.bytes_each as f64 / 1024.0,
    );
    ensure!(figures.cpu_each <= CPU_MAX, "a change costs more than {CPU_MAX:?} for each watcher");
    Ok(())
}
