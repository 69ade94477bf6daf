//! What can be typed to talk with a broker about topics.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueHint};
use sluice_client::Tls;

use crate::settings::read_time;

/// Where the broker is and who asks.
#[derive(Debug, Parser)]
pub(crate) struct ServerArgs {
    /// The broker
    #[arg(long, env = "SLUICE_SERVER", default_value = "127.0.0.1:5555", value_name = "HOST:PORT")]
    pub(crate) server: String,
    /// A file that holds the API key; else the variable SLUICE_API_KEY
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) key_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
}

/// TLS to the broker.
#[derive(Clone, Debug, Default, Parser)]
pub(crate) struct TlsArgs {
    /// Speak TLS to a broker that one of these certificates (PEM) vouches for
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) tls_ca: Option<PathBuf>,
    /// The name in the broker's certificate; else the host of the broker
    #[arg(long, value_name = "NAME", requires = "tls_ca")]
    pub(crate) tls_name: Option<String>,
    /// A certificate to show (PEM), to a broker that asks for one
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(requires = "tls_ca", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
}

impl TlsArgs {
    /// As the client takes it.
    pub(crate) fn tls(&self) -> Option<Tls> {
        Some(Tls {
            ca: self.tls_ca.clone()?,
            server_name: self.tls_name.clone(),
            shown: self.tls_cert.clone().zip(self.tls_key.clone()),
        })
    }
}

#[derive(Debug, Parser)]
pub(crate) struct PublishArgs {
    /// Where to
    pub(crate) topic: String,
    /// 1 at least once, 0 at most once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    pub(crate) qos: u8,
    #[command(flatten)]
    pub(crate) input: InputArgs,
}

/// Messages to be published.
#[derive(Debug, Parser)]
pub(crate) struct InputArgs {
    /// The message; `-` or nothing takes one message a line from standard input
    pub(crate) payload: Option<String>,
    /// Print the outcome as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Show no progress bar
    #[arg(long)]
    pub(crate) no_progress: bool,
    #[command(flatten)]
    pub(crate) extras: ExtrasArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// What each message gets along.
#[derive(Debug, Parser)]
pub(crate) struct ExtrasArgs {
    /// A header; again for more
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) header: Vec<(String, String)>,
    /// How long it may wait, such as 30s or 5m
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) ttl: Option<Duration>,
    /// How long it stays hidden at first
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) delay: Option<Duration>,
    /// 0 to 9, 9 first
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=9))]
    pub(crate) priority: Option<u8>,
    /// What order and fairness refer to
    #[arg(long)]
    pub(crate) group: Option<String>,
    /// What limits refer to; again for more, up to 4
    #[arg(long)]
    pub(crate) key: Vec<String>,
    /// What it counts for in limits and fairness
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) cost: Option<u16>,
    /// Makes a second publish with the same id a duplicate
    #[arg(long, value_name = "ID")]
    pub(crate) dedupe_id: Option<String>,
}

#[derive(Debug, Parser)]
pub(crate) struct SubscribeArgs {
    /// A topic, or a pattern: * for one token, > for the rest
    pub(crate) topic: String,
    /// At least once, under this name: what is published while nobody listens waits. Without it,
    /// at most once
    #[arg(long, value_name = "NAME")]
    pub(crate) durable: Option<String>,
    /// Stop after so many messages
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// What is printed of each message: a text with {payload}, {topic}, {id}, {sender}, {time}
    /// and {headers} in it
    #[arg(long, value_name = "TEXT", conflicts_with = "json")]
    pub(crate) format: Option<String>,
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
pub(crate) struct SubscriptionArgs {
    #[command(subcommand)]
    pub(crate) command: SubscriptionCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SubscriptionCommand {
    /// Show the durable subscriptions, and what waits for each
    List(ListArgs),
    /// End a durable subscription and forget what waits for it
    Delete(SubscriptionDeleteArgs),
}

#[derive(Debug, Parser)]
pub(crate) struct ListArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Parser)]
pub(crate) struct SubscriptionDeleteArgs {
    /// Its name, or $v1.N for one without a name
    pub(crate) name: String,
    /// Even while messages are leased or consumers are there
    #[arg(long)]
    pub(crate) force: bool,
    /// Print the outcome as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Parser)]
pub(crate) struct HealthArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// A duration as in configuration files.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    read_time(text).ok_or_else(|| "not a time, such as 500ms, 30s, 5m or 2h".to_owned())
}

/// `NAME=VALUE`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').ok_or_else(|| "not NAME=VALUE".to_owned())?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}
