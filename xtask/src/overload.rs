//! Ten times as many posts over HTTP as a real broker can take, and acknowledgements beside them.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::Parser;
use sluice_bench::crowd::overload::{self, Figures, Loop, Options};
use sluice_bench::crowd::{Acked, Posted};
use sluice_bench::targets::Level;
use sluice_bench::usage::descriptors_max;

use crate::run::{again_in_release, is_slow, release_broker, target};

/// What is asked: so much of the capacity is left, by the clock.
const GOODPUT_MIN: f64 = 0.9;
/// Descriptors of the client that are no posts' sockets.
const KEPT: u64 = 64;

#[derive(Debug, Parser)]
pub(crate) struct OverloadArgs {
    /// The broker's binary; else it is built
    #[arg(long, value_name = "FILE")]
    bin: Option<PathBuf>,
    /// Where its data goes, in a folder that is removed; else the target directory
    #[arg(long)]
    dir: Option<PathBuf>,
    /// How long; its capacity is measured for half as long before
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How many times its capacity is due
    #[arg(long, default_value_t = 10)]
    times: u64,
    /// 202 once the disk has a message; else once the kernel has it, where the processor is the limit
    #[arg(long)]
    synced: bool,
    /// Sockets that the client may have open, as far as descriptors allow
    #[arg(long, default_value_t = 8_000)]
    sockets: u64,
    /// Memory that the broker may use, in MiB
    #[arg(long, default_value_t = 1_024)]
    memory_max: u64,
}

pub(crate) fn run(args: &OverloadArgs) -> anyhow::Result<()> {
    if is_slow() {
        return again_in_release();
    }
    let program = args.bin.clone().map_or_else(release_broker, Ok)?;
    let folder = tempfile::tempdir_in(args.dir.clone().unwrap_or_else(target))?;
    let sockets = args.sockets.min(descriptors_max().saturating_sub(KEPT));
    let options = Options {
        program,
        dir: folder.path().to_owned(),
        level: if args.synced { Level::Sync } else { Level::Os },
        times: args.times,
        duration: Duration::from_secs(args.seconds),
        sockets: usize::try_from(sockets)?,
        memory_max: args.memory_max << 20,
    };
    let figures = overload::run(&options)?;
    print(&options, &figures);
    check(&options, &figures)
}

fn print(options: &Options, figures: &Figures) {
    let Options { times, duration, sockets, level, .. } = options;
    let Figures { loops, after, overload, apart, resident, .. } = figures;
    println!(
        "{}, 24 B, {} s, {times} times the capacity due, at most {sockets} sockets, {}",
        level.name(),
        duration.as_secs(),
        if *apart { "a processor each for client and broker" } else { "processors shared" },
    );
    for Loop { connections, posted, cpu } in loops {
        println!("closed loop  {}, {connections} connections", line(posted, *cpu));
    }
    println!("overload     {}", line(overload, figures.overload_cpu));
    println!("after it     {}, {} connections", line(&after.posted, after.cpu), after.connections);
    println!("goodput      {:.2} of the capacity", goodput(figures));
    let Posted { due, unsent, refused, failed, other, .. } = overload;
    println!(
        "due          {due}: {unsent} found no free socket, {refused} got 503, {failed} no answer"
    );
    println!("             {other} got another answer");
    for (acked, how) in [(&figures.acks, "one connection"), (&figures.acks_anew, "new connections")]
    {
        let Acked { taken, refused, failed, latencies } = acked;
        let times = times_of(latencies);
        println!(
            "acks         {taken} taken, {refused} refused, {failed} unanswered, {how}, {times}"
        );
    }
    println!("RSS          {} MiB before, {} MiB at most", resident.0 >> 20, resident.1 >> 20);
}

fn times_of(latencies: &hdrhistogram::Histogram<u64>) -> String {
    let millis = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e6;
    format!("p50 {:.1} ms, p99 {:.1} ms", millis(0.5), millis(0.99))
}

/// What came of posts, and what that took of the broker's processor and the client's.
fn line(posted: &Posted, cpu: Duration) -> String {
    let rate = posted.rate();
    let each = cpu.as_secs_f64() * 1e6 / posted.accepted.max(1) as f64;
    let share = |cpu: Duration| cpu.as_secs_f64() / posted.elapsed.as_secs_f64();
    format!(
        "{rate:>7.0} 202/s, {}, broker {each:.1} us a 202 and {:.2} of a processor, client {:.2}",
        times_of(&posted.latencies),
        share(cpu),
        share(posted.cpu),
    )
}

/// What is left of the capacity.
fn goodput(figures: &Figures) -> f64 {
    figures.overload.rate() / figures.capacity()
}

fn check(options: &Options, figures: &Figures) -> anyhow::Result<()> {
    let goodput = goodput(figures);
    let refused = figures.acks.refused + figures.acks_anew.refused;
    if refused > 0 {
        bail!("{refused} acknowledgements were refused");
    }
    if figures.resident.1 > options.memory_max {
        bail!("the broker used more memory than it may");
    }
    if goodput < GOODPUT_MIN {
        bail!("less than {GOODPUT_MIN} of the capacity was left");
    }
    Ok(())
}
