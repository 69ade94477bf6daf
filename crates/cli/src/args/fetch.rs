//! What can be typed to fetch URLs.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum, ValueHint};
use sluice_model::{QueueName, RateTerm};

use super::client::{ServerArgs, time};
use crate::settings::read_bytes;

#[derive(Debug, Parser)]
pub(crate) struct FetchArgs {
    /// The list: one URL a line, blank lines and those that begin with # left out; - is standard
    /// input. With --queue it is published there, and may be left out
    #[arg(value_hint = ValueHint::FilePath, required_unless_present = "queue")]
    pub(crate) urls: Option<PathBuf>,
    /// How: tasks under a broker's limits, threads, one after the other, or all of these in turn,
    /// compared
    #[arg(long, value_enum, default_value = "async")]
    pub(crate) mode: FetchMode,
    /// Most requests at once
    #[arg(long, value_name = "N", default_value_t = 50)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(sluice_fetch::CONCURRENCY_MAX)))]
    pub(crate) concurrency: u32,
    /// Most requests at once to one host [default: 10]
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(sluice_fetch::CONCURRENCY_MAX)))]
    pub(crate) per_host: Option<u32>,
    /// Most requests to one host in a period, spread evenly, such as 5/s or 100/m
    #[arg(long, value_name = "N/PERIOD", value_parser = rate)]
    pub(crate) rate: Option<RateTerm>,
    /// How often to try again what failed and may pass
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) retries: u32,
    /// The pause before the first of these tries; each further one is twice as long, and half of
    /// each is left to chance
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "500ms")]
    pub(crate) backoff: Duration,
    /// The longest of these pauses
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "30s")]
    pub(crate) backoff_max: Duration,
    /// Time for a request, its answer read to the end
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "30s")]
    pub(crate) timeout: Duration,
    /// Longest answer that is read
    #[arg(long, value_name = "BYTES", value_parser = bytes, default_value = "64MiB")]
    pub(crate) max_body: u64,
    /// Most redirects for one URL
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) max_redirects: u32,
    /// Give a host up that asks for more pauses in a row
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) pauses_max: u32,
    /// Give a host up that asks for a longer pause
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "10m")]
    pub(crate) pause_max: Duration,
    /// Where results go, as a line of JSON for each URL; what is there is overwritten
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
    /// Where a plot goes, as SVG; with --mode all, fetch.svg if it is not given
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) plot: Option<PathBuf>,
    /// Fail if any URL ended with an error
    #[arg(long)]
    pub(crate) fail: bool,
    /// Print the summary as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Show no progress bar
    #[arg(long)]
    pub(crate) no_progress: bool,
    /// Certificates (PEM) that vouch for sites, beside those of the system
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) site_ca: Option<PathBuf>,
    /// Take any certificate of sites
    #[arg(long)]
    pub(crate) insecure: bool,
    /// A proxy for all sites; else as HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY say
    #[arg(long, value_name = "URL")]
    pub(crate) proxy: Option<String>,
    /// Use no proxy, whatever these say
    #[arg(long, conflicts_with = "proxy")]
    pub(crate) no_proxy: bool,
    /// Who is said to ask
    #[arg(long, value_name = "TEXT")]
    pub(crate) user_agent: Option<String>,
    /// Work this queue of a running broker, with all others who do: they share the limits. Those
    /// of --per-host and --rate are set on the broker
    #[arg(long, value_name = "NAME")]
    pub(crate) queue: Option<QueueName>,
    /// Wait for more when nothing is left in the queue, until interrupted
    #[arg(long, requires = "queue")]
    pub(crate) stay: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// A way to fetch, or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FetchMode {
    /// A task for each request, handed out by a queue of a broker in this process
    #[value(alias = "asyncio")]
    Async,
    /// A thread for each request
    Threads,
    /// One after the other
    Seq,
    /// One way after the other
    All,
}

fn rate(text: &str) -> Result<RateTerm, String> {
    text.parse().map_err(|error: sluice_model::LimitError| error.to_string())
}

fn bytes(text: &str) -> Result<u64, String> {
    read_bytes(text).ok_or_else(|| "not a size, such as 4096 or 64KiB".to_owned())
}
