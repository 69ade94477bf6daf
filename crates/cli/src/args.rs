//! What can be typed.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// A durable message broker with flow control at its heart.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the broker
    Serve(ServeArgs),
    /// Publish one message, or one per line of standard input; success means that they are safe
    Publish(PublishArgs),
    /// Print messages as they arrive
    Subscribe(SubscribeArgs),
    /// Look at a log that no broker has open, or repair it
    Log(LogArgs),
}

/// Run the broker. What is not given here comes from the configuration file, else a default.
#[derive(Debug, Default, Parser)]
pub(crate) struct ServeArgs {
    /// Configuration file (TOML); else ./sluice.toml, else /etc/sluice/sluice.toml
    #[arg(long, env = "SLUICE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Where the binary and the line door listen; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) tcp_addr: Option<SocketAddr>,
    /// Where messages are kept
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Keep everything in memory only
    #[arg(long, conflicts_with = "data_dir")]
    pub(crate) ephemeral: bool,
    /// When messages are synced: always, every_n:N, interval_ms:N or none
    #[arg(long, value_name = "POLICY")]
    pub(crate) fsync_policy: Option<String>,
    /// Listen beyond this machine without keys
    #[arg(long)]
    pub(crate) insecure_no_auth: bool,
    /// Take keys in the clear from beyond this machine
    #[arg(long)]
    pub(crate) insecure_plaintext: bool,
    /// Start although the clock is far ahead of the log
    #[arg(long)]
    pub(crate) accept_clock: bool,
    /// Keep the log on a file system that copies on write
    #[arg(long)]
    pub(crate) allow_unsafe_fs: bool,
    /// How log lines are written to standard error
    #[arg(long, value_enum, default_value_t)]
    pub(crate) log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or filters such as sluice_broker=debug
    #[arg(long, default_value = "info")]
    pub(crate) log_level: String,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Where the broker is and who asks.
#[derive(Debug, Parser)]
pub(crate) struct ServerArgs {
    /// The broker
    #[arg(long, env = "SLUICE_SERVER", default_value = "127.0.0.1:5555", value_name = "HOST:PORT")]
    pub(crate) server: String,
    /// A file that holds the API key; else the variable SLUICE_API_KEY
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
}

#[derive(Debug, Parser)]
pub(crate) struct PublishArgs {
    /// Where to
    pub(crate) topic: String,
    /// The message; `-` or nothing takes one message a line from standard input
    pub(crate) payload: Option<String>,
    /// 1 at least once, 0 at most once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    pub(crate) qos: u8,
    /// Print the outcome as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Show no progress bar
    #[arg(long)]
    pub(crate) no_progress: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Parser)]
pub(crate) struct SubscribeArgs {
    /// A topic, or a pattern: * for one token, > for the rest
    pub(crate) topic: String,
    /// 1 at least once, 0 at most once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    pub(crate) qos: u8,
    /// Stop after so many messages
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// Print one JSON object a message
    #[arg(long)]
    pub(crate) json: bool,
    /// Fail when the connection is lost instead of connecting again
    #[arg(long)]
    pub(crate) no_reconnect: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Parser)]
pub(crate) struct LogArgs {
    #[command(subcommand)]
    pub(crate) command: LogCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Show the files of a log and what a start would do
    Inspect(DirArgs),
    /// Check every frame; exit code 3 if a start would refuse
    Verify(DirArgs),
    /// Make a corrupt log start again, without what can't be read
    Repair(RepairArgs),
}

#[derive(Debug, Parser)]
pub(crate) struct RepairArgs {
    /// The data directory
    #[arg(long, default_value = "./sluice-data", value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// Do it; without this it only says what it would do
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Parser)]
pub(crate) struct DirArgs {
    /// The data directory
    #[arg(long, default_value = "./sluice-data", value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
