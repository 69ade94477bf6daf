//! What can be typed to measure a broker.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum, ValueHint};
use sluice_bench::targets::Level;

use super::client::{TlsArgs, time};

#[derive(Debug, Parser)]
pub(crate) struct BenchArgs {
    /// What is done, one after the other; all of it if nothing is named
    #[arg(value_enum)]
    pub(crate) workload: Vec<Workload>,
    /// A broker that runs; without it, one of its own is started on this machine and ended again
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) server: Option<String>,
    /// A file that holds the API key; else the variable SLUICE_API_KEY
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "server")]
    pub(crate) key_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
    /// Where its own broker keeps its data, in a folder that is removed; else where temporary files go
    #[arg(long, value_hint = ValueHint::DirPath, conflicts_with = "server")]
    pub(crate) dir: Option<PathBuf>,
    /// What a confirm means: the disk has the message, or the kernel
    #[arg(long, value_parser = level, default_value = "sync", value_name = "sync|os")]
    pub(crate) level: Level,
    /// Bytes of a message; else 1024 in confirm and 128 in the others
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(8..=8_388_608))]
    pub(crate) size: Option<u32>,
    /// Publishes in flight on each connection, in confirm and queue [default: 256]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) in_flight: Option<u32>,
    /// Publishers in confirm, subscribers in pass [default: 1], consumers in queue [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) connections: Option<u32>,
    /// In confirm, so many a second on one connection, each timed from the moment it was due
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u64).range(1..=10_000_000),
        conflicts_with_all = ["in_flight", "connections"]
    )]
    pub(crate) rate: Option<u64>,
    /// How long each is measured, after a warm-up of an eighth of it
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "3s")]
    pub(crate) duration: Duration,
    /// Print JSON
    #[arg(long, conflicts_with = "csv")]
    pub(crate) json: bool,
    /// Print a line for each figure, as CSV
    #[arg(long)]
    pub(crate) csv: bool,
    /// Show no progress
    #[arg(long)]
    pub(crate) no_progress: bool,
}

/// What is done to a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// Messages at most once from one publisher to its subscribers
    Pass,
    /// Confirmed publishes
    Confirm,
    /// A queue is filled, then emptied
    Queue,
    /// Put, answer, take, ack, one message after the other
    Cycle,
}

fn level(text: &str) -> Result<Level, String> {
    match text {
        "sync" => Ok(Level::Sync),
        "os" => Ok(Level::Os),
        _ => Err("neither sync nor os".to_owned()),
    }
}

/// Long enough to measure, short enough to fit a disk.
fn duration(text: &str) -> Result<Duration, String> {
    let duration = time(text)?;
    let bounds = Duration::from_millis(100)..=Duration::from_secs(3600);
    bounds.contains(&duration).then_some(duration).ok_or_else(|| "not 100ms to 1h".to_owned())
}
