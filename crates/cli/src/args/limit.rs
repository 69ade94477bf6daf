//! What can be typed about limits.

use std::time::Duration;

use clap::{Parser, Subcommand};
use sluice_client::{KeyPattern, LimitScope, QueueName, QueuePattern, RateTerm, WindowTerm};

use super::client::time;
use super::queue::CommonArgs;

#[derive(Debug, Parser)]
pub(crate) struct LimitArgs {
    #[command(subcommand)]
    pub(crate) command: LimitCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LimitCommand {
    /// Set a limit, in place of the one of that name with the same queue and key; it counts at once
    Set(LimitSetArgs),
    /// Show the limits
    List(LimitListArgs),
    /// Take limits away: all of a name, unless queue or key say which
    Delete(LimitDeleteArgs),
    /// Hand out nothing of a queue or a key for a time, or until it is resumed
    Pause(PauseArgs),
    /// End a pause, whoever made it
    Resume(ResumeArgs),
    /// Show the keys of a limit for which most waits
    Top(TopArgs),
}

#[derive(Debug, Parser)]
pub(crate) struct LimitSetArgs {
    /// Its name: a to z, 0 to 9, `.`, `_` and `-`
    pub(crate) name: String,
    /// What it counts: deliveries of a queue or for a key, requests of a client or global. Without
    /// it key where --key is given, else queue
    #[arg(long)]
    pub(crate) scope: Option<LimitScope>,
    /// Which queues: a name, or a pattern with * for one token and > for the rest
    #[arg(long, value_name = "PATTERN", default_value = ">")]
    pub(crate) queue: QueuePattern,
    /// Which keys of messages, with a * at its end all that begin so; each has a limit of its own
    #[arg(long, value_name = "PATTERN")]
    pub(crate) key: Option<KeyPattern>,
    /// How fast, such as 5/s, 2.5/s or 100/10m
    #[arg(long, value_name = "N/TIME")]
    pub(crate) rate: Option<RateTerm>,
    /// How much at once before the rate counts; 1 spreads it evenly
    #[arg(long, value_name = "N", requires = "rate")]
    pub(crate) burst: Option<u32>,
    /// Never more than so many in any interval of that length, such as 100/1m
    #[arg(long, value_name = "N/TIME")]
    pub(crate) window: Option<WindowTerm>,
    /// How many at once; 0 is closed
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: Option<u32>,
    /// Of requests: those that come too fast wait so long at most; without it they are refused
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) delay: Option<Duration>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Parser)]
pub(crate) struct LimitListArgs {
    /// Only those of this name
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Parser)]
pub(crate) struct LimitDeleteArgs {
    /// Its name
    pub(crate) name: String,
    /// The one with that pattern of queues
    #[arg(long, value_name = "PATTERN")]
    pub(crate) queue: Option<QueuePattern>,
    /// The one with that pattern of keys
    #[arg(long, value_name = "PATTERN")]
    pub(crate) key: Option<KeyPattern>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Parser)]
pub(crate) struct PauseArgs {
    /// The queue; of a key the one from which it is seen
    pub(crate) queue: QueueName,
    /// This key alone, in all queues that a limit of the key covers
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// How long, such as 30s; without it until it is resumed
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    pub(crate) period: Option<Duration>,
    /// Kept for those who ask why
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Parser)]
pub(crate) struct ResumeArgs {
    /// The queue; of a key the one from which it is seen
    pub(crate) queue: QueueName,
    /// This key
    #[arg(long)]
    pub(crate) key: Option<String>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Parser)]
pub(crate) struct TopArgs {
    /// Its name
    pub(crate) name: String,
    /// At most so many
    #[arg(
        long,
        default_value_t = 20,
        value_parser = clap::value_parser!(u16).range(1..=1000)
    )]
    pub(crate) limit: u16,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}
