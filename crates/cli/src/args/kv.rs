//! What can be typed about keys and values.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use super::client::time;
use super::queue::CommonArgs;

#[derive(Debug, Parser)]
pub(crate) struct KvArgs {
    #[command(subcommand)]
    pub(crate) command: KvCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KvCommand {
    /// Give a key a value; success means that it is safe
    Set(SetArgs),
    /// Print a key's value as it is
    Get(GetArgs),
    /// Remove a key
    Del(DelArgs),
    /// Add to a number, and print the sum; a key that is not there counts as 0
    Incr(IncrArgs),
    /// Show keys in their order
    Scan(ScanArgs),
    /// Print what happens to keys, line by line
    Watch(WatchArgs),
}

/// What the bytes of a value are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// A JSON text, which is checked
    Json,
    /// UTF-8
    Text,
    /// Anything
    Bytes,
}

#[derive(Debug, Parser)]
pub(crate) struct SetArgs {
    /// The key: levels joined by ^, as in users^eu^42
    pub(crate) key: String,
    /// The value; standard input without it
    #[arg(conflicts_with = "file")]
    pub(crate) value: Option<String>,
    /// Take the value from a file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    /// What it is; text where it is UTF-8, else bytes
    #[arg(long, value_enum)]
    pub(crate) kind: Option<Kind>,
    /// It expires after so long
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) ttl: Option<Duration>,
    #[command(flatten)]
    pub(crate) only: OnlyArgs,
    /// A second set with the same id changes nothing
    #[arg(long, value_name = "ID")]
    pub(crate) dedupe_id: Option<String>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// When a write is made.
#[derive(Debug, Args)]
pub(crate) struct OnlyArgs {
    /// Only if there is no such key
    #[arg(long)]
    pub(crate) if_absent: bool,
    /// Only if the key's last change has this revision
    #[arg(long, value_name = "N", conflicts_with = "if_absent")]
    pub(crate) if_revision: Option<u64>,
}

#[derive(Debug, Parser)]
pub(crate) struct GetArgs {
    /// The key
    pub(crate) key: String,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Parser)]
pub(crate) struct DelArgs {
    /// The key
    pub(crate) key: String,
    /// Only if its last change has this revision
    #[arg(long, value_name = "N")]
    pub(crate) if_revision: Option<u64>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Parser)]
pub(crate) struct IncrArgs {
    /// The key
    pub(crate) key: String,
    /// How much; may be negative
    #[arg(default_value_t = 1, allow_negative_numbers = true)]
    pub(crate) by: i64,
    /// A second addition with the same id changes nothing
    #[arg(long, value_name = "ID")]
    pub(crate) dedupe_id: Option<String>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Parser)]
pub(crate) struct ScanArgs {
    /// Keys that begin so; all of them without it
    #[arg(default_value = "")]
    pub(crate) prefix: String,
    /// At most so many
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Names alone
    #[arg(long)]
    pub(crate) names: bool,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Parser)]
pub(crate) struct WatchArgs {
    /// The key; keys below it if it ends with ^
    pub(crate) key: String,
    /// Every key that begins so
    #[arg(long)]
    pub(crate) prefix: bool,
    /// What happened from this revision on comes first
    #[arg(long, value_name = "N")]
    pub(crate) from: Option<u64>,
    /// End after so many changes
    #[arg(long, value_name = "N")]
    pub(crate) max: Option<u64>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}
