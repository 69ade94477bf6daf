//! What can be typed to make trouble.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand, ValueHint};
use sluice_chaos::DamageKind;

use crate::args::client::time;
use crate::settings::{read_bytes, read_time};

#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct ChaosArgs {
    #[command(subcommand)]
    pub(crate) command: Option<ChaosCommand>,
    #[command(flatten)]
    pub(crate) proxy: ProxyArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ChaosCommand {
    /// Make a damaged copy of a log that no broker has open; the log itself is only read
    Log(ChaosLogArgs),
}

/// A proxy. Each connection gets one of the faults that have a bound, after as many bytes as are
/// drawn between one and that bound, both directions counted together.
#[derive(Debug, Parser)]
pub(crate) struct ProxyArgs {
    /// The broker
    #[arg(long, env = "SLUICE_SERVER", default_value = "127.0.0.1:5555", value_name = "HOST:PORT")]
    pub(crate) server: String,
    /// Where clients connect to; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0", value_name = "HOST:PORT")]
    pub(crate) listen: String,
    /// Hold every piece back for so long, or for a time between two, such as 5ms..20ms
    #[arg(long, value_name = "TIME[..TIME]", value_parser = delay)]
    pub(crate) delay: Option<(Duration, Duration)>,
    /// Pass on so many bytes a second in each direction, such as 100KiB/s
    #[arg(long, value_name = "BYTES/s", value_parser = rate)]
    pub(crate) throttle: Option<u64>,
    /// Cut connections after up to so many bytes, with a reset or without
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) cut: Option<u64>,
    /// End one direction after up to so many bytes; the other one goes on
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) half_close: Option<u64>,
    /// Throw away what the broker says after up to so many bytes, and cut soon after
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) drop_answers: Option<u64>,
    /// Only the first so many connections get a fault
    #[arg(long, value_name = "N")]
    pub(crate) faulty: Option<u64>,
    /// What is drawn follows from this number; else from a random one, which is printed
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// End after so many connections have come and gone
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) connections: Option<u64>,
    /// End after this time; what is open is closed
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) duration: Option<Duration>,
    /// Print the summary as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Parser)]
pub(crate) struct ChaosLogArgs {
    /// The data directory to copy from
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) data_dir: PathBuf,
    /// Where the damaged copy goes; new or empty
    #[arg(long, value_name = "COPY", value_hint = ValueHint::DirPath)]
    pub(crate) to: PathBuf,
    /// What is drawn follows from this number
    #[arg(long, value_name = "N")]
    pub(crate) seed: u64,
    /// How often to damage it
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) count: u32,
    /// How; again for more, else in any of these ways
    #[arg(long, value_name = "KIND", value_parser = kinds())]
    pub(crate) kind: Vec<DamageKind>,
    /// Print what was done as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn kinds() -> impl TypedValueParser<Value = DamageKind> {
    PossibleValuesParser::new(DamageKind::ALL.map(DamageKind::name)).try_map(|name| {
        let found = DamageKind::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or("no kind of damage")
    })
}

/// `TIME` or `TIME..TIME`.
fn delay(text: &str) -> Result<(Duration, Duration), String> {
    let (min, max) = text.split_once("..").unwrap_or((text, text));
    match (read_time(min), read_time(max)) {
        (Some(min), Some(max)) if min <= max => Ok((min, max)),
        _ => Err("not a time or two in order, such as 5ms or 5ms..20ms".to_owned()),
    }
}

/// A size that is not zero.
fn bytes(text: &str) -> Result<u64, String> {
    let bytes = read_bytes(text).filter(|bytes| *bytes > 0);
    bytes.ok_or_else(|| "not a size above zero, such as 4096 or 64KiB".to_owned())
}

/// A size, for each second.
fn rate(text: &str) -> Result<u64, String> {
    bytes(text.strip_suffix("/s").unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_and_rates_are_read_with_their_units() {
        let ms = Duration::from_millis;
        assert_eq!(delay("5"), Ok((ms(5), ms(5))));
        assert_eq!(delay("5ms..1s"), Ok((ms(5), ms(1_000))));
        assert_eq!((rate("100KiB/s"), rate("7")), (Ok(102_400), Ok(7)));
        assert!(delay("9..5").is_err() && delay("..").is_err());
        assert!(rate("0").is_err() && bytes("1/s").is_err());
    }
}
