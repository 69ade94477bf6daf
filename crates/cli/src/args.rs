//! What can be typed.

mod bench;
mod chaos;
mod client;
mod fetch;
mod kv;
mod limit;
mod queue;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueHint};

pub(crate) use bench::*;
pub(crate) use chaos::*;
pub(crate) use client::*;
pub(crate) use fetch::*;
pub(crate) use kv::*;
pub(crate) use limit::*;
pub(crate) use queue::*;

use crate::settings::{Flags, Sources};

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
    #[command(
        after_help = "What is not given comes from variables (SLUICE_<KEY>), the configuration \
        file, else a default.\nsluice config default shows all keys, sluice config show what is set."
    )]
    Serve(ServeArgs),
    /// Publish one message, or one per line of standard input; success means that they are safe
    Publish(PublishArgs),
    /// Print messages as they arrive
    Subscribe(SubscribeArgs),
    /// List and delete durable subscriptions
    Subscription(SubscriptionArgs),
    /// Put messages into queues, take them out, look after queues
    Queue(QueueArgs),
    /// Set, read, list and watch keys
    Kv(KvArgs),
    /// Set, list and delete limits; pause and resume queues and keys
    Limit(LimitArgs),
    /// Ask a broker whether it serves; exit code 0 if it does
    Health(HealthArgs),
    /// Measure a broker: one of its own on this machine, or one that runs; fails if a message was
    /// lost or doubled
    Bench(BenchArgs),
    /// Fetch a list of URLs under limits for each host, and say how long they took
    Fetch(FetchArgs),
    /// Look at a log that no broker has open, or repair it
    Log(LogArgs),
    /// Copy the log of a running broker, or with --offline of one that does not run
    Backup(BackupArgs),
    /// Make a data directory of a backup, after checking all of it
    Restore(RestoreArgs),
    /// Stand between clients and a broker and do harm, or damage a copy of a log
    Chaos(ChaosArgs),
    /// Check and show the broker's settings
    Config(ConfigArgs),
    /// Print what makes a shell complete commands
    Completions(CompletionsArgs),
    /// Print the manual page, or write the pages of all commands
    #[command(hide = true)]
    Man(ManArgs),
    /// Make, list and revoke the keys that clients show
    Key(KeyArgs),
}

/// Run the broker.
#[derive(Debug, Default, Parser)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
    /// Start although the clock is far ahead of the log
    #[arg(long)]
    pub(crate) accept_clock: bool,
}

/// Where settings come from.
#[derive(Debug, Default, Parser)]
pub(crate) struct SettingsArgs {
    /// Configuration file, TOML or YAML; else the variable SLUICE_CONFIG, ./sluice.toml, or
    /// /etc/sluice/sluice.toml
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) flags: Flags,
}

impl SettingsArgs {
    /// With the process's environment.
    pub(crate) fn sources(&self) -> Sources {
        Sources::new(self.config.clone(), self.flags.clone())
    }
}

#[derive(Debug, Parser)]
pub(crate) struct LogArgs {
    #[command(subcommand)]
    pub(crate) command: LogCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Show the files of a log and what a start would do
    Inspect(LookArgs),
    /// Check every frame; exit code 3 if a start would refuse
    Verify(LookArgs),
    /// Make a corrupt log start again, without what can't be read
    Repair(RepairArgs),
}

/// Which data directory: that of a broker with the same configuration.
#[derive(Debug, Parser)]
pub(crate) struct DataDirArgs {
    /// Data directory of the broker; else as the configuration says
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Configuration file of the broker; else as `sluice serve` finds it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Parser)]
pub(crate) struct BackupArgs {
    #[command(flatten)]
    pub(crate) place: DataDirArgs,
    /// Back up a log that no broker has open
    #[arg(long)]
    pub(crate) offline: bool,
    /// Print the outcome as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Show no progress bar
    #[arg(long)]
    pub(crate) no_progress: bool,
}

#[derive(Debug, Parser)]
pub(crate) struct RestoreArgs {
    /// The directory of the backup
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) backup: PathBuf,
    /// The data directory to make; new or empty
    #[arg(
        long,
        value_name = "DIR",
        value_hint = ValueHint::DirPath,
        required_unless_present = "verify_only"
    )]
    pub(crate) data_dir: Option<PathBuf>,
    /// Check the backup and make nothing of it
    #[arg(long, conflicts_with = "data_dir")]
    pub(crate) verify_only: bool,
    /// Print the outcome as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Show no progress bar
    #[arg(long)]
    pub(crate) no_progress: bool,
}

#[derive(Debug, Parser)]
pub(crate) struct RepairArgs {
    #[command(flatten)]
    pub(crate) place: DataDirArgs,
    /// Do it; without this it only says what it would do
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Parser)]
pub(crate) struct LookArgs {
    #[command(flatten)]
    pub(crate) place: DataDirArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Parser)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Find all that is wrong with the settings that `serve` would get; exit code 78 if anything is
    Check(SettingsArgs),
    /// Show every setting
    Show(ShowArgs),
    /// Print a configuration file with every key, its meaning and its default
    Default,
}

#[derive(Debug, Parser)]
pub(crate) struct ShowArgs {
    /// Show where each value comes from
    #[arg(long)]
    pub(crate) origin: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
}

#[derive(Debug, Parser)]
pub(crate) struct CompletionsArgs {
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Parser)]
pub(crate) struct ManArgs {
    /// Where to write a page for each command
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Parser)]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    pub(crate) command: KeyCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key and print it; it can't be shown again
    Create(KeyCreateArgs),
    /// Show the keys there are and what they may do
    List(KeyListArgs),
    /// Take a key away
    Revoke(KeyRevokeArgs),
}

/// Which key file: that of a broker with the same configuration.
#[derive(Debug, Parser)]
pub(crate) struct KeyFileArgs {
    /// The key file; else the one that the configuration names, else keys.toml in the data directory
    #[arg(long, value_name = "FILE")]
    pub(crate) keys_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) place: DataDirArgs,
}

#[derive(Debug, Parser)]
pub(crate) struct KeyCreateArgs {
    /// What its holder is called; else something random
    pub(crate) id: Option<String>,
    /// What it may do, such as publish:orders.>; again for more. Actions: publish, subscribe,
    /// consume, kv_read, kv_write, observe, admin
    #[arg(long, value_name = "ACTION:SCOPE", required_unless_present_any = ["all", "rotate"])]
    pub(crate) grant: Vec<String>,
    /// It may do everything
    #[arg(long)]
    pub(crate) all: bool,
    /// Give the key that there is a second secret, with its grants
    #[arg(long, requires = "id", conflicts_with_all = ["grant", "all"])]
    pub(crate) rotate: bool,
    /// Print id and key as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) file: KeyFileArgs,
}

#[derive(Debug, Parser)]
pub(crate) struct KeyListArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) file: KeyFileArgs,
}

#[derive(Debug, Parser)]
pub(crate) struct KeyRevokeArgs {
    /// Which key
    pub(crate) id: String,
    /// Only the older of its two secrets
    #[arg(long)]
    pub(crate) oldest: bool,
    #[command(flatten)]
    pub(crate) file: KeyFileArgs,
}
