//! Measures the broker beside the limits of the machine.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Parser, ValueEnum};
use serde_json::json;
use sluice_bench::confirmed::{self, Options, SHAPES, Shape};
use sluice_bench::machine::Machine;
use sluice_bench::{relayed, report};

use crate::run::{again_in_release, is_slow, release_broker, target};

/// Message sizes of the relay's table.
const RELAYED: [usize; 4] = [16, 128, 1 << 10, 16 << 10];

#[derive(Debug, Parser)]
pub(crate) struct BenchArgs {
    /// The broker's binary; else it is built
    #[arg(long, value_name = "FILE")]
    bin: Option<PathBuf>,
    /// Where data is written, on the file system to measure; else the target directory
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Repetitions of each row
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    repetitions: u16,
    /// Seconds of each repetition
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// Bytes of a message
    #[arg(long, default_value_t = 1024)]
    bytes: usize,
    /// What a confirm means
    #[arg(long, value_enum, default_value_t)]
    level: Level,
    /// Write into files that grow instead of prepared ones
    #[arg(long)]
    fresh: bool,
    /// One row only: CONNECTIONSxIN_FLIGHT, as 1x256; may be repeated
    #[arg(long, value_name = "CxN", value_parser = shape)]
    shape: Vec<Shape>,
    /// Measure the relay too, the limit for messages that no disk sees
    #[arg(long)]
    relay: bool,
    /// Write the figures there as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Level {
    /// The disk has it
    #[default]
    Sync,
    /// The kernel has it
    Os,
}

fn shape(text: &str) -> Result<Shape, String> {
    let parsed = text.split_once('x').and_then(|(connections, in_flight)| {
        Some(Shape { connections: connections.parse().ok()?, in_flight: in_flight.parse().ok()? })
    });
    parsed
        .filter(|shape| shape.connections > 0 && shape.in_flight > 0)
        .ok_or_else(|| format!("`{text}` is not like 1x256"))
}

pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<()> {
    if is_slow() {
        return again_in_release();
    }
    let program = args.bin.clone().map_or_else(release_broker, Ok)?;
    let dir = args.dir.clone().unwrap_or_else(target);
    let machine = Machine::read(&dir).with_context(|| dir.display().to_string())?;
    if machine.is_in_memory() {
        bail!("{} is in memory, where a sync means nothing; give another --dir", dir.display());
    }
    let options = Options {
        program,
        dir,
        message_bytes: args.bytes,
        repetitions: args.repetitions.into(),
        duration: Duration::from_secs(args.seconds),
        synced: matches!(args.level, Level::Sync),
        fresh: args.fresh,
    };
    println!("{}", machine.line());
    println!(
        "{} B, {}, {}, {} repetitions of {} s in turn; medians (ranges)\n",
        args.bytes,
        if options.synced { "synced" } else { "level os" },
        if options.fresh { "files that grow" } else { "prepared files" },
        args.repetitions,
        args.seconds,
    );
    let shapes = if args.shape.is_empty() { &SHAPES[..] } else { &args.shape };
    let rows = shapes
        .iter()
        .map(|shape| confirmed::measure(&options, *shape))
        .collect::<Result<Vec<_>, _>>()?;
    print!("{}", report::table(&rows));
    let relayed = if args.relay { relay(args)? } else { Vec::new() };
    if let Some(path) = &args.json {
        let figures = json!({
            "machine": machine.to_json(),
            "message_bytes": args.bytes,
            "synced": options.synced,
            "fresh": options.fresh,
            "seconds": args.seconds,
            "confirmed": rows.iter().map(report::Row::to_json).collect::<Vec<_>>(),
            "relay": relayed,
        });
        std::fs::write(path, format!("{figures:#}\n"))
            .with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn relay(args: &BenchArgs) -> anyhow::Result<Vec<serde_json::Value>> {
    println!("\n{:<20}{:>16}", "relay", "msgs/s");
    let mut figures = Vec::new();
    for bytes in RELAYED {
        let rates = (0..args.repetitions)
            .map(|_| relayed::measure(bytes, Duration::from_secs(args.seconds)))
            .collect::<Result<Vec<_>, _>>()?;
        let rate = report::Spread::of(rates.into_iter());
        println!("{:<20}{:>16.0}", format!("{bytes} B"), rate.median);
        figures.push(json!({ "bytes": bytes, "rate": rate.to_json() }));
    }
    Ok(figures)
}
