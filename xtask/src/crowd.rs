//! Slow clients and long polls of a real broker's HTTP door, by the thousand.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{bail, ensure};
use clap::Parser;
use sluice_bench::crowd::Acked;
use sluice_bench::crowd::slow::{self, Beside, Ends, Figures, Options, Seen};
use sluice_bench::usage::descriptors_max;

use crate::run::{again_in_release, is_slow, release_broker, target};

/// What a well-behaved client may have to wait beside them, as a multiple of its p99 alone.
const SLOWER_MAX: f64 = 2.0;
/// Descriptors that the broker keeps for itself, and some for both sides.
const KEPT: u64 = 320;

#[derive(Debug, Parser)]
pub(crate) struct CrowdArgs {
    /// The broker's binary; else it is built
    #[arg(long, value_name = "FILE")]
    bin: Option<PathBuf>,
    /// Clients of each kind, as far as descriptors allow
    #[arg(long, default_value_t = 10_000)]
    clients: u64,
    /// How long the well-behaved client is measured, alone and beside each kind
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

pub(crate) fn run(args: &CrowdArgs) -> anyhow::Result<()> {
    if is_slow() {
        return again_in_release();
    }
    let program = args.bin.clone().map_or_else(release_broker, Ok)?;
    let folder = tempfile::tempdir_in(target())?;
    let clients = args.clients.min(descriptors_max().saturating_sub(KEPT));
    let options = Options {
        program,
        dir: folder.path().to_owned(),
        clients: usize::try_from(clients)?,
        duration: Duration::from_secs(args.seconds),
    };
    let figures = slow::run(&options)?;
    println!("{clients} of {} clients, as {} descriptors allow", args.clients, descriptors_max());
    print("alone", &figures.alone);
    let dripping = beside("dripping", &figures.dripping, &figures);
    let polling = beside("long polls", &figures.polling, &figures);
    if dripping.max(polling) > SLOWER_MAX {
        bail!("the p99 of a well-behaved client more than doubled");
    }
    for kind in [&figures.dripping, &figures.polling] {
        ensure!(kind.ends.good == kind.ends.all(), "some did not end as they should");
        for acks in [&kind.seen.acks, &kind.seen.acks_anew] {
            ensure!(acks.refused == 0 && acks.failed == 0, "acknowledgements did not go on");
        }
    }
    Ok(())
}

/// Milliseconds of a quantile.
fn p(latencies: &hdrhistogram::Histogram<u64>, quantile: f64) -> f64 {
    latencies.value_at_quantile(quantile) as f64 / 1e6
}

/// Prints what well-behaved clients saw.
fn print(name: &str, seen: &Seen) {
    println!("{name:<12} {}", times_of(&seen.latencies));
    for (acked, how) in [(&seen.acks, "one connection"), (&seen.acks_anew, "new connections")] {
        let Acked { taken, refused, failed, latencies } = acked;
        let times = times_of(latencies);
        println!(
            "  acks       {taken} taken, {refused} refused, {failed} unanswered, {how}, {times}"
        );
    }
}

fn times_of(latencies: &hdrhistogram::Histogram<u64>) -> String {
    format!("p50 {:.2} ms, p99 {:.2} ms", p(latencies, 0.5), p(latencies, 0.99))
}

/// Prints what was seen beside one kind, and gives how many times the p99 is what it was.
fn beside(name: &str, kind: &Beside, figures: &Figures) -> f64 {
    let Beside { seen, bytes_each, ends } = kind;
    print(name, seen);
    let slower = p(&seen.latencies, 0.99) / p(&figures.alone.latencies, 0.99);
    let Ends { good, late, broken, other } = ends;
    println!(
        "             {slower:.2} times the p99; {:.1} KiB of RSS each; {good} of {} ended as they should, \
         {late} too late, {broken} without an answer, {other} otherwise",
        *bytes_each as f64 / 1024.0,
        ends.all(),
    );
    slower
}
